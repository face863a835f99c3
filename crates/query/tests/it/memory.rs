//! An ordered source in memory: what a segment is to a reader, with chunks and blocks of a few rows.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use roaring::RoaringBitmap;
use tracewell_model::{KeyValue, SpanRecord, TraceId, Value, sketch};
use tracewell_store::index::{HopSpan, Hops};
use tracewell_store::table::{
    AttrType, Bitmap, Chunk, DurationCounts, Field, HopCount, NO_CODE, OperationCount, Rows, Signal, Source,
    SourceError, StrTable, TermPredicate, TraceBlock, TraceEntry, TraceSet,
};
use tracewell_wire::otlp::json;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    Text(String),
    Bits(u64),
}

/// Spans in the order of a segment.
pub struct Memory {
    columns: BTreeMap<Field, Vec<Option<Cell>>>,
    entries: Vec<TraceEntry>,
    rows: Vec<(u32, u32)>,
    hops: Vec<HopCount>,
    row_count: u32,
    chunk_rows: u32,
    block_traces: u32,
    /// Chunks that were read.
    pub chunks_read: AtomicUsize,
    /// Reading this column fails, as if its file were damaged.
    pub damaged: Option<Field>,
}

impl Memory {
    pub fn new(mut spans: Vec<SpanRecord>, chunk_rows: u32, block_traces: u32) -> Self {
        let mut starts: BTreeMap<TraceId, u64> = BTreeMap::new();
        for record in &spans {
            let start = starts.entry(record.span.trace_id).or_insert(u64::MAX);
            *start = (*start).min(record.span.start_unix_nano);
        }
        spans.sort_by_key(|record| {
            let trace_id = record.span.trace_id;
            (starts[&trace_id], trace_id, record.span.start_unix_nano, record.span.span_id)
        });
        let mut memory = Self {
            columns: BTreeMap::new(),
            entries: Vec::new(),
            rows: Vec::new(),
            hops: Vec::new(),
            row_count: spans.len() as u32,
            chunk_rows,
            block_traces,
            chunks_read: AtomicUsize::new(0),
            damaged: None,
        };
        for (row, record) in spans.iter().enumerate() {
            memory.put_row(row, record, &spans);
        }
        let mut hops = Hops::default();
        for trace in spans.chunk_by(|left, right| left.span.trace_id == right.span.trace_id) {
            let first = memory.rows.last().map_or(0, |(_, end)| *end);
            memory.rows.push((first, first + trace.len() as u32));
            for record in trace {
                let span = &record.span;
                let parent = span.parent_span_id.and_then(|id| trace.iter().position(|of| of.span.span_id == id));
                let service = hops.service(record.resource.service_name());
                hops.span(HopSpan {
                    id: span.span_id.to_u64(),
                    start_ns: span.start_unix_nano,
                    duration_ns: span.end_unix_nano.wrapping_sub(span.start_unix_nano),
                    kind: span.kind,
                    is_error: span.status.code == 2,
                    service,
                    parent: parent.map(|parent| parent as u32),
                    is_orphan: span.parent_span_id.is_some() && parent.is_none(),
                });
            }
            hops.finish_trace();
            let root = trace.iter().find(|record| record.span.parent_span_id.is_none());
            memory.entries.push(TraceEntry {
                trace_id: trace[0].span.trace_id,
                start: trace.iter().map(|record| record.span.start_unix_nano).min().unwrap(),
                end: trace.iter().map(|record| record.span.end_unix_nano).max().unwrap(),
                spans: trace.len() as u32,
                errors: trace.iter().filter(|record| record.span.status.code == 2).count() as u32,
                root: root.map(|root| (root.resource.service_name().into(), root.span.name.as_str().into())),
            });
        }
        memory.hops = hops.counts();
        memory
    }

    fn put(&mut self, field: Field, row: usize, cell: Cell) {
        let count = self.row_count as usize;
        self.columns.entry(field).or_insert_with(|| vec![None; count])[row] = Some(cell);
    }

    fn put_row(&mut self, row: usize, record: &SpanRecord, spans: &[SpanRecord]) {
        let span = &record.span;
        let text = |text: &str| Cell::Text(text.to_owned());
        self.put(Field::SpanId, row, Cell::Bits(span.span_id.to_u64()));
        self.put(Field::Start, row, Cell::Bits(span.start_unix_nano));
        self.put(Field::Duration, row, Cell::Bits(span.end_unix_nano.wrapping_sub(span.start_unix_nano)));
        self.put(Field::Name, row, text(&span.name));
        self.put(Field::Kind, row, Cell::Bits(span.kind as i64 as u64));
        self.put(Field::Service, row, text(record.resource.service_name()));
        self.put(Field::Resource, row, Cell::Text(json::resource_to_json(&record.resource)));
        self.put(Field::Scope, row, Cell::Text(json::scope_to_json(&record.scope)));
        if let Some(parent) = span.parent_span_id {
            let found =
                spans.iter().position(|other| other.span.span_id == parent && other.span.trace_id == span.trace_id);
            match found {
                Some(found) => self.put(Field::ParentDistance, row, Cell::Bits((row as i64 - found as i64) as u64)),
                None => self.put(Field::ParentSpanId, row, Cell::Bits(parent.to_u64())),
            }
        }
        if span.status.code != 0 {
            self.put(Field::StatusCode, row, Cell::Bits(span.status.code as u64));
        }
        if span.flags != 0 {
            self.put(Field::Flags, row, Cell::Bits(u64::from(span.flags)));
        }
        for (field, value) in [(Field::StatusMessage, &span.status.message), (Field::TraceState, &span.trace_state)] {
            if !value.is_empty() {
                self.put(field, row, text(value));
            }
        }
        if !span.events.is_empty() {
            self.put(Field::Events, row, Cell::Text(json::events_to_json(&span.events)));
        }
        if !span.links.is_empty() {
            self.put(Field::Links, row, Cell::Text(json::links_to_json(&span.links)));
        }
        let mut rest: Vec<KeyValue> = Vec::new();
        for attribute in &span.attributes {
            let column = match &attribute.value {
                Value::Str(value) => Some((AttrType::Str, text(value))),
                Value::Int(value) => Some((AttrType::Int, Cell::Bits(*value as u64))),
                Value::Double(value) => Some((AttrType::Double, Cell::Bits(value.to_bits()))),
                Value::Bool(value) => Some((AttrType::Bool, Cell::Bits(u64::from(*value)))),
                _ => None,
            };
            // Keys that begin with `rare` have no column of their own.
            match column.filter(|_| !attribute.key.starts_with("rare")) {
                Some((kind, cell)) => self.put(Field::attr(&attribute.key, kind), row, cell),
                None => rest.push(attribute.clone()),
            }
        }
        if !rest.is_empty() {
            self.put(Field::Remainder, row, Cell::Text(json::attributes_to_json(&rest)));
        }
    }

    fn ordinal(&self, row: u32) -> u32 {
        self.rows.partition_point(|(_, end)| *end <= row) as u32
    }

    fn check(&self, field: &Field) -> Result<(), SourceError> {
        match self.damaged.as_ref() == Some(field) {
            true => Err(SourceError::Damaged { file: self.name(), reason: "made so".into() }),
            false => Ok(()),
        }
    }
}

impl Source for Memory {
    fn signal(&self) -> Signal {
        Signal::Traces
    }

    fn name(&self) -> String {
        "memory".into()
    }

    fn rows(&self) -> u32 {
        self.row_count
    }

    fn chunk_rows(&self) -> u32 {
        self.chunk_rows
    }

    fn time_range(&self) -> (u64, u64) {
        let start = self.entries.iter().map(|entry| entry.start).min().unwrap_or_default();
        (start, self.entries.iter().map(|entry| entry.end).max().unwrap_or_default())
    }

    fn trace_count(&self) -> u32 {
        self.entries.len() as u32
    }

    fn ordered(&self) -> bool {
        true
    }

    fn trace_blocks(&self) -> u32 {
        self.trace_count().div_ceil(self.block_traces)
    }

    fn trace_block(&self, index: u32) -> Result<Arc<TraceBlock>, SourceError> {
        let first = (index * self.block_traces) as usize;
        let end = (first + self.block_traces as usize).min(self.entries.len());
        Ok(Arc::new(TraceBlock {
            first_ordinal: first as u32,
            entries: self.entries[first..end].to_vec(),
            rows: self.rows[first..end].iter().map(|(first, end)| Rows::Range(*first, *end)).collect(),
        }))
    }

    fn block_of_ordinal(&self, ordinal: u32) -> u32 {
        ordinal / self.block_traces
    }

    fn ordinal_of_row(&self, row: u32) -> Result<u32, SourceError> {
        Ok(self.ordinal(row))
    }

    fn find_trace(&self, trace_id: &TraceId) -> Result<Option<u32>, SourceError> {
        Ok(self.entries.iter().position(|entry| entry.trace_id == *trace_id).map(|ordinal| ordinal as u32))
    }

    fn fields(&self) -> Vec<Field> {
        self.columns.keys().cloned().collect()
    }

    fn attributes(&self) -> Vec<(Arc<str>, AttrType, u64)> {
        self.columns
            .iter()
            .filter_map(|(field, cells)| match field {
                Field::Attr { key, kind } => Some((key.clone(), *kind, cells.iter().flatten().count() as u64)),
                _ => None,
            })
            .collect()
    }

    fn has_remainder(&self) -> bool {
        self.columns.contains_key(&Field::Remainder)
    }

    fn chunk(&self, field: &Field, index: u32) -> Result<Option<Arc<Chunk>>, SourceError> {
        self.check(field)?;
        self.chunks_read.fetch_add(1, Ordering::Relaxed);
        let Some(cells) = self.columns.get(field) else { return Ok(None) };
        let first = (index * self.chunk_rows) as usize;
        let cells = &cells[first..(first + self.chunk_rows as usize).min(cells.len())];
        let Some(some) = cells.iter().flatten().next() else { return Ok(None) };
        if let Cell::Text(_) = some {
            let mut dict = StrTable::default();
            let codes = cells
                .iter()
                .map(|cell| match cell {
                    Some(Cell::Text(text)) => dict.push(text),
                    _ => NO_CODE,
                })
                .collect();
            return Ok(Some(Arc::new(Chunk::Str { codes, dict: Arc::new(dict) })));
        }
        let mut present = Bitmap::filled(cells.len(), false);
        let mut values = vec![0; cells.len()];
        for (row, cell) in cells.iter().enumerate() {
            if let Some(Cell::Bits(bits)) = cell {
                present.set(row);
                values[row] = *bits;
            }
        }
        let present = (present.count() < cells.len()).then_some(present);
        Ok(Some(Arc::new(Chunk::Num { values, present })))
    }

    fn postings(&self, field: &Field, predicate: &TermPredicate<'_>) -> Result<TraceSet, SourceError> {
        self.check(field)?;
        // As in a segment, the index does not hold what is different for every span.
        if matches!(field, Field::SpanId | Field::Start | Field::Duration) {
            return Ok(TraceSet::All);
        }
        let mut traces = RoaringBitmap::new();
        for (row, cell) in self.columns.get(field).into_iter().flatten().enumerate() {
            let holds = match (cell, predicate) {
                (None, _) => false,
                (Some(_), TermPredicate::Exists) => true,
                (Some(Cell::Text(text)), TermPredicate::Key(key)) => {
                    json::attributes_from_json(text).unwrap().iter().any(|attribute| attribute.key == *key)
                }
                (Some(Cell::Text(text)), TermPredicate::Text(wanted)) => text == wanted,
                (Some(Cell::Text(text)), TermPredicate::TextWhere(wanted)) => wanted(text),
                (Some(Cell::Bits(bits)), TermPredicate::BitsWhere(wanted)) => wanted(*bits),
                _ => false,
            };
            if holds {
                traces.insert(self.ordinal(row as u32));
            }
        }
        Ok(TraceSet::Some { traces, exact: true })
    }

    fn distinct(&self, field: &Field, visit: &mut dyn FnMut(&str, u64) -> bool) -> Result<bool, SourceError> {
        let mut found: BTreeMap<String, RoaringBitmap> = BTreeMap::new();
        for (row, cell) in self.columns.get(field).into_iter().flatten().enumerate() {
            let text = match cell {
                Some(Cell::Text(text)) => text.clone(),
                Some(Cell::Bits(bits)) => field.bits_text(*bits),
                None => continue,
            };
            found.entry(text).or_default().insert(self.ordinal(row as u32));
        }
        // As in a segment, too many values are not listed.
        if found.len() > 6 {
            return Ok(false);
        }
        let _ = found.iter().all(|(text, traces)| visit(text, traces.len()));
        Ok(true)
    }

    fn operations(
        &self,
        minutes: RangeInclusive<u64>,
        visit: &mut dyn FnMut(&OperationCount),
    ) -> Result<(), SourceError> {
        let bits = |field: &Field, row: usize| match self.columns.get(field).and_then(|cells| cells[row].clone()) {
            Some(Cell::Bits(bits)) => bits,
            _ => 0,
        };
        let text = |field: &Field, row: usize| match &self.columns[field][row] {
            Some(Cell::Text(text)) => Arc::from(text.as_str()),
            _ => Arc::from(""),
        };
        for row in 0..self.row_count as usize {
            let minute = bits(&Field::Start, row) / 60_000_000_000;
            if minutes.contains(&minute) {
                visit(&OperationCount {
                    minute,
                    service: text(&Field::Service, row),
                    name: text(&Field::Name, row),
                    kind: bits(&Field::Kind, row) as i32,
                    status: bits(&Field::StatusCode, row) as i32,
                    spans: 1,
                    duration_ns: bits(&Field::Duration, row),
                });
            }
        }
        Ok(())
    }

    fn durations(
        &self,
        minutes: RangeInclusive<u64>,
        service: Option<&str>,
        visit: &mut dyn FnMut(&DurationCounts),
    ) -> Result<(), SourceError> {
        let text = |field: Field, row: usize| match self.columns.get(&field).and_then(|cells| cells[row].as_ref()) {
            Some(Cell::Text(text)) => Arc::from(text.as_str()),
            _ => Arc::from(""),
        };
        let bits = |field: Field, row: usize| match self.columns.get(&field).and_then(|cells| cells[row].as_ref()) {
            Some(Cell::Bits(bits)) => *bits,
            _ => 0,
        };
        for row in 0..self.row_count as usize {
            let counts = DurationCounts {
                minute: bits(Field::Start, row) / 600_000_000_000 * 10,
                service: text(Field::Service, row),
                name: text(Field::Name, row),
                kind: bits(Field::Kind, row) as i32,
                buckets: vec![(sketch::bucket(bits(Field::Duration, row)), 1)],
            };
            let touches = counts.minute <= *minutes.end() && counts.minute + 10 > *minutes.start();
            if touches && service.is_none_or(|service| *counts.service == *service) {
                visit(&counts);
            }
        }
        Ok(())
    }

    fn hops(
        &self,
        minutes: RangeInclusive<u64>,
        service: Option<&str>,
        visit: &mut dyn FnMut(&HopCount),
    ) -> Result<(), SourceError> {
        for count in self.hops.iter().filter(|count| minutes.contains(&count.minute)) {
            if service.is_none_or(|service| *count.caller == *service || *count.callee == *service) {
                visit(count);
            }
        }
        Ok(())
    }
}
