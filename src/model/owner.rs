//! Who a volume belongs to. Two manifests, and a manifest and an orchestrator, share a machine without touching each
//! other's volumes because every record names its owner.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::name::{InvalidName, Name, VolumeId};

/// The owner of a volume or snapshot, written `project:NAME` or `csi`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Owner {
    /// Declared in the manifest of this project.
    Project(Name),
    /// Made over gRPC by an orchestrator.
    Csi,
}

impl Owner {
    /// Whose a volume is by its id, where no record tells: a manifest's is `PROJECT.NAME`.
    pub fn by_id(id: &VolumeId) -> Self {
        let project = id.as_str().split_once('.').and_then(|(project, _)| project.parse().ok());
        project.map_or(Self::Csi, Self::Project)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project(name) => write!(f, "project:{name}"),
            Self::Csi => f.write_str("csi"),
        }
    }
}

impl FromStr for Owner {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text.strip_prefix("project:") {
            Some(name) => name.parse().map(Self::Project),
            None if text == "csi" => Ok(Self::Csi),
            None => Err(InvalidName::Character {
                found: text.chars().next().ok_or(InvalidName::Empty)?,
                rule: "an owner is 'project:NAME' or 'csi'",
            }),
        }
    }
}

impl TryFrom<String> for Owner {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> Self {
        owner.to_string()
    }
}
