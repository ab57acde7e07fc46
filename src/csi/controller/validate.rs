//! ValidateVolumeCapabilities (CSI 1.12): whether a volume can be used in these ways. What can't is no error: the answer then has no `confirmed` and
//! says why.

use tonic::Status;

use super::volume::{existing, id_of};
use crate::csi::capability::Capability;
use crate::csi::parameters::{Parameters, kept};
use crate::csi::plugin::Plugin;
use crate::csi::proto::validate_volume_capabilities_response::Confirmed;
use crate::csi::proto::volume_capability::access_mode::Mode;
use crate::csi::proto::{ValidateVolumeCapabilitiesRequest, ValidateVolumeCapabilitiesResponse, VolumeCapability};
use crate::csi::request;
use crate::exec::lanes::Lane;
use crate::model::VolumeMode;
use crate::model::record::VolumeRecord;

pub(super) async fn validate_volume_capabilities(
    plugin: &Plugin,
    call: ValidateVolumeCapabilitiesRequest,
) -> Result<ValidateVolumeCapabilitiesResponse, Status> {
    let text = request::required("volume_id", &call.volume_id)?;
    for (field, map) in [
        ("volume_context", &call.volume_context),
        ("parameters", &call.parameters),
        ("secrets", &call.secrets),
        ("mutable_parameters", &call.mutable_parameters),
    ] {
        request::map(field, map)?;
    }
    if call.volume_capabilities.is_empty() {
        return Err(Status::invalid_argument("volume_capabilities is empty: name at least one"));
    }
    call.volume_capabilities.iter().try_for_each(whole)?;
    let id = id_of(text)?;
    let work = move |plugin: &Plugin| {
        let records = plugin.volumes()?;
        let Some(record) = existing(plugin, &records, &id)? else {
            let message =
                format!("volume {id}: its record is damaged; it can be unpublished, and is rebuilt when next used");
            return Ok(ValidateVolumeCapabilitiesResponse { confirmed: None, message });
        };
        Ok(match unfit(record, &call) {
            Some(message) => ValidateVolumeCapabilitiesResponse { confirmed: None, message },
            None => ValidateVolumeCapabilitiesResponse {
                confirmed: Some(Confirmed {
                    volume_context: call.volume_context,
                    volume_capabilities: call.volume_capabilities,
                    parameters: call.parameters,
                    mutable_parameters: call.mutable_parameters,
                }),
                message: String::new(),
            },
        })
    };
    plugin.run(&[], Lane::Kernel, work).await
}

/// Refuses a capability that lacks something; one that merely can't be had is no error here.
fn whole(capability: &VolumeCapability) -> Result<(), Status> {
    let missing = |what| Err(Status::invalid_argument(format!("volume_capability has no {what}")));
    match (capability.access_mode, &capability.access_type) {
        (None, _) => missing("access_mode"),
        (Some(mode), _) if mode.mode() == Mode::Unknown => missing("access mode that is known"),
        (_, None) => missing("access_type: block or mount"),
        _ => Ok(()),
    }
}

/// Why the volume can't be used as asked, if it can't.
fn unfit(record: &VolumeRecord, call: &ValidateVolumeCapabilitiesRequest) -> Option<String> {
    for capability in &call.volume_capabilities {
        let asked = match Capability::read(capability) {
            Ok(asked) => asked,
            Err(status) => return Some(status.message().to_owned()),
        };
        let is = record.spec.volume_mode;
        if asked.volume_mode != is {
            let what = if is == VolumeMode::Block { "raw block" } else { "mounted" };
            return Some(format!("volume {} is {what} and nothing else", record.spec.id));
        }
        if let (Some(asked), Some(has)) = (asked.fs_type, record.spec.fs_type())
            && asked != has
        {
            return Some(format!("volume {} has {has}, not {asked}", record.spec.id));
        }
    }
    if let Err(status) = Parameters::read(&call.parameters, &call.mutable_parameters) {
        return Some(status.message().to_owned());
    }
    let made_with = record.asked.as_ref()?;
    // Parameters are optional here; given, they have to be those it was made with.
    let parameters = kept(&call.parameters);
    (!parameters.is_empty() && parameters != made_with.parameters)
        .then(|| format!("volume {} was made with other parameters", record.spec.id))
}
