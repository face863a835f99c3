//! A segment as a source.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use roaring::RoaringBitmap;
use tracewell_model::TraceId;

use super::CHUNK_ROWS;
use super::meta::SegmentMeta;
use super::read::DataFile;
use crate::cache::Cache;
use crate::index::{Found, Index};
use crate::table::{
    AttrType, Chunk, Field, OperationCount, Signal, Source, SourceError, TermPredicate, TraceBlock, TraceSet,
};

/// An open segment.
pub struct Segment {
    meta: SegmentMeta,
    data: DataFile,
    index: Index,
    cache: Arc<Cache>,
}

impl Segment {
    /// Opens the files of a segment in `dir`, checking that they are those that `meta` describes.
    pub fn open(dir: &Path, meta: &SegmentMeta, cache: &Arc<Cache>) -> Result<Arc<Self>, SourceError> {
        let data = DataFile::open(&dir.join(meta.data_file()), meta)?;
        let path = dir.join(meta.index_file());
        let index = Index::open(meta.id, &path)?;
        if index.rows() != data.rows() {
            return Err(SourceError::Damaged {
                file: path.display().to_string(),
                reason: format!("it is of {} rows, the data has {}", index.rows(), data.rows()),
            });
        }
        Ok(Arc::new(Self { meta: meta.clone(), data, index, cache: Arc::clone(cache) }))
    }

    /// What is known of the segment.
    pub fn meta(&self) -> &SegmentMeta {
        &self.meta
    }

    /// Bytes of the index by what they are for.
    pub fn index_sizes(&self) -> Vec<(String, u64)> {
        self.index.sizes()
    }

    fn traces_in_chunks(&self, chunks: &[u32]) -> Result<RoaringBitmap, SourceError> {
        let mut traces = RoaringBitmap::new();
        for chunk in chunks {
            let rows = chunk * CHUNK_ROWS..self.data.rows().min((chunk + 1) * CHUNK_ROWS);
            traces.insert_range(self.index.ordinals_of_rows(&self.cache, rows)?);
        }
        Ok(traces)
    }
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
        self.index.traces()
    }

    fn ordered(&self) -> bool {
        true
    }

    fn trace_blocks(&self) -> u32 {
        self.index.blocks()
    }

    fn trace_block(&self, index: u32) -> Result<Arc<TraceBlock>, SourceError> {
        self.index.block(&self.cache, index)
    }

    fn block_of_ordinal(&self, ordinal: u32) -> u32 {
        self.index.block_of_ordinal(ordinal)
    }

    fn ordinal_of_row(&self, row: u32) -> Result<u32, SourceError> {
        self.index.ordinal_of_row(&self.cache, row)
    }

    fn find_trace(&self, trace_id: &TraceId) -> Result<Option<u32>, SourceError> {
        self.index.find_trace(&self.cache, trace_id)
    }

    fn fields(&self) -> Vec<Field> {
        self.index.fields().map(|(field, _)| field.clone()).collect()
    }

    fn attributes(&self) -> Vec<(Arc<str>, AttrType, u64)> {
        self.index
            .fields()
            .filter_map(|(field, rows)| match field {
                Field::Attr { key, kind } => Some((Arc::clone(key), *kind, rows)),
                _ => None,
            })
            .collect()
    }

    fn has_remainder(&self) -> bool {
        self.index.held(&Field::Remainder) > 0
    }

    fn chunk(&self, field: &Field, index: u32) -> Result<Option<Arc<Chunk>>, SourceError> {
        match self.data.column(field) {
            Some(column) => self.data.chunk(&self.cache, column, index),
            None => Ok(None),
        }
    }

    fn postings(&self, field: &Field, predicate: &TermPredicate<'_>) -> Result<TraceSet, SourceError> {
        Ok(match self.index.find(&self.cache, field, predicate)? {
            Found::Unknown => TraceSet::All,
            Found::Traces(traces) => TraceSet::Some { traces, exact: true },
            Found::Chunks(chunks) => TraceSet::Some { traces: self.traces_in_chunks(&chunks)?, exact: false },
        })
    }

    fn distinct(&self, field: &Field, visit: &mut dyn FnMut(&str, u64) -> bool) -> Result<bool, SourceError> {
        self.index.distinct(&self.cache, field, visit)
    }

    fn operations(
        &self,
        minutes: RangeInclusive<u64>,
        visit: &mut dyn FnMut(&OperationCount),
    ) -> Result<(), SourceError> {
        let operations = self.index.operations(&self.cache)?;
        // Sorted by minute.
        let first = operations.partition_point(|count| count.minute < *minutes.start());
        operations[first..].iter().take_while(|count| count.minute <= *minutes.end()).for_each(visit);
        Ok(())
    }
}
