//! A record that is no record any more is made anew from the image's own word. Such a record counts as protected and formatted
//! until its manifest is applied again; the damaged one is set aside, not removed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::driver::{DriverError, Refusal, Result};
use crate::host::ErrorKind;
use crate::model::observed::ObservedImage;
use crate::model::record::{FormatMark, ImageIdentity, Recorded, VolumeRecord};
use crate::model::{
    AccessMode, Allocate, Backing, CapacityRange, FsSpec, ImageBacking, Layout, Ownership, Reclaim, VolumeId,
    VolumeMode, VolumeSpec,
};
use crate::state::record::salvage_pool_path;

use super::now;
use super::session::{Session, state_error};

/// Rebuilds the record if an image is found that says it is this volume; answers whether it did.
pub(super) fn rebuild(s: &mut Session<'_>) -> Result<bool> {
    rebuild_near(s, None)
}

/// The same, looking also where the spec at hand puts the image.
pub(super) fn rebuild_near(s: &mut Session<'_>, near: Option<&ImageBacking>) -> Result<bool> {
    rebuild_if(s, near, |_| true)
}

/// The same for an ephemeral volume only, of which not even a damaged record has to be left.
pub(super) fn rebuild_ephemeral(s: &mut Session<'_>) -> Result<bool> {
    rebuild_if(s, None, |record| record.spec.ephemeral)
}

fn rebuild_if(
    s: &mut Session<'_>,
    near: Option<&ImageBacking>,
    wanted: impl Fn(&VolumeRecord) -> bool,
) -> Result<bool> {
    let path = s.layout().volume_record(&s.id);
    let bytes = match s.host().read_small(&path) {
        Ok(bytes) => bytes.unwrap_or_default(),
        // No file at all: nothing in it says where the image is.
        Err(error) if matches!(error.kind, ErrorKind::Invalid | ErrorKind::UnsafePath) => Vec::new(),
        Err(error) => return Err(s.fail(error)),
    };
    // These say where it is; of the others each is only a place to look.
    let mut told: Vec<PathBuf> = near.map(|backing| backing.pool_path.clone()).into_iter().collect();
    told.extend(salvage_pool_path(&bytes));
    told.extend(attached_pool(s));
    let mut found = None;
    for pool in told {
        found = found.or(candidate(s, pool)?);
    }
    if found.is_none() {
        let mut pools: BTreeSet<PathBuf> = s.driver.kept().pools.iter().cloned().collect();
        pools.insert(s.layout().default_pool());
        for pool in pools {
            let Some(other) = candidate(s, pool)? else { continue };
            if let Some(one) = found.as_ref().filter(|one| one.image != other.image) {
                return Err(two_claim_it(s, one, &other));
            }
            found = Some(other);
        }
    }
    let Some(record) = found.filter(wanted) else { return Ok(false) };
    if s.record != Recorded::Absent {
        s.store().set_volume_aside(&s.id).map_err(|error| state_error(&s.object(), error))?;
    }
    s.put_record(record, true)?;
    Ok(true)
}

/// The record that the image in this pool amounts to.
fn candidate(s: &Session<'_>, pool: PathBuf) -> Result<Option<VolumeRecord>> {
    let image = s.host().image(&pool.join(format!("{}.img", s.id))).map_err(|error| s.fail(error))?;
    Ok(image.and_then(|image| from_image(s.layout(), &s.id, pool, &image)))
}

/// An image and its backup copy, as a rule: which is which nobody says.
fn two_claim_it(s: &Session<'_>, one: &VolumeRecord, other: &VolumeRecord) -> DriverError {
    let path = |record: &VolumeRecord| {
        let backing = record.spec.backing.as_image();
        backing.map_or_else(String::new, |backing| backing.image_path(&s.id).display().to_string())
    };
    s.refuse(
        Refusal::WrongIdentity,
        format!("its record can't be used, and two files say that they are it: {} and {}", path(one), path(other)),
        "move the one that is not it (a backup copy) out of the pool, and try again",
    )
}

/// The directory of the file behind the loop device that this boot's record names. A path of the kernel's is only a place to look:
/// whose the image is, it says itself.
fn attached_pool(s: &Session<'_>) -> Option<PathBuf> {
    let told = format!("/sys/block/loop{}/loop/backing_file", s.hint()?);
    let bytes = s.host().read_small(Path::new(&told)).ok().flatten()?;
    let path = Path::new(OsStr::from_bytes(bytes.trim_ascii_end()));
    path.is_absolute().then(|| path.parent().map(Path::to_owned)).flatten()
}

/// What an image's own word amounts to as a record; `None` when it is not that volume's.
pub(super) fn from_image(
    layout: &Layout,
    id: &VolumeId,
    pool_path: PathBuf,
    image: &ObservedImage,
) -> Option<VolumeRecord> {
    let identity = image.identity.as_ref().filter(|identity| identity.id == id.as_str() && !identity.snapshot)?;
    Some(VolumeRecord {
        spec: spec_of(layout, id, pool_path, image, identity),
        fs_uuid: identity.fs_uuid,
        format: if identity.fs_type.is_some() { FormatMark::Done } else { FormatMark::None },
        adopted: false,
        disk: None,
        image: Some(image.file),
        attach_mark: identity.fs_type.is_none(),
        made_directory: false,
        made_targets: BTreeMap::new(),
        shown_at: BTreeMap::new(),
        // Nobody knows what was applied: it is not applied again.
        applied_ownership: Ownership::default(),
        modifying: false,
        growing: None,
        grown: None,
        asked: None,
        attachment: None,
        removing: None,
        released: false,
        rebuilt: true,
        created_at: now(),
    })
}

fn spec_of(
    layout: &Layout,
    id: &VolumeId,
    pool_path: PathBuf,
    image: &ObservedImage,
    identity: &ImageIdentity,
) -> VolumeSpec {
    let full = image.allocated >= image.size;
    let name = pool_path.file_name().and_then(|name| name.to_str()?.parse().ok());
    let pool = match name {
        Some(name) if pool_path != layout.default_pool() => name,
        _ => Layout::default_pool_name(),
    };
    VolumeSpec {
        id: id.clone(),
        owner: identity.owner.clone(),
        name: id.short().to_owned(),
        description: None,
        volume_mode: if identity.fs_type.is_some() { VolumeMode::Filesystem } else { VolumeMode::Block },
        capacity: Some(CapacityRange { required: image.size, limit: None }),
        access_mode: AccessMode::default(),
        backing: Backing::Image(ImageBacking {
            pool,
            pool_path,
            allocate: if full { Allocate::Full } else { Allocate::Sparse },
            direct_io: true,
            sector_size: identity.sector_size,
        }),
        fs: identity.fs_type.map(FsSpec::plain),
        fs_type_given: false,
        mount_options: Vec::new(),
        source: None,
        reclaim: Reclaim::Retain,
        prevent_destroy: identity.protected,
        ownership: Ownership::default(),
        fs_group: None,
        ephemeral: identity.ephemeral,
    }
}

/// Whether a record has to be rebuilt before anything is built up on it.
pub(super) fn is_lost(record: &Recorded<VolumeRecord>) -> bool {
    matches!(record, Recorded::Corrupt { .. })
}
