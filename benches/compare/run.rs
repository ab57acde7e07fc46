//! Runs one command and measures it: wall time, and the peak memory of that process alone, which is why each command runs
//! under a copy of this program that does nothing else.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};
use std::time::Instant;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{UsageWho, getrusage};

const COST: &str = "CSICTL_BENCH_COST";

/// What one run took.
pub struct Measured {
    pub seconds: f64,
    pub peak_mb: f64,
}

/// The inner half: this process is only here to run one command and say what it took.
pub struct Cost(Vec<String>);

impl Cost {
    pub fn requested() -> Option<Self> {
        std::env::var_os(COST).map(|_| Self(std::env::args().skip(1).collect()))
    }

    pub fn run_and_report(&self) -> ! {
        let start = Instant::now();
        let status = Command::new(&self.0[0])
            .args(&self.0[1..])
            .env_remove(COST)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        let seconds = start.elapsed().as_secs_f64();
        let peak = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
        println!("{seconds} {peak}");
        exit(status.code().unwrap_or(1));
    }
}

/// Runs a command that has to succeed.
pub fn measure(program: &Path, arguments: &[&str]) -> Measured {
    let me = std::env::current_exe().unwrap();
    let output = Command::new(me).arg(program).args(arguments).env(COST, "1").stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{} {arguments:?} failed:\n{said}", program.display());
    let text = String::from_utf8(output.stdout).unwrap();
    let (seconds, peak_kib) = text.trim().split_once(' ').unwrap();
    Measured { seconds: seconds.parse().unwrap(), peak_mb: peak_kib.parse::<f64>().unwrap() * 1024.0 / 1e6 }
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A mount namespace of our own, so that nothing we mount is seen outside, and a folder of our own.
pub fn private_folder() -> PathBuf {
    unshare(CloneFlags::CLONE_NEWNS).expect("benchmarks mount and attach: run them as root");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{}", std::process::id()));
    std::fs::create_dir_all(&root).unwrap();
    root
}

/// The machine in a line.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model =
        cpuinfo.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or("").trim_start_matches([' ', '\t', ':']);
    let cores = cpuinfo.lines().filter(|l| l.starts_with("processor")).count();
    let memory = read("/proc/meminfo").split_whitespace().nth(1).and_then(|k| k.parse::<u64>().ok()).unwrap_or(0) >> 20;
    format!("{cores} cores, {model}, {memory} GiB, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}
