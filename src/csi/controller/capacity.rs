//! GetCapacity (CSI 1.12): how much more can be made, of which sizes.

use tonic::Status;

use crate::csi::capability::Capability;
use crate::csi::parameters::Parameters;
use crate::csi::plugin::Plugin;
use crate::csi::proto::{GetCapacityRequest, GetCapacityResponse};
use crate::csi::{provision, request, size_range, status};
use crate::exec::lanes::Lane;
use crate::model::{Allocate, Capacity, FsType, Pool, VolumeMode};

pub(super) async fn get_capacity(plugin: &Plugin, call: GetCapacityRequest) -> Result<GetCapacityResponse, Status> {
    request::map("parameters", &call.parameters)?;
    let parameters = Parameters::read(&call.parameters, &std::collections::HashMap::new())?;
    let class = provision::class_of(&plugin.storage(), &parameters)?.clone();
    // Where CreateVolume with these parameters is refused, there is no answer to give either.
    let pool = provision::pool_of(&plugin.storage(), &class, &parameters)?.clone();
    let nothing =
        GetCapacityResponse { available_capacity: 0, maximum_volume_size: Some(0), minimum_volume_size: None };
    if call.accessible_topology.is_some_and(|topology| !plugin.config().lies_in(&topology)) {
        return Ok(nothing);
    }
    let capabilities: Result<Vec<_>, _> = call.volume_capabilities.iter().map(Capability::read).collect();
    // Of what can't be had there is none.
    let Ok(capabilities) = capabilities else { return Ok(nothing) };
    let Ok(mode) = provision::volume_mode(&capabilities) else { return Ok(nothing) };
    let fs_type = provision::fs_type_asked(&capabilities, &parameters)?.or(class.fs_type).unwrap_or(FsType::Ext4);
    let least = match mode {
        VolumeMode::Block => Capacity::bytes(4096),
        VolumeMode::Filesystem => fs_type.min_capacity(),
    };
    let sparse = parameters.mutable.allocate.unwrap_or(class.allocate) == Allocate::Sparse;
    let work = move |plugin: &Plugin| {
        let left = left(plugin, &pool, sparse)?;
        // Less than the smallest volume is room for none.
        if left < least.get() {
            return Ok(nothing);
        }
        Ok(GetCapacityResponse {
            available_capacity: bytes(left),
            maximum_volume_size: Some(bytes(left.min(size_range::MOST))),
            minimum_volume_size: Some(bytes(least.get())),
        })
    };
    plugin.run(&[], Lane::Kernel, work).await
}

/// Bytes of volumes that a pool still takes. Sparse ones are bounded by its limit; without one, by what there really is.
fn left(plugin: &Plugin, pool: &Pool, sparse: bool) -> Result<u64, Status> {
    if !plugin.driver().pool_is_mounted(&pool.path).map_err(|error| status::of_host(&error))? {
        return Ok(0);
    }
    let bound = match plugin.driver().below_limit(pool).map_err(|error| status::of_host(&error))? {
        Some(nominal) if sparse => nominal,
        Some(nominal) => nominal.min(plugin.ledger().free(plugin, pool)?),
        None => plugin.ledger().free(plugin, pool)?,
    };
    Ok(bound / 4096 * 4096)
}

fn bytes(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
