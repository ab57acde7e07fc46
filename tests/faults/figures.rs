//! The figures of a row of the fault table: how many points were tried, how many converged, what was lost or leaked. Printed as a line that
//! `scripts/test faults` gathers into a table; a row that does not reach 100 %, 0, 0, 0 fails its test with every reason.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;

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

/// A row in the making.
pub struct Figures {
    row: String,
    tried: usize,
    converged: usize,
    lost_bytes: usize,
    leaked_loops: usize,
    leaked_mounts: usize,
    wrong: String,
}

impl Figures {
    pub fn of(row: impl Into<String>) -> Self {
        let row = row.into();
        Self { row, tried: 0, converged: 0, lost_bytes: 0, leaked_loops: 0, leaked_mounts: 0, wrong: String::new() }
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

    /// Prints the row and fails unless it reached its figures.
    #[track_caller]
    #[expect(clippy::print_stderr, reason = "the figures are what the long form is run for")]
    pub fn end(self) {
        assert!(self.tried > 0, "{}: nothing was tried", self.row);
        let line = format!(
            "{}\t{}\t{}\t{}\t{}\t{}",
            self.row, self.tried, self.converged, self.lost_bytes, self.leaked_loops, self.leaked_mounts
        );
        eprintln!("faults: {}", line.replace('\t', " | "));
        if let Some(table) = std::env::var_os("CSICTL_FAULTS_TABLE") {
            writeln!(OpenOptions::new().create(true).append(true).open(table).unwrap(), "{line}").unwrap();
        }
        assert!(self.wrong.is_empty(), "{} of {} converged\n{}", self.converged, self.tried, self.wrong);
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
