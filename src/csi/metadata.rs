//! SnapshotMetadata (CSI 1.12, alpha): which blocks of a snapshot are allocated, and which differ between two of one volume.

use std::pin::Pin;

use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::plugin::Plugin;
use super::proto::snapshot_metadata_server::SnapshotMetadata;
use super::proto::{
    GetMetadataAllocatedRequest, GetMetadataAllocatedResponse, GetMetadataDeltaRequest, GetMetadataDeltaResponse,
};

/// The service.
pub struct SnapshotMetadataService {
    #[expect(dead_code)]
    plugin: Plugin,
}

impl SnapshotMetadataService {
    /// Of this plugin.
    pub fn new(plugin: Plugin) -> Self {
        Self { plugin }
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SnapshotMetadata for SnapshotMetadataService {
    type GetMetadataAllocatedStream = Answers<GetMetadataAllocatedResponse>;
    type GetMetadataDeltaStream = Answers<GetMetadataDeltaResponse>;

    async fn get_metadata_allocated(
        &self,
        _: Request<GetMetadataAllocatedRequest>,
    ) -> Result<Response<Self::GetMetadataAllocatedStream>, Status> {
        Err(Status::unimplemented("GetMetadataAllocated"))
    }

    async fn get_metadata_delta(
        &self,
        _: Request<GetMetadataDeltaRequest>,
    ) -> Result<Response<Self::GetMetadataDeltaStream>, Status> {
        Err(Status::unimplemented("GetMetadataDelta"))
    }
}
