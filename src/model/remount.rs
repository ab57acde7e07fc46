//! How the options of a mount that is there become others: which are flags of each mount, set on any of them at any time, which of
//! the file system's own a remount takes, and which the kernel takes only when it is mounted anew.
//!
//! What a remount takes was measured on Linux 6.18, option by option: the mount then shows what a new mount with it shows. The rest is
//! refused by the kernel, or, worse, passed over without a word (xfs, nearly all of them). No remount takes an option back.

use std::collections::{BTreeMap, BTreeSet};

use super::backing::Backing;
use super::filesystem::FsType;
use super::mount_options::MountKind;
use super::volume::VolumeSpec;

/// Flags of a mount that can be judged by what mountinfo shows of it. `relatime` is the kernel's default and told apart by the absence of
/// `noatime` alone.
pub const FLAGS: [&str; 7] = ["noatime", "nodev", "nodiratime", "noexec", "nosuid", "nosymfollow", "ro"];

/// Options of each mount, whatever its file system.
const OF_A_MOUNT: [&str; 13] = [
    "atime",
    "diratime",
    "exec",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "nosuid",
    "nosymfollow",
    "relatime",
    "ro",
    "rw",
    "strictatime",
];

/// Bits of a superblock that a remount sets to what it says, be it nothing.
const SET_EXACTLY: [&str; 4] = ["async", "lazytime", "nolazytime", "sync"];

const EXT4: [&str; 16] = [
    "auto_da_alloc",
    "bsdgroups",
    "commit",
    "discard",
    "grpid",
    "i_version",
    "init_itable",
    "inode_readahead_blks",
    "journal_ioprio",
    "max_batch_time",
    "max_dir_size_kb",
    "min_batch_time",
    "nodiscard",
    "nogrpid",
    "noinit_itable",
    "stripe",
];

const XFS: [&str; 2] = ["inode32", "inode64"];

const BTRFS: [&str; 16] = [
    "acl",
    "autodefrag",
    "commit",
    "compress",
    "compress-force",
    "discard",
    "flushoncommit",
    "max_inline",
    "metadata_ratio",
    "noacl",
    "noautodefrag",
    "nodiscard",
    "noflushoncommit",
    "nossd",
    "thread_pool",
    "user_subvol_rm_allowed",
];

const TMPFS: [&str; 2] = ["huge", "nr_inodes"];

impl MountKind {
    /// What a volume is mounted as; `None` for a raw block volume.
    pub fn of(spec: &VolumeSpec) -> Option<Self> {
        if spec.is_raw() {
            return None;
        }
        match (&spec.backing, &spec.fs) {
            (Backing::Tmpfs(_), _) => Some(Self::Tmpfs),
            (Backing::Directory(_), _) => Some(Self::Bind),
            (_, Some(fs)) => Some(Self::Fs(fs.fs_type)),
            (_, None) => None,
        }
    }
}

/// The flags of a mount that these options come to, of those in [`FLAGS`]. Of two that contradict each other the last one counts.
pub fn flags<'a>(options: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'static str> {
    let mut set = BTreeSet::new();
    for option in options {
        match option {
            "rw" => drop(set.remove("ro")),
            "exec" => drop(set.remove("noexec")),
            "diratime" => drop(set.remove("nodiratime")),
            "atime" | "relatime" | "strictatime" => drop(set.remove("noatime")),
            _ => set.extend(FLAGS.iter().copied().find(|flag| *flag == option)),
        }
    }
    set
}

/// The flags that mounts of a volume have to show: those asked for, and those that are always set.
pub fn wanted_flags(mount_options: &[String]) -> BTreeSet<&'static str> {
    let mut wanted = flags(mount_options.iter().map(String::as_str));
    wanted.extend(["nosuid", "nodev"]);
    wanted
}

/// Whether these options make every mount of the volume read-only.
pub fn read_only(mount_options: &[String]) -> bool {
    flags(mount_options.iter().map(String::as_str)).contains("ro")
}

/// What stands between a mount made with the options `is` and the options `wanted`, in words: what only a new mount takes or takes away.
/// Empty where a remount does.
pub fn only_at_mount(kind: MountKind, is: &[String], wanted: &[String]) -> Vec<String> {
    let (is, wanted) = (of_superblock(is), of_superblock(wanted));
    let taken: &[&str] = match kind {
        MountKind::Fs(FsType::Ext4) => &EXT4,
        MountKind::Fs(FsType::Xfs) => &XFS,
        MountKind::Fs(FsType::Btrfs) => &BTRFS,
        MountKind::Tmpfs => &TMPFS,
        MountKind::Bind => &[],
    };
    // xfs makes more of `sync` when it is mounted with it.
    let exactly =
        |key: &str| SET_EXACTLY.contains(&key) && (kind != MountKind::Fs(FsType::Xfs) || !key.ends_with("sync"));
    let mut reasons = Vec::new();
    for (key, option) in &wanted {
        if is.get(key) != Some(option) && !taken.contains(key) && !exactly(key) {
            reasons.push(format!("{option} is taken only at mount"));
        }
    }
    for (key, option) in &is {
        if !wanted.contains_key(key) && !exactly(key) {
            reasons.push(format!("{option} goes only with a new mount"));
        }
    }
    reasons
}

/// What a file system shows otherwise than these options ask for, of what mountinfo tells for certain and a remount sets: (expected, found).
/// A value that is the kernel's own, and was not asked for, is nobody's to judge.
pub fn wrong_of_superblock(kind: MountKind, asked: &[String], shown: &[String]) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    if kind == MountKind::Bind {
        return wrong;
    }
    for (flag, off) in [("sync", "async"), ("lazytime", "nolazytime")] {
        // xfs makes more of `sync` when it is mounted with it.
        if flag == "sync" && kind == MountKind::Fs(FsType::Xfs) {
            continue;
        }
        let last = asked.iter().rev().find(|option| *option == flag || *option == off);
        let (asked, is) = (last.is_some_and(|last| last == flag), shown.iter().any(|option| option == flag));
        match (asked, is) {
            (true, false) => wrong.push((flag.to_owned(), "not set on the file system".to_owned())),
            (false, true) => wrong.push((format!("no {flag}"), format!("{flag} is set on the file system"))),
            _ => {}
        }
    }
    let (key, unshown) = match kind {
        MountKind::Fs(FsType::Ext4) => ("commit", Some(5)),
        MountKind::Fs(FsType::Btrfs) => ("commit", Some(30)),
        // What memory comes to by itself depends on the machine's.
        MountKind::Tmpfs => ("nr_inodes", None),
        MountKind::Fs(FsType::Xfs) | MountKind::Bind => return wrong,
    };
    let value =
        |options: &[String]| of_superblock(options).get(key).and_then(|option| number(option.split_once('=')?.1));
    if let (Some(asked), Some(is)) = (value(asked), value(shown).or(unshown))
        && asked != is
    {
        wrong.push((format!("{key}={asked}"), format!("{key}={is}")));
    }
    wrong
}

/// The most that a tmpfs holds, as mountinfo shows it; `None` where it is half of the machine's memory, which is not shown.
pub fn tmpfs_size(shown: &[String]) -> Option<u64> {
    number(shown.iter().find_map(|option| option.strip_prefix("size="))?)
}

/// A number as the kernel reads and writes it, with k, m or g for its powers of 1024.
fn number(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let power = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1024_u64.pow(power))
}

/// The file system's own options by name; the last of several counts.
fn of_superblock(options: &[String]) -> BTreeMap<&str, &str> {
    let named = options.iter().map(|option| (option.split_once('=').map_or(option.as_str(), |(key, _)| key), option));
    named.filter(|(key, _)| !OF_A_MOUNT.contains(key)).map(|(key, option)| (key, option.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_last_word_about_a_flag_counts() {
        for (options, expected) in [
            ("", ""),
            ("noexec noatime", "noatime noexec"),
            ("noexec exec noatime relatime nodiratime diratime ro rw", ""),
            ("relatime noatime rw ro commit=30", "noatime ro"),
        ] {
            let asked = words(options);
            let got: Vec<_> = flags(asked.iter().map(String::as_str)).into_iter().collect();
            assert_eq!(got.join(" "), expected, "{options}");
        }
    }

    #[test]
    fn what_a_remount_takes_and_what_it_does_not() {
        let (ext4, xfs, btrfs) =
            (MountKind::Fs(FsType::Ext4), MountKind::Fs(FsType::Xfs), MountKind::Fs(FsType::Btrfs));
        for (kind, is, wanted, expected) in [
            (ext4, "", "noexec noatime ro", ""),
            (ext4, "noexec", "", ""),
            (ext4, "", "commit=30 lazytime", ""),
            (ext4, "commit=30", "commit=20", ""),
            (ext4, "lazytime sync", "", ""),
            (ext4, "commit=30", "stripe=16", "commit=30 goes only with a new mount"),
            (ext4, "", "data=journal", "data=journal is taken only at mount"),
            (ext4, "", "context=a:b:c", "context=a:b:c is taken only at mount"),
            (ext4, "", "dirsync", "dirsync is taken only at mount"),
            (xfs, "", "allocsize=1m", "allocsize=1m is taken only at mount"),
            (xfs, "", "sync", "sync is taken only at mount"),
            (xfs, "", "inode32 lazytime", ""),
            (btrfs, "", "compress=lzo", ""),
            (btrfs, "nodatacow", "", "nodatacow goes only with a new mount"),
            (MountKind::Tmpfs, "", "noswap", "noswap is taken only at mount"),
            (MountKind::Bind, "", "noexec", ""),
        ] {
            assert_eq!(only_at_mount(kind, &words(is), &words(wanted)).join("; "), expected, "{is} -> {wanted}");
        }
    }

    #[test]
    fn what_a_file_system_shows_is_held_against_what_is_asked() {
        let (ext4, xfs, btrfs) =
            (MountKind::Fs(FsType::Ext4), MountKind::Fs(FsType::Xfs), MountKind::Fs(FsType::Btrfs));
        for (kind, asked, shown, expected) in [
            (ext4, "", "rw errors=remount-ro stripe=16", ""),
            (ext4, "", "rw sync", "no sync"),
            (ext4, "sync lazytime", "rw", "sync; lazytime"),
            (ext4, "sync async", "rw", ""),
            (ext4, "commit=30", "rw commit=77", "commit=30"),
            (ext4, "commit=30", "rw", "commit=30"),
            (ext4, "commit=5", "rw", ""),
            (ext4, "", "rw commit=77", ""),
            (btrfs, "commit=30", "rw space_cache=v2", ""),
            (btrfs, "commit=60", "rw", "commit=60"),
            (xfs, "", "rw sync", ""),
            (xfs, "", "rw lazytime", "no lazytime"),
            (MountKind::Tmpfs, "nr_inodes=2k", "rw size=16384k nr_inodes=2048", ""),
            (MountKind::Tmpfs, "nr_inodes=2k", "rw size=16384k nr_inodes=9", "nr_inodes=2048"),
            (MountKind::Tmpfs, "nr_inodes=2k", "rw size=16384k", ""),
            (MountKind::Bind, "", "rw sync lazytime", ""),
        ] {
            let wrong = wrong_of_superblock(kind, &words(asked), &words(shown));
            let wrong: Vec<String> = wrong.into_iter().map(|(expected, _)| expected).collect();
            assert_eq!(wrong.join("; "), expected, "{asked} as {shown}");
        }
    }
}
