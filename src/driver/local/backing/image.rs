//! Image files. A new one is made at its one temporary name, where a killed run's remains are worth nothing, and gets its
//! own name only when it is whole, verified and says who it is.

use std::path::{Path, PathBuf};

use crate::driver::local::session::Session;
use crate::driver::local::{deleted, growth, guard, mounted, neighbours, room, stage};
use crate::driver::{Refusal, Result};
use crate::host::{CopyMethod, CopyRequest, ErrorKind, FormatRequest, GrowRequest, NewImage, Place, TrialRequest};
use crate::model::mount_options::is_per_mount;
use crate::model::observed::ObservedImage;
use crate::model::record::{FormatMark, VolumeRecord};
use crate::model::{
    Allocate, Capacity, FileId, FsSpec, FsType, FsUuid, ImageBacking, SectorSize, VolumeSpec, pool_not_mounted,
};

/// Permissions of a pool's directory.
const POOL_MODE: u32 = 0o700;

/// An image ready to be put in place.
struct Made {
    sector_size: SectorSize,
    /// Whether its file system is known to fill it, so that the first stage has nothing to look at.
    verified: bool,
}

/// Makes the image of a new volume, and its record: durable before the file system is made, whole after the image is in place.
pub fn make(
    s: &mut Session<'_>,
    mut record: VolumeRecord,
    backing: &ImageBacking,
    notes: &mut Vec<String>,
) -> Result<()> {
    record.fs_uuid = record.spec.fs.as_ref().map(|_| FsUuid::random());
    record.format = if record.fs_uuid.is_some() { FormatMark::Begun } else { FormatMark::None };
    record.image = None;
    record.attach_mark = record.spec.is_raw();
    pool_is_fit(s, &backing.pool_path)?;
    let _room = room_for(s, &record, backing)?;
    neighbours::claim(s, &record)?;
    // Of an image that is gone.
    growth::forget(s, &record)?;
    let (made, path) = (fill(s, &mut record, backing, notes)?, backing.image_path(&s.id));
    s.host().place_image(&backing.part_path(&s.id), &path, Place::New).map_err(|error| s.fail(error))?;
    // Not flushed: should a power cut lose it, the image in its place says as much.
    finish(s, record, &path, &made, false)
}

/// Makes a new image and puts it in the place of the old one, whose loss was approved; `elsewhere` is the old one when it lies in
/// another pool. The record comes last: killed before, the old record still asks for the replacement to be approved again.
pub fn replace(
    s: &mut Session<'_>,
    mut record: VolumeRecord,
    backing: &ImageBacking,
    elsewhere: Option<(&VolumeRecord, &ImageBacking)>,
    notes: &mut Vec<String>,
) -> Result<()> {
    let path = backing.image_path(&s.id);
    let old = s.host().image(&path).map_err(|error| s.fail(error))?;
    if let Some(old) = &old
        && !guard::is_image_of(old.identity.as_ref(), &record.spec)
    {
        return Err(foreign(s, &path));
    }
    pool_is_fit(s, &backing.pool_path)?;
    let _room = room_for(s, &record, backing)?;
    record.fs_uuid = record.spec.fs.as_ref().map(|_| FsUuid::random());
    record.attach_mark = record.spec.is_raw();
    let made = fill(s, &mut record, backing, notes)?;
    let place = old.map_or(Place::New, |old| Place::Replace(old.file));
    s.host().place_image(&backing.part_path(&s.id), &path, place).map_err(|error| s.fail(error))?;
    growth::forget(s, &record)?;
    if let Some((old, backing)) = elsewhere {
        remove(s, old, backing)?;
    }
    finish(s, record, &path, &made, true)
}

/// Keeps room for it below its pool's limit while it is made.
fn room_for<'d>(s: &Session<'d>, record: &VolumeRecord, backing: &ImageBacking) -> Result<Option<room::Room<'d>>> {
    let takes = [room::Takes::volume(&s.id, &backing.pool_path, size(s, record)?)];
    room::take(s.driver, &s.object(), s.id.as_str(), &record.spec.owner, &takes)
}

/// Refuses to make an image where the file system that holds the pool's other images is not mounted, or where others than root could put
/// a link in its place while mkfs runs.
fn pool_is_fit(s: &Session<'_>, pool: &Path) -> Result<()> {
    if let Some(missed) = mounted::missed_now(s.driver, pool).map_err(|error| s.fail(error))? {
        let (message, help) = pool_not_mounted(pool, &missed);
        return Err(s.refuse(Refusal::NotReady, message, help));
    }
    guard::pool_is_private(s.driver, &s.object(), pool)
}

/// Makes the image at its temporary name, or takes away at once what a failure left there.
fn fill(s: &Session<'_>, record: &mut VolumeRecord, backing: &ImageBacking, notes: &mut Vec<String>) -> Result<Made> {
    filled(s, record, backing, notes).inspect_err(|_| {
        // Should that fail as well, the next apply does it; the failure that led here is the one that tells.
        let _ = s.host().remove_image(&backing.part_path(&s.id), None);
    })
}

fn filled(s: &Session<'_>, record: &mut VolumeRecord, backing: &ImageBacking, notes: &mut Vec<String>) -> Result<Made> {
    let part = backing.part_path(&s.id);
    s.host().make_dir(&backing.pool_path, POOL_MODE).map_err(|error| s.fail(error))?;
    let made = if record.spec.source.is_some() {
        copy(s, record, backing, &part, notes)?
    } else {
        blank(s, record, backing, &part)?
    };
    let identity = guard::identity_of(&record.spec, record.fs_uuid, made.sector_size);
    s.host().set_identity(&part, &identity).map_err(|error| s.fail(error))?;
    Ok(made)
}

fn blank(s: &Session<'_>, record: &VolumeRecord, backing: &ImageBacking, part: &Path) -> Result<Made> {
    let full = backing.allocate == Allocate::Full;
    let size = size(s, record)?;
    s.host().create_image(&NewImage { part: part.to_owned(), size, full }).map_err(|error| s.fail(error))?;
    if let (Some(fs), Some(uuid)) = (&record.spec.fs, record.fs_uuid) {
        let request = FormatRequest {
            path: part.to_owned(),
            fs: fs.fs_type,
            uuid,
            label: fs.label.clone(),
            options: fs.mkfs_options.clone(),
            sector_size: backing.sector_size,
            fresh_image: true,
            discard: !full,
            block: None,
            resume: false,
            template: true,
        };
        s.host().format(&request, s.lock.own()).map_err(|error| s.fail(error))?;
        can_be_mounted(s, &record.spec, fs, &request)?;
    }
    Ok(Made { sector_size: backing.sector_size, verified: record.fs_uuid.is_some() })
}

/// A file system made or mounted with options of a user's own is tried out before its image gets a name: one that this kernel never mounts
/// would be in the way of its own correction. The same options are tried once.
fn can_be_mounted(s: &Session<'_>, spec: &VolumeSpec, fs: &FsSpec, made: &FormatRequest) -> Result<()> {
    if fs.mkfs_options.is_empty() && spec.mount_options.iter().all(|option| is_per_mount(option)) {
        return Ok(());
    }
    let options = stage::options(s, spec, false, &spec.mount_options)?;
    let request = TrialRequest {
        part: made.path.clone(),
        fs: made.fs,
        options,
        sector_size: made.sector_size,
        discard: made.discard,
    };
    let tried = (fs.mkfs_options.clone(), TrialRequest { part: PathBuf::new(), ..request.clone() });
    if s.driver.was_tried(&tried) {
        return Ok(());
    }
    s.host().try_filesystem(&request).map_err(|error| match error.kind {
        ErrorKind::Unsupported => {
            let given: Vec<&str> = fs.mkfs_options.iter().chain(&spec.mount_options).map(String::as_str).collect();
            let said = if error.cause.is_empty() { String::new() } else { format!(": {}", error.cause) };
            let message =
                format!("this kernel does not mount {} made and mounted with {}{said}", fs.fs_type, given.join(" "));
            s.refuse(
                Refusal::Unsupported,
                message,
                "leave that out of fs.mkfs_options or mount_options; nothing was made",
            )
        }
        _ => s.fail(error),
    })?;
    s.driver.set_tried(tried);
    Ok(())
}

fn copy(
    s: &Session<'_>,
    record: &mut VolumeRecord,
    backing: &ImageBacking,
    part: &Path,
    notes: &mut Vec<String>,
) -> Result<Made> {
    let source = record.spec.source.as_ref().ok_or_else(|| s.refuse(Refusal::NotFound, "it has no source", ""))?;
    let origin = s.driver.origin(source)?;
    if origin.fs_type != record.spec.fs_type() {
        let name = |fs: Option<FsType>| fs.map_or_else(|| "no file system".to_owned(), |fs| fs.to_string());
        return Err(s.refuse(
            Refusal::Incompatible,
            format!("{} holds {}, asked is {}", origin.object, name(origin.fs_type), name(record.spec.fs_type())),
            "leave fs.type and volume_mode as they are in the source",
        ));
    }
    let size = size(s, record)?;
    if size < origin.size {
        return Err(s.refuse(
            Refusal::OutOfRange,
            format!("its capacity {size} is smaller than its source {}, which has {}", origin.object, origin.size),
            format!("ask for at least {}", origin.size),
        ));
    }
    growth::is_enough(s, record.spec.fs_type(), origin.size, size)?;
    let full = backing.allocate == Allocate::Full;
    let request = CopyRequest {
        from: origin.path.clone(),
        from_file: origin.file,
        to_part: part.to_owned(),
        size,
        full,
        reflink: true,
        until: None,
    };
    let method = origin.copy(s.driver, &s.lock, &request, notes)?;
    if full && method == CopyMethod::Reflink {
        notes.push(
            "it shares its bytes with its source: the full allocation cannot be promised until they differ".to_owned(),
        );
    }
    let grown = size > origin.size;
    if let (Some(fs), Some(uuid)) = (record.spec.fs_type(), record.fs_uuid) {
        s.host().change_uuid(part, fs, uuid, s.lock.own()).map_err(|error| s.fail(error))?;
        if grown && fs == FsType::Ext4 {
            let request = GrowRequest { device: part.to_owned(), fs, mount_point: None, files: None };
            s.host().grow_filesystem(&request, s.lock.own()).map_err(|error| s.fail(error))?;
        }
    }
    Ok(Made { sector_size: origin.sector_size, verified: false })
}

/// Writes down that the image is in place.
fn finish(s: &mut Session<'_>, mut record: VolumeRecord, path: &Path, made: &Made, durable: bool) -> Result<()> {
    let image = s.host().image(path).map_err(|error| s.fail(error))?;
    let Some(image) = image else {
        return Err(s.refuse(
            Refusal::WrongIdentity,
            format!("{} was taken away while it was made", path.display()),
            "find out who else works in that pool, then try again",
        ));
    };
    adopted(&mut record, &image, made.sector_size);
    s.put_record(record, durable)?;
    if made.verified {
        s.driver.set_verified(&s.id);
    }
    Ok(())
}

/// Takes over what an image in its place says of itself.
fn adopted(record: &mut VolumeRecord, image: &ObservedImage, sector_size: SectorSize) {
    record.image = Some(image.file);
    record.format = if record.spec.fs.is_some() { FormatMark::Done } else { FormatMark::None };
    record.attach_mark = record.spec.is_raw();
    if let crate::model::Backing::Image(backing) = &mut record.spec.backing {
        backing.sector_size = sector_size;
    }
}

/// Takes an image that lies in its place without a whole record: it has to be this volume's by its own word and fit the spec.
pub fn adopt(s: &mut Session<'_>, mut record: VolumeRecord, image: &ObservedImage) -> Result<()> {
    let Some(identity) = image.identity.as_ref().filter(|_| guard::is_image_of(image.identity.as_ref(), &record.spec))
    else {
        return Err(foreign(s, &image.path));
    };
    if identity.fs_type != record.spec.fs_type() {
        let name = |fs: Option<FsType>| fs.map_or_else(|| "no file system".to_owned(), |fs| fs.to_string());
        return Err(s.refuse(
            Refusal::Exists,
            format!(
                "its image {} is there already and holds {}, asked is {}",
                image.path.display(),
                name(identity.fs_type),
                name(record.spec.fs_type())
            ),
            "ask for what is there, or let it be replaced (approval =wipe)",
        ));
    }
    if identity.ephemeral != record.spec.ephemeral {
        let (is, asked) = if identity.ephemeral { ("is ephemeral", "is not") } else { ("is not ephemeral", "is") };
        return Err(s.refuse(
            Refusal::Exists,
            format!(
                "its image {} is there already and says that its volume {is}; what is asked for {asked}",
                image.path.display()
            ),
            "choose another name, or move that file away",
        ));
    }
    if let Some(limit) = record.spec.capacity.and_then(|range| range.limit)
        && image.size > limit
    {
        return Err(s.refuse(
            Refusal::OutOfRange,
            format!("its image {} has {}, more than the limit {limit}", image.path.display(), image.size),
            "raise the limit",
        ));
    }
    // What was asked beyond the image's size is left to expand, which also grows the file system.
    if let Some(range) = &mut record.spec.capacity {
        range.required = range.required.min(image.size);
    }
    record.fs_uuid = identity.fs_uuid;
    let sector_size = identity.sector_size;
    adopted(&mut record, image, sector_size);
    let protected = record.spec.prevent_destroy;
    if identity.protected != protected {
        let identity = guard::identity_now(image, &record.spec, record.fs_uuid, sector_size);
        s.host().set_identity(&image.path, &identity).map_err(|error| s.fail(error))?;
    }
    s.put_record(record, true)
}

/// Unlinks an image whose loss was approved, if it says that it is this volume's.
pub fn remove(s: &Session<'_>, record: &VolumeRecord, backing: &ImageBacking) -> Result<()> {
    let path = backing.image_path(&s.id);
    let fail = |error| s.fail(error);
    if let Some(image) = s.host().image(&path).map_err(fail)? {
        if !guard::is_image_of(image.identity.as_ref(), &record.spec) {
            return Err(s.refuse(
                Refusal::WrongIdentity,
                format!("{} does not say that it is volume {}: it is not removed", path.display(), s.id),
                "look at it (getfattr -n trusted.csictl) and move it away by hand",
            ));
        }
        not_attached(s, image.file, &path)?;
        s.host().remove_image(&path, Some(image.file)).map_err(fail)?;
        deleted::stays_away(s.host(), s.layout(), &path).map_err(fail)?;
    }
    s.host().remove_image(&backing.part_path(&s.id), None).map_err(fail)?;
    growth::forget(s, record)
}

/// Refuses while a loop device shows the file.
pub fn not_attached(s: &Session<'_>, file: FileId, path: &Path) -> Result<()> {
    if let Some(device) = s.host().loop_of_image(path, file, s.hint()).map_err(|error| s.fail(error))? {
        return Err(s.refuse(
            Refusal::NotReady,
            format!("{} is attached to {}", path.display(), device.node().display()),
            "unpublish, unstage and detach it first",
        ));
    }
    Ok(())
}

fn foreign(s: &Session<'_>, path: &Path) -> crate::driver::DriverError {
    s.refuse(
        Refusal::Foreign,
        format!("{} is there already and does not say that it is volume {} of this owner", path.display(), s.id),
        "csictl takes only images that carry its attribute: move the file away, or choose another name",
    )
}

/// The size to make it with.
fn size(s: &Session<'_>, record: &VolumeRecord) -> Result<Capacity> {
    record
        .spec
        .required()
        .ok_or_else(|| s.refuse(Refusal::OutOfRange, "an image needs a capacity", "give it one: capacity = \"10GiB\""))
}
