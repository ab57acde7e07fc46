//! The parameters of a volume (CSI 1.12, CreateVolumeRequest.parameters and mutable_parameters): what a StorageClass and a VolumeAttributesClass say to
//! this driver. Keys are the manifest's. Unknown ones are errors; the orchestrator's own are taken, used at most as a word for people, never kept.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use tonic::Status;

use super::request;
use crate::model::{Allocate, FsType, Name, SectorSize};

/// Keys of the orchestrator and its sidecars.
const ORCHESTRATOR: [&str; 2] = ["csi.storage.k8s.io/", "storage.kubernetes.io/"];
/// The file system, under the orchestrator's own name for it.
const FS_TYPE: &str = "csi.storage.k8s.io/fstype";
const PVC_NAME: &str = "csi.storage.k8s.io/pvc/name";
const PVC_NAMESPACE: &str = "csi.storage.k8s.io/pvc/namespace";

/// Keys that are fixed once a volume is there.
const FIXED: [&str; 7] = ["class", "pool", "backing", "direct_io", "sector_size", "label", "mkfs_options"];
/// Keys that ControllerModifyVolume changes.
const MUTABLE: [&str; 2] = ["allocate", "mount_options"];

/// What can be changed later.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mutable {
    /// How bytes are reserved.
    pub allocate: Option<Allocate>,
    /// Mount options, as written; what they suit is not known yet.
    pub mount_options: Option<Vec<String>>,
}

/// A volume's parameters, read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parameters {
    /// The class.
    pub class: Option<Name>,
    /// The pool.
    pub pool: Option<Name>,
    /// The file system.
    pub fs_type: Option<FsType>,
    /// Whether direct I/O is asked for.
    pub direct_io: Option<bool>,
    /// The sector size.
    pub sector_size: Option<SectorSize>,
    /// The file system's label.
    pub label: Option<String>,
    /// Extra arguments of mkfs.
    pub mkfs_options: Option<Vec<String>>,
    /// What can be changed later; mutable parameters outrank the others.
    pub mutable: Mutable,
    /// A word for people: the claim it is made for, where the orchestrator tells.
    pub description: Option<String>,
}

impl Parameters {
    /// Reads both maps of a request.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a key or value that is not known, or a map that is too large.
    pub fn read(fixed: &HashMap<String, String>, mutable: &HashMap<String, String>) -> Result<Self, Status> {
        request::map("parameters", fixed)?;
        let known = |key: &str| FIXED.contains(&key) || MUTABLE.contains(&key) || is_orchestrators(key);
        if let Some(key) = fixed.keys().filter(|key| !known(key)).min() {
            let all = [&FIXED[..], &MUTABLE[..], &[FS_TYPE]].concat().join(", ");
            return Err(Status::invalid_argument(format!("unknown parameter '{}': known are {all}", shown(key))));
        }
        let get = |key: &str| fixed.get(key).map(String::as_str);
        match get("backing") {
            None | Some("image") => {}
            Some(other) => {
                let other = shown(other);
                return Err(Status::invalid_argument(format!(
                    "parameter backing '{other}': over gRPC csictl makes image volumes; declare others in a manifest"
                )));
            }
        }
        let claim = |name: &str| format!("PVC {}/{name}", get(PVC_NAMESPACE).unwrap_or("default"));
        let sector_size = word::<u32>("sector_size", get("sector_size"), "512 or 4096")?;
        let own = Mutable::values(fixed)?;
        let later = Mutable::read(mutable)?;
        Ok(Self {
            class: word("class", get("class"), "the name of a class of --config")?,
            pool: word("pool", get("pool"), "the name of a pool of --config")?,
            fs_type: word(FS_TYPE, get(FS_TYPE).filter(|text| !text.is_empty()), "ext4, xfs or btrfs")?,
            direct_io: word("direct_io", get("direct_io"), "true or false")?,
            sector_size: sector_size
                .map(SectorSize::try_from)
                .transpose()
                .map_err(|why| Status::invalid_argument(format!("parameter sector_size: {why}")))?,
            label: get("label").map(str::to_owned),
            mkfs_options: get("mkfs_options").map(|text| text.split_whitespace().map(str::to_owned).collect()),
            mutable: Mutable {
                allocate: later.allocate.or(own.allocate),
                mount_options: later.mount_options.or(own.mount_options),
            },
            description: get(PVC_NAME).map(claim).filter(|text| !text.chars().any(char::is_control)),
        })
    }
}

impl Mutable {
    /// Reads the map of a request.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a key that can't be changed, an unknown one, a value that is not known, or a map that is too large.
    pub fn read(map: &HashMap<String, String>) -> Result<Self, Status> {
        request::map("mutable_parameters", map)?;
        if let Some(key) = map.keys().filter(|key| !MUTABLE.contains(&key.as_str()) && !is_orchestrators(key)).min() {
            let why =
                if FIXED.contains(&key.as_str()) { "it is fixed once a volume is there" } else { "it is unknown" };
            let can = MUTABLE.join(" and ");
            return Err(Status::invalid_argument(format!(
                "mutable parameter '{}': {why}; {can} can change",
                shown(key)
            )));
        }
        Self::values(map)
    }

    fn values(map: &HashMap<String, String>) -> Result<Self, Status> {
        let allocate = match map.get("allocate").map(String::as_str) {
            None => None,
            Some("full") => Some(Allocate::Full),
            Some("sparse") => Some(Allocate::Sparse),
            Some(other) => {
                return Err(Status::invalid_argument(format!(
                    "parameter allocate '{}': use full or sparse",
                    shown(other)
                )));
            }
        };
        Ok(Self { allocate, mount_options: map.get("mount_options").map(|text| mount_option_words(text)) })
    }
}

/// The options in a list of them, which has commas or spaces between.
pub fn mount_option_words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| c == ',' || c.is_whitespace());
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// A map as it is kept and compared: without what is the orchestrator's. The file system's name is kept apart.
pub fn kept(map: &HashMap<String, String>) -> BTreeMap<String, String> {
    map.iter().filter(|(key, _)| !is_orchestrators(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn is_orchestrators(key: &str) -> bool {
    ORCHESTRATOR.iter().any(|prefix| key.starts_with(prefix))
}

fn word<T: FromStr>(key: &str, text: Option<&str>, known: &str) -> Result<Option<T>, Status> {
    let bad = |text: &str| Status::invalid_argument(format!("parameter {key} '{}': use {known}", shown(text)));
    text.map(|text| text.parse().map_err(|_| bad(text))).transpose()
}

/// A caller's text in a message: without control characters, and not longer than a line.
pub fn shown(text: &str) -> String {
    const MOST: usize = 80;
    text.escape_debug().take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_known_key_is_read() {
        let fixed = map(&[
            ("class", "fast"),
            ("pool", "main"),
            ("backing", "image"),
            ("allocate", "sparse"),
            ("direct_io", "false"),
            ("sector_size", "4096"),
            ("label", "data"),
            ("mkfs_options", "-m 0"),
            ("csi.storage.k8s.io/fstype", "xfs"),
            ("csi.storage.k8s.io/pvc/name", "db"),
            ("csi.storage.k8s.io/pvc/namespace", "shop"),
            ("storage.kubernetes.io/csiProvisionerIdentity", "anything"),
        ]);
        let read = Parameters::read(&fixed, &map(&[("mount_options", "noatime,nodev")])).unwrap();
        assert_eq!(
            read,
            Parameters {
                class: "fast".parse().ok(),
                pool: "main".parse().ok(),
                fs_type: Some(FsType::Xfs),
                direct_io: Some(false),
                sector_size: Some(SectorSize::B4096),
                label: Some("data".to_owned()),
                mkfs_options: Some(vec!["-m".to_owned(), "0".to_owned()]),
                mutable: Mutable {
                    allocate: Some(Allocate::Sparse),
                    mount_options: Some(vec!["noatime".to_owned(), "nodev".to_owned()]),
                },
                description: Some("PVC shop/db".to_owned()),
            }
        );
        assert_eq!(kept(&fixed).len(), 8, "what is the orchestrator's is not kept");
    }

    #[test]
    fn mutable_parameters_outrank_the_others() {
        let read = Parameters::read(&map(&[("allocate", "sparse")]), &map(&[("allocate", "full")])).unwrap();
        assert_eq!(read.mutable.allocate, Some(Allocate::Full));
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for (fixed, mutable) in [
            (&[("colour", "blue")][..], &[][..]),
            (&[("Class", "fast")], &[]),
            (&[("class", "../etc")], &[]),
            (&[("backing", "tmpfs")], &[]),
            (&[("allocate", "thin")], &[]),
            (&[("sector_size", "1024")], &[]),
            (&[("csi.storage.k8s.io/fstype", "ntfs")], &[]),
            (&[], &[("pool", "main")]),
            (&[], &[("iops", "100")]),
        ] {
            let status = Parameters::read(&map(fixed), &map(mutable)).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{fixed:?} {mutable:?}");
        }
    }
}
