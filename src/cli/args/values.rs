//! The values flags take, with how each is read from text.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::model::Loss;

/// The most steps at once; beyond a few dozen threads only wait for each other.
const PARALLELISM_MAX: usize = 1024;

/// When to color.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ColorArg {
    /// On a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ProgressArg {
    /// Bars on a terminal, lines elsewhere
    #[default]
    Auto,
    /// Bars
    Tty,
    /// One line a step
    Plain,
    /// One JSON event a line
    Json,
    /// None
    None,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// What happens to other steps when one fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OnError {
    /// Begin no further step
    Stop,
    /// Go on with all that does not depend on it
    #[default]
    Continue,
}

/// Shells completions are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// Bash
    Bash,
    /// Zsh
    Zsh,
    /// fish
    Fish,
    /// Elvish
    Elvish,
    /// PowerShell
    #[value(name = "powershell", alias = "pwsh")]
    PowerShell,
}

impl Shell {
    /// As typed, and as clap_complete names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
            Self::Elvish => "elvish",
            Self::PowerShell => "powershell",
        }
    }

    /// The file name its users expect the script under.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Bash => "csictl.bash",
            Self::Zsh => "_csictl",
            Self::Fish => "csictl.fish",
            Self::Elvish => "csictl.elv",
            Self::PowerShell => "_csictl.ps1",
        }
    }
}

/// The sort of object an approval names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ApproveKind {
    /// `volume.NAME`
    Volume,
    /// `snapshot.NAME`
    Snapshot,
}

/// One `--approve`, not yet matched against a plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApproveArg {
    /// Volume or snapshot.
    pub kind: ApproveKind,
    /// Its name or id.
    pub name: String,
    /// The loss that is approved.
    pub loss: Loss,
}

/// Reads `volume.NAME=delete`, `volume.NAME=wipe` or `snapshot.NAME=delete`.
pub fn parse_approve(text: &str) -> Result<ApproveArg, String> {
    let form = "write volume.NAME=delete, volume.NAME=wipe or snapshot.NAME=delete";
    let (object, loss) = text.split_once('=').ok_or_else(|| format!("no '=': {form}"))?;
    let loss = match loss {
        "delete" => Loss::Delete,
        "wipe" => Loss::Wipe,
        other => return Err(format!("'{other}' is neither delete nor wipe: {form}")),
    };
    let (kind, name) = match object.split_once('.') {
        Some(("volume", name)) => (ApproveKind::Volume, name),
        Some(("snapshot", name)) => (ApproveKind::Snapshot, name),
        _ => return Err(format!("'{object}' names no object: {form}")),
    };
    if name.is_empty() || name.contains('*') {
        return Err(format!("an approval is for one object by its name: {form}"));
    }
    if kind == ApproveKind::Snapshot && loss == Loss::Wipe {
        return Err(format!("a snapshot is never wiped: {form}"));
    }
    Ok(ApproveArg { kind, name: name.to_owned(), loss })
}

/// Reads the name of a plan file to write; stdout has the plan as people read it.
pub fn parse_plan_file(text: &str) -> Result<PathBuf, String> {
    if text == "-" {
        return Err("the plan itself goes to stdout: name a file (./- for one of that name)".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// Reads `30s`, `500ms`, `2m`, `1h30m`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let error = || format!("'{text}' is no duration: write 500ms, 30s, 2m or 1h30m");
    let signed: jiff::SignedDuration = text.parse().map_err(|_| error())?;
    Duration::try_from(signed).map_err(|_| error())
}

/// Reads a number of steps.
pub fn parse_parallelism(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(n) if (1..=PARALLELISM_MAX).contains(&n) => Ok(n),
        _ => Err(format!("'{text}' is not a number from 1 to {PARALLELISM_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approval_names_one_object_and_one_loss() {
        let wipe = ApproveArg { kind: ApproveKind::Volume, name: "db".into(), loss: Loss::Wipe };
        assert_eq!(parse_approve("volume.db=wipe"), Ok(wipe));
        for bad in ["volume.db", "db=wipe", "volume.db=all", "volume.*=delete", "volume.=delete", "snapshot.a=wipe"] {
            assert!(parse_approve(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, millis) in [("30s", 30_000), ("500ms", 500), ("2m", 120_000), ("1h30m", 5_400_000), ("0s", 0)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "30", "-1s", "soon"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn parallelism_is_at_least_one() {
        assert_eq!(parse_parallelism("4"), Ok(4));
        for bad in ["0", "-1", "1000000", "many"] {
            assert!(parse_parallelism(bad).is_err(), "{bad}");
        }
    }
}
