//! SnapshotMetadata (CSI 1.12, alpha): which blocks of a snapshot are allocated, and which differ between two of one volume. Answers are
//! streams: a page is looked up on a lane, sent, and only then the next, so that a stream holds one page in memory and ends with its caller.

use std::num::NonZeroUsize;
use std::pin::Pin;

use tokio::sync::mpsc::{Sender, channel};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::controller::snapshot::{existing, no_snapshot};
use super::plugin::Plugin;
use super::proto::snapshot_metadata_server::SnapshotMetadata;
use super::proto::{
    BlockMetadata, BlockMetadataType, GetMetadataAllocatedRequest, GetMetadataAllocatedResponse,
    GetMetadataDeltaRequest, GetMetadataDeltaResponse,
};
use super::{request, status};
use crate::exec::lanes::Lane;
use crate::host::{ErrorKind, Extents, ImageFile};
use crate::model::record::SnapshotRecord;
use crate::model::{ObjectRef, SnapshotId};

/// The most tuples of one message, whatever is asked for: some ten kilobytes.
const MOST_RESULTS: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not 0");
/// Pages that wait for a slow reader.
const WAITING: usize = 1;

/// The service.
pub struct SnapshotMetadataService {
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
        asked: Request<GetMetadataAllocatedRequest>,
    ) -> Result<Response<Self::GetMetadataAllocatedStream>, Status> {
        let asked = asked.into_inner();
        request::map("secrets", &asked.secrets)?;
        let id = snapshot_id("snapshot_id", &asked.snapshot_id)?;
        let most = most(asked.max_results)?;
        let found = self.plugin.run(&[], Lane::Kernel, move |plugin| found(plugin, &id)).await?;
        let from = offset(asked.starting_offset, &found)?;
        let look = Look { of: found, base: None, most };
        let message = |capacity, block_metadata| GetMetadataAllocatedResponse {
            block_metadata_type: BlockMetadataType::VariableLength.into(),
            volume_capacity_bytes: capacity,
            block_metadata,
        };
        Ok(Response::new(stream(self.plugin.clone(), look, from, message)))
    }

    async fn get_metadata_delta(
        &self,
        asked: Request<GetMetadataDeltaRequest>,
    ) -> Result<Response<Self::GetMetadataDeltaStream>, Status> {
        let asked = asked.into_inner();
        request::map("secrets", &asked.secrets)?;
        let base = snapshot_id("base_snapshot_id", &asked.base_snapshot_id)?;
        let target = snapshot_id("target_snapshot_id", &asked.target_snapshot_id)?;
        let most = most(asked.max_results)?;
        let both = move |plugin: &Plugin| Ok((found(plugin, &base)?, found(plugin, &target)?));
        let (base, of) = self.plugin.run(&[], Lane::Kernel, both).await?;
        let (one, other) = (&base.record, &of.record);
        if one.volume != other.volume {
            let message = format!("{} is of volume {}, {} of {}", one.id, one.volume, other.id, other.volume);
            return Err(Status::invalid_argument(message));
        }
        // Both are RFC 3339 in UTC with whole seconds: text order is time order.
        if one.created_at > other.created_at {
            let message = format!("base snapshot {} was taken after target snapshot {}", one.id, other.id);
            return Err(Status::invalid_argument(message));
        }
        let from = offset(asked.starting_offset, &of)?;
        let look = Look { of, base: Some(base), most };
        let message = |capacity, block_metadata| GetMetadataDeltaResponse {
            block_metadata_type: BlockMetadataType::VariableLength.into(),
            volume_capacity_bytes: capacity,
            block_metadata,
        };
        Ok(Response::new(stream(self.plugin.clone(), look, from, message)))
    }
}

/// A snapshot whose file was found.
#[derive(Clone)]
struct Found {
    record: SnapshotRecord,
    image: ImageFile,
}

/// What a stream looks up, page by page.
#[derive(Clone)]
struct Look {
    of: Found,
    base: Option<Found>,
    most: NonZeroUsize,
}

impl Look {
    /// One page. Blocks.
    fn page(&self, plugin: &Plugin, from: u64) -> Result<Extents, Status> {
        let host = plugin.driver().host();
        let extents = match &self.base {
            None => host.data_extents(&self.of.image, from, self.most),
            Some(base) => host.changed_extents(&self.of.image, &base.image, from, self.most),
        };
        extents.map_err(|error| match error.kind {
            // Deleted while it was read.
            ErrorKind::NotFound | ErrorKind::Foreign => Status::not_found(format!("{error}; the snapshot is gone")),
            _ => status::of_host(&error),
        })
    }

    /// Reading bytes to compare them is bulk work, asking where they are is not.
    fn lane(&self) -> Lane {
        if self.base.is_some() { Lane::Copy } else { Lane::Kernel }
    }
}

fn stream<T: Send + 'static>(
    plugin: Plugin,
    look: Look,
    from: u64,
    message: impl Fn(i64, Vec<BlockMetadata>) -> T + Send + Sync + 'static,
) -> Answers<T> {
    let (answers, stream) = channel(WAITING);
    tokio::spawn(async move { pages(&plugin, &look, from, &answers, message).await });
    Box::pin(ReceiverStream::new(stream))
}

/// Sends pages until there are no more, one fails, or nobody listens any more.
async fn pages<T: Send>(
    plugin: &Plugin,
    look: &Look,
    from: u64,
    answers: &Sender<Result<T, Status>>,
    message: impl Fn(i64, Vec<BlockMetadata>) -> T,
) {
    let capacity = i64::try_from(look.of.record.size.get()).unwrap_or(i64::MAX);
    let (mut next, mut sent) = (Some(from), false);
    while let Some(from) = next {
        let once = look.clone();
        let looked = tokio::select! {
            looked = plugin.run(&[], look.lane(), move |plugin| once.page(plugin, from)) => looked,
            () = answers.closed() => return,
        };
        let extents = match looked {
            Ok(extents) => extents,
            Err(status) => return drop(answers.send(Err(status)).await),
        };
        next = extents.next;
        let last_word = next.is_none() && !sent;
        // Even of nothing the capacity is told, once.
        if (!extents.found.is_empty() || last_word)
            && answers.send(Ok(message(capacity, tuples(&extents)))).await.is_err()
        {
            return;
        }
        sent |= !extents.found.is_empty();
    }
}

fn tuples(extents: &Extents) -> Vec<BlockMetadata> {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let tuple = |extent: &crate::host::Extent| BlockMetadata {
        byte_offset: signed(extent.offset),
        size_bytes: signed(extent.length),
    };
    extents.found.iter().map(tuple).collect()
}

fn snapshot_id(field: &str, text: &str) -> Result<SnapshotId, Status> {
    request::required(field, text)?.parse().map_err(|_| no_snapshot(text))
}

fn most(asked: i32) -> Result<NonZeroUsize, Status> {
    let asked = usize::try_from(asked).map_err(|_| Status::invalid_argument("max_results is negative"))?;
    Ok(NonZeroUsize::new(asked).unwrap_or(MOST_RESULTS).min(MOST_RESULTS))
}

fn offset(asked: i64, of: &Found) -> Result<u64, Status> {
    let size = of.record.size.get();
    u64::try_from(asked).ok().filter(|offset| *offset <= size).ok_or_else(|| {
        Status::out_of_range(format!(
            "starting_offset {asked} is not in snapshot {}, which has {size} bytes",
            of.record.id
        ))
    })
}

fn found(plugin: &Plugin, id: &SnapshotId) -> Result<Found, Status> {
    let record = existing(plugin, id)?;
    let file = plugin.driver().snapshot_file(&record).map_err(|error| status::of(&error))?;
    let file = file.ok_or_else(|| {
        let (what, path) = (ObjectRef::Snapshot(id.clone()), record.path.display());
        Status::failed_precondition(format!("{what}: its file {path} is gone. Bring it back, or delete the snapshot"))
    })?;
    Ok(Found { image: ImageFile { path: file.path, file: file.file }, record })
}
