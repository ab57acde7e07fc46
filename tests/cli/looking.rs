//! The first promise, held against the kernel: commands that look change nothing. Every system call they make, in every thread,
//! has to be one that cannot change anything; a call that is not known here fails the test rather than passing unseen.

use std::fs;
use std::process::Command;

use crate::support::Place;

/// Calls that touch nothing but the process itself, or only read.
const HARMLESS: &[&str] = &[
    "access",
    "arch_prctl",
    "brk",
    "clock_gettime",
    "clock_nanosleep",
    "clone",
    "clone3",
    "close",
    "close_range",
    "dup",
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "eventfd2",
    "execve",
    "exit",
    "exit_group",
    "faccessat2",
    "fgetxattr",
    "flistxattr",
    "fstat",
    "fstatfs",
    "futex",
    "getcwd",
    "getdents64",
    "getegid",
    "geteuid",
    "getgid",
    "getpid",
    "getrandom",
    "gettid",
    "getuid",
    "getxattr",
    "lgetxattr",
    "listmount",
    "llistxattr",
    "lseek",
    "lstat",
    "madvise",
    "membarrier",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "newfstatat",
    "pipe2",
    "poll",
    "ppoll",
    "pread64",
    "prlimit64",
    "read",
    "readlink",
    "readlinkat",
    "readv",
    "restart_syscall",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    "sigaltstack",
    "stat",
    "statfs",
    "statmount",
    "statx",
    "sysinfo",
    "uname",
    // statmount and listmount, to a strace that is older than they are.
    "syscall_0x1c9",
    "syscall_0x1ca",
];

/// Requests of `ioctl` that only ask; the last two are one, which strace has no name for yet.
const ASKING: &[&str] = &[
    "TCGETS",
    "TIOCGWINSZ",
    "LOOP_GET_STATUS64",
    "BLKGETSIZE64",
    "BLKSSZGET",
    "BLKROGET",
    "FS_IOC_FSGETXATTR",
    "NS_GET_MNTNS_ID",
    "_IOC(_IOC_READ, 0xb7, 0x5, 0x8)",
];

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Words in the arguments of an open that make it one for writing.
const WRITING: &[&str] = &["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND", "O_TMPFILE"];

const MANIFEST: &str = r#"
version = 1
project = "looked"
[pools.main]
path = "./pool"
limit = "4GiB"
[volumes.live]
capacity = "64MiB"
access_mode = "single-node-multi-writer"
image = { allocate = "sparse" }
[volumes.copy]
capacity = "64MiB"
image = { allocate = "sparse" }
source = { snapshot = "once" }
[volumes.raw]
volume_mode = "block"
capacity = "8MiB"
[volumes.files]
directory = { path = "./files", create = true }
[volumes.scratch]
tmpfs = { size = "4MiB" }
[snapshots.once]
volume = "live"
[pods.app]
root = "./root"
[[pods.app.mounts]]
volume = "live"
path = "/live"
[[pods.app.mounts]]
volume = "files"
path = "/files"
[[pods.app.mounts]]
volume = "scratch"
path = "/scratch"
[[pods.app.devices]]
volume = "raw"
path = "/dev/raw"
"#;

/// What in this line of strace's log could change something.
fn mutates(line: &str) -> bool {
    let Some((_, rest)) = line.split_once(char::is_whitespace) else { return false };
    let rest = rest.trim_start();
    if rest.starts_with("+++") || rest.starts_with("---") || rest.starts_with("<...") {
        return false;
    }
    let Some((call, arguments)) = rest.split_once('(') else { return true };
    match call {
        "open" | "openat" | "openat2" => WRITING.iter().any(|flag| arguments.contains(flag)),
        "ioctl" => !arguments.split_once(", ").is_some_and(|(_, request)| {
            let asks = |asking: &&str| request.strip_prefix(*asking).is_some_and(|rest| !rest.starts_with(is_word));
            ASKING.iter().any(asks)
        }),
        "write" | "writev" => !(arguments.starts_with("1, ") || arguments.starts_with("2, ")),
        "fcntl" => !["F_GETFD", "F_SETFD", "F_GETFL"].iter().any(|command| arguments.contains(command)),
        _ => !HARMLESS.contains(&call),
    }
}

/// Runs csictl below strace; its exit code and every call that could change something.
fn effects(place: &Place, words: &[&str]) -> (i32, Vec<String>) {
    let log = place.join("strace.log");
    let command = place.csictl();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o"]).arg(&log).arg(command.get_program()).args(words).current_dir(place.path());
    for (name, value) in command.get_envs() {
        strace.envs(value.map(|value| (name, value)));
    }
    let status = strace.stdin(std::process::Stdio::null()).output().expect("strace is installed: make test").status;
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("execve("), "strace saw nothing of {words:?}");
    (status.code().unwrap(), log.lines().filter(|line| mutates(line)).map(str::to_owned).collect())
}

#[test]
fn looking_makes_no_system_call_that_could_change_anything() {
    let place = Place::new();
    place.write("looked.toml", MANIFEST);
    place.write("grown.toml", &MANIFEST.replacen("64MiB", "96MiB", 1).replace("8MiB", "16MiB"));
    place.write("less.toml", "version = 1\nproject = \"looked\"\n");
    let looks: &[(&[&str], i32)] = &[
        (&["validate", "looked.toml"], 0),
        (&["plan", "looked.toml"], 0),
        (&["plan", "looked.toml", "--detailed-exitcode", "-o", "json"], 2),
        (&["status"], 0),
    ];
    for (words, code) in looks {
        assert_eq!(effects(&place, words), (*code, vec![]), "{words:?} on a bare machine");
    }
    assert!(!place.state().exists() && !place.run().exists() && !place.join("pool").exists());

    place.ok(&["apply", "looked.toml", "--yes"]);
    let looks: &[(&[&str], i32)] = &[
        (&["plan", "looked.toml"], 0),
        (&["plan", "grown.toml", "-o", "dot"], 0),
        (&["plan", "less.toml", "-o", "mermaid"], 0),
        (&["plan", "looked.toml", "--destroy"], 0),
        (&["status", "looked.toml", "--check"], 0),
        (&["get", "volumes", "-o", "wide"], 0),
        (&["get", "mounts"], 0),
        (&["tree"], 0),
        (&["snapshot", "list"], 0),
        (&["state", "export"], 0),
        (&["gc", "--dry-run"], 0),
    ];
    for (words, code) in looks {
        assert_eq!(effects(&place, words), (*code, vec![]), "{words:?} on what is up");
    }
    // Drift: a mount that is gone, and one that lost its rights.
    nix::mount::umount(&place.join("root/files")).unwrap();
    for words in [&["plan", "looked.toml"][..], &["plan", "looked.toml", "-o", "json"]] {
        assert_eq!(effects(&place, words), (0, vec![]), "{words:?} on what drifted");
    }
    place.ok(&["destroy", "looked.toml", "--yes"]);
}

#[test]
fn a_change_is_seen_by_this_test() {
    let place = Place::new();
    place.write(
        "looked.toml",
        "version = 1\nproject = \"looked\"\n[volumes.files]\ndirectory = { path = \"./files\", create = true }\n",
    );
    let (code, seen) = effects(&place, &["apply", "looked.toml", "--yes"]);
    assert_eq!(code, 0);
    assert!(seen.iter().any(|call| call.contains("mkdir")), "{seen:#?}");
    place.ok(&["destroy", "looked.toml", "--yes"]);
}
