//! A segment's index made again from its Parquet file.

use std::path::Path;
use std::sync::Arc;

use tracewell_model::TraceId;

use super::counted::Counted;
use super::gather::{Gatherer, ReadChunks};
use super::order::LOOSE_ROWS;
use super::rows::{OutRow, RowRef};
use crate::cache::Cache;
use crate::index::IndexWriter;
use crate::segment::{CHUNK_ROWS, DataFile, GROUP_ROWS, WriteError};
use crate::table::{Chunk, Field, Signal, SourceError, TraceEntry};

struct Data<'a> {
    file: &'a DataFile,
    cache: &'a Cache,
}

impl ReadChunks for Data<'_> {
    fn chunk_rows(&self) -> u32 {
        CHUNK_ROWS
    }

    fn chunk(&self, field: &Field, index: u32) -> Result<Option<Arc<Chunk>>, SourceError> {
        match self.file.column(field) {
            Some(column) => self.file.chunk(self.cache, column, index),
            None => Ok(None),
        }
    }
}

/// A trace while its rows pass by.
struct Open {
    entry: TraceEntry,
    root_start: u64,
}

/// Makes the index of `file` at `path`, replacing whatever is there. Returns its size in bytes.
pub fn reindex(file: &DataFile, signal: Signal, cache: &Cache, path: &Path) -> Result<u64, WriteError> {
    let unfinished = path.with_extension("idx.tmp");
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(WriteError::io(&unfinished, &error)),
        _ => {}
    }
    let mut index = IndexWriter::create(&unfinished, file.columns())?;
    let data = [Data { file, cache }];
    let gatherer = Gatherer::new(&data);
    let mut last = None;
    let mut open: Option<Open> = None;
    for group in 0..file.rows().div_ceil(GROUP_ROWS) {
        let range = group * GROUP_ROWS..file.rows().min((group + 1) * GROUP_ROWS);
        let mut ordinals = Vec::with_capacity(range.len());
        for chunk in range.start / CHUNK_ROWS..range.end.div_ceil(CHUNK_ROWS) {
            traces(&data[0], signal, chunk, &mut open, &mut index, &mut ordinals)?;
        }
        let rows = parents(&data[0], range)?;
        let mut counted = Counted::default();
        for column in file.columns().iter().filter(|column| column.field.is_some()) {
            let values = gatherer.values(column, &[], &rows)?;
            index.column(group, column, &values, &ordinals);
            counted.take(column, &values);
        }
        if signal == Signal::Traces {
            counted.count(&rows, &ordinals, &mut last, &mut index.rollup);
        }
    }
    if let Some(last) = open {
        let rows = last.entry.spans;
        index.trace(last.entry, rows)?;
    }
    let size = index.finish()?;
    std::fs::rename(&unfinished, path).map_err(|error| WriteError::io(path, &error))?;
    Ok(size)
}

/// The rows of a range with the way to their parents.
fn parents(data: &Data<'_>, range: std::ops::Range<u32>) -> Result<Vec<OutRow>, WriteError> {
    let mut rows = Vec::with_capacity(range.len());
    for chunk in range.start / CHUNK_ROWS..range.end.div_ceil(CHUNK_ROWS) {
        let distances = data.chunk(&Field::ParentDistance, chunk)?;
        let ids = data.chunk(&Field::ParentSpanId, chunk)?;
        for row in chunk * CHUNK_ROWS..range.end.min((chunk + 1) * CHUNK_ROWS) {
            let bits = |values: &Option<Arc<Chunk>>| values.as_ref()?.bits((row % CHUNK_ROWS) as usize);
            rows.push(OutRow {
                at: RowRef { source: 0, row },
                parent_distance: bits(&distances).map(|bits| bits as i64),
                parent_id: bits(&ids),
            });
        }
    }
    Ok(rows)
}

/// Finds the traces of a chunk. The last one stays open: it may go on in the next chunk.
fn traces(
    data: &Data<'_>,
    signal: Signal,
    chunk: u32,
    open: &mut Option<Open>,
    index: &mut IndexWriter,
    ordinals: &mut Vec<u32>,
) -> Result<(), WriteError> {
    let ids: Vec<TraceId> = data.file.trace_ids(chunk)?;
    let read = |field: Field| data.chunk(&field, chunk);
    let (starts, durations) = (read(Field::Start)?, read(Field::Duration)?);
    let (services, names) = (read(Field::Service)?, read(Field::Name)?);
    let (distances, parents) = (read(Field::ParentDistance)?, read(Field::ParentSpanId)?);
    let (field, least) = match signal {
        Signal::Traces => (Field::StatusCode, 2),
        Signal::Logs => (Field::SeverityNumber, 17),
    };
    let statuses = read(field)?;
    let bits = |values: &Option<Arc<Chunk>>, row: usize| values.as_ref()?.bits(row);
    for (row, id) in ids.into_iter().enumerate() {
        let start = bits(&starts, row).unwrap_or_default();
        let end = start.wrapping_add(bits(&durations, row).unwrap_or_default());
        let goes_on = open.as_ref().is_some_and(|open| {
            open.entry.trace_id == id && !(id.is_zero() && open.entry.spans as usize >= LOOSE_ROWS)
        });
        if !goes_on {
            let entry = TraceEntry { trace_id: id, start, end, spans: 0, errors: 0, root: None };
            if let Some(done) = open.replace(Open { entry, root_start: u64::MAX }) {
                let rows = done.entry.spans;
                index.trace(done.entry, rows)?;
            }
        }
        ordinals.push(index.traces());
        let Some(current) = open.as_mut() else { continue };
        let status = bits(&statuses, row).unwrap_or_default();
        let is_error = match signal {
            Signal::Traces => status == least,
            Signal::Logs => !id.is_zero() && status as i64 >= least as i64,
        };
        current.entry.start = current.entry.start.min(start);
        current.entry.end = current.entry.end.max(end);
        current.entry.spans += 1;
        current.entry.errors += u32::from(is_error);
        let is_root = signal == Signal::Traces && bits(&distances, row).is_none() && bits(&parents, row).is_none();
        if is_root && start < current.root_start {
            let text = |values: &Option<Arc<Chunk>>| {
                Arc::<str>::from(values.as_ref().and_then(|chunk| chunk.text(row)).unwrap_or_default())
            };
            current.root_start = start;
            current.entry.root = Some((text(&services), text(&names)));
        }
    }
    Ok(())
}
