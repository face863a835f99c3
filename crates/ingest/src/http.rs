//! OTLP/HTTP: `POST /v1/traces` and `/v1/logs`, as the OTLP specification 1.11 says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use crate::answer;
use crate::body::{Assembler, BodyReader, Payload, Reply, overloaded, too_large};
use crate::config::OtherSignals;
use crate::cors::{self, Verdict};
use crate::inflate::Encoding;
use crate::pipeline::{Arrival, Format, Shared, Taken, take};
use crate::refusal::{Reason, Refusal};
use crate::sink::Signal;
use crate::stats::Receiver;
use crate::tenant;

/// How long the rest of a refused HTTP/1 body is read and thrown away.
const LINGER: Duration = Duration::from_secs(5);

/// What a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Export(Signal),
    /// A signal that OTLP has and this server does not store.
    Other(&'static str),
    Unknown,
}

impl Route {
    fn of(path: &str) -> Self {
        match path {
            "/v1/traces" => Self::Export(Signal::Traces),
            "/v1/logs" => Self::Export(Signal::Logs),
            "/v1/metrics" => Self::Other("metrics"),
            "/v1development/profiles" => Self::Other("profiles"),
            _ => Self::Unknown,
        }
    }

    fn signal(self) -> Option<Signal> {
        match self {
            Self::Export(signal) => Some(signal),
            Self::Other(_) | Self::Unknown => None,
        }
    }
}

/// Content type of an answer: the request's own, JSON where the request has none that is known.
#[derive(Debug, Clone, Copy)]
struct MediaType {
    name: &'static str,
    format: Format,
}

const JSON: MediaType = MediaType { name: "application/json", format: Format::Json };

impl MediaType {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let name = text.split(';').next().unwrap_or_default().trim();
        ["application/x-protobuf", "application/protobuf"]
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(name))
            .map(|name| Self { name, format: Format::Protobuf })
            .or_else(|| name.eq_ignore_ascii_case(JSON.name).then_some(JSON))
    }
}

/// Answers one request.
pub(crate) async fn handle<B>(shared: &Arc<Shared>, parts: Parts, mut body: B, peer: SocketAddr) -> Response<Reply>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display,
{
    let route = Route::of(parts.uri.path());
    let cell = shared.stats.cell(Receiver::OtlpHttp, route.signal());
    let cors = &shared.config.cors;
    let verdict = cors.judge(&parts.headers);
    let media_type = MediaType::of(&parts.headers);

    let result = if parts.method == Method::OPTIONS {
        options(route, &verdict, &parts).map(|()| {
            let mut answer = empty(StatusCode::NO_CONTENT);
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, OPTIONS"));
            if cors::is_preflight(&parts.method, &parts.headers) {
                cors::allow_preflight(cors, &parts.headers, answer.headers_mut());
            }
            answer
        })
    } else {
        cell.request();
        let mut reader = BodyReader::new(&mut body, cell, &shared.config.limits, None);
        export(shared, route, media_type, &parts, &mut reader, peer).await
    };
    let mut answer = result.unwrap_or_else(|refusal| {
        cell.refused(&refusal, peer);
        // Closing while the client still writes would reset the connection before the client has read the answer. In
        // HTTP/2 a stream ends without such harm, and a client that asked first (Expect) sends nothing.
        if parts.version <= Version::HTTP_11 && !body.is_end_stream() && !parts.headers.contains_key(EXPECT) {
            tokio::spawn(linger(body, shared.config.limits.body_bytes_max));
        }
        refused(&refusal, media_type.unwrap_or(JSON), parts.version)
    });
    if let Verdict::Allowed(origin) = verdict {
        cors::allow(origin, answer.headers_mut());
    }
    answer
}

/// Whether a question about a path (OPTIONS) is answered with yes.
fn options(route: Route, verdict: &Verdict<'_>, parts: &Parts) -> Result<(), Refusal> {
    if route == Route::Unknown {
        return Err(unknown_path(parts.uri.path()));
    }
    match verdict {
        Verdict::Refused(origin) => Err(Refusal::new(
            Reason::OriginRefused,
            format!("pages of {origin:?} may not send here; add the origin to the receiver's allowed origins"),
        )),
        Verdict::SameOrigin | Verdict::Allowed(_) => Ok(()),
    }
}

async fn export<B>(
    shared: &Arc<Shared>,
    route: Route,
    media_type: Option<MediaType>,
    parts: &Parts,
    reader: &mut BodyReader<'_, B>,
    peer: SocketAddr,
) -> Result<Response<Reply>, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    if route == Route::Unknown {
        return Err(unknown_path(parts.uri.path()));
    }
    if parts.method != Method::POST {
        let message = format!("{} is not served here; send POST", parts.method);
        return Err(Refusal::new(Reason::MethodNotAllowed, message));
    }
    let signal = match route {
        Route::Export(signal) => signal,
        Route::Other(what) if shared.config.other_signals == OtherSignals::Discard => {
            discard(reader, shared.config.limits.body_bytes_max).await?;
            // The client hears of a success; the operator can see what became of it.
            let cell = shared.stats.cell(Receiver::OtlpHttp, None);
            cell.refused(&unsupported_signal(what), peer);
            let media_type = media_type.unwrap_or(JSON);
            return Ok(success(media_type, answer::taken(media_type.format, Signal::Traces, &Taken::default())));
        }
        Route::Other(what) => return Err(unsupported_signal(what)),
        Route::Unknown => return Err(unknown_path(parts.uri.path())),
    };
    let Some(media_type) = media_type else {
        let found = parts.headers.get(CONTENT_TYPE).map_or("no content type".into(), |found| format!("{found:?}"));
        let message = format!("expected application/x-protobuf or application/json, found {found}");
        return Err(Refusal::new(Reason::UnsupportedMediaType, message));
    };
    let tenant = tenant::of(&parts.headers).map_err(|message| Refusal::new(Reason::BadTenant, message))?;
    let encoding = content_encoding(&parts.headers)?;
    let payload = read(shared, encoding, reader).await?;
    let arrival =
        Arrival { receiver: Receiver::OtlpHttp, signal, format: media_type.format, tenant, payload, deadline: None };
    let outcome = take(shared, arrival).await?;
    Ok(success(media_type, answer::taken(media_type.format, signal, &outcome)))
}

/// Reads the whole body into one buffer.
async fn read<B>(shared: &Shared, encoding: Encoding, reader: &mut BodyReader<'_, B>) -> Result<Payload, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let limits = &shared.config.limits;
    let announced_bytes = reader.announced_bytes();
    if announced_bytes > limits.body_bytes_max {
        return Err(too_large(limits.body_bytes_max));
    }
    let reservation = shared.budget.open(announced_bytes).ok_or_else(|| overloaded(limits.retry_after()))?;
    let mut assembler = Assembler::new(encoding, announced_bytes, limits, reservation)?;
    while let Some(chunk) = reader.chunk().await? {
        assembler.push(&chunk).await?;
    }
    assembler.finish()
}

/// Reads the body and forgets it.
pub(crate) async fn discard<B>(reader: &mut BodyReader<'_, B>, bytes_max: u64) -> Result<(), Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut bytes = 0;
    while let Some(chunk) = reader.chunk().await? {
        bytes += chunk.len() as u64;
        if bytes > bytes_max {
            return Err(too_large(bytes_max));
        }
    }
    Ok(())
}

/// The body's coding. Several at once are refused: no OTLP client sends them, and each would multiply what a bomb can do.
fn content_encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let unsupported = |found: &str| {
        let message = format!("content-encoding {found:?} is not known; expected one of {}", Encoding::ACCEPTED);
        Refusal::new(Reason::UnsupportedEncoding, message)
    };
    let mut found = Encoding::Identity;
    for value in headers.get_all(CONTENT_ENCODING) {
        let text = value.to_str().map_err(|_| unsupported("(not ASCII)"))?;
        for name in text.split(',') {
            match Encoding::parse(name).ok_or_else(|| unsupported(text))? {
                Encoding::Identity => {}
                _ if found != Encoding::Identity => return Err(unsupported(text)),
                encoding => found = encoding,
            }
        }
    }
    Ok(found)
}

pub(crate) fn unsupported_signal(what: &str) -> Refusal {
    let how = if what == "metrics" { " (OTEL_METRICS_EXPORTER=none)" } else { "" };
    let message = format!(
        "{what} are not stored, only traces and logs are; turn the exporter off{how} or let the server discard them \
         (other_signals = \"discard\")"
    );
    Refusal::new(Reason::UnsupportedSignal, message)
}

fn unknown_path(path: &str) -> Refusal {
    let path = crate::stats::shorten(path, 200);
    Refusal::new(Reason::UnknownPath, format!("nothing is served at {path}; expected /v1/traces or /v1/logs"))
}

/// Throws away what the client still sends, within bounds.
async fn linger<B: Body<Data = Bytes> + Unpin>(mut body: B, bytes_max: u64) {
    let end = Instant::now() + LINGER;
    let mut bytes = 0;
    while let Ok(Some(Ok(frame))) = timeout_at(end, body.frame()).await {
        bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
        if bytes > bytes_max.saturating_mul(2) {
            return;
        }
    }
}

fn empty(status: StatusCode) -> Response<Reply> {
    let mut answer = Response::new(Reply::default());
    *answer.status_mut() = status;
    answer
}

fn success(media_type: MediaType, message: Bytes) -> Response<Reply> {
    let mut answer = Response::new(Reply::new(message));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type.name));
    answer
}

fn refused(refusal: &Refusal, media_type: MediaType, version: Version) -> Response<Reply> {
    let mut answer = success(media_type, answer::status(media_type.format, refusal));
    *answer.status_mut() = refusal.reason.http_status();
    let headers = answer.headers_mut();
    if let Some(delay) = refusal.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(delay)));
    }
    match refusal.reason {
        Reason::MethodNotAllowed => {
            headers.insert(ALLOW, HeaderValue::from_static("POST, OPTIONS"));
        }
        Reason::UnsupportedEncoding => {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(Encoding::ACCEPTED));
        }
        Reason::TimedOut if version <= Version::HTTP_11 => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    answer
}

/// `Retry-After` knows whole seconds only: rounded up, at least one.
fn whole_seconds(delay: Duration) -> u64 {
    (delay.as_secs() + u64::from(delay.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;

    use super::*;

    fn headers(name: HeaderName, values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn content_codings() {
        for (values, expected) in [
            (&[][..], Some(Encoding::Identity)),
            (&["gzip"], Some(Encoding::Gzip)),
            (&["GZip"], Some(Encoding::Gzip)),
            (&["identity"], Some(Encoding::Identity)),
            (&["identity, zstd"], Some(Encoding::Zstd)),
            (&["gzip, gzip"], None),
            (&["gzip", "zstd"], None),
            (&["br"], None),
            (&["snappy"], None),
        ] {
            let found = content_encoding(&headers(CONTENT_ENCODING, values)).ok();
            assert_eq!(found, expected, "{values:?}");
        }
    }

    #[test]
    fn content_types() {
        for (value, expected) in [
            ("application/x-protobuf", Some("application/x-protobuf")),
            ("Application/Protobuf", Some("application/protobuf")),
            ("application/json; charset=utf-8", Some("application/json")),
            ("application/json;charset=UTF-8", Some("application/json")),
            ("text/plain", None),
            ("application/jsonx", None),
        ] {
            let found = MediaType::of(&headers(CONTENT_TYPE, &[value])).map(|media_type| media_type.name);
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn delays_are_rounded_up() {
        assert_eq!(whole_seconds(Duration::ZERO), 1);
        assert_eq!(whole_seconds(Duration::from_millis(1001)), 2);
        assert_eq!(whole_seconds(Duration::from_secs(3)), 3);
    }
}
