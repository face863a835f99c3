//! A segment as a source.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use roaring::RoaringBitmap;
use tracewell_model::TraceId;

use super::CHUNK_ROWS;
use super::meta::SegmentMeta;
use super::read::DataFile;
use crate::cache::Cache;
use crate::index::{DURATION_MINUTES, Found, Index};
use crate::table::{
    AttrType, Chunk, DurationCounts, Field, HopCount, OperationCount, Signal, Source, SourceError, TermPredicate,
    TraceBlock, TraceSet,
};

/// An open segment.
pub struct Segment {
    meta: SegmentMeta,
    data: DataFile,
    index_path: PathBuf,
    index: RwLock<Arc<Index>>,
    /// Held while the index is made again; true when that was tried, which is once.
    repair: Mutex<bool>,
    /// The first thing that did not read as it was written.
    damage: OnceLock<SourceError>,
    cache: Arc<Cache>,
}

/// Marks pieces of an index that was made again: they must not be mistaken for those of the damaged one.
const REPAIRED: u64 = 1 << 63;

impl Segment {
    /// Opens the files of a segment in `dir`, checking that they are those that `meta` describes. A missing or damaged
    /// index is made again from the data.
    pub fn open(dir: &Path, meta: &SegmentMeta, cache: &Arc<Cache>) -> Result<Arc<Self>, SourceError> {
        let data = DataFile::open(&dir.join(meta.data_file()), meta)?;
        let index_path = dir.join(meta.index_file());
        let (index, repaired) = match open_index(meta.id, &index_path, &data) {
            Ok(index) => (index, false),
            Err(error) => (repair_index(&error, meta, &data, cache, &index_path)?, true),
        };
        Ok(Arc::new(Self {
            meta: meta.clone(),
            data,
            index_path,
            index: RwLock::new(Arc::new(index)),
            repair: Mutex::new(repaired),
            damage: OnceLock::new(),
            cache: Arc::clone(cache),
        }))
    }

    /// Asks the index; should it turn out to be damaged, makes it again and asks once more.
    fn ask<T>(&self, ask: impl Fn(&Index) -> Result<T, SourceError>) -> Result<T, SourceError> {
        let index = Arc::clone(&self.index.read());
        let error = match ask(&index) {
            Err(error @ SourceError::Damaged { .. }) => error,
            answer => return answer,
        };
        {
            let mut tried = self.repair.lock();
            let untouched = Arc::ptr_eq(&index, &self.index.read());
            if untouched && std::mem::replace(&mut *tried, true) {
                return Err(self.noted(error));
            }
            if untouched {
                let repaired = repair_index(&error, &self.meta, &self.data, &self.cache, &self.index_path)
                    .map_err(|error| self.noted(error))?;
                *self.index.write() = Arc::new(repaired);
            }
        }
        let index = Arc::clone(&self.index.read());
        ask(&index)
    }

    /// What is known of the segment.
    pub fn meta(&self) -> &SegmentMeta {
        &self.meta
    }

    /// Bytes of the index by what they are for.
    pub fn index_sizes(&self) -> Vec<(String, u64)> {
        self.index.read().sizes()
    }

    fn noted(&self, error: SourceError) -> SourceError {
        self.damage.get_or_init(|| error.clone());
        error
    }

    /// The first thing that was read and is not what was written, if any was.
    pub fn damage(&self) -> Option<&SourceError> {
        self.damage.get()
    }

    fn traces_in_chunks(&self, chunks: &[u32]) -> Result<RoaringBitmap, SourceError> {
        let mut traces = RoaringBitmap::new();
        for chunk in chunks {
            let rows = chunk * CHUNK_ROWS..self.data.rows().min((chunk + 1) * CHUNK_ROWS);
            traces.insert_range(self.ask(|index| index.ordinals_of_rows(&self.cache, rows.clone()))?);
        }
        Ok(traces)
    }
}

fn open_index(id: u64, path: &Path, data: &DataFile) -> Result<Index, SourceError> {
    let index = Index::open(id, path)?;
    if index.rows() != data.rows() {
        return Err(SourceError::Damaged {
            file: path.display().to_string(),
            reason: format!("it is of {} rows, the data has {}", index.rows(), data.rows()),
        });
    }
    Ok(index)
}

/// Makes an index again from the data; if that fails too, the answer is why the index was needed.
fn repair_index(
    error: &SourceError,
    meta: &SegmentMeta,
    data: &DataFile,
    cache: &Cache,
    path: &Path,
) -> Result<Index, SourceError> {
    tracing::warn!("{error}; making the index again from {}", data.path().display());
    if let Err(failed) = crate::merge::reindex(data, meta.signal, cache, path) {
        tracing::error!("the index could not be made again: {failed}");
        return Err(error.clone());
    }
    open_index(meta.id | REPAIRED, path, data)
}

/// Distinct values with the number of traces that hold each; `None` when the index has no list of them.
fn values_of(index: &Index, cache: &Cache, field: &Field) -> Result<Option<Vec<(String, u64)>>, SourceError> {
    let mut values = Vec::new();
    let known = index.distinct(cache, field, &mut |value, traces| {
        values.push((value.to_owned(), traces));
        true
    })?;
    Ok(known.then_some(values))
}

impl Source for Segment {
    fn signal(&self) -> Signal {
        self.meta.signal
    }

    fn name(&self) -> String {
        self.data.path().display().to_string()
    }

    fn rows(&self) -> u32 {
        self.data.rows()
    }

    fn chunk_rows(&self) -> u32 {
        CHUNK_ROWS
    }

    fn time_range(&self) -> (u64, u64) {
        (self.meta.min_start, self.meta.max_end)
    }

    fn trace_count(&self) -> u32 {
        self.index.read().traces()
    }

    fn ordered(&self) -> bool {
        true
    }

    fn trace_blocks(&self) -> u32 {
        self.index.read().blocks()
    }

    fn trace_block(&self, index: u32) -> Result<Arc<TraceBlock>, SourceError> {
        self.ask(|held| held.block(&self.cache, index))
    }

    fn block_of_ordinal(&self, ordinal: u32) -> u32 {
        self.index.read().block_of_ordinal(ordinal)
    }

    fn ordinal_of_row(&self, row: u32) -> Result<u32, SourceError> {
        self.ask(|index| index.ordinal_of_row(&self.cache, row))
    }

    fn find_trace(&self, trace_id: &TraceId) -> Result<Option<u32>, SourceError> {
        self.ask(|index| index.find_trace(&self.cache, trace_id))
    }

    fn fields(&self) -> Vec<Field> {
        self.index.read().fields().map(|(field, _)| field.clone()).collect()
    }

    fn attributes(&self) -> Vec<(Arc<str>, AttrType, u64)> {
        self.index
            .read()
            .fields()
            .filter_map(|(field, rows)| match field {
                Field::Attr { key, kind } => Some((Arc::clone(key), *kind, rows)),
                _ => None,
            })
            .collect()
    }

    fn has_remainder(&self) -> bool {
        self.index.read().held(&Field::Remainder) > 0
    }

    fn chunk(&self, field: &Field, index: u32) -> Result<Option<Arc<Chunk>>, SourceError> {
        match self.data.column(field) {
            Some(column) => self.data.chunk(&self.cache, column, index).map_err(|error| self.noted(error)),
            None => Ok(None),
        }
    }

    fn postings(&self, field: &Field, predicate: &TermPredicate<'_>) -> Result<TraceSet, SourceError> {
        Ok(match self.ask(|index| index.find(&self.cache, field, predicate))? {
            Found::Unknown => TraceSet::All,
            Found::Traces(traces) => TraceSet::Some { traces, exact: true },
            Found::Chunks(chunks) => TraceSet::Some { traces: self.traces_in_chunks(&chunks)?, exact: false },
        })
    }

    fn distinct(&self, field: &Field, visit: &mut dyn FnMut(&str, u64) -> bool) -> Result<bool, SourceError> {
        // Visited values cannot be taken back, so what is visited is complete before the first is.
        let Some(values) = self.ask(|index| values_of(index, &self.cache, field))? else { return Ok(false) };
        for (value, traces) in values {
            if !visit(&value, traces) {
                break;
            }
        }
        Ok(true)
    }

    fn operations(
        &self,
        minutes: RangeInclusive<u64>,
        visit: &mut dyn FnMut(&OperationCount),
    ) -> Result<(), SourceError> {
        let operations = self.ask(|index| index.operations(&self.cache))?;
        // Sorted by minute.
        let first = operations.partition_point(|count| count.minute < *minutes.start());
        operations[first..].iter().take_while(|count| count.minute <= *minutes.end()).for_each(visit);
        Ok(())
    }

    fn durations(
        &self,
        minutes: RangeInclusive<u64>,
        service: Option<&str>,
        visit: &mut dyn FnMut(&DurationCounts),
    ) -> Result<(), SourceError> {
        let durations = self.ask(|index| index.durations(&self.cache))?;
        let touches = |counts: &&DurationCounts| {
            counts.minute <= *minutes.end() && counts.minute.saturating_add(DURATION_MINUTES) > *minutes.start()
        };
        let is_of = |counts: &&DurationCounts| service.is_none_or(|service| *counts.service == *service);
        durations.iter().filter(touches).filter(is_of).for_each(visit);
        Ok(())
    }

    fn hops(
        &self,
        minutes: RangeInclusive<u64>,
        service: Option<&str>,
        visit: &mut dyn FnMut(&HopCount),
    ) -> Result<(), SourceError> {
        let calls = self.ask(|index| index.calls(&self.cache))?;
        calls.read(minutes, service, visit).ok_or_else(|| {
            let file = self.index_path.display().to_string();
            self.noted(SourceError::Damaged { file, reason: "its rollup of calls does not decode".to_owned() })
        })
    }
}
