//! What a CreateVolume call asked for, in its own words (CSI 1.12, CreateVolume). Kept with the volume, because a retry is compared with what was
//! asked and not with what came of it: classes change in the configuration, sizes grow, mutable parameters are modified.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::capability::Capability;
use super::filesystem::FsType;
use super::volume::{Source, VolumeMode};

/// A creation as it was asked for. Parameters of the orchestrator itself (`csi.storage.k8s.io/…`) and secrets are in none of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Asked {
    /// How it is to be used.
    pub capabilities: Vec<Capability>,
    /// The file system that the parameters name, if they do.
    pub fs_type: Option<FsType>,
    /// The parameters.
    pub parameters: BTreeMap<String, String>,
    /// The parameters that can be changed later.
    pub mutable: BTreeMap<String, String>,
    /// What it is filled with.
    pub source: Option<Source>,
}

/// What a retry asks for otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The field, by the name that the call has for it.
    pub field: String,
    /// What the first call asked for.
    pub is: String,
    /// What the retry asks for.
    pub asked: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, asked is {}", self.field, shortened(&self.is), shortened(&self.asked))
    }
}

/// Texts of callers are said back up to this length, in characters.
const SHOWN: usize = 200;

/// A caller's text in a message: without control characters, and not longer than a few lines.
fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

impl Asked {
    /// In what a retry differs from the first call; `None` when it asks for the same. A retry may name fewer capabilities; a file system left
    /// open is the one that the volume has, `None` for raw block.
    pub fn difference(&self, retry: &Self, has: Option<FsType>) -> Option<Difference> {
        let differs = |field: &str, is: String, asked: String| Some(Difference { field: field.to_owned(), is, asked });
        if self.source != retry.source {
            let text = |source: &Option<Source>| source.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
            return differs("volume_content_source", text(&self.source), text(&retry.source));
        }
        let whole = |asked: &Self| -> Vec<Capability> {
            let fs_type = |capability: &Capability| capability.fs_type.or(asked.fs_type).or(has);
            let whole = |capability: &Capability| Capability {
                fs_type: fs_type(capability).filter(|_| capability.volume_mode == VolumeMode::Filesystem),
                ..capability.clone()
            };
            asked.capabilities.iter().map(whole).collect()
        };
        let known = whole(self);
        if let Some(unknown) = whole(retry).iter().find(|capability| !known.contains(capability)) {
            let all: Vec<_> = known.iter().map(ToString::to_string).collect();
            return differs("volume_capabilities", all.join("; "), unknown.to_string());
        }
        let maps = [
            ("parameters", &self.parameters, &retry.parameters),
            ("mutable_parameters", &self.mutable, &retry.mutable),
        ];
        maps.into_iter().find_map(|(map, is, asked)| {
            let key = is.keys().chain(asked.keys()).find(|key| is.get(*key) != asked.get(*key))?;
            let text = |map: &BTreeMap<String, String>| map.get(key).map_or("not set", String::as_str).to_owned();
            differs(&format!("{map} {key}"), text(is), text(asked))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccessMode, VolumeMode};

    fn asked(fs_type: Option<FsType>, modes: &[AccessMode]) -> Asked {
        let capability = |access_mode: &AccessMode| Capability {
            volume_mode: VolumeMode::Filesystem,
            fs_type,
            mount_flags: Vec::new(),
            group: None,
            access_mode: *access_mode,
        };
        Asked { capabilities: modes.iter().map(capability).collect(), ..Asked::default() }
    }

    #[test]
    fn a_retry_may_leave_out_the_default_and_name_fewer_uses() {
        use AccessMode::{SingleNodeMultiWriter as Many, SingleNodeWriter as One};
        let first = asked(None, &[One, Many]);
        for (retry, difference) in [
            (first.clone(), None),
            (asked(Some(FsType::Ext4), &[Many]), None),
            (asked(Some(FsType::Xfs), &[One]), Some("volume_capabilities")),
            (asked(None, &[AccessMode::SingleNodeReaderOnly]), Some("volume_capabilities")),
            (
                Asked { parameters: [("allocate".into(), "sparse".into())].into(), ..first.clone() },
                Some("parameters allocate"),
            ),
            (
                Asked { mutable: [("mount_options".into(), "noatime".into())].into(), ..first.clone() },
                Some("mutable_parameters mount_options"),
            ),
            (
                Asked { source: Some(Source::Volume("vol-1".parse().unwrap())), ..first.clone() },
                Some("volume_content_source"),
            ),
        ] {
            let found = first.difference(&retry, Some(FsType::Ext4)).map(|found| found.field);
            assert_eq!(found.as_deref(), difference, "{retry:?}");
        }
    }
}
