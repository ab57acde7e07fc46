//! Metadata of snapshots: what is allocated and what changed, as streams; the changes applied to the base give the target.

#![allow(clippy::cast_possible_truncation, reason = "offsets of files of 32 MiB")]

use std::future::Future;
use std::os::unix::fs::FileExt;
use std::path::Path;

use csictl::csi::proto::{
    BlockMetadata, BlockMetadataType, GetMetadataAllocatedRequest, GetMetadataAllocatedResponse,
    GetMetadataDeltaRequest, GetMetadataDeltaResponse,
};
use rustix::fs::{FallocateFlags, fallocate};
use tonic::{Code, Response, Status, Streaming};

use super::shop::{code, mount_pool, snapshot, volumes};
use crate::support::Place;
use crate::support::serving::Serving;

const SIZE: u64 = 32 << 20;

/// What a message of either stream says.
trait Message {
    fn parts(self) -> (BlockMetadataType, i64, Vec<BlockMetadata>);
}

impl Message for GetMetadataAllocatedResponse {
    fn parts(self) -> (BlockMetadataType, i64, Vec<BlockMetadata>) {
        (self.block_metadata_type(), self.volume_capacity_bytes, self.block_metadata)
    }
}

impl Message for GetMetadataDeltaResponse {
    fn parts(self) -> (BlockMetadataType, i64, Vec<BlockMetadata>) {
        (self.block_metadata_type(), self.volume_capacity_bytes, self.block_metadata)
    }
}

/// The whole of a stream, held to the rules of the specification.
fn whole<T: Message>(
    serving: &Serving,
    most: i32,
    call: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
) -> Result<Vec<(u64, u64)>, Status> {
    serving.block_on(async {
        let mut stream = call.await?.into_inner();
        let (mut found, mut messages) = (Vec::<(u64, u64)>::new(), 0);
        while let Some(message) = stream.message().await? {
            let (kind, capacity, blocks) = message.parts();
            assert_eq!((kind, capacity), (BlockMetadataType::VariableLength, SIZE as i64));
            assert!(most == 0 || blocks.len() <= most as usize, "{} > {most}", blocks.len());
            for block in blocks {
                let (offset, size) = (block.byte_offset as u64, block.size_bytes as u64);
                assert!(size > 0 && offset + size <= SIZE);
                assert!(found.last().is_none_or(|(at, length)| at + length <= offset), "in order, no overlap");
                found.push((offset, size));
            }
            messages += 1;
        }
        assert!(messages > 0, "the capacity is told even of nothing");
        Ok(found)
    })
}

fn allocated(serving: &Serving, id: &str, from: i64, most: i32) -> Result<Vec<(u64, u64)>, Status> {
    let request = GetMetadataAllocatedRequest {
        snapshot_id: id.into(),
        starting_offset: from,
        max_results: most,
        ..Default::default()
    };
    let mut client = serving.metadata();
    whole(serving, most, async move { client.get_metadata_allocated(request).await })
}

fn delta(serving: &Serving, base: &str, target: &str, from: i64, most: i32) -> Result<Vec<(u64, u64)>, Status> {
    let request = GetMetadataDeltaRequest {
        base_snapshot_id: base.into(),
        target_snapshot_id: target.into(),
        starting_offset: from,
        max_results: most,
        ..Default::default()
    };
    let mut client = serving.metadata();
    whole(serving, most, async move { client.get_metadata_delta(request).await })
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Somebody uses the volume: writes anywhere, writes again what is there, and gives space back.
fn use_it(image: &Path, seed: u64, writes: usize) {
    let file = std::fs::File::options().read(true).write(true).open(image).unwrap();
    let mut numbers = Numbers(seed);
    for n in 0..writes {
        let length = 1 + numbers.below(40_000);
        let at = numbers.below(SIZE - length);
        let mut bytes = vec![0u8; length as usize];
        match n % 5 {
            0 => {
                fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, length).unwrap();
                continue;
            }
            1 => file.read_exact_at(&mut bytes, at).unwrap(),
            _ => bytes.fill_with(|| numbers.below(256) as u8),
        }
        file.write_all_at(&bytes, at).unwrap();
    }
    file.sync_all().unwrap();
}

fn changes_are_exact(place: &Place, pool: &Path) {
    volumes(place, "shop.toml", pool, &["db"], false);
    let serving = Serving::start(place, &[]);
    let image = pool.join("shop.db.img");
    let bytes = |id: &str| std::fs::read(pool.join(format!("{id}.snap"))).unwrap();
    let mut taken: Vec<String> = Vec::new();
    for (n, writes) in [40, 25, 0, 3].into_iter().enumerate() {
        use_it(&image, n as u64 + 1, writes);
        taken.push(snapshot(&serving, "shop.db", &format!("s{n}")).unwrap().snapshot_id);
    }
    for id in &taken {
        let data = bytes(id);
        for most in [0, 1, 7] {
            let mut outside = data.clone();
            for (at, length) in allocated(&serving, id, 0, most).unwrap() {
                outside[at as usize..(at + length) as usize].fill(0);
            }
            assert!(outside.iter().all(|byte| *byte == 0), "there is data that was not listed");
        }
    }
    for (base, target) in [(0, 1), (1, 2), (2, 3), (0, 3), (3, 3)] {
        let (before, after) = (bytes(&taken[base]), bytes(&taken[target]));
        for most in [0, 1, 3] {
            let changed = delta(&serving, &taken[base], &taken[target], 0, most).unwrap();
            let mut patched = before.clone();
            for (at, length) in &changed {
                let range = *at as usize..(at + length) as usize;
                assert_ne!(patched[range.clone()], after[range.clone()], "{at}: equal bytes are not changed ones");
                patched[range.clone()].copy_from_slice(&after[range]);
            }
            assert!(patched == after, "{base} and its changes are not {target}");
        }
        // A stream that broke off is continued from where it was.
        let all = delta(&serving, &taken[base], &taken[target], 0, 0).unwrap();
        if let Some((at, length)) = all.get(all.len() / 2) {
            let rest = delta(&serving, &taken[base], &taken[target], (at + length) as i64, 2).unwrap();
            let end = rest.iter().map(|(_, length)| length).sum::<u64>();
            assert_eq!(end, all[all.len() / 2 + 1..].iter().map(|(_, length)| length).sum::<u64>());
        }
    }
    assert_eq!(delta(&serving, &taken[1], &taken[2], 0, 0).unwrap(), [], "nothing was written between these two");
}

#[test]
fn changes_are_exact_where_copies_are_copies() {
    let place = Place::new();
    let pool = mount_pool(&place, "ext4", &["mkfs.ext4", "-q"], 512);
    changes_are_exact(&place, &pool);
}

#[test]
fn changes_are_exact_on_xfs_that_shares_extents() {
    let place = Place::new();
    let pool = mount_pool(&place, "xfs", &["mkfs.xfs", "-q", "-m", "reflink=1"], 512);
    changes_are_exact(&place, &pool);
}

#[test]
fn changes_are_exact_on_btrfs() {
    let place = Place::new();
    let pool = mount_pool(&place, "btrfs", &["mkfs.btrfs", "-q"], 512);
    changes_are_exact(&place, &pool);
}

#[test]
fn changes_are_exact_on_btrfs_that_compresses() {
    let place = Place::new();
    let pool = mount_pool(&place, "btrfs", &["mkfs.btrfs", "-q"], 512);
    super::shop::run(std::process::Command::new("mount").args(["-o", "remount,compress-force=zstd"]).arg(&pool));
    changes_are_exact(&place, &pool);
}

#[test]
fn bad_requests_have_the_codes_of_the_specification() {
    let place = Place::new();
    volumes(&place, "shop.toml", &place.join("pool"), &["db", "log"], false);
    let serving = Serving::start(&place, &[]);
    let take = |volume: &str, name: &str| snapshot(&serving, volume, name).unwrap().snapshot_id;
    let (one, other) = (take("shop.db", "one"), take("shop.log", "other"));
    for (id, from, most, expected) in [
        ("", 0, 0, Code::InvalidArgument),
        ("none", 0, 0, Code::NotFound),
        ("../x", 0, 0, Code::NotFound),
        (one.as_str(), -1, 0, Code::OutOfRange),
        (one.as_str(), SIZE as i64 + 1, 0, Code::OutOfRange),
        (one.as_str(), 0, -1, Code::InvalidArgument),
    ] {
        assert_eq!(code(allocated(&serving, id, from, most)), expected, "{id} {from} {most}");
        assert_eq!(code(delta(&serving, &one, id, from, most)), expected, "{id} {from} {most}");
    }
    assert_eq!(code(delta(&serving, "", &one, 0, 0)), Code::InvalidArgument);
    assert_eq!(code(delta(&serving, "none", &one, 0, 0)), Code::NotFound);
    assert_eq!(code(delta(&serving, &one, &other, 0, 0)), Code::InvalidArgument, "of two volumes");
    assert_eq!(allocated(&serving, &one, SIZE as i64, 0).unwrap(), []);
}

#[test]
fn a_caller_that_goes_away_leaves_nothing_running() {
    let place = Place::new();
    volumes(&place, "shop.toml", &place.join("pool"), &["db"], false);
    use_it(&place.join("pool/shop.db.img"), 1, 100);
    let serving = Serving::start(&place, &[]);
    let id = snapshot(&serving, "shop.db", "one").unwrap().snapshot_id;
    for _ in 0..50 {
        let request = GetMetadataAllocatedRequest { snapshot_id: id.clone(), max_results: 1, ..Default::default() };
        let mut client = serving.metadata();
        serving.block_on(async move {
            let mut stream = client.get_metadata_allocated(request).await.unwrap().into_inner();
            assert_eq!(stream.message().await.unwrap().unwrap().block_metadata.len(), 1);
        });
    }
    assert!(!allocated(&serving, &id, 0, 0).unwrap().is_empty());
    assert_eq!(serving.end(), Some(0));
}
