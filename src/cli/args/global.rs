//! Flags that every command takes, before or after its name.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum, ValueHint};
use clap_complete::ArgValueCandidates;

use super::values::{ColorArg, LogFormat, ProgressArg, parse_duration, parse_parallelism};
use crate::cli::complete;

/// How results are written to stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// One JSON document
    Json,
    /// A Graphviz graph (plan)
    Dot,
    /// A Mermaid graph (plan)
    Mermaid,
    /// A table with more columns (get)
    Wide,
    /// Names only (get)
    Name,
}

impl Output {
    /// As typed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Dot => "dot",
            Self::Mermaid => "mermaid",
            Self::Wide => "wide",
            Self::Name => "name",
        }
    }
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Records and images
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "CSICTL_STATE_DIR",
        default_value = "/var/lib/csictl",
        hide_env_values = true,
        hide_short_help = true,
        value_hint = ValueHint::DirPath
    )]
    pub state_dir: PathBuf,

    /// What lasts until the next boot: staging mounts, publish records
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "CSICTL_RUN_DIR",
        default_value = "/run/csictl",
        hide_env_values = true,
        hide_short_help = true,
        value_hint = ValueHint::DirPath
    )]
    pub run_dir: PathBuf,

    /// Output format: text or json; plan also dot and mermaid, get also wide and name
    #[arg(
        short,
        long,
        global = true,
        value_name = "FMT",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        hide_default_value = true,
        add = ArgValueCandidates::new(complete::outputs)
    )]
    pub output: Output,

    /// Colors: auto, always or never [env: NO_COLOR, CLICOLOR_FORCE]
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        hide_short_help = true
    )]
    pub color: ColorArg,

    /// Progress on stderr: auto, tty, plain, json or none
    #[arg(
        long,
        global = true,
        value_name = "HOW",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        hide_short_help = true
    )]
    pub progress: ProgressArg,

    /// Steps run at once
    #[arg(
        long,
        global = true,
        value_name = "N",
        env = "CSICTL_PARALLELISM",
        default_value = "16",
        value_parser = parse_parallelism,
        hide_env_values = true,
        hide_short_help = true
    )]
    pub parallelism: usize,

    /// How long to wait for another csictl on the same volume
    #[arg(
        long,
        global = true,
        value_name = "DUR",
        default_value = "30s",
        value_parser = parse_duration,
        hide_short_help = true
    )]
    pub lock_timeout: Duration,

    /// Report steps that run longer than this, and end a mkfs that does [default: off]
    #[arg(long, global = true, value_name = "DUR", value_parser = parse_duration, hide_short_help = true)]
    pub step_timeout: Option<Duration>,

    /// Only results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose", hide_short_help = true)]
    pub quiet: bool,

    /// Say more; twice for still more [env: CSICTL_LOG]
    #[arg(short, long, global = true, action = ArgAction::Count, hide_short_help = true)]
    pub verbose: u8,

    /// Log format on stderr: text or json
    #[arg(
        long,
        global = true,
        value_name = "FMT",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        hide_short_help = true
    )]
    pub log_format: LogFormat,
}
