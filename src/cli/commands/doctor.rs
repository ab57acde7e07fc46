//! `doctor`: what csictl needs of kernel, tools and permissions, and for each thing that is missing the way to get it.

use std::path::Path;

use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::problem::Result;
use crate::cli::render;
use crate::cli::render::style::{GREEN, Painted, RED, YELLOW, count};
use crate::host::{FileKind, Observe};
use crate::model::FsType;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warning,
    Error,
}

/// One thing that was checked.
#[derive(Debug, Serialize)]
struct Check {
    name: String,
    state: State,
    found: String,
    fix: Option<String>,
    /// Whether its lack is one of rights, not of software.
    #[serde(skip)]
    rights: bool,
}

impl Check {
    fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Ok, found: found.into(), fix: None, rights: false }
    }

    fn bad(name: impl Into<String>, state: State, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name: name.into(), state, found: found.into(), fix: Some(fix.into()), rights: false }
    }

    fn rights(mut self) -> Self {
        self.rights = true;
        self
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    checks: &'a [Check],
}

/// Runs it.
pub fn run(context: &Context) -> Result<Exit> {
    let observer = context.observer();
    let mut checks = vec![kernel()];
    checks.extend(privileges(&*observer)?);
    checks.extend(loops(&*observer));
    checks.extend(FsType::ALL.map(filesystem));
    checks.extend(observer.tools().into_iter().map(|tool| match &tool.path {
        Some(path) => Check::ok(tool.name, tool.version.unwrap_or_else(|| path.display().to_string())),
        None => Check::bad(
            tool.name,
            State::Warning,
            format!("missing; it is needed for {}", tool.needed_for),
            format!("apt install {}", tool.package),
        ),
    }));
    checks.push(directory(&*observer, "state directory", &context.layout.state, true));
    checks.push(directory(&*observer, "run directory", &context.layout.run, false));
    show(context, &checks);
    let worst = |rights: bool| checks.iter().any(|check| check.state == State::Error && check.rights == rights);
    Ok(match (worst(false), worst(true)) {
        (true, _) => Exit::Missing,
        (_, true) => Exit::Privilege,
        _ => Exit::Done,
    })
}

fn show(context: &Context, checks: &[Check]) {
    if context.json() {
        context.printer.out_raw(&render::json(&Document { schema: "csictl.doctor/1", checks }));
        return;
    }
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    for check in checks {
        let sign = match check.state {
            State::Ok => Painted(GREEN, "ok"),
            State::Warning => Painted(YELLOW, "!!"),
            State::Error => Painted(RED, "xx"),
        };
        context.printer.out(format!("{sign}  {:<width$}  {}", check.name, check.found));
        if let Some(fix) = &check.fix {
            context.printer.out(format!("    {:<width$}  fix: {fix}", ""));
        }
    }
    let bad = checks.iter().filter(|check| check.state != State::Ok).count();
    context.printer.out(match bad {
        0 => "all is well".to_owned(),
        bad => format!("{} of {} deserve a look", bad, count(checks.len(), "check")),
    });
}

/// LOOP_CONFIGURE, mount_setattr and what else is needed are all there since this one.
const KERNEL: (u32, u32) = (5, 12);
/// statmount and listmount: one mount looked at without reading the whole table.
const KERNEL_STATMOUNT: (u32, u32) = (6, 8);

fn kernel() -> Check {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let found = format!("Linux {release}");
    if version < KERNEL {
        let fix = format!("use Linux {}.{} or newer: LOOP_CONFIGURE and mount_setattr are needed", KERNEL.0, KERNEL.1);
        Check::bad("kernel", State::Error, found, fix)
    } else if version < KERNEL_STATMOUNT {
        let found = format!("{found}; without statmount (6.8), so the mount table is read instead");
        Check::ok("kernel", found)
    } else {
        Check::ok("kernel", found)
    }
}

fn privileges(observer: &dyn Observe) -> Result<Vec<Check>> {
    let facts = observer.facts()?;
    let admin = if facts.privileged {
        Check::ok("CAP_SYS_ADMIN", "may attach and mount")
    } else {
        Check::bad("CAP_SYS_ADMIN", State::Error, "may neither attach nor mount", "run csictl as root (sudo)").rights()
    };
    let resource = if facts.can_grow_ext4_online {
        Check::ok("CAP_SYS_RESOURCE", "ext4 can grow while mounted")
    } else {
        Check::bad(
            "CAP_SYS_RESOURCE",
            State::Warning,
            "ext4 can't grow while mounted; xfs, btrfs and raw block can",
            "give the container CAP_SYS_RESOURCE, or let csictl grow ext4 offline (the plan says so)",
        )
        .rights()
    };
    Ok(vec![admin, resource])
}

fn loops(observer: &dyn Observe) -> Vec<Check> {
    let control = Path::new("/dev/loop-control");
    let check = match observer.stat(control) {
        Ok(Some(_)) => match observer.loops() {
            Ok(loops) => Check::ok("loop devices", format!("{} attached on this machine", loops.len())),
            Err(error) => {
                Check::bad("loop devices", State::Error, error.to_string(), "run csictl as root (sudo)").rights()
            }
        },
        _ => Check::bad(
            "loop devices",
            State::Error,
            "/dev/loop-control is missing",
            "modprobe loop; in a container pass /dev/loop-control and /dev/loop*",
        ),
    };
    vec![check]
}

fn filesystem(fs: FsType) -> Check {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known.split_whitespace().any(|word| word == fs.as_str()) {
        return Check::ok(format!("{fs} in the kernel"), "known");
    }
    let fix = format!("modprobe {fs}; the kernel also loads it by itself at the first mount where it can");
    Check::bad(format!("{fs} in the kernel"), State::Warning, "not loaded", fix)
}

/// Permission bits that let others write.
const OTHERS_WRITE: u32 = 0o022;

fn directory(observer: &dyn Observe, name: &str, path: &Path, private: bool) -> Check {
    let shown = path.display();
    match observer.stat(path) {
        Ok(None) => match unwritable(observer, path) {
            Some((found, fix)) => Check::bad(name, State::Error, found, fix),
            None => Check::ok(name, format!("{shown} will be made by the first apply")),
        },
        Ok(Some(facts)) if facts.kind != FileKind::Directory => {
            Check::bad(name, State::Error, format!("{shown} is no directory"), "move it away, or use another")
        }
        Ok(Some(facts)) if facts.uid != 0 && private => Check::bad(
            name,
            State::Error,
            format!("{shown} belongs to user {}", facts.uid),
            format!("chown root: {shown}"),
        ),
        Ok(Some(facts)) if facts.mode & OTHERS_WRITE != 0 => Check::bad(
            name,
            State::Error,
            format!("{shown} is writable for others (mode {:04o})", facts.mode & 0o7777),
            format!("chmod go-w {shown}"),
        ),
        Ok(Some(_)) => match unwritable(observer, path) {
            Some((found, fix)) => Check::bad(name, State::Error, found, fix),
            None => Check::ok(name, shown.to_string()),
        },
        Err(error) => Check::bad(name, State::Warning, error.to_string(), "run csictl as root (sudo)").rights(),
    }
}

/// Why nothing can be written there, and what to do, as its mount and its file system tell: `doctor` does not try it.
fn unwritable(observer: &dyn Observe, path: &Path) -> Option<(String, String)> {
    let shown = path.display();
    let table = observer.mount_table().ok()?;
    let mount = path.ancestors().find_map(|above| table.at(above).last())?;
    let target = mount.target.display();
    if mount.read_only() || mount.super_options.iter().any(|option| option == "ro") {
        let fix = format!("mount -o remount,rw {target}, or use another place (--state-dir, --run-dir)");
        return Some((format!("{shown} is on {target}, which is read-only"), fix));
    }
    let there = path.ancestors().find(|above| matches!(observer.stat(above), Ok(Some(_))))?;
    let usage = observer.usage(there).ok()?;
    let full = usage.total > 0 && usage.available == 0 || usage.inodes > 0 && usage.inodes_used >= usage.inodes;
    full.then(|| (format!("{shown} is on {target}, which is full"), format!("free space or inodes on {target}")))
}
