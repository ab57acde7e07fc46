//! What is at the paths where volumes are to be shown: a link, a foreign mount, another project's volume, a file where a directory
//! should be, files that would be hidden.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::model::observed::{Observed, ObservedTarget, TargetKind};
use crate::model::{ObjectRef, PublishKind, PublishSpec};

use super::Refused;
use super::course::{Course, Make};
use super::draft::Draft;
use super::guards::refuse;

/// Judges every target that is to be made.
pub(super) fn judge(draft: &mut Draft<'_>, courses: &[Course<'_>]) {
    let coming: HashSet<&Path> =
        courses.iter().flat_map(|course| course.coming().map(|publish| publish.target.as_path())).collect();
    let given_up: HashSet<&Path> = courses.iter().flat_map(given_up).collect();
    let goes_whole = |target: &Path| given_up.contains(target) && !is_filled(draft.observed, target, &given_up);
    two_names(draft, courses);
    for course in courses {
        let object = ObjectRef::Volume(course.id.clone());
        draft.refused.extend(covered_mounts(&object, course));
        draft.refused.extend(hidden(&object, course));
        draft.refused.extend(foreign_stage(&object, course));
        for publish in course.coming() {
            draft.refused.extend(inside(&object, course, publish));
            let Some(seen) = draft.observed.targets.get(&publish.target) else { continue };
            // What is seen below a mount that is still to come is not what will be there.
            let covered = publish.target.ancestors().skip(1).any(|path| coming.contains(path));
            if let Some(cause) = &seen.unknown {
                draft.unknown.push((object.clone(), format!("target {}: {cause}", publish.target.display())));
            } else if let Some(refused) =
                in_the_way(&object, publish, seen, covered, makes_way(course, publish) || goes_whole(&publish.target))
            {
                draft.refused.push(refused);
            } else if seen.hides > 0
                && !covered
                && publish.kind == PublishKind::Mount
                && course.mounted_at(&publish.target).is_none()
            {
                let files = if seen.hides == 1 { "file" } else { "files" };
                draft
                    .notes
                    .push((object.clone(), format!("{} hides {} {files}", publish.target.display(), seen.hides)));
            }
        }
    }
}

/// The targets that csictl made for a volume and removes as it leaves them, so that whatever they are, another may come there.
fn given_up<'a>(course: &Course<'a>) -> impl Iterator<Item = &'a Path> {
    let made = |target: &Path| course.record.is_some_and(|record| record.made_targets.contains_key(target));
    let leaving: Vec<_> = course.leaving().iter().map(|leaving| leaving.target).filter(|target| made(target)).collect();
    leaving.into_iter()
}

/// Whether something that csictl made lies below a target and stays, in its directory or in what is mounted there now: it may not go then.
fn is_filled(observed: &Observed, target: &Path, given_up: &HashSet<&Path>) -> bool {
    let records = observed.volumes.values().filter_map(|seen| seen.record.present());
    let mut made = records.flat_map(|record| record.made_targets.keys().map(PathBuf::as_path));
    made.any(|path| path != target && path.starts_with(target) && !given_up.contains(path))
}

/// Whether what is seen at a target is the volume itself, and what is left when that goes is right, or goes with it.
fn makes_way(course: &Course<'_>, publish: &PublishSpec) -> bool {
    let made = course.record.is_some_and(|record| record.made_targets.contains_key(&publish.target));
    course.mounted_at(&publish.target).is_some_and(|seen| made || seen.kind == publish.kind)
}

/// Something else was mounted over a mount that has to go.
fn covered_mounts(object: &ObjectRef, course: &Course<'_>) -> Vec<Refused> {
    let leaving = course.leaving();
    let goes = |target: &Path| leaving.iter().any(|leaving| leaving.target == target);
    let covered = course.seen.covered.iter().filter(|(target, _)| goes(target));
    covered
        .map(|(target, over)| {
            let path = target.display();
            let message = format!("{over} is mounted over it at {path}");
            refuse("foreign", object, message, format!("unmount that yourself (umount {path}); csictl leaves it alone"))
        })
        .collect()
}

/// Something else was mounted over a directory above a publish: nobody sees it, and nobody can take it away.
fn hidden(object: &ObjectRef, course: &Course<'_>) -> Vec<Refused> {
    let concerned = |target: &Path| {
        course.publishes.iter().any(|publish| publish.target == target)
            || course.leaving().iter().any(|leaving| leaving.target == target)
    };
    let hidden = course.seen.hidden.iter().filter(|hidden| hidden.foreign && concerned(&hidden.target));
    hidden
        .map(|hidden| {
            let (target, over) = (hidden.target.display(), hidden.over.display());
            let message =
                format!("what is mounted at {target} cannot be reached: {} is mounted over {over}", hidden.what);
            refuse("foreign", object, message, format!("unmount that yourself (umount {over}); csictl leaves it alone"))
        })
        .collect()
}

/// Something else is mounted where the volume's own stage is to be taken away, or is to come.
fn foreign_stage(object: &ObjectRef, course: &Course<'_>) -> Option<Refused> {
    let (path, what) = course.seen.foreign_stage.as_ref()?;
    let concerned = course.comes_down() || course.up() && !course.spec.is_raw();
    concerned.then(|| {
        let path = path.display();
        let message = format!("something else is mounted at {path}, where it is staged: {what}");
        refuse("foreign", object, message, format!("unmount that yourself (umount {path}); csictl leaves it alone"))
    })
}

/// Refuses one place under the names of several pods: their roots may lead to one directory.
fn two_names(draft: &mut Draft<'_>, courses: &[Course<'_>]) {
    let mut first: HashMap<&Path, &PublishSpec> = HashMap::new();
    for publish in courses.iter().flat_map(|course| course.publishes.iter().map(AsRef::as_ref)) {
        let Some(other) = first.insert(&publish.target, publish) else { continue };
        let message = format!(
            "pod.{} and pod.{} both want {}: a link makes one place of two paths",
            other.pod,
            publish.pod,
            publish.target.display()
        );
        let object = ObjectRef::Volume(publish.volume.clone());
        draft.refused.push(refuse("incompatible", &object, message, "give each pod a root or path of its own"));
    }
}

/// What a path inside a staged volume is, as far as that is in the way of showing it.
fn inside(object: &ObjectRef, course: &Course<'_>, publish: &PublishSpec) -> Option<Refused> {
    if matches!(course.make, Make::Replace | Make::Exchange) {
        return None;
    }
    let sub_path = publish.sub_path.as_ref()?;
    let seen = course.seen.inside.get(sub_path)?;
    let what = match (&seen.symlink, &seen.unknown, seen.kind) {
        (Some((link, to)), ..) => format!("{} is a symbolic link to {}", link.display(), to.display()),
        (None, Some(cause), _) => cause.clone(),
        (None, None, TargetKind::File | TargetKind::Other) => "it is no directory".to_owned(),
        (None, None, TargetKind::Directory | TargetKind::Absent) => return None,
    };
    let message = format!("sub_path {}: {what}", sub_path.display());
    Some(refuse("unsafe-path", object, message, "name a directory of the volume; no link is followed inside it"))
}

/// With `makes_way` what is seen there is a volume that goes away before, and what is left then is right, or goes with it.
fn in_the_way(
    object: &ObjectRef,
    publish: &PublishSpec,
    seen: &ObservedTarget,
    covered: bool,
    makes_way: bool,
) -> Option<Refused> {
    let path = publish.target.display();
    if let Some((owner, volume)) = &seen.taken_by {
        let message = format!("{path} is taken: volume {volume} of {owner} is published there");
        return Some(refuse("foreign", object, message, "choose another path, or take that volume down first"));
    }
    if covered {
        return None;
    }
    if let Some((link, to)) = &seen.symlink {
        let message = format!("{path}: {} is a symbolic link to {}", link.display(), to.display());
        return Some(refuse("unsafe-path", object, message, "write the real path; csictl follows no link to a target"));
    }
    if let Some(foreign) = &seen.foreign {
        let message = format!("something else is mounted at {path}: {foreign}");
        return Some(refuse(
            "foreign",
            object,
            message,
            "unmount it yourself, or choose another path; csictl leaves it alone",
        ));
    }
    let wrong = match (publish.kind, seen.kind) {
        _ if makes_way => return None,
        (PublishKind::Mount, TargetKind::File) => "a file where a directory should be",
        (PublishKind::Mount, TargetKind::Other) => "neither a directory nor free",
        (PublishKind::Device, TargetKind::Directory) => "a directory where a file should be",
        (PublishKind::Device, TargetKind::Other) => "neither a file nor free",
        _ => return None,
    };
    Some(refuse("exists", object, format!("{path} is {wrong}"), "move it away, or choose another path"))
}
