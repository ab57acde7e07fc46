//! How fast the CSI driver is, over its real socket: whole lives of volumes (create, stage with its file system made, publish, unpublish,
//! unstage, delete) a second, the median of each RPC, lists of thousands, and whether calls get slower with the machine's mounts.
//! Works in a private mount namespace and a folder of its own below `target/`.
//!
//! usage (as root): cargo bench --bench lifecycle [-- --seconds N] [--only lives|lists|mounts]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../compare/run.rs"]
#[allow(dead_code)]
mod run;
mod server;
mod volume;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use server::Server;
use volume::{Kind, Rpc, Volume};

/// One line of the result.
struct Row {
    what: String,
    figure: f64,
    unit: &'static str,
    reach: Option<Reach>,
}

#[derive(Clone, Copy)]
enum Reach {
    AtLeast(f64),
    AtMost(f64),
}

impl Row {
    fn print(&self) {
        let (reach, verdict) = match self.reach {
            None => (String::new(), ""),
            Some(Reach::AtLeast(least)) => (format!("≥ {least}"), word(self.figure >= least)),
            Some(Reach::AtMost(most)) => (format!("≤ {most}"), word(self.figure <= most)),
        };
        println!("| {} | {:.2} {} | {reach} | {verdict} |", self.what, self.figure, self.unit);
    }
}

const fn word(reached: bool) -> &'static str {
    if reached { "reached" } else { "MISSED" }
}

/// What follows this option on the command line.
fn argument(option: &str) -> Option<String> {
    let mut arguments = std::env::args();
    arguments.by_ref().find(|a| a == option);
    arguments.next()
}

fn seconds() -> Duration {
    Duration::from_secs(argument("--seconds").and_then(|n| n.parse().ok()).unwrap_or(10))
}

type Times = BTreeMap<Rpc, Vec<f64>>;

/// Lives a second with this many callers, and how long each RPC took.
fn lives(root: &Path, kind: Kind, callers: usize, length: Duration) -> (f64, Times) {
    let server = Server::start(&root.join(format!("{}-{callers}", kind.name())));
    // The first life makes the template that later ones are copied from.
    Volume::new(&server, kind, "first").live().unwrap();
    let (number, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let times = Mutex::new(Times::new());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| {
                let client = server.another();
                while begun.elapsed() < length {
                    let name = format!("volume-{}", number.fetch_add(1, Ordering::Relaxed));
                    let life = Volume::new(&client, kind, &name).live().unwrap_or_else(|status| panic!("{status}"));
                    ended.fetch_add(1, Ordering::Relaxed);
                    let mut times = times.lock().unwrap();
                    for (rpc, took) in life {
                        times.entry(rpc).or_default().push(took);
                    }
                }
            });
        }
    });
    let rate = ended.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    (rate, times.into_inner().unwrap())
}

fn throughput(root: &Path, rows: &mut Vec<Row>, length: Duration) {
    for (kind, goal) in [(Kind::Ext4, 120.0), (Kind::Block, 200.0)] {
        for callers in [1, 8] {
            eprintln!("{} volumes, {callers} at a time", kind.name());
            let (rate, times) = lives(root, kind, callers, length);
            let reach = (callers == 8).then_some(Reach::AtLeast(goal));
            let what = format!("lives of {} volumes, {callers} at a time", kind.name());
            rows.push(Row { what, figure: rate, unit: "a second", reach });
            for (rpc, took) in times {
                let what = format!("… median of {}", rpc.name());
                rows.push(Row { what, figure: run::median(took.into_iter()) * 1e3, unit: "ms", reach: None });
            }
        }
    }
}

/// How long one ListVolumes of everything takes.
fn long_lists(root: &Path, rows: &mut Vec<Row>) {
    const VOLUMES: usize = 5000;
    eprintln!("a list of {VOLUMES} volumes");
    let server = Server::start(&root.join("list"));
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let client = server.another();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= VOLUMES {
                        return;
                    }
                    Volume::new(&client, Kind::Block, &format!("listed-{number}")).create().unwrap();
                }
            });
        }
    });
    let mut took = Vec::new();
    for _ in 0..21 {
        let begun = Instant::now();
        assert_eq!(server.list(), VOLUMES);
        took.push(begun.elapsed().as_secs_f64());
    }
    let figure = run::median(took.into_iter()) * 1e3;
    rows.push(Row {
        what: format!("ListVolumes of {VOLUMES}, as its caller sees it"),
        figure,
        unit: "ms",
        reach: None,
    });
    let figure = run::median(server.logged("ListVolumes").into_iter());
    let what = format!("ListVolumes of {VOLUMES}, in the server");
    rows.push(Row { what, figure, unit: "ms", reach: Some(Reach::AtMost(10.0)) });
}

/// NodePublishVolume and NodeGetVolumeStats beside 10 and beside 2,000 other mounts.
fn many_mounts(root: &Path, rows: &mut Vec<Row>) {
    let folder = root.join("mounts");
    std::fs::create_dir_all(&folder).unwrap();
    let server = Server::start(&root.join("published"));
    let volume = Volume::new(&server, Kind::Ext4, "published");
    volume.create().unwrap();
    volume.stage().unwrap();
    let measure = || {
        let (mut publish, mut stats) = (Vec::new(), Vec::new());
        for _ in 0..101 {
            publish.push(volume.timed(Rpc::Publish, Volume::publish));
            stats.push(volume.timed(Rpc::Stats, Volume::stats));
            volume.unpublish().unwrap();
        }
        (run::median(publish.into_iter()), run::median(stats.into_iter()))
    };
    let mut mounted = 0;
    let mut mount_up_to = |count: usize| {
        while mounted < count {
            let target = folder.join(mounted.to_string());
            std::fs::create_dir(&target).unwrap();
            let bind = nix::mount::MsFlags::MS_BIND;
            nix::mount::mount(Some(&folder), &target, None::<&str>, bind, None::<&str>).unwrap();
            mounted += 1;
        }
    };
    eprintln!("calls beside other mounts");
    mount_up_to(10);
    let few = measure();
    mount_up_to(2000);
    let many = measure();
    volume.unstage().unwrap();
    volume.delete().unwrap();
    let reach = Some(Reach::AtMost(1.5));
    for (what, few, many) in [("NodePublishVolume", few.0, many.0), ("NodeGetVolumeStats", few.1, many.1)] {
        let figure = |value: f64| value * 1e3;
        rows.push(Row { what: format!("{what} beside 10 mounts"), figure: figure(few), unit: "ms", reach: None });
        rows.push(Row { what: format!("{what} beside 2,000 mounts"), figure: figure(many), unit: "ms", reach: None });
        rows.push(Row { what: format!("{what}, 2,000 mounts : 10"), figure: many / few, unit: "", reach });
    }
}

/// The folder and all that is mounted in it, the latest first.
fn take_away(root: &Path) {
    let mounts = std::fs::read_to_string("/proc/thread-self/mounts").unwrap();
    let targets = mounts.lines().rev().filter_map(|line| line.split(' ').nth(1));
    for target in targets.filter(|target| Path::new(target).starts_with(root)) {
        nix::mount::umount(target).unwrap();
    }
    std::fs::remove_dir_all(root).unwrap();
}

fn main() {
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    let root = run::private_folder();
    let length = seconds();
    let mut rows = vec![];
    let only = argument("--only");
    let asked = |what: &str| only.as_deref().is_none_or(|only| only == what);
    if asked("lives") {
        throughput(&root, &mut rows, length);
    }
    if asked("lists") {
        long_lists(&root, &mut rows);
    }
    if asked("mounts") {
        many_mounts(&root, &mut rows);
    }
    take_away(&root);
    println!("{}\n", run::machine());
    println!("| what | figure | reach | |\n|---|---|---|---|");
    rows.iter().for_each(Row::print);
}
