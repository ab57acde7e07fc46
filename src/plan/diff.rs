//! The way in: `plan` decides a course for every volume, lets those that lie on each other's mounts push each other, then writes
//! down the steps and their edges.

use std::collections::HashMap;

use crate::model::observed::Observed;
use crate::model::{Desired, Layout};

use super::course::Course;
use super::draft::Draft;
use super::emit::{AllEmitted, emit};
use super::{Intent, Plan, decide, describe, nesting, targets};

/// Plans what leads from `observed` to what `intent` asks of `desired`. Pure: the same values give the same plan.
pub fn plan(desired: &Desired, observed: &Observed, layout: &Layout, intent: &Intent) -> Plan {
    let mut draft = Draft::new(desired, observed, layout);
    match intent {
        Intent::Apply => {
            let courses = decide::apply(&mut draft);
            run(&mut draft, courses);
        }
        Intent::Destroy { delete_data } => {
            let courses = decide::destroy(&mut draft, delete_data);
            run(&mut draft, courses);
        }
        _ => {}
    }
    draft.finish()
}

/// Turns courses into steps, edges and text.
pub(super) fn run<'a>(draft: &mut Draft<'a>, mut courses: Vec<Course<'a>>) {
    nesting::push_along(&mut courses);
    targets::judge(draft, &courses);
    let mut emitted: AllEmitted<'_> = HashMap::with_capacity(courses.len());
    for course in &courses {
        draft.changes.push(describe::volume(course));
        emitted.insert(course.id, emit(&mut draft.graph, course, draft.layout));
    }
    nesting::connect(&mut draft.graph, &courses, &emitted);
}
