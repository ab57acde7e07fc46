//! The csictl binary.

fn main() {}
