//! `who`: which processes, in which mount namespaces, keep a mount or device busy.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::args::WhoArgs;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::names;
use crate::cli::problem::{Failure, Problem, Result};
use crate::cli::render::{self, table::table};
use crate::host::{Holder, Observe};
use crate::model::{BlockId, Observed};

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    target: String,
    device: String,
    holders: Vec<Item>,
}

#[derive(Serialize)]
struct Item {
    pid: u32,
    command: String,
    mount_namespace: u64,
    what: Vec<String>,
}

/// Runs it.
pub fn run(context: &Context, args: &WhoArgs) -> Result<Exit> {
    let observer = context.observer();
    let asked = resolve(context, &*observer, &args.target)?;
    let mut holders: Vec<Holder> = Vec::new();
    for mount in &asked.mounts {
        merge(&mut holders, observer.holders(asked.device, Some(mount))?);
    }
    if asked.mounts.is_empty() {
        holders = observer.holders(asked.device, None)?;
    }
    let own = observer.facts()?.mount_namespace;
    if context.json() {
        let item =
            |h: Holder| Item { pid: h.pid, command: h.command, mount_namespace: h.mount_namespace, what: h.what };
        context.printer.out_raw(&render::json(&Document {
            schema: "csictl.who/1",
            target: args.target.clone(),
            device: asked.device.to_string(),
            holders: holders.into_iter().map(item).collect(),
        }));
    } else if holders.is_empty() {
        context.printer.out(format!("nobody keeps {} busy", args.target));
    } else {
        let rows = holders.into_iter().map(|h| {
            let namespace = if h.mount_namespace == own { "this".to_owned() } else { h.mount_namespace.to_string() };
            vec![h.pid.to_string(), h.command, namespace, h.what.join(", ")]
        });
        context.printer.out(table(&["PID", "COMMAND", "MOUNT-NS", "HOLDS"], rows));
    }
    Ok(Exit::Done)
}

/// A device and where it is mounted.
struct Asked {
    device: BlockId,
    mounts: Vec<PathBuf>,
}

/// A process is listed once, with all it holds.
fn merge(holders: &mut Vec<Holder>, more: Vec<Holder>) {
    for holder in more {
        match holders.iter_mut().find(|known| known.pid == holder.pid) {
            Some(known) => {
                known.what.extend(holder.what);
                known.what.sort();
                known.what.dedup();
            }
            None => holders.push(holder),
        }
    }
}

/// A path is a mount point, a device, or lies on a mount; anything else is a volume's name.
fn resolve(context: &Context, observer: &dyn Observe, target: &str) -> Result<Asked> {
    let path = Path::new(target);
    if target.contains('/') || target == "." {
        return of_path(observer, path);
    }
    let looked = context.look(observer, None)?;
    of_volume(&looked.observed, target)
}

fn of_path(observer: &dyn Observe, path: &Path) -> Result<Asked> {
    let missing = |error: &std::io::Error| Failure::new(Exit::Failed, Problem::file("look at", path, error));
    let path = path.canonicalize().map_err(|error| missing(&error))?;
    let table = observer.mount_table()?;
    if let Some(device) = observer.stat(&path)?.and_then(|facts| facts.device) {
        return Ok(Asked { device, mounts: table.of_device(device).map(|mount| mount.target.clone()).collect() });
    }
    let mount = table.containing(&path).ok_or_else(|| missing(&std::io::ErrorKind::NotFound.into()))?;
    let mounts = if mount.target == path { vec![path] } else { vec![mount.target.clone()] };
    Ok(Asked { device: mount.device, mounts })
}

fn of_volume(observed: &Observed, name: &str) -> Result<Asked> {
    let id = names::volume(observed, name)?;
    let seen = observed.volumes.get(&id);
    let published = seen.into_iter().flat_map(|seen| &seen.published).map(|publish| &publish.mount);
    let mounts: Vec<_> =
        seen.and_then(|seen| seen.staged.as_ref()).map(|stage| &stage.mount).into_iter().chain(published).collect();
    let device = mounts
        .first()
        .map(|mount| mount.device)
        .or_else(|| seen.and_then(|seen| seen.loop_device.as_ref()).map(|device| device.block));
    match device {
        Some(device) => Ok(Asked { device, mounts: mounts.iter().map(|mount| mount.target.clone()).collect() }),
        None => Err(Failure::new(
            Exit::Failed,
            Problem::new(
                "guard::not-ready",
                format!("volume {id} is neither attached nor mounted: nobody can hold it"),
            )
            .help("'csictl status' shows how far each volume has come"),
        )),
    }
}
