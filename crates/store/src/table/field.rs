//! Names of columns.

use std::fmt;
use std::sync::Arc;

/// The type of a promoted attribute column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttrType {
    /// UTF-8 text.
    Str,
    /// 64-bit signed integer; the chunk holds its two's complement bits.
    Int,
    /// Double; the chunk holds its IEEE 754 bits.
    Double,
    /// Truth value; the chunk holds 0 or 1.
    Bool,
}

/// A column. Spans and log records share those whose meaning is the same.
///
/// The kind of [`Chunk`](super::Chunk) is given in brackets: `num` for numbers as 64 bits, `str` for
/// dictionary-coded text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// Span id, big-endian as a number; for a log record null where it has none (`num`).
    SpanId,
    /// Start of the span, or the record's effective time, in nanoseconds since the epoch (`num`, `u64`).
    Start,
    /// End minus start in nanoseconds (`num`, `i64`; negative where the end lies before the start). Spans only.
    Duration,
    /// Own row minus the parent's row within this source; null where there is no parent or the parent is
    /// not here (`num`, `i64`). Segments only.
    ParentDistance,
    /// Parent span id where the parent's row is not known here; in a block, wherever there is one (`num`).
    ParentSpanId,
    /// Span name (`str`).
    Name,
    /// `service.name` of the resource, `unknown_service` where it has none (`str`).
    Service,
    /// OTLP span kind (`num`, `i64`).
    Kind,
    /// OTLP status code (`num`, `i64`; null stands for 0, unset).
    StatusCode,
    /// Status message (`str`, null where empty).
    StatusMessage,
    /// The whole resource with its schema URL, as JSON (`str`); see `docs/formats.md`.
    Resource,
    /// The whole instrumentation scope with its schema URL, as JSON (`str`).
    Scope,
    /// W3C trace flags (`num`, `u64`, null stands for 0).
    Flags,
    /// W3C tracestate (`str`, null where empty).
    TraceState,
    /// Counts of dropped attributes, events and links, each null for 0 (`num`).
    DroppedAttributes,
    /// See [`Field::DroppedAttributes`].
    DroppedEvents,
    /// See [`Field::DroppedAttributes`].
    DroppedLinks,
    /// Events, as a JSON array in OTLP's JSON mapping (`str`, null where there are none).
    Events,
    /// Links, as a JSON array in OTLP's JSON mapping (`str`, null where there are none).
    Links,
    /// Attributes without a column of their own, as an OTLP JSON array of key-value pairs (`str`).
    Remainder,
    /// Log: `time_unix_nano` where it differs from the effective time (`num`, `u64`).
    LogTime,
    /// Log: `observed_time_unix_nano` (`num`, `u64`).
    ObservedTime,
    /// Log: severity number (`num`, `i64`).
    SeverityNumber,
    /// Log: severity text (`str`, null where empty).
    SeverityText,
    /// Log: a body that is text (`str`).
    Body,
    /// Log: a body of any other type, as an OTLP JSON `AnyValue` (`str`).
    BodyValue,
    /// Log: event name (`str`, null where empty).
    EventName,
    /// An attribute of the span or log record, with a column of its own.
    Attr {
        /// Attribute key.
        key: Arc<str>,
        /// Type of the values in this column.
        kind: AttrType,
    },
}

impl Field {
    /// The column of an attribute.
    pub fn attr(key: &str, kind: AttrType) -> Self {
        Field::Attr { key: Arc::from(key), kind }
    }

    /// A number of this field, given as bits, in words: decimal, or `true` and `false`.
    pub fn bits_text(&self, bits: u64) -> String {
        match self {
            Field::Attr { kind: AttrType::Bool, .. } => (bits != 0).to_string(),
            Field::Attr { kind: AttrType::Double, .. } => f64::from_bits(bits).to_string(),
            Field::Start | Field::LogTime | Field::ObservedTime | Field::Flags => bits.to_string(),
            Field::SpanId | Field::ParentSpanId => format!("{bits:016x}"),
            _ => (bits as i64).to_string(),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Attr { key, kind } => write!(f, "attribute {key} ({kind:?})"),
            other => write!(f, "{other:?}"),
        }
    }
}
