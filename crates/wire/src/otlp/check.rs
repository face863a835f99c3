//! The walk over a whole request that decides whether it is taken, before anything is stored.

use super::merge::merge_pieces;
use super::parts::{EntityRefView, EventView, HeadView, LinkView};
use super::pb::Payloads;
use super::schema;
use super::value::{KeyValueView, ValueView};
use super::view::{InvalidSpan, LogsRequest, SpanView, TracesRequest};
use crate::{DecodeError, Problem};

/// Values may nest this deep: a list in a list has depth 2. Deeper ones are refused, because every
/// reader of a value recurses.
pub const DEPTH_MAX: usize = 64;

/// What a well-formed request holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// Valid spans or log records.
    pub items: u64,
    /// Spans that must be rejected (see [`SpanView::invalid`]).
    pub rejected: u64,
    /// Of the rejected, those without a valid trace id.
    pub without_trace_id: u64,
    /// Of the rejected, those with a valid trace id and no valid span id.
    pub without_span_id: u64,
    /// Why spans are rejected, with counts, for the response's `partial_success.error_message`.
    pub reason: Option<String>,
    /// The same request, to be used in the place of the one received: set where the sender wrote an
    /// embedded message in pieces that protobuf merges, which the borrowed views do not.
    pub normalized: Option<Vec<u8>>,
}

/// Walks every byte of an `ExportTraceServiceRequest`: after `Ok` no view of it and no `decode_*` of a
/// part of it fails. Takes linear time and allocates nothing where the request is in order.
pub fn check_traces(payload: &[u8]) -> Result<Checked, DecodeError> {
    walk_traces(payload)?.finish(payload, &schema::TRACES, walk_traces)
}

fn walk_traces(payload: &[u8]) -> Result<Walk, DecodeError> {
    let mut walk = Walk::default();
    for (index, group) in TracesRequest::new(payload).resource_spans().enumerate() {
        let inside = |error: DecodeError| error.inside(format_args!("resource_spans[{index}]"));
        let group = group.map_err(inside)?;
        walk.in_pieces |= group.in_pieces;
        walk.resource(group.resource).map_err(inside)?;
        for (index, group) in group.scope_spans().enumerate() {
            let inside = |error: DecodeError| inside(error.inside(format_args!("scope_spans[{index}]")));
            let group = group.map_err(inside)?;
            walk.in_pieces |= group.in_pieces;
            walk.scope(group.scope).map_err(inside)?;
            for (index, span) in group.encoded_spans().enumerate() {
                span.map_err(|problem| DecodeError::protobuf("ScopeSpans", problem))
                    .and_then(|span| walk.span(span))
                    .map_err(|error| inside(error.inside(format_args!("spans[{index}]"))))?;
            }
        }
    }
    Ok(walk)
}

/// As [`check_traces`], of an `ExportLogsServiceRequest`. Log records are never rejected: ids that are
/// not valid mean that a record belongs to no trace.
pub fn check_logs(payload: &[u8]) -> Result<Checked, DecodeError> {
    walk_logs(payload)?.finish(payload, &schema::LOGS, walk_logs)
}

fn walk_logs(payload: &[u8]) -> Result<Walk, DecodeError> {
    let mut walk = Walk::default();
    for (index, group) in LogsRequest::new(payload).resource_logs().enumerate() {
        let inside = |error: DecodeError| error.inside(format_args!("resource_logs[{index}]"));
        let group = group.map_err(inside)?;
        walk.in_pieces |= group.in_pieces;
        walk.resource(group.resource).map_err(inside)?;
        for (index, group) in group.scope_logs().enumerate() {
            let inside = |error: DecodeError| inside(error.inside(format_args!("scope_logs[{index}]")));
            let group = group.map_err(inside)?;
            walk.in_pieces |= group.in_pieces;
            walk.scope(group.scope).map_err(inside)?;
            for (index, log) in group.log_records().enumerate() {
                log.and_then(|log| {
                    walk.in_pieces |= log.in_pieces;
                    walk.attributes(log.attribute_extent(), 6, "LogRecord")?;
                    walk.value(log.body, 1).map_err(|error| error.inside("body"))
                })
                .map_err(|error| inside(error.inside(format_args!("log_records[{index}]"))))?;
                walk.items += 1;
            }
        }
    }
    Ok(walk)
}

#[derive(Default)]
struct Walk {
    items: u64,
    without_trace_id: u64,
    without_span_id: u64,
    in_pieces: bool,
}

impl Walk {
    /// Merges the pieces if there are any, and walks what comes out of it.
    fn finish(
        self,
        payload: &[u8],
        schema: &'static schema::Message,
        again: fn(&[u8]) -> Result<Walk, DecodeError>,
    ) -> Result<Checked, DecodeError> {
        if !self.in_pieces {
            return Ok(self.counts(None));
        }
        let merged = merge_pieces(payload, schema)?;
        Ok(again(&merged)?.counts(Some(merged)))
    }

    fn counts(self, normalized: Option<Vec<u8>>) -> Checked {
        let counts = [
            (self.without_trace_id, "trace id (16 bytes, not all zero)"),
            (self.without_span_id, "span id (8 bytes, not all zero)"),
        ];
        let reasons: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} span{} without a valid {what}", if *count == 1 { "" } else { "s" }))
            .collect();
        Checked {
            items: self.items,
            rejected: self.without_trace_id + self.without_span_id,
            without_trace_id: self.without_trace_id,
            without_span_id: self.without_span_id,
            reason: (!reasons.is_empty()).then(|| reasons.join(", ")),
            normalized,
        }
    }

    fn span(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        // Nearly every attribute is of a shape that is seen to be in order at once. Where one is not,
        // all are walked again with what it takes to say what is wrong.
        let mut all_plain = true;
        let span = SpanView::read_with(bytes, |attribute| all_plain &= KeyValueView::plain(attribute).is_some())
            .map_err(|problem| DecodeError::protobuf("Span", problem))?;
        if !all_plain {
            self.attributes(span.attribute_extent(), 9, "Span")?;
        }
        if span.has_events {
            for (index, event) in span.events().enumerate() {
                event
                    .and_then(EventView::new)
                    .and_then(|event| self.attributes(event.attributes.of(event.raw), 3, "Event"))
                    .map_err(|error| error.inside(format_args!("events[{index}]")))?;
            }
        }
        if span.has_links {
            for (index, link) in span.links().enumerate() {
                link.and_then(LinkView::new)
                    .and_then(|link| self.attributes(link.attributes.of(link.raw), 4, "Link"))
                    .map_err(|error| error.inside(format_args!("links[{index}]")))?;
            }
        }
        match span.invalid() {
            None => self.items += 1,
            Some(InvalidSpan::TraceId) => self.without_trace_id += 1,
            Some(InvalidSpan::SpanId) => self.without_span_id += 1,
        }
        Ok(())
    }

    fn resource(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let inside = |error: DecodeError| error.inside("resource");
        let broken = |problem| inside(DecodeError::protobuf("Resource", problem));
        let resource = HeadView::resource(bytes).map_err(broken)?;
        let (attributes, field) = resource.attribute_extent();
        self.attributes(attributes, field, "Resource").map_err(inside)?;
        for (index, entity) in resource.entity_refs().enumerate() {
            entity.and_then(|bytes| EntityRefView::read(bytes).map(drop)).map_err(|problem| {
                inside(DecodeError::protobuf("EntityRef", problem).inside(format_args!("entity_refs[{index}]")))
            })?;
        }
        Ok(())
    }

    fn scope(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let inside = |error: DecodeError| error.inside("scope");
        let scope =
            HeadView::scope(bytes).map_err(|problem| inside(DecodeError::protobuf("InstrumentationScope", problem)))?;
        let (attributes, field) = scope.attribute_extent();
        self.attributes(attributes, field, "InstrumentationScope").map_err(inside)
    }

    /// Checks the attributes in field number `field` of the message named `name`.
    #[inline]
    fn attributes(&mut self, bytes: &[u8], field: u32, name: &'static str) -> Result<(), DecodeError> {
        for (index, payload) in Payloads::new(bytes, field).enumerate() {
            let bytes = payload.map_err(|problem| DecodeError::protobuf(name, problem))?;
            let inside = |error: DecodeError| error.inside(format_args!("attributes[{index}]"));
            let attribute =
                KeyValueView::read(bytes).map_err(|problem| inside(DecodeError::protobuf("KeyValue", problem)))?;
            self.in_pieces |= attribute.in_pieces;
            if let ValueView::Array(_) | ValueView::Map(_) = attribute.value {
                self.value(attribute.value, 1).map_err(|error| inside(error.inside("value")))?;
            }
        }
        Ok(())
    }

    /// Checks what a list or map holds. `depth` is that of the value itself, from 1.
    fn value(&mut self, value: ValueView<'_>, depth: usize) -> Result<(), DecodeError> {
        if !matches!(value, ValueView::Array(_) | ValueView::Map(_)) {
            return Ok(());
        }
        if depth > DEPTH_MAX {
            return Err(DecodeError::protobuf("AnyValue", Problem::TooDeep));
        }
        match value {
            ValueView::Array(bytes) => {
                for payload in Payloads::new(bytes, 1) {
                    let (element, in_pieces) = payload
                        .and_then(ValueView::read)
                        .map_err(|problem| DecodeError::protobuf("ArrayValue", problem))?;
                    self.in_pieces |= in_pieces;
                    self.value(element, depth + 1)?;
                }
            }
            ValueView::Map(bytes) => {
                for payload in Payloads::new(bytes, 1) {
                    let entry = payload
                        .and_then(KeyValueView::read)
                        .map_err(|problem| DecodeError::protobuf("KeyValueList", problem))?;
                    self.in_pieces |= entry.in_pieces;
                    self.value(entry.value, depth + 1)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}
