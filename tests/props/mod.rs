//! What holds for every input, tried on random ones.

mod laws;
mod plan;
mod random;
mod samples;
mod sweep;
