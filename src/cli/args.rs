//! The command line as typed: every flag, argument and environment variable, and nothing of what they mean. Meaning is
//! given to them in `context.rs` and in the commands. Help, shell completions and man pages are made from these types.

mod commands;
#[cfg(feature = "serve")]
mod csi;
mod global;
#[cfg(feature = "serve")]
mod serve;
pub mod values;

use clap::{Parser, Subcommand};

pub use commands::{
    ApplyArgs, CompletionsArgs, DeleteArgs, DestroyArgs, ExpandArgs, ExplainArgs, GcArgs, GetArgs, GetKind, InitArgs,
    ManArgs, PlanArgs, RunArgs, SnapshotArgs, SnapshotCommand, StateArgs, StateCommand, StatusArgs, ValidateArgs,
    WhoArgs,
};
#[cfg(feature = "serve")]
pub use csi::{CsiArgs, CsiCall};
pub use global::{Global, Output};
#[cfg(feature = "serve")]
pub use serve::{ModeArg, ServeArgs};
pub use values::{ApproveArg, ApproveKind, ColorArg, LogFormat, OnError, ProgressArg, Shell};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "csictl",
    version,
    about = "Declare volumes and pods in TOML, see the plan, apply it on real loop devices and mounts",
    after_help = TOP_EXAMPLES,
    after_long_help = TOP_LONG,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// Flags that work with every command, before or after it.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

const TOP_EXAMPLES: &str = "\
Examples:
  csictl init                     write a commented manifest to csictl.toml
  csictl plan csictl.toml         see what would change; nothing is touched
  csictl apply csictl.toml        do it, after asking
  csictl status                   every volume: phase, device, size, use, drift
  csictl destroy csictl.toml      take it down; data is kept

'csictl COMMAND -h' has examples of each command, '--help' also the flags that all share.";

const TOP_LONG: &str = "\
Examples:
  csictl init                     write a commented manifest to csictl.toml
  csictl plan csictl.toml         see what would change; nothing is touched
  csictl apply csictl.toml        do it, after asking
  csictl status                   every volume: phase, device, size, use, drift
  csictl destroy csictl.toml      take it down; data is kept

Exit codes:
    0 done                                64 usage
    1 failed                              65 manifest invalid
    2 plan --detailed-exitcode: changes   69 a tool or kernel feature is missing
    3 the same, with data loss            77 privilege missing
    4 drift (status --check)             129 hung up
    5 refused by a guard                 130 interrupted
    6 partly applied                     143 terminated
    7 lock held by another csictl        100 + gRPC code: csi";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented starter manifest
    Init(InitArgs),
    /// Check a manifest and report every error in it
    Validate(ValidateArgs),
    /// Show what would change and why; changes nothing
    Plan(PlanArgs),
    /// Bring the machine to what a manifest says
    Apply(ApplyArgs),
    /// Take down what a manifest declares; data is kept
    Destroy(DestroyArgs),
    /// Phase, device, size, use and drift of each volume
    Status(StatusArgs),
    /// Tables of volumes, pods, snapshots or mounts
    Get(GetArgs),
    /// Pod, path, stage, device and image as a tree
    #[command(after_help = "Examples:\n  csictl tree\n  csictl tree -o json")]
    Tree,
    /// Take, list, delete and restore snapshots
    Snapshot(SnapshotArgs),
    /// Grow a volume, online where that is possible
    Expand(ExpandArgs),
    /// Delete a released or gRPC-made volume and its data
    Delete(DeleteArgs),
    /// Which processes keep a mount or device busy
    Who(WhoArgs),
    /// Find and remove what crashed runs left behind
    Gc(GcArgs),
    /// Check kernel, tools and permissions, with a fix for each finding
    #[command(after_help = "Examples:\n  csictl doctor\n  csictl doctor -o json")]
    Doctor,
    /// Serve the engine as a CSI driver, for Kubernetes and Nomad
    #[cfg(feature = "serve")]
    Serve(ServeArgs),
    /// Call any CSI socket: a client for every RPC
    #[cfg(feature = "serve")]
    Csi(CsiArgs),
    /// Print the JSON Schema of the manifest, for editors
    #[command(after_help = "Examples:\n  csictl schema > csictl.schema.json")]
    Schema,
    /// Explain an error code at length
    Explain(ExplainArgs),
    /// Export or import all records as one JSON document
    State(StateArgs),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or write all of them into a directory
    Man(ManArgs),
    /// Print the version
    #[command(after_help = "Examples:\n  csictl version\n  csictl version -o json")]
    Version,
}

impl Command {
    /// Its name as typed.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Init(_) => "init",
            Self::Validate(_) => "validate",
            Self::Plan(_) => "plan",
            Self::Apply(_) => "apply",
            Self::Destroy(_) => "destroy",
            Self::Status(_) => "status",
            Self::Get(_) => "get",
            Self::Tree => "tree",
            Self::Snapshot(_) => "snapshot",
            Self::Expand(_) => "expand",
            Self::Delete(_) => "delete",
            Self::Who(_) => "who",
            Self::Gc(_) => "gc",
            Self::Doctor => "doctor",
            #[cfg(feature = "serve")]
            Self::Serve(_) => "serve",
            #[cfg(feature = "serve")]
            Self::Csi(_) => "csi",
            Self::Schema => "schema",
            Self::Explain(_) => "explain",
            Self::State(_) => "state",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
            Self::Version => "version",
        }
    }

    /// The output formats it has besides `text` and `json`.
    pub const fn more_outputs(&self) -> &'static [Output] {
        match self {
            Self::Plan(_) => &[Output::Dot, Output::Mermaid],
            Self::Get(_) => &[Output::Wide, Output::Name],
            _ => &[],
        }
    }
}
