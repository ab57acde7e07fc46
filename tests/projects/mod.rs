//! Several projects on one machine: none of them covers, hides, fills or takes what is another's.

mod at_once;
mod devices;
mod listed;
mod places;
mod pools;
mod two_states;
