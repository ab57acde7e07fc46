//! `csictl serve` is killed at the effects of each call; the orchestrator repeats the call against the next server. The end of the volume's life is
//! the judge: every later call succeeds, the data is there as long as it is published, and after deletion nothing is left.

use super::figures::{Figures, sample};
use super::life::{BLOCK, BTRFS, CALLS, EXT4, Kind, Life, XFS};
use super::strace::Watch;

/// How many points each call of a life is killed at in an ordinary run.
fn sweep(kind: Kind, only: impl Fn(&str) -> bool, usual: usize) {
    let mut all = Vec::new();
    let mut life = Life::new(kind);
    let log = life.place.join("strace.log");
    for (index, (name, call)) in CALLS.iter().enumerate() {
        let watch = Watch::on(life.server().pid(), &log, None).expect("strace gets hold of the server");
        call(&life).unwrap_or_else(|status| panic!("{name}: {:?}: {}", status.code(), status.message()));
        let points = watch.points(&log);
        if only(name) && !(kind.fs == Some("ext4") && name.contains("Expand")) {
            assert!(!points.is_empty(), "strace saw no effect of {name}");
            all.push((index, points));
        }
    }
    life.revive();
    drop(life);
    for (index, points) in all {
        let name = CALLS[index].0;
        let mut figures = Figures::of(format!("SIGKILL of serve in {name}, {}", kind.name));
        for point in sample(points, usual) {
            let watched = (0..5).find_map(|_| {
                let life = Life::new(kind);
                life.lead(0, index);
                let watch = Watch::on(life.server().pid(), "/dev/null".as_ref(), Some(&point))?;
                Some((watch, life))
            });
            let (watch, mut life) = watched.expect("strace gets hold of one server of five");
            // Whether it was answered in time is not the question.
            let _ = CALLS[index].1(&life);
            drop(watch);
            life.revive();
            figures.add(&format!("{name} killed before {point}"), &life.ends_well(index));
        }
        figures.end();
    }
}

#[test]
fn a_server_killed_in_any_call_is_repeated_into_order_ext4() {
    sweep(EXT4, |_| true, 1);
}

#[test]
fn a_server_killed_in_any_call_is_repeated_into_order_xfs() {
    sweep(XFS, |name| name.starts_with("Create") || name.contains("Expand"), 1);
}

#[test]
fn a_server_killed_in_any_call_is_repeated_into_order_btrfs() {
    sweep(BTRFS, |name| name.starts_with("CreateV") || name == "NodeStageVolume", 1);
}

#[test]
fn a_server_killed_in_any_call_is_repeated_into_order_block() {
    sweep(BLOCK, |name| name.starts_with("Node") || name.contains("Publish"), 1);
}
