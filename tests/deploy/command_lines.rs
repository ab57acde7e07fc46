//! Every command line of csictl in the files below `deploy/` is one that csictl takes.

use clap::FromArgMatches;
use csictl::cli::args::{Cli, Command, OnError};

use super::tools::{container, hcl, helm, kustomize, strings, text};

/// Where a command line stands, and its words.
type Line = (String, Vec<String>);

fn read(line: &Line) -> Cli {
    let (place, words) = line;
    let matches =
        csictl::cli::command().try_get_matches_from(std::iter::once("csictl").chain(words.iter().map(String::as_str)));
    matches
        .and_then(|matches| Cli::from_arg_matches(&matches))
        .unwrap_or_else(|error| panic!("{place}: {words:?}\n{error}"))
}

fn units() -> Vec<Line> {
    let mut lines = Vec::new();
    for unit in ["csictl.service", "csictl-apply@.service"] {
        for line in text(&format!("deploy/systemd/{unit}")).lines().filter(|line| line.starts_with("Exec")) {
            let words: Vec<String> = line.split_once('=').unwrap().1.split_whitespace().map(str::to_owned).collect();
            if line == "ExecReload=/bin/kill -HUP $MAINPID" {
                continue;
            }
            assert_eq!(words[0], "/usr/local/bin/csictl", "{unit}");
            lines.push((unit.to_owned(), words[1..].to_vec()));
        }
    }
    lines
}

fn daemon_sets() -> Vec<Line> {
    let everything = [
        r#"node.topology={"topology.example.org/rack": "r1"}"#,
        "node.maxVolumes=200",
        "node.metrics.enabled=true",
        r#"node.extraArgs=["--allow-uid=1000", "--parallelism=8"]"#,
    ];
    let args = |objects: &[serde_json::Value]| strings(&container(objects, "csictl")["args"]);
    vec![
        ("kustomize".to_owned(), args(&kustomize("base"))),
        ("helm".to_owned(), args(&helm(&[]))),
        ("helm, every flag".to_owned(), args(&helm(&everything))),
    ]
}

fn nomad() -> Line {
    let job = hcl("deploy/nomad/plugin.nomad.hcl");
    let task = &job["job"][0]["csictl"]["group"][0]["plugin"]["task"][0]["csictl"];
    ("plugin.nomad.hcl".to_owned(), strings(&task["config"][0]["args"]))
}

fn image() -> Line {
    let dockerfile = text("Dockerfile");
    let command = dockerfile.lines().find_map(|line| line.strip_prefix("CMD ")).unwrap();
    ("Dockerfile".to_owned(), serde_json::from_str(command).unwrap())
}

#[test]
fn each_one_is_taken_by_csictl() {
    let lines: Vec<Line> = units().into_iter().chain(daemon_sets()).chain([nomad(), image()]).collect();

    let read: Vec<Cli> = lines.iter().map(read).collect();

    let count = |name: &str| read.iter().filter(|cli| cli.command.name() == name).count();
    assert_eq!((count("serve"), count("apply")), (6, 2));
}

#[test]
fn all_drivers_bear_the_default_name() {
    let lines: Vec<Line> = units().into_iter().chain(daemon_sets()).chain([nomad(), image()]).collect();
    for line in &lines {
        if let Command::Serve(args) = read(line).command {
            assert_eq!(args.driver_name, csictl::csi::config::DRIVER_NAME, "{}", line.0);
        }
    }
}

#[test]
fn in_kubernetes_each_node_has_its_own_driver_and_elsewhere_not() {
    let lines = daemon_sets().into_iter().map(|line| (line, true)).chain([(nomad(), false), (image(), false)]);
    for (line, node_local) in lines {
        let Command::Serve(args) = read(&line).command else { panic!("{}: not serve", line.0) };
        assert_eq!(args.node_local, node_local, "{}", line.0);
    }
}

#[test]
fn a_boot_never_asks_and_goes_on_after_a_failure() {
    for line in units() {
        if let Command::Apply(args) = read(&line).command {
            assert!(args.run.yes && args.approve.is_empty(), "{line:?}: no loss of data is approved beforehand");
            assert_eq!((args.run.on_error, args.on_refusal), (OnError::Continue, OnError::Continue));
        }
    }
}
