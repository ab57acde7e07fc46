//! Plans, from both sides as plain values: what is wanted, what was seen, and which steps lead from one to the other.

mod lifecycle;
#[allow(dead_code)]
pub mod world;
