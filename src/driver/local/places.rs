//! Where no volume may be mounted: over, in, or above what csictl itself lives on, and over the system's own directories. A mount there
//! hides images and records from csictl, which would then take them for lost, or write new ones into the volume.

use std::path::{Path, PathBuf};

use crate::driver::{Refusal, Result};
use crate::host::Observe;
use crate::model::record::{RunRecord, VolumeRecord};
use crate::model::{FileId, Layout};

use super::session::Session;
use super::{LocalDriver, neighbours};

/// Directories of the system (Filesystem Hierarchy Standard 3.0) that an orchestrator has no business to mount over, and below which it may.
const SYSTEM: [&str; 7] = ["/", "/home", "/root", "/run", "/tmp", "/var", "/var/lib"];

/// Those below which it has none either: programs, devices, the system's own settings, and what the kernel shows of itself.
const SYSTEM_WHOLE: [&str; 12] =
    ["/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sbin", "/sys", "/usr"];

/// What a server keeps besides the state and the run directory.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Directories of images; where the record of a volume is damaged, its image is looked for in them.
    pub pools: Vec<PathBuf>,
    /// Where it listens. Beside it mounts are made by some orchestrators (Nomad), never over it.
    pub socket: Option<PathBuf>,
}

impl LocalDriver {
    /// Why nothing may be mounted at `path`, in words; `None` when it may. `pools` are directories of images to mind besides those of
    /// the configuration.
    pub fn kept_at<'a>(&self, path: &Path, pools: impl IntoIterator<Item = &'a Path>) -> Option<String> {
        let (own, kept) = (own_directories(self.layout()), self.kept());
        let pools = kept.pools.iter().map(PathBuf::as_path).chain(pools.into_iter().map(|pool| -> &Path { pool }));
        let directories = own.into_iter().chain(pools.map(|pool: &Path| ("the pool", pool)));
        let over = directories.map(|(what, directory)| (what, directory, true));
        let socket = kept.socket.as_deref().map(|socket| ("the socket", socket, false));
        first(self.host(), path, over.chain(socket))
    }
}

fn own_directories(layout: &Layout) -> [(&'static str, &Path); 2] {
    [("the state directory", &layout.state), ("the run directory", &layout.run)]
}

/// The first of these directories that a mount at `path` would hide, or lie in where that matters.
fn first<'a>(
    host: &dyn Observe,
    path: &Path,
    kept: impl Iterator<Item = (&'static str, &'a Path, bool)>,
) -> Option<String> {
    let files = |path: &Path| path.ancestors().filter_map(|above| file_at(host, above)).collect::<Vec<FileId>>();
    let (there, mut above) = (file_at(host, path), None);
    for (what, directory, in_it_too) in kept {
        let place = directory.display();
        if directory.starts_with(path) {
            return Some(format!("{what} {place} would be hidden"));
        }
        if in_it_too && path.starts_with(directory) {
            return Some(format!("it lies in {what} {place}"));
        }
        // The same directory goes by other names too: a link above it, a bind.
        if there.is_some_and(|there| files(directory).contains(&there)) {
            return Some(format!("{what} {place} would be hidden, by another name"));
        }
        let Some(is) = file_at(host, directory).filter(|_| in_it_too) else { continue };
        if above.get_or_insert_with(|| files(path)).contains(&is) {
            return Some(format!("it lies in {what} {place} by another name"));
        }
    }
    None
}

fn file_at(host: &dyn Observe, path: &Path) -> Option<FileId> {
    host.stat(path).ok().flatten().map(|facts| facts.file)
}

/// Whether it is a directory of the system.
fn is_systems(path: &Path) -> bool {
    SYSTEM.iter().chain(&SYSTEM_WHOLE).any(|system| path == Path::new(system))
}

/// Why an orchestrator's volume may not be mounted at a path of the system, in words; `None` where it may as far as the path tells.
pub fn of_the_system(path: &Path) -> Option<String> {
    if is_systems(path) {
        return Some("it is a directory of the system".to_owned());
    }
    let whole = SYSTEM_WHOLE.iter().find(|system| path.starts_with(system))?;
    Some(format!("it lies in {whole}, a directory of the system"))
}

/// Refuses to mount a volume where that hides something; where csictl stages it itself is right.
pub(super) fn free(s: &Session<'_>, record: &VolumeRecord, path: &Path, by_orchestrator: bool) -> Result<()> {
    if path == s.layout().staging_path(&s.id) {
        return Ok(());
    }
    let others = neighbours::uncovered(s, record, path)?;
    let pool = record.spec.backing.as_image().map(|image| image.pool_path.as_path());
    let pools = pool.into_iter().chain(others.iter().map(PathBuf::as_path));
    let system = if by_orchestrator { of_the_system(path) } else { None };
    match system.or_else(|| s.driver.kept_at(path, pools)) {
        Some(why) => Err(s.refuse(
            Refusal::UnsafePath,
            format!("{} is not for volumes to be mounted at: {why}", path.display()),
            "name a directory that is there for mounts only",
        )),
        None => Ok(()),
    }
}

/// Refuses to publish over or in the volume's own stage.
pub(super) fn not_its_stage(s: &Session<'_>, run: Option<&RunRecord>, target: &Path) -> Result<()> {
    let Some(staged) = run.and_then(|run| run.staging_path.as_ref()) else { return Ok(()) };
    if !target.starts_with(staged) && !staged.starts_with(target) {
        return Ok(());
    }
    Err(s.refuse(
        Refusal::UnsafePath,
        format!("{} is where the volume is staged ({}), or around it", target.display(), staged.display()),
        "publish it at a path of the pod's own",
    ))
}

/// Whether a path that is to be removed is one that nobody made for a volume.
pub(super) fn is_kept(s: &Session<'_>, path: &Path) -> bool {
    is_systems(path) || s.driver.kept_at(path, None).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orchestrator_mounts_neither_over_the_system_nor_in_what_is_its_own() {
        for bad in [
            "/",
            "//",
            "/usr",
            "/usr/",
            "/usr/lib/foo",
            "//usr/./lib",
            "/dev/x",
            "/dev/shm/x",
            "/proc/x",
            "/sys/foo",
            "/etc/x",
            "/bin/x",
            "/sbin/x",
            "/lib/x",
            "/lib32/x",
            "/lib64/x",
            "/libx32/x",
            "/boot/x",
            "/home",
            "/root",
            "/run",
            "/tmp",
            "/var",
            "/var/lib",
        ] {
            assert!(of_the_system(Path::new(bad)).is_some(), "{bad}");
        }
        for good in [
            "/var/lib/kubelet/pods/x/volumes/y/mount",
            "/run/x",
            "/tmp/x",
            "/home/x",
            "/root/x",
            "/srv/x",
            "/mnt/x",
            "/usrlocal/x",
            "/device",
            "/library/x",
            "/opt/nomad/client/csi/x",
            "/data/usr/lib",
        ] {
            assert_eq!(of_the_system(Path::new(good)), None, "{good}");
        }
    }
}
