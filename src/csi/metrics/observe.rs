//! The pass in the background: the machine is looked at now and then, by a thread of its own, whoever scrapes and however often.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::Metrics;
use super::samples::{self, Sample};
use crate::csi::plugin::Plugin;
use crate::driver::local::observe::{Scope, observe};
use crate::model::Observed;
use crate::model::observed::ObservedPool;

/// How long it rests between two looks, and at least twenty times as long as a look takes.
const REST: Duration = Duration::from_secs(30);
const SHARE: u32 = 20;

/// Looks until the server ends.
pub async fn keep_looking(plugin: Plugin, metrics: Arc<Metrics>, mut ending: watch::Receiver<bool>) {
    loop {
        let (plugin, begun) = (plugin.clone(), Instant::now());
        let samples = tokio::task::spawn_blocking(move || look(&plugin)).await;
        let took = begun.elapsed();
        if let Ok(samples) = samples {
            metrics.saw(samples);
        }
        tokio::select! {
            () = tokio::time::sleep(REST.max(took * SHARE)) => {}
            _ = ending.wait_for(|ending| *ending) => return,
        }
    }
}

fn look(plugin: &Plugin) -> Vec<Sample> {
    let begun = Instant::now();
    let (host, layout) = (plugin.driver().host(), plugin.driver().layout());
    let (mut samples, failed) = match observe(host, layout, Scope::Everything) {
        Ok(mut observed) => {
            add_pools(plugin, &mut observed);
            (samples::of(&observed), 0.0)
        }
        Err(error) => {
            tracing::warn!(%error, "metrics: the machine can't be looked at");
            (Vec::new(), 1.0)
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64());
    samples.push(Sample::new("csictl_observed_timestamp_seconds", &[], now.floor()));
    samples.push(Sample::new("csictl_observation_duration_seconds", &[], begun.elapsed().as_secs_f64()));
    samples.push(Sample::new("csictl_observation_failed", &[], failed));
    samples
}

/// Records know where images are; what a pool may hold, and pools without images, only the configuration knows.
fn add_pools(plugin: &Plugin, observed: &mut Observed) {
    for (name, pool) in &plugin.storage().pools {
        if let Some(seen) = observed.pools.get_mut(name) {
            seen.pool = pool.clone();
            continue;
        }
        let Ok(facts) = plugin.driver().host().pool(pool) else { continue };
        let seen = ObservedPool {
            missed: None,
            open_to: None,
            pool: pool.clone(),
            exists: facts.exists,
            fs_type: facts.fs_type,
            free: facts.free,
            total: facts.total,
            reflink: facts.reflink,
            largest_file: facts.largest_file,
            nominal: Default::default(),
            unallocated: Default::default(),
        };
        observed.pools.insert(name.clone(), seen);
    }
}
