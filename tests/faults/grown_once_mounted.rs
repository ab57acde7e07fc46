//! xfs and btrfs grow only once they are mounted. A run that ended between the two leaves a volume that looks as it should and is smaller: the next
//! one sees it and grows it.

use std::fs;
use std::path::Path;

use super::oracle::{converges, write_canaries};
use super::programs::Instead;
use crate::support::Place;

const BEFORE: &str = "320MiB";
const AFTER: &str = "500MiB";

fn manifest(fs: &str, size: &str) -> String {
    format!(
        "version = 1\nproject = \"p\"\n[pools.main]\npath = \"pool\"\n[volumes.one]\ncapacity = \"{size}\"\n\
         image = {{ allocate = \"sparse\" }}\nfs = {{ type = \"{fs}\" }}\n[pods.a]\nroot = \"a\"\n\
         [[pods.a.mounts]]\nvolume = \"one\"\npath = \"/one\"\n"
    )
}

/// Bytes of the file system mounted there.
fn size_at(path: &Path) -> u64 {
    let facts = rustix::fs::statvfs(path).unwrap();
    facts.f_blocks * facts.f_frsize
}

/// A volume that is down, with a canary, and a manifest that asks for more.
fn prepared(fs: &str) -> (Place, super::oracle::Canaries, u64) {
    let place = Place::new();
    place.write("m.toml", &manifest(fs, BEFORE));
    place.ok(&["apply", "m.toml", "--yes"]);
    let canaries = write_canaries(&place, &["a/one"]);
    let size = size_at(&place.join("a/one"));
    place.ok(&["destroy", "m.toml", "--yes"]);
    place.write("m.toml", &manifest(fs, AFTER));
    (place, canaries, size)
}

#[test]
fn what_was_mounted_and_not_grown_is_grown_by_the_next_apply() {
    for (fs, program) in [("xfs", "xfs_growfs"), ("btrfs", "btrfs")] {
        for end in ["echo 'Cannot allocate memory' >&2; exit 1", "kill -9 $PPID; exit 1"] {
            let (place, canaries, before) = prepared(fs);
            // Only what grows: the program is asked for the size as well.
            let body = format!("case \"$*\" in -d*|*resize*) {end};; esac\nexec \"$REAL\" \"$@\"");
            let instead = Instead::of(&place, program, &body);
            let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);
            assert_ne!(code, 0, "{fs} {end}: {said}");
            drop(instead);
            let (code, said) = place.exit(&["plan", "m.toml", "--detailed-exitcode"]);
            assert_eq!(code, 2, "{fs} {end}: what is left to do is not seen: {said}");

            place.ok(&["apply", "m.toml", "--yes"]);

            let after = size_at(&place.join("a/one"));
            assert!(after > before + (128 << 20), "{fs} {end}: {before} bytes before, {after} now");
            converges(&place, "m.toml", &canaries, &format!("{fs} {end}"));
        }
    }
}

/// Whoever is in the mount keeps it from being taken away again when its growth fails.
#[test]
fn what_could_not_be_taken_away_again_is_known_to_be_small() {
    for (fs, program) in [("xfs", "xfs_growfs"), ("btrfs", "btrfs")] {
        let (place, canaries, before) = prepared(fs);
        let staged = place.join("run/staging/p.one");
        // Opened by what fails, and held for a while after it.
        let pid = place.join("pid");
        let hold = format!(
            "setsid sh -c 'cd {} && echo $$ >{} && exec sleep 600' </dev/null >/dev/null 2>&1 & until [ -s {} ]; do sleep 0.01; done",
            staged.display(),
            pid.display(),
            pid.display()
        );
        let body = format!("case \"$*\" in -n*) ;; -d*|*resize*) {hold}; exit 1;; esac\nexec \"$REAL\" \"$@\"");
        let instead = Instead::of(&place, program, &body);
        let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);
        assert_ne!(code, 0, "{fs}: {said}");
        drop(instead);
        assert!(place.mounts().contains(&staged), "{fs}: nobody held it: {said}");
        let (code, said) = place.exit(&["plan", "m.toml", "--detailed-exitcode"]);
        assert_eq!(code, 2, "{fs}: what is left to do is not seen: {said}");

        place.ok(&["apply", "m.toml", "--yes"]);

        let after = size_at(&place.join("a/one"));
        assert!(after > before + (128 << 20), "{fs}: {before} bytes before, {after} now");
        let holder = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(holder), nix::sys::signal::Signal::SIGKILL).unwrap();
        converges(&place, "m.toml", &canaries, fs);
    }
}

#[test]
fn over_grpc_a_stage_that_is_repeated_grows_it() {
    use crate::csi::calls;
    use crate::support::serving::Serving;
    const MIB: i64 = 1 << 20;
    let place = Place::new();
    let capability = calls::mounted("xfs", &[]);
    let (stage, target) = (place.join("stage"), place.join("target"));
    fs::create_dir_all(&stage).unwrap();
    let serving = Serving::start(&place, &[]);
    let create = calls::create("pvc-1", &capability, 320 * MIB);
    let id = serving.ok(serving.controller().create_volume(create)).volume.unwrap().volume_id;
    serving.ok(serving.node().node_stage_volume(calls::stage(&id, &stage, &capability)));
    let before = size_at(&stage);
    serving.ok(serving.node().node_unstage_volume(calls::unstage(&id, &stage)));
    let expand = calls::expand(&id, calls::range(500 * MIB, 0));
    serving.ok(serving.controller().controller_expand_volume(expand));
    drop(serving);
    let body = "case \"$*\" in -d*) kill -9 $PPID; exit 1;; esac\nexec \"$REAL\" \"$@\"";
    let instead = Instead::of(&place, "xfs_growfs", body);
    let serving = Serving::start(&place, &[]);
    let killed = serving.call(serving.node().node_stage_volume(calls::stage(&id, &stage, &capability)));
    assert!(killed.is_err(), "the server was to be killed");
    drop((instead, serving));

    let serving = Serving::start(&place, &[]);
    serving.ok(serving.node().node_stage_volume(calls::stage(&id, &stage, &capability)));
    serving.ok(serving.node().node_publish_volume(calls::publish(&id, &stage, &target, &capability, false)));

    let after = size_at(&target);
    assert!(after > before + (128 << 20), "{before} bytes before, {after} now");
    serving.ok(serving.node().node_unpublish_volume(calls::unpublish(&id, &target)));
    serving.ok(serving.node().node_unstage_volume(calls::unstage(&id, &stage)));
}
