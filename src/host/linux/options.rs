//! Mount options sorted by where they go: bits of mount(2), bits of mount_setattr(2), or the file system's own data. Pure.

use sys_mount::MountFlags;

use super::sys::{MountAttr, attr};

/// MS_LAZYTIME, which sys-mount has no name for.
const LAZYTIME: MountFlags = MountFlags::from_bits_retain(1 << 25);
/// MS_NOSYMFOLLOW, likewise.
const NOSYMFOLLOW: MountFlags = MountFlags::from_bits_retain(1 << 8);

/// Options as mount(2) takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Bits.
    pub flags: MountFlags,
    /// The file system's own, joined by commas.
    pub data: String,
}

/// Sorts options for mount(2). Of two that contradict each other the later wins, as with mount(8).
pub fn split(options: &[String]) -> Split {
    let mut flags = MountFlags::empty();
    let mut data: Vec<&str> = Vec::new();
    for option in options {
        match option.as_str() {
            "rw" => flags.remove(MountFlags::RDONLY),
            "ro" => flags.insert(MountFlags::RDONLY),
            "nosuid" => flags.insert(MountFlags::NOSUID),
            "nodev" => flags.insert(MountFlags::NODEV),
            "exec" => flags.remove(MountFlags::NOEXEC),
            "noexec" => flags.insert(MountFlags::NOEXEC),
            "atime" => flags.remove(MountFlags::NOATIME),
            // Of the three modes there is one at a time.
            "noatime" | "relatime" | "strictatime" => {
                flags.remove(MountFlags::NOATIME | MountFlags::RELATIME | MountFlags::STRICTATIME);
                flags.insert(match option.as_str() {
                    "noatime" => MountFlags::NOATIME,
                    "relatime" => MountFlags::RELATIME,
                    _ => MountFlags::STRICTATIME,
                });
            }
            "diratime" => flags.remove(MountFlags::NODIRATIME),
            "nodiratime" => flags.insert(MountFlags::NODIRATIME),
            "sync" => flags.insert(MountFlags::SYNCHRONOUS),
            "async" => flags.remove(MountFlags::SYNCHRONOUS),
            "dirsync" => flags.insert(MountFlags::DIRSYNC),
            "lazytime" => flags.insert(LAZYTIME),
            "nolazytime" => flags.remove(LAZYTIME),
            "nosymfollow" => flags.insert(NOSYMFOLLOW),
            "defaults" | "" => {}
            other => data.push(other),
        }
    }
    Split { flags, data: data.join(",") }
}

/// The options of a bind as attributes to set and to clear, so that applying them twice gives the same.
pub fn attributes(options: &[String], always: u64) -> MountAttr {
    let Split { flags, .. } = split(options);
    let mut set = always;
    for (flag, bit) in [
        (MountFlags::RDONLY, attr::RDONLY),
        (MountFlags::NOSUID, attr::NOSUID),
        (MountFlags::NODEV, attr::NODEV),
        (MountFlags::NOEXEC, attr::NOEXEC),
        (MountFlags::NODIRATIME, attr::NODIRATIME),
        (NOSYMFOLLOW, attr::NOSYMFOLLOW),
    ] {
        if flags.contains(flag) {
            set |= bit;
        }
    }
    let mut clear = 0;
    // The atime modes are one number, not bits: all are cleared, one is set.
    for (flag, mode) in [
        (MountFlags::NOATIME, attr::NOATIME),
        (MountFlags::STRICTATIME, attr::STRICTATIME),
        (MountFlags::RELATIME, attr::RELATIME),
    ] {
        if flags.contains(flag) {
            clear |= attr::ATIME_MASK;
            set = (set & !attr::ATIME_MASK) | mode;
        }
    }
    MountAttr { set, clear, ..MountAttr::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn bits_and_data_go_their_ways() {
        let split = split(&words("ro nosuid nodev noatime errors=remount-ro discard lazytime"));
        let bits = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME | LAZYTIME;
        assert_eq!(split, Split { flags: bits, data: "errors=remount-ro,discard".to_owned() });
    }

    #[test]
    fn the_later_of_two_wins() {
        assert_eq!(split(&words("ro rw")).flags, MountFlags::empty());
        assert_eq!(split(&words("rw ro")).flags, MountFlags::RDONLY);
    }

    #[test]
    fn atime_is_one_number() {
        let attr = attributes(&words("noatime ro"), attr::NOSUID);
        assert_eq!(attr.set, attr::NOSUID | attr::RDONLY | attr::NOATIME);
        assert_eq!(attr.clear, attr::ATIME_MASK);
        assert_eq!(attributes(&[], attr::NODEV).clear, 0);
    }
}
