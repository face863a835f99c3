//! The index file as a container: sections, each with a checksum, found through a directory at the end.
//!
//! ```text
//! "TWIDX002"   section … section   directory   directory bytes u32, crc32c u32, "TWIDX002"
//! ```

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::segment::WriteError;
use crate::segment::varint::{Input, put};
use crate::table::SourceError;

/// First and last bytes of the file; the number is the version of the format.
pub const MAGIC: &[u8; 8] = b"TWIDX002";
/// Versions that are read: version 1 has edges where version 2 has hops.
const MAGICS: [&[u8; 8]; 2] = [MAGIC, b"TWIDX001"];
const TAIL_BYTES: usize = 16;
/// Bytes that a section may decompress to.
const SECTION_BYTES: u64 = 1 << 30;
const ZSTD_LEVEL: i32 = 3;

/// What a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// What there is, as JSON.
    Meta = 1,
    /// Names of services and of root spans.
    Names = 2,
    /// A block of traces.
    Traces = 3,
    /// A bucket of the way from trace id to ordinal.
    Lookup = 4,
    /// The filter that knows which trace ids are not here.
    Filter = 5,
    /// The dictionary of a field's terms: an FST from value to postings.
    Terms = 6,
    /// Postings of a field.
    Postings = 7,
    /// Filters over a field's values, for the chunks of one row group.
    ChunkFilters = 8,
    /// Spans by minute and operation.
    Operations = 9,
    /// Durations by ten minutes and operation.
    Durations = 10,
    /// Calls by minute and pair of services, as version 1 had them.
    Edges = 11,
    /// Calls by minute and pair of services, with their distributions.
    Hops = 12,
}

impl Kind {
    fn from_number(number: u8) -> Option<Self> {
        use Kind::*;
        [Meta, Names, Traces, Lookup, Filter, Terms, Postings, ChunkFilters, Operations, Durations, Edges, Hops]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// Kind, field and number of a section. Sections of no field have field 0.
pub type SectionKey = (Kind, u32, u32);

/// Where a section lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    stored: u32,
    plain: u32,
    crc: u32,
}

/// An index file being written.
pub struct SectionWriter {
    path: PathBuf,
    file: BufWriter<File>,
    offset: u64,
    directory: Vec<(SectionKey, Place)>,
}

impl SectionWriter {
    /// Creates the file, which must not exist.
    pub fn create(path: &Path) -> Result<Self, WriteError> {
        let file = File::create_new(path).map_err(|error| WriteError::io(path, &error))?;
        let mut writer = Self { path: path.to_owned(), file: BufWriter::new(file), offset: 0, directory: Vec::new() };
        writer.write(MAGIC)?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.file.write_all(bytes).map_err(|error| WriteError::io(&self.path, &error))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Appends a section, compressed where that saves at least a tenth.
    pub fn put(&mut self, key: SectionKey, plain: &[u8]) -> Result<(), WriteError> {
        let encode = |error: std::io::Error| WriteError::Encode { reason: format!("zstd: {error}") };
        let compressed = zstd::bulk::compress(plain, ZSTD_LEVEL).map_err(encode)?;
        let stored = if compressed.len() * 10 < plain.len() * 9 { &compressed } else { plain };
        let place = Place {
            offset: self.offset,
            stored: stored.len() as u32,
            plain: plain.len() as u32,
            crc: crc32c::crc32c(stored),
        };
        self.directory.push((key, place));
        self.write(stored)
    }

    /// Writes the directory and makes the file durable. Returns its size.
    pub fn finish(mut self) -> Result<u64, WriteError> {
        self.directory.sort_by_key(|(key, _)| *key);
        let mut directory = Vec::new();
        put(&mut directory, self.directory.len() as u64);
        for ((kind, field, number), place) in &self.directory {
            directory.push(*kind as u8);
            for part in [u64::from(*field), u64::from(*number), place.offset, place.stored.into(), place.plain.into()] {
                put(&mut directory, part);
            }
            directory.extend_from_slice(&place.crc.to_le_bytes());
        }
        let crc = crc32c::crc32c(&directory);
        let length = directory.len() as u32;
        self.write(&directory)?;
        self.write(&length.to_le_bytes())?;
        self.write(&crc.to_le_bytes())?;
        self.write(MAGIC)?;
        let error = |error: &std::io::Error| WriteError::io(&self.path, error);
        let file = self.file.into_inner().map_err(|failed| error(failed.error()))?;
        file.sync_all().map_err(|failed| error(&failed))?;
        Ok(self.offset)
    }
}

/// An open index file.
#[derive(Debug)]
pub struct SectionReader {
    path: PathBuf,
    file: File,
    directory: Vec<(SectionKey, Place)>,
}

impl SectionReader {
    /// Opens the file and reads its directory.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let io = |error: std::io::Error| crate::segment::io_error(path, &error);
        let damaged =
            |reason: &str| SourceError::Damaged { file: path.display().to_string(), reason: reason.to_owned() };
        let file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let tail_at = size.checked_sub(TAIL_BYTES as u64).ok_or_else(|| damaged("it is too short for an index"))?;
        let mut tail = [0u8; TAIL_BYTES];
        file.read_exact_at(&mut tail, tail_at).map_err(io)?;
        if !MAGICS.iter().any(|magic| tail[8..] == magic[..]) {
            return Err(damaged("it does not end as an index of this version does"));
        }
        let length = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
        let crc = u32::from_le_bytes([tail[4], tail[5], tail[6], tail[7]]);
        let start = tail_at.checked_sub(length).ok_or_else(|| damaged("its directory is longer than the file"))?;
        let mut bytes = vec![0u8; length as usize];
        file.read_exact_at(&mut bytes, start).map_err(io)?;
        if crc32c::crc32c(&bytes) != crc {
            return Err(damaged("its directory has a wrong checksum"));
        }
        let directory = read_directory(&bytes).ok_or_else(|| damaged("its directory does not decode"))?;
        Ok(Self { path: path.to_owned(), file, directory })
    }

    pub fn damaged(&self, reason: impl Into<String>) -> SourceError {
        SourceError::Damaged { file: self.path.display().to_string(), reason: reason.into() }
    }

    /// The position of a section in the directory, good as a name for it.
    pub fn position(&self, key: SectionKey) -> Option<u32> {
        self.directory.binary_search_by_key(&key, |(key, _)| *key).ok().map(|position| position as u32)
    }

    /// Size of the sections of a kind, by field.
    pub fn sizes(&self) -> impl Iterator<Item = (Kind, u32, u64)> + '_ {
        self.directory.iter().map(|((kind, field, _), place)| (*kind, *field, u64::from(place.stored)))
    }

    /// The bytes of a section, checked and decompressed.
    pub fn read(&self, position: u32) -> Result<Vec<u8>, SourceError> {
        let (key, place) = self.directory.get(position as usize).ok_or_else(|| self.damaged("a section is missing"))?;
        let mut stored = vec![0u8; place.stored as usize];
        self.file
            .read_exact_at(&mut stored, place.offset)
            .map_err(|error| crate::segment::io_error(&self.path, &error))?;
        if crc32c::crc32c(&stored) != place.crc {
            return Err(self.damaged(format!("section {key:?} at byte {} has a wrong checksum", place.offset)));
        }
        if place.stored == place.plain {
            return Ok(stored);
        }
        if u64::from(place.plain) > SECTION_BYTES {
            return Err(self.damaged(format!("section {key:?} is larger than any we write")));
        }
        crate::segment::decompress(&stored, place.plain as usize)
            .map_err(|error| self.damaged(format!("section {key:?} at byte {}: {error}", place.offset)))
    }
}

fn read_directory(bytes: &[u8]) -> Option<Vec<(SectionKey, Place)>> {
    let mut input = Input::new(bytes);
    let count = input.number()?;
    let mut directory = Vec::new();
    for _ in 0..count {
        let kind = Kind::from_number(input.byte()?)?;
        let key = (kind, input.number32()?, input.number32()?);
        let place = Place {
            offset: input.number()?,
            stored: input.number32()?,
            plain: input.number32()?,
            crc: input.u32_le()?,
        };
        directory.push((key, place));
    }
    input.rest().is_empty().then_some(directory)
}
