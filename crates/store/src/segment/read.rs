//! Reading the Parquet file of a segment: where its pages lie, and a page's values as a chunk.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foldhash::fast::RandomState;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use tracewell_model::TraceId;

use super::meta::SegmentMeta;
use super::page::{Encoding, PageHeader, PageKind};
use super::schema::{self, Column, Layout};
use super::varint::Input;
use super::{CHUNK_ROWS, COLUMNS_KEY, GROUP_ROWS, META_KEY, decode};
use crate::cache::{Cache, Piece};
use crate::table::{Bitmap, Chunk, Field, NO_CODE, SourceError, StrTable};

/// Magic and length at the end of a Parquet file.
const TAIL_BYTES: usize = 8;

/// Bytes that a page may decompress to: what the writer permits, far more than it writes.
const PAGE_BYTES: usize = 1 << 30;

/// A place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    offset: u64,
    bytes: u32,
}

/// A column chunk: its pages. No pages where no row has a value.
#[derive(Debug, Default)]
struct Pages {
    dictionary: Option<Place>,
    data: Vec<Place>,
}

/// An open Parquet file of ours.
#[derive(Debug)]
pub struct DataFile {
    id: u64,
    path: PathBuf,
    file: File,
    rows: u32,
    columns: Vec<Column>,
    by_field: HashMap<Field, u32, RandomState>,
    /// Row group by row group, column by column.
    groups: Vec<Vec<Pages>>,
}

pub(crate) fn io_error(path: &Path, error: &std::io::Error) -> SourceError {
    let file = path.display().to_string();
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => SourceError::Damaged { file, reason: "it ends too early".to_owned() },
        _ => SourceError::Io { file, reason: error.to_string() },
    }
}

fn damaged(path: &Path, reason: impl ToString) -> SourceError {
    SourceError::Damaged { file: path.display().to_string(), reason: reason.to_string() }
}

/// Size of a Parquet file and CRC-32C of its footer.
pub fn footer_crc(path: &Path) -> Result<(u64, u32), SourceError> {
    let file = File::open(path).map_err(|error| io_error(path, &error))?;
    let size = file.metadata().map_err(|error| io_error(path, &error))?.len();
    let mut tail = [0u8; TAIL_BYTES];
    let tail_at = size.checked_sub(TAIL_BYTES as u64).ok_or_else(|| damaged(path, "it is shorter than a footer"))?;
    file.read_exact_at(&mut tail, tail_at).map_err(|error| io_error(path, &error))?;
    let length = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    let start = tail_at.checked_sub(length).ok_or_else(|| damaged(path, "its footer is longer than the file"))?;
    let mut footer = vec![0u8; (size - start) as usize];
    file.read_exact_at(&mut footer, start).map_err(|error| io_error(path, &error))?;
    Ok((size, crc32c::crc32c(&footer)))
}

fn metadata(path: &Path, file: &File, page_index: PageIndexPolicy) -> Result<ParquetMetaData, SourceError> {
    ParquetMetaDataReader::new()
        .with_column_index_policy(PageIndexPolicy::Skip)
        .with_offset_index_policy(page_index)
        .parse_and_finish(file)
        .map_err(|error| damaged(path, error))
}

fn entry(metadata: &ParquetMetaData, key: &str) -> Option<String> {
    let entries = metadata.file_metadata().key_value_metadata()?;
    entries.iter().find(|entry| entry.key == key)?.value.clone()
}

/// The description that a segment's Parquet file carries of itself.
pub fn read_meta(path: &Path) -> Result<SegmentMeta, SourceError> {
    let (size, crc) = footer_crc(path)?;
    let file = File::open(path).map_err(|error| io_error(path, &error))?;
    let described = entry(&metadata(path, &file, PageIndexPolicy::Skip)?, META_KEY)
        .ok_or_else(|| damaged(path, "it is not a segment: its metadata has no description of one"))?;
    let mut meta: SegmentMeta = serde_json::from_str(&described).map_err(|error| damaged(path, error))?;
    meta.data_bytes = size;
    meta.data_footer_crc = crc;
    let index = path.with_extension("idx");
    meta.index_bytes = std::fs::metadata(&index).map(|metadata| metadata.len()).unwrap_or_default();
    Ok(meta)
}

impl DataFile {
    /// Opens the file and checks that it is the one that `meta` describes.
    pub fn open(path: &Path, meta: &SegmentMeta) -> Result<Self, SourceError> {
        let (size, crc) = footer_crc(path)?;
        if size != meta.data_bytes {
            return Err(damaged(path, format!("it has {size} bytes instead of {}", meta.data_bytes)));
        }
        if crc != meta.data_footer_crc {
            return Err(damaged(path, "its footer does not have the checksum that was recorded"));
        }
        let file = File::open(path).map_err(|error| io_error(path, &error))?;
        let metadata = metadata(path, &file, PageIndexPolicy::Required)?;
        let described = entry(&metadata, COLUMNS_KEY).ok_or_else(|| damaged(path, "its list of columns is missing"))?;
        let names: Vec<String> =
            metadata.file_metadata().schema_descr().columns().iter().map(|column| column.name().to_owned()).collect();
        let columns = schema::read(&names, &described)
            .ok_or_else(|| damaged(path, "its list of columns does not fit its schema"))?;
        let by_field = columns
            .iter()
            .enumerate()
            .filter_map(|(index, column)| Some((column.field.clone()?, index as u32)))
            .collect();
        let groups = places(path, &metadata, columns.len())?;
        let rows = u32::try_from(metadata.file_metadata().num_rows()).map_err(|error| damaged(path, error))?;
        Ok(Self { id: meta.id, path: path.to_owned(), file, rows, columns, by_field, groups })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn rows(&self) -> u32 {
        self.rows
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub fn column(&self, field: &Field) -> Option<u32> {
        self.by_field.get(field).copied()
    }

    fn rows_of_chunk(&self, chunk: u32) -> usize {
        self.rows.saturating_sub(chunk * CHUNK_ROWS).min(CHUNK_ROWS) as usize
    }

    fn pages(&self, column: u32, chunk: u32) -> Option<(&Pages, Place)> {
        let pages = self.groups.get((chunk / (GROUP_ROWS / CHUNK_ROWS)) as usize)?.get(column as usize)?;
        Some((pages, *pages.data.get((chunk % (GROUP_ROWS / CHUNK_ROWS)) as usize)?))
    }

    /// The values of a chunk, from the cache or the file. `None` where no row has one.
    pub fn chunk(&self, cache: &Cache, column: u32, chunk: u32) -> Result<Option<Arc<Chunk>>, SourceError> {
        if self.pages(column, chunk).is_none() {
            return Ok(None);
        }
        let read = || {
            let values = self.read_chunk(cache, column, chunk)?;
            let bytes = match &values {
                None => 0,
                Some(Chunk::Str { codes, dict }) => 4 * codes.len() + dict.size_bytes() / 16,
                Some(Chunk::Num { values, .. }) => 8 * values.len(),
            };
            Ok((Arc::new(values.map(Arc::new)), bytes))
        };
        let held: Arc<Option<Arc<Chunk>>> = cache.get(self.id, Piece::Chunk(column, chunk), read)?;
        Ok((*held).clone())
    }

    fn read_chunk(&self, cache: &Cache, column: u32, chunk: u32) -> Result<Option<Chunk>, SourceError> {
        let Some((pages, place)) = self.pages(column, chunk) else { return Ok(None) };
        let rows = self.rows_of_chunk(chunk);
        let layout = self.columns.get(column as usize).map_or(Layout::Text, Column::layout);
        let (header, plain) = self.page(place, layout)?;
        let broken = || damaged(&self.path, format!("the page at byte {} does not decode", place.offset));
        if header.values != rows || header.kind != PageKind::Data {
            return Err(broken());
        }
        let mut input = Input::new(&plain);
        let present = decode::levels(&mut input, rows).ok_or_else(broken)?;
        let held = present.as_ref().map_or(rows, Bitmap::count);
        if held == 0 {
            return Ok(None);
        }
        let values = match (layout, header.encoding) {
            (Layout::Text, Encoding::RleDictionary) => {
                let dict = self.dictionary(cache, pages, column, chunk)?;
                let codes = decode::codes(&mut input, held, dict.len()).ok_or_else(broken)?;
                Chunk::Str { codes: spread(codes, present.as_ref(), rows, NO_CODE), dict }
            }
            (Layout::Text, Encoding::DeltaLengthByteArray) => {
                let table = decode::texts(&mut input, held).ok_or_else(broken)?;
                let codes = spread((0..held as u32).collect(), present.as_ref(), rows, NO_CODE);
                Chunk::Str { codes, dict: Arc::new(table) }
            }
            (Layout::Number | Layout::Double, Encoding::RleDictionary) => {
                let place = pages.dictionary.ok_or_else(broken)?;
                let (header, plain) = self.page(place, layout)?;
                let numbers = decode::plain(&mut Input::new(&plain), header.values).ok_or_else(broken)?;
                let codes = decode::codes(&mut input, held, numbers.len()).ok_or_else(broken)?;
                let values = codes.iter().map(|code| numbers[*code as usize]).collect();
                Chunk::Num { values: spread(values, present.as_ref(), rows, 0), present }
            }
            (layout, encoding) => {
                let values = match (layout, encoding) {
                    (Layout::Number | Layout::Double, Encoding::ByteStreamSplit) => decode::split(&mut input, held),
                    (Layout::Time, Encoding::DeltaBinaryPacked) => decode::delta(&mut input, held)
                        .map(|numbers| numbers.into_iter().map(|number| number as u64).collect()),
                    (Layout::Id, Encoding::Plain) => decode::ids(&mut input, held),
                    (Layout::Truth, Encoding::Plain) => decode::bools(&mut input, held),
                    _ => None,
                };
                Chunk::Num { values: spread(values.ok_or_else(broken)?, present.as_ref(), rows, 0), present }
            }
        };
        Ok(Some(values))
    }

    fn dictionary(&self, cache: &Cache, pages: &Pages, column: u32, chunk: u32) -> Result<Arc<StrTable>, SourceError> {
        let group = chunk / (GROUP_ROWS / CHUNK_ROWS);
        let place = pages.dictionary.ok_or_else(|| damaged(&self.path, "a dictionary is missing"))?;
        cache.get(self.id, Piece::Dictionary(column, group), || {
            let (header, plain) = self.page(place, Layout::Text)?;
            let table = decode::plain_texts(&mut Input::new(&plain), header.values).ok_or_else(|| {
                damaged(&self.path, format!("the dictionary at byte {} does not decode", place.offset))
            })?;
            let bytes = table.size_bytes();
            Ok((Arc::new(table), bytes))
        })
    }

    /// The trace id of each row of a chunk; zero where a row has none.
    pub fn trace_ids(&self, chunk: u32) -> Result<Vec<TraceId>, SourceError> {
        let rows = self.rows_of_chunk(chunk);
        let Some((pages, place)) = self.pages(0, chunk) else { return Ok(vec![TraceId::default(); rows]) };
        let broken = || damaged(&self.path, format!("the page at byte {} does not decode", place.offset));
        let (_, plain) = self.page(place, Layout::TraceId)?;
        let (_, dictionary) = self.page(pages.dictionary.ok_or_else(broken)?, Layout::TraceId)?;
        let mut input = Input::new(&plain);
        let present = decode::levels(&mut input, rows).ok_or_else(broken)?;
        let held = present.as_ref().map_or(rows, Bitmap::count);
        let codes = decode::codes(&mut input, held, dictionary.len() / 16).ok_or_else(broken)?;
        let ids = codes
            .iter()
            .map(|code| TraceId::from_slice(&dictionary[16 * *code as usize..16 * (*code as usize + 1)]))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(broken)?;
        Ok(spread(ids, present.as_ref(), rows, TraceId::default()))
    }

    /// A page's header and decompressed bytes, checked against its checksum.
    fn page(&self, place: Place, layout: Layout) -> Result<(PageHeader, Vec<u8>), SourceError> {
        let mut bytes = vec![0u8; place.bytes as usize];
        self.file.read_exact_at(&mut bytes, place.offset).map_err(|error| io_error(&self.path, &error))?;
        let mut input = Input::new(&bytes);
        let header = PageHeader::read(&mut input)
            .ok_or_else(|| damaged(&self.path, format!("there is no page at byte {}", place.offset)))?;
        let stored = input.rest();
        if stored.len() != header.compressed
            || crc32fast::hash(stored) != header.crc
            || header.uncompressed > PAGE_BYTES
        {
            return Err(damaged(&self.path, format!("the page at byte {} has a wrong checksum", place.offset)));
        }
        if layout == Layout::Id {
            let start = bytes.len() - header.compressed;
            bytes.drain(..start);
            return Ok((header, bytes));
        }
        let plain = decompress(stored, header.uncompressed)
            .map_err(|error| damaged(&self.path, format!("the page at byte {}: {error}", place.offset)))?;
        Ok((header, plain))
    }
}

/// Decompresses what is known to become `bytes` bytes. A thread keeps its decompressor: making one costs as much as
/// decompressing a page.
pub(crate) fn decompress(stored: &[u8], bytes: usize) -> std::io::Result<Vec<u8>> {
    thread_local! {
        static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
    }
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(kept) => kept,
            None => kept.insert(zstd::bulk::Decompressor::new()?),
        };
        decompressor.decompress(stored, bytes)
    })
}

/// Puts values in the slots of the rows that have one.
fn spread<T: Copy>(values: Vec<T>, present: Option<&Bitmap>, rows: usize, none: T) -> Vec<T> {
    let Some(present) = present else { return values };
    let mut aligned = vec![none; rows];
    for (row, value) in present.iter().zip(values) {
        aligned[row] = value;
    }
    aligned
}

/// The places of all pages.
fn places(path: &Path, metadata: &ParquetMetaData, columns: usize) -> Result<Vec<Vec<Pages>>, SourceError> {
    let mut groups = Vec::with_capacity(metadata.num_row_groups());
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let index = metadata.page_index_for_row_group(number);
        let mut of_group = Vec::with_capacity(columns);
        for (column, chunk) in group.columns().iter().enumerate() {
            let locations = index
                .offset_index(column)
                .ok_or_else(|| damaged(path, "its list of pages is missing"))?
                .page_locations();
            let data: Vec<Place> = locations
                .iter()
                .map(|location| Place { offset: location.offset as u64, bytes: location.compressed_page_size as u32 })
                .collect();
            let rows = group.num_rows();
            // One page for several chunks' rows is written only where no row has a value.
            let empty = data.len() == 1 && rows > i64::from(CHUNK_ROWS);
            let dictionary = chunk
                .dictionary_page_offset()
                .map(|offset| Place { offset: offset as u64, bytes: (chunk.data_page_offset() - offset) as u32 });
            of_group.push(if empty { Pages::default() } else { Pages { dictionary, data } });
        }
        groups.push(of_group);
    }
    Ok(groups)
}
