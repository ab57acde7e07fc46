//! What other projects need, against what this one is about to mount and make: a target over another's pool, a pool in another's volume, another's
//! device, an image in a pool whose file system is not there.

use std::collections::HashSet;
use std::path::Path;

use crate::model::{Backing, Claim, Claims, ObjectRef, Use, pool_is_open, pool_not_mounted};

use super::Refused;
use super::course::{Course, Make};
use super::draft::Draft;
use super::guards::refuse;
use super::pause;

/// Judges what is to be mounted and what is to be made.
pub(super) fn judge(draft: &mut Draft<'_>, courses: &[Course<'_>]) {
    for course in courses {
        let object = ObjectRef::Volume(course.id.clone());
        for publish in course.coming() {
            let seen = draft.observed.targets.get(&publish.target);
            if seen.is_none_or(|seen| seen.taken_by.is_none()) {
                draft.refused.extend(covers(draft, course, &publish.target));
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

fn covers(draft: &Draft<'_>, course: &Course<'_>, target: &Path) -> Option<Refused> {
    // What lies upon a mount of this volume came after it, and is not what that covers: see `upon`.
    let counts = |claim: &Claim<'_>| course.mounted_at(target).is_none() || !lies_upon(claim, target);
    let claim = draft.observed.others.against(target, Use::Target, counts)?;
    let (message, help) = claim.stands_against(target, Use::Target);
    Some(refuse("foreign", &ObjectRef::Volume(course.id.clone()), message, help))
}

fn lies_upon(claim: &Claim<'_>, target: &Path) -> bool {
    matches!(claim.what, Use::Target | Use::Stage) && claim.path != target && claim.path.starts_with(target)
}

/// Refuses to take down a mount upon which another project has published something that stays: csictl takes down nobody else's.
pub(super) fn upon(others: &Claims, course: &Course<'_>, goes: &HashSet<&Path>) -> Option<Refused> {
    let leaving = course.leaving();
    let mut mounted = leaving.iter().filter(|leaving| leaving.seen.is_some()).map(|leaving| leaving.target);
    let (target, claim) = mounted.find_map(|target| {
        let stays = |claim: &Claim<'_>| lies_upon(claim, target) && !goes.contains(claim.path);
        Some((target, others.against(target, Use::Target, stays)?))
    })?;
    let comes_back = course.coming().any(|publish| publish.target == target);
    let (how, why, then) = if comes_back {
        let why = format!(" (why: {})", pause::reason(course, target));
        ("would have to be taken down for a while", why, "apply this, then apply that one again")
    } else {
        ("would be taken down", String::new(), "then this")
    };
    let message = format!("{} {how}, and something of another one lies upon it: {claim}{why}", target.display());
    let help = format!("take that one down first (csictl destroy with its manifest), {then}");
    Some(refuse("busy", &ObjectRef::Volume(course.id.clone()), message, help))
}

fn stored(draft: &Draft<'_>, course: &Course<'_>, object: &ObjectRef) -> Option<Refused> {
    let others = &draft.observed.others;
    let (path, what) = match &course.spec.backing {
        Backing::Image(image) => {
            let pool = draft.observed.pools.get(&image.pool).filter(|seen| seen.pool.path == image.pool_path);
            if let Some(missed) = pool.and_then(|pool| pool.missed.as_ref()) {
                let (message, help) = pool_not_mounted(&image.pool_path, missed);
                return Some(refuse("not-ready", object, message, help));
            }
            if let Some(open_to) = pool.and_then(|pool| pool.open_to.as_ref()) {
                let (message, help) = pool_is_open(&image.pool_path, open_to);
                return Some(refuse("unsafe-path", object, message, help));
            }
            (&image.pool_path, Use::Pool)
        }
        Backing::Directory(directory) => (&directory.path, Use::Directory),
        Backing::Device(device) => {
            let claim = others.against(&device.path, Use::Device, |_| true).or_else(|| match &course.seen.backing {
                crate::model::observed::ObservedBacking::Device(seen) => others.of_device(seen, |_| true),
                _ => None,
            })?;
            let (message, help) = claim.stands_against(&device.path, Use::Device);
            return Some(refuse("incompatible", object, message, help));
        }
        Backing::Tmpfs(_) => return None,
    };
    let claim = others.against(path, what, |_| true)?;
    let (message, help) = claim.stands_against(path, what);
    Some(refuse("foreign", object, message, help))
}
