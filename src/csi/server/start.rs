//! What a server does before it is ready: what killed runs left in its way is undone, cheaply. None of it stands in the way of serving;
//! what can't be undone now is shown by `csictl gc`.

use std::time::{Duration, SystemTime};

use crate::csi::plugin::Plugin;
use crate::driver::local::{gc, group};
use crate::model::{Layout, Owner};
use crate::state;

/// Between two sweeps of what is kept of objects that are gone.
const SWEEPING: Duration = Duration::from_secs(600);

/// Sweeps again and again, until the server ends.
pub async fn keep_sweeping(plugin: Plugin) {
    loop {
        tokio::time::sleep(SWEEPING).await;
        let plugin = plugin.clone();
        let _ = tokio::task::spawn_blocking(move || sweep(&plugin)).await;
    }
}

fn sweep(plugin: &Plugin) {
    match state::sweep(plugin.driver().host(), plugin.driver().layout(), SystemTime::now()) {
        Ok(0) => {}
        Ok(removed) => tracing::debug!(removed, "swept locks and marks of what is gone"),
        Err(error) => tracing::warn!("locks and marks of what is gone stay: {error}"),
    }
}

/// Thaws what a killed snapshot left frozen, ends what was begun with groups of snapshots, and removes half-made files of volumes made over gRPC,
/// and sweeps locks and marks of what is gone.
pub fn recover(plugin: &Plugin) {
    let (host, layout) = (plugin.driver().host(), plugin.driver().layout());
    match gc::thaw_left(host, layout) {
        Ok(thawed) => thawed.iter().for_each(|path| tracing::warn!("{} was left frozen: thawed", path.display())),
        Err(error) => {
            tracing::warn!("what an earlier run left frozen may still be: {error}; fsfreeze --unfreeze thaws it");
        }
    }
    match group::finish_left(host, layout) {
        Ok(groups) => {
            for id in groups {
                tracing::warn!("ended what an earlier run had begun with group {id}");
            }
        }
        Err(error) => tracing::warn!("what an earlier run had begun with a group of snapshots is not ended: {error}"),
    }
    if let Err(error) = gc::clear_temporaries(host, layout, &Owner::Csi, &pools(plugin, layout)) {
        tracing::warn!("temporary files of an earlier run stay: {error}; csictl gc shows them");
    }
    sweep(plugin);
}

fn pools(plugin: &Plugin, layout: &Layout) -> Vec<std::path::PathBuf> {
    let storage = plugin.storage();
    let configured = storage.pools.values().map(|pool| pool.path.clone());
    let mut pools: Vec<_> = configured.chain([layout.default_pool()]).collect();
    pools.sort();
    pools.dedup();
    pools
}
