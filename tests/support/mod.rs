//! What tests share: a place of their own on the real machine that leaves nothing behind, and a simulated machine.

pub mod place;
pub mod world;

pub use place::Place;
