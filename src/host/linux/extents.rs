//! Where an image holds data, and where it differs from another one. Holes are never read; where two files share an extent on the device, as a
//! reflink copy does with what was not written since, their bytes are not read either.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::errors::{failed, refused};
use super::image::open_ours;
use super::sys::{MappedExtent, fiemap};
use crate::host::{Extent, Extents, ImageFile, Result};

/// The unit in which bytes are compared: the block of every file system that csictl makes.
const BLOCK: u64 = 4096;
/// What is read at a time.
const CHUNK: u64 = 1 << 20;
/// What is read of each file for one answer; then the caller is asked whether anybody still wants to know.
const BUDGET: u64 = 32 << 20;

/// Flags of an extent whose place on the device does not stand for its bytes: unknown, not yet written out, encoded, encrypted, not aligned,
/// inside metadata, packed with others, not initialised (linux/fiemap.h).
const NO_PLACE: u32 = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800;

/// Where an image holds data.
pub fn data(of: &ImageFile, from: u64, most: NonZeroUsize) -> Result<Extents> {
    let image = Image::open("list the data of", of)?;
    let mut extents = Extents::default();
    let mut at = from;
    while let Some((start, end)) = image.data_from(at)? {
        if extents.found.len() == most.get() {
            extents.next = Some(start);
            break;
        }
        extents.found.push(Extent { offset: start, length: end - start });
        at = end;
    }
    Ok(extents)
}

/// Where an image differs from another one.
pub fn changed(of: &ImageFile, base: &ImageFile, from: u64, most: NonZeroUsize) -> Result<Extents> {
    const ACT: &str = "compare";
    let (target, base) = (Image::open(ACT, of)?, Image::open(ACT, base)?);
    let mut comparison = Comparison {
        places: (target.device == base.device).then(|| (Places::of(&target), Places::of(&base))),
        target: &target,
        base: &base,
        found: Vec::new(),
        most: most.get(),
        buffers: (Vec::new(), Vec::new()),
    };
    let mut read = 0;
    let mut at = from;
    while at < target.length {
        if read >= BUDGET {
            return Ok(Extents { found: comparison.found, next: Some(at) });
        }
        let (here, there) = (target.data_from(at)?, base.data_from(at)?.filter(|(start, _)| *start < target.length));
        let starts = [here, there].into_iter().flatten().map(|(start, _)| start);
        let Some(start) = starts.min() else { break };
        at = start;
        let (in_target, in_base) =
            (here.is_some_and(|(start, _)| start <= at), there.is_some_and(|(start, _)| start <= at));
        // Up to where neither begins or ends.
        let edges = [here, there].into_iter().flatten().flat_map(|(start, end)| [start, end]);
        let mut end = edges.filter(|edge| *edge > at).min().unwrap_or(target.length).min(target.length);
        if in_target && in_base {
            match comparison.same_place(at, end) {
                Place::Same(until) => {
                    at = until;
                    continue;
                }
                Place::Other(until) => end = until,
            }
        }
        let end = end.min(at - at % CHUNK + CHUNK);
        if let Some(stopped) = comparison.compare(at, end, in_target, in_base)? {
            return Ok(Extents { found: comparison.found, next: Some(stopped) });
        }
        read += end - at;
        at = end;
    }
    Ok(Extents { found: comparison.found, next: None })
}

/// An image opened to be read.
struct Image<'a> {
    act: &'static str,
    path: &'a Path,
    file: File,
    length: u64,
    device: u64,
}

impl<'a> Image<'a> {
    fn open(act: &'static str, of: &'a ImageFile) -> Result<Self> {
        let file = open_ours(act, &of.path, of.file, false)?;
        let metadata = file.metadata().map_err(failed(act, &of.path))?;
        Ok(Self { act, path: &of.path, length: metadata.len(), device: metadata.dev(), file })
    }

    /// The first stretch of data at or behind an offset, cut off there.
    fn data_from(&self, at: u64) -> Result<Option<(u64, u64)>> {
        if at >= self.length {
            return Ok(None);
        }
        let start = match seek(&self.file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole until the end.
            Err(Errno::NXIO) => return Ok(None),
            Err(error) => return Err(refused(self.act, self.path)(error)),
        };
        let end = seek(&self.file, SeekFrom::Hole(start)).map_err(refused(self.act, self.path))?.min(self.length);
        Ok((start < end).then_some((start, end)))
    }

    /// The bytes from `at` to `end`; zeros where there is no data.
    fn read(&self, buffer: &mut Vec<u8>, at: u64, end: u64, has_data: bool) -> Result<()> {
        buffer.clear();
        buffer.resize(usize::try_from(end - at).unwrap_or_default(), 0);
        if has_data {
            self.file.read_exact_at(buffer, at).map_err(failed(self.act, self.path))?;
        }
        Ok(())
    }
}

/// Where an image's bytes lie on the device, asked a few extents at a time.
struct Places<'a> {
    image: &'a Image<'a>,
    known: Vec<MappedExtent>,
    silent: bool,
}

impl<'a> Places<'a> {
    fn of(image: &'a Image<'a>) -> Self {
        Self { image, known: Vec::new(), silent: false }
    }

    /// The place of the byte at `at` and how far the extent goes on, if the place stands for the bytes.
    fn at(&mut self, at: u64, end: u64) -> (Option<u64>, u64) {
        let covers = |extent: &&MappedExtent| extent.logical <= at && at < extent.logical + extent.length;
        if !self.silent && !self.known.iter().any(|extent| covers(&extent)) {
            match fiemap(self.image.file.as_fd(), at, end - at) {
                Ok(extents) => self.known = extents,
                Err(_) => self.silent = true,
            }
        }
        match self.known.iter().find(covers) {
            Some(extent) => {
                let place = extent.physical + (at - extent.logical);
                let stands = extent.flags & NO_PLACE == 0 && extent.physical != 0;
                (stands.then_some(place), end.min(extent.logical + extent.length))
            }
            None => (None, end),
        }
    }
}

enum Place {
    /// Both files have the same bytes of the device up to here.
    Same(u64),
    /// Up to here nothing is known but by reading.
    Other(u64),
}

struct Comparison<'a> {
    target: &'a Image<'a>,
    base: &'a Image<'a>,
    /// Where both lie, if that is on one device.
    places: Option<(Places<'a>, Places<'a>)>,
    found: Vec<Extent>,
    most: usize,
    buffers: (Vec<u8>, Vec<u8>),
}

impl Comparison<'_> {
    fn same_place(&mut self, at: u64, end: u64) -> Place {
        let Some((target, base)) = &mut self.places else { return Place::Other(end) };
        let ((here, until), (there, also_until)) = (target.at(at, end), base.at(at, end));
        let until = until.min(also_until);
        if here.is_some() && here == there { Place::Same(until) } else { Place::Other(until) }
    }

    /// Compares a stretch block by block and keeps what differs; answers where it stopped when there is no room for more.
    fn compare(&mut self, at: u64, end: u64, in_target: bool, in_base: bool) -> Result<Option<u64>> {
        self.target.read(&mut self.buffers.0, at, end, in_target)?;
        self.base.read(&mut self.buffers.1, at, end, in_base)?;
        let mut from = at;
        while from < end {
            let to = (from - from % BLOCK + BLOCK).min(end);
            let index = |offset: u64| usize::try_from(offset - at).unwrap_or_default();
            let block = index(from)..index(to);
            if self.buffers.0[block.clone()] != self.buffers.1[block] {
                let full = self.found.len() == self.most;
                match self.found.last_mut() {
                    Some(last) if last.offset + last.length == from => last.length += to - from,
                    _ if full => return Ok(Some(from)),
                    _ => self.found.push(Extent { offset: from, length: to - from }),
                }
            }
            from = to;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;
    use crate::host::linux::loops::file_id;

    fn image(folder: &Path, name: &str, length: u64, pieces: &[(u64, &[u8])]) -> ImageFile {
        let path = folder.join(name);
        let mut file = File::create(&path).unwrap();
        file.set_len(length).unwrap();
        for (at, bytes) in pieces {
            file.seek(std::io::SeekFrom::Start(*at)).unwrap();
            file.write_all(bytes).unwrap();
        }
        file.sync_all().unwrap();
        ImageFile { file: file_id(&file.metadata().unwrap()), path }
    }

    fn all(mut page: impl FnMut(u64, NonZeroUsize) -> Result<Extents>, from: u64, most: usize) -> Vec<(u64, u64)> {
        let (mut found, mut next) = (Vec::new(), Some(from));
        while let Some(at) = next {
            let extents = page(at, NonZeroUsize::new(most).unwrap()).unwrap();
            assert!(extents.found.len() <= most);
            assert!(extents.next.is_none_or(|next| next > at || !extents.found.is_empty()), "it goes on");
            found.extend(extents.found.iter().map(|extent| (extent.offset, extent.length)));
            next = extents.next;
        }
        found
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn data_is_listed_from_any_offset_in_pages_of_any_size() {
        let folder = tempfile::tempdir().unwrap();
        let page = [7u8; 4096];
        let image =
            image(folder.path(), "a", 16 * MIB, &[(0, &page), (MIB, &page), (MIB + 4096, &page), (9 * MIB, &page)]);
        let whole = [(0, 4096), (MIB, 8192), (9 * MIB, 4096)];
        for most in [1, 2, 3, 100] {
            assert_eq!(all(|at, most| data(&image, at, most), 0, most), whole);
        }
        assert_eq!(all(|at, most| data(&image, at, most), MIB + 100, 1), [(MIB + 100, 8092), (9 * MIB, 4096)]);
        assert_eq!(all(|at, most| data(&image, at, most), 16 * MIB, 1), []);
    }

    #[test]
    fn every_changed_block_and_no_equal_one_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (ones, twos, zeros) = ([1u8; 4096], [2u8; 4096], [0u8; 4096]);
        let base =
            image(folder.path(), "base", 8 * MIB, &[(0, &ones), (MIB, &ones), (3 * MIB, &ones), (4 * MIB, &zeros)]);
        let mut half = ones;
        half[4095] = 9;
        // Kept, changed in its last byte, gone, zeros for a hole, new, new behind the base's end.
        let pieces: &[(u64, &[u8])] =
            &[(0, &ones), (MIB, &half), (5 * MIB, &twos), (6 * MIB, &zeros), (9 * MIB, &twos)];
        let target = image(folder.path(), "target", 10 * MIB, pieces);
        let changed_at = [(MIB, 4096), (3 * MIB, 4096), (5 * MIB, 4096), (9 * MIB, 4096)];
        for most in [1, 3, 100] {
            assert_eq!(all(|at, most| changed(&target, &base, at, most), 0, most), changed_at);
        }
        assert_eq!(all(|at, most| changed(&target, &base, at, most), 3 * MIB + 10, 9)[0], (3 * MIB + 10, 4086));
        assert_eq!(all(|at, most| changed(&target, &target, at, most), 0, 9), []);
    }

    #[test]
    fn another_file_in_its_place_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let one = image(folder.path(), "one", MIB, &[]);
        let other = ImageFile { path: image(folder.path(), "two", MIB, &[]).path, file: one.file };
        assert!(data(&other, 0, NonZeroUsize::MIN).is_err());
    }
}
