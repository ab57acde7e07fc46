//! Owner, mode and group of what is staged: given to the root inode once, as asked for, and only where csictl made what is behind it.

use std::path::Path;

use crate::driver::Result;
use crate::model::record::VolumeRecord;
use crate::model::{Backing, Done, Ownership};

use super::session::Session;

/// The mount whose root is to be given its owner.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mounted {
    /// It was mounted just now, or owner, mode and group were asked for just now.
    pub new: bool,
    pub writable: bool,
}

/// Gives the root inode its owner, mode and group, where they were asked for and not yet given; the group is that of the record unless
/// another is asked for. What is mounted read-only takes none, and gets them when it is mounted writable.
pub(super) fn own_root(
    s: &mut Session<'_>,
    record: &mut VolumeRecord,
    staging_path: &Path,
    mounted: Mounted,
    group: Option<u32>,
    notes: &mut Vec<String>,
) -> Result<Done> {
    let spec = record.spec.clone();
    let group = group.or(spec.fs_group);
    let scratch = matches!(spec.backing, Backing::Tmpfs(_));
    // Memory forgets what it was given; everything else remembers it, and a later chown by an application is its own business.
    let due = spec.ownership != Ownership::default()
        && if scratch { mounted.new } else { record.applied_ownership != spec.ownership };
    if !due && group.is_none() {
        return Ok(Done::Already);
    }
    if !mounted.writable {
        if due && mounted.new {
            notes.push("owner and mode wait until it is mounted writable".to_owned());
        }
        return Ok(Done::Already);
    }
    let of_others = match &spec.backing {
        Backing::Directory(_) if !record.made_directory => Some("directory"),
        Backing::Device(_) if record.adopted => Some("file system"),
        _ => None,
    };
    if let Some(what) = of_others {
        if mounted.new {
            notes.push(format!("owner, mode and fs_group are left as they are: csictl did not make that {what}"));
        }
        return Ok(Done::Already);
    }
    let mut done = Done::Already;
    if due {
        done = s.host().set_ownership(staging_path, spec.ownership).map_err(|error| s.fail(error))?;
    }
    if let Some(group) = group
        && s.host().change_group(staging_path, group).map_err(|error| s.fail(error))? == Done::Changed
    {
        done = Done::Changed;
    }
    if due && !scratch {
        record.applied_ownership = spec.ownership;
        s.put_record(record.clone(), true)?;
    }
    Ok(done)
}
