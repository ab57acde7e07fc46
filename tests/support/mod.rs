//! What tests that touch the real machine share: a place of their own that leaves nothing behind.

#![allow(dead_code, unused_imports)]

pub mod place;

pub use place::Place;
