//! Spans and what they hang on, after `opentelemetry/proto/trace/v1/trace.proto`.

use std::sync::Arc;

use crate::{KeyValue, SpanId, TraceId, Value};

/// The resource attribute that names a service (OpenTelemetry semantic conventions, `service.name`).
pub const SERVICE_NAME: &str = "service.name";

/// The name shown for spans whose resource does not name its service.
pub const UNKNOWN_SERVICE: &str = "unknown_service";

/// Who emitted a span: a process, a pod, a host.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resource {
    /// Attributes in the order received.
    pub attributes: Vec<KeyValue>,
    /// Attributes that the sender dropped.
    pub dropped_attributes_count: u32,
    /// References to the entities that this resource describes.
    pub entity_refs: Vec<EntityRef>,
    /// `ResourceSpans.schema_url`.
    pub schema_url: String,
}

/// A reference to an entity (OTLP `EntityRef`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EntityRef {
    /// Schema of the entity.
    pub schema_url: String,
    /// Entity type, such as `service` or `host`.
    pub kind: String,
    /// Resource attribute keys that identify the entity.
    pub id_keys: Vec<String>,
    /// Resource attribute keys that describe the entity.
    pub description_keys: Vec<String>,
}

impl Resource {
    /// The `service.name`, or [`UNKNOWN_SERVICE`] where it is missing, empty or not text.
    pub fn service_name(&self) -> &str {
        self.attributes
            .iter()
            .rev()
            .find(|attribute| attribute.key == SERVICE_NAME)
            .and_then(|attribute| attribute.value.as_str())
            .filter(|name| !name.is_empty())
            .unwrap_or(UNKNOWN_SERVICE)
    }
}

/// The instrumentation scope (library) that produced a span.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scope {
    /// Library name.
    pub name: String,
    /// Library version.
    pub version: String,
    /// Attributes in the order received.
    pub attributes: Vec<KeyValue>,
    /// Attributes that the sender dropped.
    pub dropped_attributes_count: u32,
    /// `ScopeSpans.schema_url`.
    pub schema_url: String,
}

/// One unit of work in one service.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Span {
    /// Trace that the span belongs to.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// Its parent; `None` for a root.
    pub parent_span_id: Option<SpanId>,
    /// W3C `tracestate` as received.
    pub trace_state: String,
    /// W3C flags in bits 0–7, "has is-remote" and "is-remote" in bits 8 and 9.
    pub flags: u32,
    /// Operation name.
    pub name: String,
    /// OTLP `SpanKind` as a number, kept even when unknown to this version.
    pub kind: i32,
    /// Start, in nanoseconds since the Unix epoch.
    pub start_unix_nano: u64,
    /// End, in nanoseconds since the Unix epoch.
    pub end_unix_nano: u64,
    /// Attributes. The order is that of the sender up to storage, which may sort by key.
    pub attributes: Vec<KeyValue>,
    /// Attributes that the sender dropped.
    pub dropped_attributes_count: u32,
    /// Events in the order received.
    pub events: Vec<Event>,
    /// Events that the sender dropped.
    pub dropped_events_count: u32,
    /// Links in the order received.
    pub links: Vec<Link>,
    /// Links that the sender dropped.
    pub dropped_links_count: u32,
    /// How the work ended.
    pub status: Status,
}

impl Span {
    /// Duration in nanoseconds; zero where the clock ran backwards.
    pub fn duration_ns(&self) -> u64 {
        self.end_unix_nano.saturating_sub(self.start_unix_nano)
    }

    /// The last value of an attribute, if the span has it.
    pub fn attribute(&self, key: &str) -> Option<&Value> {
        self.attributes.iter().rev().find(|attribute| attribute.key == key).map(|attribute| &attribute.value)
    }
}

/// OTLP `Span.SpanKind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum SpanKind {
    /// Not given.
    Unspecified = 0,
    /// Work inside a service.
    Internal = 1,
    /// Handles a request from a remote caller.
    Server = 2,
    /// Calls a remote service.
    Client = 3,
    /// Hands a message to a broker.
    Producer = 4,
    /// Receives a message from a broker.
    Consumer = 5,
}

/// How a span's work ended (OTLP `Status`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Status {
    /// OTLP `StatusCode` as a number, kept even when unknown to this version.
    pub code: i32,
    /// The developer's words for an error.
    pub message: String,
}

/// OTLP `Status.StatusCode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum StatusCode {
    /// Not given.
    Unset = 0,
    /// Explicitly successful.
    Ok = 1,
    /// Failed.
    Error = 2,
}

/// Something that happened at a moment of a span.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Event {
    /// When, in nanoseconds since the Unix epoch.
    pub time_unix_nano: u64,
    /// What.
    pub name: String,
    /// Attributes in the order received.
    pub attributes: Vec<KeyValue>,
    /// Attributes that the sender dropped.
    pub dropped_attributes_count: u32,
}

/// A pointer to another span, in this trace or another.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Link {
    /// Trace of the linked span.
    pub trace_id: TraceId,
    /// The linked span.
    pub span_id: SpanId,
    /// Its W3C `tracestate`.
    pub trace_state: String,
    /// Attributes in the order received.
    pub attributes: Vec<KeyValue>,
    /// Attributes that the sender dropped.
    pub dropped_attributes_count: u32,
    /// W3C flags, as [`Span::flags`].
    pub flags: u32,
}

/// A span together with its resource and scope.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SpanRecord {
    /// Who emitted it.
    pub resource: Arc<Resource>,
    /// Which library produced it.
    pub scope: Arc<Scope>,
    /// The span.
    pub span: Span,
}
