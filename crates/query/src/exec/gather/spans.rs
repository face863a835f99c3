//! Rows of one source of spans, into a builder.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use tracewell_analysis::traces::{PEER_KEYS, STATEMENT_KEYS};
use tracewell_analysis::{Attribute, Builder, Origin, Scalar, Span, Status, Text};
use tracewell_model::{Event, Link, SpanId};
use tracewell_store::table::{AttrType, Field, Rows, Source, SourceError};
use tracewell_wire::otlp::json;

use super::columns::{Memo, Origins, Run, damaged, each_code, each_number};
use crate::error::Halt;
use crate::exec::Meter;
use crate::exec::columns::{Columns, Slot};
use crate::exec::scan::place;

/// A rank below every other.
const UNRANKED: u8 = u8::MAX;

/// What an attribute tells beside itself: who is called, or what for. A lower rank outweighs a higher one.
#[derive(Debug, Clone, Copy)]
enum Role {
    Peer(u8),
    Statement(u8),
}

impl Role {
    fn of(key: &str) -> Option<Self> {
        let rank = |keys: &[&str]| keys.iter().position(|known| *known == key).map(|rank| rank as u8);
        rank(&PEER_KEYS).map(Role::Peer).or_else(|| rank(&STATEMENT_KEYS).map(Role::Statement))
    }
}

/// A column of one attribute.
struct AttributeColumn {
    key: Text,
    role: Option<Role>,
    values: Values,
}

enum Values {
    Text(Memo<Text>),
    Number(AttrType, Slot),
}

/// The columns of one source that are read for each span.
pub(super) struct SpanColumns<'a> {
    source: &'a dyn Source,
    columns: Columns<'a>,
    numbers: Numbers,
    name: Memo<Text>,
    status_message: Memo<Text>,
    trace_state: Memo<Text>,
    resource: Memo<Origin>,
    events: Slot,
    links: Slot,
    attributes: Vec<AttributeColumn>,
    remainder: Option<Slot>,
    /// Whether attributes are wanted for themselves.
    wanted: bool,
}

/// Columns of numbers.
struct Numbers {
    span_id: Slot,
    start: Slot,
    duration: Slot,
    parent_distance: Slot,
    parent_span_id: Slot,
    kind: Slot,
    status: Slot,
    flags: Slot,
}

/// Spans of one part of a trace under way; kept for its memory.
#[derive(Default)]
pub(super) struct Scratch {
    rows: Vec<u32>,
    spans: Vec<Span>,
    distances: Vec<(usize, i64)>,
    /// The rank of what is known of peer and statement.
    ranks: Vec<[u8; 2]>,
    cells: Vec<(usize, Attribute)>,
    /// Where each span's attributes begin in `sorted`.
    offsets: Vec<usize>,
    sorted: Vec<Attribute>,
    events: Vec<(usize, Vec<Event>)>,
    links: Vec<(usize, Vec<Link>)>,
    /// Spans of the trace whose links and events were handed over: a span may lie in several sources.
    linked: HashSet<SpanKey, RandomState>,
    eventful: HashSet<SpanKey, RandomState>,
}

impl Scratch {
    fn begin(&mut self, rows: &Rows) {
        self.rows.clear();
        self.rows.extend(rows.iter());
        self.spans.clear();
        self.spans.resize(self.rows.len(), Span::default());
        self.ranks.clear();
        self.ranks.resize(self.rows.len(), [UNRANKED; 2]);
        self.distances.clear();
        self.cells.clear();
        self.events.clear();
        self.links.clear();
    }

    fn play(&mut self, role: Role, place: usize, text: Text) {
        let (Some(ranks), Some(span)) = (self.ranks.get_mut(place), self.spans.get_mut(place)) else { return };
        match role {
            Role::Peer(rank) if rank < ranks[0] => {
                ranks[0] = rank;
                span.peer = text;
            }
            Role::Statement(rank) if rank < ranks[1] => {
                ranks[1] = rank;
                span.statement = text;
            }
            _ => {}
        }
    }

    /// Sorts the attributes by span, those of one span as they came (counting sort).
    fn sort_attributes(&mut self) {
        self.offsets.clear();
        self.offsets.resize(self.spans.len() + 1, 0);
        for (place, _) in &self.cells {
            self.offsets[*place + 1] += 1;
        }
        for place in 1..self.offsets.len() {
            self.offsets[place] += self.offsets[place - 1];
        }
        let nothing = Attribute { key: Text::EMPTY, value: Scalar::Bool(false) };
        self.sorted.clear();
        self.sorted.resize(self.cells.len(), nothing);
        for (place, attribute) in &self.cells {
            self.sorted[self.offsets[*place]] = *attribute;
            self.offsets[*place] += 1;
        }
        // Each offset has moved on to where the next span's attributes begin.
        self.offsets.rotate_right(1);
        self.offsets[0] = 0;
    }

    /// Hands everything over.
    fn finish(&mut self, builder: &mut Builder) {
        self.sort_attributes();
        for (place, span) in self.spans.iter().enumerate() {
            builder.span(*span, &self.sorted[self.offsets[place]..self.offsets[place + 1]]);
        }
        for (place, links) in &self.links {
            let span = &self.spans[*place];
            if self.linked.insert(SpanKey::of(span)) {
                builder.links(span.id, span.parent_id, links);
            }
        }
        for (place, events) in &self.events {
            let span = &self.spans[*place];
            if self.eventful.insert(SpanKey::of(span)) {
                events.iter().for_each(|event| builder.event(span.id, span.service, event));
            }
        }
    }

    /// Another trace begins.
    pub fn next_trace(&mut self) {
        self.linked.clear();
        self.eventful.clear();
    }
}

/// What tells a span from every other of its trace; the builder takes a span once, and so must what hangs on it be.
#[derive(PartialEq, Eq, Hash)]
struct SpanKey(SpanId, u8, u64, u64, Text, Text, Option<SpanId>);

impl SpanKey {
    fn of(span: &Span) -> Self {
        let Span { id, kind, start_ns, end_ns, service, operation, parent_id, .. } = *span;
        Self(id, kind, start_ns, end_ns, service, operation, parent_id)
    }
}

impl<'a> SpanColumns<'a> {
    pub fn new(source: &'a dyn Source, meter: &'a Meter<'a>, wanted: bool, builder: &mut Builder) -> Self {
        let mut columns = Columns::new(source, meter);
        let mut slot = |field: &Field| columns.slot(field);
        let numbers = Numbers {
            span_id: slot(&Field::SpanId),
            start: slot(&Field::Start),
            duration: slot(&Field::Duration),
            parent_distance: slot(&Field::ParentDistance),
            parent_span_id: slot(&Field::ParentSpanId),
            kind: slot(&Field::Kind),
            status: slot(&Field::StatusCode),
            flags: slot(&Field::Flags),
        };
        let mut known = source.attributes();
        known.sort_unstable();
        let attributes = known.into_iter().filter_map(|(key, kind, _)| {
            let role = Role::of(&key).filter(|_| kind == AttrType::Str);
            if !wanted && role.is_none() {
                return None;
            }
            let number = builder.texts().number(&key);
            let slot = slot(&Field::Attr { key, kind });
            let values = match kind {
                AttrType::Str => Values::Text(Memo::new(slot)),
                kind => Values::Number(kind, slot),
            };
            Some(AttributeColumn { key: number, role, values })
        });
        let attributes = attributes.collect();
        Self {
            source,
            numbers,
            name: Memo::new(slot(&Field::Name)),
            status_message: Memo::new(slot(&Field::StatusMessage)),
            trace_state: Memo::new(slot(&Field::TraceState)),
            resource: Memo::new(slot(&Field::Resource)),
            events: slot(&Field::Events),
            links: slot(&Field::Links),
            attributes,
            remainder: source.has_remainder().then(|| slot(&Field::Remainder)),
            wanted,
            columns,
        }
    }

    /// Adds a trace's rows to the trace under way; all of them or, where something cannot be read, none.
    pub fn read(
        &mut self,
        rows: &Rows,
        scratch: &mut Scratch,
        origins: &mut Origins,
        builder: &mut Builder,
    ) -> Result<(), Halt> {
        scratch.begin(rows);
        let rows = std::mem::take(&mut scratch.rows);
        let read = Run::of(&rows, self.source.chunk_rows()).try_for_each(|run| {
            self.numbers(&run, scratch)?;
            self.texts(&run, scratch, origins, builder)?;
            self.lists(&run, scratch)?;
            self.attributes(&run, scratch, builder)?;
            self.remainder(&run, scratch, builder)
        });
        scratch.rows = rows;
        read?;
        self.parents(scratch)?;
        scratch.finish(builder);
        Ok(())
    }

    fn numbers(&mut self, run: &Run<'_>, scratch: &mut Scratch) -> Result<(), Halt> {
        let (columns, slots, spans) = (&mut self.columns, &self.numbers, &mut scratch.spans);
        each_number(columns, slots.span_id, run, |place, bits| spans[place].id = SpanId::from_u64(bits))?;
        each_number(columns, slots.start, run, |place, bits| spans[place].start_ns = bits)?;
        each_number(columns, slots.duration, run, |place, bits| {
            spans[place].end_ns = spans[place].start_ns.wrapping_add(bits);
        })?;
        each_number(columns, slots.kind, run, |place, bits| spans[place].kind = u8::try_from(bits).unwrap_or(0))?;
        each_number(columns, slots.status, run, |place, bits| {
            spans[place].status = match bits {
                1 => Status::Ok,
                2 => Status::Error,
                _ => Status::Unset,
            };
        })?;
        each_number(columns, slots.flags, run, |place, bits| spans[place].flags = bits as u32)?;
        each_number(columns, slots.parent_span_id, run, |place, bits| {
            spans[place].parent_id = Some(SpanId::from_u64(bits));
        })?;
        let distances = &mut scratch.distances;
        each_number(columns, slots.parent_distance, run, |place, bits| distances.push((place, bits as i64)))
    }

    fn texts(
        &mut self,
        run: &Run<'_>,
        scratch: &mut Scratch,
        origins: &mut Origins,
        builder: &mut Builder,
    ) -> Result<(), Halt> {
        let (columns, spans) = (&mut self.columns, &mut scratch.spans);
        self.name.texts(columns, run, builder, |place, text| spans[place].operation = text)?;
        self.status_message.texts(columns, run, builder, |place, text| spans[place].status_message = text)?;
        self.trace_state.texts(columns, run, builder, |place, text| spans[place].trace_state = text)?;
        let none = origins.none(builder);
        let mut put = |place: usize, origin: Origin| {
            let Origin { service, instance, host, version, resource } = origin;
            spans[place] = Span { service, instance, host, version, resource, ..spans[place] };
        };
        (0..run.rows.len()).for_each(|place| put(run.first + place, none));
        let file = self.source;
        self.resource.each(columns, run, |text| origins.of(text, &file.name(), builder), put)
    }

    fn lists(&mut self, run: &Run<'_>, scratch: &mut Scratch) -> Result<(), Halt> {
        let (columns, source) = (&mut self.columns, self.source);
        each_code(columns, self.events, run, |place, dict, code| {
            let events = json::events_from_json(dict.get(code));
            let events = events.map_err(|error| damaged(&source.name(), &Field::Events, &error))?;
            scratch.events.push((place, events));
            Ok(())
        })?;
        each_code(columns, self.links, run, |place, dict, code| {
            let links = json::links_from_json(dict.get(code));
            let links = links.map_err(|error| damaged(&source.name(), &Field::Links, &error))?;
            scratch.links.push((place, links));
            Ok(())
        })
    }

    fn attributes(&mut self, run: &Run<'_>, scratch: &mut Scratch, builder: &mut Builder) -> Result<(), Halt> {
        let (columns, wanted) = (&mut self.columns, self.wanted);
        for AttributeColumn { key, role, values } in &mut self.attributes {
            match values {
                Values::Text(memo) => memo.texts(columns, run, builder, |place, text| {
                    if let Some(role) = role {
                        scratch.play(*role, place, text);
                    }
                    if wanted {
                        scratch.cells.push((place, Attribute { key: *key, value: Scalar::Text(text) }));
                    }
                })?,
                Values::Number(kind, slot) => each_number(columns, *slot, run, |place, bits| {
                    let value = match kind {
                        AttrType::Double => Scalar::Double(f64::from_bits(bits)),
                        AttrType::Bool => Scalar::Bool(bits != 0),
                        AttrType::Int | AttrType::Str => Scalar::Int(bits as i64),
                    };
                    scratch.cells.push((place, Attribute { key: *key, value }));
                })?,
            }
        }
        Ok(())
    }

    /// Attributes without a column.
    fn remainder(&mut self, run: &Run<'_>, scratch: &mut Scratch, builder: &mut Builder) -> Result<(), Halt> {
        let (Some(slot), wanted, source) = (self.remainder, self.wanted, self.source) else { return Ok(()) };
        each_code(&mut self.columns, slot, run, |place, dict, code| {
            let text = dict.get(code);
            let mut keys = PEER_KEYS.iter().chain(&STATEMENT_KEYS);
            if !wanted && !keys.any(|key| text.contains(key)) {
                return Ok(());
            }
            let attributes =
                json::attributes_from_json(text).map_err(|error| damaged(&source.name(), &Field::Remainder, &error))?;
            for attribute in &attributes {
                if let (Some(role), Some(text)) = (Role::of(&attribute.key), attribute.value.as_str()) {
                    scratch.play(role, place, builder.texts().number(text));
                }
            }
            if wanted {
                scratch.cells.extend(builder.scalars(&attributes).into_iter().map(|attribute| (place, attribute)));
            }
            Ok(())
        })
    }

    /// The ids of the parents that are said by their distance in rows.
    fn parents(&mut self, scratch: &mut Scratch) -> Result<(), Halt> {
        for index in 0..scratch.distances.len() {
            let (place, distance) = scratch.distances[index];
            let row = scratch.rows[place];
            let parent = i64::from(row).checked_sub(distance).and_then(|row| u32::try_from(row).ok());
            let among = parent.and_then(|parent| scratch.rows.binary_search(&parent).ok());
            let id = match among {
                Some(parent) => Some(scratch.spans[parent].id),
                None => self.id_of_row(parent)?,
            };
            if id.is_none() {
                let reason =
                    format!("the parent of row {row} is said to lie {distance} rows before it, where there is none");
                return Err(Halt::Source(SourceError::Damaged { file: self.source.name(), reason }));
            }
            scratch.spans[place].parent_id = id;
        }
        Ok(())
    }

    fn id_of_row(&mut self, row: Option<u32>) -> Result<Option<SpanId>, Halt> {
        let Some(row) = row.filter(|row| *row < self.source.rows()) else { return Ok(None) };
        let (chunk, within) = place(row, self.source.chunk_rows());
        let chunk = self.columns.chunk(self.numbers.span_id, chunk)?;
        Ok(chunk.and_then(|chunk| chunk.bits(within)).map(SpanId::from_u64))
    }
}
