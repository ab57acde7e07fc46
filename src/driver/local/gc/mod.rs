//! gc: what crashed runs left. Finding only reads; removing works alone, under the global lock, looks again at what it was told, and
//! touches nothing that a record owns.

mod find;
mod leftover;
mod names;
mod remove;
mod temporaries;
mod thaw;

pub use find::{find, look};
pub use leftover::{InUse, Leftover, unambiguous};
pub use remove::remove;
pub use temporaries::clear_temporaries;
pub use thaw::thaw_left;
