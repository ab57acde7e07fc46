//! What of this machine's paths and devices is spoken for, by whom: pools, directories and devices as recorded, targets and staging
//! paths as mounted. A plan and a driver ask it before they mount or make something, so that no project covers what another one needs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::backing::Backing;
use super::name::VolumeId;
use super::observed::ObservedDevice;
use super::owner::Owner;
use super::record::{RunRecord, VolumeRecord};

/// What a path is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    /// Images lie in it.
    Pool,
    /// It is a volume's directory.
    Directory,
    /// It is a volume's device.
    Device,
    /// An orchestrator has a volume staged at it.
    Stage,
    /// A volume is published at it.
    Target,
}

/// How a path lies to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lies {
    At,
    In,
    Over,
}

/// A claim that stands against what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim<'a> {
    /// The path that is claimed.
    pub path: &'a Path,
    /// What for.
    pub what: Use,
    /// The volume that needs it.
    pub volume: &'a VolumeId,
    /// Whose that is.
    pub owner: &'a Owner,
}

impl Claim<'_> {
    /// Why `path` is not to be used so (as in [`Claims::against`]), and what to do instead: the same words from a plan and from a verb.
    pub fn stands_against(&self, path: &Path, what: Use) -> (String, &'static str) {
        let path = path.display();
        match what {
            Use::Target | Use::Stage => (
                format!("{path} would cover, or lie in, what another one needs: {self}"),
                "choose a path that has nothing to do with it",
            ),
            Use::Pool | Use::Directory => (
                format!("{path} has to do with what is another one's: {self}"),
                "choose a directory that has nothing to do with it",
            ),
            Use::Device => (
                format!("{path} is taken, or a part of what is: {self}"),
                "a disk with its partitions, and what stands on them, is one volume's: take it out of that project's manifest and apply that one first",
            ),
        }
    }
}

impl Claim<'_> {
    /// Why nothing is published at `path`, below this one, as long as it is not there yet, and what to do.
    pub fn is_on_its_way_above(&self, path: &Path) -> (String, &'static str) {
        let (path, volume, owner, above) = (path.display(), self.volume, self.owner, self.path.display());
        (
            format!("{path} lies below {above}, where volume {volume} of {owner} is being published at this moment"),
            "wait until that is done, then apply again",
        )
    }
}

/// Why nothing is made in a pool where another file system lies and the image `missed` is missing, and what to do.
pub fn pool_not_mounted(pool: &Path, missed: &str) -> (String, String) {
    let pool = pool.display();
    (
        format!(
            "the file system of its pool {pool} is not mounted: another one lies there, and {missed} and all else recorded in it is missing"
        ),
        format!("mount it at {pool} first; an image made now would be hidden below it"),
    )
}

/// What to say of a pool in which others than root may exchange files: message and help.
pub fn pool_is_open(pool: &Path, open_to: &str) -> (String, String) {
    let pool = pool.display();
    (
        format!(
            "its pool {pool} {open_to}: they could put a link to anything in the place of an image while it is made"
        ),
        format!("chown root:root {pool} && chmod go-w {pool}"),
    )
}

impl fmt::Display for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, volume, owner) = (self.path.display(), self.volume, self.owner);
        match self.what {
            Use::Pool => write!(f, "{path} is the pool of volume {volume} of {owner}"),
            Use::Directory => write!(f, "{path} is the directory of volume {volume} of {owner}"),
            Use::Device => write!(f, "{path} is the device of volume {volume} of {owner}"),
            Use::Stage => write!(f, "volume {volume} of {owner} is staged at {path}"),
            Use::Target => write!(f, "volume {volume} of {owner} is published at {path}"),
        }
    }
}

/// All claims, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    // Paths are ordered part by part, so that all those below one follow it directly.
    paths: BTreeMap<PathBuf, BTreeMap<(VolumeId, Use), Owner>>,
    /// Which device is behind a claimed path, where that was looked up.
    devices: BTreeMap<PathBuf, ObservedDevice>,
}

impl Claims {
    /// Adds what a record claims for good.
    pub fn add_record(&mut self, record: &VolumeRecord) {
        let (path, what) = match &record.spec.backing {
            Backing::Image(image) => (&image.pool_path, Use::Pool),
            Backing::Directory(directory) => (&directory.path, Use::Directory),
            // A device that was let go of is free to be another's, as within one project.
            Backing::Device(device) if !record.released => (&device.path, Use::Device),
            Backing::Device(_) | Backing::Tmpfs(_) => return,
        };
        self.add(path, what, &record.spec.id, &record.spec.owner);
    }

    /// Adds what a volume has mounted; `mounted` tells whether there is a mount at a path.
    pub fn add_run(&mut self, run: &RunRecord, owner: &Owner, mounted: impl Fn(&Path) -> bool) {
        for target in run.publishes.keys().filter(|target| mounted(target)) {
            self.add(target, Use::Target, &run.id, owner);
        }
        // Where csictl stages by itself is in its run directory, of which every path is kept.
        let staged = run.staging_path.as_ref().filter(|_| run.stage_capability.is_some());
        if let Some(staged) = staged.filter(|staged| mounted(staged)) {
            self.add(staged, Use::Stage, &run.id, owner);
        }
    }

    fn add(&mut self, path: &Path, what: Use, volume: &VolumeId, owner: &Owner) {
        // `/` as a directory would stand against everything and says nothing.
        if path.parent().is_some() {
            self.paths.entry(path.to_owned()).or_default().insert((volume.clone(), what), owner.clone());
        }
    }

    /// Remembers which device is behind a claimed path.
    pub fn add_device(&mut self, path: &Path, device: ObservedDevice) {
        self.devices.insert(path.to_owned(), device);
    }

    /// Paths of devices that are claimed.
    pub fn devices(&self) -> impl Iterator<Item = &Path> {
        let is_device = |claims: &BTreeMap<(VolumeId, Use), Owner>| claims.keys().any(|(_, what)| *what == Use::Device);
        self.paths.iter().filter(move |(_, claims)| is_device(claims)).map(|(path, _)| path.as_path())
    }

    /// Directories of images.
    pub fn pools(&self) -> impl Iterator<Item = &Path> {
        let is_pool = |claims: &BTreeMap<(VolumeId, Use), Owner>| claims.keys().any(|(_, what)| *what == Use::Pool);
        self.paths.iter().filter(move |(_, claims)| is_pool(claims)).map(|(path, _)| path.as_path())
    }

    /// Forgets all claims of a volume.
    pub fn remove(&mut self, volume: &VolumeId) {
        self.paths.retain(|_, claims| {
            claims.retain(|(id, _), _| id != volume);
            !claims.is_empty()
        });
    }

    /// What stands against this use of a path; `counts` leaves out claims that don't matter to who asks.
    pub fn against(&self, path: &Path, what: Use, counts: impl Fn(&Claim<'_>) -> bool) -> Option<Claim<'_>> {
        let around = path.ancestors().skip(1).map(|above| (above, Lies::In));
        let around = std::iter::once((path, Lies::At)).chain(around);
        let here = around.filter_map(|(at, lies)| Some((lies, self.paths.get_key_value(at)?)));
        let below = self.paths.range(path.to_owned()..).skip_while(|(at, _)| at.as_path() == path);
        let below = below.take_while(|(at, _)| at.starts_with(path)).map(|entry| (Lies::Over, entry));
        for (lies, (at, claims)) in here.chain(below) {
            for ((volume, theirs), owner) in claims {
                let claim = Claim { path: at, what: *theirs, volume, owner };
                if excludes(what, lies, *theirs) && counts(&claim) {
                    return Some(claim);
                }
            }
        }
        None
    }

    /// Where other volumes are published above this path, the nearest first.
    pub fn above(&self, path: &Path) -> impl Iterator<Item = Claim<'_>> {
        let above = path.ancestors().skip(1).filter_map(|above| self.paths.get_key_value(above));
        above.flat_map(|(path, claims)| {
            let targets = claims.iter().filter(|((_, what), _)| *what == Use::Target);
            targets.map(|((volume, what), owner)| Claim { path, what: *what, volume, owner })
        })
    }

    /// The volume that has this device, or a part of it, or all of the disk it is a part of, under whatever path.
    pub fn of_device(&self, device: &ObservedDevice, counts: impl Fn(&Claim<'_>) -> bool) -> Option<Claim<'_>> {
        let overlapping = self.devices.iter().filter(|(_, other)| other.overlaps(device)).map(|(path, _)| path);
        overlapping
            .filter_map(|path| self.paths.get_key_value(path))
            .flat_map(|(path, claims)| claims.iter().map(move |claim| (path, claim)))
            .filter(|(_, ((_, what), _))| *what == Use::Device)
            .map(|(path, ((volume, what), owner))| Claim { path, what: *what, volume, owner })
            .find(counts)
    }
}

/// Whether one use of a path, lying so to another one's path, excludes that one's use: the same as within one manifest. Below what another
/// project shows there is room for more, but nothing comes over what is there.
fn excludes(mine: Use, lies: Lies, theirs: Use) -> bool {
    match (mine, theirs) {
        (Use::Target | Use::Stage, Use::Pool | Use::Stage)
        | (Use::Pool, Use::Directory)
        | (Use::Directory, Use::Pool) => true,
        (Use::Target | Use::Stage, Use::Target | Use::Directory | Use::Device) => lies != Lies::In,
        (Use::Pool | Use::Directory, Use::Target | Use::Stage) => lies != Lies::Over,
        (Use::Device, Use::Device) => lies == Lies::At,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(path: &str, what: Use) -> Claims {
        let mut claims = Claims::default();
        claims.add(Path::new(path), what, &"blog.a".parse().unwrap(), &"project:blog".parse().unwrap());
        // What only begins with the same letters has nothing to do with it.
        claims.add(Path::new("/srv-too"), Use::Pool, &"blog.b".parse().unwrap(), &"project:blog".parse().unwrap());
        claims
    }

    #[test]
    fn what_is_above_at_or_below_is_told_apart() {
        // (mine, theirs, above, at, below)
        let cases = [
            (Use::Target, Use::Pool, true, true, true),
            (Use::Target, Use::Target, true, true, false),
            (Use::Target, Use::Stage, true, true, true),
            (Use::Target, Use::Directory, true, true, false),
            (Use::Target, Use::Device, true, true, false),
            (Use::Pool, Use::Target, false, true, true),
            (Use::Pool, Use::Pool, false, false, false),
            (Use::Pool, Use::Directory, true, true, true),
            (Use::Directory, Use::Pool, true, true, true),
            (Use::Directory, Use::Directory, false, false, false),
            (Use::Directory, Use::Stage, false, true, true),
            (Use::Device, Use::Device, false, true, false),
        ];
        for (mine, theirs, above, at, below) in cases {
            let claims = claims("/srv/a", theirs);
            let stands = |path: &str| claims.against(Path::new(path), mine, |_| true).is_some();
            let found = [stands("/srv"), stands("/srv/a"), stands("/srv/a/b"), stands("/srv/ab"), stands("/other")];
            assert_eq!(found, [above, at, below, false, false], "{mine:?} and {theirs:?}");
        }
    }

    #[test]
    fn a_volume_that_is_gone_claims_nothing() {
        let mut claims = claims("/srv/a", Use::Pool);
        claims.remove(&"blog.a".parse().unwrap());

        assert!(claims.against(Path::new("/srv/a"), Use::Target, |_| true).is_none());
    }

    #[test]
    fn claims_of_no_matter_are_passed_over() {
        let mut claims = claims("/srv/a", Use::Target);
        claims.add(Path::new("/srv/a/b"), Use::Pool, &"shop.c".parse().unwrap(), &"project:shop".parse().unwrap());

        let found = claims.against(Path::new("/srv"), Use::Target, |claim| claim.what != Use::Target).unwrap();

        assert_eq!(found.to_string(), "/srv/a/b is the pool of volume shop.c of project:shop");
    }
}
