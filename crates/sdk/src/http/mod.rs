//! Spans for HTTP, both ways, as tower layers (OpenTelemetry semantic conventions 1.44, "HTTP spans").
//!
//! ```text
//! caller: ClientLayer ──traceparent──▶ ServerLayer :callee
//!         span ends with the          span ends with the
//!         last byte received          last byte handed over
//! ```
//!
//! A span lasts as long as its body: a streamed answer counts until its last frame, or until the receiver
//! went away.

mod body;
mod client;
mod server;

pub use body::TracedBody;
pub use client::{Client, ClientLayer, UrlTemplate};
pub use server::{Route, Server, ServerLayer};

use http::{Method, Version};

/// The methods that may stand in `http.request.method`; others are `_OTHER`, so that a caller cannot make
/// up any number of span names.
fn known_method(method: &Method) -> Option<&str> {
    matches!(
        *method,
        Method::GET
            | Method::HEAD
            | Method::POST
            | Method::PUT
            | Method::DELETE
            | Method::CONNECT
            | Method::OPTIONS
            | Method::TRACE
            | Method::PATCH
    )
    .then_some(method.as_str())
}

/// `network.protocol.version`.
fn protocol_version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

/// Query parameters whose values are signatures or credentials (semantic conventions, `url.query`).
const SECRET_PARAMETERS: [&str; 4] = ["AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature"];

/// The query without secrets.
fn redacted_query(query: &str) -> String {
    let mut redacted = String::with_capacity(query.len());
    for pair in query.split('&') {
        if !redacted.is_empty() {
            redacted.push('&');
        }
        match pair.split_once('=') {
            Some((name, _)) if SECRET_PARAMETERS.contains(&name) => {
                redacted.push_str(name);
                redacted.push_str("=REDACTED");
            }
            _ => redacted.push_str(pair),
        }
    }
    redacted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_reach_the_trace() {
        assert_eq!(redacted_query("q=1&sig=abc&x&Signature=d"), "q=1&sig=REDACTED&x&Signature=REDACTED");
        assert_eq!(known_method(&Method::from_bytes(b"BREW").unwrap()), None);
    }
}
