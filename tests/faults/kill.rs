//! SIGKILL at the effects of each command, and at random moments with many workers. The ordinary run takes a sample of the points, spread
//! over all of them; with `CSICTL_SWEEP=full` (`make faults`) every point is tried.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::figures::{Figures, rounds, sample};
use super::scenario::{APPLY, CLONE, DELETE, DESTROY, EXPAND, REPLACE, RESTORE, SNAPSHOT, Scenario};
use super::tracer::{self, kills};

/// Points tried a scenario in an ordinary run.
const SAMPLE: usize = 24;

fn sweep(scenario: &Scenario) {
    let all = kills(&scenario.traced().seen);
    assert!(all.len() > SAMPLE, "only {} effects of {} were seen", all.len(), scenario.name);
    let figures = Figures::of(format!("SIGKILL at every call of {}", scenario.name));
    let figures = figures.over(&sample(all, SAMPLE), |aim| {
        let (place, canaries) = scenario.prepared();
        let (trace, ..) = tracer::run(&scenario.command(&place, 1), Some(aim));
        trace.struck.then(|| (format!("{}, {aim}", scenario.name), scenario.judged(&place, &canaries)))
    });
    figures.end();
}

#[test]
fn apply_killed_anywhere_is_finished_by_the_next_apply() {
    sweep(&APPLY);
}

#[test]
fn destroy_killed_anywhere_loses_nothing() {
    sweep(&DESTROY);
}

#[test]
fn expand_killed_anywhere_is_finished_by_the_next_apply() {
    sweep(&EXPAND);
}

#[test]
fn snapshot_killed_anywhere_leaves_the_volume_writable() {
    sweep(&SNAPSHOT);
}

#[test]
fn delete_killed_anywhere_loses_only_what_was_named() {
    sweep(&DELETE);
}

#[test]
fn clone_killed_anywhere_is_whole_after_the_next_apply() {
    sweep(&CLONE);
}

#[test]
fn restore_killed_anywhere_is_whole_after_the_next_apply() {
    sweep(&RESTORE);
}

#[test]
fn replacement_killed_anywhere_loses_only_what_was_to_be_replaced() {
    sweep(&REPLACE);
}

/// Moments of a run with eight workers, which no count of calls names. The helpers live on, as after a real kill.
#[test]
fn killed_at_random_moments_with_eight_workers_the_next_apply_finishes() {
    for (scenario, usual, full) in [(&APPLY, 4, 120), (&DESTROY, 2, 40), (&EXPAND, 2, 40)] {
        let (place, canaries) = scenario.prepared();
        let begun = Instant::now();
        assert!(scenario.command(&place, 8).output().unwrap().status.success());
        let whole = begun.elapsed();
        let mut figures = Figures::of(format!("SIGKILL at random, 8 workers, {}", scenario.name));
        figures.add("not killed", &scenario.judged(&place, &canaries));
        let rounds = rounds(usual, full);
        for round in 0..rounds {
            let (place, canaries) = scenario.prepared();
            let mut run = scenario.command(&place, 8).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let after = whole.mul_f64((round as f64 + 0.5) / rounds as f64).max(Duration::from_millis(1));
            std::thread::sleep(after);
            run.kill().unwrap();
            run.wait().unwrap();
            figures.add(&format!("{} killed after {after:?}", scenario.name), &scenario.judged(&place, &canaries));
        }
        figures.end();
    }
}
