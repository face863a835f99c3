//! The JSON of Jaeger's query API and UI downloads: `{"data":[{"traceID","spans","processes"}]}`.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;
use tracewell_model::{KeyValue, Link, Resource, Scope, Span, SpanRecord, Value};

use super::ids::{span_id, trace_id};
use super::tags::{REFERENCE_TYPE, event, process_attributes, take_fields};
use crate::otlp::DEPTH_MAX;
use crate::otlp::json::decode_base64;
use crate::{DecodeError, JsonError};

/// The spans of all traces in a Jaeger JSON document, in its order: the answer of the query API
/// (`{"data":[…]}`), an array of traces, or one trace.
///
/// Times are microseconds in Jaeger and nanoseconds here. The first `CHILD_OF` reference within the
/// trace is the parent, else the first `FOLLOWS_FROM`; all others become links, and every `FOLLOWS_FROM` does.
pub fn read(json: &[u8]) -> Result<Vec<SpanRecord>, DecodeError> {
    let is_array = json.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let traces = if is_array {
        serde_json::from_slice::<Vec<JaegerTrace>>(json).map_err(explain)?
    } else {
        let document: Document = serde_json::from_slice(json).map_err(explain)?;
        let single = document.spans.map(|spans| JaegerTrace { spans, processes: document.processes });
        document.data.into_iter().chain(single).collect()
    };
    Ok(traces.into_iter().flat_map(JaegerTrace::into_records).collect())
}

fn explain(error: serde_json::Error) -> DecodeError {
    let (line, column) = (error.line(), error.column());
    let message = error.to_string();
    let reason = message.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&message).to_owned();
    DecodeError::Json(Box::new(JsonError { line, column, path: String::new(), reason }))
}

fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(json: D) -> Result<T, D::Error> {
    Option::deserialize(json).map(Option::unwrap_or_default)
}

#[derive(Deserialize)]
struct Document {
    #[serde(default, deserialize_with = "null_is_default")]
    data: Vec<JaegerTrace>,
    spans: Option<Vec<JaegerSpan>>,
    #[serde(default, deserialize_with = "null_is_default")]
    processes: HashMap<String, Process>,
}

#[derive(Deserialize)]
struct JaegerTrace {
    #[serde(default, deserialize_with = "null_is_default")]
    spans: Vec<JaegerSpan>,
    #[serde(default, deserialize_with = "null_is_default")]
    processes: HashMap<String, Process>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Process {
    #[serde(default, deserialize_with = "null_is_default")]
    service_name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JaegerSpan {
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
    #[serde(rename = "parentSpanID", default, deserialize_with = "null_is_default")]
    parent_span_id: String,
    #[serde(default, deserialize_with = "null_is_default")]
    flags: u32,
    #[serde(default, deserialize_with = "null_is_default")]
    operation_name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    references: Vec<Reference>,
    #[serde(default, deserialize_with = "null_is_default")]
    start_time: u64,
    #[serde(default, deserialize_with = "null_is_default")]
    duration: u64,
    #[serde(default, deserialize_with = "null_is_default")]
    tags: Vec<Tag>,
    #[serde(default, deserialize_with = "null_is_default")]
    logs: Vec<Log>,
    #[serde(rename = "processID", default, deserialize_with = "null_is_default")]
    process_id: String,
    /// Spans as Elasticsearch keeps them hold their process.
    process: Option<Process>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    #[serde(default, deserialize_with = "null_is_default")]
    ref_type: String,
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Deserialize)]
struct Log {
    #[serde(default, deserialize_with = "null_is_default")]
    timestamp: u64,
    #[serde(default, deserialize_with = "null_is_default")]
    fields: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    #[serde(rename = "type", default, deserialize_with = "null_is_default")]
    kind: String,
    #[serde(default)]
    value: Json,
}

impl JaegerTrace {
    fn into_records(self) -> impl Iterator<Item = SpanRecord> {
        let resources: HashMap<String, Arc<Resource>> =
            self.processes.into_iter().map(|(id, process)| (id, Arc::new(process.into_resource()))).collect();
        let nobody = Arc::new(Resource::default());
        let mut scopes: Vec<Arc<Scope>> = Vec::new();
        self.spans.into_iter().map(move |mut jaeger| {
            let resource = match jaeger.process.take() {
                Some(process) => Arc::new(process.into_resource()),
                None => resources.get(&jaeger.process_id).unwrap_or(&nobody).clone(),
            };
            let (span, scope) = jaeger.into_span();
            // Few scopes repeat over many spans; the last ones are the likely ones.
            let known = scopes.iter().rev().take(16).find(|known| ***known == scope).cloned();
            let scope = known.unwrap_or_else(|| {
                scopes.push(Arc::new(scope));
                scopes.last().cloned().unwrap_or_default()
            });
            SpanRecord { resource, scope, span }
        })
    }
}

impl Process {
    fn into_resource(self) -> Resource {
        let tags = self.tags.into_iter().map(Tag::into_attribute).collect();
        Resource { attributes: process_attributes(self.service_name, tags), ..Resource::default() }
    }
}

impl JaegerSpan {
    fn into_span(self) -> (Span, Scope) {
        let trace = trace_id(&self.trace_id);
        let local = |reference: &&Reference| trace_id(&reference.trace_id) == trace;
        let mut locals = self.references.iter().filter(local);
        let parent = locals
            .clone()
            .find(|reference| reference.ref_type.eq_ignore_ascii_case("CHILD_OF"))
            .or_else(|| locals.next())
            .map(|reference| span_id(&reference.span_id))
            .or_else(|| Some(span_id(&self.parent_span_id)))
            .filter(|id| !id.is_zero());
        let start_unix_nano = self.start_time.saturating_mul(1000);
        let mut span = Span {
            trace_id: trace,
            span_id: span_id(&self.span_id),
            parent_span_id: parent,
            flags: self.flags & 0xff,
            name: self.operation_name,
            start_unix_nano,
            end_unix_nano: start_unix_nano.saturating_add(self.duration.saturating_mul(1000)),
            attributes: self.tags.into_iter().map(Tag::into_attribute).collect(),
            events: self
                .logs
                .into_iter()
                .map(|log| {
                    let fields = log.fields.into_iter().map(Tag::into_attribute).collect();
                    event(log.timestamp.saturating_mul(1000), fields)
                })
                .collect(),
            ..Span::default()
        };
        // The first reference to the parent has become the parent; whatever else is said is a link. So is that the span
        // follows from its parent, which having a parent does not say.
        let mut parent_seen = false;
        for (link, reference) in self.references.iter().map(|reference| (reference.to_link(), reference)) {
            let is_parent = link.trace_id == trace && Some(link.span_id) == parent;
            if parent_seen || !is_parent || reference.ref_type.eq_ignore_ascii_case("FOLLOWS_FROM") {
                span.links.push(link);
            }
            parent_seen |= is_parent;
        }
        let scope = take_fields(&mut span);
        (span, scope)
    }
}

impl Reference {
    fn to_link(&self) -> Link {
        let attributes = match self.ref_type.to_ascii_uppercase().as_str() {
            "CHILD_OF" => vec![KeyValue::new(REFERENCE_TYPE, "child_of")],
            "FOLLOWS_FROM" => vec![KeyValue::new(REFERENCE_TYPE, "follows_from")],
            _ => Vec::new(),
        };
        Link { trace_id: trace_id(&self.trace_id), span_id: span_id(&self.span_id), attributes, ..Link::default() }
    }
}

impl Tag {
    /// The attribute. A value that is not of the type that the tag claims keeps the type it has.
    fn into_attribute(self) -> KeyValue {
        let text = self.value.as_str();
        let claimed = match self.kind.as_str() {
            "string" => match &self.value {
                Json::Number(number) => Some(Value::Str(number.to_string())),
                Json::Bool(truth) => Some(Value::Str(truth.to_string())),
                _ => None,
            },
            "bool" => text.and_then(|text| text.parse().ok()).map(Value::Bool),
            "int64" => match text {
                Some(text) => text.parse().ok().map(Value::Int),
                None => self
                    .value
                    .as_f64()
                    .filter(|_| !self.value.is_i64())
                    .filter(is_int64)
                    .map(|number| Value::Int(number as i64)),
            },
            "float64" => match text {
                Some(text) => text.parse().ok().map(Value::Double),
                None => self.value.as_f64().map(Value::Double),
            },
            "binary" => text.and_then(decode_base64).map(Value::Bytes),
            _ => None,
        };
        KeyValue { key: self.key, value: claimed.unwrap_or_else(|| from_json(self.value, 1)) }
    }
}

fn is_int64(number: &f64) -> bool {
    number.fract() == 0.0 && (-9.2e18..9.2e18).contains(number)
}

/// A value of the type that it has in JSON. What nests too deep for a value stays JSON text.
fn from_json(json: Json, depth: usize) -> Value {
    match json {
        Json::Array(_) | Json::Object(_) if depth > DEPTH_MAX => Value::Str(json.to_string()),
        Json::Null => Value::Empty,
        Json::Bool(truth) => Value::Bool(truth),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Value::Int(integer),
            None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Str(text),
        Json::Array(values) => Value::Array(values.into_iter().map(|value| from_json(value, depth + 1)).collect()),
        Json::Object(entries) => Value::Map(
            entries.into_iter().map(|(key, value)| KeyValue { key, value: from_json(value, depth + 1) }).collect(),
        ),
    }
}
