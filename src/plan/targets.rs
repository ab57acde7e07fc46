//! What is at the paths where volumes are to be shown: a link, a foreign mount, another project's volume, a file where a directory
//! should be, files that would be hidden.

use std::collections::HashSet;
use std::path::Path;

use crate::model::observed::{ObservedTarget, TargetKind};
use crate::model::{ObjectRef, PublishKind, PublishSpec};

use super::Refused;
use super::course::Course;
use super::draft::Draft;
use super::guards::refuse;

/// Judges every target that is to be made.
pub(super) fn judge(draft: &mut Draft<'_>, courses: &[Course<'_>]) {
    let coming: HashSet<&Path> =
        courses.iter().flat_map(|course| course.coming().map(|publish| publish.target.as_path())).collect();
    for course in courses {
        let object = ObjectRef::Volume(course.id.clone());
        for publish in course.coming() {
            let Some(seen) = draft.observed.targets.get(&publish.target) else { continue };
            // What is seen below a mount that is still to come is not what will be there.
            let covered = publish.target.ancestors().skip(1).any(|path| coming.contains(path));
            if let Some(cause) = &seen.unknown {
                draft.unknown.push((object.clone(), format!("target {}: {cause}", publish.target.display())));
            } else if let Some(refused) = in_the_way(&object, publish, seen, covered) {
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

fn in_the_way(object: &ObjectRef, publish: &PublishSpec, seen: &ObservedTarget, covered: bool) -> Option<Refused> {
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
        (PublishKind::Mount, TargetKind::File) => "a file where a directory should be",
        (PublishKind::Mount, TargetKind::Other) => "neither a directory nor free",
        (PublishKind::Device, TargetKind::Directory) => "a directory where a file should be",
        (PublishKind::Device, TargetKind::Other) => "neither a file nor free",
        _ => return None,
    };
    Some(refuse("exists", object, format!("{path} is {wrong}"), "move it away, or choose another path"))
}
