//! The context on its way back: what the server tells its caller about the span that it made.
//!
//! ```text
//! Server-Timing: traceparent;desc="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
//! traceresponse: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
//! ```
//!
//! Browsers hide most response headers from scripts but show `Server-Timing` (W3C Server Timing), which
//! is how a page learns the trace of the request that loaded it. `traceresponse` is the W3C Trace
//! Context working group's draft for the same.

use crate::{Context, Extract};

/// Name of the header that browsers show to scripts.
pub const SERVER_TIMING: &str = "server-timing";

/// Name of the draft's header.
pub const TRACERESPONSE: &str = "traceresponse";

/// The metric under which `Server-Timing` carries the context.
const METRIC: &str = "traceparent";

/// A value of `Server-Timing`. The header is a list: it is to be added to what is there, and to
/// `Access-Control-Expose-Headers` where the page is of another origin.
pub fn server_timing(context: &Context) -> String {
    context.with_traceparent(|value| format!("{METRIC};desc=\"{value}\""))
}

/// The value of `traceresponse`.
pub fn traceresponse(context: &Context) -> String {
    context.to_traceparent()
}

/// The context in a `Server-Timing` value, among other metrics.
pub fn parse_server_timing(value: &str) -> Option<Context> {
    split_unquoted(value, ',').find_map(|metric| {
        let mut parts = split_unquoted(metric, ';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case(METRIC) {
            return None;
        }
        let description = parts.find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("desc").then_some(value.trim())
        })?;
        Context::parse_traceparent(description.trim_matches('"')).ok()
    })
}

/// The context in a `traceresponse` value. The draft allows fields to be left empty; such a value has no
/// context.
pub fn parse_traceresponse(value: &str) -> Option<Context> {
    Context::parse_traceparent(value).ok()
}

/// The server's span, from the headers of a response.
pub fn extract(carrier: &dyn Extract) -> Option<Context> {
    let mut found = None;
    carrier.values(TRACERESPONSE, &mut |value| found = found.take().or_else(|| parse_traceresponse(value)));
    carrier.values(SERVER_TIMING, &mut |value| found = found.take().or_else(|| parse_server_timing(value)));
    found
}

/// Adds the context to the headers of a response, beside other metrics.
#[cfg(feature = "http")]
pub fn append(context: &Context, headers: &mut http::HeaderMap) {
    if let Ok(value) = http::HeaderValue::from_str(&server_timing(context)) {
        headers.append(http::HeaderName::from_static(SERVER_TIMING), value);
    }
}

/// The parts of a list between separators that are not inside a quoted string (RFC 9110 §5.6.4).
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |char: char| {
        let splits = char == separator && !quoted;
        quoted ^= char == '"' && !escaped;
        escaped = quoted && char == '\\' && !escaped;
        splits
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_metric_is_found_among_others() {
        let cases = [
            (format!("traceparent;desc=\"{PARENT}\""), true),
            (format!("db;dur=53.2;desc=\"a, \\\" b\", TraceParent ; dur=0 ; DESC = {PARENT}"), true),
            (format!("db;desc=\"traceparent;desc={PARENT}\""), false),
            ("traceparent;desc=\"00-0-0-01\"".to_owned(), false),
            (format!("traceparent;dur=1, other;desc=\"{PARENT}\""), false),
            (String::new(), false),
        ];
        for (value, expected) in cases {
            assert_eq!(parse_server_timing(&value).is_some(), expected, "{value}");
        }
    }

    #[test]
    fn either_header_is_read() {
        let context = Context::parse_traceparent(PARENT).unwrap();
        let timing = server_timing(&context);
        assert_eq!(extract(&vec![("Server-Timing", "cache;dur=1"), ("server-timing", &timing)]), Some(context.clone()));
        assert_eq!(extract(&vec![("traceresponse", traceresponse(&context).as_str())]), Some(context));
        assert_eq!(extract(&vec![("traceresponse", "00---01")]), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(value in "[traceparent;desc=,\"\\\\ é0-]{0,60}") {
            let _ = parse_server_timing(&value);
        }
    }
}
