//! Paths bind volumes to each other. A mount below another mount is made after it and goes before it; a volume whose bytes lie
//! below another volume's target can only be used while that target is published.
//!
//! Every question is asked of hash maps by walking up one path, so the cost is paths times their depth.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::model::PublishSpec;

use super::course::Course;
use super::emit::AllEmitted;
use super::graph::{Graph, Node};

/// Makes volumes move that stand on targets which move: a child mount has to go before its parent is taken away, or mounted over.
pub(super) fn push_along(courses: &mut [Course<'_>]) {
    loop {
        let moving: HashSet<PathBuf> = courses
            .iter()
            .flat_map(|course| {
                let leaving = course.leaving().into_iter().map(|leaving| leaving.target.to_owned()).collect::<Vec<_>>();
                // What is only written down again stays where it is.
                let comes = |publish: &&PublishSpec| course.mounted_at(&publish.target).is_none();
                leaving.into_iter().chain(course.coming().filter(comes).map(|publish| publish.target.clone()))
            })
            .collect();
        let unpublished: HashSet<PathBuf> = courses
            .iter()
            .flat_map(|course| {
                course.leaving().into_iter().map(|leaving| leaving.target.to_owned()).collect::<Vec<_>>()
            })
            .collect();
        if moving.is_empty() {
            return;
        }
        let mut pushed = false;
        for course in courses.iter_mut().filter(|course| !course.comes_down()) {
            pushed |= push_publishes(course, &moving);
            pushed |= push_whole(course, &unpublished);
        }
        if !pushed {
            return;
        }
    }
}

fn push_publishes(course: &mut Course<'_>, moving: &HashSet<PathBuf>) -> bool {
    let standing = course.publishes.iter().map(|publish| &publish.target);
    let standing = standing.filter(|target| course.mounted_at(target).is_some() && !course.again.contains_key(*target));
    let pushed: Vec<(PathBuf, String)> = standing
        .filter_map(|target| {
            let parent = target.ancestors().skip(1).find(|parent| moving.contains(*parent))?;
            Some((target.clone(), format!("it lies below {}, which is mounted anew", parent.display())))
        })
        .collect();
    let any = !pushed.is_empty();
    course.again.extend(pushed);
    any
}

fn push_whole(course: &mut Course<'_>, unpublished: &HashSet<PathBuf>) -> bool {
    if !course.is_up() {
        return false;
    }
    let below = course.lies_at().and_then(|path| path.ancestors().find(|parent| unpublished.contains(*parent)));
    let reason = below.map(|parent| format!("its bytes lie below {}, which is unpublished", parent.display()));
    let any = reason.is_some();
    if any {
        course.cycle = reason;
    }
    any
}

/// Draws the edges that paths demand.
pub(super) fn connect(graph: &mut Graph, courses: &[Course<'_>], emitted: &AllEmitted<'_>) {
    let all = || courses.iter().filter_map(|course| emitted.get(course.id));
    let publish: HashMap<&Path, Node> =
        all().flat_map(|e| &e.publish).map(|(path, node)| (path.as_path(), *node)).collect();
    let unpublish: HashMap<&Path, Node> =
        all().flat_map(|e| &e.unpublish).map(|(path, node)| (path.as_path(), *node)).collect();
    for (&target, &node) in sorted(&publish) {
        if let Some(parent) = above(target).find_map(|path| publish.get(path)) {
            graph.edge(*parent, node);
        }
        for gone in target.ancestors().filter_map(|path| unpublish.get(path)) {
            graph.edge(*gone, node);
        }
    }
    let lies_on: HashMap<&Path, u64> = courses
        .iter()
        .flat_map(|course| course.mounted.iter().map(|(path, seen)| (*path, seen.mount.parent)))
        .collect();
    // Made after it on a directory above it, the one lies on the same mount as the other.
    let covers = |over: &Path, target: &Path| lies_on.get(over).is_some_and(|on| lies_on.get(target) == Some(on));
    for (&target, &node) in sorted(&unpublish) {
        if let Some((over, parent)) = above(target).find_map(|path| Some((path, unpublish.get(path)?))) {
            // One that somebody mounted over cannot be reached until that is gone.
            let (first, then) = if covers(over, target) { (*parent, node) } else { (node, *parent) };
            graph.edge(first, then);
        }
        for over in above(target).filter_map(|path| publish.get(path)) {
            graph.edge(node, *over);
        }
    }
    for course in courses {
        let (Some(path), Some(steps)) = (course.lies_at(), emitted.get(course.id)) else { continue };
        for ground in path.ancestors().filter_map(|path| publish.get(path)) {
            for &step in &steps.needs_backing {
                graph.edge(*ground, step);
            }
        }
        for ground in path.ancestors().filter_map(|path| unpublish.get(path)) {
            let own = steps.unpublish.iter().map(|(_, node)| node).chain(&steps.down).filter(|&node| node != ground);
            for &step in own {
                graph.edge(step, *ground);
            }
        }
    }
}

fn above(path: &Path) -> impl Iterator<Item = &Path> {
    path.ancestors().skip(1)
}

/// In the order of paths, so that edges are drawn the same way every time.
fn sorted<'m, 'p>(map: &'m HashMap<&'p Path, Node>) -> Vec<(&'m &'p Path, &'m Node)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by_key(|(path, _)| **path);
    entries
}
