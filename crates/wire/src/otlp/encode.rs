//! From the model to OTLP protobuf.

use std::sync::Arc;

use tracewell_model::{
    EntityRef, Event, KeyValue, Link, LogEntry, LogRecord, Resource, Scope, Span, SpanRecord, Status, Value,
};

use super::check::DEPTH_MAX;
use super::pb_write::{
    begin_message, end_message, put_bytes, put_fixed32, put_fixed64, put_int32, put_message, put_number, put_text,
    put_time, put_uint32,
};

/// An `ExportTraceServiceRequest`. Neighbouring records with the same resource and scope share a group;
/// the order of the records stays.
pub fn encode_traces(records: &[SpanRecord]) -> Vec<u8> {
    encode_grouped(
        records,
        |record| (&record.resource, &record.scope),
        |record, out| put_message(out, 2, |out| put_span(out, &record.span)),
    )
}

/// `TracesData`, which has the bytes of an `ExportTraceServiceRequest`: what trace queries answer.
pub fn encode_traces_data(records: &[SpanRecord]) -> Vec<u8> {
    encode_traces(records)
}

/// An `ExportLogsServiceRequest`, grouped as [`encode_traces`] does.
pub fn encode_logs(entries: &[LogEntry]) -> Vec<u8> {
    encode_grouped(
        entries,
        |entry| (&entry.resource, &entry.scope),
        |entry, out| put_message(out, 2, |out| put_log(out, &entry.record)),
    )
}

/// The two levels of groups that traces and logs share (fields 1, 2, 3 on each).
fn encode_grouped<T>(
    records: &[T],
    head: impl Fn(&T) -> (&Arc<Resource>, &Arc<Scope>),
    put: impl Fn(&T, &mut Vec<u8>),
) -> Vec<u8> {
    let mut out = Vec::new();
    for of_resource in records.chunk_by(|left, right| same(head(left).0, head(right).0)) {
        let Some(resource) = of_resource.first().map(|record| head(record).0) else { continue };
        let resource_group = begin_message(&mut out, 1);
        put_message(&mut out, 1, |out| put_resource(out, resource));
        for of_scope in of_resource.chunk_by(|left, right| same(head(left).1, head(right).1)) {
            let Some(scope) = of_scope.first().map(|record| head(record).1) else { continue };
            let scope_group = begin_message(&mut out, 2);
            put_message(&mut out, 1, |out| put_scope(out, scope));
            for record in of_scope {
                put(record, &mut out);
            }
            put_text(&mut out, 3, scope.schema_url.as_bytes());
            end_message(&mut out, scope_group);
        }
        put_text(&mut out, 3, resource.schema_url.as_bytes());
        end_message(&mut out, resource_group);
    }
    out
}

fn same<T: PartialEq>(left: &Arc<T>, right: &Arc<T>) -> bool {
    Arc::ptr_eq(left, right) || left == right
}

pub(crate) fn put_resource(out: &mut Vec<u8>, resource: &Resource) {
    put_attributes(out, 1, &resource.attributes);
    put_uint32(out, 2, resource.dropped_attributes_count);
    for entity in &resource.entity_refs {
        put_message(out, 3, |out| put_entity_ref(out, entity));
    }
}

fn put_entity_ref(out: &mut Vec<u8>, entity: &EntityRef) {
    put_text(out, 1, entity.schema_url.as_bytes());
    put_text(out, 2, entity.kind.as_bytes());
    for key in &entity.id_keys {
        put_bytes(out, 3, key.as_bytes());
    }
    for key in &entity.description_keys {
        put_bytes(out, 4, key.as_bytes());
    }
}

pub(crate) fn put_scope(out: &mut Vec<u8>, scope: &Scope) {
    put_text(out, 1, scope.name.as_bytes());
    put_text(out, 2, scope.version.as_bytes());
    put_attributes(out, 3, &scope.attributes);
    put_uint32(out, 4, scope.dropped_attributes_count);
}

fn put_span(out: &mut Vec<u8>, span: &Span) {
    put_bytes(out, 1, &span.trace_id.0);
    put_bytes(out, 2, &span.span_id.0);
    put_text(out, 3, span.trace_state.as_bytes());
    if let Some(parent) = &span.parent_span_id {
        put_bytes(out, 4, &parent.0);
    }
    put_text(out, 5, span.name.as_bytes());
    put_int32(out, 6, span.kind);
    put_time(out, 7, span.start_unix_nano);
    put_time(out, 8, span.end_unix_nano);
    put_attributes(out, 9, &span.attributes);
    put_uint32(out, 10, span.dropped_attributes_count);
    for event in &span.events {
        put_message(out, 11, |out| put_event(out, event));
    }
    put_uint32(out, 12, span.dropped_events_count);
    for link in &span.links {
        put_message(out, 13, |out| put_link(out, link));
    }
    put_uint32(out, 14, span.dropped_links_count);
    if span.status != Status::default() {
        put_message(out, 15, |out| {
            put_text(out, 2, span.status.message.as_bytes());
            put_int32(out, 3, span.status.code);
        });
    }
    put_fixed32(out, 16, span.flags);
}

pub(crate) fn put_event(out: &mut Vec<u8>, event: &Event) {
    put_time(out, 1, event.time_unix_nano);
    put_text(out, 2, event.name.as_bytes());
    put_attributes(out, 3, &event.attributes);
    put_uint32(out, 4, event.dropped_attributes_count);
}

pub(crate) fn put_link(out: &mut Vec<u8>, link: &Link) {
    put_bytes(out, 1, &link.trace_id.0);
    put_bytes(out, 2, &link.span_id.0);
    put_text(out, 3, link.trace_state.as_bytes());
    put_attributes(out, 4, &link.attributes);
    put_uint32(out, 5, link.dropped_attributes_count);
    put_fixed32(out, 6, link.flags);
}

fn put_log(out: &mut Vec<u8>, record: &LogRecord) {
    put_time(out, 1, record.time_unix_nano);
    put_int32(out, 2, record.severity_number);
    put_text(out, 3, record.severity_text.as_bytes());
    if record.body != Value::Empty {
        put_message(out, 5, |out| put_value(out, &record.body));
    }
    put_attributes(out, 6, &record.attributes);
    put_uint32(out, 7, record.dropped_attributes_count);
    put_fixed32(out, 8, record.flags);
    if let Some(trace_id) = &record.trace_id {
        put_bytes(out, 9, &trace_id.0);
    }
    if let Some(span_id) = &record.span_id {
        put_bytes(out, 10, &span_id.0);
    }
    put_time(out, 11, record.observed_time_unix_nano);
    put_text(out, 12, record.event_name.as_bytes());
}

pub(crate) fn put_attributes(out: &mut Vec<u8>, field: u32, attributes: &[KeyValue]) {
    for attribute in attributes {
        put_message(out, field, |out| {
            put_text(out, 1, attribute.key.as_bytes());
            put_message(out, 2, |out| put_value(out, &attribute.value));
        });
    }
}

fn put_entries(out: &mut Vec<u8>, entries: &[KeyValue], depth: usize) {
    for entry in entries {
        put_message(out, 1, |out| {
            put_text(out, 1, entry.key.as_bytes());
            put_message(out, 2, |out| put_nested(out, &entry.value, depth));
        });
    }
}

/// The fields of an `AnyValue`. Members of a oneof are written also when they hold a default. Lists and
/// maps nested deeper than [`DEPTH_MAX`], which no decoder here lets in, are written as empty values.
pub(crate) fn put_value(out: &mut Vec<u8>, value: &Value) {
    put_nested(out, value, 1);
}

fn put_nested(out: &mut Vec<u8>, value: &Value, depth: usize) {
    match value {
        Value::Array(_) | Value::Map(_) if depth > DEPTH_MAX => {}
        Value::Empty => {}
        Value::Str(text) => put_bytes(out, 1, text.as_bytes()),
        Value::Bool(truth) => put_number(out, 2, u64::from(*truth)),
        Value::Int(number) => put_number(out, 3, *number as u64),
        Value::Double(number) => put_fixed64(out, 4, number.to_bits()),
        Value::Array(values) => put_message(out, 5, |out| {
            for value in values {
                put_message(out, 1, |out| put_nested(out, value, depth + 1));
            }
        }),
        Value::Map(entries) => put_message(out, 6, |out| put_entries(out, entries, depth + 1)),
        Value::Bytes(bytes) => put_bytes(out, 7, bytes),
    }
}
