//! The rows of one trace in their order, without exact duplicates, each with the way to its parent.

use std::collections::HashMap;
use std::sync::Arc;

use super::order::{Parts, Piece, joined_entry};
use crate::segment::WriteError;
use crate::table::{Chunk, Field, Rows, Signal, Source, TraceEntry};

/// A row of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowRef {
    pub source: u16,
    pub row: u32,
}

/// A row to be written.
#[derive(Debug, Clone, Copy)]
pub struct OutRow {
    pub at: RowRef,
    /// Rows back to the parent, where it is in the same trace here.
    pub parent_distance: Option<i64>,
    /// The parent's id, where it is not.
    pub parent_id: Option<u64>,
}

/// Reads numbers of one field of one source, keeping the last chunk at hand.
struct Cursor {
    source: Arc<dyn Source>,
    field: Field,
    chunk_rows: u32,
    held: Option<(u32, Option<Arc<Chunk>>)>,
}

impl Cursor {
    fn new(source: &Arc<dyn Source>, field: Field) -> Self {
        Self { source: Arc::clone(source), field, chunk_rows: source.chunk_rows(), held: None }
    }

    /// The chunk that holds a row, if any of its rows has a value.
    fn seek(&mut self, row: u32) -> Result<Option<&Chunk>, WriteError> {
        let wanted = row / self.chunk_rows;
        if self.held.as_ref().is_none_or(|(chunk, _)| *chunk != wanted) {
            self.held = Some((wanted, self.source.chunk(&self.field, wanted)?));
        }
        Ok(self.held.as_ref().and_then(|(_, chunk)| chunk.as_deref()))
    }

    fn bits(&mut self, row: u32) -> Result<Option<u64>, WriteError> {
        let within = (row % self.chunk_rows) as usize;
        Ok(self.seek(row)?.and_then(|chunk| chunk.bits(within)))
    }

    fn text(&mut self, row: u32) -> Result<Arc<str>, WriteError> {
        let within = (row % self.chunk_rows) as usize;
        Ok(Arc::from(self.seek(row)?.and_then(|chunk| chunk.text(within)).unwrap_or_default()))
    }
}

/// Finds the rows of traces.
pub struct RowFinder<'a> {
    sources: &'a [Arc<dyn Source>],
    signal: Signal,
    start: Vec<Cursor>,
    span_id: Vec<Cursor>,
    parent_id: Vec<Cursor>,
    parent_distance: Vec<Cursor>,
    status: Vec<Cursor>,
    service: Vec<Cursor>,
    name: Vec<Cursor>,
}

/// A span while its trace is put together.
#[derive(Clone, Copy)]
struct Loaded {
    at: RowRef,
    start: u64,
    span_id: u64,
    parent: Option<u64>,
}

impl<'a> RowFinder<'a> {
    /// Finds rows in `sources`.
    pub fn new(sources: &'a [Arc<dyn Source>], signal: Signal) -> Self {
        let cursors = |field: Field| sources.iter().map(|source| Cursor::new(source, field.clone())).collect();
        Self {
            sources,
            signal,
            start: cursors(Field::Start),
            span_id: cursors(Field::SpanId),
            parent_id: cursors(Field::ParentSpanId),
            parent_distance: cursors(Field::ParentDistance),
            status: cursors(Field::StatusCode),
            service: cursors(Field::Service),
            name: cursors(Field::Name),
        }
    }

    /// Appends the rows of a trace to `out` and returns its entry; `None` for an empty one.
    pub fn rows(&mut self, parts: Parts<'_>, out: &mut Vec<OutRow>) -> Result<Option<TraceEntry>, WriteError> {
        let pieces = match parts {
            Parts::Pieces(pieces) => pieces,
            Parts::Loose(rows) => return self.loose(rows, out),
        };
        let mut entries = Vec::with_capacity(pieces.len());
        let mut refs: Vec<RowRef> = Vec::new();
        for Piece { source, ordinal } in pieces {
            let reader = &self.sources[usize::from(*source)];
            let block = reader.trace_block(reader.block_of_ordinal(*ordinal))?;
            let within = (ordinal - block.first_ordinal) as usize;
            let (Some(entry), Some(rows)) = (block.entries.get(within), block.rows.get(within)) else { continue };
            entries.push(entry.clone());
            if let ([_], true, Rows::Range(first, end)) = (pieces, reader.ordered(), rows) {
                self.copy(*source, *first..*end, out)?;
                return Ok(entries.pop());
            }
            refs.extend(rows.iter().map(|row| RowRef { source: *source, row }));
        }
        let Some(mut entry) = joined_entry(&entries) else { return Ok(None) };
        let mut loaded = self.load(&refs)?;
        loaded.sort_by_key(|span| (span.start, span.span_id));
        if self.drop_duplicates(&mut loaded)? {
            entry.spans = loaded.len() as u32;
            entry.errors = 0;
            for span in &loaded {
                let status = self.status[usize::from(span.at.source)].bits(span.at.row)?;
                entry.errors += u32::from(self.signal == Signal::Traces && status == Some(2));
            }
        }
        if self.signal == Signal::Traces {
            // The earliest span without a parent, whichever piece it came with.
            entry.root = match loaded.iter().find(|span| span.parent.is_none()) {
                Some(Loaded { at, .. }) => {
                    let cursor = usize::from(at.source);
                    Some((self.service[cursor].text(at.row)?, self.name[cursor].text(at.row)?))
                }
                None => None,
            };
        }
        link_parents(&loaded, out);
        Ok(Some(entry))
    }

    /// Rows that already stand in order with their parents found.
    fn copy(&mut self, source: u16, rows: std::ops::Range<u32>, out: &mut Vec<OutRow>) -> Result<(), WriteError> {
        let cursor = usize::from(source);
        for row in rows {
            out.push(OutRow {
                at: RowRef { source, row },
                parent_distance: self.parent_distance[cursor].bits(row)?.map(|bits| bits as i64),
                parent_id: self.parent_id[cursor].bits(row)?,
            });
        }
        Ok(())
    }

    fn loose(&mut self, rows: &[(u16, u32)], out: &mut Vec<OutRow>) -> Result<Option<TraceEntry>, WriteError> {
        let (mut start, mut end) = (u64::MAX, 0);
        for (source, row) in rows {
            let time = self.start[usize::from(*source)].bits(*row)?.unwrap_or_default();
            start = start.min(time);
            end = end.max(time);
            let at = RowRef { source: *source, row: *row };
            out.push(OutRow { at, parent_distance: None, parent_id: None });
        }
        let entry =
            TraceEntry { trace_id: Default::default(), start, end, spans: rows.len() as u32, errors: 0, root: None };
        Ok((!rows.is_empty()).then_some(entry))
    }

    fn load(&mut self, refs: &[RowRef]) -> Result<Vec<Loaded>, WriteError> {
        let mut loaded = Vec::with_capacity(refs.len());
        for at in refs {
            let cursor = usize::from(at.source);
            let mut parent = self.parent_id[cursor].bits(at.row)?;
            if parent.is_none()
                && let Some(distance) = self.parent_distance[cursor].bits(at.row)?
            {
                let row = i64::from(at.row) - distance as i64;
                parent = match u32::try_from(row) {
                    Ok(row) => self.span_id[cursor].bits(row)?,
                    Err(_) => None,
                };
            }
            loaded.push(Loaded {
                at: *at,
                start: self.start[cursor].bits(at.row)?.unwrap_or_default(),
                span_id: self.span_id[cursor].bits(at.row)?.unwrap_or_default(),
                parent,
            });
        }
        Ok(loaded)
    }

    /// Drops rows that equal an earlier one in every field. True when there were any.
    fn drop_duplicates(&self, loaded: &mut Vec<Loaded>) -> Result<bool, WriteError> {
        // Log records carry no id of their own: two that look the same may well be two.
        let suspicious =
            loaded.windows(2).any(|pair| pair[0].start == pair[1].start && pair[0].span_id == pair[1].span_id);
        if self.signal == Signal::Logs || !suspicious {
            return Ok(false);
        }
        let mut kept: Vec<Loaded> = Vec::with_capacity(loaded.len());
        let mut dropped = false;
        for span in loaded.drain(..) {
            let twins = kept.iter().rev().take_while(|kept| kept.start == span.start && kept.span_id == span.span_id);
            let mut duplicate = false;
            for twin in twins {
                duplicate |= twin.parent == span.parent && self.equal(twin.at, span.at)?;
            }
            dropped |= duplicate;
            if !duplicate {
                kept.push(span);
            }
        }
        *loaded = kept;
        Ok(dropped)
    }

    fn equal(&self, a: RowRef, b: RowRef) -> Result<bool, WriteError> {
        let (left, right) = (&self.sources[usize::from(a.source)], &self.sources[usize::from(b.source)]);
        let mut fields = left.fields();
        fields.extend(right.fields());
        fields.sort();
        fields.dedup();
        for field in fields {
            if matches!(field, Field::ParentDistance | Field::ParentSpanId) {
                continue;
            }
            let one = left.chunk(&field, a.row / left.chunk_rows())?;
            let other = right.chunk(&field, b.row / right.chunk_rows())?;
            let (one_row, other_row) = ((a.row % left.chunk_rows()) as usize, (b.row % right.chunk_rows()) as usize);
            let (one, other) = (one.as_deref(), other.as_deref());
            let same = one.and_then(|chunk| chunk.text(one_row)) == other.and_then(|chunk| chunk.text(other_row))
                && one.and_then(|chunk| chunk.bits(one_row)) == other.and_then(|chunk| chunk.bits(other_row));
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Finds each span's parent among the rows of its trace.
fn link_parents(loaded: &[Loaded], out: &mut Vec<OutRow>) {
    let mut positions: HashMap<u64, usize, foldhash::fast::RandomState> =
        HashMap::with_capacity_and_hasher(loaded.len(), Default::default());
    if loaded.len() > 1 {
        for (position, span) in loaded.iter().enumerate() {
            positions.entry(span.span_id).or_insert(position);
        }
    }
    for (position, span) in loaded.iter().enumerate() {
        let parent = span.parent.and_then(|parent| positions.get(&parent));
        out.push(OutRow {
            at: span.at,
            parent_distance: parent.map(|parent| position as i64 - *parent as i64),
            parent_id: if parent.is_some() { None } else { span.parent },
        });
    }
}
