//! Watching a directory with inotify(7). The kernel queues an event while it renames or unlinks, before the call that does so returns, so that
//! whoever drains the queue first never answers with what was before. A queue that ran over, a directory that is missing or was
//! replaced, and a machine that has no watch left to give all amount to "look at all of it".

use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use crate::host::{Changes, DirectoryWatch};

/// Room for some hundred events a read.
const BUFFER: usize = 16 << 10;

/// A directory and, while it can be watched, its queue of events.
#[derive(Debug)]
pub struct Inotify {
    directory: PathBuf,
    queue: Option<OwnedFd>,
}

impl Inotify {
    /// A watch of this directory.
    pub fn of(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), queue: None }
    }

    /// Begins to watch; what is there by then has to be looked at afterwards.
    fn begin(&mut self) -> Result<(), Errno> {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let changed = WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::CLOSE_WRITE;
        let gone = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
        inotify::add_watch(&queue, &self.directory, changed | gone)?;
        self.queue = Some(queue);
        Ok(())
    }

    /// The names in the queue; `None` when it tells no longer of all.
    fn drain(&self) -> Option<Vec<OsString>> {
        let lost = ReadFlags::QUEUE_OVERFLOW
            | ReadFlags::IGNORED
            | ReadFlags::UNMOUNT
            | ReadFlags::DELETE_SELF
            | ReadFlags::MOVE_SELF;
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut events = Reader::new(self.queue.as_ref()?, &mut buffer);
        let mut names = Vec::new();
        loop {
            match events.next() {
                Ok(event) if event.events().intersects(lost) => return None,
                Ok(event) => {
                    names.extend(event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned()));
                }
                Err(Errno::AGAIN) => return Some(names),
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }
}

impl DirectoryWatch for Inotify {
    fn changes(&mut self) -> Changes {
        if self.queue.is_some()
            && let Some(names) = self.drain()
        {
            return Changes::Names(names.into_iter().collect());
        }
        self.queue = None;
        if let Err(error) = self.begin() {
            tracing::debug!(directory = %self.directory.display(), %error, "not watched: it is read whole each time");
        }
        Changes::All
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    fn names(names: &[&str]) -> Changes {
        Changes::Names(names.iter().map(OsString::from).collect::<BTreeSet<_>>())
    }

    #[test]
    fn what_was_renamed_written_and_removed_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Inotify::of(folder.path());
        assert_eq!(watch.changes(), Changes::All, "what was there before is not told by name");
        fs::write(folder.path().join(".a.tmp"), b"x").unwrap();
        fs::rename(folder.path().join(".a.tmp"), folder.path().join("a")).unwrap();
        fs::write(folder.path().join("b"), b"x").unwrap();
        fs::remove_file(folder.path().join("b")).unwrap();
        assert_eq!(watch.changes(), names(&[".a.tmp", "a", "b"]));
        assert_eq!(watch.changes(), names(&[]));
    }

    #[test]
    fn a_directory_that_comes_late_or_is_replaced_is_watched_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("records");
        let mut watch = Inotify::of(&directory);
        assert_eq!([watch.changes(), watch.changes()], [Changes::All, Changes::All], "it is not there");
        fs::create_dir(&directory).unwrap();
        assert_eq!([watch.changes(), watch.changes()], [Changes::All, names(&[])]);
        fs::rename(&directory, folder.path().join("aside")).unwrap();
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("a"), b"x").unwrap();
        assert_eq!([watch.changes(), watch.changes()], [Changes::All, names(&[])]);
        fs::write(directory.join("b"), b"x").unwrap();
        assert_eq!(watch.changes(), names(&["b"]));
    }

    #[test]
    fn a_queue_that_ran_over_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Inotify::of(folder.path());
        watch.changes();
        let most: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
        let (one, other) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&one, b"x").unwrap();
        for _ in 0..=most / 4 {
            fs::rename(&one, &other).unwrap();
            fs::rename(&other, &one).unwrap();
        }
        assert_eq!([watch.changes(), watch.changes()], [Changes::All, names(&[])]);
    }
}
