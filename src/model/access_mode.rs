//! How many may use a volume, and how (CSI 1.12, VolumeCapability.AccessMode). csictl serves one node, so the multi-node
//! modes have no place here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The single-node access modes of CSI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessMode {
    /// One node reads and writes; the old mode that leaves the number of publishes open, treated as one.
    SingleNodeWriter,
    /// One node, read-only.
    SingleNodeReaderOnly,
    /// One publish on one node.
    #[default]
    SingleNodeSingleWriter,
    /// Many publishes on one node.
    SingleNodeMultiWriter,
}

impl AccessMode {
    /// Every mode, in the order help and errors list them.
    pub const ALL: [Self; 4] =
        [Self::SingleNodeWriter, Self::SingleNodeReaderOnly, Self::SingleNodeSingleWriter, Self::SingleNodeMultiWriter];
    /// The short names of Kubernetes and what they stand for.
    pub const ALIASES: [(&'static str, Self); 3] = [
        ("rwo", Self::SingleNodeMultiWriter),
        ("rwop", Self::SingleNodeSingleWriter),
        ("rox", Self::SingleNodeReaderOnly),
    ];

    /// The name a manifest uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SingleNodeWriter => "single-node-writer",
            Self::SingleNodeReaderOnly => "single-node-reader-only",
            Self::SingleNodeSingleWriter => "single-node-single-writer",
            Self::SingleNodeMultiWriter => "single-node-multi-writer",
        }
    }

    /// The name CSI has for it.
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::SingleNodeWriter => "SINGLE_NODE_WRITER",
            Self::SingleNodeReaderOnly => "SINGLE_NODE_READER_ONLY",
            Self::SingleNodeSingleWriter => "SINGLE_NODE_SINGLE_WRITER",
            Self::SingleNodeMultiWriter => "SINGLE_NODE_MULTI_WRITER",
        }
    }

    /// Whether more than one publish may exist at a time.
    pub const fn allows_many(self) -> bool {
        matches!(self, Self::SingleNodeMultiWriter)
    }

    /// Whether every publish has to be read-only.
    pub const fn read_only(self) -> bool {
        matches!(self, Self::SingleNodeReaderOnly)
    }
}

impl fmt::Display for AccessMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for AccessMode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let named = Self::ALL.into_iter().find(|mode| mode.as_str() == text);
        named.or_else(|| Self::ALIASES.iter().find(|(alias, _)| *alias == text).map(|(_, mode)| *mode)).ok_or(())
    }
}
