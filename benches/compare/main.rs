//! Compares csictl with what it competes against, in one run and as ratios of medians, because a shared machine's milliseconds
//! mean nothing by themselves: a C program that makes the same system calls (`floor.c`), one that takes down with csictl's locks,
//! records and looks (`careful.c`), a shell script (`shell.sh`), findmnt, and `/bin/true`. Works in a private mount namespace and a
//! folder of its own below `target/`.
//!
//! usage (as root): cargo bench --bench compare [-- --rounds N]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod run;
mod workload;

use std::path::Path;

use run::{Cost, Measured, measure, median};
use workload::Workload;

/// One line of the result: what was measured, the figure, and what it should not pass, where that is promised.
struct Row {
    what: &'static str,
    figure: String,
    ratio: f64,
    reach: Option<f64>,
}

impl Row {
    fn ratio(what: &'static str, ours: f64, theirs: f64, reach: f64) -> Self {
        let figure = format!("{:.2} ms / {:.2} ms", ours * 1e3, theirs * 1e3);
        Self { what, figure, ratio: ours / theirs, reach: Some(reach) }
    }

    /// A ratio that only says where the time of another row goes.
    fn explaining(what: &'static str, one: f64, other: f64) -> Self {
        Self { reach: None, ..Self::ratio(what, one, other, 0.0) }
    }

    fn limit(what: &'static str, figure: f64, unit: &str, reach: f64) -> Self {
        Self { what, figure: format!("{figure:.1} {unit}"), ratio: figure, reach: Some(reach) }
    }
}

fn rounds() -> usize {
    let mut arguments = std::env::args();
    arguments.by_ref().find(|a| a == "--rounds");
    arguments.next().and_then(|n| n.parse().ok()).unwrap_or(3)
}

fn seconds(runs: &[Measured]) -> f64 {
    median(runs.iter().map(|run| run.seconds))
}

/// csictl, the floor and the shell, in turn, so that all see the same weather.
fn volumes_up_and_down(root: &Path, rows: &mut Vec<Row>, rounds: usize) {
    let few = Workload::new(root, 50);
    let small = Workload::new(root, 200);
    let large = Workload::new(root, 1000);
    let (mut up, mut down, mut up_large, mut down_large) = (vec![], vec![], vec![], vec![]);
    let (mut floor_up, mut floor_down, mut careful_down, mut shell_up) = (vec![], vec![], vec![], vec![]);
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        floor_up.push(small.floor("up"));
        floor_down.push(small.floor("down"));
        small.reset();
        up.push(small.csictl(&["apply", "--yes"]));
        down.push(small.csictl(&["destroy", "--yes"]));
        small.reset();
        small.csictl(&["apply", "--yes"]);
        careful_down.push(small.careful_down());
        small.reset();
        shell_up.push(few.shell("up"));
        few.shell("down");
        few.reset();
        if round < rounds.div_ceil(2) {
            up_large.push(large.csictl(&["apply", "--yes"]));
            if round == 0 {
                unchanged(&large, rows, rounds);
            }
            down_large.push(large.csictl(&["destroy", "--yes"]));
            large.reset();
        }
    }
    let per_volume = |runs: &[Measured], count: f64| seconds(runs) / count;
    rows.push(Row::ratio("apply 200 : C program, same calls, a mkfs each", seconds(&up), seconds(&floor_up), 1.15));
    rows.push(Row::ratio("destroy 200 : C program", seconds(&down), seconds(&floor_down), 1.3));
    let careful = seconds(&careful_down);
    rows.push(Row::explaining(
        "… of it: a C program with the same looks, locks, records : C program",
        careful,
        seconds(&floor_down),
    ));
    rows.push(Row::explaining("… of it: destroy 200 : that one", seconds(&down), careful));
    let shell = per_volume(&shell_up, 50.0);
    rows.push(Row::ratio("apply, a volume : shell script, a volume", per_volume(&up, 200.0), shell, 0.2));
    let at_1000 = per_volume(&up_large, 1000.0);
    rows.push(Row::ratio("apply, a volume at 1,000 : at 200", at_1000, per_volume(&up, 200.0), 1.3));
    let down_at_1000 = per_volume(&down_large, 1000.0);
    rows.push(Row::ratio("destroy, a volume at 1,000 : at 200", down_at_1000, per_volume(&down, 200.0), 1.3));
    rows.push(Row::limit("apply at 1,000, memory", peak(&up_large), "MB", 100.0));
}

fn peak(runs: &[Measured]) -> f64 {
    runs.iter().map(|run| run.peak_mb).fold(0.0, f64::max)
}

/// With a thousand volumes up: an apply that changes nothing, and status, against findmnt.
fn unchanged(large: &Workload, rows: &mut Vec<Row>, rounds: usize) {
    let (mut apply, mut status, mut findmnt) = (vec![], vec![], vec![]);
    for _ in 0..rounds {
        apply.push(large.csictl(&["apply", "--yes"]));
        status.push(large.csictl(&["status"]));
        findmnt.push(measure(Path::new("findmnt"), &["--json"]));
    }
    rows.push(Row::ratio("no-change apply at 1,000 : findmnt --json", seconds(&apply), seconds(&findmnt), 2.0));
    rows.push(Row::ratio("status at 1,000 : findmnt --json", seconds(&status), seconds(&findmnt), 2.0));
}

fn large_plan(root: &Path, rows: &mut Vec<Row>, rounds: usize) {
    let huge = Workload::new(root, 10_000);
    let runs: Vec<_> = (0..rounds).map(|_| huge.csictl(&["plan"])).collect();
    rows.push(Row::limit("plan of 10,000 volumes", seconds(&runs), "s", 1.0));
    rows.push(Row::limit("plan of 10,000 volumes, memory", peak(&runs), "MB", 200.0));
}

fn start_up(rows: &mut Vec<Row>) {
    let csictl = Path::new(workload::CSICTL);
    let (ours, theirs): (Vec<_>, Vec<_>) =
        (0..51).map(|_| (measure(csictl, &["version"]), measure(Path::new("/bin/true"), &[]))).unzip();
    let difference = (seconds(&ours) - seconds(&theirs)) * 1e3;
    rows.push(Row::limit("csictl version, slower than /bin/true by", difference, "ms", 5.0));
}

fn main() {
    if let Some(cost) = Cost::requested() {
        cost.run_and_report();
    }
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    let root = run::private_folder();
    let rounds = rounds();
    let mut rows = vec![];
    start_up(&mut rows);
    volumes_up_and_down(&root, &mut rows, rounds);
    large_plan(&root, &mut rows, rounds);
    std::fs::remove_dir_all(&root).unwrap();

    println!("{}\n", run::machine());
    println!("| what | figure (medians of {rounds}) | ratio or figure | reach | |\n|---|---|---|---|---|");
    for row in &rows {
        let (reach, verdict) = match row.reach {
            Some(reach) if row.ratio <= reach => (format!("≤ {reach}"), "reached"),
            Some(reach) => (format!("≤ {reach}"), "MISSED"),
            None => (String::new(), ""),
        };
        println!("| {} | {} | {:.2} | {reach} | {verdict} |", row.what, row.figure, row.ratio);
    }
}
