//! What tests share: a place of their own on the real machine that leaves nothing behind, and a simulated machine.

pub mod place;
#[cfg(feature = "serve")]
pub mod serving;
pub mod world;

pub use place::Place;
