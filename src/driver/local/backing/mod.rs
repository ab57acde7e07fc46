//! What each backing does differently; the verbs share everything else.

pub mod device;
pub mod directory;
pub mod image;
pub mod tmpfs;
