//! Which mount options a user may give, a file system at a time.
//!
//! An allow-list, because a mount option can undo what csictl promises: `suid` and `dev` let a volume's content act on the
//! host, `errors=panic` lets it stop the machine, `journal_path=` and `device=` reach for other devices, `noload` skips
//! recovery. nosuid, nodev and (ext4) errors=remount-ro are always added by csictl. One string is one option: a comma
//! would smuggle in a second, so only a quoted SELinux context may hold one.

use std::collections::HashMap;
use std::fmt;

use thiserror::Error;

use super::filesystem::FsType;

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MountKind {
    /// A file system on a block device.
    Fs(FsType),
    /// Memory.
    Tmpfs,
    /// A directory of the host.
    Bind,
}

impl fmt::Display for MountKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fs(fs_type) => fs_type.fmt(f),
            Self::Tmpfs => f.pad("tmpfs"),
            Self::Bind => f.pad("directory"),
        }
    }
}

/// One option, taken apart and allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOption {
    /// Its name.
    pub key: String,
    /// Its value, without quotes.
    pub value: Option<String>,
}

impl fmt::Display for MountOption {
    /// As mount(2) wants it in its data: a value with a comma in quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            None => f.write_str(&self.key),
            Some(value) if value.contains(',') => write!(f, "{}=\"{value}\"", self.key),
            Some(value) => write!(f, "{}={value}", self.key),
        }
    }
}

/// An option that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("mount option '{option}' of {kind} is refused: {reason}")]
pub struct RefusedMountOption {
    /// The option, as written.
    pub option: String,
    /// What was to be mounted with it.
    pub kind: MountKind,
    /// Why, and what to write instead where there is something.
    pub reason: String,
}

#[derive(Debug, Clone, Copy)]
enum Value {
    None,
    Number(u64, u64),
    Size,
    Word(&'static [&'static str]),
    /// A word, or no value.
    MaybeWord(&'static [&'static str]),
    Compression,
    Context,
}

type Table = &'static [(&'static str, Value)];

/// Attributes of the mount itself, which every kind has.
const PER_MOUNT: Table = &[
    ("atime", Value::None),
    ("diratime", Value::None),
    ("exec", Value::None),
    ("noatime", Value::None),
    ("nodev", Value::None),
    ("nodiratime", Value::None),
    ("noexec", Value::None),
    ("nosuid", Value::None),
    ("nosymfollow", Value::None),
    ("relatime", Value::None),
    ("ro", Value::None),
    ("rw", Value::None),
    ("strictatime", Value::None),
];

/// Attributes of a superblock that every file system on a device has.
const PER_SUPERBLOCK: Table = &[
    ("async", Value::None),
    ("context", Value::Context),
    ("defcontext", Value::Context),
    ("dirsync", Value::None),
    ("fscontext", Value::Context),
    ("lazytime", Value::None),
    ("nolazytime", Value::None),
    ("rootcontext", Value::Context),
    ("sync", Value::None),
];

/// Seconds between commits; beyond five minutes a crash loses more than anybody expects.
const COMMIT: Value = Value::Number(1, 300);
const NUMBER: Value = Value::Number(0, u32::MAX as u64);
const BOOL: Value = Value::Word(&["0", "1"]);

const EXT4: Table = &[
    ("acl", Value::None),
    ("auto_da_alloc", Value::None),
    ("block_validity", Value::None),
    ("bsdgroups", Value::None),
    ("commit", COMMIT),
    ("data", Value::Word(&["ordered", "journal"])),
    ("delalloc", Value::None),
    ("dioread_lock", Value::None),
    ("dioread_nolock", Value::None),
    ("discard", Value::None),
    ("grpid", Value::None),
    ("grpquota", Value::None),
    ("i_version", Value::None),
    ("init_itable", NUMBER),
    ("inode_readahead_blks", NUMBER),
    ("journal_checksum", Value::None),
    ("journal_ioprio", Value::Number(0, 7)),
    ("max_batch_time", NUMBER),
    ("max_dir_size_kb", NUMBER),
    ("mb_optimize_scan", BOOL),
    ("min_batch_time", NUMBER),
    ("noacl", Value::None),
    ("noblock_validity", Value::None),
    ("nodelalloc", Value::None),
    ("nodiscard", Value::None),
    ("nogrpid", Value::None),
    ("noinit_itable", Value::None),
    ("noquota", Value::None),
    ("prjquota", Value::None),
    ("quota", Value::None),
    ("stripe", NUMBER),
    ("sysvgroups", Value::None),
    ("user_xattr", Value::None),
    ("usrquota", Value::None),
];

const XFS: Table = &[
    ("allocsize", Value::Size),
    ("discard", Value::None),
    ("filestreams", Value::None),
    ("gqnoenforce", Value::None),
    ("gquota", Value::None),
    ("grpquota", Value::None),
    ("inode32", Value::None),
    ("inode64", Value::None),
    ("largeio", Value::None),
    ("logbsize", Value::Size),
    ("logbufs", Value::Number(2, 8)),
    ("noalign", Value::None),
    ("nodiscard", Value::None),
    ("nolargeio", Value::None),
    ("noquota", Value::None),
    ("pqnoenforce", Value::None),
    ("pquota", Value::None),
    ("prjquota", Value::None),
    ("quota", Value::None),
    ("sunit", NUMBER),
    ("swalloc", Value::None),
    ("swidth", NUMBER),
    ("uqnoenforce", Value::None),
    ("uquota", Value::None),
    ("usrquota", Value::None),
    ("wsync", Value::None),
];

const BTRFS: Table = &[
    ("acl", Value::None),
    ("autodefrag", Value::None),
    ("commit", COMMIT),
    ("compress", Value::Compression),
    ("compress-force", Value::Compression),
    ("datacow", Value::None),
    ("datasum", Value::None),
    ("discard", Value::MaybeWord(&["sync", "async"])),
    ("flushoncommit", Value::None),
    ("max_inline", Value::Size),
    ("metadata_ratio", NUMBER),
    ("noacl", Value::None),
    ("noautodefrag", Value::None),
    ("nodatacow", Value::None),
    ("nodatasum", Value::None),
    ("nodiscard", Value::None),
    ("noflushoncommit", Value::None),
    ("nossd", Value::None),
    ("nossd_spread", Value::None),
    ("space_cache", Value::Word(&["v1", "v2"])),
    ("ssd", Value::None),
    ("ssd_spread", Value::None),
    ("thread_pool", Value::Number(1, 256)),
    ("user_subvol_rm_allowed", Value::None),
];

const TMPFS: Table = &[
    ("huge", Value::Word(&["never", "always", "within_size", "advise"])),
    ("inode32", Value::None),
    ("inode64", Value::None),
    ("noswap", Value::None),
    ("nr_inodes", Value::Size),
];

/// What is refused with a reason of its own, because people reach for it.
const REFUSED: &[(&str, &str)] = &[
    ("suid", "a volume's files never gain the rights of their owner; nosuid is always set"),
    ("dev", "device nodes inside a volume never act; nodev is always set"),
    ("errors", "errors=remount-ro is always set for ext4"),
    ("defaults", "it stands for suid and dev among others; leave it out"),
    ("size", "write tmpfs.size"),
    ("nr_blocks", "write tmpfs.size"),
    ("mode", "write the volume's mode"),
    ("uid", "write the volume's owner"),
    ("gid", "write the volume's owner"),
    ("subvol", "write sub_path at the pod's mount"),
    ("subvolid", "write sub_path at the pod's mount"),
    ("bind", "csictl makes the binds itself; list the mount under a pod"),
    ("rbind", "csictl makes the binds itself; list the mount under a pod"),
    ("remount", "csictl remounts by itself when the options change"),
    ("loop", "csictl attaches the loop device itself"),
    ("nouuid", "two file systems with one UUID are never attached together; a clone gets its own"),
    ("noload", "it skips the journal's recovery"),
    ("norecovery", "it skips the journal's recovery"),
    ("nobarrier", "a power cut would lose acknowledged writes"),
    ("barrier", "it is always on"),
    ("shared", "write propagation at the pod's mount"),
    ("private", "write propagation at the pod's mount"),
    ("slave", "write propagation at the pod's mount"),
];

/// Whether an option is of the mount alone, which the kernel itself holds for every file system.
pub fn is_per_mount(option: &str) -> bool {
    PER_MOUNT.iter().any(|(name, _)| *name == option)
}

/// Every option that may be given for this kind, for help and "did you mean".
pub fn known(kind: MountKind) -> impl Iterator<Item = &'static str> {
    tables(kind).into_iter().flatten().map(|(name, _)| *name)
}

/// Takes one option apart and says whether it may be used.
///
/// # Errors
/// The option is not on the list of `kind`, its value is not allowed, or it is more than one option.
pub fn check(kind: MountKind, option: &str) -> Result<MountOption, RefusedMountOption> {
    let refuse = |reason: String| RefusedMountOption { option: option.to_owned(), kind, reason };
    let (key, given) = option.split_once('=').map_or((option, None), |(key, value)| (key, Some(value)));
    if key.contains(',') {
        return Err(refuse("one string is one option; give each its own".to_owned()));
    }
    let Some((_, value)) = tables(kind).into_iter().flatten().find(|(name, _)| *name == key) else {
        let reason = match REFUSED.iter().find(|(name, _)| *name == key) {
            Some((_, reason)) => (*reason).to_owned(),
            None => format!("{kind} takes no such option, or not from a user"),
        };
        return Err(refuse(reason));
    };
    let value = accept(*value, given).map_err(refuse)?;
    Ok(MountOption { key: key.to_owned(), value })
}

/// Checks a list of options.
///
/// # Errors
/// Every option that is refused, with its place in the list.
pub fn check_all(kind: MountKind, options: &[String]) -> Result<Vec<MountOption>, Vec<(usize, RefusedMountOption)>> {
    let mut accepted = Vec::with_capacity(options.len());
    let mut refused = Vec::new();
    for (index, option) in options.iter().enumerate() {
        match check(kind, option) {
            Ok(option) => accepted.push(option),
            Err(error) => refused.push((index, error)),
        }
    }
    if refused.is_empty() { Ok(accepted) } else { Err(refused) }
}

/// Words of which one holds at a time, though no `no` in front tells.
const FAMILIES: &[&[&str]] = &[
    &["rw", "ro"],
    &["async", "sync"],
    &["relatime", "noatime", "strictatime"],
    &["grpid", "bsdgroups", "nogrpid", "sysvgroups"],
    &["dioread_lock", "dioread_nolock"],
    &["inode32", "inode64"],
    &["compress", "compress-force"],
];

/// Options that say something twice, or against each other: the place of each such option and that of the earlier one.
pub fn contradictions(options: &[&str]) -> Vec<(usize, usize)> {
    let mut first: HashMap<&str, usize> = HashMap::with_capacity(options.len());
    let mut found = Vec::new();
    for (index, option) in options.iter().enumerate() {
        let key = option.split_once('=').map_or(*option, |(key, _)| key);
        let family = FAMILIES.iter().find(|family| family.contains(&key));
        // `noatime` goes against `atime` as well as against the other two.
        let plain = key.strip_prefix("no").unwrap_or(key);
        let names = [family.map(|family| family[0]), Some(plain)];
        let earlier = names.into_iter().flatten().find_map(|name| first.get(name).copied());
        match earlier {
            Some(earlier) => found.push((index, earlier)),
            None => first.extend(names.into_iter().flatten().map(|name| (name, index))),
        }
    }
    found
}

const fn tables(kind: MountKind) -> [Table; 3] {
    match kind {
        MountKind::Fs(FsType::Ext4) => [PER_MOUNT, PER_SUPERBLOCK, EXT4],
        MountKind::Fs(FsType::Xfs) => [PER_MOUNT, PER_SUPERBLOCK, XFS],
        MountKind::Fs(FsType::Btrfs) => [PER_MOUNT, PER_SUPERBLOCK, BTRFS],
        MountKind::Tmpfs => [PER_MOUNT, PER_SUPERBLOCK, TMPFS],
        MountKind::Bind => [PER_MOUNT, &[], &[]],
    }
}

/// The value as it is to be used, or why it may not be.
fn accept(value: Value, given: Option<&str>) -> Result<Option<String>, String> {
    let Some(text) = given else {
        return match value {
            Value::None | Value::MaybeWord(_) | Value::Compression => Ok(None),
            _ => Err("it needs a value".to_owned()),
        };
    };
    let fits = match value {
        Value::None => return Err("it takes no value".to_owned()),
        Value::Number(least, most) => digits(text).is_some_and(|number| (least..=most).contains(&number)),
        Value::Size => digits(text.strip_suffix(['k', 'K', 'm', 'M', 'g', 'G']).unwrap_or(text)).is_some(),
        Value::Word(words) | Value::MaybeWord(words) => words.contains(&text),
        Value::Compression => is_compression(text),
        Value::Context => {
            let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            let context = bare.unwrap_or(text);
            if !is_context(context) || (bare.is_none() && text.contains(',')) {
                return Err("it is no SELinux context; put one that holds a comma in double quotes".to_owned());
            }
            return Ok(Some(context.to_owned()));
        }
    };
    if fits { Ok(Some(text.to_owned())) } else { Err(format!("the value has to be {}", wanted(value))) }
}

fn wanted(value: Value) -> String {
    match value {
        Value::Number(least, most) => format!("a whole number from {least} to {most}"),
        Value::Size => "a number with an optional k, m or g".to_owned(),
        Value::Word(words) | Value::MaybeWord(words) => format!("one of {}", words.join(", ")),
        Value::Compression => "no, lzo, zlib, zlib:1 to zlib:9, zstd, or zstd:1 to zstd:15".to_owned(),
        Value::None | Value::Context => "left out".to_owned(),
    }
}

fn is_compression(text: &str) -> bool {
    let (algorithm, level) = text.split_once(':').map_or((text, None), |(name, level)| (name, Some(level)));
    let most = match algorithm {
        "zlib" => 9,
        "zstd" => 15,
        "no" | "none" | "lzo" => return level.is_none(),
        _ => return false,
    };
    level.is_none_or(|level| digits(level).is_some_and(|level| (1..=most).contains(&level)))
}

/// `user:role:type:level`, the level being optional; nothing that could end the value early.
fn is_context(text: &str) -> bool {
    text.split(':').filter(|part| !part.is_empty()).count() >= 3
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:.,-".contains(&byte))
}

/// Plain decimal digits: no sign, no blank.
fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXT4: MountKind = MountKind::Fs(FsType::Ext4);
    const XFS: MountKind = MountKind::Fs(FsType::Xfs);
    const BTRFS: MountKind = MountKind::Fs(FsType::Btrfs);

    #[test]
    fn useful_options_pass() {
        for (kind, option) in [
            (EXT4, "noatime"),
            (EXT4, "nosuid"),
            (EXT4, "commit=30"),
            (EXT4, "data=journal"),
            (XFS, "allocsize=64m"),
            (XFS, "logbufs=8"),
            (BTRFS, "compress=zstd:3"),
            (BTRFS, "compress"),
            (BTRFS, "discard=async"),
            (MountKind::Tmpfs, "huge=within_size"),
            (MountKind::Bind, "noexec"),
        ] {
            assert_eq!(check(kind, option).map(|o| o.to_string()), Ok(option.to_owned()));
        }
    }

    #[test]
    fn what_is_of_the_mount_alone_is_known() {
        assert!(["noatime", "ro", "noexec"].iter().all(|option| is_per_mount(option)));
        assert!(!["commit=5", "discard", "context=a:b:c"].iter().any(|option| is_per_mount(option)));
    }

    #[test]
    fn options_that_cannot_hold_together_are_found() {
        for (options, expected) in [
            (&["ro", "noexec", "rw"][..], &[(2, 0)][..]),
            (&["noatime", "atime"], &[(1, 0)]),
            (&["relatime", "strictatime", "noatime"], &[(1, 0), (2, 0)]),
            (&["grpid", "sysvgroups"], &[(1, 0)]),
            (&["commit=5", "commit=5"], &[(1, 0)]),
            (&["discard=async", "nodiscard"], &[(1, 0)]),
            (&["nosuid", "nodev", "noexec", "nodiratime", "noatime"], &[]),
        ] {
            assert_eq!(contradictions(options), expected, "{options:?}");
        }
    }

    #[test]
    fn what_undoes_a_promise_or_is_unknown_is_refused() {
        for (kind, option) in [
            (EXT4, "suid"),
            (EXT4, "dev"),
            (EXT4, "errors=panic"),
            (EXT4, "errors=remount-ro"),
            (EXT4, "commit=5,suid,dev"),
            (EXT4, "noatime,suid"),
            (EXT4, "commit=0"),
            (EXT4, "commit=+5"),
            (EXT4, "commit="),
            (EXT4, "data=writeback"),
            (EXT4, "journal_path=/dev/sda"),
            (EXT4, "defaults"),
            (EXT4, ""),
            (EXT4, "noatime=1"),
            (EXT4, "compress=zstd"),
            (XFS, "logdev=/dev/sda"),
            (XFS, "nouuid"),
            (BTRFS, "device=/dev/sda"),
            (BTRFS, "subvol=/"),
            (BTRFS, "compress=zstd:16"),
            (BTRFS, "fatal_errors=panic"),
            (MountKind::Tmpfs, "size=1g"),
            (MountKind::Bind, "discard"),
            (MountKind::Bind, "context=a:b:c"),
        ] {
            let refused = check(kind, option).unwrap_err();
            assert!(refused.to_string().starts_with(&format!("mount option '{option}' of {kind} is refused: ")));
        }
    }

    #[test]
    fn a_selinux_context_keeps_its_comma_only_inside_quotes() {
        let quoted = check(EXT4, "context=\"system_u:object_r:container_file_t:s0:c1,c2\"").unwrap();

        assert_eq!(quoted.value.as_deref(), Some("system_u:object_r:container_file_t:s0:c1,c2"));
        assert_eq!(quoted.to_string(), "context=\"system_u:object_r:container_file_t:s0:c1,c2\"");
        assert!(check(EXT4, "context=system_u:object_r:container_file_t:s0").is_ok());
        for bad in ["context=a:b:c:s0,suid", "context=\"a:b:c\",suid", "context=\"a:b:c,suid", "context=x", "context="]
        {
            assert!(check(EXT4, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn all_refusals_are_reported_with_their_place() {
        let options = ["noatime", "suid", "ro", "dev"].map(str::to_owned);
        let places: Vec<_> = check_all(EXT4, &options).unwrap_err().into_iter().map(|(index, _)| index).collect();
        assert_eq!(places, [1, 3]);
    }
}
