//! What fstrim(8) gives back of a volume: of a `full` one nothing, of a sparse one what was deleted.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::Place;

const MIB: u64 = 1 << 20;

#[test]
fn fstrim_takes_nothing_of_a_full_volume_and_gives_a_sparse_ones_space_back() {
    for (fs, mib) in [("ext4", 64), ("xfs", 300), ("btrfs", 256)] {
        let place = Place::new();
        let mut text =
            String::from("version = 1\nproject = \"p\"\n[pools.main]\npath = \"pool\"\n[pods.a]\nroot = \"a\"\n");
        for allocate in ["full", "sparse"] {
            text += &format!(
                "[volumes.{allocate}]\ncapacity = \"{mib}MiB\"\nimage = {{ allocate = \"{allocate}\" }}\nfs = {{ type = \"{fs}\" }}\n\
                 [[pods.a.mounts]]\nvolume = \"{allocate}\"\npath = \"/{allocate}\"\n"
            );
        }
        place.write("m.toml", &text);
        place.ok(&["apply", "m.toml", "--yes"]);
        let allocated = |name: &str| fs::metadata(place.join(format!("pool/p.{name}.img"))).unwrap().blocks() * 512;
        let sync = |name: &str| {
            let path = place.join(format!("a/{name}"));
            assert!(Command::new("sync").arg("-f").arg(&path).status().unwrap().success());
            path
        };
        for name in ["full", "sparse"] {
            let big = place.join(format!("a/{name}/big"));
            fs::write(&big, vec![7u8; 24 << 20]).unwrap();
            fs::File::open(&big).unwrap().sync_all().unwrap();
            fs::remove_file(&big).unwrap();
            let path = sync(name);
            let before = allocated(name);
            let trim = || Command::new("fstrim").arg("-v").arg(&path).output().unwrap();
            let mut said = trim();
            sync(name);
            let begun = Instant::now();
            // xfs frees what was deleted a moment later.
            while name == "sparse" && allocated(name) + 16 * MIB >= before && begun.elapsed() < Duration::from_secs(20)
            {
                std::thread::sleep(Duration::from_millis(100));
                said = trim();
                sync(name);
            }
            let (after, words) = (allocated(name), String::from_utf8_lossy(&said.stderr).into_owned());
            if name == "full" {
                assert!(before >= mib * MIB, "{fs}: only {before} bytes were reserved");
                assert_eq!(after, before, "{fs}: fstrim took {} bytes of a full volume; {words}", before - after);
                // A program that trims every so often has to be told, and not to fail in silence.
                assert!(words.is_empty() || words.contains("not supported"), "{fs}: {words}");
            } else {
                assert!(said.status.success(), "{fs}: {words}");
                assert!(after + 16 * MIB < before, "{fs}: fstrim gave back {before} → {after}");
            }
        }
        place.ok(&["destroy", "m.toml", "--yes"]);
    }
}
