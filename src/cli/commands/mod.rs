//! The commands, one a file: each turns its arguments into values, asks the layers below, and renders what they answer.

pub mod apply;
pub mod completions;
#[cfg(feature = "serve")]
pub mod csi;
pub mod delete;
pub mod destroy;
pub mod doctor;
pub mod expand;
pub mod explain;
pub mod gc;

pub mod get;
pub mod init;
pub mod man;
pub mod plan;
pub mod schema;
#[cfg(feature = "serve")]
pub mod serve;
pub mod snapshot;
pub mod state;
pub mod status;
pub mod tree;
pub mod validate;
pub mod version;
pub mod who;
