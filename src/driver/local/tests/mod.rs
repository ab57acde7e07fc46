//! The verbs on the simulated machine.

mod counting;
mod faults;
mod guards;
mod lifecycle;
mod looking;
mod lost_records;
mod world;
