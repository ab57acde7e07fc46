//! Memory: nothing to make before the mount, and nothing left after it.

use crate::model::TmpfsBacking;

/// The option that bounds it, in bytes.
pub fn size_option(tmpfs: &TmpfsBacking) -> String {
    format!("size={}", tmpfs.size.get())
}
