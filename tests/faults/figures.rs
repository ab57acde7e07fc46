//! The figures of a row of the fault table: how many points were tried, how many converged, what was lost or leaked. Printed as a line that
//! `scripts/test faults` gathers into a table; a row that does not reach 100 %, 0, 0, 0 fails its test with every reason.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// What the oracle found after one fault.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Everything that is not as it has to be, in words.
    pub wrong: Vec<String>,
    /// Bytes of canaries that are gone or changed.
    pub lost_bytes: usize,
    pub leaked_loops: usize,
    pub leaked_mounts: usize,
}

impl Verdict {
    /// Notes something unless it holds.
    pub fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(otherwise());
        }
    }
}

impl Verdict {
    /// A try that could not be judged to its end.
    fn failed(panic: &(dyn std::any::Any + Send)) -> Self {
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Self { wrong: vec![said.unwrap_or("it panicked").to_owned()], ..Self::default() }
    }
}

/// Points tried at once: in the long form several, since most of a try is waiting.
fn workers() -> usize {
    let asked = std::env::var("CSICTL_FAULTS_WORKERS").ok().and_then(|number| number.parse().ok());
    if std::env::var_os("CSICTL_SWEEP").is_some() { asked.unwrap_or(6) } else { 1 }
}

/// A row in the making.
pub struct Figures {
    row: String,
    tried: usize,
    converged: usize,
    lost_bytes: usize,
    leaked_loops: usize,
    leaked_mounts: usize,
    wrong: String,
    /// Points that no run came to.
    missed: usize,
    begun: Instant,
}

impl Figures {
    pub fn of(row: impl Into<String>) -> Self {
        let row = row.into();
        let (tried, converged, lost_bytes, leaked_loops, leaked_mounts, wrong, missed) = Default::default();
        Self { row, tried, converged, lost_bytes, leaked_loops, leaked_mounts, wrong, missed, begun: Instant::now() }
    }

    pub fn add(&mut self, context: &str, verdict: &Verdict) {
        self.tried += 1;
        self.converged += usize::from(verdict.wrong.is_empty());
        self.lost_bytes += verdict.lost_bytes;
        self.leaked_loops += verdict.leaked_loops;
        self.leaked_mounts += verdict.leaked_mounts;
        for reason in &verdict.wrong {
            writeln!(self.wrong, "{context}: {reason}").unwrap();
        }
    }

    /// Tries every point, several at once in places and mount namespaces of their own. A try that answers nothing did not come to its point: it
    /// counts as none, and more than a quarter of them fails the row.
    #[track_caller]
    pub fn over<T: Sync>(self, points: &[T], try_one: impl Fn(&T) -> Option<(String, Verdict)> + Sync) -> Self {
        let (next, missed, row) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(self));
        std::thread::scope(|scope| {
            for _ in 0..workers().min(points.len()) {
                scope.spawn(|| {
                    while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                        // What threads did between two of their steps need not come again: once more is often enough.
                        let once = || catch_unwind(AssertUnwindSafe(|| try_one(point)));
                        let first = once();
                        let tried = if matches!(first, Ok(None)) { once() } else { first };
                        let (context, verdict) = match tried {
                            Ok(Some(tried)) => tried,
                            Ok(None) => {
                                missed.fetch_add(1, Ordering::Relaxed);
                                continue;
                            }
                            Err(panic) => ("a try".to_owned(), Verdict::failed(&*panic)),
                        };
                        row.lock().unwrap().add(&context, &verdict);
                    }
                });
            }
        });
        let mut row = row.into_inner().unwrap();
        row.missed = missed.into_inner();
        let missed = row.missed;
        let enough = missed * 4 <= points.len();
        if !enough {
            writeln!(row.wrong, "{missed} of {} points were not come to", points.len()).unwrap();
        }
        row
    }

    /// Prints the row and fails unless it reached its figures.
    #[track_caller]
    pub fn end(self) {
        let wrong = self.told();
        assert!(wrong.is_empty(), "{wrong}");
    }

    /// Prints the row and answers what is wrong, so that others are tried before that fails.
    #[expect(clippy::print_stderr, reason = "the figures are what the long form is run for")]
    pub fn told(self) -> String {
        assert!(self.tried > 0, "{}: nothing was tried", self.row);
        let line = format!(
            "{}\t{}\t{}\t{}\t{}\t{}",
            self.row, self.tried, self.converged, self.lost_bytes, self.leaked_loops, self.leaked_mounts
        );
        let (row, missed) = (line.replace('\t', " | "), self.missed);
        eprintln!("faults: {row} ({:.0?}, {missed} not come to)", self.begun.elapsed());
        if let Some(table) = std::env::var_os("CSICTL_FAULTS_TABLE") {
            writeln!(OpenOptions::new().create(true).append(true).open(table).unwrap(), "{line}").unwrap();
        }
        if self.wrong.is_empty() {
            return String::new();
        }
        format!("{}: {} of {} converged\n{}", self.row, self.converged, self.tried, self.wrong)
    }
}

/// A spread sample of the points, as many as asked for. `CSICTL_SWEEP=full` takes all, a number at most as many.
pub fn sample<T>(points: Vec<T>, usual: usize) -> Vec<T> {
    let wanted = match std::env::var("CSICTL_SWEEP").ok().as_deref() {
        Some("full") => return points,
        Some(number) => number.parse().unwrap_or(usual),
        None => usual,
    };
    let all = points.len();
    // The middle of each of as many parts, so that neither the first nor the last stands for a part.
    let chosen: std::collections::BTreeSet<usize> =
        (0..wanted.min(all)).map(|part| (2 * part + 1) * all / (2 * wanted.min(all))).collect();
    points.into_iter().enumerate().filter(|(index, _)| chosen.contains(index)).map(|(_, point)| point).collect()
}

/// How many rounds: few in an ordinary run, many in the long form.
pub fn rounds(usual: usize, full: usize) -> usize {
    if std::env::var_os("CSICTL_SWEEP").is_some_and(|sweep| sweep == "full") { full } else { usual }
}
