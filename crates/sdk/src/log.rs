//! Log records: events of `tracing` with the ids of the span they happened in (OTLP 1.11, `logs.proto`).

use tracewell_propagate::Context;
use tracing::{Level, Metadata};

use crate::proto::{self, ValueRef};
use crate::visit::Fields;

/// Field number of the attributes of a log record.
const LOG_ATTRIBUTES: u32 = 6;

/// OTLP `SeverityNumber`.
fn severity(level: &Level) -> u64 {
    match *level {
        Level::TRACE => 1,
        Level::DEBUG => 5,
        Level::INFO => 9,
        Level::WARN => 13,
        Level::ERROR => 17,
    }
}

/// Appends one log record; `now` in nanoseconds since the Unix epoch.
pub(crate) fn encode(out: &mut Vec<u8>, metadata: &Metadata<'_>, fields: &Fields, span: Option<&Context>, now: u64) {
    proto::fixed64(out, 1, now);
    proto::uint(out, 2, severity(metadata.level()));
    proto::bytes(out, 3, metadata.level().as_str().as_bytes());
    let error = fields.exception.as_ref();
    if let Some(body) = fields.message.as_deref().or(error.map(|error| error.message.as_str())) {
        proto::any_value(out, 5, ValueRef::Str(body));
    }
    // Attributes were encoded for a span's event; here they stand under another field number.
    let mut rest = fields.attributes.as_slice();
    while let Some(field) = proto::next_field(&mut rest) {
        proto::bytes(out, LOG_ATTRIBUTES, field.content);
    }
    proto::key_value(
        out,
        LOG_ATTRIBUTES,
        "target",
        ValueRef::Str(fields.log_target.as_deref().unwrap_or(metadata.target())),
    );
    if let Some(error) = error {
        proto::key_value(out, LOG_ATTRIBUTES, "exception.message", ValueRef::Str(&error.message));
        if !error.causes.is_empty() {
            proto::key_value(out, LOG_ATTRIBUTES, "exception.stacktrace", ValueRef::Str(&error.causes));
        }
    }
    if fields.dropped > 0 {
        proto::uint(out, 7, u64::from(fields.dropped));
    }
    if let Some(span) = span {
        proto::fixed32(out, 8, u32::from(span.flags));
        proto::bytes(out, 9, &span.trace_id.0);
        proto::bytes(out, 10, &span.span_id.0);
    }
    proto::fixed64(out, 11, now);
    if let Some(name) = &fields.event_name {
        proto::bytes(out, 12, name.as_bytes());
    }
}
