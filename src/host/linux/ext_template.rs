//! New ext4 images as copies of one that this process has just formatted.
//!
//! mke2fs costs a process, reads the whole mount table and takes milliseconds; many volumes of an apply have the same size
//! and options. The first image of a sort is made by mke2fs and its blocks that are not zero are kept in memory (0.1 to
//! 0.3 MiB for 1 GiB); each next one gets those blocks and superblocks with its own UUID, label and hash seed. Nothing is kept
//! on disk: a template that outlives its process would have to be distrusted, and saves one mkfs an apply.
//! metadata_csum_seed keeps every other checksum valid; where anything is not as expected, mke2fs makes the image.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::fs::SeekFrom;

use super::ext_superblock::{self, Change, Superblock};
use super::mkfs::{self, Mke2fs};
use super::probe::view::ReadAt;
use super::zeros::is_zero;
use crate::host::{FormatRequest, Formatted, HostError, Lock, Result};
use crate::model::FsUuid;

const ACT: &str = "format";
/// The most that all templates of a process may take; 10 GiB make 4 MiB.
const TEMPLATES_MAX: usize = 32 << 20;
/// Sorts of volumes kept at a time.
const SORTS_MAX: usize = 16;
/// The unit in which zeros are left out.
const BLOCK: usize = 4096;

/// What makes two images alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Sort {
    size: u64,
    sector_size: u32,
    options: Vec<String>,
}

/// The blocks of a formatted image that are not zero.
struct Template {
    runs: Vec<(u64, Vec<u8>)>,
    superblocks: Vec<(u64, Superblock)>,
}

/// `None` once it turned out that a sort can't be copied.
type Slot = Arc<OnceLock<Option<Template>>>;

fn slot(sort: Sort) -> Option<Slot> {
    static SORTS: OnceLock<Mutex<HashMap<Sort, Slot>>> = OnceLock::new();
    let mut sorts = SORTS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if sorts.len() >= SORTS_MAX && !sorts.contains_key(&sort) {
        return None;
    }
    Some(sorts.entry(sort).or_default().clone())
}

/// Makes ext4 in an image that has just been created: the first of its sort with mke2fs, the next ones as its copies. The
/// caller verifies the result.
///
/// # Errors
/// mke2fs failed, or the image could not be read or written.
pub fn format(request: &FormatRequest, file: &File, lock: &Lock, limit: Option<Duration>) -> Result<Formatted> {
    let failed = |error: std::io::Error| HostError::io(ACT, &request.path, &error);
    let size = ReadAt::size(file).map_err(failed)?;
    // The label is no part of the sort: it lies in the superblocks, which are each volume's own.
    let sort = Sort { size, sector_size: request.sector_size.bytes(), options: request.options.clone() };
    // A feature may bring a secret or a name of its own into the superblock.
    let plain = !request.options.iter().any(|option| option.starts_with("-O") || option.starts_with("-J"));
    let Some(slot) = (plain && Mke2fs::installed().checksum_seed).then(|| slot(sort)).flatten() else {
        mkfs::run(request, Some(file), lock, limit)?;
        return Ok(Formatted::Mkfs);
    };
    // Others of this sort wait here until the first one is made, which is quicker than making theirs.
    let mut made = None;
    let template = slot.get_or_init(|| {
        made = Some(mkfs::run(request, Some(file), lock, limit));
        if made.as_ref().is_some_and(Result::is_ok) { take(file) } else { None }
    });
    match (made, template) {
        (Some(result), _) => result.map(|()| Formatted::Mkfs),
        (None, Some(template)) => {
            let change = Change {
                uuid: *request.uuid.as_bytes(),
                label: Some(padded(request.label.as_deref())),
                hash_seed: Some(*FsUuid::random().as_bytes()),
            };
            copy(template, file, &change).map_err(failed)?;
            Ok(Formatted::Template)
        }
        (None, None) => mkfs::run(request, Some(file), lock, limit).map(|()| Formatted::Mkfs),
    }
}

fn padded(label: Option<&str>) -> [u8; 16] {
    let mut field = [0; 16];
    for (slot, byte) in field.iter_mut().zip(label.unwrap_or_default().bytes()) {
        *slot = byte;
    }
    field
}

fn copy(template: &Template, file: &File, change: &Change) -> std::io::Result<()> {
    for (offset, bytes) in &template.runs {
        file.write_all_at(bytes, *offset)?;
    }
    for (offset, superblock) in template.superblocks.iter().rev() {
        file.write_all_at(&ext_superblock::changed(superblock, change), *offset)?;
    }
    Ok(())
}

/// What mke2fs has just written; `None` where it can't be copied safely.
fn take(file: &File) -> Option<Template> {
    let primary = ext_superblock::read(file, ext_superblock::PRIMARY).ok()??;
    if !ext_superblock::keeps_checksum_seed(&primary) || ext_superblock::needs_recovery(&primary) {
        return None;
    }
    let uuid = ext_superblock::uuid(&primary);
    let mut superblocks = vec![(ext_superblock::PRIMARY, primary)];
    for offset in ext_superblock::backups(&primary, ReadAt::size(file).ok()?) {
        let backup = ext_superblock::read(file, offset).ok()??;
        if ext_superblock::uuid(&backup) != uuid {
            return None;
        }
        superblocks.push((offset, backup));
    }
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    let runs = data(file)?;
    let len = runs.iter().map(|(_, run)| run.len()).sum::<usize>();
    if TAKEN.fetch_add(len, Ordering::Relaxed) + len > TEMPLATES_MAX {
        TAKEN.fetch_sub(len, Ordering::Relaxed);
        return None;
    }
    Some(Template { runs, superblocks })
}

/// Every run of blocks that are not zero; `None` where they are too many.
fn data(file: &File) -> Option<Vec<(u64, Vec<u8>)>> {
    let mut runs: Vec<(u64, Vec<u8>)> = Vec::new();
    let (mut at, mut read) = (0, 0);
    loop {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start / BLOCK as u64 * BLOCK as u64,
            Err(rustix::io::Errno::NXIO) => return Some(runs),
            Err(_) => return None,
        };
        at = rustix::fs::seek(file, SeekFrom::Hole(start)).ok()?;
        let len = usize::try_from(at - start).ok()?;
        read += len;
        // mke2fs before 1.47 writes out a journal of zeros.
        if read > 2 * TEMPLATES_MAX {
            return None;
        }
        let mut bytes = vec![0; len];
        FileExt::read_exact_at(file, &mut bytes, start).ok()?;
        for (index, block) in bytes.chunks(BLOCK).enumerate() {
            if is_zero(block) {
                continue;
            }
            let place = start + (index * BLOCK) as u64;
            match runs.last_mut() {
                Some((offset, run)) if *offset + run.len() as u64 == place => run.extend_from_slice(block),
                _ => runs.push((place, block.to_vec())),
            }
        }
    }
}
