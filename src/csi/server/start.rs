//! What a server does before it is ready: what killed runs left in its way is undone, cheaply. None of it stands in the way of serving;
//! what can't be undone now is shown by `csictl gc`.

use crate::csi::plugin::Plugin;
use crate::driver::local::{gc, group};
use crate::model::{Layout, Owner};

/// Thaws what a killed snapshot left frozen, ends what was begun with groups of snapshots, and removes half-made files of volumes made over gRPC.
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
}

fn pools(plugin: &Plugin, layout: &Layout) -> Vec<std::path::PathBuf> {
    let storage = plugin.storage();
    let configured = storage.pools.values().map(|pool| pool.path.clone());
    let mut pools: Vec<_> = configured.chain([layout.default_pool()]).collect();
    pools.sort();
    pools.dedup();
    pools
}
