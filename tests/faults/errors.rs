//! Each error at each call that changes something, in csictl and in the programs it starts: a typed error or success, never a panic, and the
//! next apply finishes with nothing lost.

use std::process::Output;

use super::figures::{Figures, Verdict, sample};
use super::oracle::judge;
use super::scenario::{APPLY, DELETE, DESTROY, EXPAND, SNAPSHOT, Scenario};
use super::strace::{fail_at, points};
use crate::support::place::said;

const ERRORS: [&str; 7] = ["EIO", "ENOSPC", "EBUSY", "ENOMEM", "EINTR", "EMFILE", "EROFS"];

/// Calls whose failure changes what is done; close and exit cannot be refused.
fn mutates(call: &str) -> bool {
    !["close", "exit_group", "execve", "vfork"].contains(&call)
}

/// Every exit code that is documented for a command that changes things.
const CODES: [i32; 8] = [0, 1, 5, 6, 7, 69, 77, 70];

fn told(output: &Output, verdict: &mut Verdict) {
    let said = said(output);
    // Before main there is no csictl yet to say anything: the loader could not open a library.
    let loader = output.status.code() == Some(127) && said.contains("shared librar");
    let typed = output.status.code().is_some_and(|code| CODES.contains(&code));
    verdict.expect(typed || loader, || format!("it ended with {}:\n{said}", output.status));
    verdict.expect(!said.contains("panicked at"), || format!("it panicked:\n{said}"));
    verdict.expect(output.status.success() || !said.trim().is_empty(), || "it failed without a word".to_owned());
}

fn sweep(scenario: &Scenario, usual: usize) {
    let (place, _) = scenario.prepared();
    let mut all = points(&scenario.command(&place, 1), &place.join("strace.log"));
    all.retain(|point| mutates(&point.call));
    place.ok(&["destroy", "m.toml", "--yes"]);
    // Point after point, with each error in turn: a sample of these has every error and is spread over all calls.
    let pairs: Vec<_> = all.iter().flat_map(|point| ERRORS.map(|errno| (point.clone(), errno))).collect();
    let mut figures = Figures::of(format!("{} errors at every call of {}", ERRORS.len(), scenario.name));
    for (point, errno) in sample(pairs, usual) {
        let (place, canaries) = scenario.prepared();
        let mut failed = Verdict::default();
        told(&fail_at(&scenario.command(&place, 1), &point, errno), &mut failed);
        let mut verdict = judge(&place, "m.toml", &canaries);
        verdict.wrong.append(&mut failed.wrong);
        figures.add(&format!("{} with {errno} at {point}", scenario.name), &verdict);
    }
    figures.end();
}

#[test]
fn an_error_at_any_call_of_apply_is_told_and_the_next_apply_finishes() {
    sweep(&APPLY, 15);
}

#[test]
fn an_error_at_any_call_of_destroy_is_told_and_loses_nothing() {
    sweep(&DESTROY, 6);
    sweep(&DELETE, 2);
}

#[test]
fn an_error_at_any_call_of_expand_and_snapshot_is_told_and_loses_nothing() {
    sweep(&EXPAND, 4);
    sweep(&SNAPSHOT, 4);
}
