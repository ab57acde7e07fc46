//! Threat: a record of which any one field says something else than csictl wrote. Each field of each kind of record is given values that its
//! type takes, under a checksum that fits; then every command that needs no approval is run. No file and no mount of others is touched, and
//! once the record is as it was, everything is there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use csictl::csi::identifier::of_group;
use csictl::csi::proto::{CreateVolumeGroupSnapshotRequest, VolumeGroupSnapshot};
use csictl::model::record::{GroupRecord, Recorded, RunRecord, SnapshotRecord, VolumeRecord};
use csictl::state::record::{Record, decode, encode};
use serde_json::{Value, json};

use super::data_loss::{DEVICE, disk, release_disk, shell};
use super::hostile_records::listing;
use super::machine::{ONE_VOLUME, foreign_tmpfs};
use crate::support::Place;
use crate::support::place::checksum;
use crate::support::serving::Serving;

const UUID: &str = "11111111-2222-4333-8444-555555555555";
/// Values of one field that are tried: of a path two places, of a mark both that csictl did not leave there.
const A_FIELD: usize = 2;
/// What lets csictl format, told of a volume that is in use.
const FORMATS: &[&str] = &["/format = \"none\"", "/format = \"begun\""];
const KEEP: &str = "pods/web/data/keep";

/// What any field may be told to be: of these, those that its type takes.
fn hostile(place: &Place) -> Vec<Value> {
    let etc = place.join("etc");
    let words = ["none", "begun", "delete", "xfs", "block", "never", "sparse", "project:q", "csi", "q.other", UUID];
    let paths = [json!(etc), json!(etc.join("passwd"))];
    let plain = [json!(true), json!(false), json!(0), json!(1), json!(1_u64 << 50), Value::Null];
    paths.into_iter().chain(words.iter().map(|word| json!(word))).chain(plain).collect()
}

/// The fields of a value that have none below them.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.replace('/', "~1"), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(n, value)| (n.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    if below.is_empty() {
        found.push(at.to_owned());
    }
    for (name, value) in below {
        leaves(value, &format!("{at}/{name}"), found);
    }
}

/// Fields that are left out where they say nothing, and are tried like those that are there.
const LEFT_OUT: &[&str] = &[
    "/asked",
    "/attachment",
    "/spec/description",
    "/spec/source",
    "/spec/fs_group",
    "/spec/fs/label",
    "/spec/capacity/limit",
    "/spec/ownership/owner",
    "/spec/ownership/mode",
    "/applied_ownership/owner",
    "/applied_ownership/mode",
];

/// A field of a value by its pointer, made if only its parent is there.
fn field_of<'a>(value: &'a mut Value, pointer: &str) -> Option<&'a mut Value> {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = value.pointer_mut(parent).filter(|parent| parent.is_object())?;
    Some(&mut parent[name.replace("~1", "/")])
}

/// The record with one field changed, for each field and value, and with each of these fields that it has none of.
fn edits<T: Record>(record: &T, hostile: &[Value], more: &[(&str, Value)]) -> Vec<(String, T)> {
    let honest = serde_json::to_value(record).unwrap();
    let read = |edited: &Value| serde_json::from_value::<T>(edited.clone()).ok();
    let mut found = Vec::new();
    let mut fields = Vec::new();
    leaves(&honest, "", &mut fields);
    let left_out = LEFT_OUT.iter().filter(|field| honest.get("spec").is_some() && honest.pointer(field).is_none());
    fields.extend(left_out.map(|field| (*field).to_owned()));
    for field in fields {
        let edited = hostile.iter().filter_map(|value| {
            let mut edited = honest.clone();
            match edited.pointer_mut(&field) {
                Some(there) => *there = value.clone(),
                None => *field_of(&mut edited, &field)? = value.clone(),
            }
            let record = read(&edited)?;
            (serde_json::to_value(&record).unwrap() != honest).then(|| (format!("{field} = {value}"), record))
        });
        found.extend(edited.take(A_FIELD));
    }
    for (field, value) in more {
        let mut edited = honest.clone();
        *field_of(&mut edited, field).unwrap() = value.clone();
        let record = read(&edited).unwrap_or_else(|| panic!("{field} is not {value}"));
        found.push((format!("{field} = {value}"), record));
    }
    found
}

/// A kind of record, where one lies, and what is done with each edit of it.
struct Played<'a> {
    /// The record's file and id.
    file: &'a str,
    id: &'a str,
    /// A fresh place.
    made: fn() -> Place,
    /// Sees to it that the record is there.
    ready: fn(&Place),
    /// Fields that csictl leaves out where they say nothing.
    more: fn(&Place) -> Vec<(&'static str, Value)>,
    /// The commands that meet the edited record.
    commands: &'a [&'a [&'a str]],
    /// What has to hold with the edited record still there, and with the honest one back.
    meanwhile: fn(&Place, &str),
    after: fn(&Place, &str),
    /// The fewest edits that there have to be, and some that have to be among them.
    least: usize,
    among: &'a [&'a str],
}

impl Played<'_> {
    fn read<T: Record + std::fmt::Debug>(&self, place: &Place) -> T {
        match decode::<T>(&fs::read(place.join(self.file)).unwrap(), self.id) {
            Recorded::Present(record) => record,
            other => panic!("{other:?}"),
        }
    }

    /// Plays each edit, on one place: that everything is there again after each makes it as good as a new one.
    fn play<T: Record + std::fmt::Debug>(&self) -> Place {
        let place = (self.made)();
        let victims = with_victims(&place);
        (self.ready)(&place);
        let edits = |place: &Place| edits(&self.read::<T>(place), &hostile(place), &(self.more)(place));
        let tried: Vec<String> = edits(&place).into_iter().map(|(what, _)| what).collect();
        let count = tried.len();
        assert!(count >= self.least, "{count} edits only");
        for what in self.among {
            assert!(tried.iter().any(|tried| tried == what), "{what} is not tried: {tried:#?}");
        }
        for n in 0..count {
            (self.ready)(&place);
            let honest = fs::read(place.join(self.file)).unwrap();
            let (what, edited) = edits(&place).swap_remove(n);
            fs::write(place.join(self.file), encode(&edited)).unwrap();

            for words in self.commands {
                place.survives(words);
                assert_eq!(victims.now(&place), victims.before, "{what}: {words:?}");
            }
            (self.meanwhile)(&place, &what);
            fs::write(place.join(self.file), &honest).unwrap();
            (self.after)(&place, &what);
        }
        victims.gone(&place);
        place
    }
}

/// What is somebody else's: files, a mount and a loop device.
struct Victims {
    before: String,
    node: PathBuf,
}

fn with_victims(place: &Place) -> Victims {
    place.write("etc/passwd", "root:x:0:0");
    place.write("etc/p.data.img", "somebody else's image");
    fs::create_dir_all(place.join("etc/empty")).unwrap();
    fs::File::create(place.join("etc/disk")).unwrap().set_len(1 << 20).unwrap();
    let output = Command::new("losetup").args(["-f", "--show"]).arg(place.join("etc/disk")).output().unwrap();
    let node = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    foreign_tmpfs(&place.join("etc/mnt"));
    place.write("etc/mnt/keep", "theirs");
    let mut victims = Victims { before: String::new(), node };
    victims.before = victims.now(place);
    victims
}

impl Victims {
    fn now(&self, place: &Place) -> String {
        let mounted = place.mounts().contains(&place.join("etc/mnt"));
        let attached = place.loops().contains(&(self.node.clone(), place.join("etc/disk")));
        format!("mounted {mounted} attached {attached}\n{}", listing(&place.join("etc")))
    }

    fn gone(&self, place: &Place) {
        nix::mount::umount2(&place.join("etc/mnt"), nix::mount::MntFlags::UMOUNT_NOFOLLOW).unwrap();
        shell(place, &format!("losetup -d {}", self.node.display()));
    }
}

/// What needs no approval, with the volume down at first.
const WITHOUT_APPROVAL: &[&[&str]] = &[
    &["status"],
    &["snapshot", "create", "p.data", "s", "--yes"],
    &["apply", "m.toml", "--yes"],
    &["destroy", "m.toml", "--yes"],
    &["gc", "--yes"],
];

fn nothing(_: &Place) {}

/// With the honest record the volume comes up with its file.
fn has_its_file(place: &Place, what: &str) {
    let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);
    assert_eq!(code, 0, "{what}: {said}");
    assert_eq!(fs::read_to_string(place.join(KEEP)).unwrap_or_default(), "precious", "{what}: {said}");
    place.ok(&["destroy", "m.toml", "--yes"]);
}

fn with_image() -> Place {
    let place = Place::new();
    place.write("m.toml", ONE_VOLUME);
    place.ok(&["apply", "m.toml", "--yes"]);
    fs::write(place.join(KEEP), "precious").unwrap();
    place.ok(&["destroy", "m.toml", "--yes"]);
    place
}

fn marks(place: &Place) -> Vec<(&'static str, Value)> {
    let file = |path: PathBuf| {
        let facts = rustix::fs::stat(&path).unwrap();
        let device = json!({ "major": rustix::fs::major(facts.st_dev), "minor": rustix::fs::minor(facts.st_dev) });
        json!({ "device": device, "inode": facts.st_ino })
    };
    let etc = place.join("etc");
    let image = place.join("pool/p.data.img");
    let mut more = vec![
        ("/adopted", json!(true)),
        ("/disk", json!({ "size": 1, "start": 0, "wwn": null, "serial": null, "sequence": null })),
        ("/modifying", json!(true)),
        ("/growing", json!(1_u64 << 30)),
        ("/grown", json!(1_u64 << 30)),
        ("/spec/ephemeral", json!(true)),
        ("/made_targets", json!({ etc.to_str().unwrap(): "mount", etc.join("passwd").to_str().unwrap(): "device" })),
        (
            "/shown_at",
            json!({ etc.join("mnt").to_str().unwrap(): "mount", etc.join("passwd").to_str().unwrap(): "device" }),
        ),
    ];
    if image.exists() {
        more.push(("/removing", file(image)));
    }
    more
}

#[test]
fn no_field_of_an_image_volumes_record_costs_data_without_an_approval() {
    Played {
        file: "state/volumes/p.data.json",
        id: "p.data",
        made: with_image,
        ready: nothing,
        more: marks,
        commands: WITHOUT_APPROVAL,
        meanwhile: |place, what| assert!(place.join("pool/p.data.img").exists(), "{what}"),
        after: has_its_file,
        least: 50,
        among: FORMATS,
    }
    .play::<VolumeRecord>();
}

#[test]
fn no_field_of_a_device_volumes_record_costs_data_without_an_approval() {
    let place = Played {
        file: "state/volumes/p.data.json",
        id: "p.data",
        made: || {
            let place = Place::new();
            place.write("m.toml", &DEVICE.replace("path = \"/data\"", "path = \"/web/data\""));
            disk(&place, "true");
            place.ok(&["apply", "m.toml", "--yes"]);
            fs::write(place.join(KEEP), "precious").unwrap();
            place.ok(&["destroy", "m.toml", "--yes"]);
            place
        },
        ready: nothing,
        more: marks,
        commands: WITHOUT_APPROVAL,
        meanwhile: |_, _| {},
        after: has_its_file,
        least: 50,
        among: FORMATS,
    }
    .play::<VolumeRecord>();
    release_disk(&place);
}

#[test]
fn no_field_of_a_snapshots_record_costs_the_snapshot_or_anything_else() {
    Played {
        file: "state/snapshots/p.s.json",
        id: "p.s",
        made: || {
            let place = with_image();
            place.ok(&["snapshot", "create", "p.data", "s", "--yes"]);
            place.write("sum", &checksum(&place.join("pool/p.s.snap")));
            place
        },
        ready: nothing,
        more: |_| vec![("/group", json!("nightly"))],
        commands: &[
            &["status"],
            &["snapshot", "restore", "p.s", "other", "--yes"],
            &["snapshot", "create", "p.data", "s", "--yes"],
            &["apply", "m.toml", "--yes"],
            &["gc", "--yes"],
            &["destroy", "m.toml", "--yes"],
        ],
        meanwhile: |place, what| {
            let sum = fs::read_to_string(place.join("sum")).unwrap();
            assert_eq!(checksum(&place.join("pool/p.s.snap")), sum, "{what}");
        },
        after: |place, what| {
            has_its_file(place, what);
            let fresh = format!("again-{}", fs::read_dir(place.join("pool")).unwrap().count());
            place.ok(&["snapshot", "restore", "p.s", &fresh, "--yes"]);
            assert!(place.join(format!("pool/p.{fresh}.img")).exists(), "{what}");
        },
        least: 20,
        among: &[],
    }
    .play::<SnapshotRecord>();
}

#[test]
fn no_field_of_a_run_record_gets_others_mounts_or_loops_taken_away() {
    Played {
        file: "run/volumes/p.data.json",
        id: "p.data",
        made: with_image,
        ready: |place| drop(place.ok(&["apply", "m.toml", "--yes"])),
        more: |place| {
            let target = place.join("pods/web/data");
            let record = fs::read(place.join("run/volumes/p.data.json")).unwrap();
            let Recorded::Present(record) = decode::<RunRecord>(&record, "p.data") else { panic!("no record") };
            let publish = serde_json::to_value(&record.publishes[&target]).unwrap();
            let mnt = place.join("etc/mnt");
            let mut theirs = publish.clone();
            theirs["target"] = json!(mnt);
            let file = json!({ "device": { "major": 0, "minor": 1 }, "inode": 1 });
            vec![
                ("/staging_path", json!(mnt)),
                ("/publishes", json!({ target.to_str().unwrap(): publish, mnt.to_str().unwrap(): theirs })),
                ("/publishes", json!({})),
                ("/made", json!({ mnt.to_str().unwrap(): file, place.join("etc/empty").to_str().unwrap(): file })),
                ("/device", json!({ "major": 7, "minor": 0 })),
                ("/directory", file),
                ("/stage_attached", json!(true)),
            ]
        },
        commands: &[
            &["status"],
            &["who", "p.data"],
            &["apply", "m.toml", "--yes"],
            &["gc", "--yes"],
            &["destroy", "m.toml", "--yes"],
        ],
        meanwhile: |_, _| {},
        after: has_its_file,
        least: 30,
        among: &[],
    }
    .play::<RunRecord>();
}

/// The group of [`with_group`], under the name that the orchestrator chose.
fn again(serving: &Serving) -> Result<VolumeGroupSnapshot, tonic::Status> {
    let request = CreateVolumeGroupSnapshotRequest {
        name: "nightly".into(),
        source_volume_ids: vec!["p.data".into()],
        ..Default::default()
    };
    let answer = serving.call(serving.group().create_volume_group_snapshot(request));
    answer.map(|answer| answer.group_snapshot.unwrap())
}

/// A volume, a snapshot of it alone, and one with a group.
fn with_group() -> Place {
    let place = with_image();
    place.ok(&["snapshot", "create", "p.data", "alone", "--yes"]);
    let serving = Serving::start(&place, &[]);
    again(&serving).unwrap();
    drop(serving);
    place.write("sums", &sums(&place));
    place
}

/// The snapshots' files and what is in them.
fn sums(place: &Place) -> String {
    let entries = fs::read_dir(place.join("pool")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "snap")).collect();
    found.sort();
    found.iter().map(|path| format!("{} {}\n", path.display(), checksum(path))).collect()
}

#[test]
fn no_field_of_a_groups_record_costs_a_snapshot_or_anything_else() {
    let id = of_group("nightly").to_string();
    Played {
        file: &format!("state/groups/{id}.json"),
        id: &id,
        made: with_group,
        ready: nothing,
        more: |place| {
            let file = fs::metadata(place.join("pool/p.alone.snap")).unwrap().ino();
            vec![
                ("/state", json!("deleting")),
                ("/state", json!("placing")),
                ("/members", json!([])),
                ("/members/0/id", json!("p.alone")),
                ("/members/0/path", json!(place.join("pool/p.alone.snap"))),
                ("/members/0/path", json!(place.join("pool/p.data.img"))),
                ("/members/0/file/inode", json!(file)),
            ]
        },
        commands: &[
            &["status"],
            &["state", "export"],
            &["apply", "m.toml", "--yes"],
            &["destroy", "m.toml", "--yes"],
            &["gc", "--yes"],
        ],
        meanwhile: |place, what| {
            let serving = Serving::start(place, &[]);
            let _ = again(&serving);
            drop(serving);
            assert_eq!(sums(place), fs::read_to_string(place.join("sums")).unwrap(), "{what}");
        },
        after: |place, what| {
            let serving = Serving::start(place, &[]);
            assert_eq!(again(&serving).unwrap().snapshots.len(), 1, "{what}");
            drop(serving);
            has_its_file(place, what);
        },
        least: 20,
        among: &["/state = \"deleting\""],
    }
    .play::<GroupRecord>();
}
