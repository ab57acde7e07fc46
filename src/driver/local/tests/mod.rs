//! The verbs on the simulated machine.

mod chains;
mod counting;
mod faults;
mod groups;
mod growing;
mod guards;
mod lifecycle;
mod looking;
mod lost_records;
mod modifying;
mod neighbours;
mod world;
