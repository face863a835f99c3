//! Values of one column for the rows of a row group, from wherever those rows lie.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use tracewell_model::{KeyValue, TraceId, Value};
use tracewell_wire::otlp::json;

use super::rows::{OutRow, RowRef};
use crate::segment::{Column, Layout, Values, WriteError};
use crate::table::{AttrType, Bitmap, Chunk, Field, NO_CODE, Source, SourceError, StrTable};

/// A dictionary being put together from other dictionaries.
#[derive(Default)]
struct Texts {
    table: StrTable,
    codes: HashTable<u32>,
    hasher: RandomState,
}

impl Texts {
    fn code(&mut self, text: &str) -> u32 {
        let hash_of = |hasher: &RandomState, bytes: &[u8]| {
            let mut state = hasher.build_hasher();
            state.write(bytes);
            state.finish()
        };
        let hash = hash_of(&self.hasher, text.as_bytes());
        let table = &self.table;
        if let Some(code) = self.codes.find(hash, |code| table.bytes(*code) == text.as_bytes()) {
            return *code;
        }
        let code = self.table.push(text);
        let (table, hasher) = (&self.table, &self.hasher);
        self.codes.insert_unique(hash, code, |code| hash_of(hasher, table.bytes(*code)));
        code
    }
}

/// The chunk of one source that rows are being taken from.
struct Place {
    chunk_rows: u32,
    first: u32,
    end: u32,
    chunk: Option<Arc<Chunk>>,
    /// For texts: the code in the new dictionary of each code in the chunk's, or [`NO_CODE`] while not asked for.
    codes: Vec<u32>,
}

/// The columns of a source, which is all that gathering needs of it.
pub trait ReadChunks {
    /// Rows in each chunk but the last.
    fn chunk_rows(&self) -> u32;
    /// Values of a chunk of a column.
    fn chunk(&self, field: &Field, index: u32) -> Result<Option<Arc<Chunk>>, SourceError>;
}

impl ReadChunks for Arc<dyn Source> {
    fn chunk_rows(&self) -> u32 {
        self.as_ref().chunk_rows()
    }

    fn chunk(&self, field: &Field, index: u32) -> Result<Option<Arc<Chunk>>, SourceError> {
        self.as_ref().chunk(field, index)
    }
}

/// Reads columns of some sources at scattered rows.
pub struct Gatherer<'a, S> {
    sources: &'a [S],
}

impl<'a, S: ReadChunks> Gatherer<'a, S> {
    pub fn new(sources: &'a [S]) -> Self {
        Self { sources }
    }

    /// Values of any column but the trace id's. Attributes in `demoted` join the remainder.
    pub fn values(&self, column: &Column, demoted: &[Field], rows: &[OutRow]) -> Result<Values, WriteError> {
        match (&column.field, column.layout()) {
            (Some(Field::ParentDistance), _) => {
                Ok(Numbers::of(rows.iter().map(|row| row.parent_distance.map(|distance| distance as u64))))
            }
            (Some(Field::ParentSpanId), _) => Ok(Numbers::of(rows.iter().map(|row| row.parent_id))),
            (Some(Field::Remainder), _) => self.remainder(demoted, rows),
            (Some(field), Layout::Text) => self.texts(field, rows),
            (Some(field), _) => self.numbers(field, rows),
            (None, _) => Ok(Numbers::of(rows.iter().map(|_| None))),
        }
    }

    fn places(&self) -> Vec<Place> {
        let place =
            |source: &S| Place { chunk_rows: source.chunk_rows(), first: 0, end: 0, chunk: None, codes: Vec::new() };
        self.sources.iter().map(place).collect()
    }

    /// Makes `place` hold the chunk of `at`.
    fn seek(&self, field: &Field, place: &mut Place, at: RowRef) -> Result<(), WriteError> {
        let chunk = at.row / place.chunk_rows;
        let next = self.sources[usize::from(at.source)].chunk(field, chunk)?;
        let shared = match (place.chunk.as_deref(), next.as_deref()) {
            (Some(Chunk::Str { dict: old, .. }), Some(Chunk::Str { dict: new, .. })) => Arc::ptr_eq(old, new),
            _ => false,
        };
        if !shared {
            place.codes.clear();
            if let Some(Chunk::Str { dict, .. }) = next.as_deref() {
                place.codes.resize(dict.len(), NO_CODE);
            }
        }
        place.first = chunk * place.chunk_rows;
        place.end = place.first.saturating_add(place.chunk_rows);
        place.chunk = next;
        Ok(())
    }

    /// Texts of a field.
    fn texts(&self, field: &Field, rows: &[OutRow]) -> Result<Values, WriteError> {
        let mut places = self.places();
        let mut texts = Texts::default();
        let mut gathered = Vec::with_capacity(rows.len());
        for OutRow { at, .. } in rows {
            let place = &mut places[usize::from(at.source)];
            if at.row < place.first || at.row >= place.end {
                self.seek(field, place, *at)?;
            }
            let Some(Chunk::Str { codes, dict }) = place.chunk.as_deref() else {
                gathered.push(NO_CODE);
                continue;
            };
            let code = codes[(at.row - place.first) as usize];
            if code == NO_CODE {
                gathered.push(NO_CODE);
                continue;
            }
            let known = &mut place.codes[code as usize];
            if *known == NO_CODE {
                *known = texts.code(dict.get(code));
            }
            gathered.push(*known);
        }
        Ok(Values::Text { codes: gathered, dict: texts.table })
    }

    /// Numbers of a field.
    fn numbers(&self, field: &Field, rows: &[OutRow]) -> Result<Values, WriteError> {
        let mut places = self.places();
        let mut gathered = Numbers::with_capacity(rows.len());
        for OutRow { at, .. } in rows {
            let place = &mut places[usize::from(at.source)];
            if at.row < place.first || at.row >= place.end {
                self.seek(field, place, *at)?;
            }
            gathered.push(place.chunk.as_deref().and_then(|chunk| chunk.bits((at.row - place.first) as usize)));
        }
        Ok(gathered.finish())
    }

    /// The remainder of each row: what the sources keep there, and the attributes in `demoted`.
    fn remainder(&self, demoted: &[Field], rows: &[OutRow]) -> Result<Values, WriteError> {
        let kept = self.texts(&Field::Remainder, rows)?;
        if demoted.is_empty() {
            return Ok(kept);
        }
        let Values::Text { codes, dict } = kept else { return Ok(kept) };
        let mut extra: HashMap<usize, Vec<KeyValue>> = HashMap::new();
        let positions: HashMap<(u16, u32), usize, RandomState> =
            rows.iter().enumerate().map(|(position, row)| ((row.at.source, row.at.row), position)).collect();
        let mut chunks: Vec<(u16, u32)> = rows
            .iter()
            .map(|row| (row.at.source, row.at.row / self.sources[usize::from(row.at.source)].chunk_rows()))
            .collect();
        chunks.sort_unstable();
        chunks.dedup();
        for field in demoted {
            let Field::Attr { key, kind } = field else { continue };
            for (source, number) in &chunks {
                let reader = &self.sources[usize::from(*source)];
                let Some(chunk) = reader.chunk(field, *number)? else { continue };
                for row in 0..chunk.len() {
                    let Some(value) = value_at(&chunk, row, *kind) else { continue };
                    let row = number * reader.chunk_rows() + row as u32;
                    if let Some(position) = positions.get(&(*source, row)) {
                        extra.entry(*position).or_default().push(KeyValue { key: key.to_string(), value });
                    }
                }
            }
        }
        let mut texts = StrTable::default();
        let codes = codes
            .iter()
            .enumerate()
            .map(|(position, code)| {
                let own = (*code != NO_CODE).then(|| dict.get(*code));
                match extra.remove(&position) {
                    None => own.map_or(NO_CODE, |own| texts.push(own)),
                    Some(more) => {
                        let mut all = own.and_then(|own| json::attributes_from_json(own).ok()).unwrap_or_default();
                        all.extend(more);
                        texts.push(&json::attributes_to_json(&all))
                    }
                }
            })
            .collect();
        Ok(Values::Text { codes, dict: texts })
    }
}

fn value_at(chunk: &Chunk, row: usize, kind: AttrType) -> Option<Value> {
    match kind {
        AttrType::Str => chunk.text(row).map(Value::from),
        AttrType::Int => chunk.bits(row).map(|bits| Value::Int(bits as i64)),
        AttrType::Double => chunk.bits(row).map(|bits| Value::Double(f64::from_bits(bits))),
        AttrType::Bool => chunk.bits(row).map(|bits| Value::Bool(bits != 0)),
    }
}

/// Numbers being collected row by row.
struct Numbers {
    values: Vec<u64>,
    present: Bitmap,
    held: usize,
}

impl Numbers {
    /// All numbers of an iterator.
    fn of(numbers: impl ExactSizeIterator<Item = Option<u64>>) -> Values {
        let mut collected = Self::with_capacity(numbers.len());
        numbers.for_each(|number| collected.push(number));
        collected.finish()
    }

    fn with_capacity(rows: usize) -> Self {
        Self { values: Vec::with_capacity(rows), present: Bitmap::filled(rows, false), held: 0 }
    }

    #[inline]
    fn push(&mut self, value: Option<u64>) {
        if value.is_some() {
            self.present.set(self.values.len());
            self.held += 1;
        }
        self.values.push(value.unwrap_or_default());
    }

    fn finish(self) -> Values {
        let present = (self.held < self.values.len()).then_some(self.present);
        Values::Num { values: self.values, present }
    }
}

/// Trace ids of rows, given the ordinal of each row and the ids by ordinal from `first` on.
pub fn trace_ids(ordinals: &[u32], first: u32, ids: &[TraceId]) -> Values {
    let mut held = Vec::new();
    let mut codes = Vec::with_capacity(ordinals.len());
    let mut last: Option<(u32, u32)> = None;
    for ordinal in ordinals {
        let code = match last {
            Some((known, code)) if known == *ordinal => code,
            _ => {
                let id = ids[(ordinal - first) as usize];
                let code = if id.is_zero() { NO_CODE } else { held.len() as u32 };
                if !id.is_zero() {
                    held.push(id);
                }
                last = Some((*ordinal, code));
                code
            }
        };
        codes.push(code);
    }
    Values::TraceIds { codes, ids: held }
}
