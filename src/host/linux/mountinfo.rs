//! `/proc/thread-self/mountinfo` (proc(5)) as [`Mount`]s: a pure parser over bytes. Paths there are bytes, not text, with space,
//! tab, newline and backslash written as octal escapes; every one is undone here.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::model::{BlockId, Mount};

/// Reads every line. A line that is not a mount is an error, not a gap: a plan made from half a table would mount twice.
///
/// # Errors
/// The first line that can't be read, in words.
pub fn parse(text: &[u8]) -> Result<Vec<Mount>, String> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| parse_line(line).ok_or_else(|| format!("odd line '{}'", line.escape_ascii()))).collect()
}

/// One line: `id parent major:minor root target options [tags…] - type source super-options`.
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let device = device(fields.next()?)?;
    let root = path(fields.next()?);
    let target = path(fields.next()?);
    let options = options(fields.next()?);
    let (mut shared, mut slave) = (false, false);
    loop {
        match fields.next()? {
            b"-" => break,
            tag => {
                shared |= tag.starts_with(b"shared:");
                slave |= tag.starts_with(b"master:");
            }
        }
    }
    let fs_type = String::from_utf8_lossy(&unescape(fields.next()?)).into_owned();
    let source = path(fields.next()?);
    // A source that is the empty string leaves two spaces; nothing after it is still a line.
    let super_options = fields.next().map(self::options).unwrap_or_default();
    Some(Mount { id, parent, device, root, target, fs_type, source, options, super_options, shared, slave })
}

fn number<T: std::str::FromStr>(field: &[u8]) -> Option<T> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn device(field: &[u8]) -> Option<BlockId> {
    let colon = field.iter().position(|byte| *byte == b':')?;
    Some(BlockId { major: number(&field[..colon])?, minor: number(&field[colon + 1..])? })
}

fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

/// Options, each one unescaped after the split: an escaped comma belongs to its option.
pub fn options(field: &[u8]) -> Vec<String> {
    let parts = field.split(|byte| *byte == b',').filter(|part| !part.is_empty());
    parts.map(|part| String::from_utf8_lossy(&unescape(part)).into_owned()).collect()
}

/// Undoes `\040` and its like. A backslash before anything else stands for itself.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        match (first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                bytes.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest = tail;
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::model::Propagation;

    fn escape(bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        for &byte in bytes {
            if matches!(byte, b' ' | b'\t' | b'\n' | b'\\' | b'#') {
                text.extend(format!("\\{byte:03o}").bytes());
            } else {
                text.push(byte);
            }
        }
        text
    }

    #[test]
    fn a_line_is_taken_apart() {
        let line = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n";
        let mounts = parse(line).unwrap();
        assert_eq!(mounts.len(), 1);
        let mount = &mounts[0];
        assert_eq!((mount.id, mount.parent), (36, 35));
        assert_eq!(mount.device, BlockId { major: 98, minor: 0 });
        assert_eq!((mount.root.as_path(), mount.target.as_path()), (Path::new("/mnt1"), Path::new("/mnt2")));
        assert_eq!(mount.options, ["rw", "noatime"]);
        assert_eq!((mount.fs_type.as_str(), mount.source.as_path()), ("ext3", Path::new("/dev/root")));
        assert_eq!(mount.super_options, ["rw", "errors=continue"]);
        assert_eq!(mount.propagation(), Propagation::Bidirectional);
    }

    #[test]
    fn no_tags_one_tag_and_odd_sources_are_read() {
        for (line, expect) in [
            (&b"1 2 0:5 / /a rw - tmpfs none rw"[..], (Propagation::None, "none")),
            (b"1 2 0:5 / /a rw master:3 - tmpfs none rw", (Propagation::HostToContainer, "none")),
            (b"1 2 0:5 / /a rw shared:3 propagate_from:4 - tmpfs t\\040t rw", (Propagation::Bidirectional, "t t")),
            (b"1 2 0:5 / /a rw -  - rw", (Propagation::None, "-")),
            (b"1 2 0:5 / /a rw - tmpfs  rw", (Propagation::None, "")),
        ] {
            let mount = &parse(line).unwrap()[0];
            assert_eq!((mount.propagation(), mount.source.to_str().unwrap()), expect, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn escapes_are_undone_whatever_the_bytes() {
        for (text, name) in [
            (&b"/a\\040b"[..], &b"/a b"[..]),
            (b"/new\\012line", b"/new\nline"),
            (b"/tab\\011", b"/tab\t"),
            (b"/back\\134slash", b"/back\\slash"),
            (b"/\\134040", b"/\\040"),
            (b"/not\\\xffutf8", b"/not\\\xffutf8"),
            (b"/end\\04", b"/end\\04"),
            (b"/\\777", b"/\\777"),
        ] {
            let line = [b"1 2 0:5 / ", text, b" rw - tmpfs none rw"].concat();
            assert_eq!(parse(&line).unwrap()[0].target.as_os_str().as_bytes(), name);
        }
    }

    #[test]
    fn a_line_that_is_no_mount_is_an_error() {
        for bad in
            ["x", "1 2 3", "1 2 0:5 / /a rw", "1 2 0;5 / /a rw - t s o", "a 2 0:5 / /a rw - t s o", "1 2 0:5 / /a rw -"]
        {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_path_survives(name in prop::collection::vec(1u8.., 1..40)) {
            let line = [b"7 1 7:3 / /", escape(&name).as_slice(), b" rw,nosuid shared:1 - ext4 /dev/loop3 rw"].concat();
            let mounts = parse(&line).unwrap();
            prop_assert_eq!(mounts[0].target.as_os_str().as_bytes(), &[b"/", name.as_slice()].concat()[..]);
            prop_assert_eq!(&mounts[0].fs_type, "ext4");
        }

        #[test]
        fn any_bytes_are_answered_without_a_panic(text in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&text);
        }

        #[test]
        fn a_damaged_table_is_answered_without_a_panic(cut in 0usize..80, byte in any::<u8>(), at in 0usize..80) {
            let mut line = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue".to_vec();
            line[at] = byte;
            line.truncate(cut);
            let _ = parse(&line);
        }
    }
}
