//! Taking down what changed behind csictl's back: nothing that exists only in memory of the kernel goes without being named, nothing of
//! csictl's own stays behind a "done", and no state needs a person's umount.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};

use crate::support::Place;

/// A file system, a read-only second place of it, and a raw block volume.
const VOLUMES: &str = r#"
version = 1
project = "d"
[pools.main]
path = "pool"
[volumes.a]
capacity = "16MiB"
access_mode = "rwo"
image = { allocate = "sparse" }
[volumes.r]
capacity = "4MiB"
volume_mode = "block"
image = { allocate = "sparse" }
[pods.p]
root = "root"
[[pods.p.mounts]]
volume = "a"
path = "/a"
[[pods.p.devices]]
volume = "r"
path = "/raw"
"#;

fn run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The node of the loop device that shows, or showed, a file of this name.
fn loop_on(place: &Place, name: &str) -> String {
    let found = place.loops().into_iter().find(|(_, backing)| backing.ends_with(name));
    found.unwrap_or_else(|| panic!("no loop of {name}: {:?}", place.loops())).0.display().to_string()
}

/// Links below a `/dev/mapper` of this test's own: names that a manifest may give to disks.
struct Names;

impl Names {
    fn new() -> Self {
        mount(Some("tmpfs"), "/dev/mapper", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        Self
    }

    fn point(&self, name: &str, node: &str) {
        let link = Path::new("/dev/mapper").join(name);
        let _ = fs::remove_file(&link);
        symlink(node, link).unwrap();
    }

    fn forget(&self, name: &str) {
        fs::remove_file(Path::new("/dev/mapper").join(name)).unwrap();
    }
}

fn disk(place: &Place, name: &str, mib: u64) -> String {
    let file = place.join(name);
    fs::File::create(&file).unwrap().set_len(mib << 20).unwrap();
    run(&["losetup", "--find", "--show", file.to_str().unwrap()])
}

fn device_volume(fs_type: &str) -> String {
    format!(
        "version = 1\nproject = \"v\"\n[volumes.d]\naccess_mode = \"rwo\"\ndevice = {{ path = \"/dev/mapper/one\" }}\n\
         fs = {{ type = \"{fs_type}\" }}\n[pods.p]\nroot = \"root\"\n[[pods.p.mounts]]\nvolume = \"d\"\npath = \"/d\"\n"
    )
}

/// What `apply` and a second `plan` have to come to.
fn converges(place: &Place, manifest: &str) {
    place.ok(&["apply", manifest, "--yes"]);
    let (code, said) = place.exit(&["plan", manifest, "--detailed-exitcode"]);
    assert_eq!(code, 0, "{said}");
}

/// Taken down whole: no mount of this place and no loop of the pool is left.
fn destroyed(place: &Place, manifest: &str) {
    let (code, said) = place.exit(&["destroy", manifest, "--yes"]);
    assert_eq!((code, place.mounts()), (0, vec![]), "{said}");
    let loops: Vec<_> = place.loops().into_iter().filter(|(_, file)| file.starts_with(place.join("pool"))).collect();
    assert_eq!(loops, [], "{said}");
}

/// However the image lost its name, the loop device holds the last of its bytes: taking it down is a loss that is asked about by name.
#[test]
fn a_volume_whose_image_was_unlinked_or_replaced_is_not_taken_down_unnamed() {
    for replaced in [false, true] {
        let place = Place::new();
        place.write("m.toml", VOLUMES);
        place.ok(&["apply", "m.toml", "--yes"]);
        fs::write(place.join("root/a/f"), "precious").unwrap();
        for name in ["a", "r"] {
            let image = place.join(format!("pool/d.{name}.img"));
            if replaced {
                run(&["cp", "-a", image.to_str().unwrap(), place.join("copy").to_str().unwrap()]);
                fs::rename(place.join("copy"), &image).unwrap();
            } else {
                fs::remove_file(&image).unwrap();
            }
        }
        let (mounts, loops) = (place.mounts(), place.loops());

        let gone = VOLUMES.replace("[[pods.p.mounts]]\nvolume = \"a\"\npath = \"/a\"\n", "");
        place.write("no-pod.toml", &gone);
        let start = gone.find("[volumes.a]").unwrap();
        let end = gone.find("[volumes.r]").unwrap();
        place.write("no-volume.toml", &format!("{}{}", &gone[..start], &gone[end..]));
        for words in [
            &["plan", "--destroy", "m.toml"][..],
            &["destroy", "m.toml", "--yes"],
            &["apply", "no-pod.toml", "--yes"],
            &["apply", "no-volume.toml", "--yes"],
        ] {
            let (code, said) = place.exit(words);
            assert_eq!(code, 5, "{words:?}: {said}");
            assert!(said.contains("/dev/loop") && said.contains("--delete-data"), "{words:?}: {said}");
            assert!(!said.contains("take the volume down (csictl destroy)"), "{words:?}: {said}");
            assert_eq!((&mounts, &loops), (&place.mounts(), &place.loops()), "{words:?}: {said}");
        }
        assert_eq!(fs::read_to_string(place.join("root/a/f")).unwrap(), "precious");

        let (code, said) = place.exit(&["destroy", "m.toml", "--yes", "--delete-data", "a", "r"]);
        assert_eq!((code, place.mounts(), place.loops()), (0, vec![], vec![]), "{said}");
    }
}

#[test]
fn a_device_volume_is_taken_down_wherever_its_link_leads_now() {
    for fs_type in ["ext4", "btrfs"] {
        for gone in [false, true] {
            let place = Place::new();
            place.write("m.toml", &device_volume(fs_type));
            let names = Names::new();
            let (one, other) = (disk(&place, "one.img", 128), disk(&place, "other.img", 128));
            names.point("one", &one);
            place.ok(&["apply", "m.toml", "--yes"]);
            if gone {
                names.forget("one");
            } else {
                names.point("one", &other);
            }

            let (code, said) = place.exit(&["plan", "m.toml"]);
            assert_eq!(code, 5, "{said}");
            assert!(!said.contains("not mounted"), "{fs_type}, link gone: {gone}: {said}");
            destroyed(&place, "m.toml");

            names.point("one", &one);
            converges(&place, "m.toml");
            destroyed(&place, "m.toml");
            nix::mount::umount("/dev/mapper").unwrap();
        }
    }
}

#[test]
fn a_directory_volume_is_taken_down_though_its_directory_is_gone() {
    let place = Place::new();
    place.write(
        "m.toml",
        "version = 1\nproject = \"da\"\n[volumes.u]\ndirectory = { path = \"dir\", create = true }\n[pods.p]\n\
         root = \"root\"\n[[pods.p.mounts]]\nvolume = \"u\"\npath = \"/u\"\n",
    );
    place.ok(&["apply", "m.toml", "--yes"]);
    fs::remove_dir(place.join("dir")).unwrap();
    destroyed(&place, "m.toml");

    converges(&place, "m.toml");
    fs::remove_dir(place.join("dir")).unwrap();
    converges(&place, "m.toml");
    fs::write(place.join("root/u/f"), "").unwrap();
    assert!(place.join("dir/f").exists());
    destroyed(&place, "m.toml");
}

/// A bound device node holds no loop: detached by somebody else, it shows nothing, or somebody else's bytes.
#[test]
fn a_bind_of_a_loop_device_that_is_gone_is_csictls_own() {
    for again in [true, false] {
        let place = Place::new();
        place.write("m.toml", VOLUMES);
        place.ok(&["apply", "m.toml", "--yes"]);
        run(&["losetup", "-d", &loop_on(&place, "d.r.img")]);
        if again {
            let (code, said) = place.exit(&["plan", "m.toml", "--detailed-exitcode"]);
            assert_eq!(code, 2, "{said}");
            assert!(said.contains("! volume.r"), "{said}");
            converges(&place, "m.toml");
            let loops = place.loops();
            assert!(loops.iter().any(|(_, file)| file.ends_with("d.r.img")), "{loops:?}");
            fs::write(place.join("root/raw"), "here").unwrap();
            run(&["sync", place.join("root/raw").to_str().unwrap()]);
            assert!(fs::read(place.join("pool/d.r.img")).unwrap().starts_with(b"here"));
        }
        destroyed(&place, "m.toml");
        assert!(!place.join("root").exists());
    }
}

/// The root is the user's word: its links are followed once, and are his.
#[test]
fn a_pod_may_have_its_root_at_or_below_a_link() {
    let place = Place::new();
    fs::create_dir_all(place.join("elsewhere/inner")).unwrap();
    symlink("elsewhere", place.join("link")).unwrap();
    for (root, real) in
        [("link", "elsewhere"), ("link/new/deep", "elsewhere/new/deep"), ("link/inner", "elsewhere/inner")]
    {
        place.write("m.toml", &VOLUMES.replace("root = \"root\"", &format!("root = \"{root}\"")));
        converges(&place, "m.toml");
        assert!(place.mounts().contains(&place.join(real).join("a")), "{root}: {:?}", place.mounts());
        let record = fs::read_to_string(place.state().join("volumes/d.a.json")).unwrap();
        assert!(!record.contains(&format!("{}\"", place.join("link").display())), "{root}: {record}");
        place.ok(&["status", "m.toml", "--check"]);
        destroyed(&place, "m.toml");
        assert!(place.join("link").is_symlink() && place.join("elsewhere/inner").is_dir(), "{root}");
        assert!(!place.join("elsewhere/new").exists() && !place.join(real).join("a").exists(), "{root}");
    }
}

/// A root that leads elsewhere now is another place: what was there is taken away, the new one made.
#[test]
fn a_root_whose_link_was_turned_moves_the_pod() {
    let place = Place::new();
    fs::create_dir_all(place.join("one")).unwrap();
    fs::create_dir_all(place.join("two")).unwrap();
    symlink("one", place.join("link")).unwrap();
    place.write("m.toml", &VOLUMES.replace("root = \"root\"", "root = \"link\""));
    place.ok(&["apply", "m.toml", "--yes"]);
    fs::remove_file(place.join("link")).unwrap();
    symlink("two", place.join("link")).unwrap();

    converges(&place, "m.toml");
    assert!(place.mounts().contains(&place.join("two/a")) && !place.mounts().contains(&place.join("one/a")));
    fs::remove_file(place.join("link")).unwrap();
    destroyed(&place, "m.toml");
}

/// Below the root no link is followed, and two roots that are one place are told.
#[test]
fn links_below_a_root_and_two_names_of_one_root_are_refused() {
    let place = Place::new();
    fs::create_dir_all(place.join("root/real")).unwrap();
    symlink("real", place.join("root/below")).unwrap();
    place.write("m.toml", &VOLUMES.replace("path = \"/a\"", "path = \"/below/a\""));
    let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("unsafe-path"), "{said}");

    symlink("root", place.join("other")).unwrap();
    place.write(
        "m.toml",
        &format!("{VOLUMES}[pods.q]\nroot = \"other\"\n[[pods.q.mounts]]\nvolume = \"a\"\npath = \"/a\"\n"),
    );
    let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);
    assert_eq!((code, place.mounts()), (5, vec![]), "{said}");
    assert!(said.contains("pod.q") && said.contains("pod.p"), "{said}");
}

#[test]
fn a_block_volume_is_published_from_a_link_to_its_device() {
    let place = Place::new();
    place.write(
        "m.toml",
        "version = 1\nproject = \"b\"\n[volumes.d]\nvolume_mode = \"block\"\ndevice = { path = \"/dev/mapper/one\" }\n\
         [pods.p]\nroot = \"root\"\n[[pods.p.devices]]\nvolume = \"d\"\npath = \"/raw\"\n",
    );
    let names = Names::new();
    let (one, other) = (disk(&place, "one.img", 4), disk(&place, "other.img", 4));
    names.point("one", &one);

    converges(&place, "m.toml");
    fs::write(place.join("root/raw"), "mine").unwrap();
    run(&["sync", &one]);
    assert!(fs::read(place.join("one.img")).unwrap().starts_with(b"mine"));
    names.point("one", &other);
    destroyed(&place, "m.toml");
    nix::mount::umount("/dev/mapper").unwrap();
}

#[test]
fn a_block_volume_becomes_writable_and_read_only_in_one_apply() {
    let place = Place::new();
    let writable = VOLUMES.replace("[volumes.r]\n", "[volumes.r]\naccess_mode = \"rwo\"\n");
    let writable =
        writable.replace("path = \"/raw\"", "path = \"/raw\"\n[[pods.p.devices]]\nvolume = \"r\"\npath = \"/raw2\"");
    let read_only = writable.replace("path = \"/raw\"", "path = \"/raw\"\nread_only = true");
    let read_only = read_only.replace("path = \"/raw2\"", "path = \"/raw2\"\nread_only = true");
    for text in [&read_only, &writable, &read_only] {
        place.write("m.toml", text);
        converges(&place, "m.toml");
        let raw = fs::OpenOptions::new().write(true).open(place.join("root/raw"));
        let writes = raw.is_ok_and(|mut raw| std::io::Write::write_all(&mut raw, &[0; 512]).is_ok());
        assert_eq!(writes, text == &writable);
    }
    destroyed(&place, "m.toml");
}

#[test]
fn a_volume_changes_its_mode_at_the_same_path() {
    let place = Place::new();
    let block = VOLUMES.replace("[volumes.a]\n", "[volumes.a]\nvolume_mode = \"block\"\n");
    let block = block.replace("[[pods.p.mounts]]\nvolume = \"a\"", "[[pods.p.devices]]\nvolume = \"a\"");
    for (text, is_block) in [(VOLUMES, false), (&block, true), (VOLUMES, false)] {
        place.write("m.toml", text);
        place.ok(&["apply", "m.toml", "--yes", "--approve", "volume.a=wipe"]);
        let kind = fs::metadata(place.join("root/a")).unwrap().file_type();
        assert_eq!((kind.is_block_device(), kind.is_dir()), (is_block, !is_block));
    }
    destroyed(&place, "m.toml");
}

/// What csictl made as a directory and removes is free for a device's file of another volume, and the other way round.
#[test]
fn two_volumes_of_two_kinds_exchange_their_paths() {
    let place = Place::new();
    let other = VOLUMES.replace("\"/a\"", "\"/b\"").replace("\"/raw\"", "\"/a\"").replace("\"/b\"", "\"/raw\"");
    for (text, file_system, raw) in
        [(VOLUMES, "root/a", "root/raw"), (&other, "root/raw", "root/a"), (VOLUMES, "root/a", "root/raw")]
    {
        place.write("m.toml", text);
        converges(&place, "m.toml");
        let is = |path: &str| fs::metadata(place.join(path)).unwrap().file_type();
        assert!(is(file_system).is_dir() && is(raw).is_block_device());
    }
    destroyed(&place, "m.toml");
}

/// With their record lost, what an image's own word and its mounts say is in use is no leftover.
#[test]
fn gc_leaves_a_published_volume_alone_whose_record_was_lost() {
    let place = Place::new();
    place.write("m.toml", &VOLUMES.replace("path = \"pool\"", "path = \"state/pool\""));
    place.ok(&["apply", "m.toml", "--yes"]);
    fs::write(place.join("root/a/f"), "kept").unwrap();
    for name in ["a", "r"] {
        fs::remove_file(place.state().join(format!("volumes/d.{name}.json"))).unwrap();
    }
    let (mounts, loops) = (place.mounts(), place.loops());

    for words in [&["gc", "--dry-run"][..], &["gc", "--yes"]] {
        let (code, said) = place.exit(words);
        assert_eq!(code, 0, "{words:?}: {said}");
        assert_eq!((&mounts, &loops), (&place.mounts(), &place.loops()), "{words:?}: {said}");
        assert!(said.contains("d.a") && said.contains("d.r") && said.contains("csictl apply"), "{words:?}: {said}");
    }
    place.ok(&["apply", "m.toml", "--yes"]);
    assert_eq!(fs::read_to_string(place.join("root/a/f")).unwrap(), "kept");
    let (code, said) = place.exit(&["destroy", "m.toml", "--yes"]);
    assert_eq!((code, place.mounts(), place.loops()), (0, vec![], vec![]), "{said}");
}

#[test]
fn destroy_says_what_else_is_mounted_on_a_target_before_it_does_anything() {
    let place = Place::new();
    place.write("m.toml", VOLUMES);
    place.ok(&["apply", "m.toml", "--yes"]);
    for target in [place.join("root/a"), place.run().join("staging/d.a")] {
        mount(Some("foreign"), &target, Some("tmpfs"), MsFlags::empty(), Some("size=1m")).unwrap();
        let mounts: Vec<PathBuf> = place.mounts();
        for words in [&["plan", "--destroy", "m.toml"][..], &["destroy", "m.toml", "--yes"]] {
            let (code, said) = place.exit(words);
            assert_eq!((code, place.mounts()), (5, mounts.clone()), "{words:?}: {said}");
            assert!(said.contains(target.to_str().unwrap()) && said.contains("foreign"), "{words:?}: {said}");
        }
        nix::mount::umount(&target).unwrap();
    }
    destroyed(&place, "m.toml");
}
