//! VolumeCapability in csictl's own words (CSI 1.12, VolumeCapability): which file system, which options, how many users. csictl
//! serves one node, so the multi-node modes are refused, in Create and Validate alike.

use tonic::Status;

use super::parameters::shown;
use super::proto::VolumeCapability;
use super::proto::volume_capability::AccessType;
use super::proto::volume_capability::access_mode::Mode;
use super::request::MAP_MAX;
pub use crate::model::Capability;
use crate::model::mount_options::{self, MountKind};
use crate::model::{AccessMode, FsType, VolumeMode};

/// Bytes of a mount flag that is said back whole; none that is allowed is longer.
const FLAG_SHOWN: usize = 80;
/// More mount flags than these are not complained about at once.
const REFUSED_SHOWN: usize = 4;

/// The file system of a volume that asks for none.
const DEFAULT_FS: FsType = FsType::Ext4;

impl Capability {
    /// Reads one.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for what is missing, unknown or not allowed here.
    pub fn read(capability: &VolumeCapability) -> Result<Self, Status> {
        let mode = capability.access_mode.ok_or_else(|| missing("access_mode"))?;
        let access_mode = access_mode(mode.mode())?;
        match capability.access_type.as_ref().ok_or_else(|| missing("access_type: block or mount"))? {
            AccessType::Block(_) => Ok(Self {
                volume_mode: VolumeMode::Block,
                fs_type: None,
                mount_flags: Vec::new(),
                group: None,
                access_mode,
            }),
            AccessType::Mount(mount) => {
                let fs_type = fs_type(&mount.fs_type)?;
                flags(fs_type.unwrap_or(DEFAULT_FS), &mount.mount_flags)?;
                Ok(Self {
                    volume_mode: VolumeMode::Filesystem,
                    fs_type,
                    mount_flags: mount.mount_flags.clone(),
                    group: group(&mount.volume_mount_group)?,
                    access_mode,
                })
            }
        }
    }

    /// Reads all of a request, which has to have at least one.
    ///
    /// # Errors
    /// As [`Capability::read`]; INVALID_ARGUMENT for none.
    pub fn read_all(capabilities: &[VolumeCapability]) -> Result<Vec<Self>, Status> {
        if capabilities.is_empty() {
            return Err(Status::invalid_argument("volume_capabilities is empty: name at least one"));
        }
        capabilities.iter().map(Self::read).collect()
    }

    /// The file system a new volume gets for it; `None` for raw block.
    pub fn fs_to_make(&self) -> Option<FsType> {
        (self.volume_mode == VolumeMode::Filesystem).then(|| self.fs_type.unwrap_or(DEFAULT_FS))
    }
}

/// Refuses mount flags that are too many, or not allowed.
fn flags(fs_type: FsType, flags: &[String]) -> Result<(), Status> {
    let size: usize = flags.iter().map(String::len).sum();
    if size > MAP_MAX {
        return Err(Status::invalid_argument(format!("mount_flags have {size} bytes, the most is {MAP_MAX}")));
    }
    let Err(refused) = mount_options::check_all(MountKind::Fs(fs_type), flags) else { return Ok(()) };
    let text = |(at, why): &(usize, mount_options::RefusedMountOption)| match flags.get(*at) {
        Some(flag) if flag.len() > FLAG_SHOWN => {
            format!("mount flag '{}…' has {} bytes and is none that is allowed", shown(flag), flag.len())
        }
        _ => why.to_string(),
    };
    let texts: Vec<_> = refused.iter().take(REFUSED_SHOWN).map(text).collect();
    Err(Status::invalid_argument(texts.join("; ")))
}

fn missing(field: &str) -> Status {
    Status::invalid_argument(format!("volume_capability has no {field}"))
}

fn access_mode(mode: Mode) -> Result<AccessMode, Status> {
    match mode {
        Mode::SingleNodeWriter => Ok(AccessMode::SingleNodeWriter),
        Mode::SingleNodeReaderOnly => Ok(AccessMode::SingleNodeReaderOnly),
        Mode::SingleNodeSingleWriter => Ok(AccessMode::SingleNodeSingleWriter),
        Mode::SingleNodeMultiWriter => Ok(AccessMode::SingleNodeMultiWriter),
        Mode::Unknown => Err(missing("access mode that is known")),
        Mode::MultiNodeReaderOnly | Mode::MultiNodeSingleWriter | Mode::MultiNodeMultiWriter => {
            let name = mode.as_str_name();
            Err(Status::invalid_argument(format!(
                "access mode {name}: csictl's volumes live on one node; use a SINGLE_NODE mode"
            )))
        }
    }
}

fn fs_type(text: &str) -> Result<Option<FsType>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let known = || FsType::ALL.map(FsType::as_str).join(", ");
    let unknown = |()| Status::invalid_argument(format!("fs_type '{}': use one of {}", shown(text), known()));
    text.parse().map(Some).map_err(unknown)
}

fn group(text: &str) -> Result<Option<u32>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    // The highest number means "leave it as it is" to chown(2).
    let number = text.parse().ok().filter(|number| *number != u32::MAX);
    let bad = || Status::invalid_argument(format!("volume_mount_group '{}' is no group number", shown(text)));
    number.map(Some).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::super::proto::volume_capability::{AccessMode as ProtoMode, BlockVolume, MountVolume};
    use super::*;

    fn mount(fs_type: &str, flags: &[&str], mode: Mode) -> VolumeCapability {
        let mount_flags = flags.iter().map(|f| (*f).to_owned()).collect();
        VolumeCapability {
            access_mode: Some(ProtoMode { mode: mode.into() }),
            access_type: Some(AccessType::Mount(MountVolume {
                fs_type: fs_type.into(),
                mount_flags,
                volume_mount_group: String::new(),
            })),
        }
    }

    #[test]
    fn an_open_file_system_becomes_ext4_when_one_is_made() {
        let capability = Capability::read(&mount("", &["noatime"], Mode::SingleNodeWriter)).unwrap();
        assert_eq!((capability.fs_type, capability.fs_to_make()), (None, Some(FsType::Ext4)));
    }

    #[test]
    fn raw_block_has_no_file_system() {
        let capability = VolumeCapability {
            access_mode: Some(ProtoMode { mode: Mode::SingleNodeWriter.into() }),
            access_type: Some(AccessType::Block(BlockVolume {})),
        };
        assert_eq!(Capability::read(&capability).unwrap().fs_to_make(), None);
    }

    #[test]
    fn what_is_dangerous_or_unknown_is_refused() {
        for (fs_type, flags, mode) in [
            ("ntfs", &[][..], Mode::SingleNodeWriter),
            ("ext4", &["suid"], Mode::SingleNodeWriter),
            ("ext4", &["noatime,dev"], Mode::SingleNodeWriter),
            ("ext4", &[], Mode::MultiNodeMultiWriter),
            ("ext4", &[], Mode::Unknown),
        ] {
            let error = Capability::read(&mount(fs_type, flags, mode)).unwrap_err();
            assert_eq!(error.code(), tonic::Code::InvalidArgument, "{fs_type} {flags:?} {mode:?}");
            assert!(!error.message().is_empty());
        }
    }
}
