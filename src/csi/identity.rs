//! Identity (CSI 1.12, "Identity Service RPC"): who the plugin is, what it offers, whether it can work.

use tonic::{Request, Response, Status};

use super::plugin::Plugin;
use super::proto::identity_server::Identity;
use super::proto::plugin_capability::{self, Service, VolumeExpansion, service, volume_expansion};
use super::proto::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse,
    PluginCapability, ProbeRequest, ProbeResponse,
};

/// The service.
pub struct IdentityService {
    plugin: Plugin,
}

impl IdentityService {
    /// Of this plugin.
    pub fn new(plugin: Plugin) -> Self {
        Self { plugin }
    }

    fn capabilities(&self) -> Vec<PluginCapability> {
        let mut services = vec![service::Type::VolumeAccessibilityConstraints];
        if self.plugin.config().mode.has_controller() {
            services.extend([
                service::Type::ControllerService,
                service::Type::GroupControllerService,
                service::Type::SnapshotMetadataService,
            ]);
        }
        let service = |kind: service::Type| plugin_capability::Type::Service(Service { r#type: kind.into() });
        let online = VolumeExpansion { r#type: volume_expansion::Type::Online.into() };
        let types = services.into_iter().map(service).chain([plugin_capability::Type::VolumeExpansion(online)]);
        types.map(|kind| PluginCapability { r#type: Some(kind) }).collect()
    }
}

#[tonic::async_trait]
impl Identity for IdentityService {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        Ok(Response::new(GetPluginInfoResponse {
            name: self.plugin.config().driver_name.clone(),
            vendor_version: env!("CARGO_PKG_VERSION").to_owned(),
            manifest: std::collections::HashMap::new(),
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        Ok(Response::new(GetPluginCapabilitiesResponse { capabilities: self.capabilities() }))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        self.plugin.ready().await?;
        Ok(Response::new(ProbeResponse { ready: Some(true) }))
    }
}
