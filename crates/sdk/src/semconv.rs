//! Names that the semantic conventions fix (OpenTelemetry 1.44), for those who write instrumentation of their own: what
//! the layers of this crate use too, so that there is one list of each.

use std::borrow::Cow;

use http::Method;

pub use crate::http::attributes::protocol_version;

/// Names of gRPC's status codes by number ("gRPC over HTTP/2", status codes).
const GRPC_STATUS: [&str; 17] = [
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

/// `rpc.response.status_code` for the number of a `grpc-status`; `UNKNOWN` for a number that none has.
pub fn grpc_status(code: usize) -> &'static str {
    GRPC_STATUS.get(code).copied().unwrap_or("UNKNOWN")
}

/// Whether a server is to blame for the gRPC status of that name. What the caller did wrong is no error of the server's
/// span ("gRPC server").
pub fn is_grpc_server_error(name: &str) -> bool {
    matches!(name, "UNKNOWN" | "DEADLINE_EXCEEDED" | "UNIMPLEMENTED" | "INTERNAL" | "UNAVAILABLE" | "DATA_LOSS")
}

/// `http.request.method` for a method of RFC 9110, `PATCH` or `QUERY`; others are `_OTHER` there, so that a caller
/// cannot make up any number of span names.
pub fn http_method(method: &Method) -> Option<&'static str> {
    Some(match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "CONNECT" => "CONNECT",
        "OPTIONS" => "OPTIONS",
        "TRACE" => "TRACE",
        "PATCH" => "PATCH",
        "QUERY" => "QUERY",
        _ => return None,
    })
}

/// `url.query` without the values of signatures and credentials.
pub fn redacted_query(query: &str) -> Cow<'_, str> {
    crate::http::attributes::redacted(query, crate::http::attributes::is_secret)
}
