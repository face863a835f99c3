//! Arbitrary model values for property tests: everything that OTLP can carry, the odd included.
//!
//! Ids of spans are valid (a span without them is not stored), everything else is free: duplicate and
//! empty keys, control characters, NaN, negative zero, unknown enum numbers, times of zero and 2^64 - 1.
//! Values that hold NaN are not equal to themselves; compare what `{:?}` prints.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tracewell_model::{
    EntityRef, Event, KeyValue, Link, LogEntry, LogRecord, Resource, Scope, Span, SpanId, SpanRecord, Status, TraceId,
    Value,
};

/// Text of up to eleven characters of any kind.
pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => Just(String::new()),
        4 => "[a-z]{1,8}(\\.[a-z]{1,6})?",
        2 => vec(any::<char>(), 1..12).prop_map(String::from_iter),
    ]
}

/// An attribute key: mostly one of a few, so that duplicates occur.
pub fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["http.route", "http.response.status_code", "db.query.text", "peer.service"])
            .prop_map(str::to_owned),
        1 => text(),
    ]
}

fn double() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => any::<f64>().prop_map(|number| if number.is_nan() { f64::NAN } else { number }),
        2 => (-1000i32..1000).prop_map(f64::from),
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MIN_POSITIVE, f64::MAX]),
    ]
}

/// A value of any type, with lists and maps up to four levels deep.
pub fn value() -> impl Strategy<Value = Value> {
    let plain = prop_oneof![
        1 => Just(Value::Empty),
        6 => text().prop_map(Value::Str),
        1 => any::<bool>().prop_map(Value::Bool),
        3 => any::<i64>().prop_map(Value::Int),
        2 => (-5i64..600).prop_map(Value::Int),
        3 => double().prop_map(Value::Double),
        2 => vec(any::<u8>(), 0..9).prop_map(Value::Bytes),
    ];
    plain.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            vec((key(), inner).prop_map(|(key, value)| KeyValue { key, value }), 0..4).prop_map(Value::Map),
        ]
    })
}

/// Up to five attributes, duplicates included.
pub fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    vec((key(), value()).prop_map(|(key, value)| KeyValue { key, value }), 0..6)
}

/// A count as senders report it: mostly zero.
fn count() -> impl Strategy<Value = u32> {
    prop_oneof![3 => Just(0), 1 => any::<u32>()]
}

fn enum_number() -> impl Strategy<Value = i32> {
    prop_oneof![6 => 0..6i32, 1 => any::<i32>()]
}

/// A time: mostly of this decade, sometimes any.
fn time() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 1_600_000_000_000_000_000u64..1_900_000_000_000_000_000, 1 => any::<u64>(), 1 => Just(0)]
}

/// A valid trace id.
pub fn trace_id() -> impl Strategy<Value = TraceId> {
    (any::<[u8; 16]>(), 0..16usize).prop_map(|(mut bytes, place)| {
        bytes[place] |= 1;
        TraceId(bytes)
    })
}

/// A valid span id.
pub fn span_id() -> impl Strategy<Value = SpanId> {
    (any::<[u8; 8]>(), 0..8usize).prop_map(|(mut bytes, place)| {
        bytes[place] |= 1;
        SpanId(bytes)
    })
}

/// A resource, sometimes with a service name and entity references.
pub fn resource() -> impl Strategy<Value = Resource> {
    let entity = (text(), text(), vec(text(), 0..3), vec(text(), 0..3)).prop_map(
        |(schema_url, kind, id_keys, description_keys)| EntityRef { schema_url, kind, id_keys, description_keys },
    );
    (option::of("[a-z]{1,8}"), attributes(), count(), vec(entity, 0..3), text()).prop_map(
        |(service, mut attributes, dropped_attributes_count, entity_refs, schema_url)| {
            attributes.extend(service.map(|name| KeyValue::new(tracewell_model::SERVICE_NAME, name)));
            Resource { attributes, dropped_attributes_count, entity_refs, schema_url }
        },
    )
}

/// An instrumentation scope.
pub fn scope() -> impl Strategy<Value = Scope> {
    (text(), text(), attributes(), count(), text()).prop_map(
        |(name, version, attributes, dropped_attributes_count, schema_url)| Scope {
            name,
            version,
            attributes,
            dropped_attributes_count,
            schema_url,
        },
    )
}

/// An event.
pub fn event() -> impl Strategy<Value = Event> {
    (time(), text(), attributes(), count()).prop_map(|(time_unix_nano, name, attributes, dropped_attributes_count)| {
        Event { time_unix_nano, name, attributes, dropped_attributes_count }
    })
}

/// A link.
pub fn link() -> impl Strategy<Value = Link> {
    (trace_id(), span_id(), text(), attributes(), count(), any::<u32>()).prop_map(
        |(trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags)| Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            dropped_attributes_count,
            flags,
        },
    )
}

/// A span with valid ids.
pub fn span() -> impl Strategy<Value = Span> {
    let identity = (trace_id(), span_id(), option::of(span_id()), text(), count(), text());
    let times = (enum_number(), time(), time(), enum_number(), text());
    let parts = (attributes(), vec(event(), 0..3), vec(link(), 0..3), count(), count(), count());
    (identity, times, parts).prop_map(|(identity, times, parts)| {
        let (trace_id, span_id, parent_span_id, trace_state, flags, name) = identity;
        let (kind, start_unix_nano, end_unix_nano, code, message) = times;
        let (attributes, events, links, dropped_attributes_count, dropped_events_count, dropped_links_count) = parts;
        Span {
            trace_id,
            span_id,
            parent_span_id,
            trace_state,
            flags,
            name,
            kind,
            start_unix_nano,
            end_unix_nano,
            attributes,
            dropped_attributes_count,
            events,
            dropped_events_count,
            links,
            dropped_links_count,
            status: Status { code, message },
        }
    })
}

/// Up to seven spans over a few resources and scopes, which recur in any order.
pub fn span_records() -> impl Strategy<Value = Vec<SpanRecord>> {
    grouped(span()).prop_map(|records| {
        records.into_iter().map(|(resource, scope, span)| SpanRecord { resource, scope, span }).collect()
    })
}

/// A log record.
pub fn log_record() -> impl Strategy<Value = LogRecord> {
    let times = (time(), time(), enum_number(), text());
    let parts = (value(), attributes(), count(), count(), option::of(trace_id()), option::of(span_id()), text());
    (times, parts).prop_map(|(times, parts)| {
        let (time_unix_nano, observed_time_unix_nano, severity_number, severity_text) = times;
        let (body, attributes, dropped_attributes_count, flags, trace_id, span_id, event_name) = parts;
        LogRecord {
            time_unix_nano,
            observed_time_unix_nano,
            severity_number,
            severity_text,
            body,
            attributes,
            dropped_attributes_count,
            flags,
            trace_id,
            span_id,
            event_name,
        }
    })
}

/// Up to seven log records over a few resources and scopes, which recur in any order.
pub fn log_entries() -> impl Strategy<Value = Vec<LogEntry>> {
    grouped(log_record()).prop_map(|records| {
        records.into_iter().map(|(resource, scope, record)| LogEntry { resource, scope, record }).collect()
    })
}

fn grouped<T: std::fmt::Debug>(
    item: impl Strategy<Value = T>,
) -> impl Strategy<Value = Vec<(Arc<Resource>, Arc<Scope>, T)>> {
    let heads = (vec(resource().prop_map(Arc::new), 1..3), vec(scope().prop_map(Arc::new), 1..3));
    let items = vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), item), 0..8);
    (heads, items).prop_map(|((resources, scopes), items)| {
        items
            .into_iter()
            .map(|(resource, scope, item)| (resource.get(&resources).clone(), scope.get(&scopes).clone(), item))
            .collect()
    })
}
