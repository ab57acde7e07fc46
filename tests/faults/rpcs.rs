//! `csictl serve` is killed at the effects of each call; the orchestrator repeats the call against the next server. The end of the volume's life is
//! the judge: every later call succeeds, the data is there as long as it is published, and after deletion nothing is left.

use super::figures::{Figures, sample};
use super::life::{BLOCK, BTRFS, CALLS, COPIES, EXT4, Kind, LOOK, Life, XFS};
use super::tracer::{Watch, kills};

/// Each call of a life is killed at its points, in an ordinary run at as many of them.
fn sweep(kind: Kind, only: impl Fn(&str) -> bool, usual: usize) {
    let mut all = Vec::new();
    let mut life = Life::new(kind);
    let watch = Watch::on(life.server().pid(), None);
    for (index, (name, call)) in CALLS.iter().enumerate() {
        watch.take();
        call(&life).unwrap_or_else(|status| panic!("{name}: {:?}: {}", status.code(), status.message()));
        let points = kills(&watch.take().seen);
        // Skipped by the life itself.
        let skipped = kind.fs == Some("ext4") && *name == "ControllerExpandVolume"
            || kind.fs.is_none() && name.contains("GroupSnapshot")
            || !kind.copies && COPIES.contains(name);
        if only(name) && !skipped && *name != LOOK {
            assert!(!points.is_empty(), "no effect of {name} was seen");
            all.push((index, points));
        }
    }
    life.revive_from(watch);
    drop(life);
    let mut wrong = String::new();
    for (index, points) in all {
        let name = CALLS[index].0;
        let figures = Figures::of(format!("SIGKILL of serve in {name}, {}", kind.name));
        let figures = figures.over(&sample(points, usual), |aim| {
            let mut life = Life::new(kind);
            life.lead(0, index);
            let watch = Watch::on(life.server().pid(), Some(aim));
            // Whether it was answered in time is not the question.
            let _ = CALLS[index].1(&life);
            let trace = life.revive_from(watch);
            trace.struck.then(|| (format!("{name}, {aim}"), life.ends_well(index)))
        });
        wrong += &figures.told();
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_server_killed_in_any_call_is_repeated_into_order_ext4() {
    sweep(EXT4, |_| true, 1);
}

#[test]
fn a_server_killed_in_any_call_is_repeated_into_order_xfs() {
    sweep(XFS, |name| ["Create", "Expand", "Stage"].iter().any(|part| name.contains(part)), 1);
}

#[test]
fn a_server_killed_in_any_call_is_repeated_into_order_btrfs() {
    sweep(BTRFS, |name| ["Create", "Expand", "Stage"].iter().any(|part| name.contains(part)), 1);
}

#[test]
fn a_server_killed_in_any_call_is_repeated_into_order_block() {
    sweep(BLOCK, |name| ["Node", "ublish", "Expand", "Create"].iter().any(|part| name.contains(part)), 1);
}

#[test]
fn a_server_killed_while_it_copies_a_volume_or_a_snapshot_is_repeated_into_order() {
    for kind in [EXT4, BLOCK] {
        sweep(Kind { copies: true, ..kind }, |name| COPIES.contains(&name), 1);
    }
}
