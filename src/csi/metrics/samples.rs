//! What was seen of volumes, pools and snapshots as numbers with labels. Pure; the labels have few values, but for the volumes' own, of
//! which there are at most [`VOLUMES_MAX`].

use std::collections::BTreeMap;

use crate::model::observed::{ObservedBacking, ObservedVolume};
use crate::model::{Capacity, Observed, Owner, VolumeId};
use crate::plan::{Phase, drift};

/// The most volumes with metrics of their own, mounted ones first: a time series each is what a Prometheus can bear of one node.
pub const VOLUMES_MAX: usize = 500;

/// One number.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The metric's name.
    pub metric: &'static str,
    /// Its labels with their values.
    pub labels: Vec<(&'static str, String)>,
    /// The number.
    pub value: f64,
}

impl Sample {
    /// One number of a metric.
    pub fn new(metric: &'static str, labels: &[(&'static str, &str)], value: f64) -> Self {
        let labels = labels.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        Self { metric, labels, value }
    }
}

/// A count as Prometheus has numbers; exact up to 2⁵³.
#[expect(clippy::cast_precision_loss, reason = "Prometheus has nothing but floating point")]
pub fn number(value: u64) -> f64 {
    value as f64
}

/// The numbers of an observation.
pub fn of(observed: &Observed) -> Vec<Sample> {
    let mut samples = Vec::new();
    volumes(observed, &mut samples);
    single_volumes(observed, &mut samples);
    snapshots(observed, &mut samples);
    pools(observed, &mut samples);
    samples
}

/// `csi` or `project`: which project is no label, since there may be any number of them.
fn owner(owner: Option<&Owner>) -> &'static str {
    match owner {
        Some(Owner::Csi) => "csi",
        Some(Owner::Project(_)) => "project",
        None => "unknown",
    }
}

fn owner_of(seen: &ObservedVolume) -> &'static str {
    owner(seen.record.present().map(|record| &record.spec.owner))
}

fn volumes(observed: &Observed, samples: &mut Vec<Sample>) {
    let (mut phases, mut nominal, mut allocated) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for seen in observed.volumes.values() {
        let owner = owner_of(seen);
        *phases.entry((Phase::of(seen).to_string(), owner)).or_insert(0_u64) += 1;
        if let Some(size) = capacity(seen) {
            *nominal.entry(owner).or_insert(0) += size.get();
        }
        if let ObservedBacking::Image(image) = &seen.backing {
            *allocated.entry(owner).or_insert(0) += image.allocated.get();
        }
    }
    for ((phase, owner), count) in phases {
        samples.push(Sample::new("csictl_volumes", &[("phase", &phase), ("owner", owner)], number(count)));
    }
    for (metric, sums) in [("csictl_volumes_nominal_bytes", nominal), ("csictl_volumes_allocated_bytes", allocated)] {
        samples.extend(sums.into_iter().map(|(owner, sum)| Sample::new(metric, &[("owner", owner)], number(sum))));
    }
    let loops = observed.volumes.values().filter(|seen| seen.loop_device.is_some()).count();
    samples.push(Sample::new("csictl_loop_devices", &[], number(loops as u64)));
}

fn capacity(seen: &ObservedVolume) -> Option<Capacity> {
    match &seen.backing {
        ObservedBacking::Image(image) => Some(image.size),
        ObservedBacking::Device(device) => Some(device.size),
        _ => seen.record.present().and_then(|record| record.spec.required()),
    }
}

fn single_volumes(observed: &Observed, samples: &mut Vec<Sample>) {
    let mut volumes: Vec<_> = observed.volumes.iter().collect();
    volumes.sort_by_key(|(_, seen)| seen.staged.is_none() && seen.published.is_empty());
    let left_out = volumes.len().saturating_sub(VOLUMES_MAX);
    samples.push(Sample::new("csictl_volumes_unlisted", &[], number(left_out as u64)));
    for (id, seen) in volumes.into_iter().take(VOLUMES_MAX) {
        let labels = [("volume", id.as_str())];
        if let Some(size) = capacity(seen) {
            samples.push(Sample::new("csictl_volume_capacity_bytes", &labels, number(size.get())));
        }
        if let Some(used) = seen.used {
            samples.push(Sample::new("csictl_volume_used_bytes", &labels, number(used.get())));
        }
        let healthy = if is_healthy(id, seen) { 1.0 } else { 0.0 };
        samples.push(Sample::new("csictl_volume_healthy", &labels, healthy));
    }
}

/// As `csictl status --check` sees it.
fn is_healthy(id: &VolumeId, seen: &ObservedVolume) -> bool {
    let publishes: Vec<_> = seen.run.iter().flat_map(|run| run.publishes.values()).collect();
    !matches!(Phase::of(seen), Phase::Failed | Phase::Unknown)
        && seen.unknown.is_empty()
        && drift::of_volume(id, seen, &publishes).is_empty()
}

fn snapshots(observed: &Observed, samples: &mut Vec<Sample>) {
    let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for seen in observed.snapshots.values() {
        let sum = sums.entry(owner(seen.record.present().map(|record| &record.owner))).or_default();
        sum.0 += 1;
        sum.1 += seen.file.as_ref().map_or(0, |file| file.allocated.get());
    }
    let count =
        |(owner, sum): (&&str, &(u64, u64))| Sample::new("csictl_snapshots", &[("owner", owner)], number(sum.0));
    samples.extend(sums.iter().map(count));
    let bytes = |(owner, sum): (&&str, &(u64, u64))| {
        Sample::new("csictl_snapshots_allocated_bytes", &[("owner", owner)], number(sum.1))
    };
    samples.extend(sums.iter().map(bytes));
}

fn pools(observed: &Observed, samples: &mut Vec<Sample>) {
    for (name, seen) in &observed.pools {
        let name = name.to_string();
        let labels = [("pool", name.as_str())];
        samples.push(Sample::new("csictl_pool_free_bytes", &labels, number(seen.free.get())));
        samples.push(Sample::new("csictl_pool_total_bytes", &labels, number(seen.total.get())));
        samples.push(Sample::new("csictl_pool_nominal_bytes", &labels, number(seen.nominal.get())));
        if let Some(limit) = seen.pool.limit {
            samples.push(Sample::new("csictl_pool_limit_bytes", &labels, number(limit.get())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_beyond_the_bound_are_counted_and_not_listed() {
        let mut observed = Observed::default();
        for n in 0..VOLUMES_MAX + 7 {
            observed.volumes.insert(format!("vol-{n}").parse().unwrap(), ObservedVolume::default());
        }
        let samples = of(&observed);
        let listed = samples.iter().filter(|sample| sample.metric == "csictl_volume_healthy").count();
        let unlisted = samples.iter().find(|sample| sample.metric == "csictl_volumes_unlisted").unwrap();
        assert_eq!((listed, unlisted.value), (VOLUMES_MAX, 7.0));
    }

    #[test]
    fn every_number_has_a_metric_and_its_labels() {
        let mut observed = Observed::default();
        observed.volumes.insert("vol-1".parse().unwrap(), ObservedVolume::default());
        observed.snapshots.insert("snap-1".parse().unwrap(), Default::default());
        for sample in of(&observed) {
            let metric = super::super::ALL.iter().find(|metric| metric.name == sample.metric).unwrap();
            let labels: Vec<_> = sample.labels.iter().map(|(key, _)| *key).collect();
            assert_eq!(labels, metric.labels, "{}", metric.name);
        }
    }
}
