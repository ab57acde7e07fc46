//! `serve`: the same engine as a CSI driver on a unix socket, until it is told to end.

use std::sync::Arc;
use std::time::Duration;

use crate::cli::args::ServeArgs;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::problem::{Failure, Problem, Result};
use crate::cli::source::Source;
use crate::csi::config::{Config, Listen};
use crate::csi::plugin::Plugin;
use crate::csi::rules;
use crate::csi::server::run::{Ended, Reload, ServeError, serve};
use crate::driver::local::{Kept, LocalDriver};
use crate::exec::Engine;
use crate::host::linux::socket::{SocketError, path_of};
use crate::manifest::ManifestError;
use crate::model::StorageConfig;

/// Runs it.
pub fn run(context: &Context, args: &ServeArgs) -> Result<Exit> {
    let facts = context.observer().facts()?;
    let storage = match &args.config {
        Some(path) => Source::read(path)?.storage(&context.layout)?,
        None => StorageConfig::of_layout(&context.layout),
    };
    let config = Config {
        driver_name: args.driver_name.clone(),
        node_id: args.node_id.clone().unwrap_or(facts.hostname),
        mode: args.mode.into(),
        node_local: args.node_local,
        announce_get_snapshot: args.announce_get_snapshot,
        max_volumes_per_node: args.max_volumes_per_node,
        topology: args.topology.iter().cloned().collect(),
        storage,
    };
    let listen = Listen {
        endpoint: args.endpoint.clone(),
        allowed_uids: args.allow_uid.clone(),
        metrics: args.metrics_addr,
        drain_timeout: args.drain_timeout,
        run_dir: context.layout.run.clone(),
    };
    rules::check(&config).map_err(|error| Failure::usage(error.to_string(), "'csictl serve -h' has examples"))?;
    if let Some(address) = args.metrics_addr.filter(|address| !address.ip().is_loopback()) {
        let help = "use 127.0.0.1:9810 or [::1]:9810; the page names volumes and has no password";
        return Err(Failure::usage(format!("--metrics-addr {address} can be reached from elsewhere"), help));
    }
    // Another csictl's work on a volume is the orchestrator's to wait for: it gets ABORTED at once.
    let kept = Kept {
        pools: config.storage.pools.values().map(|pool| pool.path.clone()).collect(),
        socket: path_of(&args.endpoint).ok(),
    };
    let driver = LocalDriver::new(context.host(), context.layout.clone())
        .with_lock_timeout(Duration::ZERO)
        .with_kept(kept)
        .with_pools(config.storage.pools.values())
        .with_freeze_timeout(args.freeze_timeout);
    let engine = Engine::new(context.parallelism).map_err(|error| {
        Failure::new(Exit::Failed, Problem::new("serve::start", format!("workers can't be started: {error}")))
    })?;
    match serve(&Plugin::new(driver, engine, config), &listen, reload(context, args)).map_err(failure)? {
        Ended::Drained | Ended::GaveUp => Ok(Exit::Done),
        Ended::Forced => Ok(Exit::Terminated),
    }
}

/// How the configuration is read again, if there is one.
fn reload(context: &Context, args: &ServeArgs) -> Option<Reload> {
    let (path, layout) = (args.config.clone()?, context.layout.clone());
    Some(Arc::new(move || {
        let read = Source::read(&path).and_then(|source| source.storage(&layout));
        read.map_err(|failure| match failure {
            Failure::Manifest(errors) => {
                let each = |error: &ManifestError| format!("line {}: {error}", error.line);
                format!("{}: {}", path.display(), errors.errors().iter().map(each).collect::<Vec<_>>().join("; "))
            }
            Failure::Problems(_, problems) => problems.iter().map(whole).collect::<Vec<_>>().join("; "),
            Failure::Reported(_) => path.display().to_string(),
        })
    }))
}

/// A problem on one line.
fn whole(problem: &Problem) -> String {
    let causes = problem.causes.iter().map(|cause| format!(": {cause}")).collect::<String>();
    let help = problem.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    format!("{}{causes}{help}", problem.message)
}

/// Why there is no server, with the way on.
fn failure(error: ServeError) -> Failure {
    let error = match error {
        ServeError::State(error) => return error.into(),
        other => other,
    };
    let problem = |code, help: &str| Problem::new(code, error.to_string()).help(help);
    let failed = |problem| Failure::new(Exit::Failed, problem);
    match &error {
        ServeError::Socket(SocketError::Endpoint(_)) => {
            Failure::usage(error.to_string(), "for instance --endpoint unix:///run/csictl/csi/csi.sock")
        }
        ServeError::Socket(SocketError::InUse(_)) => {
            failed(problem("serve::in-use", "'csictl csi probe' asks the one that serves; or give another --endpoint"))
        }
        ServeError::Socket(SocketError::NotASocket(_)) => {
            Failure::new(Exit::Refused, problem("serve::not-a-socket", "csictl removes nothing but sockets"))
        }
        ServeError::Socket(SocketError::Io { .. }) => {
            failed(problem("serve::socket", "check the directory of --endpoint: it has to be writable, its path short"))
        }
        ServeError::Passed(_) => {
            failed(problem("serve::passed", "the unit needs exactly one ListenStream=/path, as in deploy/systemd"))
        }
        ServeError::Metrics { .. } => {
            failed(problem("serve::metrics", "give another --metrics-addr, or stop what listens there"))
        }
        ServeError::State(_) | ServeError::Io { .. } => {
            failed(problem("serve::start", "see the cause; the limits of open files may be too low"))
        }
    }
}
