//! The arguments of `csi`: one subcommand a call, made from the client's table of calls.

use std::sync::LazyLock;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Subcommand, ValueHint};

use super::values::parse_duration;
use crate::csi::client::rpc::SERVICES;
use crate::csi::client::{Flag, Kind, RPCS, Rpc};

/// Subcommands are listed by service, below the options.
const TEMPLATE: &str = "{about-with-newline}\n{usage-heading} {usage}\n\n{options}{after-help}";

/// For `csi`.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Options of every call",
    subcommand_required = true,
    arg_required_else_help = true,
    help_template = TEMPLATE,
    subcommand_value_name = "RPC",
    after_help = CALLS.as_str()
)]
pub struct CsiArgs {
    /// The server's socket
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "CSI_ENDPOINT",
        default_value = "unix:///run/csictl/csi/csi.sock",
        hide_env_values = true,
        value_hint = ValueHint::FilePath
    )]
    pub endpoint: String,
    /// Wait at most this long; the server is told so as well
    #[arg(long, global = true, value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// The request as JSON: text, @FILE, or '-' for stdin; flags are laid over it
    #[arg(long, global = true, value_name = "JSON")]
    pub request: Option<String>,
    /// The call.
    #[command(subcommand)]
    pub call: CsiCall,
}

/// One call with what was typed for each of its flags.
#[derive(Debug)]
pub struct CsiCall {
    /// Which.
    pub rpc: &'static Rpc,
    /// Flags that were given, with their values; a switch has none.
    pub typed: Vec<(&'static Flag, Vec<String>)>,
}

/// The list of calls and some examples, for the help of `csi`.
static CALLS: LazyLock<String> = LazyLock::new(|| {
    let mut text = "Calls, each with help of its own; CamelCase is understood too:\n".to_owned();
    for service in SERVICES {
        let mut line = format!("  {service}:");
        for rpc in RPCS.iter().filter(|rpc| rpc.service == service) {
            let name = rpc.command();
            if line.len() + name.len() > 98 {
                text.push_str(&line);
                text.push('\n');
                line = "   ".to_owned();
            }
            line.push(' ');
            line.push_str(&name);
        }
        text.push_str(&line);
        text.push('\n');
    }
    text.push_str(EXAMPLES);
    text
});

const EXAMPLES: &str = "
Examples:
  csictl csi get-plugin-info
  csictl csi --endpoint unix:///csi/csi.sock node-get-info -o json
  csictl csi create-volume --name x --required-bytes 1GiB --cap SINGLE_NODE_WRITER,mount,ext4
  csictl csi list-volumes --request '{\"maxEntries\": 10}' --timeout 5s

Exit code: 0, or 100 + the gRPC code; 114 (UNAVAILABLE) when nobody answers at the socket";

/// Columns of an example, below the width that help is filled to.
const EXAMPLE_WIDTH: usize = 90;

fn command(rpc: &'static Rpc) -> Command {
    let name = rpc.command();
    let example = format!("csictl csi {name} {}", rpc.example);
    let examples = format!("Examples:\n{}\n  csictl csi {name} --request @request.json -o json", folded(&example));
    // Flags that every call shares come behind its own.
    Command::new(name).about(rpc.about).alias(rpc.name).after_help(examples).args(rpc.flags.iter().map(arg))
}

/// A command on as many lines as it takes, as a shell reads them; a flag stays with its value.
fn folded(command: &str) -> String {
    let mut lines = vec![" ".to_owned()];
    for part in command.replace(" --", "\n--").lines() {
        if lines.last().is_some_and(|line| line.len() + part.len() >= EXAMPLE_WIDTH) {
            lines.push("     ".to_owned());
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(part.trim());
        }
    }
    lines.join(" \\\n")
}

fn arg(flag: &'static Flag) -> Arg {
    let arg = Arg::new(flag.name).long(flag.name).help(flag.help);
    if flag.kind == Kind::Switch {
        return arg.action(ArgAction::SetTrue);
    }
    let arg = arg.value_name(flag.kind.value_name()).allow_hyphen_values(true);
    let arg = if flag.kind.repeats() { arg.action(ArgAction::Append) } else { arg.action(ArgAction::Set) };
    match flag.kind {
        Kind::Secrets => arg.value_hint(ValueHint::FilePath),
        Kind::Text if flag.name.ends_with("-path") => arg.value_name("PATH").value_hint(ValueHint::AnyPath),
        Kind::Text | Kind::Texts if flag.name.ends_with("-id") || flag.name.starts_with("from-") => {
            arg.value_name("ID")
        }
        _ => arg,
    }
}

impl Subcommand for CsiCall {
    fn augment_subcommands(cmd: Command) -> Command {
        cmd.subcommands(RPCS.iter().map(command))
    }

    fn augment_subcommands_for_update(cmd: Command) -> Command {
        Self::augment_subcommands(cmd)
    }

    fn has_subcommand(name: &str) -> bool {
        Rpc::find(name).is_some()
    }
}

impl FromArgMatches for CsiCall {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let missing = || clap::Error::new(clap::error::ErrorKind::MissingSubcommand);
        let (name, matches) = matches.subcommand().ok_or_else(missing)?;
        let rpc = Rpc::find(name).ok_or_else(missing)?;
        let typed = |flag: &'static Flag| {
            if flag.kind == Kind::Switch {
                return matches.get_flag(flag.name).then(|| (flag, Vec::new()));
            }
            let values: Vec<String> = matches.get_many::<String>(flag.name)?.cloned().collect();
            Some((flag, values))
        };
        Ok(Self { rpc, typed: rpc.flags.iter().filter_map(typed).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
