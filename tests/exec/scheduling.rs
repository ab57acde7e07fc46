//! The scheduling core against its promises, on random graphs with random endings. It is a state machine, so every interleaving
//! that the threads could produce is a sequence of calls here.

use std::collections::BTreeSet;

use csictl::exec::lanes::{Lane, Limits};
use csictl::exec::schedule::{Scheduler, Task};
use proptest::prelude::*;
use proptest::sample::Index;

/// A graph, the limits, which tasks fail, and the order in which running ones end.
#[derive(Debug, Clone)]
struct Case {
    tasks: Vec<Task>,
    limits: Limits,
    fails: Vec<bool>,
    ends: Vec<Index>,
    halt_after: Option<usize>,
}

fn lane() -> impl Strategy<Value = Lane> {
    prop_oneof![6 => Just(Lane::Kernel), 3 => Just(Lane::Mkfs), 2 => Just(Lane::Copy)]
}

fn case() -> impl Strategy<Value = Case> {
    (1_usize..40).prop_flat_map(|count| {
        let befores = proptest::collection::vec(proptest::collection::vec(any::<Index>(), 0..4), count);
        let tasks = (befores, proptest::collection::vec(lane(), count)).prop_map(|(befores, lanes)| {
            let task = |(at, (before, lane)): (usize, (Vec<Index>, Lane))| {
                let after =
                    if at == 0 { BTreeSet::new() } else { before.iter().map(|index| index.index(at)).collect() };
                Task { after: after.into_iter().collect(), lane }
            };
            befores.into_iter().zip(lanes).enumerate().map(task).collect()
        });
        let limits = (1_usize..20, 1_usize..5).prop_map(|(total, cores)| Limits::new(total, cores));
        let fails = proptest::collection::vec(proptest::bool::weighted(0.1), count);
        let ends = proptest::collection::vec(any::<Index>(), count);
        let halt_after = proptest::option::weighted(0.2, 0..count);
        (tasks, limits, fails, ends, halt_after).prop_map(|(tasks, limits, fails, ends, halt_after)| Case {
            tasks,
            limits,
            fails,
            ends,
            halt_after,
        })
    })
}

/// What became of the tasks of a case, in order of their beginning.
#[derive(Default)]
struct Played {
    begun: Vec<usize>,
    done: BTreeSet<usize>,
    failed: BTreeSet<usize>,
    skipped: Vec<usize>,
    halted: bool,
}

fn play(case: &Case) -> Result<Played, TestCaseError> {
    let mut scheduler = Scheduler::new(case.tasks.clone(), case.limits);
    let (mut played, mut running) = (Played::default(), Vec::new());
    for end in &case.ends {
        while let Some(index) = scheduler.begin() {
            for before in &case.tasks[index].after {
                prop_assert!(played.done.contains(before), "{index} began before {before} was done");
            }
            running.push(index);
            played.begun.push(index);
            let count = |lane| running.iter().filter(|&&at| case.tasks[at].lane == lane).count();
            let (mkfs, copy) = (count(Lane::Mkfs), count(Lane::Copy));
            prop_assert!(running.len() <= case.limits.total);
            prop_assert!(mkfs <= case.limits.mkfs && copy <= case.limits.copy);
            prop_assert!(case.limits.total == 1 || mkfs + copy < case.limits.total, "no worker left for kernel steps");
        }
        if case.halt_after == Some(played.done.len() + played.failed.len()) && !played.halted {
            played.halted = true;
            played.skipped.extend(scheduler.halt());
        }
        if running.is_empty() {
            break;
        }
        let index = running.remove(end.index(running.len()));
        let fails = case.fails[index];
        if fails { &mut played.failed } else { &mut played.done }.insert(index);
        played.skipped.extend(scheduler.complete(index, !fails));
    }
    prop_assert!(running.is_empty());
    prop_assert_eq!(scheduler.begin(), None);
    prop_assert!(scheduler.is_finished());
    Ok(played)
}

fn descendants(tasks: &[Task], of: &BTreeSet<usize>) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    for (index, task) in tasks.iter().enumerate() {
        if task.after.iter().any(|before| of.contains(before) || reached.contains(before)) {
            reached.insert(index);
        }
    }
    reached
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_task_ends_exactly_once_and_after_those_it_depends_on(case in case()) {
        let played = play(&case)?;
        let mut ended: Vec<_> = played.done.iter().chain(&played.failed).chain(&played.skipped).copied().collect();
        ended.sort_unstable();
        prop_assert_eq!(ended, (0..case.tasks.len()).collect::<Vec<_>>());
        prop_assert_eq!(played.begun.len(), played.done.len() + played.failed.len());
    }

    #[test]
    fn a_failure_skips_exactly_what_depends_on_it(case in case()) {
        let case = Case { halt_after: None, ..case };
        let played = play(&case)?;
        let skipped: BTreeSet<_> = played.skipped.iter().copied().collect();
        prop_assert_eq!(skipped, descendants(&case.tasks, &played.failed));
    }

    #[test]
    fn after_a_halt_nothing_begins(case in case()) {
        let case = Case { halt_after: Some(0), ..case };
        let played = play(&case)?;
        prop_assert!(played.begun.len() <= case.limits.total);
    }

    #[test]
    fn one_at_a_time_the_order_is_a_function_of_the_plan(case in case(), ends in proptest::collection::vec(any::<Index>(), 40)) {
        let case = Case { limits: Limits::new(1, 2), halt_after: None, ..case };
        let again = Case { ends: ends[..case.ends.len()].to_vec(), ..case.clone() };
        prop_assert_eq!(play(&case)?.begun, play(&again)?.begun);
    }

    /// Whatever long work is stuck, kernel steps that are ready go on.
    #[test]
    fn stuck_long_work_starves_no_kernel_step(case in case(), total in 2_usize..20) {
        let mut scheduler = Scheduler::new(case.tasks.clone(), Limits::new(total, 2));
        let mut stuck = BTreeSet::new();
        let mut done = BTreeSet::new();
        while let Some(index) = scheduler.begin() {
            if case.tasks[index].lane == Lane::Kernel {
                scheduler.complete(index, true);
                done.insert(index);
            } else {
                stuck.insert(index);
            }
        }
        let left = case.tasks.iter().enumerate().filter(|(index, task)| {
            task.lane == Lane::Kernel && !done.contains(index) && task.after.iter().all(|before| done.contains(before))
        });
        prop_assert_eq!(left.count(), 0);
    }
}

/// The steps of 100 volumes as a plan lists them: all first steps, then all second ones.
fn volumes(chain: &[Lane]) -> Vec<Task> {
    let steps = chain.iter().enumerate().flat_map(|(level, &lane)| {
        (0..100)
            .map(move |volume| Task { after: if level == 0 { vec![] } else { vec![(level - 1) * 100 + volume] }, lane })
    });
    steps.collect()
}

/// Loops that are attached and not yet staged are each held by a descriptor: never more than steps at once.
#[test]
fn volumes_that_were_begun_are_finished_first() {
    for parallelism in [1, 8] {
        let mut scheduler = Scheduler::new(volumes(&[Lane::Kernel; 3]), Limits::new(parallelism, 2));
        let (mut running, mut most, mut held) = (Vec::new(), 0, 0_usize);
        loop {
            running.extend(std::iter::from_fn(|| scheduler.begin()));
            if running.is_empty() {
                break;
            }
            let index = running.remove(0);
            match index / 100 {
                0 => held += 1,
                1 => held -= 1,
                _ => {}
            }
            most = most.max(held);
            scheduler.complete(index, true);
        }
        assert!(most <= parallelism, "{most} loops were held at once by {parallelism} steps");
    }
}

#[test]
fn one_at_a_time_everything_is_formatted_before_anything_is_mounted() {
    let tasks = volumes(&[Lane::Mkfs, Lane::Kernel, Lane::Kernel]);
    let mut scheduler = Scheduler::new(tasks, Limits::new(1, 2));
    let mut begun = Vec::new();
    while let Some(index) = scheduler.begin() {
        begun.push(index);
        scheduler.complete(index, true);
    }
    assert_eq!(begun[..100], (0..100).collect::<Vec<_>>());
    assert_eq!(begun[100..104], [100, 200, 101, 201]);
}
