//! The guards that several verbs share: is this the image, is this the device, may this be formatted, does this spec fit.

use std::path::Path;

use crate::driver::{DriverError, Refusal, Result};
use crate::host::{FormatRequest, Host, Made};
use crate::model::observed::ObservedImage;
use crate::model::record::{FormatMark, ImageIdentity, VolumeRecord};
use crate::model::{
    Approval, Backing, Capacity, DiskId, FileId, FormatPolicy, FsSpec, FsType, FsUuid, ImageBacking, Loss,
};
use crate::model::{LoopDevice, ObjectRef, Owner, Probe, SectorSize, Signature, VolumeSpec, pool_is_open};

use super::session::{Session, host_failure};
use super::{LocalDriver, mounted, own};

mod device;

pub(super) use device::{device, device_is_free, device_is_unclaimed, is_its_disk, is_its_raw_disk};

/// Whether an image is this volume's by its own word.
pub(super) fn is_image_of(identity: Option<&ImageIdentity>, spec: &VolumeSpec) -> bool {
    identity
        .is_some_and(|identity| identity.id == spec.id.as_str() && identity.owner == spec.owner && !identity.snapshot)
}

/// What a volume's image says of itself; false where there is none, or none that is the volume's.
pub(super) fn image_says(s: &Session<'_>, record: &VolumeRecord, what: fn(&ImageIdentity) -> bool) -> Result<bool> {
    let Some(backing) = record.spec.backing.as_image() else { return Ok(false) };
    let image = s.host().image(&backing.image_path(&s.id)).map_err(|error| s.fail(error))?;
    let identity = image.and_then(|image| image.identity);
    Ok(is_image_of(identity.as_ref(), &record.spec) && identity.as_ref().is_some_and(what))
}

/// An image's word about itself when its volume is changed: a record's word that its data goes with an unpublish is none of the image's.
pub(super) fn identity_now(
    image: &ObservedImage,
    spec: &VolumeSpec,
    fs_uuid: Option<FsUuid>,
    sector_size: SectorSize,
) -> ImageIdentity {
    let ephemeral = image.identity.as_ref().is_some_and(|identity| identity.ephemeral);
    ImageIdentity { ephemeral, ..identity_of(spec, fs_uuid, sector_size) }
}

/// An image's word about itself.
pub(super) fn identity_of(spec: &VolumeSpec, fs_uuid: Option<FsUuid>, sector_size: SectorSize) -> ImageIdentity {
    ImageIdentity {
        id: spec.id.to_string(),
        owner: spec.owner.clone(),
        snapshot: false,
        fs_type: spec.fs_type(),
        fs_uuid,
        sector_size,
        protected: spec.prevent_destroy,
        ephemeral: spec.ephemeral,
        group: None,
        deleting: false,
    }
}

/// The image of a volume, proven to be it: its attribute, its size, and no loop that still shows the file it was.
pub(super) fn image(s: &Session<'_>, record: &VolumeRecord, backing: &ImageBacking) -> Result<ObservedImage> {
    let path = backing.image_path(&s.id);
    let wrong = |message: String, help: &str| Err(s.refuse(Refusal::WrongIdentity, message, help));
    let Some(image) = s.host().image(&path).map_err(|error| s.fail(error))? else {
        if record.image.is_none() {
            let message = format!("its image {} was never finished", path.display());
            let way = s.way("run csictl apply again: it makes the image", "repeat its creation: that makes the image");
            return Err(s.refuse(Refusal::NotReady, message, way));
        }
        return wrong(
            format!("its image {} is gone", path.display()),
            s.way(
                "is its pool's file system mounted? If it is, bring the file back with its extended attributes (cp --preserve=xattr), or approve losing the volume by name (=wipe)",
                "is its pool's file system mounted? If it is, bring the file back with its extended attributes (cp --preserve=xattr), or delete the volume",
            ),
        );
    };
    if !is_image_of(image.identity.as_ref(), &record.spec) {
        let says = image.identity.as_ref().map_or_else(
            || "carries no trusted.csictl attribute".to_owned(),
            |identity| format!("says it is {} of {}", identity.id, identity.owner),
        );
        return wrong(
            format!("{} is not its image: it {says}", path.display()),
            "bring back the right file with its extended attributes, or move this one away",
        );
    }
    if let (Some(theirs), Some(ours)) = (image.identity.as_ref().and_then(|i| i.fs_uuid), record.fs_uuid)
        && theirs != ours
    {
        return wrong(
            format!("{} holds file system {theirs}, the record says {ours}", path.display()),
            s.way(
                "a replacement was interrupted: apply again; or image or record is another volume's: bring the right image back, or \
                 move the record away (it lies in volumes/ of the state directory) and apply, which goes by the image's own word",
                "another image was put there: bring the right one back",
            ),
        );
    }
    if let Some(recorded) = record.image
        && recorded != image.file
        && own::former_loop(s, record)?.is_some()
    {
        return wrong(
            format!("{} was replaced while a loop device still shows the file it was ({recorded})", path.display()),
            s.way(
                "copy off what the loop device has (cp -a from where it is mounted, or dd), then let go of it by name (csictl destroy MANIFEST --delete-data NAME)",
                "copy off what the loop device has (cp -a from where it is mounted, or dd) before anything is taken away",
            ),
        );
    }
    if let Some(required) = record.least()
        && image.size < required
    {
        return wrong(
            format!(
                "{} has {} ({} bytes), the record says {required}: it was cut",
                path.display(),
                image.size,
                image.size.get()
            ),
            "restore the image from a backup; csictl does not stretch a file whose end is lost",
        );
    }
    Ok(image)
}

/// Refuses to make files in a pool in which others than root could exchange them.
pub(super) fn pool_is_private(driver: &LocalDriver, object: &ObjectRef, pool: &Path) -> Result<()> {
    let Some(open_to) = mounted::open_to(driver.host(), pool) else { return Ok(()) };
    let (message, help) = pool_is_open(pool, &open_to);
    Err(DriverError::refused(Refusal::UnsafePath, object.clone(), message, help))
}

/// Refuses to remove what a loop device shows: whoever attached it uses it.
pub(super) fn not_attached(host: &dyn Host, object: &ObjectRef, path: &Path, file: FileId) -> Result<()> {
    let device = host.loop_of_image(path, file, None).map_err(|error| host_failure(object, error))?;
    let Some(device) = device else { return Ok(()) };
    let node = device.node();
    let message = format!("{} is attached to {}", path.display(), node.display());
    let help = format!("csictl who {} shows who holds it", node.display());
    Err(DriverError::refused(Refusal::Busy, object.clone(), message, help))
}

/// What has to be done to the storage before it can be mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Formatting {
    /// It holds the volume's file system.
    Done,
    /// It holds a file system of the type that is asked for, made by somebody else: it is used as it is.
    Adopt(FsUuid),
    /// A format of ours was interrupted after its last byte: it is the volume's, whoever used it since.
    Ended(FsUuid),
    /// It is blank: format it.
    Needed,
    /// A format of ours was interrupted: make it again, unless it came to its end all the same.
    Resume(FsUuid),
}

/// The one place that decides whether storage may be formatted. `disk` is the disk that it is, where it is one.
pub(super) fn formatting(
    s: &Session<'_>,
    record: &VolumeRecord,
    fs: &FsSpec,
    (place, disk): (&str, Option<&DiskId>),
    probe: &Probe,
) -> Result<Formatting> {
    let is = |signature: &Signature, uuid: FsUuid| {
        signature.uuid.as_deref().is_some_and(|text| text.parse::<FsUuid>().ok() == Some(uuid))
    };
    let refuse = |refusal, message: String, help: &str| Err(s.refuse(refusal, message, help));
    if let Probe::Unreadable { .. } = probe {
        return refuse(
            Refusal::NotBlank,
            format!("{place} is {probe}: what cannot be read is not blank"),
            "find out why reading fails (dmesg); nothing was written to it",
        );
    }
    match (record.format, probe) {
        (FormatMark::Done, Probe::Blank) => refuse(
            Refusal::LostFilesystem,
            format!("{place} looks blank, though csictl made or found {} on it before", fs.fs_type),
            "find out who erased it, and restore it; to begin anew, let go of it by name first (csictl destroy MANIFEST --delete-data NAME)",
        ),
        (FormatMark::Done, Probe::Known(found)) => {
            let uuid_fits = record.fs_uuid.is_none_or(|uuid| is(found, uuid));
            if found.kind == fs.fs_type.as_str() && uuid_fits {
                return Ok(Formatting::Done);
            }
            let expected =
                record.fs_uuid.map_or_else(|| fs.fs_type.to_string(), |uuid| format!("{} {uuid}", fs.fs_type));
            refuse(
                Refusal::WrongIdentity,
                format!("{place} holds {found}; expected is {expected}"),
                "bring the right storage back, or correct the manifest",
            )
        }
        (FormatMark::Begun, found) if disk.is_some_and(|disk| record.may_be_resumed(fs.fs_type, disk, found)) => {
            Ok(Formatting::Resume(record.fs_uuid.unwrap_or_else(FsUuid::random)))
        }
        (FormatMark::Begun, found) if record.fs_uuid.is_some_and(|uuid| found.is_half_made(fs.fs_type, uuid)) => {
            let (message, help) = VolumeRecord::remains_elsewhere(place, found);
            refuse(Refusal::WrongIdentity, message, help)
        }
        (FormatMark::None, Probe::Known(found)) if fs.format == FormatPolicy::Never || is_device(record) => {
            match found.uuid.as_deref().map(str::parse::<FsUuid>) {
                Some(Ok(uuid)) if found.kind == fs.fs_type.as_str() => Ok(Formatting::Adopt(uuid)),
                _ if fs.format == FormatPolicy::Never => refuse(
                    Refusal::WrongIdentity,
                    format!("{place} holds {found}; expected is {}", fs.fs_type),
                    "correct fs.type in the manifest",
                ),
                _ => refuse(
                    Refusal::NotBlank,
                    format!("{place} holds {found}: it is not formatted, and it is no {} to use", fs.fs_type),
                    "if fs.type should say what is there, correct it; otherwise look at it with blkid -p, and zero it yourself (blkdiscard --zeroout) if its data may go",
                ),
            }
        }
        (FormatMark::None | FormatMark::Begun, Probe::Blank) if fs.format == FormatPolicy::Never => refuse(
            Refusal::NotReady,
            format!("{place} is blank, and fs.format is \"never\""),
            "make the file system yourself, or leave fs.format out (\"if-blank\")",
        ),
        (FormatMark::None | FormatMark::Begun, Probe::Blank) => Ok(Formatting::Needed),
        (_, found) => refuse(
            Refusal::NotBlank,
            format!("{place} holds {found}: it is not formatted"),
            "find out who wrote to it; a device whose data may go is zeroed with blkdiscard --zeroout, an image let go of with csictl destroy MANIFEST --delete-data NAME",
        ),
    }
}

/// A disk may come with a file system on it; an image of csictl's holds what csictl put there.
fn is_device(record: &VolumeRecord) -> bool {
    matches!(record.spec.backing, Backing::Device(_))
}

/// What is said about a file system that is used as it is, though it is not quite as asked.
pub(super) fn adopted_note(fs: &FsSpec, place: &str, probe: &Probe) -> Option<String> {
    let wanted = fs.label.as_ref()?;
    let label = probe.known()?.label.as_deref().unwrap_or_default();
    (label != wanted).then(|| {
        format!("{place} holds a file system labelled '{label}', not '{wanted}': it is used as it is, label and all")
    })
}

/// Formats a device as decided, with the chosen UUID durable before the first byte and the mark after the last.
pub(super) fn format_device(
    s: &mut Session<'_>,
    record: &mut VolumeRecord,
    decision: Formatting,
    disk: Option<&DiskId>,
    mut request: FormatRequest,
) -> Result<()> {
    match decision {
        Formatting::Done => return Ok(()),
        Formatting::Ended(uuid) => record.fs_uuid = Some(uuid),
        Formatting::Adopt(uuid) => (record.fs_uuid, record.adopted) = (Some(uuid), true),
        Formatting::Needed | Formatting::Resume(_) => {
            let uuid = record.fs_uuid.filter(|_| record.format == FormatMark::Begun).unwrap_or_else(FsUuid::random);
            record.fs_uuid = Some(uuid);
            record.format = FormatMark::Begun;
            record.disk = disk.cloned();
            s.put_record(record.clone(), true)?;
            request.uuid = uuid;
            request.resume = matches!(decision, Formatting::Resume(_));
            s.host().format(&request, s.lock.own()).map_err(|error| s.fail(error))?;
        }
    }
    record.format = FormatMark::Done;
    s.put_record(record.clone(), true)
}

/// Whether an interrupted mkfs came to its end all the same: then somebody may have used the file system since, and it is kept.
///
/// # Errors
/// It is damaged, and was in use: what mkfs left and what a user left cannot be told apart.
pub(super) fn came_to_its_end(s: &Session<'_>, fs: FsType, node: &Path, probe: &Probe) -> Result<bool> {
    if probe.known().is_none() {
        return Ok(false);
    }
    match s.host().made(node, fs, s.lock.own()).map_err(|error| s.fail(error))? {
        Made::Whole => Ok(true),
        Made::Unfinished => Ok(false),
        Made::Unclear => Err(s.refuse(
            Refusal::NotBlank,
            format!("{} holds {probe}, which has errors and may have been in use", node.display()),
            "repair it unmounted; or, if its data may go, zero it (blkdiscard --zeroout), and apply again",
        )),
    }
}

/// Refuses to make a file system again where the manifest forbids to make one or to lose one.
pub(super) fn may_be_made_again(
    s: &Session<'_>,
    record: &VolumeRecord,
    fs: &FsSpec,
    place: &str,
    probe: &Probe,
) -> Result<()> {
    let Some((refusal, why)) = record.keeps_remains(fs.format) else { return Ok(()) };
    let refusal = if refusal == "protected" { Refusal::Protected } else { Refusal::NotBlank };
    let (message, help) = VolumeRecord::remains_are_kept(place, probe, why);
    Err(s.refuse(refusal, message, help))
}

/// Refuses to lose a volume's data without its own approval, or at all when it is protected.
pub(super) fn may_lose(s: &Session<'_>, record: &VolumeRecord, loss: Loss, approval: Option<&Approval>) -> Result<()> {
    let says_so = image_says(s, record, |identity| identity.protected)?;
    if record.protected() || says_so {
        let (why, help) = if says_so && !record.spec.prevent_destroy {
            ("its image says so itself", "apply its manifest with prevent_destroy = false first: that lifts it")
        } else if record.spec.prevent_destroy {
            ("prevent_destroy is set", "set prevent_destroy = false in its manifest and apply that first")
        } else {
            ("its record was lost and rebuilt", "apply its manifest first: that confirms what it is")
        };
        return Err(s.refuse(Refusal::Protected, format!("volume {} is protected: {why}", s.id), help));
    }
    // Only an image is unlinked: the bytes of a device or directory stay, memory was scratch from the start.
    let forgets = loss == Loss::Delete && record.spec.backing.as_image().is_none();
    if forgets || matches!(record.spec.backing, Backing::Tmpfs(_)) {
        return Ok(());
    }
    match approval {
        Some(approval) if approval.object == s.object() && approval.loss == loss => Ok(()),
        _ => Err(s.unapproved(loss, format!("its data would be lost ({loss})"))),
    }
}

/// Refuses to take away what holds the last of a volume's bytes: a loop device whose file no name leads to any more. `away` is what would
/// be taken away.
pub(super) fn not_the_last(s: &Session<'_>, record: &VolumeRecord, device: &LoopDevice, away: &str) -> Result<()> {
    let approved = |loss| s.driver.approved.contains(&Approval { object: s.object(), loss });
    let Some(backing) = record.spec.backing.as_image() else { return Ok(()) };
    let path = backing.image_path(&s.id);
    let there = s.host().stat(&path).ok().flatten().is_some_and(|there| there.file == device.backing);
    if there || approved(Loss::Delete) || approved(Loss::Wipe) {
        return Ok(());
    }
    if !s.host().is_last_copy(device.index).map_err(|error| s.fail(error))? {
        return Ok(());
    }
    let node = device.node();
    let node = node.display();
    let then = if record.spec.owner == Owner::Csi {
        format!("then take {away} away by hand")
    } else {
        format!("then csictl destroy MANIFEST --delete-data {}", s.id.short())
    };
    Err(s.refuse(
        Refusal::Unapproved,
        format!("its image {} was unlinked or replaced, and {node} is all that has its data: without {away} it is lost", path.display()),
        format!("copy it off first: its files with cp -a, or, nobody writing to it, dd if={node} of=FILE bs=1M conv=sparse; {then}"),
    ))
}

/// What keeps a volume from becoming another spec in place, in words; empty when nothing does.
pub(super) fn fixed_differences(is: &VolumeSpec, wanted: &VolumeSpec) -> Vec<String> {
    let mut found = Vec::new();
    let mut differ = |what: &str, is: String, wanted: String| {
        if is != wanted {
            found.push(format!("{what} is {is}, asked is {wanted}"));
        }
    };
    let mode = |spec: &VolumeSpec| if spec.is_raw() { "block" } else { "filesystem" }.to_owned();
    differ("volume_mode", mode(is), mode(wanted));
    differ("backing", is.backing.kind().to_owned(), wanted.backing.kind().to_owned());
    match (&is.backing, &wanted.backing) {
        (Backing::Image(is_image), Backing::Image(asked)) => {
            let path = |image: &ImageBacking| image.pool_path.display().to_string();
            differ("the pool's directory", path(is_image), path(asked));
            if wanted.source.is_none() {
                let size = |image: &ImageBacking| image.sector_size.bytes().to_string();
                differ("sector_size", size(is_image), size(asked));
            }
        }
        (Backing::Device(is_device), Backing::Device(asked)) => {
            differ("device.path", is_device.path.display().to_string(), asked.path.display().to_string());
        }
        (Backing::Directory(is_directory), Backing::Directory(asked)) => {
            differ("directory.path", is_directory.path.display().to_string(), asked.path.display().to_string());
        }
        _ => {}
    }
    let fs = |spec: &VolumeSpec| spec.fs_type().map_or_else(|| "none".to_owned(), |fs| fs.to_string());
    differ("fs.type", fs(is), fs(wanted));
    // A source acts at creation only: leaving it out later changes nothing, but a CreateVolume call has to repeat it.
    if is.source != wanted.source && (wanted.source.is_some() || wanted.owner == Owner::Csi) {
        found.push("its source differs".to_owned());
    }
    found
}

/// Refuses a spec that cannot be reached in place.
pub(super) fn compatible(s: &Session<'_>, is: &VolumeSpec, wanted: &VolumeSpec, refusal: Refusal) -> Result<()> {
    let differences = fixed_differences(is, wanted);
    if differences.is_empty() {
        return Ok(());
    }
    Err(s.refuse(
        refusal,
        format!("volume {} exists already and differs: {}", s.id, differences.join("; ")),
        "ask for what is there, choose another name, or let it be replaced (approval =wipe)",
    ))
}

/// The file an image has to be before it is changed.
pub(super) fn size_of(image: &ObservedImage) -> (FileId, Capacity) {
    (image.file, image.size)
}
