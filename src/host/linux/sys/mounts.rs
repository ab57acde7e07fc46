//! mount_setattr(2) and statmount(2), with the layouts of the kernel's uapi headers.

use std::ffi::c_long;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// `struct mount_attr` (linux/mount.h).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct MountAttr {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear.
    pub clear: u64,
    /// MS_PRIVATE, MS_SLAVE, MS_SHARED, or 0 to leave it.
    pub propagation: u64,
    /// For id-mapped mounts; unused.
    pub user_namespace: u64,
}

/// `MOUNT_ATTR_*` (linux/mount.h).
pub mod attr {
    #![allow(missing_docs)]
    pub const RDONLY: u64 = 0x1;
    pub const NOSUID: u64 = 0x2;
    pub const NODEV: u64 = 0x4;
    pub const NOEXEC: u64 = 0x8;
    pub const ATIME_MASK: u64 = 0x70;
    pub const RELATIME: u64 = 0x0;
    pub const NOATIME: u64 = 0x10;
    pub const STRICTATIME: u64 = 0x20;
    pub const NODIRATIME: u64 = 0x80;
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// mount_setattr(2) on the mount that `mount` is open on.
///
/// # Errors
/// What the kernel says.
pub fn mount_setattr(mount: BorrowedFd<'_>, attributes: &MountAttr) -> io::Result<()> {
    // SAFETY: the descriptor and the empty C string live for the call's length; the struct has the size that is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            std::ptr::from_ref(attributes),
            size_of::<MountAttr>(),
        )
    };
    check(result).map(drop)
}

/// statmount(2) has the same number on every architecture Rust knows, but alpha.
const SYS_STATMOUNT: c_long = 457;

/// `struct mnt_id_req`, first version (linux/mount.h).
#[repr(C)]
struct MountIdRequest {
    size: u32,
    spare: u32,
    id: u64,
    param: u64,
}

/// The first fields of `struct statmount` (linux/mount.h); its strings begin at byte [`STATMOUNT_STRINGS`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct StatMountHead {
    size: u32,
    mount_options: u32,
    /// Which fields were filled.
    pub mask: u64,
    /// Device of the superblock.
    pub major: u32,
    /// Likewise.
    pub minor: u32,
    magic: u64,
    /// `SB_*` flags.
    pub super_flags: u32,
    fs_type: u32,
    id: u64,
    /// Unique id of the mount it lies on.
    pub parent_id: u64,
    /// The id as in mountinfo.
    pub old_id: u32,
    /// The parent's, likewise.
    pub old_parent_id: u32,
    /// `MOUNT_ATTR_*`.
    pub attributes: u64,
    /// `MS_SHARED`, `MS_SLAVE`….
    pub propagation: u64,
    peer_group: u64,
    master: u64,
    propagate_from: u64,
    root: u32,
    point: u32,
    namespace: u64,
    fs_subtype: u32,
    source: u32,
}

/// `STATMOUNT_*` masks (linux/mount.h).
pub mod statmount_mask {
    #![allow(missing_docs)]
    pub const SB_BASIC: u64 = 0x1;
    pub const MNT_BASIC: u64 = 0x2;
    pub const MNT_ROOT: u64 = 0x8;
    pub const MNT_POINT: u64 = 0x10;
    pub const FS_TYPE: u64 = 0x20;
    pub const MNT_OPTS: u64 = 0x80;
    pub const FS_SUBTYPE: u64 = 0x100;
    pub const SB_SOURCE: u64 = 0x200;
    /// Everything but its options, which a file system makes up anew for each who asks.
    pub const IDENTITY: u64 = SB_BASIC | MNT_BASIC | MNT_ROOT | MNT_POINT | FS_TYPE | FS_SUBTYPE | SB_SOURCE;
    /// Everything.
    pub const WHOLE: u64 = IDENTITY | MNT_OPTS;
}

const STATMOUNT_STRINGS: usize = 512;
const _: () = assert!(size_of::<StatMountHead>() == 128);

/// One mount as statmount(2) tells it.
#[derive(Debug, Clone)]
pub struct StatMount {
    /// The fixed fields.
    pub head: StatMountHead,
    /// Root within its file system, raw bytes.
    pub root: Vec<u8>,
    /// Where, raw bytes.
    pub point: Vec<u8>,
    /// Type.
    pub fs_type: Vec<u8>,
    /// Subtype (`fuse.NAME`).
    pub fs_subtype: Vec<u8>,
    /// Source.
    pub source: Vec<u8>,
    /// Options of the superblock, comma-separated, without those in `super_flags`.
    pub options: Vec<u8>,
}

/// Asks for one mount by its unique id (statx's STATX_MNT_ID_UNIQUE); `wanted` is of [`statmount_mask`], and what is not asked for is empty.
///
/// # Errors
/// ENOSYS before 6.8; ENOENT when there is no such mount in this namespace.
pub fn statmount(id: u64, wanted: u64) -> io::Result<StatMount> {
    use statmount_mask as m;
    let size = u32::try_from(size_of::<MountIdRequest>()).expect("a struct of 24 bytes");
    let request = MountIdRequest { size, spare: 0, id, param: wanted };
    // Two pages hold nearly every mount; long overlay option lists need more.
    let mut words = vec![0u64; 1024];
    loop {
        // SAFETY: the request has the size it names; the buffer is writable for the length passed and aligned for u64.
        let result = unsafe {
            libc::syscall(SYS_STATMOUNT, &raw const request, words.as_mut_ptr(), words.len() * size_of::<u64>(), 0)
        };
        match check(result) {
            Ok(_) => break,
            Err(error) if error.raw_os_error() == Some(libc::EOVERFLOW) && words.len() < (1 << 18) => {
                words = vec![0u64; words.len() * 4];
            }
            Err(error) => return Err(error),
        }
    }
    // SAFETY: the vector owns that many bytes, every one of them initialised, and u8 has no alignment.
    let bytes: &[u8] = unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len() * size_of::<u64>()) };
    // SAFETY: the buffer is larger than the head, aligned for it, was filled by the kernel, and every bit pattern is a valid head.
    let head: StatMountHead = unsafe { std::ptr::read(words.as_ptr().cast()) };
    let text = |bit: u64, offset: u32| -> Vec<u8> {
        if head.mask & bit == 0 {
            return Vec::new();
        }
        let from = STATMOUNT_STRINGS + usize::try_from(offset).unwrap_or(usize::MAX - STATMOUNT_STRINGS);
        let rest = bytes.get(from..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
    };
    Ok(StatMount {
        head,
        root: text(m::MNT_ROOT, head.root),
        point: text(m::MNT_POINT, head.point),
        fs_type: text(m::FS_TYPE, head.fs_type),
        fs_subtype: text(m::FS_SUBTYPE, head.fs_subtype),
        source: text(m::SB_SOURCE, head.source),
        options: text(m::MNT_OPTS, head.mount_options),
    })
}
