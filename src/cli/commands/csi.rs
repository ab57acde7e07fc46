//! `csi`: one call to a CSI socket, csictl's own or any other's.

use std::io::{ErrorKind, Read};
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::args::{CsiArgs, CsiCall};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::problem::{Failure, Problem, Result};
use crate::cli::render::{self, message};
use crate::csi::client::{CallError, Kind, Reply, call, request};
use crate::csi::code;

/// Runs it.
pub fn run(context: &Context, args: &CsiArgs) -> Result<Exit> {
    let request = request(args)?;
    let rpc = args.call.rpc;
    let reply = call(&args.endpoint, rpc, request, args.timeout).map_err(|error| failure(args, &error))?;
    if context.json() {
        context.printer.out_raw(&render::json(&document(args, &reply)));
    } else {
        context.printer.out(message::text(&reply.named()));
    }
    Ok(Exit::Done)
}

fn document(args: &CsiArgs, reply: &Reply) -> Value {
    let mut messages = reply.json();
    let rpc = args.call.rpc.name;
    if reply.streams {
        return json!({"schema": "csictl.csi/1", "rpc": rpc, "responses": messages});
    }
    json!({"schema": "csictl.csi/1", "rpc": rpc, "response": messages.pop()})
}

/// What `--request` has, with the flags laid over it.
fn request(args: &CsiArgs) -> Result<Value> {
    let mut made = match args.request.as_deref() {
        None => json!({}),
        Some(given) => {
            let (text, place) = match given.strip_prefix('@') {
                Some(file) => (read(file)?, file),
                None if given == "-" => (read("-")?, "stdin"),
                None => (given.to_owned(), "--request"),
            };
            let value: Value = serde_json::from_str(&text).map_err(|error| {
                let at = format!("line {} column {}", error.line(), error.column());
                usage(&args.call, format!("{place} is no JSON ({at})"))
            })?;
            // Everybody on the machine can read a command line.
            if place == "--request" && value.get("secrets").is_some() {
                return Err(Failure::usage(
                    "secrets on a command line can be read by every process",
                    "give them in a file: --secrets FILE, or --request @FILE",
                ));
            }
            value
        }
    };
    for (flag, typed) in &args.call.typed {
        let typed = if flag.kind == Kind::Secrets { &vec![read(&typed[0])?] } else { typed };
        let filled = request::fill(&mut made, flag, typed);
        filled.map_err(|why| usage(&args.call, format!("--{}: {why}", flag.name)))?;
    }
    Ok(made)
}

fn usage(call: &CsiCall, message: String) -> Failure {
    Failure::usage(message, format!("'csictl csi {} -h' shows what it takes", call.rpc.command()))
}

fn read(path: &str) -> Result<String> {
    let mut text = String::new();
    let read = match path {
        "-" => std::io::stdin().read_to_string(&mut text).map(drop),
        path => std::fs::read_to_string(path).map(|read| text = read),
    };
    read.map_err(|error| Failure::new(Exit::Failed, Problem::file("read", Path::new(path), &error)))?;
    Ok(text)
}

fn failure(args: &CsiArgs, error: &CallError) -> Failure {
    match error {
        CallError::Endpoint(_) => {
            Failure::usage(error.to_string(), "give a socket: --endpoint unix:///run/csictl/csi/csi.sock")
        }
        CallError::Request { .. } => usage(&args.call, error.to_string()),
        CallError::Start(_) => Failure::new(Exit::Failed, Problem::new("csi::start", error.to_string())),
        CallError::Connect { path, error } => {
            let place = path.display();
            let (message, help) = match error.kind() {
                ErrorKind::NotFound => (
                    format!("there is no socket at {place}"),
                    "start the server ('csictl serve'), or name its socket with --endpoint",
                ),
                ErrorKind::ConnectionRefused => (
                    format!("nobody answers at {place}: its server is gone"),
                    "start the server again ('csictl serve' takes over a socket that was left)",
                ),
                ErrorKind::PermissionDenied => (
                    format!("the socket {place} is not for this user"),
                    "run as root, or as a user the server was told to allow ('csictl serve --allow-uid')",
                ),
                _ => (format!("no connection to {place}"), "check that --endpoint names a CSI server's socket"),
            };
            let problem = Problem::new("csi::unavailable", message).cause(error.to_string()).help(help);
            Failure::new(Exit::Rpc(code::UNAVAILABLE), problem)
        }
        CallError::Status { code, message } => {
            let said = if message.is_empty() { "the server gave no reason" } else { message };
            let what = format!("{} at {}: {}", args.call.rpc.name, args.endpoint, code.name);
            let problem = Problem::new(code.explanation.code.trim_start_matches("csictl::"), what);
            Failure::new(Exit::Rpc(code.number()), problem.cause(said).help(code.help_for(args.call.rpc.name)))
        }
    }
}
