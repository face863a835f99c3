//! What Jaeger keeps in tags and OTLP in fields of its own.

use tracewell_model::{Event, KeyValue, SERVICE_NAME, Scope, Span, SpanKind, Status, StatusCode, Value};

/// The attribute that keeps the type of a Jaeger reference that became a link.
pub(crate) const REFERENCE_TYPE: &str = "opentracing.ref_type";

/// The name that OpenTelemetry's exporters give to a Jaeger process whose resource has no service name.
const NO_SERVICE_NAME: &str = "OTLPResourceNoServiceName";

/// The attributes of the resource that a Jaeger process stands for.
pub(crate) fn process_attributes(service: String, tags: Vec<KeyValue>) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(tags.len() + 1);
    if !service.is_empty() && service != NO_SERVICE_NAME {
        attributes.push(KeyValue::new(SERVICE_NAME, service));
    }
    // A tag of that name repeats the process's own service name, which wins.
    let named = !attributes.is_empty();
    attributes.extend(tags.into_iter().filter(|tag| !(named && tag.key == SERVICE_NAME)));
    attributes
}

/// Takes kind, status, trace state and scope out of a span's tags; the rest stays as attributes in its
/// order. Returns the scope.
pub(crate) fn take_fields(span: &mut Span) -> Scope {
    let mut scope = Scope::default();
    let mut failed = false;
    let mut status = None;
    let mut description = None;
    let tags = std::mem::take(&mut span.attributes);
    for tag in tags {
        let text = tag.value.as_str();
        match (tag.key.as_str(), text) {
            ("span.kind", Some(kind)) if kind_of(kind).is_some() => {
                span.kind = kind_of(kind).map_or(0, |kind| kind as i32);
            }
            ("error", _) if is_true(&tag.value) => failed = true,
            ("otel.status_code", Some(code)) => {
                status = match code.to_ascii_uppercase().as_str() {
                    "OK" => Some(StatusCode::Ok),
                    "ERROR" => Some(StatusCode::Error),
                    _ => status,
                };
            }
            ("otel.status_description", Some(text)) => description = Some(text.to_owned()),
            ("w3c.tracestate", Some(state)) => span.trace_state = state.to_owned(),
            ("otel.scope.name", Some(name)) => scope.name = name.to_owned(),
            // The names before version 1.11 of the specification.
            ("otel.library.name", Some(name)) if scope.name.is_empty() => scope.name = name.to_owned(),
            ("otel.scope.version", Some(version)) => scope.version = version.to_owned(),
            ("otel.library.version", Some(version)) if scope.version.is_empty() => scope.version = version.to_owned(),
            _ => span.attributes.push(tag),
        }
    }
    // The error tag is what Jaeger itself goes by.
    let code = if failed { Some(StatusCode::Error) } else { status };
    span.status = Status { code: code.map_or(0, |code| code as i32), message: description.unwrap_or_default() };
    scope
}

/// The event that a log with these fields is: its field `event` is the name.
pub(crate) fn event(time_unix_nano: u64, fields: Vec<KeyValue>) -> Event {
    let mut event = Event { time_unix_nano, ..Event::default() };
    for field in fields {
        match (field.key.as_str(), field.value) {
            ("event", Value::Str(name)) if event.name.is_empty() => event.name = name,
            (_, value) => event.attributes.push(KeyValue { key: field.key, value }),
        }
    }
    event
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Bool(truth) => *truth,
        Value::Str(text) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

fn kind_of(text: &str) -> Option<SpanKind> {
    Some(match text.to_ascii_lowercase().as_str() {
        "internal" => SpanKind::Internal,
        "server" => SpanKind::Server,
        "client" => SpanKind::Client,
        "producer" => SpanKind::Producer,
        "consumer" => SpanKind::Consumer,
        _ => return None,
    })
}
