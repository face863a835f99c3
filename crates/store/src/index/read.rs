//! Reading an index file.

use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::sync::Arc;

use fst::{Map, Streamer};
use roaring::RoaringBitmap;
use tracewell_model::TraceId;

use super::format::{Kind, SectionKey, SectionReader};
use super::postings::{self, Mode, Pointer};
use super::{Meta, filter, hops, rollup, traces};
use crate::cache::{Cache, Piece};
use crate::segment::varint::Input;
use crate::segment::{Column, columns_from};
use crate::table::{AttrType, DurationCounts, Field, HopCount, OperationCount, SourceError, TermPredicate, TraceBlock};

/// An open index file.
#[derive(Debug)]
pub struct Index {
    id: u64,
    file: SectionReader,
    meta: Meta,
    columns: Vec<Column>,
    filter: Option<Vec<u8>>,
}

/// What postings say of a predicate.
pub enum Found {
    /// The index does not know.
    Unknown,
    /// These traces, no others, each surely.
    Traces(RoaringBitmap),
    /// Only rows of these chunks can have the value.
    Chunks(Vec<u32>),
}

/// Calls between services, as an index has them.
pub enum Calls {
    /// With distributions.
    Hops(Arc<Vec<u8>>),
    /// Counts, from an index of version 1.
    Edges(Vec<HopCount>),
}

impl Calls {
    /// Calls `visit` with those in some minutes, from or to a service if one is named; `None` when they do not decode.
    pub fn read(
        &self,
        minutes: RangeInclusive<u64>,
        service: Option<&str>,
        visit: &mut dyn FnMut(&HopCount),
    ) -> Option<()> {
        match self {
            Calls::Hops(section) => hops::read(section, minutes, service, visit),
            Calls::Edges(edges) => {
                let is_of = |edge: &&HopCount| {
                    service.is_none_or(|service| *edge.caller == *service || *edge.callee == *service)
                };
                edges.iter().filter(|edge| minutes.contains(&edge.minute)).filter(is_of).for_each(visit);
                Some(())
            }
        }
    }
}

/// Whether a term's bytes satisfy a predicate.
type TermTest<'a> = Box<dyn Fn(&[u8]) -> bool + 'a>;

/// Chunks in a row group.
const GROUP_CHUNKS: u32 = crate::segment::GROUP_ROWS / crate::segment::CHUNK_ROWS;

impl Index {
    /// Opens the index of segment `id`.
    pub fn open(id: u64, path: &Path) -> Result<Self, SourceError> {
        let file = SectionReader::open(path)?;
        let section = |key: SectionKey| file.position(key).map(|position| file.read(position)).transpose();
        let meta = section((Kind::Meta, 0, 0))?.ok_or_else(|| file.damaged("its description is missing"))?;
        let meta: Meta = serde_json::from_slice(&meta).map_err(|error| file.damaged(error.to_string()))?;
        let columns = columns_from(&meta.columns, &meta.attributes)
            .filter(|columns| columns.len() == meta.fields.len())
            .ok_or_else(|| file.damaged("its list of columns does not fit"))?;
        let filter = section((Kind::Filter, 0, 0))?;
        Ok(Self { id, meta, columns, filter, file })
    }

    /// How many traces there are.
    pub fn traces(&self) -> u32 {
        self.meta.traces
    }

    /// How many rows there are.
    pub fn rows(&self) -> u32 {
        self.meta.rows
    }

    /// How many blocks of traces there are.
    pub fn blocks(&self) -> u32 {
        self.meta.first_rows.len() as u32
    }

    /// The block that holds a row.
    pub fn block_of_row(&self, row: u32) -> u32 {
        self.meta.first_rows.partition_point(|first| *first <= row).saturating_sub(1) as u32
    }

    fn bytes(&self, cache: &Cache, key: SectionKey) -> Result<Option<Arc<Vec<u8>>>, SourceError> {
        let Some(position) = self.file.position(key) else { return Ok(None) };
        let read = || {
            let bytes = self.file.read(position)?;
            let size = bytes.len();
            Ok((Arc::new(bytes), size))
        };
        cache.get(self.id, Piece::Section(position), read).map(Some)
    }

    /// A section decoded, kept in the cache in that form.
    fn decoded<T: Send + Sync + 'static>(
        &self,
        cache: &Cache,
        key: SectionKey,
        decode: impl FnOnce(Vec<u8>) -> Option<(T, usize)>,
    ) -> Result<Option<Arc<T>>, SourceError> {
        let Some(position) = self.file.position(key) else { return Ok(None) };
        let read = || {
            let (value, bytes) = decode(self.file.read(position)?)
                .ok_or_else(|| self.file.damaged(format!("section {key:?} does not decode")))?;
            Ok((Arc::new(value), bytes))
        };
        cache.get(self.id, Piece::Decoded(position), read).map(Some)
    }

    /// A block of traces.
    pub fn block(&self, cache: &Cache, number: u32) -> Result<Arc<TraceBlock>, SourceError> {
        let names = self.decoded(cache, (Kind::Names, 0, 0), |bytes| {
            traces::read_names(&bytes).map(|names| (names, 2 * bytes.len() + 64))
        })?;
        let names = names.ok_or_else(|| self.file.damaged("its names are missing"))?;
        let first_row = self.meta.first_rows.get(number as usize).copied().unwrap_or_default();
        let block = self.decoded(cache, (Kind::Traces, 0, number), |bytes| {
            let block = traces::read_block(&bytes, number * traces::BLOCK_TRACES, first_row, &names)?;
            let bytes = block.entries.len() * 128;
            Some((block, bytes))
        })?;
        block.ok_or_else(|| self.file.damaged(format!("trace block {number} is missing")))
    }

    /// The block that holds an ordinal.
    pub fn block_of_ordinal(&self, ordinal: u32) -> u32 {
        ordinal / traces::BLOCK_TRACES
    }

    /// The ordinal of a trace, if it is here.
    pub fn find_trace(&self, cache: &Cache, id: &TraceId) -> Result<Option<u32>, SourceError> {
        let hash = traces::hash(id);
        if self.filter.as_ref().is_some_and(|filter| !filter::contains(filter, hash)) {
            return Ok(None);
        }
        let bits = self.meta.lookup_bits;
        let Some(bucket) = self.bytes(cache, (Kind::Lookup, 0, traces::bucket(hash, bits)))? else { return Ok(None) };
        let ordinals =
            traces::find(&bucket, hash, bits).ok_or_else(|| self.file.damaged("its look-up does not decode"))?;
        for ordinal in ordinals {
            let block = self.block(cache, self.block_of_ordinal(ordinal))?;
            let entry = block.entries.get((ordinal - block.first_ordinal) as usize);
            if entry.is_some_and(|entry| entry.trace_id == *id) {
                return Ok(Some(ordinal));
            }
        }
        Ok(None)
    }

    fn column(&self, field: &Field) -> Option<(u32, Mode, u64)> {
        let at = self.columns.iter().position(|column| column.field.as_ref() == Some(field))?;
        let (mode, rows) = *self.meta.fields.get(at)?;
        Some((at as u32, mode, rows))
    }

    /// Fields with a value in some row.
    pub fn fields(&self) -> impl Iterator<Item = (&Field, u64)> {
        self.columns
            .iter()
            .zip(&self.meta.fields)
            .filter_map(|(column, (_, rows))| Some((column.field.as_ref()?, *rows)))
            .filter(|(_, rows)| *rows > 0)
    }

    /// Rows that have a value of a field.
    pub fn held(&self, field: &Field) -> u64 {
        self.column(field).map_or(0, |(_, _, rows)| rows)
    }

    fn terms(&self, cache: &Cache, field: u32) -> Result<Option<Arc<Map<Vec<u8>>>>, SourceError> {
        self.decoded(cache, (Kind::Terms, field, 0), |bytes| {
            let size = bytes.len();
            Some((Map::new(bytes).ok()?, size))
        })
    }

    fn list(&self, cache: &Cache, field: u32, pointer: &Pointer) -> Result<RoaringBitmap, SourceError> {
        let (section, offset) = match pointer {
            Pointer::Single(ordinal) => return Ok(RoaringBitmap::from_iter([*ordinal])),
            Pointer::At(section, offset) => (*section, *offset),
        };
        let bytes = self.bytes(cache, (Kind::Postings, field, section))?;
        bytes
            .as_ref()
            .and_then(|bytes| postings::read_list(&mut Input::new(bytes.get(offset..)?)))
            .ok_or_else(|| self.file.damaged("a list of postings does not decode"))
    }

    fn list_length(&self, cache: &Cache, field: u32, pointer: &Pointer) -> Result<u64, SourceError> {
        let Pointer::At(section, offset) = pointer else { return Ok(1) };
        let bytes = self.bytes(cache, (Kind::Postings, field, *section))?;
        bytes
            .as_ref()
            .and_then(|bytes| Input::new(bytes.get(*offset..)?).number())
            .ok_or_else(|| self.file.damaged("a list of postings does not decode"))
    }

    /// Looks a predicate up.
    pub fn find(&self, cache: &Cache, field: &Field, predicate: &TermPredicate<'_>) -> Result<Found, SourceError> {
        let Some((number, mode, rows)) = self.column(field) else { return Ok(Found::Traces(RoaringBitmap::new())) };
        if rows == 0 {
            return Ok(Found::Traces(RoaringBitmap::new()));
        }
        let matches: TermTest<'_> = match (predicate, mode) {
            (TermPredicate::Exists, _) => {
                return Ok(Found::Traces(self.list(cache, number, &Pointer::At(0, 0))?));
            }
            (TermPredicate::Key(_), _) if *field != Field::Remainder => return Ok(Found::Unknown),
            (_, Mode::Exists) => return Ok(Found::Unknown),
            (TermPredicate::Key(_), Mode::Filters) => return Ok(Found::Unknown),
            (TermPredicate::Text(text), Mode::Filters) => return self.filtered(cache, number, text),
            (_, Mode::Filters) => return Ok(Found::Unknown),
            (TermPredicate::Text(_) | TermPredicate::TextWhere(_), Mode::Terms) if *field == Field::Remainder => {
                return Ok(Found::Unknown);
            }
            (TermPredicate::Text(text) | TermPredicate::Key(text), Mode::Terms) => {
                let Some(terms) = self.terms(cache, number)? else { return Ok(Found::Traces(RoaringBitmap::new())) };
                return Ok(Found::Traces(match terms.get(text.as_bytes()) {
                    Some(value) => self.list(cache, number, &Pointer::new(value))?,
                    None => RoaringBitmap::new(),
                }));
            }
            (TermPredicate::TextWhere(matches), Mode::Terms) => {
                Box::new(move |term| std::str::from_utf8(term).is_ok_and(matches))
            }
            (TermPredicate::BitsWhere(matches), Mode::Terms) => {
                Box::new(move |term| term.try_into().is_ok_and(|bytes| matches(u64::from_be_bytes(bytes))))
            }
        };
        let Some(terms) = self.terms(cache, number)? else { return Ok(Found::Traces(RoaringBitmap::new())) };
        let mut all = RoaringBitmap::new();
        let mut stream = terms.stream();
        while let Some((term, value)) = stream.next() {
            if matches(term) {
                match Pointer::new(value) {
                    Pointer::Single(ordinal) => {
                        all.insert(ordinal);
                    }
                    pointer => all |= self.list(cache, number, &pointer)?,
                }
            }
        }
        Ok(Found::Traces(all))
    }

    fn filtered(&self, cache: &Cache, field: u32, text: &str) -> Result<Found, SourceError> {
        let hash = postings::hash(text.as_bytes());
        let groups = self.meta.rows.div_ceil(crate::segment::GROUP_ROWS);
        let mut chunks = Vec::new();
        for group in 0..groups {
            let first = group * GROUP_CHUNKS;
            let last = (self.meta.rows.div_ceil(crate::segment::CHUNK_ROWS)).min(first + GROUP_CHUNKS);
            match self.bytes(cache, (Kind::ChunkFilters, field, group))? {
                // The field became too varied only later: nothing is known of this row group.
                None => chunks.extend(first..last),
                Some(section) => {
                    let found = postings::chunks_with(&section, hash)
                        .ok_or_else(|| self.file.damaged("a section of filters does not decode"))?;
                    chunks.extend(found.into_iter().map(|chunk| first + chunk));
                }
            }
        }
        Ok(Found::Chunks(chunks))
    }

    /// Ordinals of the traces with rows among `rows`.
    pub fn ordinals_of_rows(&self, cache: &Cache, rows: Range<u32>) -> Result<Range<u32>, SourceError> {
        if rows.is_empty() {
            return Ok(0..0);
        }
        Ok(self.ordinal_of_row(cache, rows.start)?..self.ordinal_of_row(cache, rows.end - 1)? + 1)
    }

    /// The ordinal of the trace that a row belongs to.
    pub fn ordinal_of_row(&self, cache: &Cache, row: u32) -> Result<u32, SourceError> {
        let block = self.block(cache, self.block_of_row(row))?;
        let first = |rows: &crate::table::Rows| match rows {
            crate::table::Rows::Range(first, _) => *first,
            crate::table::Rows::List(list) => list.first().copied().unwrap_or_default(),
        };
        let within = block.rows.partition_point(|rows| first(rows) <= row).saturating_sub(1);
        Ok(block.first_ordinal + within as u32)
    }

    /// Visits the distinct values of a field; false when there is no list of them.
    pub fn distinct(
        &self,
        cache: &Cache,
        field: &Field,
        visit: &mut dyn FnMut(&str, u64) -> bool,
    ) -> Result<bool, SourceError> {
        let Some((number, mode, _)) = self.column(field) else { return Ok(true) };
        // The terms of the remainder are keys, not its values.
        if mode != Mode::Terms || *field == Field::Remainder {
            return Ok(false);
        }
        let Some(terms) = self.terms(cache, number)? else { return Ok(true) };
        let is_number = match field {
            Field::Attr { kind, .. } => *kind != AttrType::Str,
            Field::Kind | Field::StatusCode | Field::SeverityNumber => true,
            Field::DroppedAttributes | Field::DroppedEvents | Field::DroppedLinks => true,
            _ => false,
        };
        let mut stream = terms.stream();
        while let Some((term, value)) = stream.next() {
            let traces = self.list_length(cache, number, &Pointer::new(value))?;
            let go_on = match term.try_into().map(u64::from_be_bytes) {
                Ok(bits) if is_number => visit(&field.bits_text(bits), traces),
                _ => visit(std::str::from_utf8(term).unwrap_or_default(), traces),
            };
            if !go_on {
                break;
            }
        }
        Ok(true)
    }

    /// Spans by minute and operation.
    pub fn operations(&self, cache: &Cache) -> Result<Arc<Vec<OperationCount>>, SourceError> {
        let decoded = self.decoded(cache, (Kind::Operations, 0, 0), |bytes| {
            let operations = rollup::read_operations(&bytes)?;
            let size = operations.len() * size_of::<OperationCount>();
            Some((operations, size))
        })?;
        decoded.ok_or_else(|| self.file.damaged("its rollup is missing"))
    }

    /// Durations by ten minutes and operation.
    pub fn durations(&self, cache: &Cache) -> Result<Vec<DurationCounts>, SourceError> {
        self.rollup(cache, Kind::Durations, rollup::read_durations)
    }

    /// Calls by minute and pair of services, for [`Calls::read`].
    pub fn calls(&self, cache: &Cache) -> Result<Calls, SourceError> {
        match self.bytes(cache, (Kind::Hops, 0, 0))? {
            Some(section) => Ok(Calls::Hops(section)),
            // Version 1.
            None => self.rollup(cache, Kind::Edges, rollup::read_edges).map(Calls::Edges),
        }
    }

    fn rollup<T>(
        &self,
        cache: &Cache,
        kind: Kind,
        read: fn(&[u8], &[u8]) -> Option<Vec<T>>,
    ) -> Result<Vec<T>, SourceError> {
        let position = self.file.position((Kind::Operations, 0, 0));
        // Not through the cache: it holds this section decoded.
        let operations = position.map(|position| self.file.read(position)).transpose()?;
        let section = self.bytes(cache, (kind, 0, 0))?;
        operations
            .zip(section)
            .and_then(|(operations, section)| read(&operations, &section))
            .ok_or_else(|| self.file.damaged(format!("its rollup {kind:?} does not decode")))
    }

    /// Bytes of the index by what they are for.
    pub fn sizes(&self) -> Vec<(String, u64)> {
        let mut sizes = std::collections::BTreeMap::<String, u64>::new();
        for (kind, field, bytes) in self.file.sizes() {
            let of_field = matches!(kind, Kind::Terms | Kind::Postings | Kind::ChunkFilters);
            let column = self.columns.get(field as usize).filter(|_| of_field);
            let name = column.map_or_else(|| format!("{kind:?}"), |column| format!("{kind:?} {}", column.name));
            *sizes.entry(name).or_default() += bytes;
        }
        sizes.into_iter().collect()
    }
}
