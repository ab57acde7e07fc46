//! What holds for every input, tried on random ones.

mod plan;
