//! The way in: `plan` decides a course for every volume, lets those that lie on each other's mounts push each other, then writes
//! down the steps and their edges.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::model::observed::Observed;
use crate::model::{Desired, Layout, SnapshotSpec};

use super::course::Course;
use super::draft::Draft;
use super::emit::{AllEmitted, emit};
use super::{
    Intent, Plan, copies, decide, describe, guards, imperative, neighbours, nesting, orchestrated, pause, pools,
    targets,
};

/// Plans what leads from `observed` to what `intent` asks of `desired`. Pure: the same values give the same plan.
pub fn plan(desired: &Desired, observed: &Observed, layout: &Layout, intent: &Intent) -> Plan {
    let mut draft = Draft::new(desired, observed, layout);
    let mut snapshots: Vec<&SnapshotSpec> = Vec::new();
    let courses = match intent {
        Intent::Apply => {
            snapshots.extend(desired.snapshots.values());
            decide::apply(&mut draft)
        }
        Intent::Destroy { delete_data } => decide::destroy(&mut draft, delete_data),
        Intent::Expand { volume, to } => imperative::expand(&mut draft, volume, *to),
        Intent::Delete { volume } => imperative::delete(&mut draft, volume),
        Intent::Restore { snapshot, volume } => imperative::restore(&mut draft, snapshot, volume),
        Intent::TakeSnapshot { snapshot } => {
            snapshots.push(snapshot);
            Vec::new()
        }
        Intent::DeleteSnapshot { snapshot } => {
            imperative::delete_snapshot(&mut draft, snapshot);
            Vec::new()
        }
    };
    run(&mut draft, courses, &snapshots);
    draft.finish()
}

/// Turns courses and snapshots into steps, edges and text.
fn run<'a>(draft: &mut Draft<'a>, mut courses: Vec<Course<'a>>, snapshots: &[&'a SnapshotSpec]) {
    nesting::push_along(&mut courses);
    orchestrated::judge(draft, &courses);
    targets::judge(draft, &courses);
    draft.refused.extend(courses.iter().filter_map(guards::keeps_bytes));
    let others = &draft.observed.others;
    let goes: HashSet<&Path> =
        courses.iter().flat_map(|course| course.leaving().into_iter().map(|leaving| leaving.target)).collect();
    let stays = |course| neighbours::upon(others, course, &goes).or_else(|| pause::busy(course));
    draft.refused.extend(courses.iter().filter_map(stays));
    neighbours::judge(draft, &courses);
    let mut emitted: AllEmitted<'_> = HashMap::with_capacity(courses.len());
    for course in &courses {
        draft.changes.push(describe::volume(course));
        emitted.insert(course.id, emit(&mut draft.graph, course, draft.layout));
    }
    nesting::connect(&mut draft.graph, &courses, &emitted);
    copies::plan(draft, snapshots.iter().copied(), &courses, &emitted);
    let taken = pools::taken(draft);
    pools::judge(draft, &courses, taken.iter());
}
