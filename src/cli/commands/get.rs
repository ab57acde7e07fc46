//! `get`: tables of volumes, pods, snapshots and mounts.

use serde::Serialize;

use crate::cli::args::{GetArgs, GetKind, Output};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::names;
use crate::cli::problem::{Failure, Problem, Result};
use crate::cli::render;
use crate::cli::render::status::size;
use crate::cli::render::table::{NONE, or_none, table};
use crate::cli::survey::{Pod, Snapshot, Survey, Volume, survey};
use crate::model::{Mount, Observed};

/// A row of any kind, before it is laid out.
struct Row {
    name: String,
    cells: Vec<String>,
    wide: Vec<String>,
    json: serde_json::Value,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    kind: &'static str,
    items: Vec<serde_json::Value>,
}

/// A mount of ours, as JSON has it.
#[derive(Serialize)]
struct MountItem<'a> {
    path: String,
    volume: &'a str,
    kind: &'static str,
    pod: Option<&'a str>,
    fs: &'a str,
    source: String,
    options: &'a [String],
}

/// Runs it.
pub fn run(context: &Context, args: &GetArgs) -> Result<Exit> {
    let looked = context.look(&*context.observer(), None)?;
    let survey = survey(&looked.observed, None);
    let (kind, headings, wide_headings, mut rows) = match args.kind {
        GetKind::Volumes => ("volumes", &VOLUMES[..], &VOLUMES_WIDE[..], survey.volumes.iter().map(volume).collect()),
        GetKind::Pods => ("pods", &PODS[..], &PODS_WIDE[..], survey.pods.iter().map(pod).collect::<Vec<_>>()),
        GetKind::Snapshots => {
            ("snapshots", &SNAPSHOTS[..], &SNAPSHOTS_WIDE[..], survey.snapshots.iter().map(snapshot).collect())
        }
        GetKind::Mounts => ("mounts", &MOUNTS[..], &MOUNTS_WIDE[..], mounts(&survey)),
    };
    if let Some(name) = &args.name {
        let name = whole_name(args.kind, name, &looked.observed)?;
        rows.retain(|row| row.name == name);
        if rows.is_empty() {
            let problem =
                Problem::new("cli::unknown-name", format!("no {} is called '{name}'", kind.trim_end_matches('s')));
            return Err(Failure::new(Exit::Failed, problem.help(format!("'csictl get {kind}' lists them"))));
        }
    }
    match context.output {
        Output::Json => {
            let items = rows.into_iter().map(|row| row.json).collect();
            context.printer.out_raw(&render::json(&Document { schema: "csictl.get/1", kind, items }));
        }
        Output::Name => rows.iter().for_each(|row| context.printer.out(&row.name)),
        Output::Wide => {
            let headings: Vec<_> = headings.iter().chain(wide_headings).copied().collect();
            context.printer.out(table(&headings, rows.into_iter().map(|row| [row.cells, row.wide].concat())));
        }
        _ => context.printer.out(table(headings, rows.into_iter().map(|row| row.cells))),
    }
    Ok(Exit::Done)
}

/// The id that a name means; paths and pods are what they are.
fn whole_name(kind: GetKind, name: &str, observed: &Observed) -> Result<String> {
    Ok(match kind {
        GetKind::Volumes => names::volume(observed, name)?.to_string(),
        GetKind::Snapshots => names::snapshot(observed, name)?.to_string(),
        GetKind::Pods => name.strip_prefix("pod.").unwrap_or(name).to_owned(),
        GetKind::Mounts => name.to_owned(),
    })
}

const VOLUMES: [&str; 6] = ["VOLUME", "PHASE", "SIZE", "USED", "FS", "OWNER"];
const VOLUMES_WIDE: [&str; 6] = ["NAME", "BACKING", "DEVICE", "ACCESS-MODE", "RECLAIM", "STORAGE"];

fn volume(volume: &Volume) -> Row {
    let spec = volume.spec.as_ref();
    Row {
        name: volume.id.clone(),
        cells: vec![
            volume.id.clone(),
            volume.phase.to_string(),
            size(volume.capacity_bytes),
            size(volume.used_bytes),
            or_none(volume.fs.as_ref()),
            or_none(volume.owner.as_ref()),
        ],
        wide: vec![
            volume.name.clone(),
            or_none(volume.backing),
            or_none(volume.device.as_ref()),
            or_none(spec.map(|spec| spec.access_mode)),
            or_none(spec.map(|spec| format!("{:?}", spec.reclaim).to_lowercase())),
            or_none(volume.storage.as_ref()),
        ],
        json: value(volume),
    }
}

const PODS: [&str; 3] = ["POD", "PROJECT", "PUBLISHED"];
const PODS_WIDE: [&str; 1] = ["PATHS"];

fn pod(pod: &Pod) -> Row {
    let paths: Vec<_> = pod.published.iter().map(|mount| format!("{}={}", mount.path, mount.volume)).collect();
    Row {
        name: pod.name.clone(),
        cells: vec![pod.name.clone(), or_none(pod.project.as_ref()), pod.published.len().to_string()],
        wide: vec![if paths.is_empty() { NONE.to_owned() } else { paths.join(",") }],
        json: value(pod),
    }
}

const SNAPSHOTS: [&str; 5] = ["SNAPSHOT", "VOLUME", "SIZE", "READY", "TAKEN"];
const SNAPSHOTS_WIDE: [&str; 3] = ["USED", "GROUP", "FILE"];

fn snapshot(snapshot: &Snapshot) -> Row {
    Row {
        name: snapshot.id.clone(),
        cells: vec![
            snapshot.id.clone(),
            or_none(snapshot.volume.as_ref()),
            size(snapshot.capacity_bytes),
            if snapshot.ready { "yes" } else { "no" }.to_owned(),
            or_none(snapshot.created_at.as_ref()),
        ],
        wide: vec![size(snapshot.used_bytes), or_none(snapshot.group.as_ref()), or_none(snapshot.path.as_ref())],
        json: value(snapshot),
    }
}

const MOUNTS: [&str; 4] = ["PATH", "VOLUME", "KIND", "POD"];
const MOUNTS_WIDE: [&str; 3] = ["FS", "SOURCE", "OPTIONS"];

fn mounts(survey: &Survey) -> Vec<Row> {
    let mut rows = Vec::new();
    for volume in &survey.volumes {
        rows.extend(volume.stage.iter().map(|mount| mount_row(volume, mount, "stage", None)));
        let published = volume.published.iter().zip(&volume.mounts);
        rows.extend(published.map(|(publish, mount)| mount_row(volume, mount, "publish", publish.pod.as_deref())));
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

fn mount_row(volume: &Volume, mount: &Mount, kind: &'static str, pod: Option<&str>) -> Row {
    let path = mount.target.display().to_string();
    let source = mount.source.display().to_string();
    Row {
        name: path.clone(),
        cells: vec![path.clone(), volume.id.clone(), kind.to_owned(), or_none(pod)],
        wide: vec![mount.fs_type.clone(), source.clone(), mount.options.join(",")],
        json: value(&MountItem {
            path,
            volume: &volume.id,
            kind,
            pod,
            fs: &mount.fs_type,
            source,
            options: &mount.options,
        }),
    }
}

fn value(item: &impl Serialize) -> serde_json::Value {
    // None of the items has a map with keys that are no strings, the only thing that can fail.
    serde_json::to_value(item).unwrap_or_default()
}
