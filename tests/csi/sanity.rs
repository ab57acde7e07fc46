//! csi-sanity, the conformance test of the CSI community, against the real server in the configurations that it knows: nothing may fail, and
//! only what upstream has switched off, or what a configuration is without, may be skipped.

use std::process::Command;

use crate::support::Place;
use crate::support::serving::Serving;

/// Where `scripts/tools` puts it.
const SANITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/build/tools/csi-sanity-v5.4.0");

/// csi-sanity's volumes have 10 GiB: sparse ones, or the machine would be full. Xfs, since growing a mounted ext4 needs CAP_SYS_RESOURCE.
const SPARSE_XFS: &str = "allocate: sparse\ncsi.storage.k8s.io/fstype: xfs\n";
const SPARSE: &str = "allocate: sparse\n";

/// What csi-sanity said, spec by spec.
#[derive(Default)]
struct Report {
    passed: usize,
    skipped: Vec<String>,
    failed: Vec<String>,
}

impl Report {
    fn of(text: &str) -> Self {
        let report: serde_json::Value = serde_json::from_str(text).unwrap();
        let mut read = Self::default();
        let specs = report[0]["SpecReports"].as_array().unwrap();
        for spec in specs.iter().filter(|spec| spec["LeafNodeType"] == "It") {
            let containers = spec["ContainerHierarchyTexts"].as_array().into_iter().flatten();
            let words: Vec<_> = containers.chain([&spec["LeafNodeText"]]).filter_map(|word| word.as_str()).collect();
            let name = words.join(" ");
            match spec["State"].as_str().unwrap() {
                "passed" => read.passed += 1,
                "skipped" | "pending" => read.skipped.push(name),
                state => read.failed.push(format!("{state}: {name}: {}", spec["Failure"]["Message"])),
            }
        }
        read
    }
}

fn run(place: &Place, serving: &Serving, parameters: &str, flags: &[&str]) -> Report {
    assert!(std::path::Path::new(SANITY).exists(), "{SANITY} is missing: run scripts/tools (make test does)");
    let parameters = place.write("parameters.yaml", parameters);
    let report = place.join("sanity.json");
    let output = Command::new(SANITY)
        .arg(format!("-csi.endpoint=unix://{}", serving.socket().display()))
        .arg(format!("-csi.mountdir={}", place.join("sanity-target").display()))
        .arg(format!("-csi.stagingdir={}", place.join("sanity-staging").display()))
        .arg(format!("-csi.testvolumeparameters={}", parameters.display()))
        .arg(format!("-ginkgo.json-report={}", report.display()))
        .args(flags)
        .current_dir(place.path())
        .output()
        .unwrap();
    let text = std::fs::read_to_string(&report)
        .unwrap_or_else(|error| panic!("no report: {error}\n{}", String::from_utf8_lossy(&output.stderr)));
    let report = Report::of(&text);
    assert!(report.failed.is_empty(), "{}\n{}", report.failed.join("\n"), serving.log());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    report
}

/// The specs that upstream itself has switched off.
const UPSTREAM_DISABLED: [&str; 1] = [
    "Controller Service [Controller Server] ListVolumes pagination should detect volumes added between pages and accept tokens when the last volume from a page is deleted",
];
const ATTACH_LIMIT: &str = "Controller Service [Controller Server] ControllerPublishVolume should fail when publishing more volumes than the node max attach limit";

fn assert_skipped(report: &Report, further: &[&str]) {
    let mut expected: Vec<&str> = UPSTREAM_DISABLED.iter().chain(further).copied().collect();
    let mut skipped: Vec<&str> = report.skipped.iter().map(String::as_str).collect();
    expected.sort_unstable();
    skipped.sort_unstable();
    assert_eq!(skipped, expected, "{} passed", report.passed);
}

#[test]
fn mounted_volumes_conform() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    assert_skipped(&run(&place, &serving, SPARSE_XFS, &[]), &[ATTACH_LIMIT]);
}

#[test]
fn raw_block_volumes_conform() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    assert_skipped(&run(&place, &serving, SPARSE, &["-csi.testvolumeaccesstype=block"]), &[ATTACH_LIMIT]);
}

#[test]
fn a_node_with_an_attach_limit_conforms() {
    let place = Place::new();
    let serving = Serving::start(&place, &["--max-volumes-per-node", "4"]);
    assert_skipped(&run(&place, &serving, SPARSE_XFS, &["-csi.testnodevolumeattachlimit"]), &[]);
}

#[test]
fn volumes_with_mutable_parameters_conform() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let mutable = place.write("mutable.yaml", "mount_options: noatime\n");
    let flag = format!("-csi.testvolumemutableparameters={}", mutable.display());
    assert_skipped(&run(&place, &serving, SPARSE_XFS, &[&flag]), &[ATTACH_LIMIT]);
}
