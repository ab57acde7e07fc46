//! Stops csictl, its threads and the programs it starts before each of their system calls, counts those with an effect over all of them,
//! and strikes at the one asked for: kills, or lets the call fail unmade. strace counts a thread's calls of one name, so that of two threads
//! that come to one number only the first is ever struck, and it misses threads that are born while it attaches; here every effect
//! has a place of its own, and whether it was struck is known and not guessed. Registers are named as x86-64 names them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Where in a run something is: who makes the call, how many effects it has had, and how many passive calls since the last of them. What others do on
/// the machine changes how much is looked at; the effects stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// The program that csictl started, when it is not csictl itself.
    pub helper: Option<String>,
    pub effects: usize,
    /// `None` for an effect; else which of the passive calls behind the last one.
    pub passive: Option<usize>,
}

impl Spot {
    /// Looks lie behind the effect before them and in front of the next.
    fn order(&self) -> (usize, usize) {
        (self.effects, self.passive.unwrap_or(usize::MAX))
    }
}

/// A system call that was about to be made.
#[derive(Debug, Clone)]
pub struct Seen {
    pub call: &'static str,
    pub spot: Spot,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Spot { helper, effects, passive } = &self.spot;
        write!(f, "{} of {}, ", self.call, helper.as_deref().unwrap_or("csictl"))?;
        match passive {
            None => write!(f, "effect {effects}"),
            Some(nth) => write!(f, "look {nth} behind effect {effects}"),
        }
    }
}

/// What is done to the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// csictl and all that it started are killed, as with its control group.
    KillAll,
    /// Only the process that makes the call is killed.
    KillOne,
    /// The call is not made and answers this.
    Fail(Errno),
}

/// The call that is struck, and how.
#[derive(Debug, Clone)]
pub struct Aim {
    pub seen: Seen,
    pub blow: Blow,
}

impl std::fmt::Display for Aim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} before {}", self.blow, self.seen)
    }
}

/// What a trace saw.
#[derive(Debug, Default)]
pub struct Trace {
    pub seen: Vec<Seen>,
    pub struck: bool,
    /// Effects of each program, and passive calls since the last.
    counts: BTreeMap<Option<String>, (usize, usize)>,
}

/// Where a kill makes a difference: before every effect, and once after it. Between two effects nothing changes that the death itself
/// does not end, so that the first of the opens for reading and the closes there stands for all. Once a helper was started, csictl is
/// killed with all of its own, and each process alone.
pub fn kills(seen: &[Seen]) -> Vec<Aim> {
    let worth = without_bulk(seen).into_iter().filter(|seen| seen.spot.passive.is_none_or(|nth| nth == 0));
    let helped = seen.iter().any(|seen| seen.spot.helper.is_some());
    let each = worth.flat_map(|seen| {
        let aim = |blow| Aim { seen: seen.clone(), blow };
        // With nobody else there the two are one.
        let alone = helped && (seen.spot.helper.is_some() || seen.spot.passive.is_none());
        std::iter::once(aim(Blow::KillAll)).chain(alone.then(|| aim(Blow::KillOne)))
    });
    each.collect()
}

/// How many looks behind an effect are worth refusing: searches go through every loop device of the machine, one like the other.
const LOOKS_REFUSED: usize = 8;

/// Calls that cannot be refused, or whose refusal is the start of nothing.
const NEVER_REFUSED: [&str; 5] = ["close", "exit_group", "execve", "vfork", "fork"];

/// Where a call can be refused: every effect, csictl's own looks behind each, and the first of a helper's.
pub fn refusals(seen: &[Seen]) -> Vec<Seen> {
    let near = |spot: &Spot| {
        let looks = if spot.helper.is_none() { LOOKS_REFUSED } else { 1 };
        spot.passive.is_none_or(|nth| nth < looks)
    };
    let worth = without_bulk(seen).into_iter();
    worth.filter(|seen| !NEVER_REFUSED.contains(&seen.call) && near(&seen.spot)).cloned().collect()
}

/// Who does nothing but fill, block by block, a copy on which something is tried and which is thrown away then.
const FILLS_A_COPY: &str = "e2image";
/// Of its writes in a row so many at each end count, and between them each so many-th: after any of them the copy is a part of one.
const ENDS: usize = 4;
const EACH: usize = 16;

/// All but most of those writes, of which there are hundreds.
fn without_bulk(seen: &[Seen]) -> Vec<&Seen> {
    let is_bulk = |seen: &Seen| seen.spot.helper.as_deref() == Some(FILLS_A_COPY) && seen.call.contains("write");
    let rows = seen.chunk_by(|one, next| is_bulk(one) == is_bulk(next));
    rows.flat_map(|row| {
        let all = !is_bulk(&row[0]);
        let counts = move |at: usize| all || at < ENDS || at + ENDS >= row.len() || at.is_multiple_of(EACH);
        row.iter().enumerate().filter(move |(at, _)| counts(*at)).map(|(_, seen)| seen)
    })
    .collect()
}

/// Runs a command to its end and answers what it did, how it ended and what it said.
#[expect(clippy::zombie_processes, reason = "the tracer waits for it and for all that it starts")]
pub fn run(command: &Command, aim: Option<&Aim>) -> (Trace, ExitStatus, String) {
    let said = tempfile::NamedTempFile::new_in(command.get_current_dir().unwrap()).unwrap();
    // It begins once it is watched.
    let mut gate = Command::new("/bin/sh");
    gate.args(["-c", "read go; exec \"$@\" </dev/null", "gate"]).arg(command.get_program()).args(command.get_args());
    gate.current_dir(command.get_current_dir().unwrap()).env_clear();
    gate.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let append = fs::OpenOptions::new().append(true).open(said.path()).unwrap();
    gate.stdin(Stdio::piped()).stdout(append.try_clone().unwrap()).stderr(append);
    let mut child = gate.spawn().unwrap();
    let root = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let mut tracer = Tracer::new(root, aim.cloned());
    tracer.seize_all();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"go\n").unwrap();
    tracer.follow();
    let status = tracer.ended.expect("the command has ended");
    let said = fs::read_to_string(said.path()).unwrap_or_default();
    (tracer.taken(), status, said)
}

/// A running server under the tracer.
pub struct Watch {
    pid: Pid,
    armed: Arc<AtomicBool>,
    trace: Arc<Mutex<Trace>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Gets hold of every thread; from now on calls count.
    pub fn on(pid: u32, aim: Option<&Aim>) -> Self {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap());
        let (held, begin) = mpsc::channel();
        let aim = aim.cloned();
        let thread = std::thread::spawn(move || {
            // Only the thread that seized it may let it go on.
            let mut tracer = Tracer::new(pid, aim);
            tracer.seize_all();
            held.send((tracer.armed.clone(), tracer.trace.clone())).unwrap();
            tracer.follow();
        });
        let (armed, trace) = begin.recv().expect("the tracer gets hold of every thread");
        armed.store(true, Ordering::SeqCst);
        Self { pid, armed, trace, thread: Some(thread) }
    }

    /// What was seen since the last time; counting begins anew.
    pub fn take(&self) -> Trace {
        std::mem::take(&mut *self.trace.lock().unwrap())
    }

    /// Kills what is left of the server and answers what was seen. Its zombie is gone then: `Serving::seen_to_end`.
    pub fn end(mut self) -> Trace {
        self.finish();
        self.take()
    }

    fn finish(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.armed.store(false, Ordering::SeqCst);
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = thread.join();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Follows one tree of processes, from the thread that made it.
struct Tracer {
    root: Pid,
    aim: Option<Aim>,
    armed: Arc<AtomicBool>,
    trace: Arc<Mutex<Trace>>,
    /// Threads with their process.
    threads: BTreeMap<Pid, Pid>,
    /// A process's program, when it is a helper's.
    helpers: BTreeMap<Pid, String>,
    /// Threads that are in a call.
    inside: BTreeSet<Pid>,
    /// A thread whose call is to answer an error.
    failing: Option<(Pid, Errno)>,
    /// Whether the call aimed at was struck.
    over: bool,
    ended: Option<ExitStatus>,
}

impl Tracer {
    fn new(root: Pid, aim: Option<Aim>) -> Self {
        let (armed, trace, threads, helpers, inside) = Default::default();
        Self { root, aim, armed, trace, threads, helpers, inside, failing: None, over: false, ended: None }
    }

    fn taken(self) -> Trace {
        std::mem::take(&mut *self.trace.lock().unwrap())
    }

    /// Every thread that is there, until a look finds none that is new; whatever they start is followed by itself.
    fn seize_all(&mut self) {
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACEEXEC;
        loop {
            let mut news = false;
            for task in fs::read_dir(format!("/proc/{}/task", self.root)).unwrap().flatten() {
                let thread = Pid::from_raw(task.file_name().to_str().unwrap().parse().unwrap());
                if self.threads.contains_key(&thread) {
                    continue;
                }
                news = true;
                self.threads.insert(thread, self.root);
                // One that a seized thread has started meanwhile is held already.
                if ptrace::seize(thread, options).is_ok() {
                    let _ = ptrace::interrupt(thread);
                }
            }
            if !news {
                return;
            }
        }
    }

    /// Until nobody is left.
    fn follow(&mut self) {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::PtraceSyscall(thread)) => {
                    self.at_call(thread);
                    self.go_on(thread, None);
                }
                Ok(WaitStatus::PtraceEvent(thread, _, event)) => {
                    if event == libc::PTRACE_EVENT_EXEC && !self.at_exec(thread) {
                        let _ = ptrace::detach(thread, None);
                    } else {
                        self.go_on(thread, None);
                    }
                }
                Ok(WaitStatus::Stopped(thread, signal)) => self.go_on(thread, Some(signal)),
                Ok(status @ (WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..))) => {
                    self.threads.remove(&thread);
                    if thread == self.root {
                        self.ended = Some(status_of(status));
                    }
                }
                Ok(_) => {}
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    /// To its next call; after the blow without a stop, but for the one thread whose call is still to answer: what follows is nobody's question and
    /// takes a tenth of the time.
    fn go_on(&mut self, thread: Pid, signal: Option<Signal>) {
        let still = self.failing.is_some_and(|(failing, _)| failing == thread);
        let _ = if self.over && !still { ptrace::cont(thread, signal) } else { ptrace::syscall(thread, signal) };
    }

    fn process(&mut self, thread: Pid) -> Pid {
        *self.threads.entry(thread).or_insert_with(|| {
            let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
            line.and_then(|pid| pid.trim().parse().ok()).map_or(thread, Pid::from_raw)
        })
    }

    /// Whether the program that begins is to be watched: all in search of points, else only the one aimed at.
    fn at_exec(&mut self, thread: Pid) -> bool {
        if thread == self.root {
            self.armed.store(true, Ordering::SeqCst);
            return true;
        }
        let name = fs::read_to_string(format!("/proc/{thread}/comm")).unwrap_or_default().trim().to_owned();
        let watched = !self.over && self.aim.as_ref().is_none_or(|aim| aim.seen.spot.helper.as_ref() == Some(&name));
        self.threads.insert(thread, thread);
        self.helpers.insert(thread, name);
        watched
    }

    fn at_call(&mut self, thread: Pid) {
        // A stop before a call and one after it take turns.
        if !self.inside.insert(thread) {
            self.inside.remove(&thread);
            if let Some((_, errno)) = self.failing.take_if(|(failing, _)| *failing == thread) {
                answer(thread, errno);
            }
            return;
        }
        if self.over || !self.armed.load(Ordering::SeqCst) {
            return;
        }
        let Some((call, passive)) = effect(thread) else { return };
        let process = self.process(thread);
        let helper =
            (process != self.root).then(|| self.helpers.get(&process).cloned().unwrap_or_else(|| "a child".to_owned()));
        let mut trace = self.trace.lock().unwrap();
        let (effects, looks) = trace.counts.entry(helper.clone()).or_default();
        let spot = Spot { helper, effects: *effects, passive: passive.then_some(*looks) };
        if passive {
            *looks += 1;
        } else {
            (*effects, *looks) = (*effects + 1, 0);
        }
        // Threads do not take turns alike twice: what was in front of the spot in one run may be behind it in another.
        let come = |aim: &mut Aim| {
            let worth = !matches!(aim.blow, Blow::Fail(_)) || !NEVER_REFUSED.contains(&call);
            worth && spot.helper == aim.seen.spot.helper && spot.order() >= aim.seen.spot.order()
        };
        let Some(Aim { blow, .. }) = self.aim.take_if(come) else {
            trace.seen.push(Seen { call, spot });
            return;
        };
        trace.struck = true;
        self.over = true;
        drop(trace);
        match blow {
            Blow::KillOne => {
                let _ = kill(process, Signal::SIGKILL);
            }
            Blow::KillAll => {
                let all: BTreeSet<Pid> =
                    self.threads.values().copied().filter(|&process| self.is_ours(process)).collect();
                for process in all {
                    let _ = kill(process, Signal::SIGKILL);
                }
            }
            Blow::Fail(errno) => {
                skip(thread);
                self.failing = Some((thread, errno));
            }
        }
    }

    /// Whether a number still is that of the tree's own process: a helper that is not watched may be gone, and its number another's.
    fn is_ours(&self, process: Pid) -> bool {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        process == self.root || status.lines().any(|line| line == format!("PPid:\t{}", self.root))
    }
}

fn status_of(status: WaitStatus) -> ExitStatus {
    use std::os::unix::process::ExitStatusExt;
    match status {
        WaitStatus::Exited(_, code) => ExitStatus::from_raw(code << 8),
        WaitStatus::Signaled(_, signal, _) => ExitStatus::from_raw(signal as i32),
        other => panic!("{other:?} is no end"),
    }
}

/// The number of no system call, so that the kernel makes none.
fn skip(thread: Pid) {
    let mut registers = ptrace::getregs(thread).unwrap();
    registers.orig_rax = u64::MAX;
    ptrace::setregs(thread, registers).unwrap();
}

fn answer(thread: Pid, errno: Errno) {
    let mut registers = ptrace::getregs(thread).unwrap();
    registers.rax = (-i64::from(errno as i32)).cast_unsigned();
    ptrace::setregs(thread, registers).unwrap();
}

/// The call that a stopped thread is about to make, if it can have an effect or is the kind that one waits for, and whether it is passive.
fn effect(thread: Pid) -> Option<(&'static str, bool)> {
    let registers = ptrace::getregs(thread).ok()?;
    let number = registers.orig_rax.cast_signed();
    let argument = |at: usize| [registers.rdi, registers.rsi, registers.rdx][at];
    let (_, call) = CALLS.iter().find(|(found, _)| *found == number)?;
    let passive = match *call {
        "close" | "exit_group" => true,
        "open" => reads(argument(1)),
        "openat" => reads(argument(2)),
        // The flags are the first word of a structure.
        "openat2" => {
            ptrace::read(thread, argument(2) as ptrace::AddressType).is_ok_and(|flags| reads(flags.cast_unsigned()))
        }
        "ioctl" => LOOKS.contains(&(argument(1) & 0xffff_ffff)),
        "write" | "pwrite64" | "writev" => speaks(thread, argument(0)),
        _ => false,
    };
    Some((call, passive))
}

/// Whether these flags of an open make, cut and write nothing.
fn reads(flags: u64) -> bool {
    let writes = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;
    flags & u64::try_from(libc::O_PATH).unwrap() != 0 || flags & u64::try_from(writes).unwrap() == 0
}

/// Whether a descriptor leads to a person, a peer or another thread, and to no file.
fn speaks(thread: Pid, descriptor: u64) -> bool {
    let link = fs::read_link(format!("/proc/{thread}/fd/{descriptor}")).unwrap_or_default();
    descriptor <= 2 || ["anon_inode:", "socket:"].iter().any(|kind| link.to_string_lossy().starts_with(kind))
}

/// ioctls that only look: of loops, block devices, terminals, extents and flags of files.
const LOOKS: [u64; 14] = [
    0x4c05,
    0x4c03,
    0x5401,
    0x5413,
    0x540f,
    0x1260,
    0x8008_1272,
    0x1268,
    0x1278,
    0x127b,
    0x125e,
    0x8004_127c,
    0xc020_660b,
    0x8008_6601,
];

/// Every call with an effect, and those after which a kill is interesting.
const CALLS: [(i64, &str); 53] = [
    (libc::SYS_mkdir, "mkdir"),
    (libc::SYS_mkdirat, "mkdirat"),
    (libc::SYS_mknodat, "mknodat"),
    (libc::SYS_ftruncate, "ftruncate"),
    (libc::SYS_fallocate, "fallocate"),
    (libc::SYS_write, "write"),
    (libc::SYS_pwrite64, "pwrite64"),
    (libc::SYS_writev, "writev"),
    (libc::SYS_pwritev, "pwritev"),
    (libc::SYS_sendfile, "sendfile"),
    (libc::SYS_copy_file_range, "copy_file_range"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_syncfs, "syncfs"),
    (libc::SYS_rename, "rename"),
    (libc::SYS_renameat, "renameat"),
    (libc::SYS_renameat2, "renameat2"),
    (libc::SYS_unlink, "unlink"),
    (libc::SYS_unlinkat, "unlinkat"),
    (libc::SYS_rmdir, "rmdir"),
    (libc::SYS_linkat, "linkat"),
    (libc::SYS_symlinkat, "symlinkat"),
    (libc::SYS_fsetxattr, "fsetxattr"),
    (libc::SYS_lsetxattr, "lsetxattr"),
    (libc::SYS_setxattr, "setxattr"),
    (libc::SYS_fchown, "fchown"),
    (libc::SYS_lchown, "lchown"),
    (libc::SYS_chmod, "chmod"),
    (libc::SYS_fchmodat, "fchmodat"),
    (libc::SYS_symlink, "symlink"),
    (libc::SYS_link, "link"),
    (libc::SYS_clone, "clone"),
    (libc::SYS_fork, "fork"),
    (libc::SYS_exit_group, "exit_group"),
    (libc::SYS_fchownat, "fchownat"),
    (libc::SYS_fchmod, "fchmod"),
    (libc::SYS_ioctl, "ioctl"),
    (libc::SYS_fsopen, "fsopen"),
    (libc::SYS_fsconfig, "fsconfig"),
    (libc::SYS_fsmount, "fsmount"),
    (libc::SYS_open_tree, "open_tree"),
    (libc::SYS_mount_setattr, "mount_setattr"),
    (libc::SYS_move_mount, "move_mount"),
    (libc::SYS_mount, "mount"),
    (libc::SYS_umount2, "umount2"),
    (libc::SYS_execve, "execve"),
    (libc::SYS_vfork, "vfork"),
    (libc::SYS_clone3, "clone3"),
    (libc::SYS_flock, "flock"),
    (libc::SYS_open, "open"),
    (libc::SYS_openat, "openat"),
    (libc::SYS_openat2, "openat2"),
    (libc::SYS_close, "close"),
];
