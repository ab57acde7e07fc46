//! What a CreateVolume call asked for, in its own words (CSI 1.12, CreateVolume). Kept with the volume, because a retry is compared with what was
//! asked and not with what came of it: classes change in the configuration, sizes grow, mutable parameters are modified.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::capability::Capability;
use super::filesystem::FsType;
use super::volume::Source;

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

impl Asked {
    /// In what a retry differs from the first call, in words; `None` when it asks for the same. A retry may name fewer capabilities.
    pub fn difference(&self, retry: &Self) -> Option<&'static str> {
        let fs_type = |asked: &Self, capability: &Capability| capability.fs_type.or(asked.fs_type);
        let same = |ours: &Capability, theirs: &Capability| {
            let both = (ours.volume_mode, ours.access_mode, &ours.mount_flags, ours.group);
            let default = FsType::Ext4;
            both == (theirs.volume_mode, theirs.access_mode, &theirs.mount_flags, theirs.group)
                && fs_type(self, ours).unwrap_or(default) == fs_type(retry, theirs).unwrap_or(default)
        };
        let known = |theirs: &Capability| self.capabilities.iter().any(|ours| same(ours, theirs));
        match () {
            () if self.source != retry.source => Some("content source"),
            () if !retry.capabilities.iter().all(known) => Some("capabilities"),
            () if self.parameters != retry.parameters => Some("parameters"),
            () if self.mutable != retry.mutable => Some("mutable parameters"),
            () => None,
        }
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
            (asked(Some(FsType::Xfs), &[One]), Some("capabilities")),
            (asked(None, &[AccessMode::SingleNodeReaderOnly]), Some("capabilities")),
            (Asked { parameters: [("allocate".into(), "sparse".into())].into(), ..first.clone() }, Some("parameters")),
            (
                Asked { mutable: [("mount_options".into(), "noatime".into())].into(), ..first.clone() },
                Some("mutable parameters"),
            ),
            (Asked { source: Some(Source::Volume("vol-1".parse().unwrap())), ..first.clone() }, Some("content source")),
        ] {
            assert_eq!(first.difference(&retry), difference, "{retry:?}");
        }
    }
}
