//! The command line: arguments in, text and exit codes out. Nothing below this layer prints, asks or exits.
//!
//! ```text
//! args (as typed) ── context (what is meant) ── commands/* ── render/* (pure, to strings) ── printer
//! ```
//!
//! Way in: [`main`]; [`printer::Printer`] for every line that users see; [`exit::Exit`] for how it ends.

pub mod args;
mod ask;
mod busy;
mod commands;
pub mod complete;
pub mod context;
pub mod exit;
pub mod explain;
mod logging;
pub mod manual;
pub mod names;
mod perform;
mod planfile;
pub mod printer;
pub mod problem;
pub mod render;
mod source;
pub mod survey;
mod tools;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use clap_complete::CompleteEnv;

use args::{Cli, Command, Output};
use context::Context;
use exit::Exit;
use printer::{Color, Printer};
use problem::{Failure, Problem};

/// Asks for completions instead of a run: `CSICTL_COMPLETE=bash`. The scripts of `csictl completions` set it.
pub const COMPLETE_VARIABLE: &str = "CSICTL_COMPLETE";

/// The whole command line as clap knows it, in csictl's colors.
pub fn command() -> clap::Command {
    Cli::command().styles(render::style::HELP)
}

/// The binary: completes, or parses and runs.
pub fn main() -> ExitCode {
    // A kernel before 5.11 cannot: then helpers inherit what csictl was started with, as any program's children do.
    let _ = crate::host::linux::close_inherited_on_exec();
    CompleteEnv::with_factory(command).var(COMPLETE_VARIABLE).complete();
    run(std::env::args_os().collect()).into()
}

/// Parses these words, the first being the program's name, and runs them.
pub fn run(words: Vec<OsString>) -> Exit {
    let json = wants_json(&words);
    let cli = match command().try_get_matches_from(words).and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, json),
    };
    let context = match Context::new(&cli) {
        Ok(context) => context,
        Err(failure) => return end(&Printer::new(Color::Auto, false), json, Err(failure)),
    };
    logging::start(&cli.global, cli.command.name() == "serve", &context.printer);
    let ended = dispatch(&context, cli.command);
    end(&context.printer, context.output == Output::Json, ended)
}

fn dispatch(context: &Context, command: Command) -> problem::Result<Exit> {
    match command {
        Command::Init(args) => commands::init::run(context, &args),
        Command::Validate(args) => commands::validate::run(context, &args),
        Command::Plan(args) => commands::plan::run(context, &args),
        Command::Apply(args) => commands::apply::run(context, &args),
        Command::Destroy(args) => commands::destroy::run(context, &args),
        Command::Status(args) => commands::status::run(context, &args),
        Command::Get(args) => commands::get::run(context, &args),
        Command::Tree => commands::tree::run(context),
        Command::Snapshot(args) => commands::snapshot::run(context, &args.command),
        Command::Expand(args) => commands::expand::run(context, &args),
        Command::Delete(args) => commands::delete::run(context, &args),
        Command::Who(args) => commands::who::run(context, &args),
        Command::Gc(args) => commands::gc::run(context, &args),
        Command::Doctor => commands::doctor::run(context),
        #[cfg(feature = "serve")]
        Command::Serve(args) => commands::serve::run(context, &args),
        #[cfg(feature = "serve")]
        Command::Csi(args) => commands::csi::run(context, &args),
        Command::Schema => commands::schema::run(context),
        Command::Explain(args) => commands::explain::run(context, &args),
        Command::State(args) => commands::state::run(context, &args.command),
        Command::Completions(args) => commands::completions::run(context, &args),
        Command::Man(args) => commands::man::run(context, &args),
        Command::Version => commands::version::run(context),
    }
}

/// Shows what went wrong, if anything, and answers the exit code.
fn end(printer: &Printer, json: bool, ended: problem::Result<Exit>) -> Exit {
    let exit = match ended {
        Ok(exit) => exit,
        Err(failure) => {
            if let Some(report) = render::diagnostics::text(&failure) {
                printer.err(report.trim_end());
            }
            if let Some(document) = render::diagnostics::json(&failure).filter(|_| json) {
                printer.out_raw(&document);
            }
            failure.exit()
        }
    };
    match printer.finish() {
        Err(error) if exit == Exit::Done => {
            printer.err(format!("csictl: cannot write the result to stdout: {error}"));
            Exit::Failed
        }
        _ => exit,
    }
}

/// Help and version asked for go to stdout; a wrong command line is exit code 64, not clap's 2.
fn usage(error: &clap::Error, json: bool) -> Exit {
    let printer = Printer::new(Color::Auto, false);
    if !error.use_stderr() {
        printer.out_raw(&error.render().ansi().to_string());
        return Exit::Done;
    }
    printer.err(error.render().ansi().to_string().trim_end());
    if json {
        let text = error.render().to_string();
        // What it lists (arguments that are missing, values there are) stands on lines of its own, up to an empty one.
        let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let message = lines.join(" ").trim_start_matches("error: ").to_owned();
        let problem = Problem::new("cli::usage", message).help("'csictl COMMAND -h' shows what it takes");
        printer.out_raw(&render::diagnostics::json(&Failure::new(Exit::Usage, problem)).unwrap_or_default());
    }
    Exit::Usage
}

/// Whether JSON was asked for, read without the parser, which may be what fails.
fn wants_json(words: &[OsString]) -> bool {
    let words: Vec<_> = words.iter().filter_map(|word| word.to_str()).take_while(|word| *word != "--").collect();
    words.windows(2).any(|pair| matches!(pair, ["-o" | "--output", "json"]))
        || words.iter().any(|word| matches!(*word, "-ojson" | "-o=json" | "--output=json"))
}
