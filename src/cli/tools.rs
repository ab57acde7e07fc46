//! Whether the helper programs a plan needs are installed, judged before its first step.

use std::collections::BTreeSet;

use super::exit::Exit;
use super::problem::{Failure, Problem, Result};
use crate::host::ToolFacts;
use crate::model::filesystem::FormatPolicy;
use crate::model::{Action, FsType, Observed};
use crate::plan::Plan;

/// Refuses a plan that would end in a missing helper. Asking for their versions starts them, so a plan that needs none does not ask.
pub fn check(tools: impl FnOnce() -> Vec<ToolFacts>, plan: &Plan, observed: &Observed) -> Result<()> {
    let needed: BTreeSet<&str> = plan.steps.iter().flat_map(|step| needed(&step.action, observed)).copied().collect();
    if needed.is_empty() {
        return Ok(());
    }
    let problems: Vec<_> = tools()
        .into_iter()
        .filter(|tool| tool.path.is_none() && needed.contains(tool.name))
        .map(|tool| {
            Problem::new("cli::missing-tool", format!("{} is not installed", tool.name))
                .cause(format!("it is needed for {}", tool.needed_for))
                .help(format!("install the package {}", tool.package))
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(Failure::Problems(Exit::Missing, problems)) }
}

fn needed(action: &Action, observed: &Observed) -> &'static [&'static str] {
    match action {
        Action::Create(request) => match &request.spec.fs {
            Some(fs) if fs.format != FormatPolicy::Never && request.spec.source.is_none() => match fs.fs_type {
                FsType::Ext4 => &["mke2fs"],
                FsType::Xfs => &["mkfs.xfs"],
                FsType::Btrfs => &["mkfs.btrfs"],
            },
            _ => &[],
        },
        Action::Expand(request) => {
            let record = observed.volumes.get(&request.id).and_then(|seen| seen.record.present());
            match record.and_then(|record| record.spec.fs_type()) {
                Some(FsType::Ext4) => &["e2fsck", "resize2fs", "e2image"],
                Some(FsType::Xfs) => &["xfs_growfs"],
                Some(FsType::Btrfs) => &["btrfs"],
                None => &[],
            }
        }
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest;
    use crate::model::Layout;
    use crate::plan::{Intent, plan};

    fn tool(name: &'static str, there: bool) -> ToolFacts {
        let path = there.then(|| "/usr/sbin/x".into());
        ToolFacts { name, path, version: None, needed_for: "xfs volumes", package: "xfsprogs" }
    }

    #[test]
    fn only_a_tool_the_plan_needs_is_missed() {
        let layout = Layout::new("/state", "/run");
        let context = manifest::Context { name: "m.toml", base_dir: Path::new("/"), layout: &layout };
        let text = "version = 1\nproject = \"p\"\n[volumes.a]\ncapacity = \"300MiB\"\nfs = { type = \"xfs\" }\n";
        let desired = manifest::parse(text, &context).unwrap();
        let observed = Observed::default();
        let plan = plan(&desired, &observed, &layout, &Intent::Apply);
        assert!(!plan.is_empty());
        assert!(check(|| vec![tool("mkfs.xfs", true), tool("mkfs.btrfs", false)], &plan, &observed).is_ok());
        let Err(Failure::Problems(exit, problems)) = check(|| vec![tool("mkfs.xfs", false)], &plan, &observed) else {
            panic!("a missing mkfs.xfs was not missed");
        };
        assert_eq!(exit, Exit::Missing);
        assert_eq!(problems[0].help.as_deref(), Some("install the package xfsprogs"));
    }
}
