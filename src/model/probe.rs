//! What a probe of a device or image found. Four answers, never two: only [`Probe::Blank`] may ever be formatted, and
//! "could not read" is not "found nothing".

use std::fmt;

use serde::Serialize;

use super::filesystem::{FsType, FsUuid};

/// The kind given to bytes that are not zero and that nobody recognises.
pub const UNRECOGNISED: &str = "unrecognised data";

/// The room for a boot loader, in bytes, which every mkfs but that of XFS leaves as it is.
const NEVER_WRITTEN: u64 = 1024;

/// Something recognised on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// The name `blkid` gives it: `ext4`, `xfs`, `LVM2_member`, `crypto_LUKS`, `gpt`, `dos`…
    pub kind: String,
    /// Its UUID, in the form `blkid` prints it.
    pub uuid: Option<String>,
    /// Its label.
    pub label: Option<String>,
    /// Where the telling bytes lie.
    pub offset: u64,
    /// The telling bytes.
    pub magic: Vec<u8>,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if let Some(label) = &self.label {
            write!(f, " \"{}\"", label.escape_debug())?;
        }
        if let Some(uuid) = &self.uuid {
            write!(f, " {uuid}")?;
        }
        write!(f, " (signature at offset {})", self.offset)
    }
}

/// The answer of a probe, with its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// Every place where a signature could lie was read and holds none.
    Blank,
    /// Exactly one thing was recognised.
    Known(Signature),
    /// Several that contradict each other, or remains of one: a person has to decide.
    Ambiguous(Vec<Signature>),
    /// Some place could not be read, so nothing can be said.
    Unreadable {
        /// Where reading failed.
        offset: u64,
        /// Why.
        cause: String,
    },
}

impl Probe {
    /// Whether formatting is allowed at all.
    pub const fn is_blank(&self) -> bool {
        matches!(self, Self::Blank)
    }

    /// Whether exactly this file system was recognised, and nothing else.
    pub fn is_fs(&self, fs: FsType, uuid: FsUuid) -> bool {
        let found = self.known().filter(|found| found.kind == fs.as_str());
        found.and_then(|found| found.uuid.as_deref()).is_some_and(|text| text.parse() == Ok(uuid))
    }

    /// Whether all that is there can be what a killed mkfs of `fs` with this UUID left: its own signature with that UUID, sound or (of
    /// XFS and btrfs, which write theirs before they are done) not yet; or data without any, since mke2fs and mkfs.btrfs write theirs last, but
    /// not in the first bytes, to which no mkfs writes anything else. Only under a mark that such a mkfs was begun on blank storage
    /// ([`FormatMark::Begun`](super::record::FormatMark::Begun)), and once the host has looked where the data lies, does this allow making it again.
    pub fn is_half_made(&self, fs: FsType, uuid: FsUuid) -> bool {
        let ours = |found: &Signature| {
            found.kind == fs.as_str() && found.uuid.as_deref().is_some_and(|text| text.parse() == Ok(uuid))
        };
        let nameless =
            |found: &Signature| found.kind == UNRECOGNISED && fs != FsType::Xfs && found.offset >= NEVER_WRITTEN;
        match self {
            Self::Known(found) => ours(found),
            Self::Ambiguous(all) => all.iter().all(|found| nameless(found) || (fs != FsType::Ext4 && ours(found))),
            Self::Blank | Self::Unreadable { .. } => false,
        }
    }

    /// The one thing recognised, if there is one.
    pub const fn known(&self) -> Option<&Signature> {
        match self {
            Self::Known(signature) => Some(signature),
            _ => None,
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("blank"),
            Self::Known(signature) => signature.fmt(f),
            Self::Ambiguous(signatures) => {
                f.write_str("ambiguous: ")?;
                for (index, signature) in signatures.iter().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    signature.fmt(f)?;
                }
                Ok(())
            }
            Self::Unreadable { offset, cause } => write!(f, "unreadable at offset {offset}: {cause}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(kind: &str, uuid: Option<FsUuid>) -> Signature {
        Signature {
            kind: kind.to_owned(),
            uuid: uuid.map(|uuid| uuid.to_string()),
            label: None,
            offset: 0,
            magic: vec![],
        }
    }

    #[test]
    fn only_what_our_own_mkfs_can_have_left_is_half_made() {
        let ours = FsUuid::random();
        let other = Some(FsUuid::random());
        for (half_made, probe) in [
            (true, Probe::Known(found("xfs", Some(ours)))),
            (false, Probe::Known(found("xfs", other))),
            (false, Probe::Known(found("xfs", None))),
            (false, Probe::Known(found("ext4", Some(ours)))),
            (false, Probe::Ambiguous(vec![found(UNRECOGNISED, None)])),
            (false, Probe::Ambiguous(vec![Signature { offset: 4096, ..found(UNRECOGNISED, None) }])),
            (false, Probe::Ambiguous(vec![found("xfs", None)])),
            (true, Probe::Ambiguous(vec![found("xfs", Some(ours))])),
            (false, Probe::Ambiguous(vec![found("xfs", Some(ours)), found(UNRECOGNISED, None)])),
            (false, Probe::Ambiguous(vec![found("xfs", Some(ours)), found("gpt", None)])),
            (false, Probe::Ambiguous(vec![found("xfs", other)])),
            (false, Probe::Blank),
            (false, Probe::Unreadable { offset: 0, cause: String::new() }),
        ] {
            assert_eq!(probe.is_half_made(FsType::Xfs, ours), half_made, "{probe}");
        }
        for fs in [FsType::Ext4, FsType::Btrfs] {
            for (offset, half_made) in [(0, false), (1023, false), (1024, true), (65_536, true)] {
                let probe = Probe::Ambiguous(vec![Signature { offset, ..found(UNRECOGNISED, None) }]);
                assert_eq!(probe.is_half_made(fs, ours), half_made, "{fs}: {probe}");
            }
        }
        // mke2fs writes its superblock at once: a damaged one was whole before.
        assert!(!Probe::Ambiguous(vec![found("ext4", Some(ours))]).is_half_made(FsType::Ext4, ours));
    }
}
