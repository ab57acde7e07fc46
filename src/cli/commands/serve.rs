//! `serve`: the same engine as a CSI driver on a unix socket, until it is told to end.

use std::time::Duration;

use crate::cli::args::ServeArgs;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::problem::{Failure, Problem, Result};
use crate::cli::source::Source;
use crate::csi::config::{Config, Listen};
use crate::csi::plugin::Plugin;
use crate::csi::server::run::serve;
use crate::driver::local::{LocalDriver, gc, group};
use crate::exec::Engine;
use crate::model::StorageConfig;

/// Runs it.
pub fn run(context: &Context, args: &ServeArgs) -> Result<Exit> {
    let facts = context.observer().facts()?;
    let storage = match &args.config {
        Some(path) => Source::read(path)?.storage(context)?,
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
    let failed = |text: String| Failure::new(Exit::Failed, Problem::new("cli::serve", text));
    // Another csictl's work on a volume is the orchestrator's to wait for: it gets ABORTED at once.
    let driver = LocalDriver::new(context.host(), context.layout.clone()).with_lock_timeout(Duration::ZERO);
    end_what_was_begun(&driver);
    let engine = Engine::new(context.parallelism).map_err(|error| failed(format!("start workers: {error}")))?;
    serve(Plugin::new(driver, engine, config), &listen).map_err(|error| failed(error.to_string()))?;
    Ok(Exit::Done)
}

/// What a killed run left half-way: frozen file systems hold up whoever writes to them, and of a group of snapshots no half is shown.
fn end_what_was_begun(driver: &LocalDriver) {
    match gc::thaw_left(driver.host(), driver.layout()) {
        Ok(thawed) => {
            thawed
                .iter()
                .for_each(|path| tracing::warn!("thawed {}, which an earlier run left frozen", path.display()));
        }
        Err(error) => tracing::warn!("what an earlier run left frozen may still be: {error}"),
    }
    match group::finish_left(driver.host(), driver.layout()) {
        Ok(groups) => {
            for id in groups {
                tracing::warn!("ended what an earlier run had begun with group {id}");
            }
        }
        Err(error) => tracing::warn!("what an earlier run had begun with a group of snapshots is not ended: {error}"),
    }
}
