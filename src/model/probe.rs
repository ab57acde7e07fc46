//! What a probe of a device or image found. Four answers, never two: only [`Probe::Blank`] may ever be formatted, and
//! "could not read" is not "found nothing".

use std::fmt;

use serde::Serialize;

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
