//! DeleteVolume (CSI 1.12). The call is the approval of the loss, for a volume made over gRPC; a project's is its project's to delete.

use tonic::Status;

use crate::csi::plugin::Plugin;
use crate::csi::proto::{DeleteVolumeRequest, DeleteVolumeResponse};
use crate::csi::{request, status};
use crate::driver::Driver;
use crate::exec::lanes::Lane;
use crate::model::action::DeleteRequest;
use crate::model::record::Recorded;
use crate::model::{Approval, Loss, ObjectRef, Owner, VolumeId};
use crate::state::Reader;

pub(super) async fn delete_volume(plugin: &Plugin, call: DeleteVolumeRequest) -> Result<DeleteVolumeResponse, Status> {
    let text = request::required("volume_id", &call.volume_id)?;
    request::map("secrets", &call.secrets)?;
    // What can't be an id is no volume, and what is not there is deleted.
    let Ok(id) = text.parse::<VolumeId>() else { return Ok(DeleteVolumeResponse {}) };
    plugin.run(&[text], Lane::Kernel, move |plugin| delete(plugin, id)).await
}

fn delete(plugin: &Plugin, id: VolumeId) -> Result<DeleteVolumeResponse, Status> {
    let driver = plugin.driver();
    let recorded = Reader::new(driver.host(), driver.layout()).volume(&id);
    if recorded == Recorded::Absent {
        // Without a lock, of which something would stay.
        return Ok(DeleteVolumeResponse {});
    }
    if let Some(Owner::Project(project)) = recorded.present().map(|record| &record.spec.owner) {
        return Err(of_project(&id, project));
    }
    let approval = Some(Approval { object: ObjectRef::Volume(id.clone()), loss: Loss::Delete });
    driver.delete(&DeleteRequest { id, approval }).map_err(|error| status::of(&error))?;
    Ok(DeleteVolumeResponse {})
}

/// The refusal to change what a manifest declares.
pub(super) fn of_project(id: &VolumeId, project: &crate::model::Name) -> Status {
    Status::failed_precondition(format!(
        "volume {id} belongs to project {project}: change that project's manifest and apply it"
    ))
}
