//! Log records, after `opentelemetry/proto/logs/v1/logs.proto`.

use std::sync::Arc;

use crate::{KeyValue, Resource, Scope, SpanId, TraceId, Value};

/// One log record.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogRecord {
    /// When it happened, in nanoseconds since the Unix epoch; 0 if unknown.
    pub time_unix_nano: u64,
    /// When the collection system saw it, in nanoseconds since the Unix epoch.
    pub observed_time_unix_nano: u64,
    /// OTLP `SeverityNumber` (1–24), 0 if unknown.
    pub severity_number: i32,
    /// The severity as the source spelled it.
    pub severity_text: String,
    /// The message, text or structured.
    pub body: Value,
    /// Attributes.
    pub attributes: Vec<KeyValue>,
    /// Attributes that the sender dropped.
    pub dropped_attributes_count: u32,
    /// W3C flags in bits 0–7.
    pub flags: u32,
    /// The trace it belongs to, if any.
    pub trace_id: Option<TraceId>,
    /// The span it belongs to, if any.
    pub span_id: Option<SpanId>,
    /// Name of the event that this record is, if it is one.
    pub event_name: String,
}

impl LogRecord {
    /// The time to order by: that of the event, else that of its observation.
    pub fn effective_time_unix_nano(&self) -> u64 {
        if self.time_unix_nano == 0 { self.observed_time_unix_nano } else { self.time_unix_nano }
    }
}

/// A log record together with its resource and scope.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogEntry {
    /// Who emitted it.
    pub resource: Arc<Resource>,
    /// Which library produced it.
    pub scope: Arc<Scope>,
    /// The record.
    pub record: LogRecord,
}
