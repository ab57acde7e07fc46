//! Plans, from both sides as plain values: what is wanted, what was seen, and which steps lead from one to the other.

mod changes;
mod files;
mod guards;
mod lifecycle;
mod lost;
mod orchestrated;
mod order;
pub mod world;
