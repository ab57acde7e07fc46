//! The commands, one a file: each turns its arguments into values, asks the layers below, and renders what they answer.

pub mod completions;
pub mod explain;
pub mod init;
pub mod man;
pub mod schema;
pub mod validate;
pub mod version;
