//! The nouns and verbs of csictl as plain values: names, sizes, volumes, pods, what is wanted, what was seen.
//!
//! Nothing here touches the system and nothing here decides; every other layer speaks in these types. A string that could
//! be wrong is a newtype that can't ([`Name`], [`VolumeId`], [`Capacity`]).

pub mod access_mode;
pub mod action;
pub mod asked;
pub mod attachment;
pub mod backing;
pub mod capability;
pub mod capacity;
pub mod claims;
pub mod desired;
pub mod device;
pub mod explain;
pub mod filesystem;
pub mod layout;
pub mod mkfs_options;
pub mod mount;
pub mod mount_namespace;
pub mod mount_options;
pub mod name;
pub mod observed;
pub mod owner;
pub mod pod;
pub mod probe;
pub mod record;
pub mod remount;
pub mod shell;
pub mod snapshot;
pub mod storage_class;
pub mod volume;
pub mod was_mounted;

pub use access_mode::AccessMode;
pub use action::{Action, Approval, Done, Loss, Verb};
pub use asked::{Asked, Difference};
pub use attachment::Attachment;
pub use backing::{Allocate, Backing, DeviceBacking, DirectoryBacking, ImageBacking, Pool, SectorSize, TmpfsBacking};
pub use capability::Capability;
pub use capacity::{Capacity, CapacityRange};
pub use claims::{Claim, Claims, Use, pool_is_open, pool_not_mounted};
pub use desired::Desired;
pub use device::{BlockId, DiskId, FileId, LoopDevice};
pub use filesystem::{BTRFS_GROWN_LEAST, FormatPolicy, FsSpec, FsType, FsUuid};
pub use layout::Layout;
pub use mount::{Mount, MountTable, Propagation};
pub use mount_namespace::{MountNamespace, NamespaceState};
pub use name::{GroupId, Name, ObjectRef, SnapshotId, VolumeId};
pub use observed::Observed;
pub use owner::Owner;
pub use pod::{PodSpec, PublishKind, PublishSpec};
pub use probe::{Probe, Signature};
pub use shell::shell_word;
pub use snapshot::{GroupMember, GroupSpec, SnapshotSpec};
pub use storage_class::{StorageClass, StorageConfig};
pub use volume::{Ownership, Reclaim, Source, VolumeMode, VolumeSpec};
pub use was_mounted::WasMounted;
