//! Status codes in attributes: numbers, digits, and the names that gRPC gives them.

use crate::traces::{Scalar, Traces};

/// gRPC's status codes by number (`grpc/status.h`).
const GRPC: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The value of the first of these attributes that a span has.
pub(crate) fn attribute(traces: &Traces, span: usize, keys: &[&str]) -> Option<Scalar> {
    keys.iter().find_map(|key| {
        let key = traces.texts().find(key)?;
        traces.attributes(span).iter().find(|attribute| attribute.key == key).map(|attribute| attribute.value)
    })
}

/// A code as a number or as digits.
pub(crate) fn number(traces: &Traces, value: Scalar) -> Option<i64> {
    match value {
        Scalar::Int(code) => Some(code),
        Scalar::Text(text) => traces.text(text).parse().ok(),
        Scalar::Bool(_) | Scalar::Double(_) => None,
    }
}

/// The same, or the name of a code of gRPC.
pub(crate) fn grpc(traces: &Traces, value: Scalar) -> Option<i64> {
    number(traces, value).or_else(|| match value {
        Scalar::Text(text) => GRPC.iter().zip(0..).find(|(name, _)| **name == traces.text(text)).map(|(_, code)| code),
        _ => None,
    })
}
