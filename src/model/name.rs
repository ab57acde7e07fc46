//! Names and ids. A name is what a user writes in a manifest; an id is what files, locks and CSI calls use. Both are
//! validated where they are made, so no later layer ever turns an unchecked string into a path.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest name, in bytes: a DNS label (RFC 1123).
pub const NAME_MAX: usize = 63;
/// The longest id, in bytes: CSI 1.12, "size limits", strings of 128 bytes.
pub const ID_MAX: usize = 128;

/// Why a string is not a name or an id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidName {
    /// The string has no character.
    #[error("it is empty")]
    Empty,
    /// The string is longer than `max` bytes.
    #[error("it has {len} bytes, the most is {max}")]
    TooLong {
        /// Bytes found.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A character outside the grammar.
    #[error("'{found}' is not allowed: {rule}")]
    Character {
        /// The first character that is not allowed.
        found: char,
        /// What is allowed, in words.
        rule: &'static str,
    },
}

const LABEL_RULE: &str = "use lower-case letters, digits and '-', with a letter or digit at both ends";
const ID_RULE: &str = "use lower-case letters, digits, '.' and '-', beginning with a letter or digit";

/// A name in a manifest (project, volume, pod, class, pool, snapshot): a DNS label of at most 63 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_alphanumeric(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let edge = |c: Option<char>| c.filter(|c| !is_alphanumeric(*c));
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        if let Some(found) = text.chars().find(|&c| !is_alphanumeric(c) && c != '-') {
            return Err(InvalidName::Character { found, rule: LABEL_RULE });
        }
        if text.len() > NAME_MAX {
            return Err(InvalidName::TooLong { len: text.len(), max: NAME_MAX });
        }
        if let Some(found) = edge(text.chars().next()).or_else(|| edge(text.chars().last())) {
            return Err(InvalidName::Character { found, rule: LABEL_RULE });
        }
        Ok(Self(text.to_owned()))
    }
}

fn parse_id(text: &str) -> Result<String, InvalidName> {
    match text.chars().next() {
        None => return Err(InvalidName::Empty),
        Some(first) if !is_alphanumeric(first) => {
            return Err(InvalidName::Character { found: first, rule: ID_RULE });
        }
        Some(_) => {}
    }
    if let Some(found) = text.chars().find(|&c| !is_alphanumeric(c) && c != '-' && c != '.') {
        return Err(InvalidName::Character { found, rule: ID_RULE });
    }
    if text.len() > ID_MAX {
        return Err(InvalidName::TooLong { len: text.len(), max: ID_MAX });
    }
    Ok(text.to_owned())
}

/// The id of a volume: `PROJECT.VOLUME` for a manifest's, a hash without a dot for one made over gRPC.
///
/// The grammar is `[a-z0-9][a-z0-9.-]*`, 128 bytes at most, so an id is always a safe file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeId(String);

/// The id of a snapshot: `PROJECT.SNAPSHOT`, same grammar as [`VolumeId`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotId(String);

/// The id of a group of snapshots taken at one moment, same grammar as [`VolumeId`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupId(String);

impl GroupId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GroupId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        parse_id(text).map(Self)
    }
}

impl VolumeId {
    /// The id of volume `name` of `project`.
    pub fn of_project(project: &Name, name: &Name) -> Self {
        Self(format!("{project}.{name}"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The volume's own name: the id without its project.
    pub fn short(&self) -> &str {
        self.0.split_once('.').map_or(self.0.as_str(), |(_, name)| name)
    }
}

impl SnapshotId {
    /// The id of snapshot `name` of `project`.
    pub fn of_project(project: &Name, name: &Name) -> Self {
        Self(format!("{project}.{name}"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The snapshot's own name: the id without its project.
    pub fn short(&self) -> &str {
        self.0.split_once('.').map_or(self.0.as_str(), |(_, name)| name)
    }
}

impl FromStr for VolumeId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        parse_id(text).map(Self)
    }
}

impl FromStr for SnapshotId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        parse_id(text).map(Self)
    }
}

macro_rules! string_newtype {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

string_newtype!(Name);
string_newtype!(VolumeId);
string_newtype!(SnapshotId);
string_newtype!(GroupId);

/// What a step, an error or a drift line is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectRef {
    /// A volume, shown as `volume.NAME`.
    Volume(VolumeId),
    /// A snapshot, shown as `snapshot.NAME`.
    Snapshot(SnapshotId),
    /// A group of snapshots, shown as `group.ID`.
    Group(GroupId),
    /// A pod, shown as `pod.NAME`.
    Pod(Name),
    /// A pool, shown as `pool.NAME`.
    Pool(Name),
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(id) => write!(f, "volume.{}", id.short()),
            Self::Snapshot(id) => write!(f, "snapshot.{}", id.short()),
            Self::Group(id) => write!(f, "group.{id}"),
            Self::Pod(name) => write!(f, "pod.{name}"),
            Self::Pool(name) => write!(f, "pool.{name}"),
        }
    }
}

impl Serialize for ObjectRef {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_dns_label() {
        for good in ["a", "0", "a-b", &"x".repeat(NAME_MAX)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "ä", "a/b", &"x".repeat(NAME_MAX + 1)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_id_is_always_a_safe_file_name() {
        for good in ["shop.db", "0a", "a..b"] {
            assert!(good.parse::<VolumeId>().is_ok(), "{good}");
        }
        for bad in ["", ".a", "../x", "a/b", "-a", "a\0b", &"x".repeat(ID_MAX + 1)] {
            assert!(bad.parse::<VolumeId>().is_err(), "{bad}");
        }
    }
}
