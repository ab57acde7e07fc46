//! Metrics (Prometheus): what the server counts of its calls as they happen, what its lanes hold at the moment of asking, and what a pass in
//! the background saw of volumes, pools and snapshots. A scrape never looks at the machine.
//!
//! [`ALL`] is the one list of names; docs/metrics.md, the dashboard and the alert rules are held against it by tests.

pub mod http;
pub mod observe;
pub mod samples;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::exec::Engine;
use crate::exec::lanes::Lane;
use samples::Sample;

/// One metric as it is documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name, as queries have it.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

const fn metric(name: &'static str, kind: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind, labels, help }
}

/// Every metric there is.
pub const ALL: &[Metric] = &[
    metric("csictl_build_info", "gauge", &["version"], "Always 1; the version is in the label"),
    metric("csictl_rpc_total", "counter", &["method", "code"], "Calls answered, by RPC and gRPC code"),
    metric("csictl_rpc_duration_seconds", "histogram", &["method"], "How long calls took, by RPC"),
    metric("csictl_rpc_in_flight", "gauge", &[], "Calls that have no whole answer yet"),
    metric("csictl_rpc_refused_total", "counter", &[], "Calls turned away because too many were in flight"),
    metric("csictl_connections_refused_total", "counter", &[], "Connections closed because too many were open"),
    metric("csictl_lane_running", "gauge", &["lane"], "Pieces of work that run, by lane of the engine"),
    metric("csictl_lane_waiting", "gauge", &["lane"], "Pieces of work that wait for a place, by lane of the engine"),
    metric("csictl_volumes", "gauge", &["phase", "owner"], "Volumes, by phase and owner (csi or project)"),
    metric("csictl_volumes_nominal_bytes", "gauge", &["owner"], "Sizes of all volumes added up, by owner"),
    metric("csictl_volumes_allocated_bytes", "gauge", &["owner"], "Bytes their images take on disk, by owner"),
    metric("csictl_volumes_unlisted", "gauge", &[], "Volumes left out of the metrics of single volumes"),
    metric("csictl_volume_capacity_bytes", "gauge", &["volume"], "Size of a volume"),
    metric("csictl_volume_used_bytes", "gauge", &["volume"], "Bytes in use in a volume"),
    metric("csictl_volume_healthy", "gauge", &["volume"], "1 when a volume is as it should be, else 0"),
    metric("csictl_loop_devices", "gauge", &[], "Loop devices attached to volumes"),
    metric("csictl_snapshots", "gauge", &["owner"], "Snapshots, by owner"),
    metric("csictl_snapshots_allocated_bytes", "gauge", &["owner"], "Bytes snapshots take on disk, by owner"),
    metric("csictl_pool_free_bytes", "gauge", &["pool"], "Bytes free on the file system below a pool"),
    metric("csictl_pool_total_bytes", "gauge", &["pool"], "Bytes of the file system below a pool"),
    metric(
        "csictl_pool_limit_bytes",
        "gauge",
        &["pool"],
        "The most a pool's images may add up to; absent without a limit",
    ),
    metric("csictl_pool_nominal_bytes", "gauge", &["pool"], "Sizes of a pool's images and snapshots added up"),
    metric("csictl_observed_timestamp_seconds", "gauge", &[], "When volumes, pools and snapshots were last looked at"),
    metric("csictl_observation_duration_seconds", "gauge", &[], "How long that look took"),
    metric("csictl_observation_failed", "gauge", &[], "1 when the last look failed, else 0"),
];

/// The help of a metric.
fn help(name: &str) -> &'static str {
    ALL.iter().find(|metric| metric.name == name).map_or("", |metric| metric.help)
}

/// Upper bounds of the buckets of durations, in seconds: a kernel call is a millisecond, a mkfs tens, a copy minutes.
const BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0];

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// What is counted and what was seen.
pub struct Metrics {
    registry: Registry,
    rpcs: Family<Labels<2>, Counter>,
    durations: Family<Labels<1>, Histogram, fn() -> Histogram>,
    /// Calls that run.
    pub in_flight: Gauge,
    /// Calls turned away.
    pub refused_calls: Counter,
    /// Connections turned away.
    pub refused_connections: Counter,
    seen: Arc<Mutex<Vec<Sample>>>,
}

impl Metrics {
    /// Of a server whose work this engine does.
    pub fn new(engine: Engine) -> Arc<Self> {
        let mut registry = Registry::default();
        let rpcs = Family::default();
        let durations = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let (in_flight, refused_calls, refused_connections) =
            (Gauge::default(), Counter::default(), Counter::default());
        // The encoder gives counters their ending and help its full stop.
        let mut counter = |name: &str, metric: Counter| {
            registry.register(name.trim_end_matches("_total"), help(name), metric);
        };
        counter("csictl_rpc_refused_total", refused_calls.clone());
        counter("csictl_connections_refused_total", refused_connections.clone());
        registry.register("csictl_rpc", help("csictl_rpc_total"), Family::clone(&rpcs));
        registry.register("csictl_rpc_duration_seconds", help("csictl_rpc_duration_seconds"), durations.clone());
        registry.register("csictl_rpc_in_flight", help("csictl_rpc_in_flight"), in_flight.clone());
        let seen = Arc::new(Mutex::new(Vec::new()));
        registry.register_collector(Box::new(Live { engine, seen: seen.clone() }));
        Arc::new(Self { registry, rpcs, durations, in_flight, refused_calls, refused_connections, seen })
    }

    /// A call was answered.
    pub fn rpc(&self, method: &'static str, code: &'static str, took: Duration) {
        self.rpcs.get_or_create(&[("method", method), ("code", code)]).inc();
        self.durations.get_or_create(&[("method", method)]).observe(took.as_secs_f64());
    }

    /// The machine was looked at.
    pub fn saw(&self, samples: Vec<Sample>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = samples;
    }

    /// All of it in the OpenMetrics text format.
    ///
    /// # Errors
    /// Never in practice: it is written to memory.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// What is asked for or remembered when a scrape comes.
struct Live {
    engine: Engine,
    seen: Arc<Mutex<Vec<Sample>>>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Live")
    }
}

impl Live {
    fn lanes(&self) -> Vec<Sample> {
        let lanes = [(Lane::Kernel, "kernel"), (Lane::Mkfs, "mkfs"), (Lane::Copy, "copy")];
        let load = lanes.map(|(lane, name)| (name, self.engine.load(lane)));
        let sample =
            |metric, name: &str, value: usize| Sample::new(metric, &[("lane", name)], samples::number(value as u64));
        let running = load.iter().map(|(name, (running, _))| sample("csictl_lane_running", name, *running));
        let waiting = load.iter().map(|(name, (_, waiting))| sample("csictl_lane_waiting", name, *waiting));
        running.chain(waiting).collect()
    }
}

impl Collector for Live {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut samples = self.lanes();
        samples.push(Sample::new("csictl_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0));
        samples.extend(self.seen.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        for metric in ALL {
            let mut of_metric = samples.iter().filter(|sample| sample.metric == metric.name).peekable();
            if of_metric.peek().is_none() {
                continue;
            }
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, MetricType::Gauge)?;
            for sample in of_metric {
                if sample.labels.is_empty() {
                    family.encode_gauge(&sample.value)?;
                } else {
                    family.encode_family(&sample.labels)?.encode_gauge(&sample.value)?;
                }
            }
        }
        Ok(())
    }
}
