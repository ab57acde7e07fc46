//! Each error at each call that changes something, in csictl and in the programs it starts: a typed error or success, never a panic, and the
//! next apply finishes with nothing lost.

use std::process::ExitStatus;

use nix::errno::Errno;

use super::figures::{Figures, Verdict, sample};
use super::scenario::{APPLY, CLONE, DELETE, DESTROY, EXPAND, REPLACE, RESTORE, SNAPSHOT, Scenario};
use super::tracer::{self, Aim, Blow, refusals};

const ERRORS: [Errno; 7] =
    [Errno::EIO, Errno::ENOSPC, Errno::EBUSY, Errno::ENOMEM, Errno::EINTR, Errno::EMFILE, Errno::EROFS];

/// Every exit code that is documented for a command that changes things.
const CODES: [i32; 8] = [0, 1, 5, 6, 7, 69, 77, 70];

fn told(status: ExitStatus, said: &str, verdict: &mut Verdict) {
    // Before main there is no csictl yet to say anything: the loader could not open a library.
    let loader = status.code() == Some(127) && said.contains("shared librar");
    let typed = status.code().is_some_and(|code| CODES.contains(&code));
    verdict.expect(typed || loader, || format!("it ended with {status}:\n{said}"));
    verdict.expect(!said.contains("panicked at"), || format!("it panicked:\n{said}"));
    verdict.expect(status.success() || !said.trim().is_empty(), || "it failed without a word".to_owned());
}

fn sweep(scenario: &Scenario, usual: usize) -> String {
    // Point after point: every error at what has an effect, one in turn at what only looks and at what helpers do. A sample of these has every
    // error and is spread over all calls.
    let each = refusals(&scenario.traced().seen).into_iter().enumerate().flat_map(|(turn, seen)| {
        let whole = seen.spot.helper.is_none() && seen.spot.passive.is_none();
        let errors = if whole { &ERRORS[..] } else { &ERRORS[turn % ERRORS.len()..][..1] };
        errors.iter().map(move |&errno| Aim { seen: seen.clone(), blow: Blow::Fail(errno) })
    });
    let figures = Figures::of(format!("{} errors at every call of {}", ERRORS.len(), scenario.name));
    let figures = figures.over(&sample(each.collect::<Vec<_>>(), usual), |aim| {
        let (place, canaries) = scenario.prepared();
        let (trace, status, said) = tracer::run(&scenario.command(&place, 1), Some(aim));
        if !trace.struck {
            return None;
        }
        let mut failed = Verdict::default();
        told(status, &said, &mut failed);
        let mut verdict = scenario.judged(&place, &canaries);
        verdict.wrong.append(&mut failed.wrong);
        Some((format!("{}, {aim}", scenario.name), verdict))
    });
    figures.told()
}

/// Every row is tried before one fails.
#[track_caller]
fn sweep_all(scenarios: &[(&Scenario, usize)]) {
    let wrong: String = scenarios.iter().map(|(scenario, usual)| sweep(scenario, *usual)).collect();
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn an_error_at_any_call_of_apply_is_told_and_the_next_apply_finishes() {
    sweep_all(&[(&APPLY, 15)]);
}

#[test]
fn an_error_at_any_call_of_destroy_is_told_and_loses_nothing() {
    sweep_all(&[(&DESTROY, 6), (&DELETE, 2)]);
}

#[test]
fn an_error_at_any_call_of_expand_and_snapshot_is_told_and_loses_nothing() {
    sweep_all(&[(&EXPAND, 4), (&SNAPSHOT, 4)]);
}

#[test]
fn an_error_at_any_call_of_a_clone_restore_or_replacement_is_told_and_loses_nothing() {
    sweep_all(&[(&CLONE, 4), (&RESTORE, 4), (&REPLACE, 4)]);
}
