//! The only `unsafe` of the house: system calls that no crate wraps, each behind a safe function with plain types.
//!
//! Loop ioctls (loop(4)), mount_setattr(2), statmount(2), FIFREEZE, a lease that tells whether anybody else has a file open,
//! and the fork of the child that holds a freeze. Layouts and numbers are those of the kernel's uapi headers.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_long};
use std::fs::File;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::time::Duration;

/// `LO_FLAGS_READ_ONLY`.
pub const LO_READ_ONLY: u32 = 1;
/// `LO_FLAGS_AUTOCLEAR`.
pub const LO_AUTOCLEAR: u32 = 4;
/// `LO_FLAGS_DIRECT_IO`.
pub const LO_DIRECT_IO: u32 = 16;

const LO_NAME_SIZE: usize = 64;

/// `struct loop_info64` (linux/loop.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo64 {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; LO_NAME_SIZE],
    crypt_name: [u8; LO_NAME_SIZE],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` (linux/loop.h).
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo64,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopInfo64>() == 232 && size_of::<LoopConfig>() == 304);

nix::ioctl_read_bad!(
    /// LOOP_GET_STATUS64.
    loop_get_status64, 0x4C05, LoopInfo64);
nix::ioctl_write_ptr_bad!(
    /// LOOP_SET_STATUS64.
    loop_set_status64, 0x4C04, LoopInfo64);
nix::ioctl_write_ptr_bad!(
    /// LOOP_CONFIGURE.
    loop_configure, 0x4C0A, LoopConfig);
nix::ioctl_write_int_bad!(
    /// LOOP_CTL_REMOVE.
    loop_ctl_remove, 0x4C81);
nix::ioctl_readwrite!(
    /// FIFREEZE.
    fifreeze, b'X', 119, c_int);
nix::ioctl_readwrite!(
    /// FITHAW.
    fithaw, b'X', 120, c_int);
nix::ioctl_read!(
    /// BLKGETSIZE64; the header says size_t, the kernel writes eight bytes.
    blkgetsize64, 0x12, 114, u64);
nix::ioctl_read_bad!(
    /// BLKROGET.
    blkroget, nix::request_code_none!(0x12, 94), c_int);
nix::ioctl_read!(
    /// XFS_IOC_GET_RESBLKS: blocks kept back, and how many of them are left.
    xfs_get_resblks, b'X', 115, [u64; 2]);
nix::ioctl_read!(
    /// XFS_IOC_FSGEOMETRY_V1, whose size is all that the number holds.
    xfs_geometry_v1, b'X', 100, [u32; 28]);

/// How many extents one FIEMAP call asks for.
const FIEMAP_EXTENTS: usize = 64;
const FIEMAP_COUNT: u32 = 64;

/// `struct fiemap` (linux/fiemap.h) without its extents.
#[repr(C)]
struct FiemapHead {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
}

/// `struct fiemap_extent` (linux/fiemap.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct FiemapExtent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

#[repr(C)]
struct Fiemap {
    head: FiemapHead,
    extents: [FiemapExtent; FIEMAP_EXTENTS],
}

const _: () = assert!(size_of::<FiemapHead>() == 32 && size_of::<FiemapExtent>() == 56);
const _: () = assert!(FIEMAP_COUNT as usize == FIEMAP_EXTENTS);

nix::ioctl_readwrite!(
    /// FS_IOC_FIEMAP.
    fs_ioc_fiemap, b'f', 11, FiemapHead);

/// Where a stretch of a file lies on its file system's device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappedExtent {
    /// Its first byte in the file.
    pub logical: u64,
    /// Its first byte on the device.
    pub physical: u64,
    /// How many bytes.
    pub length: u64,
    /// `FIEMAP_EXTENT_*`.
    pub flags: u32,
}

/// The first extents of a file in a range, as many as one call answers.
///
/// # Errors
/// EOPNOTSUPP where the file system does not tell.
pub fn fiemap(file: BorrowedFd<'_>, start: u64, length: u64) -> io::Result<Vec<MappedExtent>> {
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut map: Fiemap = unsafe { zeroed() };
    map.head.start = start;
    map.head.length = length;
    map.head.count = FIEMAP_COUNT;
    // SAFETY: the descriptor is open for the call's length; behind the head lies room for `count` extents, which is all the kernel writes.
    unsafe { fs_ioc_fiemap(file.as_raw_fd(), (&raw mut map).cast::<FiemapHead>()) }?;
    let found = map.extents.iter().take(map.head.mapped as usize);
    Ok(found
        .map(|extent| MappedExtent {
            logical: extent.logical,
            physical: extent.physical,
            length: extent.length,
            flags: extent.flags,
        })
        .collect())
}

/// What LOOP_GET_STATUS64 says of an attached device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoopStatus {
    /// Device of the backing file, as in `st_dev`.
    pub device: u64,
    /// Inode of the backing file.
    pub inode: u64,
    /// Offset into it.
    pub offset: u64,
    /// Bytes used of it; 0 for all.
    pub size_limit: u64,
    /// `LO_*` flags.
    pub flags: u32,
}

/// Asks a loop device what is behind it.
///
/// # Errors
/// ENXIO when nothing is.
pub fn loop_status(device: BorrowedFd<'_>) -> io::Result<LoopStatus> {
    let info = loop_info(device)?;
    Ok(LoopStatus {
        device: info.device,
        inode: info.inode,
        offset: info.offset,
        size_limit: info.size_limit,
        flags: info.flags,
    })
}

fn loop_info(device: BorrowedFd<'_>) -> io::Result<LoopInfo64> {
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut info: LoopInfo64 = unsafe { zeroed() };
    // SAFETY: the descriptor is open for the call's length, `info` is a writable struct of the layout the kernel fills.
    unsafe { loop_get_status64(device.as_raw_fd(), &raw mut info) }?;
    Ok(info)
}

/// Attaches `backing` to a free loop device in one call.
///
/// # Errors
/// EBUSY when somebody was faster.
pub fn loop_attach(device: BorrowedFd<'_>, backing: BorrowedFd<'_>, block_size: u32, flags: u32) -> io::Result<()> {
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut config: LoopConfig = unsafe { zeroed() };
    config.fd = backing.as_raw_fd().cast_unsigned();
    config.block_size = block_size;
    config.info.flags = flags;
    // SAFETY: both descriptors are open for the call's length, `config` is a whole loop_config the kernel only reads.
    unsafe { loop_configure(device.as_raw_fd(), &raw const config) }?;
    Ok(())
}

/// Sets or clears AUTOCLEAR of an attached loop device. Costs an RCU grace period (16 ms).
///
/// # Errors
/// What LOOP_SET_STATUS64 says.
pub fn loop_set_autoclear(device: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let mut info = loop_info(device)?;
    info.flags = if on { info.flags | LO_AUTOCLEAR } else { info.flags & !LO_AUTOCLEAR };
    // SAFETY: the descriptor is open for the call's length, `info` is a whole loop_info64 the kernel only reads.
    unsafe { loop_set_status64(device.as_raw_fd(), &raw const info) }?;
    Ok(())
}

/// Removes a free loop device from the system; the kernel makes it anew on demand.
///
/// # Errors
/// EBUSY when it is attached or open.
pub fn loop_remove(control: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    // SAFETY: the descriptor is open for the call's length; the argument is a plain number.
    unsafe { loop_ctl_remove(control.as_raw_fd(), index.cast_signed()) }?;
    Ok(())
}

/// Size of a block device in bytes.
///
/// # Errors
/// ENOTTY when it is none.
pub fn block_size_bytes(device: BorrowedFd<'_>) -> io::Result<u64> {
    let mut size = 0u64;
    // SAFETY: the descriptor is open for the call's length and the kernel writes eight bytes to `size`.
    unsafe { blkgetsize64(device.as_raw_fd(), &raw mut size) }?;
    Ok(size)
}

/// Whether a block device refuses writes.
///
/// # Errors
/// ENOTTY when it is none.
pub fn block_read_only(device: BorrowedFd<'_>) -> io::Result<bool> {
    let mut read_only: c_int = 0;
    // SAFETY: the descriptor is open for the call's length and the kernel writes one int.
    unsafe { blkroget(device.as_raw_fd(), &raw mut read_only) }?;
    Ok(read_only != 0)
}

/// Whether the XFS that `fd` lies on shares extents (XFS_FSOP_GEOM_FLAGS_REFLINK).
///
/// # Errors
/// ENOTTY on another file system.
pub fn xfs_reflink(fd: BorrowedFd<'_>) -> io::Result<bool> {
    /// Index of `flags` in struct xfs_fsop_geom_v1, counted in u32.
    const FLAGS: usize = 23;
    const REFLINK: u32 = 1 << 20;
    let mut geometry = [0u32; 28];
    // SAFETY: the descriptor is open for the call's length; the array has the 112 bytes that the ioctl's number names.
    unsafe { xfs_geometry_v1(fd.as_raw_fd(), &raw mut geometry) }?;
    Ok(geometry[FLAGS] & REFLINK != 0)
}

/// How many blocks the XFS at a descriptor keeps back: some while it may be written to, none while it is frozen.
///
/// # Errors
/// ENOTTY on another file system, EPERM without CAP_SYS_ADMIN.
pub fn xfs_blocks_kept_back(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut kept = [0u64; 2];
    // SAFETY: the descriptor is open for the call's length; the array has the 16 bytes that the ioctl's number names.
    unsafe { xfs_get_resblks(fd.as_raw_fd(), &raw mut kept) }?;
    Ok(kept[0])
}

/// Thaws a frozen file system.
///
/// # Errors
/// EINVAL when it is not frozen.
pub fn thaw(mount_point: BorrowedFd<'_>) -> io::Result<()> {
    let mut unused: c_int = 0;
    // SAFETY: the descriptor is open for the call's length; the argument is not used by the kernel.
    unsafe { fithaw(mount_point.as_raw_fd(), &raw mut unused) }?;
    Ok(())
}

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

fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
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

/// Whether nobody but the caller has this file open, in any process or as a loop's backing.
///
/// A write lease is granted only to the sole opener (fcntl(2), F_SETLEASE), so asking for one and giving it back tells without
/// looking at every loop device. `false` also when the file system knows no leases.
pub fn sole_opener(file: BorrowedFd<'_>) -> bool {
    const F_SETSIG: c_int = 10;
    let raw = file.as_raw_fd();
    // Whoever opens the file in that moment breaks the lease, and the kernel tells us by a signal: SIGIO would kill this process,
    // SIGURG is ignored by default.
    // SAFETY: fcntl with integer arguments on a descriptor that is open for the call's length.
    let granted = unsafe {
        libc::fcntl(raw, F_SETSIG, libc::SIGURG) == 0 && libc::fcntl(raw, libc::F_SETLEASE, libc::F_WRLCK) == 0
    };
    if granted {
        // SAFETY: as above.
        unsafe { libc::fcntl(raw, libc::F_SETLEASE, libc::F_UNLCK) };
    }
    granted
}

/// A child that holds a freeze.
#[derive(Debug)]
pub struct FreezeChild {
    pid: libc::pid_t,
    /// While this end is open the child keeps the file system frozen.
    keep: Option<OwnedFd>,
    /// What the child has to say, one byte each: see [`FREEZE_HELD`].
    pub said: OwnedFd,
}

/// The child has frozen the file system.
pub const FREEZE_HELD: u8 = b'f';
/// The child has thawed it because its time was over.
pub const FREEZE_TIMED_OUT: u8 = b't';
/// Freezing failed; the errno follows as one byte.
pub const FREEZE_FAILED: u8 = b'e';

impl FreezeChild {
    /// Forks a child that freezes the file system and thaws it when this value is dropped, when this process dies, or when
    /// `timeout` is over. The file descriptor of the mount point has to be above 2.
    ///
    /// # Errors
    /// The pipes or the fork; what FIFREEZE says comes through [`Self::said`].
    pub fn spawn(mount_point: BorrowedFd<'_>, timeout: Duration) -> io::Result<Self> {
        let (keep_read, keep_write) = pipe()?;
        let (said_read, said_write) = pipe()?;
        let milliseconds = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the child of this threaded process calls nothing but async-signal-safe functions and leaves with _exit.
        let pid = unsafe { libc::fork() };
        match pid {
            -1 => Err(io::Error::last_os_error()),
            0 => freeze_child(mount_point.as_raw_fd(), keep_read.as_raw_fd(), said_write.as_raw_fd(), milliseconds),
            pid => Ok(Self { pid, keep: Some(keep_write), said: said_read }),
        }
    }

    /// Has the child thaw the file system, and answers whether there was something to thaw: that it was alive, its time was not over, and
    /// nobody else had thawed it.
    pub fn end(mut self) -> bool {
        self.wait() == Some(0)
    }

    /// Ends the child, once; what it exited with, if it did.
    fn wait(&mut self) -> Option<c_int> {
        drop(self.keep.take()?);
        let mut status = 0;
        loop {
            // SAFETY: waiting for a child of ours; `status` is a writable int.
            match unsafe { libc::waitpid(self.pid, &raw mut status, 0) } {
                -1 if io::Error::last_os_error().raw_os_error() == Some(libc::EINTR) => {}
                -1 => return None,
                _ => return libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
            }
        }
    }
}

impl Drop for FreezeChild {
    fn drop(&mut self) {
        self.wait();
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0 as c_int; 2];
    // SAFETY: the array has room for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: pipe2 succeeded, so both are open and nobody else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// The life of the freezing child. Runs between fork and _exit: no allocation, no lock, no panic.
fn freeze_child(mount_point: c_int, keep: c_int, said: c_int, timeout: c_int) -> ! {
    // SAFETY: only async-signal-safe calls on descriptors this process inherited, with pointers to locals.
    unsafe {
        // Ctrl-C at the terminal, and whatever else can be blocked, is not for this child: it ends with its pipe.
        libc::setpgid(0, 0);
        let mut all: libc::sigset_t = zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        close_others([mount_point, keep, said]);
        let mut unused: c_int = 0;
        if let Err(errno) = fifreeze(mount_point, &raw mut unused) {
            let message = [FREEZE_FAILED, (errno as i32).to_le_bytes()[0]];
            libc::write(said, message.as_ptr().cast(), message.len());
            libc::_exit(1);
        }
        libc::write(said, [FREEZE_HELD].as_ptr().cast(), 1);
        let mut wait = libc::pollfd { fd: keep, events: libc::POLLIN, revents: 0 };
        let timed_out = libc::poll(&raw mut wait, 1, timeout) == 0;
        let thawed = fithaw(mount_point, &raw mut unused).is_ok();
        if timed_out {
            libc::write(said, [FREEZE_TIMED_OUT].as_ptr().cast(), 1);
        }
        libc::_exit(c_int::from(timed_out || !thawed));
    }
}

/// Closes every descriptor but these three: a lock or another child's pipe that stayed open here would outlive its owner.
///
/// # Safety
/// Only for a child between fork and _exit, which uses none of the closed descriptors.
unsafe fn close_others(mut keep: [c_int; 3]) {
    // Three values, sorted by hand: nothing here may allocate or panic.
    if keep[0] > keep[1] {
        keep.swap(0, 1);
    }
    if keep[1] > keep[2] {
        keep.swap(1, 2);
    }
    if keep[0] > keep[1] {
        keep.swap(0, 1);
    }
    let mut from = 0;
    for fd in keep {
        if fd > from {
            // SAFETY: close_range touches no memory.
            unsafe { libc::syscall(libc::SYS_close_range, from, fd - 1, 0) };
        }
        from = fd + 1;
    }
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_close_range, from, c_int::MAX, 0) };
}

/// Marks every descriptor but the three of stdio close-on-exec. What csictl opens is so from the start; what it was started with
/// need not be, and would reach every helper (CVE-2024-21626).
///
/// # Errors
/// ENOSYS or EINVAL before Linux 5.11.
pub fn close_inherited_on_exec() -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: c_int = 4;
    // SAFETY: close_range touches no memory, and with this flag closes nothing.
    if unsafe { libc::syscall(libc::SYS_close_range, 3 as c_int, c_int::MAX, CLOSE_RANGE_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Major and minor of a `dev_t`.
pub fn device_numbers(device: u64) -> (u32, u32) {
    (libc::major(device), libc::minor(device))
}

/// Has a program that is started by `command` get this descriptor, under its number. Nobody else who is started meanwhile does.
pub fn hand_down(command: &mut impl CommandExt, file: BorrowedFd<'_>) {
    let number = file.as_raw_fd();
    // SAFETY: fcntl with F_SETFD touches no memory, and answers EBADF for a number that is no descriptor.
    let keep = move || check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }.into()).map(drop);
    // SAFETY: between fork and exec nothing is called but that one fcntl, which a signal handler may call too.
    unsafe { command.pre_exec(keep) };
}

/// Takes over a descriptor that this process was started with, and keeps it from its children.
///
/// # Errors
/// EBADF when there is none of this number.
pub fn inherited(number: c_int) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with F_SETFD touches no memory, and answers EBADF for a number that is no descriptor.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) }.into())?;
    // SAFETY: the descriptor is open, and nothing in this process owns it: it was there before main.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Takes over the descriptor of something that gives it away.
pub fn own(from: impl IntoRawFd) -> File {
    // SAFETY: into_raw_fd gives up ownership of an open descriptor, so it is ours alone.
    unsafe { File::from_raw_fd(from.into_raw_fd()) }
}

/// Lends the descriptor of something that only tells its number (loopdev's devices).
pub fn with_fd<T>(of: &impl AsRawFd, act: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
    // SAFETY: `of` is borrowed for the whole call, so its descriptor stays open.
    act(unsafe { BorrowedFd::borrow_raw(of.as_raw_fd()) })
}
