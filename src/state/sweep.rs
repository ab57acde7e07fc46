//! What the state directory keeps of objects that are gone, taken away so that it does not grow for ever: locks of ids that nothing is recorded
//! of, and, after a long time, records that were set aside and marks of files that were deleted elsewhere.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::host::{ErrorKind, Host, HostError, LockMode, Observe};
use crate::model::Layout;

/// How long what was set aside is kept for somebody to look at, and a mark for its file to come back.
pub const KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Takes away what has served; answers how many files. What somebody works on stays.
///
/// # Errors
/// A directory can't be listed, or a file can't be removed.
pub fn sweep(host: &dyn Host, layout: &Layout, now: SystemTime) -> Result<usize, HostError> {
    Ok(locks(host, layout)? + aged(host, layout, now)?)
}

/// A lock is removed while it is held, and whoever waited for it looks, once he has it, whether its file is still there: two can never hold
/// the lock of one id on two files.
fn locks(host: &dyn Host, layout: &Layout) -> Result<usize, HostError> {
    let mut removed = 0;
    for name in host.list(&layout.locks())? {
        let places = places_of(layout, &name);
        if places.is_empty() || is_one_there(host, &places)? {
            continue;
        }
        let path = layout.locks().join(&name);
        let held = match host.lock(&path, LockMode::Exclusive, Duration::ZERO) {
            // What is no file is shown by gc, and is nobody's to remove.
            Err(error) if matches!(error.kind, ErrorKind::LockHeld | ErrorKind::Foreign) => continue,
            answer => answer?,
        };
        // Who had it until now may have made what it is for.
        if !is_one_there(host, &places)? {
            host.remove_small(&path, false)?;
            removed += 1;
        }
        drop(held);
    }
    Ok(removed)
}

/// Where there is a file as long as this lock is of use; nowhere for those that are of no object.
fn places_of(layout: &Layout, name: &OsStr) -> Vec<PathBuf> {
    let record = |id: &str| format!("{id}.json");
    let mut places = match name.to_str().map(|name| name.split_once('@').unwrap_or((name, ""))) {
        None | Some(("", _)) => return Vec::new(),
        Some((id, "")) => {
            vec![layout.volumes().join(record(id)), layout.run_volumes().join(record(id)), layout.frozen().join(id)]
        }
        Some((id, "snapshot")) => vec![layout.snapshots().join(record(id))],
        Some((id, "group")) => vec![layout.groups().join(record(id))],
        Some(_) => return Vec::new(),
    };
    places.extend(name.to_str().map(|name| layout.room_note(name)));
    places
}

fn is_one_there(host: &dyn Observe, places: &[PathBuf]) -> Result<bool, HostError> {
    for place in places {
        if host.stat(place)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn aged(host: &dyn Host, layout: &Layout, now: SystemTime) -> Result<usize, HostError> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().saturating_sub(KEPT);
    let mut removed = 0;
    for directory in [layout.set_aside(), layout.deleted()] {
        for name in host.list(&directory)? {
            let path = directory.join(name);
            let Some(facts) = host.stat(&path)? else { continue };
            let old = u64::try_from(facts.modified).is_ok_and(|modified| modified < since.as_secs());
            if old && facts.kind == crate::host::FileKind::File {
                host.remove_small(&path, false)?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::host::linux::LinuxHost;
    use crate::state::Store;
    use crate::state::store::tests::volume_record;

    fn layout() -> (tempfile::TempDir, Layout) {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path().join("state"), folder.path().join("run"));
        Store::new(&LinuxHost::new(), &layout).prepare().unwrap();
        (folder, layout)
    }

    fn names(directory: &Path) -> Vec<String> {
        let names = LinuxHost::new().list(directory).unwrap();
        names.into_iter().map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn only_locks_of_what_is_gone_and_of_nobody_who_works_are_removed() {
        let (_folder, layout) = layout();
        let host = LinuxHost::new();
        Store::new(&host, &layout).put_volume(&volume_record("shop.db"), false).unwrap();
        fs::create_dir_all(layout.room()).unwrap();
        fs::write(layout.room_note("snap-noted@snapshot"), "[]").unwrap();
        let all = [
            "@global",
            "@pool-00ff",
            "shop.db",
            "shop.gone",
            "shop.busy",
            "snap-gone@snapshot",
            "snap-noted@snapshot",
            "g@group",
            "x@else",
        ];
        for name in all {
            fs::write(layout.locks().join(name), "").unwrap();
        }
        let _busy = host.lock(&layout.locks().join("shop.busy"), LockMode::Shared, Duration::ZERO).unwrap();

        let removed = sweep(&host, &layout, SystemTime::now()).unwrap();

        assert_eq!(
            names(&layout.locks()),
            ["@global", "@pool-00ff", "shop.busy", "shop.db", "snap-noted@snapshot", "x@else"]
        );
        assert_eq!(removed, 3);
    }

    #[test]
    fn two_never_hold_the_lock_of_one_id_while_it_is_swept() {
        let (_folder, layout) = layout();
        let (path, holders, most) = (layout.locks().join("shop.gone"), AtomicUsize::new(0), AtomicUsize::new(0));
        let ended = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let host = LinuxHost::new();
                    for _ in 0..2000 {
                        let held = host.lock(&path, LockMode::Exclusive, Duration::from_secs(600)).unwrap();
                        most.fetch_max(holders.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        holders.fetch_sub(1, Ordering::SeqCst);
                        drop(held);
                    }
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
            let mut removed = 0;
            while ended.load(Ordering::SeqCst) < 3 {
                removed += sweep(&LinuxHost::new(), &layout, SystemTime::now()).unwrap();
            }
            assert!(removed > 0, "it was swept in between");
        });
        assert_eq!(most.into_inner(), 1);
    }

    #[test]
    fn what_was_set_aside_or_marked_is_kept_for_a_long_time_and_not_for_ever() {
        let (_folder, layout) = layout();
        for (directory, name) in [(layout.set_aside(), "shop.db.json"), (layout.deleted(), "vol-1.img")] {
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join(name), "x").unwrap();
        }
        let at = |days: u64| SystemTime::now() + Duration::from_secs(days * 24 * 60 * 60);
        let left = |now| {
            sweep(&LinuxHost::new(), &layout, now).unwrap();
            [names(&layout.set_aside()), names(&layout.deleted())].concat()
        };

        assert_eq!(left(at(89)), ["shop.db.json", "vol-1.img"]);
        assert_eq!(left(at(91)), Vec::<String>::new());
    }
}
