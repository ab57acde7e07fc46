//! What is there, as `status`, `get` and `tree` show it: one list of volumes, pods and snapshots made from an observation, with
//! the drift of each. Serialized it is the body of `csictl.status/1`; fields that only text shows are skipped there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::model::observed::{ObservedBacking, ObservedSnapshot, ObservedVolume};
use crate::model::record::VolumeRecord;
use crate::model::{Backing, Capacity, Desired, Mount, ObjectRef, Observed, Owner, PublishSpec, VolumeId, VolumeSpec};
use crate::plan::{Drift, Phase, drift};

/// All that a command shows.
#[derive(Debug, Default)]
pub struct Survey {
    /// Volumes by id.
    pub volumes: Vec<Volume>,
    /// Pods by name.
    pub pods: Vec<Pod>,
    /// Snapshots by id.
    pub snapshots: Vec<Snapshot>,
}

/// One volume.
#[derive(Debug, Serialize)]
pub struct Volume {
    /// Its name; the id where it has none of its own.
    pub name: String,
    /// Its id.
    pub id: String,
    /// How far it has come.
    pub phase: Phase,
    /// `image`, `device`, `directory` or `tmpfs`.
    pub backing: Option<&'static str>,
    /// Its block device, where it has one now.
    pub device: Option<String>,
    /// Its size; null where the backing has none.
    pub capacity_bytes: Option<u64>,
    /// Bytes in use.
    pub used_bytes: Option<u64>,
    /// Its file system.
    pub fs: Option<String>,
    /// Whether it is mounted at its staging path.
    pub staged: bool,
    /// Where pods see it.
    pub published: Vec<Published>,
    /// What differs from what csictl left.
    pub drift: Vec<Drift>,
    /// Whose it is.
    #[serde(skip)]
    pub owner: Option<Owner>,
    /// The file, device or directory behind it.
    #[serde(skip)]
    pub storage: Option<String>,
    /// Its staging mount.
    #[serde(skip)]
    pub stage: Option<Mount>,
    /// Mounts at its targets, in the order of `published`.
    #[serde(skip)]
    pub mounts: Vec<Mount>,
    /// Its spec, as applied or as wanted.
    #[serde(skip)]
    pub spec: Option<VolumeSpec>,
    /// When it was made.
    #[serde(skip)]
    pub created_at: Option<String>,
    /// What could not be read.
    #[serde(skip)]
    pub unknown: Vec<String>,
}

/// One place at which a pod sees a volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Published {
    /// The pod; null where nothing tells.
    pub pod: Option<String>,
    /// The path.
    pub path: String,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// One pod.
#[derive(Debug, Serialize)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// The project whose manifest has it; null where an orchestrator has.
    pub project: Option<String>,
    /// What it sees now.
    pub published: Vec<PodMount>,
}

/// One volume as a pod sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PodMount {
    /// The path.
    pub path: String,
    /// The volume's id.
    pub volume: String,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// One snapshot.
#[derive(Debug, Serialize)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// The volume it was taken of.
    pub volume: Option<String>,
    /// Its size.
    pub capacity_bytes: Option<u64>,
    /// Bytes allocated for it.
    pub used_bytes: Option<u64>,
    /// Whether it is whole.
    pub ready: bool,
    /// When it was taken.
    pub created_at: Option<String>,
    /// The group it was taken with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its file.
    pub path: Option<String>,
}

/// Lists what was observed; with a manifest, only what it declares or its project owns.
pub fn survey(observed: &Observed, desired: Option<&Desired>) -> Survey {
    let mut wanted = BTreeMap::<&VolumeId, Vec<&PublishSpec>>::new();
    for publish in desired.into_iter().flat_map(Desired::publishes) {
        wanted.entry(&publish.volume).or_default().push(publish);
    }
    let mut survey = Survey::default();
    for (id, seen) in &observed.volumes {
        let spec = desired.and_then(|desired| desired.volumes.get(id));
        if let Some(desired) = desired {
            let owner = seen.record.present().map(|record| &record.spec.owner);
            let owned = matches!(owner, Some(Owner::Project(project)) if *project == desired.project);
            if spec.is_none() && !owned {
                continue;
            }
        }
        let volume = volume(id, seen, spec, wanted.get(id).map(Vec::as_slice));
        // Looked at, but neither asked for nor there.
        if volume.phase == Phase::Absent && volume.spec.is_none() {
            continue;
        }
        survey.volumes.push(volume);
    }
    survey.pods = pods(&survey.volumes, desired);
    survey.snapshots = snapshots(observed, desired);
    survey
}

fn volume(
    id: &VolumeId,
    seen: &ObservedVolume,
    wanted: Option<&VolumeSpec>,
    publishes: Option<&[&PublishSpec]>,
) -> Volume {
    let record = seen.record.present();
    let spec = record.map(|record| &record.spec).or(wanted);
    let released = record.is_some_and(|record| record.released);
    let drift = match publishes {
        Some(publishes) => {
            let mut drift = drift::of_volume(id, seen, publishes);
            drift.extend(not_there_yet(id, seen, publishes, &drift));
            drift
        }
        None if released => drift::of_volume(id, seen, &[]),
        None => drift::of_recorded(id, seen),
    };
    let mut published: Vec<_> = seen
        .published
        .iter()
        .map(|publish| {
            let asked = seen.run.as_ref().and_then(|run| run.publishes.get(&publish.target));
            let pod = publish.pod.as_ref().or(asked.map(|asked| &asked.pod)).map(ToString::to_string);
            // A bind of a device node tells nothing of writes: the loop does.
            let read_only = publish.mount.read_only() || asked.is_some_and(|asked| asked.read_only);
            (Published { pod, path: publish.target.display().to_string(), read_only }, publish.mount.clone())
        })
        .collect();
    published.sort_by(|a, b| a.0.cmp(&b.0));
    let (published, mounts) = published.into_iter().unzip();
    Volume {
        name: spec.map_or_else(|| id.short().to_owned(), |spec| spec.name.clone()),
        id: id.to_string(),
        phase: Phase::of(seen),
        backing: spec.map(|spec| spec.backing.kind()),
        device: device(seen, spec),
        capacity_bytes: capacity(seen, spec).map(Capacity::get),
        used_bytes: seen.used.map(Capacity::get),
        fs: spec.and_then(fs_name).or_else(|| seen.staged.as_ref().map(|stage| stage.mount.fs_type.clone())),
        staged: seen.staged.is_some(),
        published,
        drift,
        owner: spec.map(|spec| spec.owner.clone()),
        storage: storage(id, spec),
        stage: seen.staged.as_ref().map(|stage| stage.mount.clone()),
        mounts,
        spec: spec.cloned(),
        created_at: record.map(|record: &VolumeRecord| record.created_at.clone()),
        unknown: seen.unknown.clone(),
    }
}

/// What a manifest wants to be seen and is not, though the volume was made: an apply that failed on the way. A plan calls that a change.
fn not_there_yet(id: &VolumeId, seen: &ObservedVolume, publishes: &[&PublishSpec], told: &[Drift]) -> Vec<Drift> {
    let made = seen.record.present().is_some_and(|record| !record.released);
    let mounted = |publish: &PublishSpec| seen.published.iter().any(|is| is.target == publish.target);
    let missing = publishes.iter().filter(|publish| made && !mounted(publish));
    missing
        .map(|publish| Drift {
            object: ObjectRef::Volume(id.clone()),
            what: "mount".to_owned(),
            expected: publish.target.display().to_string(),
            found: "not mounted".to_owned(),
        })
        .filter(|drift| !told.contains(drift))
        .collect()
}

fn fs_name(spec: &VolumeSpec) -> Option<String> {
    spec.fs_type()
        .map(|fs| fs.to_string())
        .or_else(|| matches!(spec.backing, Backing::Tmpfs(_)).then(|| "tmpfs".into()))
}

fn device(seen: &ObservedVolume, spec: Option<&VolumeSpec>) -> Option<String> {
    if let Some(device) = &seen.loop_device {
        return Some(device.node().display().to_string());
    }
    match (spec.map(|spec| &spec.backing), &seen.backing) {
        (Some(Backing::Device(device)), ObservedBacking::Device(_)) => Some(device.path.display().to_string()),
        _ => None,
    }
}

fn capacity(seen: &ObservedVolume, spec: Option<&VolumeSpec>) -> Option<Capacity> {
    match &seen.backing {
        ObservedBacking::Image(image) => Some(image.size),
        ObservedBacking::Device(device) => Some(device.size),
        _ => spec.and_then(VolumeSpec::required),
    }
}

fn storage(id: &VolumeId, spec: Option<&VolumeSpec>) -> Option<String> {
    let path: PathBuf = match &spec?.backing {
        Backing::Image(image) => image.image_path(id),
        Backing::Device(device) => device.path.clone(),
        Backing::Directory(directory) => directory.path.clone(),
        Backing::Tmpfs(_) => return Some("memory".to_owned()),
    };
    Some(path.display().to_string())
}

fn pods(volumes: &[Volume], desired: Option<&Desired>) -> Vec<Pod> {
    // Pods of one name in several projects have nothing to do with each other.
    let mut pods = BTreeMap::<(String, Option<String>), Vec<PodMount>>::new();
    if let Some(desired) = desired {
        for pod in desired.pods.keys() {
            pods.entry((pod.to_string(), Some(desired.project.to_string()))).or_default();
        }
    }
    for volume in volumes {
        let project = match &volume.owner {
            Some(Owner::Project(project)) => Some(project.to_string()),
            _ => None,
        };
        for publish in &volume.published {
            if let Some(pod) = &publish.pod {
                let (path, read_only) = (publish.path.clone(), publish.read_only);
                pods.entry((pod.clone(), project.clone())).or_default().push(PodMount {
                    path,
                    volume: volume.id.clone(),
                    read_only,
                });
            }
        }
    }
    pods.into_iter()
        .map(|((name, project), mut published)| {
            published.sort();
            Pod { name, project, published }
        })
        .collect()
}

fn snapshots(observed: &Observed, desired: Option<&Desired>) -> Vec<Snapshot> {
    let project = |seen: &ObservedSnapshot| match seen.record.present().map(|record| &record.owner) {
        Some(Owner::Project(project)) => Some(project.clone()),
        _ => None,
    };
    observed
        .snapshots
        .iter()
        .filter(|(_, seen)| seen.record.present().is_some() || seen.file.is_some())
        .filter(|(_, seen)| desired.is_none_or(|desired| project(seen).as_ref() == Some(&desired.project)))
        .map(|(id, seen)| {
            let record = seen.record.present();
            Snapshot {
                name: record.map_or_else(|| id.short().to_owned(), |record| record.name.clone()),
                id: id.to_string(),
                volume: record.map(|record| record.volume.to_string()),
                capacity_bytes: record.map(|record| record.size.get()),
                used_bytes: seen.file.as_ref().map(|file| file.allocated.get()),
                ready: record.is_some_and(|record| record.ready) && seen.file.is_some(),
                created_at: record.map(|record| record.created_at.clone()),
                group: record.and_then(|record| record.group.as_ref()).map(ToString::to_string),
                path: record.map(|record| record.path.display().to_string()),
            }
        })
        .collect()
}
