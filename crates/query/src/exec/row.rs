//! One row of a source, asked for its fields as an expression asks.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use tracewell_model::{Event, KeyValue, Link, Resource, Scope, SpanId, Value};
use tracewell_store::table::{self, AttrType, Chunk, NO_CODE, Source};
use tracewell_wire::otlp::json;

use super::TraceFacts;
use super::columns::{Columns, Slot};
use super::scan::MaybeChunk;
use crate::error::Halt;
use crate::plan::{Expr, ListTest, SpanView, Val, each_value, number};
use crate::traceql::{AttrScope, Field, Intrinsic};

/// The columns that some fields lie in.
pub(crate) struct RowColumns {
    fields: Vec<(Field, FieldSlots)>,
}

#[derive(Default)]
struct FieldSlots {
    texts: Vec<Slot>,
    numbers: Vec<(AttrType, Slot)>,
    remainder: Option<Slot>,
    main: Option<Slot>,
    /// Start, for the time of an event.
    start: Option<Slot>,
    resource: Option<Slot>,
}

impl RowColumns {
    /// The columns of an expression's fields.
    pub fn new(expr: &Expr, source: &dyn Source, columns: &mut Columns<'_>) -> Self {
        let mut fields = Vec::new();
        expr.fields(&mut |field| fields.push(field.clone()));
        Self::of_fields(&fields, source, columns)
    }

    /// The columns of fields.
    pub fn of_fields(fields: &[Field], source: &dyn Source, columns: &mut Columns<'_>) -> Self {
        let fields = fields.iter().map(|field| (field.clone(), FieldSlots::new(field, source, columns))).collect();
        Self { fields }
    }

    /// Their chunks number `index`.
    pub fn chunks(&self, columns: &mut Columns<'_>, index: u32) -> Result<RowChunks, Halt> {
        let mut read = |slot: Option<Slot>| slot.map_or(Ok(None), |slot| columns.chunk(slot, index));
        let mut fields = Vec::with_capacity(self.fields.len());
        for (field, slots) in &self.fields {
            let mut chunks = FieldChunks {
                remainder: read(slots.remainder)?,
                main: read(slots.main)?,
                start: read(slots.start)?,
                resource: read(slots.resource)?,
                ..FieldChunks::default()
            };
            for slot in &slots.texts {
                chunks.texts.extend(read(Some(*slot))?);
            }
            for (kind, slot) in &slots.numbers {
                chunks.numbers.extend(read(Some(*slot))?.map(|chunk| (*kind, chunk)));
            }
            fields.push((field.clone(), chunks));
        }
        Ok(RowChunks { fields, parsed: RefCell::default() })
    }
}

impl FieldSlots {
    fn new(field: &Field, source: &dyn Source, columns: &mut Columns<'_>) -> Self {
        use Intrinsic as I;
        let mut slots = Self::default();
        match field {
            Field::Attr { attribute, .. } => match attribute.scope {
                AttrScope::Span | AttrScope::Any => {
                    for (name, kind, _) in source.attributes() {
                        if *name == *attribute.key {
                            let slot = columns.slot(&table::Field::Attr { key: name, kind });
                            match kind {
                                AttrType::Str => slots.texts.push(slot),
                                kind => slots.numbers.push((kind, slot)),
                            }
                        }
                    }
                    if source.has_remainder() {
                        slots.remainder = Some(columns.slot(&table::Field::Remainder));
                    }
                    if attribute.scope == AttrScope::Any {
                        slots.resource = Some(columns.slot(&table::Field::Resource));
                    }
                }
                AttrScope::Resource => slots.resource = Some(columns.slot(&table::Field::Resource)),
                AttrScope::Instrumentation => slots.main = Some(columns.slot(&table::Field::Scope)),
                AttrScope::Event => slots.main = Some(columns.slot(&table::Field::Events)),
                AttrScope::Link => slots.main = Some(columns.slot(&table::Field::Links)),
            },
            Field::Intrinsic { intrinsic, .. } => {
                let column = match intrinsic {
                    I::Duration => table::Field::Duration,
                    I::Name => table::Field::Name,
                    I::Kind => table::Field::Kind,
                    I::Status => table::Field::StatusCode,
                    I::StatusMessage => table::Field::StatusMessage,
                    I::SpanId => table::Field::SpanId,
                    I::EventName | I::EventTimeSinceStart => table::Field::Events,
                    I::LinkSpanId | I::LinkTraceId => table::Field::Links,
                    I::InstrumentationName | I::InstrumentationVersion => table::Field::Scope,
                    // Of the trace, or of the tree: not in the row.
                    _ => return slots,
                };
                slots.main = Some(columns.slot(&column));
                if *intrinsic == I::EventTimeSinceStart {
                    slots.start = Some(columns.slot(&table::Field::Start));
                }
            }
        }
        slots
    }
}

/// Chunks of the columns that some fields lie in.
pub(crate) struct RowChunks {
    fields: Vec<(Field, FieldChunks)>,
    parsed: RefCell<Parsed>,
}

#[derive(Default)]
struct FieldChunks {
    texts: Vec<Arc<Chunk>>,
    numbers: Vec<(AttrType, Arc<Chunk>)>,
    remainder: MaybeChunk,
    main: MaybeChunk,
    start: MaybeChunk,
    resource: MaybeChunk,
}

/// Resources and scopes of the chunk by their code, parsed once.
#[derive(Default)]
struct Parsed {
    resources: HashMap<u32, Arc<Resource>>,
    scopes: HashMap<u32, Arc<Scope>>,
}

/// One row of some chunks.
pub(crate) struct RowView<'a> {
    pub chunks: &'a RowChunks,
    /// Row within the chunk.
    pub row: usize,
    pub facts: Option<&'a TraceFacts>,
}

impl SpanView for RowView<'_> {
    fn field(&self, field: &Field, visit: &mut dyn FnMut(Val<'_>)) -> bool {
        let Some((_, chunks)) = self.chunks.fields.iter().find(|(found, _)| found == field) else { return false };
        match field {
            Field::Attr { attribute, .. } => self.attribute(chunks, attribute.scope, &attribute.key, visit),
            Field::Intrinsic { intrinsic, .. } => self.intrinsic(chunks, *intrinsic, visit),
        }
    }
}

impl RowView<'_> {
    fn attribute(&self, chunks: &FieldChunks, scope: AttrScope, key: &str, visit: &mut dyn FnMut(Val<'_>)) -> bool {
        match scope {
            AttrScope::Span => self.of_span(chunks, key, visit),
            AttrScope::Any => {
                self.of_span(chunks, key, visit) || visit_attributes(&self.resource(chunks).attributes, key, visit)
            }
            AttrScope::Resource => visit_attributes(&self.resource(chunks).attributes, key, visit),
            AttrScope::Instrumentation => visit_attributes(&self.scope(chunks).attributes, key, visit),
            AttrScope::Event => visit_events(&self.events(chunks), &ListTest::EventAttr(key.to_owned()), visit),
            AttrScope::Link => visit_links(&self.links(chunks), &ListTest::LinkAttr(key.to_owned()), visit),
        }
    }

    fn of_span(&self, chunks: &FieldChunks, key: &str, visit: &mut dyn FnMut(Val<'_>)) -> bool {
        let mut exists = false;
        for text in chunks.texts.iter().filter_map(|chunk| chunk.text(self.row)) {
            exists = true;
            visit(Val::text(text));
        }
        for (kind, chunk) in &chunks.numbers {
            if let Some(bits) = chunk.bits(self.row) {
                exists = true;
                visit(number(*kind, bits));
            }
        }
        if let Some(text) = text(&chunks.remainder, self.row) {
            let attributes = json::attributes_from_json(text).unwrap_or_default();
            exists |= visit_attributes(&attributes, key, visit);
        }
        exists
    }

    fn intrinsic(&self, chunks: &FieldChunks, intrinsic: Intrinsic, visit: &mut dyn FnMut(Val<'_>)) -> bool {
        use Intrinsic as I;
        let bits = || chunks.main.as_ref().and_then(|chunk| chunk.bits(self.row)).unwrap_or_default();
        match intrinsic {
            I::Duration => visit(Val::Int(bits() as i64)),
            I::Kind => visit(Val::Kind(bits() as i64 as i32)),
            I::Status => visit(Val::Status(bits() as i64 as i32)),
            I::Name | I::StatusMessage => visit(Val::text(text(&chunks.main, self.row).unwrap_or_default())),
            I::SpanId => visit(Val::Str(SpanId::from_u64(bits()).to_string().into())),
            I::InstrumentationName => visit(Val::text(&self.scope(chunks).name)),
            I::InstrumentationVersion => visit(Val::text(&self.scope(chunks).version)),
            I::EventName => return visit_events(&self.events(chunks), &ListTest::EventName, visit),
            I::EventTimeSinceStart => {
                let start = chunks.start.as_ref().and_then(|chunk| chunk.bits(self.row)).unwrap_or_default();
                let events = self.events(chunks);
                events.iter().for_each(|event| visit(Val::Int(since(event, start))));
                return !events.is_empty();
            }
            I::LinkSpanId => return visit_links(&self.links(chunks), &ListTest::LinkSpanId, visit),
            I::LinkTraceId => return visit_links(&self.links(chunks), &ListTest::LinkTraceId, visit),
            I::TraceDuration | I::RootName | I::RootService | I::TraceId => {
                return self.facts.is_some_and(|facts| facts.visit(intrinsic, visit));
            }
            // These need the tree; whoever asks has it.
            I::ChildCount | I::ParentId | I::Parent | I::NestedSetLeft | I::NestedSetRight | I::NestedSetParent => {
                return false;
            }
        }
        true
    }

    fn resource(&self, chunks: &FieldChunks) -> Arc<Resource> {
        let Some(Chunk::Str { codes, dict }) = chunks.resource.as_deref() else { return Arc::default() };
        let code = codes.get(self.row).copied().unwrap_or(NO_CODE);
        let mut parsed = self.chunks.parsed.borrow_mut();
        let resource = parsed
            .resources
            .entry(code)
            .or_insert_with(|| Arc::new(json::resource_from_json(dict.get(code)).unwrap_or_default()));
        Arc::clone(resource)
    }

    fn scope(&self, chunks: &FieldChunks) -> Arc<Scope> {
        let Some(Chunk::Str { codes, dict }) = chunks.main.as_deref() else { return Arc::default() };
        let code = codes.get(self.row).copied().unwrap_or(NO_CODE);
        let mut parsed = self.chunks.parsed.borrow_mut();
        let scope = parsed
            .scopes
            .entry(code)
            .or_insert_with(|| Arc::new(json::scope_from_json(dict.get(code)).unwrap_or_default()));
        Arc::clone(scope)
    }

    fn events(&self, chunks: &FieldChunks) -> Vec<Event> {
        text(&chunks.main, self.row).map_or_else(Vec::new, |text| json::events_from_json(text).unwrap_or_default())
    }

    fn links(&self, chunks: &FieldChunks) -> Vec<Link> {
        text(&chunks.main, self.row).map_or_else(Vec::new, |text| json::links_from_json(text).unwrap_or_default())
    }

    /// A field's value in full, arrays unbroken, for showing it; the first where there are several.
    pub fn value(&self, field: &Field) -> Option<Value> {
        let (_, chunks) = self.chunks.fields.iter().find(|(found, _)| found == field)?;
        if let Field::Attr { attribute, .. } = field {
            let find = |attributes: &[KeyValue]| {
                attributes.iter().rev().find(|found| found.key == attribute.key).map(|found| found.value.clone())
            };
            let of_remainder = || {
                text(&chunks.remainder, self.row)
                    .and_then(|text| find(&json::attributes_from_json(text).unwrap_or_default()))
            };
            match attribute.scope {
                AttrScope::Resource => return find(&self.resource(chunks).attributes),
                AttrScope::Instrumentation => return find(&self.scope(chunks).attributes),
                AttrScope::Span | AttrScope::Any => {
                    if let Some(value) = of_remainder() {
                        return Some(value);
                    }
                }
                AttrScope::Event | AttrScope::Link => {}
            }
        }
        let mut first = None;
        self.field(field, &mut |value| {
            first.get_or_insert_with(|| match value {
                Val::Bool(truth) => Value::Bool(truth),
                Val::Int(number) => Value::Int(number),
                Val::Float(number) => Value::Double(number),
                Val::Str(text) => Value::Str(text.into_owned()),
                Val::Status(code) => Value::Int(i64::from(code)),
                Val::Kind(kind) => Value::Int(i64::from(kind)),
            });
        });
        first
    }
}

fn text(chunk: &MaybeChunk, row: usize) -> Option<&str> {
    chunk.as_deref().and_then(|chunk| chunk.text(row))
}

/// Nanoseconds from the span's start to the event.
pub(crate) fn since(event: &Event, start: u64) -> i64 {
    event.time_unix_nano.wrapping_sub(start) as i64
}

/// Visits each value of `key`; returns whether it is set.
pub(crate) fn visit_attributes(attributes: &[KeyValue], key: &str, visit: &mut dyn FnMut(Val<'_>)) -> bool {
    let mut exists = false;
    for attribute in attributes.iter().filter(|attribute| attribute.key == key) {
        exists |= each_value(&attribute.value, &mut |value| visit(value));
    }
    exists
}

/// Visits what is tested of each event; returns whether there is any.
pub(crate) fn visit_events(events: &[Event], what: &ListTest, visit: &mut dyn FnMut(Val<'_>)) -> bool {
    let mut exists = false;
    for event in events {
        match what {
            ListTest::EventAttr(key) => exists |= visit_attributes(&event.attributes, key, visit),
            _ => {
                exists = true;
                visit(Val::text(&event.name));
            }
        }
    }
    exists
}

/// Visits what is tested of each link; returns whether there is any.
pub(crate) fn visit_links(links: &[Link], what: &ListTest, visit: &mut dyn FnMut(Val<'_>)) -> bool {
    let mut exists = false;
    for link in links {
        match what {
            ListTest::LinkAttr(key) => exists |= visit_attributes(&link.attributes, key, visit),
            ListTest::LinkSpanId => {
                exists = true;
                visit(Val::Str(link.span_id.to_string().into()));
            }
            _ => {
                exists = true;
                visit(Val::Str(link.trace_id.to_string().into()));
            }
        }
    }
    exists
}
