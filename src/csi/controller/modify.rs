//! ControllerModifyVolume (CSI 1.12): what can change in place. A reservation can grow from sparse to full; mount options are taken up by the next
//! stage. All else was settled when the volume was made.

use tonic::Status;

use super::delete::of_project;
use super::volume::{existing, id_of};
use crate::csi::parameters::Mutable;
use crate::csi::plugin::Plugin;
use crate::csi::proto::{ControllerModifyVolumeRequest, ControllerModifyVolumeResponse};
use crate::csi::room::Reservation;
use crate::csi::{provision, request, status};
use crate::driver::Driver;
use crate::exec::lanes::Lane;
use crate::model::{Allocate, Backing, ImageBacking, Owner, VolumeId, VolumeSpec};

pub(super) async fn controller_modify_volume(
    plugin: &Plugin,
    call: ControllerModifyVolumeRequest,
) -> Result<ControllerModifyVolumeResponse, Status> {
    plugin.only_central("ControllerModifyVolume")?;
    let text = request::required("volume_id", &call.volume_id)?;
    request::map("secrets", &call.secrets)?;
    let wanted = Mutable::read(&call.mutable_parameters)?;
    let id = id_of(text)?;
    // Allocating a whole image takes as long as copying one.
    let lane = if wanted.allocate == Some(Allocate::Full) { Lane::Copy } else { Lane::Kernel };
    plugin.run(&[text], lane, move |plugin| modify(plugin, &id, &wanted)).await
}

fn modify(plugin: &Plugin, id: &VolumeId, wanted: &Mutable) -> Result<ControllerModifyVolumeResponse, Status> {
    let records = plugin.volumes()?;
    let damaged = || Status::failed_precondition(format!("volume {id}: its record is damaged"));
    let record = existing(plugin, &records, id)?.ok_or_else(damaged)?;
    if let Owner::Project(project) = &record.spec.owner {
        return Err(of_project(id, project));
    }
    let mut spec = record.spec.clone();
    let mut reservation = None;
    if let (Some(allocate), Backing::Image(image)) = (wanted.allocate, &mut spec.backing)
        && allocate != image.allocate
    {
        if allocate == Allocate::Sparse {
            return Err(Status::invalid_argument(format!(
                "volume {id}: allocate goes from sparse to full, never back: its bytes are reserved"
            )));
        }
        reservation = reserve(plugin, id, image, record.spec.required().map_or(0, crate::model::Capacity::get))?;
        image.allocate = allocate;
    }
    if let Some(options) = &wanted.mount_options {
        spec.mount_options = options_of(id, &spec, options)?;
    }
    // One that was cut off is done again, also where its caller has thought better of it.
    if spec != record.spec || record.modifying {
        plugin.driver().modify(&spec).map_err(|error| status::of(&error))?;
    }
    drop(reservation);
    Ok(ControllerModifyVolumeResponse {})
}

fn options_of(id: &VolumeId, spec: &VolumeSpec, options: &[String]) -> Result<Vec<String>, Status> {
    match spec.fs_type() {
        Some(fs_type) => provision::checked(fs_type, options),
        None if options.is_empty() => Ok(Vec::new()),
        None => Err(Status::invalid_argument(format!("volume {id} is raw block: it is never mounted"))),
    }
}

/// Keeps the bytes that are still to be allocated. A pool that is configured no longer has no reserve.
fn reserve(plugin: &Plugin, id: &VolumeId, image: &ImageBacking, size: u64) -> Result<Option<Reservation>, Status> {
    let storage = plugin.storage();
    let Some(pool) = storage.pools.get(&image.pool).filter(|pool| pool.path == image.pool_path) else {
        return Ok(None);
    };
    let seen = plugin.driver().host().image(&image.image_path(id)).map_err(|error| status::of_host(&error))?;
    let allocated = seen.map_or(0, |image| image.allocated.get());
    plugin.ledger().reserve(plugin, pool, &format!("{id}@allocate"), size.saturating_sub(allocated))
}
