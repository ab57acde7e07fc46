//! One verb at work on one volume: its lock is held, its records are read, and every error names it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::driver::{DriverError, Refusal, Result};
use crate::host::{ErrorKind, Holder, Host, HostError, LockMode};
use crate::model::mount_namespace::OUT_OF_REACH_HELP;
use crate::model::observed::HostFacts;
use crate::model::record::{Recorded, RunRecord, VolumeRecord};
use crate::model::{BlockId, Layout, Loss, ObjectRef, Owner, VolumeId, shell_word};
use crate::state::{Reader, StateError, Store, VolumeLock};

use super::reach::is_out_of_reach;
use super::{LocalDriver, chain, freezing, own};

/// A locked volume with what is recorded of it.
pub(super) struct Session<'a> {
    pub driver: &'a LocalDriver,
    pub id: VolumeId,
    pub lock: VolumeLock,
    pub record: Recorded<VolumeRecord>,
    pub run: Recorded<RunRecord>,
    /// Targets that `run` has lost since it was last written.
    pub unwritten: BTreeSet<PathBuf>,
    /// Whether this verb had to thaw it.
    pub thawed: Cell<bool>,
}

impl LocalDriver {
    pub(super) fn facts(&self, object: &ObjectRef) -> Result<&HostFacts> {
        if let Some(facts) = self.facts.get() {
            return Ok(facts);
        }
        let facts = self.host.facts().map_err(|error| DriverError::host(object.clone(), error))?;
        Ok(self.facts.get_or_init(|| facts))
    }

    /// Makes and checks the directories of records, once a process.
    pub(super) fn prepare(&self, object: &ObjectRef) -> Result<()> {
        if self.prepared.get().is_none() {
            self.store().prepare().map_err(|error| state_error(object, error))?;
            let _ = self.prepared.set(());
        }
        Ok(())
    }

    pub(super) fn store(&self) -> Store<'_> {
        Store::new(self.host(), &self.layout)
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader::new(self.host(), &self.layout)
    }

    /// Locks a volume and reads its records.
    pub(super) fn open(&self, id: &VolumeId) -> Result<Session<'_>> {
        self.open_as(id, LockMode::Exclusive)
    }

    pub(super) fn open_as(&self, id: &VolumeId, mode: LockMode) -> Result<Session<'_>> {
        if mode == LockMode::Exclusive
            && let Some(session) = chain::take(self, id)
        {
            return Ok(session);
        }
        let object = ObjectRef::Volume(id.clone());
        self.prepare(&object)?;
        let boot = self.facts(&object)?.boot_id.clone();
        let lock = self
            .share_global()
            .and_then(|global| VolumeLock::within(global, self.host(), &self.layout, id, mode, self.lock_timeout))
            .map_err(|error| state_error(&object, error))?;
        let record = self.reader().volume(id);
        let run = self.reader().run(id, &boot);
        Ok(Session {
            driver: self,
            id: id.clone(),
            lock,
            record,
            run,
            unwritten: BTreeSet::new(),
            thawed: Cell::default(),
        })
    }
}

/// A state error in the driver's words.
pub(super) fn state_error(object: &ObjectRef, error: StateError) -> DriverError {
    match error {
        StateError::Host(error) => DriverError::host(object.clone(), error),
        StateError::LockHeld(_) => DriverError::LockHeld { object: object.clone() },
        StateError::Insecure { ref path, .. } => {
            let help = format!("make it root's alone: chown root:root {0} && chmod 0700 {0}", path.display());
            DriverError::refused(Refusal::UnsafePath, object.clone(), error.to_string(), help)
        }
        StateError::Document(message) => {
            DriverError::refused(Refusal::Incompatible, object.clone(), message, "see what csictl status says")
        }
    }
}

impl<'a> Session<'a> {
    pub fn host(&self) -> &'a dyn Host {
        self.driver.host()
    }

    pub fn layout(&self) -> &'a Layout {
        &self.driver.layout
    }

    pub fn store(&self) -> Store<'a> {
        self.driver.store()
    }

    pub fn facts(&self) -> Result<&'a HostFacts> {
        self.driver.facts(&self.object())
    }

    pub fn object(&self) -> ObjectRef {
        ObjectRef::Volume(self.id.clone())
    }

    pub fn refuse(&self, refusal: Refusal, message: impl Into<String>, help: impl Into<String>) -> DriverError {
        DriverError::refused(refusal, self.object(), message, help)
    }

    /// The next step, in words of whoever has the volume: its manifest's people, or its orchestrator.
    pub fn way(&self, manifest: &'static str, orchestrator: &'static str) -> &'static str {
        let csi = self.record.present().is_some_and(|record| record.spec.owner == Owner::Csi);
        if csi { orchestrator } else { manifest }
    }

    pub fn unapproved(&self, loss: Loss, message: impl Into<String>) -> DriverError {
        DriverError::unapproved(self.object(), loss, message)
    }

    /// A host's failure, as the refusal it amounts to where it is one.
    pub fn fail(&self, error: HostError) -> DriverError {
        host_failure(&self.object(), error)
    }

    /// Refuses to change a volume whose mounts another mount namespace holds, or may hold: they cannot be seen from here.
    pub fn same_namespace(&self) -> Result<()> {
        let Recorded::Present(run) = &self.run else { return Ok(()) };
        let ours = self.facts()?.mount_namespace;
        let staged_in = run.namespace();
        let state = |namespace| self.host().namespace_state(namespace);
        let away = is_out_of_reach(self.host(), ours, self.record.present(), run, state);
        if !away.map_err(|error| self.fail(error))? {
            return Ok(());
        }
        Err(self.refuse(
            Refusal::OtherNamespace,
            format!(
                "it was staged in mount namespace {staged_in}, which still lives, or may; this one is {ours}, and its mounts cannot be seen from here"
            ),
            OUT_OF_REACH_HELP,
        ))
    }

    /// The record, for a verb that builds up: none of a newer csictl, a corrupt one rebuilt, a missing one an error.
    pub fn existing(&mut self) -> Result<VolumeRecord> {
        self.same_namespace()?;
        if let Recorded::Newer { version } = self.run {
            return Err(self.newer(version));
        }
        if let Recorded::Corrupt { .. } = self.record {
            super::rebuild::rebuild(self)?;
        }
        match &self.record {
            Recorded::Present(record) => Ok(record.clone()),
            Recorded::Newer { version } => Err(self.newer(*version)),
            Recorded::Unknown { cause } => Err(self.unreadable(cause)),
            Recorded::Absent | Recorded::Corrupt { .. } => Err(self.refuse(
                Refusal::NotFound,
                format!("no volume {} is recorded in {}", self.id, self.layout().volumes().display()),
                "create it first",
            )),
        }
    }

    /// The record, for a verb that takes down: such a verb works without one.
    pub fn known(&mut self) -> Result<Option<VolumeRecord>> {
        self.same_namespace()?;
        if let Recorded::Corrupt { .. } = self.record {
            // Failing to rebuild must not keep anybody from taking down.
            let _ = super::rebuild::rebuild(self);
        }
        Ok(self.record.present().cloned())
    }

    pub fn newer(&self, version: u32) -> DriverError {
        self.refuse(
            Refusal::NewerRecord,
            format!(
                "its record {} has version {version}, written by a newer csictl",
                self.layout().volume_record(&self.id).display()
            ),
            "use that csictl; this one can only unpublish and unstage it",
        )
    }

    pub fn unreadable(&self, cause: &str) -> DriverError {
        let path = self.layout().volume_record(&self.id);
        self.fail(HostError::new(ErrorKind::Other, "read record", path, cause))
    }

    pub fn owned_by(&self, record: &VolumeRecord, owner: &Owner) -> Result<()> {
        if record.spec.owner == *owner {
            return Ok(());
        }
        Err(self.refuse(
            Refusal::Foreign,
            format!("volume {} belongs to {}, not to {owner}", self.id, record.spec.owner),
            "leave it to its owner, or choose another name",
        ))
    }

    /// The boot-scoped record, or a new one for this boot and namespace.
    pub fn run_or_new(&self) -> Result<RunRecord> {
        let facts = self.facts()?;
        let mut run = match &self.run {
            Recorded::Present(run) => run.clone(),
            // It is there, and may name publishes: it is not written over unread.
            Recorded::Unknown { cause } => {
                let path = self.layout().run_record(&self.id);
                return Err(self.fail(HostError::new(ErrorKind::Other, "read record", path, cause)));
            }
            _ => RunRecord {
                id: self.id.clone(),
                boot_id: facts.boot_id.clone(),
                mount_namespace: facts.mount_namespace.inode,
                mount_namespace_id: facts.mount_namespace.id,
                staging_path: None,
                stage_options: Vec::new(),
                stage_capability: None,
                stage_attached: false,
                grows: false,
                loop_index: None,
                device: None,
                directory: None,
                publishes: std::collections::BTreeMap::new(),
                made: std::collections::BTreeMap::new(),
            },
        };
        if !run.namespace().is(facts.mount_namespace) {
            run.mount_namespace = facts.mount_namespace.inode;
            run.mount_namespace_id = facts.mount_namespace.id;
            self.forget_unseen(&mut run);
        }
        Ok(run)
    }

    /// A namespace that is gone has taken its mounts with it, but those that were shared: they are there still when the container of a driver
    /// was replaced, and go on being what the record says of them.
    fn forget_unseen(&self, run: &mut RunRecord) {
        let seen = |path: &Path| self.host().mounts_at(path).map_or(true, |mounts| !mounts.is_empty());
        run.publishes.retain(|target, _| seen(target));
        // A raw volume is staged without a mount.
        let raw = self.record.present().is_some_and(|record| record.spec.is_raw());
        if !raw && !run.staging_path.as_deref().is_some_and(seen) {
            run.staging_path = None;
            run.stage_options.clear();
            run.grows = false;
        }
        if run.staging_path.is_none() && run.publishes.is_empty() {
            run.device = None;
            run.directory = None;
        }
    }

    /// Writes the boot-scoped record, or removes it when it says nothing any more.
    pub fn put_run(&mut self, run: RunRecord) -> Result<()> {
        if self.run.present() == Some(&run) && self.unwritten.is_empty() {
            return Ok(());
        }
        if matches!(self.run, Recorded::Newer { .. }) {
            return Ok(());
        }
        let empty = run.staging_path.is_none() && run.publishes.is_empty() && run.loop_index.is_none();
        if empty {
            self.store().remove_run(&self.id).map_err(|error| self.fail(error))?;
            self.run = Recorded::Absent;
        } else {
            self.store().put_run(&run).map_err(|error| self.fail(error))?;
            self.run = Recorded::Present(run);
        }
        self.unwritten.clear();
        Ok(())
    }

    /// Writes the durable record.
    pub fn put_record(&mut self, record: VolumeRecord, durable: bool) -> Result<()> {
        if self.record.present() != Some(&record) {
            self.store().put_volume(&record, durable).map_err(|error| self.fail(error))?;
            self.record = Recorded::Present(record);
        }
        Ok(())
    }

    /// Writes down what was taken down, if there is a place to write: a full or read-only state directory keeps nobody from taking down.
    /// The old record, still whole, then tells of more than there is, which the next run finds out by looking. Answers what the user
    /// should know.
    pub fn put_less(&mut self, record: Option<VolumeRecord>, run: Option<RunRecord>) -> Result<Vec<String>> {
        // To which node it is published is the orchestrator's to know again after a power cut. All else is not flushed: at worst a path
        // that is gone is believed to be csictl's.
        let was = self.record.present().map(|record| record.attachment.is_some());
        let unpublished = |record: &VolumeRecord| was == Some(true) && record.attachment.is_none();
        let written = [
            record.map_or(Ok(()), |record| {
                let durable = unpublished(&record);
                self.put_record(record, durable)
            }),
            run.map_or(Ok(()), |run| self.put_run(run)),
        ];
        let mut notes = Vec::new();
        for error in written.into_iter().filter_map(Result::err) {
            let cause = match error {
                DriverError::Refused { refusal: Refusal::NoSpace, message, .. } => message,
                DriverError::Host { error, .. } if error.kind == ErrorKind::ReadOnly => error.to_string(),
                error => return Err(error),
            };
            notes.push(format!("taken down, but that is not written down: {cause}"));
        }
        Ok(notes)
    }

    /// What is worth saying of a verb that thawed it.
    pub fn thawed_note(&self) -> Option<String> {
        self.thawed.take().then(|| freezing::NOTE.to_owned())
    }

    /// Where its loop device probably is: as recorded, or as attached by this process a moment ago.
    pub fn hint(&self) -> Option<u32> {
        self.run.present().and_then(|run| run.loop_index).or_else(|| self.driver.held_index(&self.id))
    }

    /// The mounts of a device, in words: one that somebody moved away keeps it busy with nobody in it.
    fn mounts_of(&self, device: BlockId) -> Vec<String> {
        let Ok(table) = self.host().mount_table() else { return Vec::new() };
        let shown = table.iter().filter(|mount| own::shows_block(self.host(), mount, device));
        shown.take(HOLDERS_NAMED).map(|mount| format!("a mount at {}", mount.target.display())).collect()
    }

    /// An error for something busy that names who keeps it so.
    pub fn busy(&self, error: HostError, device: BlockId, target: Option<&Path>) -> DriverError {
        if error.kind != ErrorKind::Busy {
            return self.fail(error);
        }
        let holders = self.host().holders(device, target).unwrap_or_default();
        let mut who: Vec<String> = holders.iter().take(HOLDERS_NAMED).map(held_by).collect();
        if holders.len() > who.len() {
            who.push(format!("and {} more", holders.len() - who.len()));
        }
        let processes = holders.iter().any(|holder| holder.pid != Holder::NO_PROCESS);
        if holders.is_empty() && target.is_none() {
            who.extend(self.mounts_of(device));
        }
        let unmount = !(processes || who.is_empty());
        let who = if who.is_empty() { "no process of this machine was found".to_owned() } else { who.join("; ") };
        let next = if unmount { "unmount them" } else { "end them" };
        let place = target.map_or_else(|| error.object.display().to_string(), |target| target.display().to_string());
        self.refuse(
            Refusal::Busy,
            format!("{place} is in use; held by {who}"),
            format!("{next} and try again; csictl who {} shows them", shell_word(&place)),
        )
    }
}

/// The most holders one error names; `who` names all.
const HOLDERS_NAMED: usize = 5;

/// A holder as an error names it.
fn held_by(holder: &Holder) -> String {
    let what = holder.what.join(", ");
    if holder.pid == Holder::NO_PROCESS {
        return format!("what is mounted on it: {what}");
    }
    format!("{} (pid {}, mount namespace {}): {what}", holder.command, holder.pid, holder.mount_namespace)
}

/// A host's failure, as the refusal it amounts to where it is one.
pub(super) fn host_failure(object: &ObjectRef, error: HostError) -> DriverError {
    let (refusal, help) = match error.kind {
        // More than one file can have there, however much is free.
        ErrorKind::NoSpace if error.is_file_too_large() => (
            Refusal::OutOfRange,
            "ask for less, or use a pool on a file system with larger files (xfs, btrfs); 'ulimit -f' bounds files, too",
        ),
        ErrorKind::NoSpace => (Refusal::NoSpace, "free space there, ask for less, or let it be sparse"),
        ErrorKind::Foreign => {
            (Refusal::Foreign, "csictl leaves alone what it did not make: take it away by hand, or use another path")
        }
        ErrorKind::UnsafePath => (Refusal::UnsafePath, "remove the link, or name the real path"),
        ErrorKind::NotBlank => (
            Refusal::NotBlank,
            "csictl formats only what is proven blank: look at it with blkid -p; blkdiscard --zeroout clears it",
        ),
        ErrorKind::LockHeld => return DriverError::LockHeld { object: object.clone() },
        _ => return DriverError::host(object.clone(), error),
    };
    DriverError::refused(refusal, object.clone(), error.to_string(), help)
}

/// The same failure with a next step.
pub(super) fn with_help(error: DriverError, next: impl Into<String>) -> DriverError {
    match error {
        DriverError::Host { object, error, help: None, undo } => {
            DriverError::Host { object, error, help: Some(next.into()), undo }
        }
        other => other,
    }
}
