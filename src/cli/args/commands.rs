//! The arguments of each command, with the examples its help shows.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use clap_complete::ArgValueCandidates;

use super::values::{ApproveArg, OnError, Shell, parse_approve, parse_duration, parse_plan_file};
use crate::cli::complete;
use crate::model::Capacity;

/// For `init`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  csictl init\n  csictl init shop.toml")]
pub struct InitArgs {
    /// Where to write it; an existing file is never overwritten
    #[arg(default_value = "csictl.toml", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}

/// For `validate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  csictl validate shop.toml\n  csictl validate -o json shop.toml")]
pub struct ValidateArgs {
    /// The manifest; '-' reads stdin
    #[arg(value_hint = ValueHint::FilePath)]
    pub manifest: PathBuf,
}

/// For `plan`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  csictl plan shop.toml
  csictl plan shop.toml --detailed-exitcode     2: changes, 3: with data loss
  csictl plan shop.toml --out shop.plan         then: csictl apply shop.plan
  csictl plan shop.toml -o dot | dot -Tsvg > plan.svg")]
pub struct PlanArgs {
    /// The manifest; '-' reads stdin
    #[arg(value_hint = ValueHint::FilePath)]
    pub manifest: PathBuf,
    /// Exit 2 on changes, 3 when they lose data, 77 when something could not be read
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// Plan what 'destroy' would do
    #[arg(long)]
    pub destroy: bool,
    /// With --destroy: volumes whose data would go
    #[arg(
        long,
        value_name = "NAME",
        num_args = 1..,
        value_delimiter = ',',
        requires = "destroy",
        add = ArgValueCandidates::new(complete::volumes_of_manifest)
    )]
    pub delete_data: Vec<String>,
    /// Also write the plan to a file that 'apply' takes
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, value_parser = parse_plan_file)]
    pub out: Option<PathBuf>,
}

/// Flags of every command that runs steps.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Do not ask; never covers a loss of data
    #[arg(short, long)]
    pub yes: bool,
    /// After a failed step: stop, or continue with what does not depend on it
    #[arg(long, value_name = "HOW", value_enum, default_value_t, hide_possible_values = true)]
    pub on_error: OnError,
}

/// For `apply`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  csictl apply shop.toml
  csictl apply shop.toml --yes
  csictl apply shop.toml --approve volume.scratch=wipe
  csictl apply shop.toml --on-refusal continue  at boot: without a disk that is missing
  csictl apply shop.plan                        a file made by 'plan --out'")]
pub struct ApplyArgs {
    /// The manifest, or a plan file; '-' reads stdin
    #[arg(value_name = "MANIFEST|PLANFILE", value_hint = ValueHint::FilePath)]
    pub manifest: PathBuf,
    /// Asking and failing.
    #[command(flatten)]
    pub run: RunArgs,
    /// When a volume is refused: stop before the first step, or continue without it and exit 6
    #[arg(long, value_name = "HOW", value_enum, default_value = "stop", hide_possible_values = true)]
    pub on_refusal: OnError,
    /// Let one object lose its data: volume.NAME=delete or volume.NAME=wipe
    #[arg(long, value_name = "OBJECT=LOSS", value_parser = parse_approve, add = ArgValueCandidates::new(complete::approvals))]
    pub approve: Vec<ApproveArg>,
}

/// For `destroy`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  csictl destroy shop.toml                      unpublish, unstage, detach; data kept
  csictl destroy shop.toml --delete-data scratch cache")]
pub struct DestroyArgs {
    /// The manifest; '-' reads stdin
    #[arg(value_hint = ValueHint::FilePath)]
    pub manifest: PathBuf,
    /// Asking and failing.
    #[command(flatten)]
    pub run: RunArgs,
    /// Volumes whose data goes too; a protected one is refused
    #[arg(
        long,
        value_name = "NAME",
        num_args = 1..,
        value_delimiter = ',',
        add = ArgValueCandidates::new(complete::volumes_of_manifest)
    )]
    pub delete_data: Vec<String>,
}

/// For `status`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  csictl status                                 every project
  csictl status shop.toml --check               exit 4 on drift
  csictl status --watch")]
pub struct StatusArgs {
    /// Only what this manifest declares; '-' reads stdin
    #[arg(value_hint = ValueHint::FilePath)]
    pub manifest: Option<PathBuf>,
    /// Exit 4 when anything drifted; what should be up after a reboot is told by a manifest alone
    #[arg(long, conflicts_with = "watch")]
    pub check: bool,
    /// Show it again every DUR until interrupted [default: 2s]
    #[arg(long, value_name = "DUR", num_args = 0..=1, require_equals = true, default_missing_value = "2s", value_parser = parse_duration)]
    pub watch: Option<Duration>,
}

/// What `get` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GetKind {
    /// Volumes
    #[value(alias = "volume")]
    Volumes,
    /// Pods
    #[value(alias = "pod")]
    Pods,
    /// Snapshots
    #[value(alias = "snapshot")]
    Snapshots,
    /// Staging and publish mounts
    #[value(alias = "mount")]
    Mounts,
}

/// For `get`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  csictl get volumes
  csictl get volumes shop.db -o json
  csictl get pods -o wide
  csictl get mounts -o name")]
pub struct GetArgs {
    /// volumes, pods, snapshots or mounts
    #[arg(value_enum, hide_possible_values = true)]
    pub kind: GetKind,
    /// Only this one
    #[arg(add = ArgValueCandidates::new(complete::any))]
    pub name: Option<String>,
}

/// For `snapshot`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:
  csictl snapshot create db before-upgrade
  csictl snapshot list
  csictl snapshot restore before-upgrade db-old
  csictl snapshot delete before-upgrade",
    disable_help_subcommand = true
)]
pub struct SnapshotArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: SnapshotCommand,
}

/// The forms of `snapshot`.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Copy a volume's bytes as they are now
    #[command(
        after_help = "Examples:\n  csictl snapshot create db before-upgrade\n  csictl snapshot create shop.db nightly --yes"
    )]
    Create {
        /// Volume: VOLUME where unique, PROJECT.VOLUME, or an id
        #[arg(add = ArgValueCandidates::new(complete::volumes))]
        volume: String,
        /// Name of the new snapshot
        name: String,
        /// Asking and failing.
        #[command(flatten)]
        run: RunArgs,
    },
    /// List snapshots
    #[command(after_help = "Examples:\n  csictl snapshot list\n  csictl snapshot list -o json")]
    List,
    /// Delete a snapshot
    #[command(
        after_help = "Examples:\n  csictl snapshot delete nightly\n  csictl snapshot delete nightly --approve snapshot.nightly=delete --yes"
    )]
    Delete {
        /// Snapshot: NAME where unique, PROJECT.NAME, or an id
        #[arg(add = ArgValueCandidates::new(complete::snapshots))]
        name: String,
        /// Asking and failing.
        #[command(flatten)]
        run: RunArgs,
        /// Let it lose its data: snapshot.NAME=delete
        #[arg(long, value_name = "OBJECT=LOSS", value_parser = parse_approve)]
        approve: Vec<ApproveArg>,
    },
    /// Make a new volume from a snapshot
    #[command(after_help = "Examples:\n  csictl snapshot restore before-upgrade db-old")]
    Restore {
        /// Snapshot: NAME where unique, PROJECT.NAME, or an id
        #[arg(add = ArgValueCandidates::new(complete::snapshots))]
        snapshot: String,
        /// Name of the new volume, in the snapshot's project
        #[arg(value_name = "NEWVOLUME")]
        volume: String,
        /// Asking and failing.
        #[command(flatten)]
        run: RunArgs,
    },
}

/// For `expand`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  csictl expand db 20GiB\n  csictl expand shop.db 20GiB --yes")]
pub struct ExpandArgs {
    /// Volume: VOLUME where unique, PROJECT.VOLUME, or an id
    #[arg(add = ArgValueCandidates::new(complete::volumes))]
    pub name: String,
    /// The size to reach, as 20GiB
    #[arg(value_parser = parse_capacity)]
    pub size: Capacity,
    /// Asking and failing.
    #[command(flatten)]
    pub run: RunArgs,
}

/// For `delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  csictl delete oldlogs                         asks for the name to be typed
  csictl delete shop.oldlogs --approve volume.oldlogs=delete --yes")]
pub struct DeleteArgs {
    /// Volume: VOLUME where unique, PROJECT.VOLUME, or an id
    #[arg(add = ArgValueCandidates::new(complete::volumes))]
    pub name: String,
    /// Asking and failing.
    #[command(flatten)]
    pub run: RunArgs,
    /// Let it lose its data: volume.NAME=delete
    #[arg(long, value_name = "OBJECT=LOSS", value_parser = parse_approve, add = ArgValueCandidates::new(complete::approvals))]
    pub approve: Vec<ApproveArg>,
}

/// For `who`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  csictl who /var/lib/postgresql\n  csictl who /dev/loop3\n  csictl who db")]
pub struct WhoArgs {
    /// A mount point, a device, or a volume
    #[arg(add = ArgValueCandidates::new(complete::volumes), value_hint = ValueHint::AnyPath)]
    pub target: String,
}

/// For `gc`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  csictl gc                                     shows, then asks\n  csictl gc --yes"
)]
pub struct GcArgs {
    /// Remove without asking
    #[arg(short, long)]
    pub yes: bool,
    /// Only show
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// A manifest or a server's configuration whose pools are looked at too; may be given several times
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Vec<PathBuf>,
    /// Remove an image or snapshot that has no record, and its data: volume.ID=delete or snapshot.ID=delete
    #[arg(long, value_name = "OBJECT=LOSS", value_parser = parse_approve, conflicts_with = "dry_run")]
    pub approve: Vec<ApproveArg>,
}

/// For `explain`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  csictl explain csictl::manifest::unknown-key\n  csictl explain not-blank\n  csictl explain                                lists all codes"
)]
pub struct ExplainArgs {
    /// The code, with or without its 'csictl::' parts
    #[arg(add = ArgValueCandidates::new(complete::codes))]
    pub code: Option<String>,
}

/// For `state`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  csictl state export > csictl-state.json\n  csictl state import csictl-state.json",
    disable_help_subcommand = true
)]
pub struct StateArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: StateCommand,
}

/// The forms of `state`.
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// Print all records as one JSON document
    #[command(after_help = "Examples:\n  csictl state export > csictl-state.json")]
    Export,
    /// Write the records of such a document; none that exists is overwritten
    #[command(
        after_help = "Examples:\n  csictl state import csictl-state.json\n  csictl state import - < csictl-state.json"
    )]
    Import {
        /// The document; '-' reads stdin
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}

/// For `completions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  csictl completions bash > /etc/bash_completion.d/csictl
  csictl completions fish > ~/.config/fish/completions/csictl.fish
  source <(csictl completions zsh)")]
pub struct CompletionsArgs {
    /// bash, zsh, fish, elvish or powershell
    #[arg(value_enum, hide_possible_values = true)]
    pub shell: Shell,
}

/// For `man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  csictl man | man -l -\n  csictl man /usr/local/share/man/man1")]
pub struct ManArgs {
    /// Write every page there
    #[arg(value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

fn parse_capacity(text: &str) -> Result<Capacity, String> {
    text.parse::<Capacity>().map(Capacity::rounded_up).map_err(|error| error.to_string())
}
