//! Which extra arguments of mkfs a user may give, a file system at a time.
//!
//! An allow-list, because a mkfs runs as root and some of its options read files of the host into the new file system
//! (`-d`, `-p`), write elsewhere (journal and log devices) or switch off the refusal to overwrite (`-F`, `-f`). Options
//! that csictl sets itself from the manifest (label, UUID, sector size, discard) are refused with the key to use instead.
//! Pure text in, verdict out: the manifest checks with it, and mkfs checks again just before it runs.

use thiserror::Error;

use super::filesystem::FsType;

/// One argument that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("mkfs option '{option}' of {fs_type} is refused: {reason}")]
pub struct RefusedMkfsOption {
    /// Its place in the list that was given.
    pub index: usize,
    /// The argument, as written.
    pub option: String,
    /// The file system it was meant for.
    pub fs_type: FsType,
    /// Why, and what to write instead where there is something.
    pub reason: String,
}

/// What a value may be.
#[derive(Debug, Clone, Copy)]
enum Value {
    /// No value at all.
    None,
    /// A whole number within these bounds.
    Number(u64, u64),
    /// A number of bytes or blocks, with an optional unit letter (`4k`, `16m`).
    Size,
    /// A percentage; decimals allowed.
    Percent(u32),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A comma-separated list of `key` or `key=value`.
    Keys(&'static [(&'static str, Value)]),
    /// A comma-separated list of features, each with an optional leading `^`.
    Features(&'static [&'static str]),
}

struct Allowed {
    names: &'static [&'static str],
    value: Value,
}

const fn allowed(names: &'static [&'static str], value: Value) -> Allowed {
    Allowed { names, value }
}

const BOOL: Value = Value::Word(&["0", "1"]);
const ANY_NUMBER: Value = Value::Number(0, u32::MAX as u64);

const EXT4: &[Allowed] = &[
    allowed(&["-m"], Value::Percent(50)),
    allowed(&["-i"], Value::Number(1024, 64 << 20)),
    allowed(&["-I"], Value::Word(&["256", "512", "1024", "2048", "4096"])),
    allowed(&["-N"], Value::Number(1, u32::MAX as u64)),
    allowed(&["-b"], Value::Word(&["1024", "2048", "4096"])),
    allowed(&["-C"], Value::Size),
    allowed(&["-g"], Value::Number(256, 65_528)),
    allowed(&["-G"], Value::Number(1, 1 << 20)),
    allowed(&["-J"], Value::Keys(&[("size", ANY_NUMBER), ("fast_commit_size", ANY_NUMBER)])),
    allowed(&["-T"], Value::Word(&["default", "small", "big", "huge", "news", "largefile", "largefile4"])),
    allowed(
        &["-E"],
        Value::Keys(&[
            ("lazy_itable_init", BOOL),
            ("lazy_journal_init", BOOL),
            ("num_backup_sb", Value::Number(0, 2)),
            ("orphan_file_size", Value::Size),
            ("packed_meta_blocks", BOOL),
            ("resize", ANY_NUMBER),
            ("stride", ANY_NUMBER),
            ("stripe_width", ANY_NUMBER),
            ("stripe-width", ANY_NUMBER),
        ]),
    ),
    allowed(
        &["-O"],
        Value::Features(&[
            "64bit",
            "bigalloc",
            "casefold",
            "dir_index",
            "dir_nlink",
            "ea_inode",
            "encrypt",
            "ext_attr",
            "extent",
            "extents",
            "extra_isize",
            "fast_commit",
            "filetype",
            "flex_bg",
            "huge_file",
            "inline_data",
            "large_dir",
            "large_file",
            "metadata_csum",
            "metadata_csum_seed",
            "orphan_file",
            "project",
            "quota",
            "resize_inode",
            "sparse_super",
            "sparse_super2",
            "stable_inodes",
            "uninit_bg",
            "verity",
        ]),
    ),
];

const XFS: &[Allowed] = &[
    allowed(&["-b"], Value::Keys(&[("size", Value::Size)])),
    allowed(
        &["-d"],
        Value::Keys(&[
            ("agcount", Value::Number(1, 1 << 20)),
            ("agsize", Value::Size),
            ("cowextsize", ANY_NUMBER),
            ("extszinherit", ANY_NUMBER),
            ("noalign", Value::None),
            ("projinherit", ANY_NUMBER),
            ("su", Value::Size),
            ("sunit", ANY_NUMBER),
            ("sw", ANY_NUMBER),
            ("swidth", ANY_NUMBER),
        ]),
    ),
    allowed(
        &["-i"],
        Value::Keys(&[
            ("maxpct", Value::Number(0, 100)),
            ("nrext64", BOOL),
            ("perblock", ANY_NUMBER),
            ("size", Value::Number(256, 2048)),
            ("sparse", BOOL),
        ]),
    ),
    allowed(
        &["-l"],
        Value::Keys(&[
            ("lazy-count", Value::Word(&["1"])),
            ("size", Value::Size),
            ("su", Value::Size),
            ("sunit", ANY_NUMBER),
            ("version", Value::Word(&["2"])),
        ]),
    ),
    allowed(
        &["-m"],
        Value::Keys(&[
            ("bigtime", BOOL),
            ("crc", Value::Word(&["1"])),
            ("finobt", BOOL),
            ("inobtcount", BOOL),
            ("reflink", BOOL),
            ("rmapbt", BOOL),
        ]),
    ),
    allowed(
        &["-n"],
        Value::Keys(&[("ftype", Value::Word(&["1"])), ("size", Value::Size), ("version", Value::Word(&["2", "ci"]))]),
    ),
];

const BTRFS: &[Allowed] = &[
    allowed(&["-n", "--nodesize"], Value::Size),
    allowed(&["-s", "--sectorsize"], Value::Size),
    allowed(&["-m", "--metadata"], Value::Word(&["single", "dup"])),
    allowed(&["-d", "--data"], Value::Word(&["single", "dup"])),
    allowed(&["-M", "--mixed"], Value::None),
    allowed(&["--csum", "--checksum"], Value::Word(&["crc32c", "xxhash", "sha256", "blake2"])),
    allowed(
        &["-O", "--features", "-R", "--runtime-features"],
        Value::Features(&[
            "block-group-tree",
            "extref",
            "free-space-tree",
            "mixed-bg",
            "no-holes",
            "quota",
            "skinny-metadata",
            "squota",
        ]),
    ),
];

/// What is refused with a reason of its own, because people reach for it.
const REFUSED: &[(FsType, &[&str], &str)] = &[
    (FsType::Ext4, &["-d"], "it copies files of the host into the volume"),
    (FsType::Ext4, &["-F", "-S"], "it switches off the refusal to overwrite; only blank storage is ever formatted"),
    (FsType::Ext4, &["-L"], "write fs.label"),
    (FsType::Ext4, &["-U"], "csictl chooses the UUID, so that it can tell its own file system from a stranger's"),
    (FsType::Ext4, &["-e"], "errors=remount-ro is always set"),
    (FsType::Ext4, &["-t"], "write fs.type"),
    (FsType::Ext4, &["-D"], "write image.direct_io"),
    (FsType::Xfs, &["-p"], "it copies files of the host into the volume"),
    (FsType::Xfs, &["-c"], "it reads a file of the host"),
    (FsType::Xfs, &["-f"], "it switches off the refusal to overwrite; only blank storage is ever formatted"),
    (FsType::Xfs, &["-L"], "write fs.label"),
    (FsType::Xfs, &["-s"], "write image.sector_size"),
    (FsType::Xfs, &["-K"], "image.allocate decides about discard"),
    (FsType::Xfs, &["-r"], "a volume is one device; there is no realtime device"),
    (FsType::Btrfs, &["-r", "--rootdir"], "it copies files of the host into the volume"),
    (
        FsType::Btrfs,
        &["-f", "--force"],
        "it switches off the refusal to overwrite; only blank storage is ever formatted",
    ),
    (FsType::Btrfs, &["-L", "--label"], "write fs.label"),
    (
        FsType::Btrfs,
        &["-U", "--uuid"],
        "csictl chooses the UUID, so that it can tell its own file system from a stranger's",
    ),
    (FsType::Btrfs, &["-K", "--nodiscard"], "image.allocate decides about discard"),
];

/// Every option of a file system that may be given, for help and "did you mean".
pub fn known(fs_type: FsType) -> impl Iterator<Item = &'static str> {
    table(fs_type).iter().flat_map(|option| option.names.iter().copied())
}

/// Checks a list of mkfs arguments as a user gave it (`["-m", "0"]`, `["-m0"]`, `["--nodesize=16k"]`).
///
/// # Errors
/// Every argument that is not on the list of `fs_type`, in order, each with its place.
pub fn check(fs_type: FsType, options: &[String]) -> Result<(), Vec<RefusedMkfsOption>> {
    let mut refused = Vec::new();
    let mut refuse = |index: usize, reason: String| {
        refused.push(RefusedMkfsOption { index, option: options[index].clone(), fs_type, reason });
    };
    let mut index = 0;
    while let Some(argument) = options.get(index) {
        let at = index;
        index += 1;
        let (name, inline) = split(argument);
        let Some(option) = table(fs_type).iter().find(|option| option.names.contains(&name)) else {
            refuse(at, unknown(fs_type, name));
            // The value of an option that is refused is not an option of its own.
            if inline.is_none() && options.get(index).is_some_and(|next| !next.starts_with('-')) {
                index += 1;
            }
            continue;
        };
        let (value_at, value) = match (option.value, inline) {
            (Value::None, None) => continue,
            (Value::None, Some(_)) => {
                refuse(at, format!("{name} takes no value"));
                continue;
            }
            (_, Some(value)) => (at, value),
            (_, None) => match options.get(index) {
                Some(value) => {
                    index += 1;
                    (index - 1, value.as_str())
                }
                None => {
                    refuse(at, format!("{name} needs a value"));
                    continue;
                }
            },
        };
        if let Err(reason) = accept(option.value, value) {
            refuse(value_at, format!("{name}: {reason}"));
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(refused) }
}

const fn table(fs_type: FsType) -> &'static [Allowed] {
    match fs_type {
        FsType::Ext4 => EXT4,
        FsType::Xfs => XFS,
        FsType::Btrfs => BTRFS,
    }
}

/// `--name=value`, `-nVALUE` or a bare option. Short options are never bundled: `-qF` is an unknown `-q`.
fn split(argument: &str) -> (&str, Option<&str>) {
    if argument.starts_with("--") {
        return argument.split_once('=').map_or((argument, None), |(name, value)| (name, Some(value)));
    }
    match argument.char_indices().nth(2) {
        Some((at, _)) if argument.starts_with('-') => (&argument[..at], Some(&argument[at..])),
        _ => (argument, None),
    }
}

fn unknown(fs_type: FsType, name: &str) -> String {
    let reason = REFUSED.iter().find(|(fs, names, _)| *fs == fs_type && names.contains(&name));
    match reason {
        Some((_, _, reason)) => (*reason).to_owned(),
        None => format!("it is not one of {}", known(fs_type).collect::<Vec<_>>().join(", ")),
    }
}

fn accept(value: Value, text: &str) -> Result<(), String> {
    match value {
        Value::None => Err("no value is allowed".to_owned()),
        Value::Number(least, most) => match digits(text) {
            Some(number) if (least..=most).contains(&number) => Ok(()),
            _ => Err(format!("'{text}' is not a whole number from {least} to {most}")),
        },
        Value::Size => {
            let number = text.strip_suffix(['k', 'K', 'm', 'M', 'g', 'G', 's', 'b']).unwrap_or(text);
            digits(number).map(drop).ok_or_else(|| format!("'{text}' is not a size such as 4096, 4k or 16m"))
        }
        Value::Percent(most) => {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
            match (digits(whole), digits(fraction)) {
                (Some(percent), Some(_)) if percent < u64::from(most) || text == most.to_string() => Ok(()),
                _ => Err(format!("'{text}' is not a percentage from 0 to {most}")),
            }
        }
        Value::Word(words) if words.contains(&text) => Ok(()),
        Value::Word(words) => Err(format!("'{text}' is not one of {}", words.join(", "))),
        Value::Keys(keys) => text.split(',').try_for_each(|item| accept_key(keys, item)),
        Value::Features(features) => text.split(',').try_for_each(|item| accept_feature(features, item)),
    }
}

fn accept_key(keys: &[(&str, Value)], item: &str) -> Result<(), String> {
    let (key, given) = item.split_once('=').map_or((item, None), |(key, value)| (key, Some(value)));
    let Some((_, value)) = keys.iter().find(|(name, _)| *name == key) else {
        let names: Vec<_> = keys.iter().map(|(name, _)| *name).collect();
        return Err(format!("'{key}' is not one of {}", names.join(", ")));
    };
    match (value, given) {
        (Value::None, None) => Ok(()),
        (_, None) => Err(format!("'{key}' needs a value")),
        (value, Some(given)) => accept(*value, given).map_err(|reason| format!("{key}: {reason}")),
    }
}

fn accept_feature(features: &[&str], item: &str) -> Result<(), String> {
    let name = item.strip_prefix('^').unwrap_or(item);
    if features.contains(&name) { Ok(()) } else { Err(format!("'{item}' is not one of {}", features.join(", "))) }
}

/// Plain decimal digits: no sign, no blank, no `0x`.
fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(fs_type: FsType, line: &str) -> Result<(), Vec<RefusedMkfsOption>> {
        let options: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        check(fs_type, &options)
    }

    #[test]
    fn useful_options_pass_in_both_spellings() {
        for (fs_type, line) in [
            (FsType::Ext4, ""),
            (FsType::Ext4, "-m 0"),
            (FsType::Ext4, "-m0.5 -i 65536"),
            (FsType::Ext4, "-O ^metadata_csum,fast_commit -E lazy_itable_init=0,stride=16 -b 4096"),
            (FsType::Ext4, "-J size=64 -T largefile"),
            (FsType::Xfs, "-m reflink=1,rmapbt=0 -i size=512 -d agcount=8,noalign"),
            (FsType::Xfs, "-b size=4k -l size=64m"),
            (FsType::Btrfs, "--nodesize=16k -M --csum xxhash -d dup -O ^no-holes"),
        ] {
            assert_eq!(checked(fs_type, line), Ok(()), "{fs_type} {line}");
        }
    }

    #[test]
    fn whatever_reads_the_host_forces_or_is_unknown_is_refused() {
        for (fs_type, line) in [
            (FsType::Ext4, "-d /etc"),
            (FsType::Ext4, "-d/etc"),
            (FsType::Ext4, "-F"),
            (FsType::Ext4, "-FF"),
            (FsType::Ext4, "-qF"),
            (FsType::Ext4, "-E root_owner=0:0"),
            (FsType::Ext4, "-E stride=4,offset=4096"),
            (FsType::Ext4, "-J device=/dev/sda"),
            (FsType::Ext4, "-O ^has_journal"),
            (FsType::Ext4, "-O journal_dev"),
            (FsType::Ext4, "-e panic"),
            (FsType::Ext4, "-m 51"),
            (FsType::Ext4, "-m 50.1"),
            (FsType::Ext4, "-m -1"),
            (FsType::Ext4, "-m"),
            (FsType::Ext4, "-L x"),
            (FsType::Ext4, "--"),
            (FsType::Ext4, "/dev/sda"),
            (FsType::Ext4, "-ö"),
            (FsType::Xfs, "-p /etc/passwd"),
            (FsType::Xfs, "-c options=/etc/x"),
            (FsType::Xfs, "-f"),
            (FsType::Xfs, "-d file,name=/etc/passwd"),
            (FsType::Xfs, "-d size=1g"),
            (FsType::Xfs, "-l logdev=/dev/sda"),
            (FsType::Xfs, "-m uuid=0"),
            (FsType::Xfs, "-d noalign=1"),
            (FsType::Btrfs, "-r /etc"),
            (FsType::Btrfs, "--rootdir=/etc"),
            (FsType::Btrfs, "--mixed=1"),
            (FsType::Btrfs, "-O zoned"),
            (FsType::Btrfs, "--force"),
            (FsType::Btrfs, "-d raid0"),
        ] {
            assert!(checked(fs_type, line).is_err(), "{fs_type} {line}");
        }
    }

    #[test]
    fn each_refusal_names_its_place_and_the_reason() {
        let refused = checked(FsType::Ext4, "-m 99 -d /etc -i 4096 -L db").unwrap_err();

        let shown: Vec<_> = refused.iter().map(|r| (r.index, r.to_string())).collect();
        assert_eq!(
            shown,
            [
                (1, "mkfs option '99' of ext4 is refused: -m: '99' is not a percentage from 0 to 50".to_owned()),
                (2, "mkfs option '-d' of ext4 is refused: it copies files of the host into the volume".to_owned()),
                (6, "mkfs option '-L' of ext4 is refused: write fs.label".to_owned()),
            ]
        );
    }
}
