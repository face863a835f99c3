//! Between the API's types and ours.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind as ApiKind, TraceFlags, TraceId, TraceState};
use opentelemetry::{Array, Value as ApiValue};
use tracewell_propagate::Context;

use crate::{SpanKind, Value};

pub(super) fn from_api(context: &SpanContext) -> Context {
    Context {
        trace_id: tracewell_propagate::TraceId(context.trace_id().to_bytes()),
        span_id: tracewell_propagate::SpanId(context.span_id().to_bytes()),
        flags: context.trace_flags().to_u8(),
        trace_state: context.trace_state().header().parse().unwrap_or_default(),
    }
}

pub(super) fn to_api(context: &Context, remote: bool) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(context.trace_id.0),
        SpanId::from_bytes(context.span_id.0),
        TraceFlags::new(context.flags),
        remote,
        context.trace_state.as_str().parse::<TraceState>().unwrap_or_default(),
    )
}

pub(super) fn kind(kind: Option<ApiKind>) -> SpanKind {
    match kind {
        Some(ApiKind::Client) => SpanKind::Client,
        Some(ApiKind::Server) => SpanKind::Server,
        Some(ApiKind::Producer) => SpanKind::Producer,
        Some(ApiKind::Consumer) => SpanKind::Consumer,
        Some(ApiKind::Internal) | None => SpanKind::Internal,
    }
}

pub(super) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn value(value: ApiValue) -> Value {
    fn list<T>(values: Vec<T>, convert: impl Fn(T) -> Value) -> Value {
        Value::Array(values.into_iter().map(convert).collect())
    }
    match value {
        ApiValue::Bool(truth) => Value::Bool(truth),
        ApiValue::I64(number) => Value::Int(number),
        ApiValue::F64(number) => Value::Double(number),
        ApiValue::String(text) => String::from(text).into(),
        ApiValue::Array(Array::Bool(values)) => list(values, Value::Bool),
        ApiValue::Array(Array::I64(values)) => list(values, Value::Int),
        ApiValue::Array(Array::F64(values)) => list(values, Value::Double),
        ApiValue::Array(Array::String(values)) => list(values, |text| String::from(text).into()),
        // The API may learn of further types.
        other => other.to_string().into(),
    }
}
