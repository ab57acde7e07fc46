//! `who`: which processes, in which mount namespaces, keep a mount or device busy.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::args::WhoArgs;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::names;
use crate::cli::problem::{Failure, Problem, Result};
use crate::cli::render::{self, table::NONE, table::table};
use crate::host::{FileKind, Holder, Observe};
use crate::model::observed::ObservedBacking;
use crate::model::{BlockId, Observed};

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    target: String,
    device: String,
    mounts: Vec<PathBuf>,
    holders: Vec<Item>,
}

#[derive(Serialize)]
struct Item {
    /// Null, like the command, for mounts that no process stands for.
    pid: Option<u32>,
    command: Option<String>,
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
    if asked.is_device {
        merge(&mut holders, observer.holders(asked.device, None)?);
    }
    let own = observer.facts()?.mount_namespace.inode;
    if context.json() {
        let item = |h: Holder| {
            let process = h.pid != Holder::NO_PROCESS;
            Item {
                pid: process.then_some(h.pid),
                command: process.then_some(h.command),
                mount_namespace: h.mount_namespace,
                what: h.what,
            }
        };
        context.printer.out_raw(&render::json(&Document {
            schema: "csictl.who/1",
            target: args.target.clone(),
            device: asked.device.to_string(),
            mounts: asked.mounts,
            holders: holders.into_iter().map(item).collect(),
        }));
    } else if holders.is_empty() {
        let mounts: Vec<_> = asked.mounts.iter().map(|mount| mount.display().to_string()).collect();
        context.printer.out(match mounts.as_slice() {
            [_, ..] if asked.is_device => {
                format!("no process keeps {} busy; it is mounted at {}", args.target, mounts.join(", "))
            }
            _ => format!("nobody keeps {} busy", args.target),
        });
    } else {
        let rows = holders.into_iter().map(|h| {
            let namespace = if h.mount_namespace == own { "this".to_owned() } else { h.mount_namespace.to_string() };
            let (pid, command) = match h.pid {
                Holder::NO_PROCESS => (NONE.to_owned(), NONE.to_owned()),
                pid => (pid.to_string(), h.command),
            };
            vec![pid, command, namespace, h.what.join(", ")]
        });
        context.printer.out(table(&["PID", "COMMAND", "MOUNT-NS", "HOLDS"], rows));
    }
    Ok(Exit::Done)
}

/// A device and where it is mounted.
struct Asked {
    device: BlockId,
    mounts: Vec<PathBuf>,
    /// Whether the device is asked about, and not only one mount: then descriptors of the device itself count as well.
    is_device: bool,
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
    let facts = observer.stat(&path)?;
    let mut device = facts.as_ref().and_then(|facts| facts.device);
    if let Some(facts) = facts.filter(|facts| facts.kind == FileKind::File) {
        // An image: who holds its loop device is meant.
        device = observer.loop_of_image(&path, facts.file, None)?.map(|device| device.block).or(device);
    }
    if let Some(device) = device {
        let mounts = table.of_device(device).map(|mount| mount.target.clone()).collect();
        return Ok(Asked { device, mounts, is_device: true });
    }
    let mount = table.containing(&path).ok_or_else(|| missing(&std::io::ErrorKind::NotFound.into()))?;
    if mount.target != path && mount.target == Path::new("/") {
        let message = format!("nothing is mounted at {} or above it but /, which every process holds", path.display());
        let help = "name a mount point, a device, an attached image or a volume; csictl status shows where volumes are";
        return Err(Failure::new(Exit::Failed, Problem::new("guard::not-ready", message).help(help)));
    }
    Ok(Asked { device: mount.device, mounts: vec![mount.target.clone()], is_device: false })
}

fn of_volume(observed: &Observed, name: &str) -> Result<Asked> {
    let id = names::volume(observed, name)?;
    let seen = observed.volumes.get(&id);
    let published = seen.into_iter().flat_map(|seen| &seen.published).map(|publish| &publish.mount);
    let mounts: Vec<_> =
        seen.and_then(|seen| seen.staged.as_ref()).map(|stage| &stage.mount).into_iter().chain(published).collect();
    let block = seen.and_then(|seen| match &seen.backing {
        ObservedBacking::Device(device) => Some(device.block),
        _ => seen.loop_device.as_ref().map(|device| device.block),
    });
    // A raw block volume is published by a bind of its node: that mount is the device file system's, not the volume's.
    let device = block.or_else(|| mounts.first().map(|mount| mount.device));
    match device {
        Some(device) => {
            let targets = mounts.iter().map(|mount| mount.target.clone()).collect();
            Ok(Asked { device, mounts: targets, is_device: block.is_some() })
        }
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
