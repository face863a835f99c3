//! From views to the model: everything owned, text made valid UTF-8.

use std::sync::Arc;

use tracewell_model::{
    EntityRef, Event, KeyValue, Link, LogEntry, LogRecord, Resource, Scope, Span, SpanId, SpanRecord, Status, TraceId,
    Value,
};

use super::check::{DEPTH_MAX, check_logs, check_traces};
use super::parts::{EntityRefView, EventView, HeadView, LinkView};
use super::pb::Payloads;
use super::value::{KeyValueView, ValueView, attributes};
use super::view::{LogView, LogsRequest, SpanView, TracesRequest};
use crate::{DecodeError, Problem};

/// Text as the model keeps it. Real clients send invalid UTF-8 in protobuf strings; what is invalid
/// becomes U+FFFD, the rest stays.
pub fn decode_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An owned value.
pub fn decode_value(value: ValueView<'_>) -> Result<Value, DecodeError> {
    decode_nested(value, 1)
}

fn decode_nested(value: ValueView<'_>, depth: usize) -> Result<Value, DecodeError> {
    Ok(match value {
        ValueView::Empty => Value::Empty,
        ValueView::Str(text) => Value::Str(decode_text(text)),
        ValueView::Bool(truth) => Value::Bool(truth),
        ValueView::Int(number) => Value::Int(number),
        ValueView::Double(number) => Value::Double(number),
        ValueView::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        ValueView::Array(_) | ValueView::Map(_) if depth > DEPTH_MAX => {
            return Err(DecodeError::protobuf("AnyValue", Problem::TooDeep));
        }
        ValueView::Array(_) => Value::Array(
            value.elements().map(|element| decode_nested(element?, depth + 1)).collect::<Result<_, DecodeError>>()?,
        ),
        ValueView::Map(_) => Value::Map(
            value
                .entries()
                .map(|entry| {
                    let entry = entry?;
                    Ok(KeyValue { key: decode_text(entry.key), value: decode_nested(entry.value, depth + 1)? })
                })
                .collect::<Result<_, DecodeError>>()?,
        ),
    })
}

/// An owned attribute.
pub fn decode_attribute(attribute: KeyValueView<'_>) -> Result<KeyValue, DecodeError> {
    Ok(KeyValue { key: decode_text(attribute.key), value: decode_value(attribute.value)? })
}

fn decode_attributes<'a>(
    attributes: impl Iterator<Item = Result<KeyValueView<'a>, DecodeError>>,
) -> Result<Vec<KeyValue>, DecodeError> {
    attributes.map(|attribute| decode_attribute(attribute?)).collect()
}

/// The resource in an encoded `Resource` and the schema URL that stands beside it.
pub fn decode_resource(bytes: &[u8], schema_url: &[u8]) -> Result<Resource, DecodeError> {
    let broken = |problem| DecodeError::protobuf("Resource", problem);
    let view = HeadView::resource(bytes).map_err(broken)?;
    let (extent, field) = view.attribute_extent();
    Ok(Resource {
        attributes: decode_attributes(attributes(extent, field, "Resource"))?,
        dropped_attributes_count: view.dropped_attributes_count,
        entity_refs: view
            .entity_refs()
            .map(|bytes| decode_entity_ref(bytes.map_err(broken)?))
            .collect::<Result<_, DecodeError>>()?,
        schema_url: decode_text(schema_url),
    })
}

fn decode_entity_ref(bytes: &[u8]) -> Result<EntityRef, DecodeError> {
    let broken = |problem| DecodeError::protobuf("EntityRef", problem);
    let texts = |payloads: Payloads<'_>| {
        payloads.map(|bytes| bytes.map(decode_text).map_err(broken)).collect::<Result<Vec<_>, _>>()
    };
    let view = EntityRefView::read(bytes).map_err(broken)?;
    Ok(EntityRef {
        schema_url: decode_text(view.schema_url),
        kind: decode_text(view.kind),
        id_keys: texts(view.id_keys())?,
        description_keys: texts(view.description_keys())?,
    })
}

/// The scope in an encoded `InstrumentationScope` and the schema URL that stands beside it.
pub fn decode_scope(bytes: &[u8], schema_url: &[u8]) -> Result<Scope, DecodeError> {
    let view = HeadView::scope(bytes).map_err(|problem| DecodeError::protobuf("InstrumentationScope", problem))?;
    let (extent, field) = view.attribute_extent();
    Ok(Scope {
        name: decode_text(view.name),
        version: decode_text(view.version),
        attributes: decode_attributes(attributes(extent, field, "InstrumentationScope"))?,
        dropped_attributes_count: view.dropped_attributes_count,
        schema_url: decode_text(schema_url),
    })
}

/// The event in an encoded `Span.Event`.
pub fn decode_event(bytes: &[u8]) -> Result<Event, DecodeError> {
    let view = EventView::new(bytes)?;
    Ok(Event {
        time_unix_nano: view.time_unix_nano,
        name: decode_text(view.name),
        attributes: decode_attributes(view.attributes())?,
        dropped_attributes_count: view.dropped_attributes_count,
    })
}

/// The link in an encoded `Span.Link`. An id of a wrong length becomes zero: the link points nowhere,
/// its attributes remain.
pub fn decode_link(bytes: &[u8]) -> Result<Link, DecodeError> {
    let view = LinkView::new(bytes)?;
    Ok(Link {
        trace_id: TraceId::from_slice(view.trace_id).unwrap_or_default(),
        span_id: SpanId::from_slice(view.span_id).unwrap_or_default(),
        trace_state: decode_text(view.trace_state),
        attributes: decode_attributes(view.attributes())?,
        dropped_attributes_count: view.dropped_attributes_count,
        flags: view.flags,
    })
}

/// An owned span. Ids of a wrong length become zero; callers skip those spans before
/// (see [`SpanView::invalid`]).
pub fn decode_span(view: &SpanView<'_>) -> Result<Span, DecodeError> {
    Ok(Span {
        trace_id: TraceId::from_slice(view.trace_id).unwrap_or_default(),
        span_id: SpanId::from_slice(view.span_id).unwrap_or_default(),
        parent_span_id: view.parent(),
        trace_state: decode_text(view.trace_state),
        flags: view.flags,
        name: decode_text(view.name),
        kind: view.kind,
        start_unix_nano: view.start_unix_nano,
        end_unix_nano: view.end_unix_nano,
        attributes: decode_attributes(view.attributes())?,
        dropped_attributes_count: view.dropped_attributes_count,
        events: view.events().map(|event| decode_event(event?)).collect::<Result<_, DecodeError>>()?,
        dropped_events_count: view.dropped_events_count,
        links: view.links().map(|link| decode_link(link?)).collect::<Result<_, DecodeError>>()?,
        dropped_links_count: view.dropped_links_count,
        status: Status { code: view.status_code, message: decode_text(view.status_message) },
    })
}

/// An owned log record.
pub fn decode_log(view: &LogView<'_>) -> Result<LogRecord, DecodeError> {
    Ok(LogRecord {
        time_unix_nano: view.time_unix_nano,
        observed_time_unix_nano: view.observed_time_unix_nano,
        severity_number: view.severity_number,
        severity_text: decode_text(view.severity_text),
        body: decode_value(view.body)?,
        attributes: decode_attributes(view.attributes())?,
        dropped_attributes_count: view.dropped_attributes_count,
        flags: view.flags,
        trace_id: view.trace(),
        span_id: view.span(),
        event_name: decode_text(view.event_name),
    })
}

/// The valid spans of an `ExportTraceServiceRequest` (or `TracesData`) in the order received. Spans of
/// one group share their resource and scope.
pub fn decode_traces(payload: &[u8]) -> Result<Vec<SpanRecord>, DecodeError> {
    let checked = check_traces(payload)?;
    let payload = checked.normalized.as_deref().unwrap_or(payload);
    let mut records = Vec::with_capacity(usize::try_from(checked.items).unwrap_or_default());
    for group in TracesRequest::new(payload).resource_spans() {
        let group = group?;
        let resource = Arc::new(decode_resource(group.resource, group.schema_url)?);
        for group in group.scope_spans() {
            let group = group?;
            let scope = Arc::new(decode_scope(group.scope, group.schema_url)?);
            for span in group.spans() {
                let span = span?;
                if span.invalid().is_none() {
                    let span = decode_span(&span)?;
                    records.push(SpanRecord { resource: resource.clone(), scope: scope.clone(), span });
                }
            }
        }
    }
    Ok(records)
}

/// The log records of an `ExportLogsServiceRequest` (or `LogsData`) in the order received.
pub fn decode_logs(payload: &[u8]) -> Result<Vec<LogEntry>, DecodeError> {
    let checked = check_logs(payload)?;
    let payload = checked.normalized.as_deref().unwrap_or(payload);
    let mut entries = Vec::with_capacity(usize::try_from(checked.items).unwrap_or_default());
    for group in LogsRequest::new(payload).resource_logs() {
        let group = group?;
        let resource = Arc::new(decode_resource(group.resource, group.schema_url)?);
        for group in group.scope_logs() {
            let group = group?;
            let scope = Arc::new(decode_scope(group.scope, group.schema_url)?);
            for log in group.log_records() {
                let record = decode_log(&log?)?;
                entries.push(LogEntry { resource: resource.clone(), scope: scope.clone(), record });
            }
        }
    }
    Ok(entries)
}
