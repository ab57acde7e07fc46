//! An image's word about itself: JSON in the attribute `trusted.csictl`, which only root sees and sets and which a copy of the
//! file does not carry along.

use std::path::Path;

use rustix::fs::{XattrFlags, lgetxattr, lsetxattr};
use rustix::io::Errno;

use super::errors::{refused, wrong};
use crate::host::{ErrorKind, Result};
use crate::model::Done;
use crate::model::record::ImageIdentity;

const NAME: &str = "trusted.csictl";
/// The kernel's own limit on a value.
const LONGEST: usize = 64 << 10;

/// Who the image says it is; `None` when it says nothing, or nothing that can be read.
pub fn read(path: &Path) -> Result<Option<ImageIdentity>> {
    Ok(read_raw(path)?.and_then(|text| parse(&text)))
}

/// What an attribute of these bytes says; `None` when that is nothing.
pub fn parse(text: &[u8]) -> Option<ImageIdentity> {
    serde_json::from_slice(text).ok()
}

/// The bytes of an attribute that says this.
///
/// # Errors
/// None that an identity can cause.
pub fn text(identity: &ImageIdentity) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(identity)
}

fn read_raw(path: &Path) -> Result<Option<Vec<u8>>> {
    let mut space = vec![0u8; 4096];
    loop {
        return match lgetxattr(path, NAME, &mut space[..]) {
            Ok(length) => {
                space.truncate(length);
                Ok(Some(space))
            }
            Err(Errno::RANGE) if space.len() < LONGEST => {
                space.resize(LONGEST, 0);
                continue;
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOENT | Errno::RANGE) => Ok(None),
            Err(error) => Err(refused("read the identity of", path)(error)),
        };
    }
}

/// Writes it.
pub fn write(path: &Path, identity: &ImageIdentity) -> Result<Done> {
    const ACT: &str = "write the identity of";
    let text = text(identity).map_err(|error| wrong(ErrorKind::Invalid, ACT, path, error.to_string()))?;
    if read_raw(path)?.as_deref() == Some(&text) {
        return Ok(Done::Already);
    }
    match lsetxattr(path, NAME, &text, XattrFlags::empty()) {
        Ok(()) => Ok(Done::Changed),
        Err(Errno::OPNOTSUPP) => {
            let cause = "the pool's file system has no trusted extended attributes, so an image there could not say whose it is; use a pool on ext4, xfs or btrfs";
            Err(wrong(ErrorKind::Unsupported, ACT, path, cause))
        }
        Err(error) => Err(refused(ACT, path)(error)),
    }
}
