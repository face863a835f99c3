//! OTLP/gRPC, directly on HTTP/2: the unary methods `Export` of the trace and logs services, and `grpc.health.v1`.
//!
//! Follows "gRPC over HTTP/2" (PROTOCOL-HTTP2.md), "Status codes and their use in gRPC" and the OTLP specification's
//! section on throttling.

mod frame;
mod health;
mod text;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{ALLOW, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use http_body::Body;
use tokio::time::Instant;

use crate::answer;
use crate::body::{BodyReader, Reply, overloaded};
use crate::config::OtherSignals;
use crate::http::{discard, unsupported_signal};
use crate::inflate::Encoding;
use crate::pipeline::{Arrival, Format, Shared, take};
use crate::refusal::{Reason, Refusal, code};
use crate::sink::Signal;
use crate::stats::Receiver;
use crate::tenant;

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// Where the Python exporter looks for the delay, which it does not read from the status details.
const RETRY_INFO: HeaderName = HeaderName::from_static("google.rpc.retryinfo-bin");

const TRACES_EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const LOGS_EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// What a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Export(Signal),
    HealthCheck,
    /// A signal that OTLP has and this server does not store.
    Other(&'static str),
    Unknown,
}

impl Call {
    fn of(path: &str) -> Self {
        match path {
            TRACES_EXPORT => Self::Export(Signal::Traces),
            LOGS_EXPORT => Self::Export(Signal::Logs),
            "/grpc.health.v1.Health/Check" => Self::HealthCheck,
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Self::Other("metrics"),
            "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export" => Self::Other("profiles"),
            _ => Self::Unknown,
        }
    }

    fn signal(self) -> Option<Signal> {
        match self {
            Self::Export(signal) => Some(signal),
            Self::HealthCheck | Self::Other(_) | Self::Unknown => None,
        }
    }
}

/// Whether a request says that it is gRPC with protobuf messages.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = text.split(';').next().unwrap_or_default().trim();
    ["application/grpc", "application/grpc+proto"].into_iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether a path is one of gRPC's, whatever the request says of itself.
pub(crate) fn is_grpc_path(path: &str) -> bool {
    path.starts_with("/opentelemetry.proto.") || path.starts_with("/grpc.")
}

/// Answers one request whose content type is gRPC's.
pub(crate) async fn handle<B>(shared: &Arc<Shared>, parts: Parts, mut body: B, peer: SocketAddr) -> Response<Reply>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let call = Call::of(parts.uri.path());
    let cell = shared.stats.cell(Receiver::OtlpGrpc, call.signal());
    cell.request();
    let result = match not_grpc(&parts) {
        Some((status, refusal)) => {
            cell.refused(&refusal, peer);
            return plain(status, &refusal);
        }
        None => dispatch(shared, call, &parts, &mut body, peer).await,
    };
    match result {
        Ok(message) => succeeded(&message),
        Err(refusal) => {
            cell.refused(&refusal, peer);
            failed(&refusal)
        }
    }
}

/// Answers a request to a gRPC method whose content type is not gRPC's, with a status of HTTP as the protocol asks.
pub(crate) fn wrong_content_type(shared: &Shared, parts: &Parts, peer: SocketAddr) -> Response<Reply> {
    let found = parts.headers.get(CONTENT_TYPE).map_or("no content type".into(), |found| format!("{found:?}"));
    let message = format!("expected content type application/grpc, found {found}");
    let refusal = Refusal::new(Reason::UnsupportedMediaType, message);
    let cell = shared.stats.cell(Receiver::OtlpGrpc, Call::of(parts.uri.path()).signal());
    cell.request();
    cell.refused(&refusal, peer);
    plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, &refusal)
}

/// What keeps a request from being gRPC at all.
fn not_grpc(parts: &Parts) -> Option<(StatusCode, Refusal)> {
    if parts.version != Version::HTTP_2 {
        let message = format!("gRPC needs HTTP/2, the request came over {:?}", parts.version);
        return Some((StatusCode::HTTP_VERSION_NOT_SUPPORTED, Refusal::new(Reason::BadFraming, message)));
    }
    if parts.method != Method::POST {
        let message = format!("gRPC calls are POST requests, not {}", parts.method);
        return Some((StatusCode::METHOD_NOT_ALLOWED, Refusal::new(Reason::MethodNotAllowed, message)));
    }
    None
}

async fn dispatch<B>(
    shared: &Arc<Shared>,
    call: Call,
    parts: &Parts,
    body: &mut B,
    peer: SocketAddr,
) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let limits = &shared.config.limits;
    let deadline = deadline(&parts.headers)?;
    let mut reader = BodyReader::new(body, shared.stats.cell(Receiver::OtlpGrpc, call.signal()), limits, deadline);
    let signal = match call {
        Call::Export(signal) => signal,
        Call::HealthCheck => {
            let reservation = shared.budget.open(0).ok_or_else(|| overloaded(limits.retry_after()))?;
            let message = frame::read_message(&mut reader, encoding(&parts.headers)?, limits, reservation).await?;
            return health::check(&message.bytes, shared.is_closing());
        }
        Call::Other(what) if shared.config.other_signals == OtherSignals::Discard => {
            discard(&mut reader, limits.body_bytes_max).await?;
            // The client hears of a success; the operator can see what became of it.
            shared.stats.cell(Receiver::OtlpGrpc, None).refused(&unsupported_signal(what), peer);
            return Ok(Bytes::new());
        }
        Call::Other(what) => return Err(unsupported_signal(what)),
        Call::Unknown => {
            let path = crate::stats::shorten(parts.uri.path(), 200);
            let message = format!("there is no method {path}; expected {TRACES_EXPORT} or {LOGS_EXPORT}");
            return Err(Refusal::new(Reason::UnknownPath, message));
        }
    };
    let tenant = tenant::of(&parts.headers).map_err(|message| Refusal::new(Reason::BadTenant, message))?;
    let encoding = encoding(&parts.headers)?;
    let reservation = shared.budget.open(0).ok_or_else(|| overloaded(limits.retry_after()))?;
    let payload = frame::read_message(&mut reader, encoding, limits, reservation).await?;
    let arrival = Arrival { receiver: Receiver::OtlpGrpc, signal, format: Format::Protobuf, tenant, payload, deadline };
    let outcome = take(shared, arrival).await?;
    Ok(answer::taken(Format::Protobuf, signal, &outcome))
}

/// The request's `grpc-encoding`.
fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let Some(value) = headers.get(GRPC_ENCODING) else {
        return Ok(Encoding::Identity);
    };
    value.to_str().ok().and_then(Encoding::parse).ok_or_else(|| {
        let message = format!("grpc-encoding {value:?} is not known; expected one of {}", Encoding::ACCEPTED);
        Refusal::new(Reason::UnsupportedEncoding, message)
    })
}

/// When the client stops waiting.
fn deadline(headers: &HeaderMap) -> Result<Option<Instant>, Refusal> {
    let Some(value) = headers.get(GRPC_TIMEOUT) else {
        return Ok(None);
    };
    let Some(timeout) = text::timeout(value) else {
        let message = format!("grpc-timeout {value:?} is not a time such as 10S or 500m");
        return Err(Refusal::new(Reason::BadFraming, message));
    };
    Ok(Instant::now().checked_add(timeout))
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static(Encoding::ACCEPTED));
    headers
}

/// One message, then the trailers that say OK.
fn succeeded(message: &[u8]) -> Response<Reply> {
    let mut data = BytesMut::with_capacity(5 + message.len());
    data.put_u8(0);
    data.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    data.put_slice(message);
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from(u16::from(code::OK)));
    let mut answer = Response::new(Reply::with_trailers(data.freeze(), trailers));
    *answer.headers_mut() = headers();
    answer
}

/// No message: the headers are the trailers ("Trailers-Only").
fn failed(refusal: &Refusal) -> Response<Reply> {
    let mut answer = Response::new(Reply::default());
    let mut headers = headers();
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(refusal.grpc_code)));
    headers.insert(GRPC_MESSAGE, text::percent_encoded(&refusal.message));
    if let Some(delay) = refusal.retry_after {
        let status = answer::status(Format::Protobuf, refusal);
        headers.insert(GRPC_STATUS_DETAILS, text::base64(&status));
        headers.insert(RETRY_INFO, text::base64(&answer::retry_info(delay)));
    }
    *answer.headers_mut() = headers;
    answer
}

/// An answer of HTTP to what is not gRPC.
fn plain(status: StatusCode, refusal: &Refusal) -> Response<Reply> {
    let mut answer = Response::new(Reply::new(Bytes::from(refusal.message.clone().into_owned())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    answer
}
