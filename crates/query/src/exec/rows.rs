//! Columns back to what was sent: rows of a source as spans and log records.

use std::collections::HashMap;
use std::sync::Arc;

use tracewell_model::{KeyValue, LogEntry, LogRecord, Resource, Scope, Span, SpanId, SpanRecord, TraceId, Value};
use tracewell_store::table::{AttrType, Chunk, Field, NO_CODE, Rows, Source, SourceError};
use tracewell_wire::DecodeError;
use tracewell_wire::otlp::json;

use super::columns::Columns;
use super::scan::place;
use crate::error::Halt;

/// The spans of a trace's rows, in the order of the rows.
pub(crate) fn read_spans(columns: &mut Columns<'_>, trace_id: TraceId, rows: &Rows) -> Result<Vec<SpanRecord>, Halt> {
    let mut reader = Reader::new(columns, rows);
    let mut records: Vec<SpanRecord> = vec![SpanRecord::default(); reader.rows.len()];
    records.iter_mut().for_each(|record| record.span.trace_id = trace_id);
    let mut fields = reader.columns.source().fields();
    // Durations are added to starts; the remainder repeats a key only after its column.
    fields.sort_by_key(|field| matches!(field, Field::Duration | Field::Remainder));
    for field in &fields {
        reader.each(field, |cell, context| span_cell(&mut records[cell.index], field, cell, context))?;
    }
    for record in &mut records {
        finish_attributes(&mut record.span.attributes);
    }
    Ok(records)
}

/// The log records of rows, each with the id of its trace (the zero id stands for none).
pub(crate) fn read_logs(
    columns: &mut Columns<'_>,
    rows: &Rows,
    trace_id: impl Fn(u32) -> Result<TraceId, SourceError>,
) -> Result<Vec<LogEntry>, Halt> {
    let mut reader = Reader::new(columns, rows);
    let mut entries: Vec<LogEntry> = vec![LogEntry::default(); reader.rows.len()];
    for (entry, row) in entries.iter_mut().zip(rows.iter()) {
        entry.record.trace_id = Some(trace_id(row)?).filter(|trace_id| !trace_id.is_zero());
    }
    let mut fields = reader.columns.source().fields();
    // The effective time is the event's own unless that is kept apart.
    fields.sort_by_key(|field| matches!(field, Field::LogTime | Field::Remainder));
    for field in &fields {
        reader.each(field, |cell, context| log_cell(&mut entries[cell.index], field, cell, context))?;
    }
    for entry in &mut entries {
        finish_attributes(&mut entry.record.attributes);
    }
    Ok(entries)
}

/// Attributes by key; those of one key stay as they were: the one with a column first.
fn finish_attributes(attributes: &mut [KeyValue]) {
    attributes.sort_by(|left, right| left.key.cmp(&right.key));
}

/// One value of one row.
struct Cell<'a> {
    /// Which of the wanted rows.
    index: usize,
    text: &'a str,
    bits: u64,
    /// Number of the text in its dictionary, for what is parsed once for all rows that share it.
    code: u32,
    /// The id at the row that a distance leads to.
    parent: u64,
}

/// What is parsed once for all rows of a chunk that share it.
struct Context<'a> {
    source: &'a dyn Source,
    resources: HashMap<u32, Arc<Resource>>,
    scopes: HashMap<u32, Arc<Scope>>,
}

struct Reader<'a, 'c> {
    rows: Vec<u32>,
    columns: &'c mut Columns<'a>,
    context: Context<'a>,
}

impl<'a, 'c> Reader<'a, 'c> {
    fn new(columns: &'c mut Columns<'a>, rows: &Rows) -> Self {
        let context = Context { source: columns.source(), resources: HashMap::new(), scopes: HashMap::new() };
        Self { rows: rows.iter().collect(), columns, context }
    }

    /// Calls `put` with every value that the rows have in a column.
    fn each(
        &mut self,
        field: &Field,
        mut put: impl FnMut(Cell<'_>, &mut Context<'a>) -> Result<(), SourceError>,
    ) -> Result<(), Halt> {
        let slot = self.columns.slot(field);
        let mut held: Option<(u32, Option<Arc<Chunk>>)> = None;
        for index in 0..self.rows.len() {
            let row = self.rows[index];
            let (number, within) = place(row, self.context.source.chunk_rows());
            if held.as_ref().is_none_or(|(held, _)| *held != number) {
                // Another chunk may have another dictionary.
                self.context.resources.clear();
                self.context.scopes.clear();
                held = Some((number, self.columns.chunk(slot, number)?));
            }
            match held.as_ref().and_then(|(_, chunk)| chunk.as_deref()) {
                Some(Chunk::Str { codes, dict }) => {
                    let code = codes.get(within).copied().unwrap_or(NO_CODE);
                    if code != NO_CODE {
                        put(Cell { index, text: dict.get(code), bits: 0, code, parent: 0 }, &mut self.context)?;
                    }
                }
                Some(chunk) => {
                    if let Some(bits) = chunk.bits(within) {
                        let parent = match field {
                            Field::ParentDistance => self.parent(row, bits as i64)?,
                            _ => 0,
                        };
                        put(Cell { index, text: "", bits, code: NO_CODE, parent }, &mut self.context)?;
                    }
                }
                None => {}
            }
        }
        Ok(())
    }

    /// The span id that stands `distance` rows before `row`.
    fn parent(&mut self, row: u32, distance: i64) -> Result<u64, Halt> {
        let source = self.context.source;
        let parent = u32::try_from(i64::from(row) - distance).ok().filter(|parent| *parent < source.rows());
        let found = match parent {
            Some(parent) => {
                let (number, within) = place(parent, source.chunk_rows());
                let slot = self.columns.slot(&Field::SpanId);
                self.columns.chunk(slot, number)?.and_then(|chunk| chunk.bits(within))
            }
            None => None,
        };
        found.ok_or_else(|| {
            let reason =
                format!("the parent of row {row} is said to lie {distance} rows before it, where there is none");
            Halt::Source(SourceError::Damaged { file: source.name(), reason })
        })
    }
}

impl Context<'_> {
    fn damaged(&self, field: &Field, error: &DecodeError) -> SourceError {
        SourceError::Damaged { file: self.source.name(), reason: format!("column {field}: {error}") }
    }

    fn resource(&mut self, cell: &Cell<'_>) -> Result<Arc<Resource>, SourceError> {
        if let Some(resource) = self.resources.get(&cell.code) {
            return Ok(Arc::clone(resource));
        }
        let resource = json::resource_from_json(cell.text).map_err(|error| self.damaged(&Field::Resource, &error))?;
        Ok(Arc::clone(self.resources.entry(cell.code).or_insert(Arc::new(resource))))
    }

    fn scope(&mut self, cell: &Cell<'_>) -> Result<Arc<Scope>, SourceError> {
        if let Some(scope) = self.scopes.get(&cell.code) {
            return Ok(Arc::clone(scope));
        }
        let scope = json::scope_from_json(cell.text).map_err(|error| self.damaged(&Field::Scope, &error))?;
        Ok(Arc::clone(self.scopes.entry(cell.code).or_insert(Arc::new(scope))))
    }
}

fn attribute_value(kind: AttrType, cell: &Cell<'_>) -> Value {
    match kind {
        AttrType::Str => Value::Str(cell.text.to_owned()),
        AttrType::Int => Value::Int(cell.bits as i64),
        AttrType::Double => Value::Double(f64::from_bits(cell.bits)),
        AttrType::Bool => Value::Bool(cell.bits != 0),
    }
}

fn span_cell(
    record: &mut SpanRecord,
    field: &Field,
    cell: Cell<'_>,
    context: &mut Context<'_>,
) -> Result<(), SourceError> {
    let Span { attributes, .. } = &mut record.span;
    match field {
        Field::SpanId => record.span.span_id = SpanId::from_u64(cell.bits),
        Field::Start => record.span.start_unix_nano = cell.bits,
        Field::Duration => record.span.end_unix_nano = record.span.start_unix_nano.wrapping_add(cell.bits),
        Field::ParentDistance => record.span.parent_span_id = Some(SpanId::from_u64(cell.parent)),
        Field::ParentSpanId => record.span.parent_span_id = Some(SpanId::from_u64(cell.bits)),
        Field::Name => record.span.name = cell.text.to_owned(),
        Field::Kind => record.span.kind = cell.bits as i64 as i32,
        Field::StatusCode => record.span.status.code = cell.bits as i64 as i32,
        Field::StatusMessage => record.span.status.message = cell.text.to_owned(),
        Field::Resource => record.resource = context.resource(&cell)?,
        Field::Scope => record.scope = context.scope(&cell)?,
        Field::Flags => record.span.flags = cell.bits as u32,
        Field::TraceState => record.span.trace_state = cell.text.to_owned(),
        Field::DroppedAttributes => record.span.dropped_attributes_count = cell.bits as u32,
        Field::DroppedEvents => record.span.dropped_events_count = cell.bits as u32,
        Field::DroppedLinks => record.span.dropped_links_count = cell.bits as u32,
        Field::Events => {
            record.span.events = json::events_from_json(cell.text).map_err(|error| context.damaged(field, &error))?;
        }
        Field::Links => {
            record.span.links = json::links_from_json(cell.text).map_err(|error| context.damaged(field, &error))?;
        }
        Field::Remainder => {
            let rest = json::attributes_from_json(cell.text).map_err(|error| context.damaged(field, &error))?;
            attributes.extend(rest);
        }
        Field::Attr { key, kind } => {
            attributes.push(KeyValue { key: key.to_string(), value: attribute_value(*kind, &cell) });
        }
        // The service is in the resource; the rest are columns of logs.
        Field::Service
        | Field::LogTime
        | Field::ObservedTime
        | Field::SeverityNumber
        | Field::SeverityText
        | Field::Body
        | Field::BodyValue
        | Field::EventName => {}
    }
    Ok(())
}

fn log_cell(entry: &mut LogEntry, field: &Field, cell: Cell<'_>, context: &mut Context<'_>) -> Result<(), SourceError> {
    let LogRecord { attributes, .. } = &mut entry.record;
    match field {
        Field::SpanId => entry.record.span_id = Some(SpanId::from_u64(cell.bits)),
        Field::Start | Field::LogTime => entry.record.time_unix_nano = cell.bits,
        Field::ObservedTime => entry.record.observed_time_unix_nano = cell.bits,
        Field::SeverityNumber => entry.record.severity_number = cell.bits as i64 as i32,
        Field::SeverityText => entry.record.severity_text = cell.text.to_owned(),
        Field::Body => entry.record.body = Value::Str(cell.text.to_owned()),
        Field::BodyValue => {
            entry.record.body = json::value_from_json(cell.text).map_err(|error| context.damaged(field, &error))?;
        }
        Field::EventName => entry.record.event_name = cell.text.to_owned(),
        Field::Resource => entry.resource = context.resource(&cell)?,
        Field::Scope => entry.scope = context.scope(&cell)?,
        Field::Flags => entry.record.flags = cell.bits as u32,
        Field::DroppedAttributes => entry.record.dropped_attributes_count = cell.bits as u32,
        Field::Remainder => {
            let rest = json::attributes_from_json(cell.text).map_err(|error| context.damaged(field, &error))?;
            attributes.extend(rest);
        }
        Field::Attr { key, kind } => {
            attributes.push(KeyValue { key: key.to_string(), value: attribute_value(*kind, &cell) });
        }
        Field::Service
        | Field::Duration
        | Field::ParentDistance
        | Field::ParentSpanId
        | Field::Name
        | Field::Kind
        | Field::StatusCode
        | Field::StatusMessage
        | Field::TraceState
        | Field::DroppedEvents
        | Field::DroppedLinks
        | Field::Events
        | Field::Links => {}
    }
    Ok(())
}

/// The trace that a row belongs to.
pub(crate) fn trace_of_row(source: &dyn Source, row: u32) -> Result<TraceId, SourceError> {
    let ordinal = source.ordinal_of_row(row)?;
    let block = source.trace_block(source.block_of_ordinal(ordinal))?;
    let within = ordinal.wrapping_sub(block.first_ordinal) as usize;
    Ok(block.entries.get(within).map(|entry| entry.trace_id).unwrap_or_default())
}
