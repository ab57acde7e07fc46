//! Running plans: the scheduling core on random graphs, and whole executions with a driver that sleeps, fails and panics.

mod running;
mod scheduling;
mod signals;
