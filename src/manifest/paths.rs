//! Which paths a manifest may name, and their one normal form: absolute, without `.`, `..` or doubled slashes, so that
//! equal paths are equal values. Purely lexical; links are the host layer's matter.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::shape::PathKind;

/// The longest path in bytes: PATH_MAX of Linux less its final zero.
pub const PATH_MAX: usize = 4095;
/// The longest part of a path in bytes: NAME_MAX of Linux.
const PART_MAX: usize = 255;
/// The most parts a path may have; keeps every check over ancestors cheap.
const DEPTH_MAX: usize = 64;

/// Directories right below `/dev` in which a second part does not make a logical volume: kernel names and pseudo files.
const NOT_VOLUME_GROUPS: [&str; 17] = [
    "block",
    "bsg",
    "bus",
    "char",
    "cpu",
    "disk",
    "dma_heap",
    "dri",
    "fd",
    "hugepages",
    "input",
    "loop",
    "mapper",
    "mqueue",
    "net",
    "pts",
    "shm",
];

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidPath {
    /// No character.
    Empty,
    /// Relative where an absolute one is due.
    Relative,
    /// Absolute where one inside a volume is due.
    Absolute,
    /// `~` at the front or `$NAME`.
    Expansion,
    /// `.` or `..` where it is not allowed.
    Dots,
    /// A control character.
    Control,
    /// Longer or deeper than the kernel or csictl takes.
    TooLong,
    /// `/` itself.
    Root,
    /// A device by a name that is not stable.
    Unstable,
}

impl fmt::Display for InvalidPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is an empty path",
            Self::Relative => "is not an absolute path",
            Self::Absolute => "is an absolute path, this one goes inside a volume",
            Self::Expansion => "holds '~' or a variable, which are not expanded",
            Self::Dots => "holds '.' or '..'",
            Self::Control => "holds a control character",
            Self::TooLong => "is too long",
            Self::Root => "is the root directory",
            Self::Unstable => "is not a stable name of a block device",
        })
    }
}

impl InvalidPath {
    /// What to write instead.
    pub const fn help(self) -> &'static str {
        match self {
            Self::Empty => "give a path, or leave the key out where it may be",
            Self::Relative => "begin it with '/'",
            Self::Absolute => "write it relative to the volume's root, without a '/' in front",
            Self::Expansion => "write the path out",
            Self::Dots => {
                "write the path without '.' and '..'; only a path relative to the manifest may begin with them"
            }
            Self::Control => "rename the directory",
            Self::TooLong => "at most 4095 bytes, 64 parts, and 255 bytes a part",
            Self::Root => "name a directory below it",
            Self::Unstable => {
                "use /dev/disk/by-*/NAME (ls -l /dev/disk/by-id shows them), /dev/mapper/NAME or /dev/VG/LV; names such as \
                 /dev/sdb change from boot to boot"
            }
        }
    }
}

/// Whether a text may stand for a path of this kind.
pub fn check(kind: PathKind, text: &str) -> Result<(), InvalidPath> {
    if text.is_empty() {
        return Err(InvalidPath::Empty);
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidPath::Control);
    }
    if text.starts_with('~') || has_variable(text) {
        return Err(InvalidPath::Expansion);
    }
    let mut parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    if text.len() > PATH_MAX || parts.len() > DEPTH_MAX || parts.iter().any(|part| part.len() > PART_MAX) {
        return Err(InvalidPath::TooLong);
    }
    let absolute = text.starts_with('/');
    if kind == PathKind::Host && !absolute {
        let leading = parts.iter().take_while(|part| is_dots(part)).count();
        parts.drain(..leading);
    }
    match kind {
        PathKind::Inside if absolute => return Err(InvalidPath::Absolute),
        PathKind::Absolute | PathKind::Device if !absolute => return Err(InvalidPath::Relative),
        _ => {}
    }
    if parts.iter().any(|part| is_dots(part)) {
        return Err(InvalidPath::Dots);
    }
    match kind {
        PathKind::Device if !is_stable_device(&parts) => Err(InvalidPath::Unstable),
        PathKind::Absolute if parts.is_empty() => Err(InvalidPath::Root),
        _ => Ok(()),
    }
}

fn is_dots(part: &str) -> bool {
    part == "." || part == ".."
}

fn has_variable(text: &str) -> bool {
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '$' && rest.peek().is_some_and(|next| *next == '{' || *next == '_' || next.is_ascii_alphabetic()) {
            return true;
        }
    }
    false
}

fn is_stable_device(parts: &[&str]) -> bool {
    match parts {
        ["dev", "disk", by, _] => by.starts_with("by-"),
        ["dev", "mapper", name] => *name != "control",
        ["dev", group, _] => !NOT_VOLUME_GROUPS.contains(group),
        _ => false,
    }
}

/// The normal form of a path that passed [`check`]: joined to `base` where it is relative, its leading `..` applied.
pub fn normal(text: &str, base: &Path) -> PathBuf {
    let mut normal = if text.starts_with('/') { PathBuf::from("/") } else { base.to_path_buf() };
    push_all(&mut normal, Path::new(text));
    normal
}

/// A pod's path below its root; without a root, itself.
pub fn below(root: Option<&Path>, text: &str) -> PathBuf {
    let mut target = root.unwrap_or(Path::new("/")).to_path_buf();
    push_all(&mut target, Path::new(text));
    target
}

/// The normal form of a path inside a volume.
pub fn inside(text: &str) -> PathBuf {
    let mut path = PathBuf::new();
    push_all(&mut path, Path::new(text));
    path
}

fn push_all(path: &mut PathBuf, more: &Path) {
    for part in more.components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::ParentDir => {
                path.pop();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_path_has_its_rules() {
        use InvalidPath as Bad;
        let long = format!("/{}", "x".repeat(256));
        let deep = "/x".repeat(65);
        for (kind, text, expected) in [
            (PathKind::Host, "/srv/a", Ok(())),
            (PathKind::Host, "./pool", Ok(())),
            (PathKind::Host, "../../pool", Ok(())),
            (PathKind::Host, "pool/../x", Err(Bad::Dots)),
            (PathKind::Host, "/srv/../x", Err(Bad::Dots)),
            (PathKind::Host, "~/pool", Err(Bad::Expansion)),
            (PathKind::Host, "/srv/$HOME", Err(Bad::Expansion)),
            (PathKind::Host, "/srv/${x}", Err(Bad::Expansion)),
            (PathKind::Host, "/srv/cost$5", Ok(())),
            (PathKind::Host, "", Err(Bad::Empty)),
            (PathKind::Absolute, "/var//lib/", Ok(())),
            (PathKind::Absolute, "var", Err(Bad::Relative)),
            (PathKind::Absolute, "/", Err(Bad::Root)),
            (PathKind::Absolute, "/a/./b", Err(Bad::Dots)),
            (PathKind::Absolute, "/a\n", Err(Bad::Control)),
            (PathKind::Absolute, &long, Err(Bad::TooLong)),
            (PathKind::Absolute, &deep, Err(Bad::TooLong)),
            (PathKind::Inside, "v2/html", Ok(())),
            (PathKind::Inside, "/v2", Err(Bad::Absolute)),
            (PathKind::Inside, "../v2", Err(Bad::Dots)),
            (PathKind::Device, "/dev/disk/by-id/wwn-0x5", Ok(())),
            (PathKind::Device, "/dev/mapper/vg-lv", Ok(())),
            (PathKind::Device, "/dev/vg/lv", Ok(())),
            (PathKind::Device, "/dev/sdb", Err(Bad::Unstable)),
            (PathKind::Device, "/dev/mapper/control", Err(Bad::Unstable)),
            (PathKind::Device, "/dev/block/8:0", Err(Bad::Unstable)),
            (PathKind::Device, "/dev/disk/by-id", Err(Bad::Unstable)),
            (PathKind::Device, "/etc/passwd", Err(Bad::Unstable)),
            (PathKind::Device, "sdb", Err(Bad::Relative)),
        ] {
            assert_eq!(check(kind, text), expected, "{kind:?} {text}");
        }
    }

    #[test]
    fn normal_forms_are_equal_for_equal_paths() {
        let base = Path::new("/etc/csictl");
        for (text, expected) in
            [("/a//b/", "/a/b"), ("./pool", "/etc/csictl/pool"), ("../pool", "/etc/pool"), ("p/q/", "/etc/csictl/p/q")]
        {
            assert_eq!(normal(text, base), Path::new(expected), "{text}");
        }
        assert_eq!(below(Some(Path::new("/srv/web")), "/usr//share"), Path::new("/srv/web/usr/share"));
        assert_eq!(inside("a//b/"), Path::new("a/b"));
    }
}
