//! Between the model and JSON: whole answers, and the pieces that storage keeps as JSON text.
//!
//! Every function here has an exact inverse: `x_from_json(&x_to_json(&x)) == x`, with all types, orders,
//! duplicates, infinities and negative zero (NaN comes back as NaN, its payload bits do not).

use tracewell_model::{Event, KeyValue, Link, LogEntry, Resource, Scope, SpanRecord, Value};

use super::parse::{parse_list, parse_message};
use super::write::{Style, logs_to_json, traces_to_json, write_list, write_resource, write_scope, write_value};
use crate::DecodeError;
use crate::otlp::decode::{decode_attribute, decode_event, decode_link, decode_resource, decode_scope, decode_value};
use crate::otlp::encode::{
    encode_logs, encode_traces, put_attributes, put_event, put_link, put_resource, put_scope, put_value,
};
use crate::otlp::pb::Payloads;
use crate::otlp::pb_write::put_message;
use crate::otlp::schema::{
    ANY_VALUE, SPAN_ATTRIBUTES, SPAN_EVENTS, SPAN_LINKS, STORED_RESOURCE, STORED_SCHEMA_URL, STORED_SCOPE,
};
use crate::otlp::view::{KeyValueView, ValueView};

/// Appends `{"resourceSpans":[…]}`; neighbouring records with the same resource and scope share a group.
pub fn write_traces(records: &[SpanRecord], style: Style, out: &mut Vec<u8>) {
    expect_own(traces_to_json(&encode_traces(records), style, out));
}

/// Appends `{"resourceLogs":[…]}`; neighbouring records with the same resource and scope share a group.
pub fn write_logs(entries: &[LogEntry], style: Style, out: &mut Vec<u8>) {
    expect_own(logs_to_json(&encode_logs(entries), style, out));
}

/// A resource with its schema URL: `{"attributes":[…],"droppedAttributesCount":1,"entityRefs":[…],"schemaUrl":"…"}`.
pub fn resource_to_json(resource: &Resource) -> String {
    let mut bytes = Vec::new();
    put_resource(&mut bytes, resource);
    text(|out| write_resource(&bytes, resource.schema_url.as_bytes(), out))
}

/// The inverse of [`resource_to_json`].
pub fn resource_from_json(json: &str) -> Result<Resource, DecodeError> {
    let bytes = parse_message(json.as_bytes(), &STORED_RESOURCE)?;
    decode_resource(&bytes, stored_schema_url(&bytes))
}

/// A scope with its schema URL: `{"name":"…","version":"…","attributes":[…],"schemaUrl":"…"}`.
pub fn scope_to_json(scope: &Scope) -> String {
    let mut bytes = Vec::new();
    put_scope(&mut bytes, scope);
    text(|out| write_scope(&bytes, scope.schema_url.as_bytes(), out))
}

/// The inverse of [`scope_to_json`].
pub fn scope_from_json(json: &str) -> Result<Scope, DecodeError> {
    let bytes = parse_message(json.as_bytes(), &STORED_SCOPE)?;
    decode_scope(&bytes, stored_schema_url(&bytes))
}

fn stored_schema_url(bytes: &[u8]) -> &[u8] {
    Payloads::new(bytes, STORED_SCHEMA_URL).flatten().last().unwrap_or_default()
}

/// Attributes as an array of `{"key":…,"value":{…}}`.
pub fn attributes_to_json(attributes: &[KeyValue]) -> String {
    let mut bytes = Vec::new();
    put_attributes(&mut bytes, SPAN_ATTRIBUTES.number, attributes);
    text(|out| write_list(&bytes, &SPAN_ATTRIBUTES, out))
}

/// The inverse of [`attributes_to_json`].
pub fn attributes_from_json(json: &str) -> Result<Vec<KeyValue>, DecodeError> {
    let bytes = parse_list(json.as_bytes(), &SPAN_ATTRIBUTES)?;
    elements(&bytes, SPAN_ATTRIBUTES.number, |bytes| decode_attribute(KeyValueView::new(bytes)?))
}

/// Events as an array.
pub fn events_to_json(events: &[Event]) -> String {
    let mut bytes = Vec::new();
    for event in events {
        put_message(&mut bytes, SPAN_EVENTS.number, |out| put_event(out, event));
    }
    text(|out| write_list(&bytes, &SPAN_EVENTS, out))
}

/// The inverse of [`events_to_json`].
pub fn events_from_json(json: &str) -> Result<Vec<Event>, DecodeError> {
    elements(&parse_list(json.as_bytes(), &SPAN_EVENTS)?, SPAN_EVENTS.number, decode_event)
}

/// Links as an array.
pub fn links_to_json(links: &[Link]) -> String {
    let mut bytes = Vec::new();
    for link in links {
        put_message(&mut bytes, SPAN_LINKS.number, |out| put_link(out, link));
    }
    text(|out| write_list(&bytes, &SPAN_LINKS, out))
}

/// The inverse of [`links_to_json`].
pub fn links_from_json(json: &str) -> Result<Vec<Link>, DecodeError> {
    elements(&parse_list(json.as_bytes(), &SPAN_LINKS)?, SPAN_LINKS.number, decode_link)
}

/// A value, such as `{"intValue":"5"}`; the empty value is `{}`.
pub fn value_to_json(value: &Value) -> String {
    let mut bytes = Vec::new();
    put_value(&mut bytes, value);
    text(|out| write_value(ValueView::new(&bytes)?, out))
}

/// The inverse of [`value_to_json`].
pub fn value_from_json(json: &str) -> Result<Value, DecodeError> {
    decode_value(ValueView::new(&parse_message(json.as_bytes(), &ANY_VALUE)?)?)
}

fn elements<T>(
    bytes: &[u8],
    field: u32,
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    Payloads::new(bytes, field)
        .map(|payload| decode(payload.map_err(|problem| DecodeError::protobuf("Span", problem))?))
        .collect()
}

fn text(write: impl FnOnce(&mut Vec<u8>) -> Result<(), DecodeError>) -> String {
    let mut out = Vec::new();
    expect_own(write(&mut out));
    String::from_utf8(out).unwrap_or_default()
}

/// What this crate has encoded it can read.
fn expect_own(written: Result<(), DecodeError>) {
    debug_assert!(written.is_ok(), "our own protobuf is refused: {written:?}");
}
