//! The bytes a probe looks at, and the ways to look at them.
//!
//! Every place where a known signature can lie is read up front in a few large reads, so that a failing read can never be
//! taken for a missing signature. Families ask the view; a byte that lies on the device but was not read is a failure, not
//! an absence. Only a label that lies wherever a boot sector points to is read afterwards.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use thiserror::Error;

use crate::host::linux::zeros::first_nonzero;

/// Something with a size that can be read at any place: a file, a block device, or a test's failing one.
pub trait ReadAt {
    /// Its size in bytes.
    ///
    /// # Errors
    /// The size could not be found out.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// They could not all be read; too few of them is an error too.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    /// The end as lseek sees it, which is right for files and block devices alike.
    fn size(&self) -> io::Result<u64> {
        let mut file = self;
        file.seek(SeekFrom::End(0))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }
}

impl ReadAt for &[u8] {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let source = start.checked_add(buffer.len()).and_then(|end| self.get(start..end));
        buffer.copy_from_slice(source.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A place that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unreadable at offset {offset}: {cause}")]
pub struct ReadFailure {
    /// Where.
    pub offset: u64,
    /// Why.
    pub cause: String,
}

/// The head: every family but the copies listed below begins in it. The second ZFS label ends at 512 KiB, one LUKS2
/// header begins there.
const HEAD: u64 = (512 + 4) * 1024;
/// ZFS aligns the size down to this and puts two labels of this size before it.
const ZFS_LABEL: u64 = 256 * 1024;
/// Where copies lie between head and tail: LUKS2's second header at powers of two, btrfs's superblocks.
const BETWEEN: [u64; 5] = [0x10_0000, 0x20_0000, 0x40_0000, 64 << 20, 256 << 30];
/// The size of such a copy.
const COPY: u64 = 4096;

/// The ranges a device of `size` bytes is probed at: in order, not overlapping, none beyond the end.
pub fn ranges(size: u64) -> Vec<(u64, u64)> {
    let tail = (size / ZFS_LABEL * ZFS_LABEL).saturating_sub(2 * ZFS_LABEL);
    let mut places = vec![(0, HEAD), (tail, size)];
    places.extend(BETWEEN.map(|at| (at, at + COPY)));
    places.sort_unstable();
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for (start, end) in places {
        let end = end.min(size);
        match ranges.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ if start < end => ranges.push((start, end)),
            _ => {}
        }
    }
    ranges
}

/// How many pages spread over a device are looked at before it is called blank.
const SAMPLES: u64 = 512;
/// Where ext keeps its first copies of a superblock: group 1, 3, 5 and 7 of blocks of 1, 2 and 4 KiB, as mke2fs lays them out.
const EXT_COPIES: [u64; 12] = [
    8193 << 10,
    (3 * 8192 + 1) << 10,
    (5 * 8192 + 1) << 10,
    (7 * 8192 + 1) << 10,
    16384 << 11,
    (3 * 16384) << 11,
    (5 * 16384) << 11,
    (7 * 16384) << 11,
    32768 << 12,
    (3 * 32768) << 12,
    (5 * 32768) << 12,
    (7 * 32768) << 12,
];

/// The pages that are looked at besides [`ranges`] before a device of `size` bytes is called blank: where copies of an ext superblock are left
/// when its head was erased, and some all over it. That no signature is there does not say that no data is.
pub fn samples(size: u64) -> Vec<(u64, u64)> {
    let step = (size / SAMPLES / COPY * COPY).max(COPY);
    let spread = (0..SAMPLES).map(|index| index * step);
    let mut pages: Vec<u64> = spread.chain(EXT_COPIES.map(|at| at / COPY * COPY)).filter(|at| *at < size).collect();
    pages.sort_unstable();
    pages.dedup();
    pages.into_iter().map(|at| (at, (at + COPY).min(size))).collect()
}

/// The first byte in [`samples`] that is not zero, with those after it.
///
/// # Errors
/// A page could not be read.
pub fn sampled_data(reader: &dyn ReadAt) -> Result<Option<(u64, Vec<u8>)>, ReadFailure> {
    let size = reader.size().map_err(|error| ReadFailure { offset: 0, cause: error.to_string() })?;
    for (start, end) in samples(size) {
        let bytes = read(reader, start, end - start)?;
        if let Some(at) = first_nonzero(&bytes) {
            return Ok(Some((start + at as u64, bytes[at..bytes.len().min(at + 16)].to_vec())));
        }
    }
    Ok(None)
}

/// What was read of a device.
pub struct View<'a> {
    reader: &'a dyn ReadAt,
    size: u64,
    loaded: Vec<(u64, Vec<u8>)>,
    on_demand: bool,
}

impl<'a> View<'a> {
    /// Reads every range of [`ranges`].
    ///
    /// # Errors
    /// The first that could not be read.
    pub fn load(reader: &'a dyn ReadAt) -> Result<Self, ReadFailure> {
        let mut view = Self::on_demand(reader)?;
        view.on_demand = false;
        for (start, end) in ranges(view.size) {
            view.loaded.push((start, read(reader, start, end - start)?));
        }
        Ok(view)
    }

    /// A view that reads nothing until it is asked.
    ///
    /// # Errors
    /// The size is not known, or nothing is there.
    pub fn on_demand(reader: &'a dyn ReadAt) -> Result<Self, ReadFailure> {
        let size = reader.size().map_err(|error| ReadFailure { offset: 0, cause: error.to_string() })?;
        if size == 0 {
            return Err(ReadFailure { offset: 0, cause: "it has a size of 0 bytes".to_owned() });
        }
        Ok(Self { reader, size, loaded: Vec::new(), on_demand: true })
    }

    /// The device's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// These bytes; `None` where the device ends before them.
    ///
    /// # Errors
    /// They were not read, so that nothing can be said of them.
    pub fn bytes(&self, offset: u64, len: usize) -> Result<Option<Cow<'_, [u8]>>, ReadFailure> {
        let Some(end) = offset.checked_add(len as u64).filter(|end| *end <= self.size) else { return Ok(None) };
        for (start, bytes) in &self.loaded {
            if offset >= *start && end <= *start + bytes.len() as u64 {
                let from = usize::try_from(offset - start).unwrap_or(usize::MAX);
                return Ok(bytes.get(from..from + len).map(Cow::Borrowed));
            }
        }
        if self.on_demand {
            return read(self.reader, offset, len as u64).map(|bytes| Some(Cow::Owned(bytes)));
        }
        Err(ReadFailure { offset, cause: "it was not read beforehand".to_owned() })
    }

    /// Bytes from anywhere on the device, read now; `None` where the device ends before them.
    ///
    /// # Errors
    /// They could not be read.
    pub fn elsewhere(&self, offset: u64, len: usize) -> Result<Option<Vec<u8>>, ReadFailure> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= self.size => read(self.reader, offset, len as u64).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether `magic` lies at `offset`.
    ///
    /// # Errors
    /// The place was not read.
    pub fn has(&self, offset: u64, magic: &[u8]) -> Result<bool, ReadFailure> {
        Ok(self.bytes(offset, magic.len())?.is_some_and(|bytes| *bytes == *magic))
    }

    /// The first byte that is not zero among all that was read, with up to fifteen that follow it.
    pub fn first_data(&self) -> Option<(u64, &[u8])> {
        self.loaded.iter().find_map(|(start, bytes)| {
            let at = first_nonzero(bytes)?;
            Some((start + at as u64, &bytes[at..bytes.len().min(at + 16)]))
        })
    }
}

fn read(reader: &dyn ReadAt, offset: u64, len: u64) -> Result<Vec<u8>, ReadFailure> {
    let failure = |cause: String| ReadFailure { offset, cause };
    let len = usize::try_from(len).map_err(|error| failure(error.to_string()))?;
    let mut bytes = vec![0; len];
    reader.read_exact_at(&mut bytes, offset).map_err(|error| failure(error.to_string()))?;
    Ok(bytes)
}

/// The `N` bytes at `at`; zeros where the slice is too short, which no check below takes for valid.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}

/// A little-endian number.
pub fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

/// A little-endian number.
pub fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

/// A little-endian number.
pub fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

/// A big-endian number.
pub fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array(bytes, at))
}

/// A big-endian number.
pub fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(bytes, at))
}

/// A big-endian number.
pub fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array(bytes, at))
}

/// Sixteen bytes as a UUID in the common form; `None` when they are all zero.
pub fn uuid(bytes: &[u8], at: usize) -> Option<String> {
    let raw: [u8; 16] = array(bytes, at);
    if raw == [0; 16] { None } else { Some(uuid::Uuid::from_bytes(raw).hyphenated().to_string()) }
}

/// Text up to its first NUL, without blanks at its end; `None` when nothing is left.
pub fn text(bytes: &[u8], at: usize, len: usize) -> Option<String> {
    let field = bytes.get(at..at + len)?;
    let field = field.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(field).trim_end().to_owned();
    if text.is_empty() { None } else { Some(text) }
}

/// UTF-16 text, little-endian, up to its first NUL.
pub fn utf16(bytes: &[u8]) -> Option<String> {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| le16(pair, 0)).take_while(|unit| *unit != 0).collect();
    let text = String::from_utf16_lossy(&units).trim_end().to_owned();
    if text.is_empty() { None } else { Some(text) }
}
