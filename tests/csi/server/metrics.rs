//! Metrics: what is served, what is documented, and what the dashboard and the alert rules ask for are one and the same list.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::Path;

use csictl::csi::metrics::{ALL, Metric};

use super::process::{csi, free_address, get, until};
use crate::support::Place;
use crate::support::place::said;
use crate::support::serving::Serving;

fn repository(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn calls_volumes_pools_and_lanes_are_counted() {
    let place = Place::new();
    let address = free_address();
    let config = format!("version = 1\n[pools.main]\npath = \"{}\"\nlimit = \"1GiB\"\n", place.join("pool").display());
    let config = place.write("storage.toml", &config);
    std::fs::create_dir(place.join("pool")).unwrap();
    let words = ["--metrics-addr", &address.to_string(), "--config", config.to_str().unwrap()];
    // A volume that is there from the beginning is seen by the first look.
    let first = Serving::start(&place, &["--config", config.to_str().unwrap()]);
    let create = [
        "create-volume",
        "--name",
        "v",
        "--required-bytes",
        "16MiB",
        "--cap",
        "SINGLE_NODE_WRITER,mount,ext4",
        "--params",
        "allocate=sparse",
    ];
    let made = csi(&place, first.socket(), &create);
    assert!(made.status.success(), "{}", said(&made));
    assert_eq!(first.end(), Some(0));
    let serving = Serving::start(&place, &words);
    assert_eq!(
        csi(&place, serving.socket(), &["controller-get-volume", "--volume-id", "none"]).status.code(),
        Some(105)
    );
    until("the first look is over", || get(address, "/metrics").1.contains("csictl_observed_timestamp_seconds"));
    let (head, page) = get(address, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/openmetrics-text"), "{head}");
    for line in [
        "csictl_rpc_total{method=\"ControllerGetVolume\",code=\"NOT_FOUND\"} 1",
        "csictl_rpc_duration_seconds_count{method=\"ControllerGetVolume\"} 1",
        "csictl_rpc_in_flight 0",
        "csictl_rpc_refused_total 0",
        "csictl_lane_running{lane=\"mkfs\"} 0",
        "csictl_volumes{phase=\"created\",owner=\"csi\"} 1",
        "csictl_volumes_nominal_bytes{owner=\"csi\"} 16777216",
        "csictl_pool_limit_bytes{pool=\"main\"} 1073741824",
        "csictl_pool_nominal_bytes{pool=\"main\"} 16777216",
        "csictl_loop_devices 0",
        "csictl_volumes_unlisted 0",
        "csictl_observation_failed 0",
    ] {
        assert!(page.lines().any(|found| found == line || found == format!("{line}.0")), "{line}\n{page}");
    }
    assert!(page.contains("csictl_volume_healthy{volume=\"vol-"), "{page}");
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let known = ALL.iter().any(|metric| metric.kind == kind && metric.name.trim_end_matches("_total") == name);
        assert!(known, "{line} is documented");
    }
    assert!(get(address, "/").0.starts_with("HTTP/1.1 404"));
}

#[test]
fn a_taken_port_is_an_error_before_anything_is_served() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let endpoint = place.join("csi.sock");
    let (code, text) = place.exit(&["serve", "--endpoint", endpoint.to_str().unwrap(), "--metrics-addr", &address]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(&address) && text.contains("--metrics-addr"), "{text}");
    assert!(!endpoint.exists());
}

#[test]
fn the_page_of_metrics_lists_what_the_code_has() {
    let page = repository("docs/metrics.md");
    let rows: Vec<String> = page.lines().filter(|line| line.starts_with("| `csictl_")).map(str::to_owned).collect();
    let row = |metric: &Metric| {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {} | {} | {} |", metric.name, metric.kind, labels.join(", "), metric.help)
    };
    assert_eq!(rows, ALL.iter().map(row).collect::<Vec<_>>());
}

/// The words of an expression that could be names, and the labels it groups by or selects.
fn asked(expression: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut names, mut labels) = (BTreeSet::new(), BTreeSet::new());
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for part in expression.split(|c: char| !word(c)).filter(|part| part.starts_with("csictl_")) {
        names.insert(part.to_owned());
    }
    for (open, close) in [("by (", ')'), ("{", '}')] {
        for list in expression.split(open).skip(1).filter_map(|rest| rest.split(close).next()) {
            let of = |item: &str| item.trim().chars().take_while(|c| word(*c)).collect::<String>();
            labels.extend(list.split(',').map(of).filter(|label| !label.is_empty()));
        }
    }
    (names, labels)
}

fn check(place: &str, expression: &str) {
    let known: BTreeMap<&str, &Metric> = ALL.iter().map(|metric| (metric.name, metric)).collect();
    let (names, labels) = asked(expression);
    assert!(!names.is_empty(), "{place}: {expression} asks for nothing of csictl's");
    let mut has = BTreeSet::from(["instance", "job"]);
    for name in &names {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let metric = known.get(name.as_str()).or_else(|| base.and_then(|base| known.get(base)));
        let metric = metric.unwrap_or_else(|| panic!("{place}: there is no metric {name}: {expression}"));
        has.extend(metric.labels);
        has.extend(base.filter(|_| metric.kind == "histogram").map(|_| "le"));
    }
    for label in labels {
        assert!(has.contains(label.as_str()), "{place}: no label {label}: {expression}");
    }
    let balanced = |open, close| expression.matches(open).count() == expression.matches(close).count();
    assert!(balanced('(', ')') && balanced('{', '}') && balanced('[', ']'), "{place}: {expression}");
}

#[test]
fn the_dashboard_asks_only_for_what_there_is_and_shows_all_of_it() {
    let dashboard: serde_json::Value = serde_json::from_str(&repository("deploy/grafana/csictl.json")).unwrap();
    let mut shown = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            check(title, expression);
            shown.extend(asked(expression).0);
        }
    }
    for metric in ALL {
        let bucket = format!("{}_bucket", metric.name);
        assert!(shown.contains(metric.name) || shown.contains(&bucket), "{} is on no panel", metric.name);
    }
}

#[test]
fn the_alert_rules_ask_only_for_what_there_is() {
    let rules = repository("deploy/prometheus/alerts.yaml");
    let expressions: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    let alerts = rules.matches("- alert: ").count();
    assert!(alerts > 5 && expressions.len() == alerts, "{alerts} alerts, {} expressions", expressions.len());
    for expression in expressions {
        check("alerts.yaml", expression);
    }
}
