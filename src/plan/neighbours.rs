//! What other projects need, against what this one is about to mount and make: a target over another's pool, a pool in another's volume, another's
//! device, an image in a pool whose file system is not there.

use std::path::Path;

use crate::model::{Backing, ObjectRef, Use};

use super::Refused;
use super::course::{Course, Make};
use super::draft::Draft;
use super::guards::refuse;

/// Judges what is to be mounted and what is to be made.
pub(super) fn judge(draft: &mut Draft<'_>, courses: &[Course<'_>]) {
    for course in courses {
        let object = ObjectRef::Volume(course.id.clone());
        for publish in course.coming() {
            let seen = draft.observed.targets.get(&publish.target);
            if seen.is_none_or(|seen| seen.taken_by.is_none()) {
                draft.refused.extend(covers(draft, &object, &publish.target));
            }
        }
        if is_made(course) {
            draft.refused.extend(stored(draft, course, &object));
        }
    }
}

fn is_made(course: &Course<'_>) -> bool {
    match course.make {
        Make::New | Make::Replace | Make::Exchange => true,
        Make::Again(_) => course.seen.backing == crate::model::observed::ObservedBacking::Missing,
        Make::Nothing | Make::Adopt => false,
    }
}

fn covers(draft: &Draft<'_>, object: &ObjectRef, target: &Path) -> Option<Refused> {
    let claim = draft.observed.others.against(target, Use::Target, |_| true)?;
    let message = format!("{} would cover, or lie in, what another one needs: {claim}", target.display());
    Some(refuse("foreign", object, message, "choose a path that has nothing to do with it"))
}

fn stored(draft: &Draft<'_>, course: &Course<'_>, object: &ObjectRef) -> Option<Refused> {
    let others = &draft.observed.others;
    let (path, what) = match &course.spec.backing {
        Backing::Image(image) => {
            let pool = draft.observed.pools.get(&image.pool).filter(|seen| seen.pool.path == image.pool_path);
            if let Some(missed) = pool.and_then(|pool| pool.missed.as_ref()) {
                return Some(not_mounted(object, &image.pool_path, missed));
            }
            (&image.pool_path, Use::Pool)
        }
        Backing::Directory(directory) => (&directory.path, Use::Directory),
        Backing::Device(device) => {
            let claim = others.against(&device.path, Use::Device, |_| true).or_else(|| match &course.seen.backing {
                crate::model::observed::ObservedBacking::Device(seen) => others.of_device(seen.block, |_| true),
                _ => None,
            })?;
            let message = format!("{} is taken: {claim}", device.path.display());
            let help = "one device is one volume's: take it out of that project's manifest and apply that one first";
            return Some(refuse("incompatible", object, message, help));
        }
        Backing::Tmpfs(_) => return None,
    };
    let claim = others.against(path, what, |_| true)?;
    let message = format!("{} has to do with what is another one's: {claim}", path.display());
    Some(refuse("foreign", object, message, "choose a directory that has nothing to do with it"))
}

fn not_mounted(object: &ObjectRef, pool: &Path, missed: &str) -> Refused {
    let pool = pool.display();
    let message = format!(
        "the file system of its pool {pool} is not mounted: another one lies there, and {missed} and all else recorded in it is missing"
    );
    let help = format!("mount it at {pool} first; an image made now would be hidden below it");
    refuse("not-ready", object, message, help)
}
