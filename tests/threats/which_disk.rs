//! Which disk it is: a path is a link that turns, a record may be old, edited or another machine's, and an approval is for what it named. No
//! disk but the one that was looked at is ever formatted or erased, and no file system in which somebody may have written since.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use csictl::host::linux::LinuxHost;
use csictl::host::{FormatRequest, Host, Lock, Observe};
use csictl::model::record::{FormatMark, Recorded, VolumeRecord};
use csictl::model::{DiskId, FsType, FsUuid, SectorSize};
use csictl::state::record::{decode, encode};

use super::data_loss::{DEVICE, disk, release_disk, shell};
use crate::support::Place;
use crate::support::place::{checksum, unwrapped};

pub(super) const LINK: &str = "/dev/disk/by-id/test";

pub(super) fn record_path(place: &Place) -> PathBuf {
    place.join("state/volumes/p.data.json")
}

pub(super) fn record(place: &Place) -> VolumeRecord {
    match decode::<VolumeRecord>(&fs::read(record_path(place)).unwrap(), "p.data") {
        Recorded::Present(record) => record,
        other => panic!("{other:?}"),
    }
}

/// A second disk of the test's own, with this on it, at which the link of the first points from now on; the file behind it.
pub(super) fn another_disk(place: &Place, content: &str) -> PathBuf {
    shell(place, &format!("truncate -s 320M other; {content}"));
    let output = Command::new("losetup").args(["-f", "--show"]).arg(place.join("other")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    fs::remove_file(LINK).unwrap();
    symlink(String::from_utf8(output.stdout).unwrap().trim(), LINK).unwrap();
    place.join("other")
}

pub(super) fn release_both(place: &Place) {
    release_disk(place);
    shell(place, "losetup -j other | cut -d: -f1 | xargs -r -n1 losetup -d");
}

/// A disk with a file system of csictl's, taken down, and a file of its user's in it.
pub(super) fn used_disk(place: &Place) -> PathBuf {
    place.write("m.toml", DEVICE);
    let file = disk(place, "truncate -s 320M disk");
    place.ok(&["apply", "m.toml", "--yes"]);
    fs::write(place.join("pods/data/keep"), "precious").unwrap();
    place.ok(&["destroy", "m.toml", "--yes"]);
    file
}

#[test]
fn a_whole_file_system_is_never_made_again_though_its_making_is_not_known_to_have_ended() {
    let place = Place::new();
    used_disk(&place);
    let begun = VolumeRecord { format: FormatMark::Begun, ..record(&place) };
    fs::write(record_path(&place), encode(&begun)).unwrap();

    place.ok(&["apply", "m.toml", "--yes"]);

    assert_eq!(fs::read_to_string(place.join("pods/data/keep")).unwrap(), "precious");
    assert_eq!(record(&place).format, FormatMark::Done);
    release_both(&place);
}

#[test]
fn a_damaged_file_system_that_was_in_use_is_not_made_again_either() {
    let place = Place::new();
    let file = used_disk(&place);
    // Its superblock stays sound, its root directory does not.
    shell(&place, "debugfs -w -R 'clri <2>' $(losetup -n -O NAME -j disk) 2>/dev/null; sync");
    let begun = VolumeRecord { format: FormatMark::Begun, ..record(&place) };
    fs::write(record_path(&place), encode(&begun)).unwrap();
    let before = checksum(&file);

    let (code, said) = place.exit(&["apply", "m.toml", "--yes", "--approve", "volume.data=wipe"]);

    assert_eq!(code, 5, "{said}");
    assert!(said.contains("may have been in use"), "{said}");
    assert_eq!(checksum(&file), before);
    release_both(&place);
}

#[test]
fn an_imported_record_cannot_have_a_disk_formatted() {
    let place = Place::new();
    used_disk(&place);
    let (_, document) = place.exit(&["state", "export"]);
    let document = document.replace("\"format\":\"done\"", "\"format\":\"begun\"");
    let document = document.replace("\"format\": \"done\"", "\"format\": \"begun\"");
    assert!(document.contains("begun"), "{document}");
    place.write("document.json", &document);
    fs::remove_dir_all(place.join("state")).unwrap();
    place.ok(&["state", "import", "document.json"]);
    assert_eq!(record(&place).format, FormatMark::None);

    let (code, said) = place.exit(&["apply", "m.toml", "--yes", "--approve", "volume.data=wipe"]);

    // It may be used as what it is; it may not be made anew.
    assert_eq!(code, 0, "{said}");
    assert_eq!(fs::read_to_string(place.join("pods/data/keep")).unwrap(), "precious");
    release_both(&place);
}

#[test]
fn what_no_mkfs_leaves_is_not_made_again_whichever_disk_it_is_on() {
    for (fs_type, same) in [("ext4", false), ("xfs", false), ("ext4", true), ("xfs", true), ("btrfs", true)] {
        let place = Place::new();
        used_disk(&place);
        place.write("m.toml", &DEVICE.replace("ext4", fs_type));
        // As an encrypted disk without a header looks.
        let file =
            another_disk(&place, "dd if=/dev/urandom of=other bs=1M count=320 conv=notrunc status=none; sync other");
        let is = LinuxHost::new().device(Path::new(LINK)).unwrap().unwrap().disk;
        let was =
            if same { is } else { DiskId { sequence: is.sequence.map(|(boot, number)| (boot, number + 1)), ..is } };
        let mut begun = VolumeRecord { format: FormatMark::Begun, disk: Some(was), ..record(&place) };
        begun.spec.fs.as_mut().unwrap().fs_type = fs_type.parse().unwrap();
        fs::write(record_path(&place), encode(&begun)).unwrap();
        let before = checksum(&file);

        let (planned, shown) = place.exit(&["plan", "m.toml", "--detailed-exitcode"]);
        let (code, said) = place.exit(&["apply", "m.toml", "--yes", "--approve", "volume.data=wipe"]);

        assert_eq!((planned, code), (5, 5), "{fs_type} same={same}: {shown}\n{said}");
        assert_eq!(checksum(&file), before, "{fs_type} same={same}");
        release_both(&place);
    }
}

#[test]
fn an_approval_to_wipe_a_volume_is_for_the_disk_that_the_volume_was_on() {
    for content in
        ["mkfs.ext4 -q -L victim other", "dd if=/dev/urandom of=other bs=1M count=8 conv=notrunc status=none"]
    {
        let place = Place::new();
        used_disk(&place);
        let file = another_disk(&place, &format!("{content}; sync other"));
        place.write("m.toml", &DEVICE.replace("ext4", "xfs"));
        let before = checksum(&file);

        let (planned, shown) = place.exit(&["plan", "m.toml", "--detailed-exitcode"]);
        let (code, said) = place.exit(&["apply", "m.toml", "--yes", "--approve", "volume.data=wipe"]);

        assert_eq!((planned, code), (5, 5), "{content}: {shown}\n{said}");
        assert_eq!(checksum(&file), before, "{content}");
        release_both(&place);
    }
}

#[test]
fn a_link_that_turns_before_mkfs_runs_does_not_lead_it_to_another_disk() {
    let place = Place::new();
    place.write("m.toml", DEVICE);
    let first = disk(&place, "truncate -s 320M disk");
    let host = LinuxHost::new();
    let meant = host.device(Path::new(LINK)).unwrap().unwrap().block;
    let other = another_disk(&place, "mkfs.ext4 -q -L victim other; sync other");
    let (before, blank) = (checksum(&other), checksum(&first));

    let request = FormatRequest {
        path: LINK.into(),
        fs: FsType::Ext4,
        uuid: FsUuid::random(),
        label: None,
        options: Vec::new(),
        sector_size: SectorSize::B512,
        fresh_image: false,
        discard: true,
        block: Some(meant),
        resume: false,
        template: false,
    };
    host.format(&request, &Lock::of(())).unwrap();

    assert_eq!(checksum(&other), before);
    assert_ne!(checksum(&first), blank);
    release_both(&place);
}

#[test]
fn a_foreign_file_system_that_is_used_as_it_is_keeps_its_size() {
    let place = Place::new();
    place.write("m.toml", DEVICE);
    disk(&place, "truncate -s 320M disk; mkfs.ext4 -q -L foreign disk 100M; sync disk");

    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
    place.ok(&["apply", "m.toml", "--yes"]);

    let size = LinuxHost::new().filesystem_size(Path::new(LINK), FsType::Ext4).unwrap();
    assert_eq!(size.get(), 100 << 20);
    release_both(&place);
}

#[test]
fn a_disk_whose_head_was_erased_by_accident_is_not_formatted() {
    let place = Place::new();
    place.write("m.toml", DEVICE);
    let file = disk(
        &place,
        "truncate -s 320M disk; mkfs.ext4 -q disk; dd if=/dev/zero of=disk bs=1M count=1 conv=notrunc status=none; sync disk",
    );
    let before = checksum(&file);

    let (code, said) = place.exit(&["apply", "m.toml", "--yes", "--approve", "volume.data=wipe"]);

    assert_eq!(code, 5, "{said}");
    assert!(said.contains("not-blank"), "{said}");
    assert_eq!(checksum(&file), before);
    release_both(&place);
}

#[test]
fn nothing_is_made_in_a_pool_whose_files_others_may_exchange() {
    let place = Place::new();
    place.write("m.toml", super::machine::ONE_VOLUME);
    place.ok(&["apply", "m.toml", "--yes"]);
    let pool = place.join("pool");
    fs::set_permissions(&pool, fs::Permissions::from_mode(0o777)).unwrap();
    let before = fs::read_dir(&pool).unwrap().count();
    let more = super::machine::ONE_VOLUME.replace("[pods.web]", "[volumes.more]\ncapacity = \"16MiB\"\n[pods.web]");
    place.write("more.toml", &more);

    for words in [
        &["plan", "more.toml", "--detailed-exitcode"][..],
        &["apply", "more.toml", "--yes"],
        &["snapshot", "create", "p.data", "s1", "--yes"],
        &["expand", "p.data", "64MiB", "--yes"],
    ] {
        let (code, said) = place.exit(words);

        assert_eq!(code, 5, "{words:?}: {said}");
        assert!(said.contains("has mode 0777") && said.contains("go-w"), "{words:?}: {said}");
    }
    assert_eq!(fs::read_dir(&pool).unwrap().count(), before);
    place.ok(&["destroy", "m.toml", "--yes"]);
}

/// Its owner makes another file system on the disk, and says so in the manifest: it is used, as one that csictl did not make. Another disk that
/// holds one of that type is nobody's word for anything.
#[test]
fn a_file_system_that_its_owner_made_later_is_left_as_it_is_and_another_disks_is_refused() {
    let place = Place::new();
    used_disk(&place);
    let xfs = DEVICE.replace("type = \"ext4\"", "type = \"xfs\"");
    place.write("m.toml", &xfs);
    let other = another_disk(&place, "mkfs.xfs -q -L VICTIM other; sync other");
    let before = checksum(&other);

    let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);
    assert!(code == 5 && said.contains("wrong-identity"), "{code}: {said}");
    assert_eq!(checksum(&other), before);

    shell(&place, &format!("ln -sfn $(losetup -j disk | cut -d: -f1) {LINK}"));
    let node = fs::read_link(LINK).unwrap();
    shell(&place, &format!("mkfs.xfs -q -f -d size=300m {}", node.display()));
    place.ok(&["apply", "m.toml", "--yes"]);
    assert!(record(&place).adopted, "what csictl did not make is not its own");
    place.ok(&["plan", "m.toml", "--detailed-exitcode"]);
    let size = LinuxHost::new().filesystem_size(Path::new(LINK), FsType::Xfs).unwrap();
    assert_eq!(size.get(), 300 << 20);
    release_both(&place);
}

/// The path of a disk leads to the loop device of another volume: its bytes are that one's, blank or not.
#[test]
fn the_loop_device_of_csictls_own_volume_is_no_disk_for_another() {
    let place = Place::new();
    let raw = "version = 1\nproject = \"q\"\n[pools.main]\npath = \"pool\"\n[volumes.raw]\nvolume_mode = \"block\"\ncapacity = \"64MiB\"\n\
               image = { allocate = \"sparse\" }\nprevent_destroy = true\n[pods.db]\nroot = \"db\"\n[[pods.db.devices]]\nvolume = \"raw\"\npath = \"/raw\"\n";
    place.write("raw.toml", raw);
    place.ok(&["apply", "raw.toml", "--yes"]);
    let image = place.join("pool/q.raw.img");
    let before = checksum(&image);
    disk(&place, "true");
    shell(&place, &format!("ln -sfn $(losetup -j {} | cut -d: -f1) {LINK}", image.display()));
    for manifest in [
        DEVICE.to_owned(),
        DEVICE.replace("fs = { type = \"ext4\" }\n", "volume_mode = \"block\"\n").replace("mounts", "devices"),
    ] {
        place.write("m.toml", &manifest);
        for words in [&["plan", "m.toml"][..], &["apply", "m.toml", "--yes", "--approve", "volume.data=wipe"]] {
            let (code, said) = place.exit(words);
            assert!(code == 5 && said.contains("q.raw"), "{words:?}: {code}: {said}");
        }
    }
    assert_eq!(checksum(&image), before);
    place.ok(&["destroy", "raw.toml", "--yes"]);
    release_both(&place);
}

/// The kernel tells a path of the file behind a loop device, which may lead nowhere: whose file that is nobody knows then.
#[test]
fn a_loop_device_whose_file_cannot_be_seen_is_no_disk() {
    let place = Place::new();
    let raw = "version = 1\nproject = \"q\"\n[pools.main]\npath = \"inner\"\n[volumes.raw]\nvolume_mode = \"block\"\ncapacity = \"64MiB\"\n\
               image = { allocate = \"sparse\" }\n[pods.db]\nroot = \"db\"\n[[pods.db.devices]]\nvolume = \"raw\"\npath = \"/raw\"\n";
    place.write("raw.toml", raw);
    shell(&place, "mkdir -m 700 pool inner && mount --bind pool inner");
    place.ok(&["apply", "raw.toml", "--yes"]);
    let image = place.join("pool/q.raw.img");
    let before = checksum(&image);
    disk(&place, "true");
    shell(&place, &format!("ln -sfn $(losetup -j {} | cut -d: -f1) {LINK}", image.display()));
    shell(&place, "umount -l inner");
    place.write("m.toml", DEVICE);

    for words in [&["plan", "m.toml"][..], &["apply", "m.toml", "--yes", "--approve", "volume.data=wipe"]] {
        let (code, said) = place.exit(words);
        assert!(code == 5 && unwrapped(&said).contains("cannot be looked at from here"), "{words:?}: {code}: {said}");
    }

    assert_eq!(checksum(&image), before);
    shell(&place, "mount --bind pool inner");
    place.ok(&["destroy", "raw.toml", "--yes"]);
    shell(&place, "umount inner");
    release_both(&place);
}

#[test]
fn files_on_a_disk_that_csictl_did_not_format_keep_owner_group_and_mode() {
    let place = Place::new();
    let content = "truncate -s 64M disk; mkfs.ext4 -q -L foreign disk; mkdir m; mount -o loop disk m; echo k > m/secret; chmod 600 m/secret; umount m";
    place.write(
        "m.toml",
        &DEVICE
            .replace("root = \"pods\"\n", "root = \"pods\"\nfs_group = 2000\n")
            .replace("fs = {", "owner = \"7:7\"\nmode = \"0711\"\nfs = {"),
    );
    disk(&place, content);

    let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);

    assert!(code == 0 && said.contains("csictl did not make that file system"), "{code}: {said}");
    let facts = |path: &str| {
        fs::metadata(place.join(path)).map(|facts| (facts.uid(), facts.gid(), facts.mode() & 0o7777)).unwrap()
    };
    assert_eq!(facts("pods/data/secret"), (0, 0, 0o600));
    assert_eq!(facts("pods/data"), (0, 0, 0o755));
    release_both(&place);
}

/// In another mount namespace nothing here shows the mount; only who asks for the disk alone is told.
#[test]
fn a_raw_disk_that_is_mounted_in_another_mount_namespace_is_not_given_away() {
    let place = Place::new();
    disk(&place, "truncate -s 64M disk; mkfs.ext4 -q disk; mkdir m");
    let mut holder = Command::new("unshare");
    let line = format!("mount {LINK} {}; echo up; exec sleep 600", place.join("m").display());
    holder.args(["--mount", "--propagation", "private", "sh", "-ec", &line]).stdout(std::process::Stdio::piped());
    let mut holder = holder.spawn().unwrap();
    let mut said = [0; 3];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).unwrap();
    place.write(
        "m.toml",
        &DEVICE.replace("fs = { type = \"ext4\" }\n", "volume_mode = \"block\"\n").replace("mounts", "devices"),
    );

    let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);

    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(code == 5 && said.contains("for himself alone"), "{code}: {said}");
    place.ok(&["apply", "m.toml", "--yes"]);
    release_both(&place);
}

/// The disk is gone, its mount was taken away by hand, and somebody mounted another there.
#[test]
fn what_was_mounted_in_the_place_of_a_disk_that_is_gone_stays() {
    let place = Place::new();
    used_disk(&place);
    place.ok(&["apply", "m.toml", "--yes"]);
    nix::mount::umount(&place.join("pods/data")).unwrap();
    let other = another_disk(&place, "mkfs.ext4 -q other; sync other");
    shell(&place, &format!("mount {LINK} pods/data; echo theirs > pods/data/theirs"));
    fs::remove_file(LINK).unwrap();

    let _ = place.exit(&["destroy", "m.toml", "--yes"]);

    assert_eq!(fs::read_to_string(place.join("pods/data/theirs")).unwrap(), "theirs\n");
    nix::mount::umount(&place.join("pods/data")).unwrap();
    shell(&place, &format!("ln -s $(losetup -j disk | cut -d: -f1) {LINK}"));
    assert!(other.exists());
    release_both(&place);
}
