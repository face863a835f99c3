//! The spans of a request, with attributes by OpenTelemetry's semantic conventions 1.44.

use std::borrow::Cow;

use tracewell_model::{KeyValue, Span, SpanId, SpanKind, Status, StatusCode, Value};
use twox_hash::XxHash3_64;

use super::field::{Access, Field, Unit};
use super::ids::Context;

/// Attempts at the server behind that get a span of their own.
const ATTEMPTS_MAX: usize = 16;

/// Longest text of an attribute, in bytes.
const TEXT_BYTES_MAX: usize = 8 << 10;

/// Methods that the conventions know; others are `_OTHER`.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];

/// Parameters whose values are secrets: those of the conventions, and the names in common use.
const SECRET_PARAMETERS: &[&str] = &[
    "awsaccesskeyid",
    "signature",
    "sig",
    "x-goog-signature",
    "x-amz-signature",
    "access_token",
    "token",
    "api_key",
    "apikey",
    "password",
    "secret",
    "client_secret",
];

/// When a request was, in nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timing {
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    /// The line says how long it took.
    pub(super) duration_known: bool,
}

impl Timing {
    pub(super) fn known(start_ns: u64, end_ns: u64) -> Self {
        Self { start_ns, end_ns, duration_known: true }
    }
}

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Request {
    method: Option<String>,
    path: Option<String>,
    query: Option<String>,
    scheme: Option<String>,
    host: Option<String>,
    protocol: Option<String>,
    /// A request line that is none: bytes of TLS on a plain port, say.
    odd_line: Option<String>,
}

impl Request {
    /// From the request line, or from its parts where they were written by themselves.
    pub(super) fn of(access: &Access<'_>) -> Self {
        let owned = |field| access.get(field).map(str::to_owned);
        let mut request = Self {
            method: owned(Field::Method),
            query: owned(Field::Query),
            scheme: owned(Field::Scheme),
            host: owned(Field::Host),
            protocol: owned(Field::Protocol),
            ..Self::default()
        };
        let mut target = owned(Field::Target);
        if let Some(line) = access.get(Field::Request) {
            let mut words = line.splitn(2, ' ');
            let (method, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let (path, protocol) = rest.rsplit_once(' ').unwrap_or((rest, ""));
            let plain =
                !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_alphabetic() || b"-_".contains(&byte));
            if plain && !path.is_empty() {
                request.method.get_or_insert_with(|| method.to_owned());
                target.get_or_insert_with(|| path.to_owned());
                if protocol.starts_with("HTTP/") {
                    request.protocol.get_or_insert_with(|| protocol.to_owned());
                }
            } else {
                request.odd_line = Some(line.to_owned());
            }
        }
        if let Some(target) = target {
            request.set_target(&target);
        }
        request.query =
            request.query.map(|query| redacted(query.trim_start_matches('?'))).filter(|query| !query.is_empty());
        request
    }

    fn set_target(&mut self, target: &str) {
        let mut rest = target;
        if let Some((scheme, after)) = target.split_once("://").filter(|(scheme, _)| scheme.len() <= 6) {
            let (host, path) = after.split_at(after.find(['/', '?']).unwrap_or(after.len()));
            self.scheme.get_or_insert_with(|| scheme.to_ascii_lowercase());
            self.host.get_or_insert_with(|| host.to_owned());
            rest = if path.is_empty() { "/" } else { path };
        }
        let rest = rest.split('#').next().unwrap_or(rest);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        self.path = Some(path.to_owned());
        if !query.is_empty() {
            self.query.get_or_insert_with(|| query.to_owned());
        }
    }

    /// The method by the conventions, and the original where they do not know it.
    fn method(&self) -> Option<(&str, Option<&str>)> {
        let method = self.method.as_deref()?;
        let known = METHODS.iter().find(|known| known.eq_ignore_ascii_case(method));
        Some(known.map_or(("_OTHER", Some(method)), |known| (*known, (*known != method).then_some(method))))
    }

    fn span_name(&self, access: &Access<'_>) -> String {
        let method = match self.method() {
            Some(("_OTHER", _)) | None => "HTTP",
            Some((method, _)) => method,
        };
        access.get(Field::Route).map_or_else(|| method.to_owned(), |route| format!("{method} {route}"))
    }

    /// `GET /cart?item=1 200`, as a line of a log.
    pub(super) fn summary(&self, access: &Access<'_>) -> Option<String> {
        let mut text = format!("{} {}", self.method.as_deref()?, self.path.as_deref()?);
        if let Some(query) = &self.query {
            text.extend(["?", query]);
        }
        if let Some(status) = access.get(Field::Status) {
            text.extend([" ", status]);
        }
        Some(bounded(&text).to_owned())
    }
}

/// Takes the values of parameters that are secrets out of a query.
fn redacted(query: &str) -> String {
    let piece = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if SECRET_PARAMETERS.iter().any(|secret| name.eq_ignore_ascii_case(secret)) => {
            format!("{name}=REDACTED")
        }
        _ => pair.to_owned(),
    };
    query.split('&').map(piece).collect::<Vec<_>>().join("&")
}

/// The attributes of a request on the server's side.
pub(super) fn attributes(access: &Access<'_>, request: &Request, extra: Vec<(Cow<'_, str>, Value)>) -> Vec<KeyValue> {
    let mut out = Vec::with_capacity(20 + extra.len());
    let mut text = |key: &str, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            out.push(KeyValue::new(key, bounded(value)));
        }
    };
    if let Some((method, original)) = request.method() {
        text("http.request.method", Some(method));
        text("http.request.method_original", original);
    }
    text("url.path", request.path.as_deref());
    text("url.query", request.query.as_deref());
    text("url.scheme", request.scheme.as_deref());
    text("tracewell.request_line", request.odd_line.as_deref());
    text("http.route", access.get(Field::Route));
    text("user_agent.original", access.get(Field::UserAgent));
    text("user.name", access.get(Field::User));
    text("tracewell.request_id", access.get(Field::RequestId));
    if let Some((name, version)) = request.protocol.as_deref().and_then(|protocol| protocol.split_once('/')) {
        text("network.protocol.name", Some(&name.to_ascii_lowercase()));
        text("network.protocol.version", Some(version.strip_suffix(".0").unwrap_or(version)));
    }
    if let Some(referer) = access.get(Field::Referer) {
        let value = Value::Array(vec![Value::Str(bounded(referer).to_owned())]);
        out.push(KeyValue::new("http.request.header.referer", value));
    }
    // The client by its own word stands before the peer, which is then a proxy.
    let forwarded = access.get(Field::ForwardedFor).and_then(|list| list.split(',').next()).map(str::trim);
    match (forwarded, access.get(Field::Client)) {
        (Some(client), Some(peer)) if client != host_and_port(peer).0 => {
            put_address(&mut out, "client", client);
            put_address(&mut out, "network.peer", peer);
        }
        (_, Some(client)) | (Some(client), None) => put_address(&mut out, "client", client),
        (None, None) => {}
    }
    if let Some(host) = &request.host {
        put_address(&mut out, "server", host);
    }
    for (key, field) in [
        ("http.response.status_code", Field::Status),
        ("http.response.size", Field::BytesSent),
        ("http.response.body.size", Field::BodyBytesSent),
        ("http.request.size", Field::BytesReceived),
    ] {
        if let Some(number) = access.get(field).and_then(|text| text.parse::<i64>().ok()).filter(|number| *number > 0) {
            out.push(KeyValue::new(key, number));
        }
    }
    out.extend(extra.into_iter().map(|(key, value)| KeyValue { key: key.into_owned(), value }));
    out
}

/// What marks spans of a trace that was made from a request id.
pub(super) fn inferred() -> [KeyValue; 2] {
    [KeyValue::new("tracewell.inferred", true), KeyValue::new("tracewell.inferred.by", "request_id")]
}

/// The server's span, then one for each attempt at the server behind.
pub(super) fn spans(
    access: &Access<'_>,
    request: &Request,
    extra: Vec<(Cow<'_, str>, Value)>,
    context: &Context,
    timing: Timing,
    identity: (&str, u64, &str),
) -> Vec<Span> {
    let attempts = attempts(access);
    let mut attributes = attributes(access, request, extra);
    if context.inferred {
        attributes.extend(inferred());
    }
    if attempts.is_empty() {
        put_upstream_name(&mut attributes, access);
    }
    let status_code = access.get(Field::Status).and_then(|text| text.parse::<u16>().ok());
    let server_id = context.own.unwrap_or_else(|| derived_id(identity, 0));
    let mut spans = Vec::with_capacity(1 + attempts.len());
    spans.push(Span {
        trace_id: context.trace_id,
        span_id: server_id,
        parent_span_id: context.parent,
        trace_state: context.trace_state.clone(),
        // The parent is another process; bits 8 and 9 say so.
        flags: u32::from(context.flags) | if context.parent.is_some() { 0x300 } else { 0x100 },
        name: request.span_name(access),
        kind: SpanKind::Server as i32,
        start_unix_nano: timing.start_ns,
        end_unix_nano: timing.end_ns,
        status: status(status_code, 500, &mut attributes),
        attributes,
        ..Span::default()
    });
    // Nobody writes when an attempt began: the first one with the request, each further one where the last ended.
    let mut start_ns = timing.start_ns;
    let last = attempts.len().saturating_sub(1);
    for (index, attempt) in attempts.into_iter().enumerate() {
        let end_ns = start_ns.saturating_add(attempt.duration_ns).min(timing.end_ns.max(start_ns));
        let mut attributes = Vec::with_capacity(8);
        if let Some((method, _)) = request.method() {
            attributes.push(KeyValue::new("http.request.method", method));
        }
        put_address(&mut attributes, "server", attempt.address);
        put_upstream_name(&mut attributes, access);
        if let Some(connect_ns) = attempt.connect_ns {
            attributes.push(KeyValue::new("upstream.connect_duration", Value::Double(connect_ns as f64 / 1e9)));
        }
        if index > 0 {
            attributes.push(KeyValue::new("http.request.resend_count", index as i64));
        }
        if let Some(code) = attempt.status {
            attributes.push(KeyValue::new("http.response.status_code", i64::from(code)));
        }
        if context.inferred {
            attributes.extend(inferred());
        }
        // The id that was sent on belongs to the attempt that was answered.
        let sent_on = context.upstream.filter(|_| index == last);
        spans.push(Span {
            trace_id: context.trace_id,
            span_id: sent_on.unwrap_or_else(|| derived_id(identity, 1 + index as u64)),
            parent_span_id: Some(server_id),
            trace_state: context.trace_state.clone(),
            flags: u32::from(context.flags) | 0x100,
            name: request.span_name(&Access::default()),
            kind: SpanKind::Client as i32,
            start_unix_nano: start_ns,
            end_unix_nano: end_ns,
            status: status(attempt.status, 400, &mut attributes),
            attributes,
            ..Span::default()
        });
        start_ns = end_ns;
    }
    spans
}

/// Error from `least` on, with `error.type`.
fn status(code: Option<u16>, least: u16, attributes: &mut Vec<KeyValue>) -> Status {
    match code.filter(|code| *code >= least) {
        Some(code) => {
            attributes.push(KeyValue::new("error.type", code.to_string()));
            Status { code: StatusCode::Error as i32, message: String::new() }
        }
        None => Status::default(),
    }
}

/// An id that follows from the line and its place; never zero.
fn derived_id((service, offset, line): (&str, u64, &str), part: u64) -> SpanId {
    let mut bytes = Vec::with_capacity(line.len() + service.len() + 17);
    bytes.extend_from_slice(line.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(service.as_bytes());
    bytes.extend_from_slice(&offset.to_le_bytes());
    bytes.extend_from_slice(&part.to_le_bytes());
    SpanId::from_u64(XxHash3_64::oneshot(&bytes).max(1))
}

struct Attempt<'a> {
    address: &'a str,
    duration_ns: u64,
    connect_ns: Option<u64>,
    status: Option<u16>,
}

/// The attempts at the server behind that took place, in their order.
fn attempts<'a>(access: &'a Access<'_>) -> Vec<Attempt<'a>> {
    let (Some(addresses), Some(times)) = (access.get(Field::Upstream), access.get(Field::UpstreamTime)) else {
        return Vec::new();
    };
    let at = |field, index| access.get(field).and_then(|list| listed(list).nth(index));
    let unit = |field, text| Unit::nanoseconds(access.unit(field), text);
    let pairs = listed(addresses).zip(listed(times)).enumerate().take(ATTEMPTS_MAX);
    pairs
        .filter_map(|(index, (address, time))| {
            Some(Attempt {
                address,
                duration_ns: unit(Field::UpstreamTime, time)?,
                connect_ns: at(Field::UpstreamConnectTime, index)
                    .and_then(|text| unit(Field::UpstreamConnectTime, text)),
                status: at(Field::UpstreamStatus, index).and_then(|text| text.parse().ok()),
            })
        })
        .collect()
}

/// The items of nginx's lists, which `, ` and ` : ` keep apart.
fn listed(list: &str) -> impl Iterator<Item = &str> {
    list.split(", ").flat_map(|group| group.split(" : ")).map(str::trim)
}

fn put_upstream_name(attributes: &mut Vec<KeyValue>, access: &Access<'_>) {
    if let Some(name) = access.get(Field::UpstreamName) {
        attributes.push(KeyValue::new("upstream_cluster.name", bounded(name)));
    }
}

/// `client.address` and `client.port`, and the like for other sides.
fn put_address(attributes: &mut Vec<KeyValue>, side: &str, text: &str) {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let (host, port) = match text.strip_prefix("unix:") {
        Some(path) => (path, None),
        None => host_and_port(text),
    };
    if !host.is_empty() {
        attributes.push(KeyValue::new(format!("{side}.address"), bounded(host)));
    }
    if let Some(port) = port {
        attributes.push(KeyValue::new(format!("{side}.port"), i64::from(port)));
    }
}

/// `10.0.0.1:80`, `[::1]:80`, `::1`, `example.com`.
fn host_and_port(text: &str) -> (&str, Option<u16>) {
    if let Some((host, after)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, after.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (text, None),
        },
        _ => (text, None),
    }
}

/// The beginning of a text, cut between characters.
fn bounded(text: &str) -> &str {
    if text.len() <= TEXT_BYTES_MAX {
        return text;
    }
    let end = (0..=TEXT_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_hosts_and_ports() {
        for (text, expected) in [
            ("10.0.0.1:80", ("10.0.0.1", Some(80))),
            ("[::1]:8080", ("::1", Some(8080))),
            ("::1", ("::1", None)),
            ("example.com", ("example.com", None)),
            ("srv:http", ("srv:http", None)),
        ] {
            assert_eq!(host_and_port(text), expected);
        }
    }

    #[test]
    fn secrets_are_taken_out_of_queries() {
        assert_eq!(redacted("a=1&Sig=abc&token=x&b"), "a=1&Sig=REDACTED&token=REDACTED&b");
    }
}
