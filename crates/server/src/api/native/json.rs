//! Spans and log records as the native API writes them: everything present, attribute values as OTLP JSON.

use serde_json::{Value, json};
use tracewell_model::{Event, KeyValue, Link, LogEntry, SpanRecord};
use tracewell_wire::otlp::json::{attributes_to_json, value_to_json};

/// Name of an OTLP span kind.
pub(crate) fn kind_name(kind: i32) -> &'static str {
    match kind {
        1 => "internal",
        2 => "server",
        3 => "client",
        4 => "producer",
        5 => "consumer",
        _ => "unspecified",
    }
}

/// Name of an OTLP status code.
pub(crate) fn status_name(code: i32) -> &'static str {
    match code {
        1 => "ok",
        2 => "error",
        _ => "unset",
    }
}

/// A value as plain JSON: what a reader of a list wants to see.
pub(crate) fn plain(value: &tracewell_model::Value) -> Value {
    use tracewell_model::Value as Any;
    match value {
        Any::Empty => Value::Null,
        Any::Str(text) => json!(text),
        Any::Bool(truth) => json!(truth),
        Any::Int(number) => json!(number),
        Any::Double(number) if number.is_finite() => json!(number),
        Any::Double(number) => json!(number.to_string()),
        Any::Array(items) => items.iter().map(plain).collect(),
        Any::Map(entries) => entries.iter().map(|entry| (entry.key.clone(), plain(&entry.value))).collect(),
        Any::Bytes(_) => serde_json::from_str::<Value>(&value_to_json(value))
            .map_or(Value::Null, |value| value["bytesValue"].clone()),
    }
}

fn attributes(attributes: &[KeyValue]) -> Value {
    serde_json::from_str(&attributes_to_json(attributes)).unwrap_or_else(|_| json!([]))
}

fn event(event: &Event) -> Value {
    json!({
        "timeUnixNano": event.time_unix_nano.to_string(), "name": event.name,
        "attributes": attributes(&event.attributes), "droppedAttributesCount": event.dropped_attributes_count,
    })
}

fn link(link: &Link) -> Value {
    json!({
        "traceId": link.trace_id.to_string(), "spanId": link.span_id.to_string(), "traceState": link.trace_state,
        "attributes": attributes(&link.attributes), "droppedAttributesCount": link.dropped_attributes_count,
        "flags": link.flags,
    })
}

/// One span in full.
pub(crate) fn span(record: &SpanRecord) -> Value {
    let (span, resource, scope) = (&record.span, &record.resource, &record.scope);
    json!({
        "traceId": span.trace_id.to_string(),
        "spanId": span.span_id.to_string(),
        "parentSpanId": span.parent_span_id.map(|id| id.to_string()).unwrap_or_default(),
        "name": span.name,
        "kind": kind_name(span.kind),
        "status": {"code": status_name(span.status.code), "message": span.status.message},
        "startUnixNano": span.start_unix_nano.to_string(),
        "endUnixNano": span.end_unix_nano.to_string(),
        "durationNs": span.duration_ns(),
        "traceState": span.trace_state,
        "flags": span.flags,
        "service": resource.service_name(),
        "attributes": attributes(&span.attributes),
        "droppedAttributesCount": span.dropped_attributes_count,
        "events": span.events.iter().map(event).collect::<Vec<_>>(),
        "droppedEventsCount": span.dropped_events_count,
        "links": span.links.iter().map(link).collect::<Vec<_>>(),
        "droppedLinksCount": span.dropped_links_count,
        "resource": {
            "attributes": attributes(&resource.attributes), "schemaUrl": resource.schema_url,
            "droppedAttributesCount": resource.dropped_attributes_count,
        },
        "scope": {
            "name": scope.name, "version": scope.version, "attributes": attributes(&scope.attributes),
            "schemaUrl": scope.schema_url, "droppedAttributesCount": scope.dropped_attributes_count,
        },
    })
}

/// One log record.
pub(crate) fn log(entry: &LogEntry) -> Value {
    let record = &entry.record;
    json!({
        "timeUnixNano": record.effective_time_unix_nano().to_string(),
        "observedTimeUnixNano": record.observed_time_unix_nano.to_string(),
        "severityNumber": record.severity_number,
        "severityText": record.severity_text,
        "body": serde_json::from_str::<Value>(&value_to_json(&record.body)).unwrap_or_else(|_| json!({})),
        "attributes": attributes(&record.attributes),
        "traceId": record.trace_id.map(|id| id.to_string()).unwrap_or_default(),
        "spanId": record.span_id.map(|id| id.to_string()).unwrap_or_default(),
        "service": entry.resource.service_name(),
        "scope": entry.scope.name,
        "eventName": record.event_name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracewell_model::{LogRecord, Span, SpanId, TraceId};

    #[test]
    fn everything_is_present_even_where_it_is_empty() {
        let span_with_little = Span {
            trace_id: TraceId([0xab; 16]),
            span_id: SpanId::from_u64(1),
            kind: 3,
            start_unix_nano: 1_795_343_881_398_540_597,
            end_unix_nano: 1_795_343_881_398_540_600,
            attributes: vec![KeyValue::new("n", 9_007_199_254_740_993i64)],
            events: vec![Event::default()],
            ..Span::default()
        };
        let json = span(&SpanRecord { span: span_with_little, ..SpanRecord::default() });
        assert_eq!(json["startUnixNano"], "1795343881398540597");
        assert_eq!(json["durationNs"], 3);
        assert_eq!(json["kind"], "client");
        assert_eq!(json["status"], json!({"code": "unset", "message": ""}));
        assert_eq!(json["parentSpanId"], "");
        assert_eq!(json["attributes"], json!([{"key": "n", "value": {"intValue": "9007199254740993"}}]));
        assert_eq!(json["events"][0]["attributes"], json!([]));
        assert_eq!(json["service"], "unknown_service");
        let log = log(&LogEntry {
            record: LogRecord { body: "hello".into(), ..LogRecord::default() },
            ..LogEntry::default()
        });
        assert_eq!(log["body"], json!({"stringValue": "hello"}));
        assert_eq!(log["traceId"], "");
    }
}
