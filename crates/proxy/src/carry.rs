//! One request: whose it is, where it goes, what it takes along, and what comes back.
//!
//! ```text
//! inbound    extract ▶ server span ▶ client span ▶ table ▶ inject ▶ backend
//! outbound   extract, else table (request id) ▶ client span ▶ inject ▶ target
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme as UriScheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tracewell_propagate::{Baggage, Inject, Propagated};
use tracewell_sdk::SpanExt;

use crate::attempt::{Outcome, Plan, send};
use crate::backend::{Backend, Scheme, authority_of};
use crate::config::Infer;
use crate::exchange::{Answer, Exchange, Relay};
use crate::failure::Failure;
use crate::headers::{self, Removed};
use crate::hub::{Door, Hub};
use crate::parent::Parent;
use crate::semconv::{About, note_request_id};
use crate::stats::one;
use crate::tunnel::{self, Far};
use crate::upload::Upload;
use crate::{pool, table};

/// How often a request may come through one proxy: outbound and inbound again, a few times, are no loop.
const PASSAGES_MAX: usize = 8;

/// Carries one request.
pub(crate) async fn carry(
    hub: Arc<Hub>,
    door: Door,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Response<Answer> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    one(if matches!(door, Door::Inbound) { &hub.stats.inbound } else { &hub.stats.outbound });
    let grpc = headers::is_grpc(&parts.headers);
    let backend = match target(&hub, &door, &parts) {
        Ok(backend) => backend,
        Err(failure) => {
            hub.stats.failed(failure);
            let answer = own_answer(failure, None, grpc, parts.version);
            if matches!(door, Door::Inbound) {
                note_refusal(&hub, peer, &parts, grpc, failure, answer.status());
            }
            return answer;
        }
    };
    let (about, method) = (About::new(&parts, grpc, &hub.names), parts.method.clone());
    let mut travel = depart(&hub, &door, peer, parts, &about, &backend, grpc);
    if method == Method::CONNECT {
        return connect(&hub, &backend, upgrade, travel.exchange).await;
    }
    let upload = Upload::new(body, hub.config.limits.replay_bytes_max);
    if let Some(upload) = &upload {
        travel.exchange.uploads(Arc::clone(&upload.sent));
    }
    let plan = Plan {
        backend: Arc::clone(&backend),
        version: travel.version,
        parts: travel.parts,
        upload,
        expects: travel.expects,
    };
    match send(&hub, plan, &travel.exchange).await {
        Ok(outcome) => arrive(&hub, outcome, travel.removed, upgrade, travel.exchange, &method, travel.client_version),
        Err(failure) => {
            tracing::debug!(%backend, "{}", failure.words());
            let answer = own_answer(failure, Some(&backend), grpc, travel.client_version);
            travel.exchange.fail(failure, Some(answer.status()));
            answer
        }
    }
}

/// The span of an inbound request that goes nowhere.
fn note_refusal(hub: &Hub, peer: SocketAddr, parts: &Parts, grpc: bool, failure: Failure, status: StatusCode) {
    let carried = hub.config.propagators.extract(&parts.headers);
    let span = About::new(parts, grpc, &hub.names).server_span(parts, peer, &carried);
    span.record("http.response.status_code", status.as_u16());
    span.record("error.type", failure.kind());
    if status.is_server_error() {
        span.record("otel.status_code", "error");
        span.record("otel.status_message", failure.words());
    }
    span.end();
}

/// Where a request goes.
fn target(hub: &Hub, door: &Door, parts: &Parts) -> Result<Arc<Backend>, Failure> {
    if hub.via.count(&parts.headers) > PASSAGES_MAX {
        return Err(Failure::Loop);
    }
    let connect = parts.method == Method::CONNECT;
    match door {
        _ if connect && !matches!(door, Door::Outbound) => Err(Failure::Misdirected),
        Door::Inbound => {
            let host = authority_of(&parts.uri, &parts.headers);
            let host = host.as_ref().map(|authority| authority.host());
            hub.config.routes.find(host, parts.uri.path()).cloned().ok_or(Failure::NoRoute)
        }
        Door::Egress(backend) => Ok(Arc::clone(backend)),
        Door::Outbound => {
            let authority = authority_of(&parts.uri, &parts.headers).ok_or(Failure::Misdirected)?;
            if connect && authority.port_u16().is_none() {
                return Err(Failure::Misdirected);
            }
            let tls = !connect && parts.uri.scheme() == Some(&UriScheme::HTTPS);
            let backend = Backend::of_authority(if tls { Scheme::Https } else { Scheme::Http }, &authority);
            // A request that was not meant for a proxy names the proxy itself.
            let address = backend.host.parse().map(|host| SocketAddr::new(host, backend.port));
            if address.is_ok_and(|address| hub.own.contains(&address) && parts.uri.scheme().is_none() && !connect) {
                return Err(Failure::Misdirected);
            }
            Ok(Arc::new(backend))
        }
    }
}

/// A request ready to go.
struct Travel {
    parts: Parts,
    version: pool::Line,
    client_version: Version,
    removed: Removed,
    expects: bool,
    exchange: Exchange,
}

/// Makes the spans and the head that the backend gets.
fn depart(
    hub: &Arc<Hub>,
    door: &Door,
    peer: SocketAddr,
    mut parts: Parts,
    about: &About,
    backend: &Backend,
    grpc: bool,
) -> Travel {
    let config = &hub.config;
    let mut report = |problem: tracewell_propagate::Problem| hub.stats.bad_header(problem.header, problem.reason);
    let carried = config.propagators.extract_reporting(&parts.headers, &mut report);
    let exchange = match door {
        Door::Inbound => receive(hub, &mut parts, peer, about, backend, carried, grpc),
        Door::Outbound => emit(hub, &mut parts, about, backend, carried, grpc, "outbound"),
        Door::Egress(_) => emit(hub, &mut parts, about, backend, carried, grpc, "egress"),
    };
    let client_version = parts.version;
    let head = &mut parts.headers;
    if head.contains_key(header::TRANSFER_ENCODING) {
        // The body has been decoded; a length beside the coding was wrong from the beginning (RFC 9112 §6.3).
        head.remove(header::CONTENT_LENGTH);
    }
    let expects = client_version != Version::HTTP_10
        && head.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let removed = headers::remove_hop_by_hop(head);
    let version = match &removed.upgrade {
        Some(_) => pool::Line::Http1,
        None => pool::line_for(backend, client_version, config.protocol),
    };
    let client_host = parts.uri.authority().and_then(|authority| headers::host_value(authority.as_str()));
    let client_host = client_host.or_else(|| head.get(header::HOST).cloned());
    if config.forwarded && matches!(door, Door::Inbound) {
        headers::add_forwarded(head, peer, client_host.as_ref());
    }
    if config.via {
        hub.via.add(head, client_version);
    }
    let keeps_host = matches!(door, Door::Inbound) && !config.rewrite_host;
    let host = client_host.filter(|_| keeps_host).or_else(|| headers::host_value(&backend.authority()));
    headers::ask_again(head, &removed, if version == pool::Line::Http2 { Version::HTTP_2 } else { Version::HTTP_11 });
    address(&mut parts, backend, host, version);
    Travel { parts, version, client_version, removed, expects, exchange }
}

/// An inbound request: a server span, the client span of its way to the application, a place in the table.
fn receive(
    hub: &Arc<Hub>,
    parts: &mut Parts,
    peer: SocketAddr,
    about: &About,
    backend: &Backend,
    carried: Propagated,
    grpc: bool,
) -> Exchange {
    let config = &hub.config;
    let server = about.server_span(parts, peer, &carried);
    let client = about.client_span(Some(&server), backend, "inbound");
    let mut ids = table::ids(&parts.headers, &config.request_id_headers);
    if ids.is_empty()
        && let Some(name) = config.request_id_headers.first()
    {
        let value = new_request_id();
        parts.headers.insert(name.clone(), value.clone());
        ids.extend(table::Id::of(&value).map(|id| (name.clone(), value, id)));
    }
    if let Some((name, value, _)) = ids.first() {
        note_request_id(&server, name, value);
    }
    let own = client.propagated();
    inject(hub, parts, &own, true);
    let mut exchange = Exchange::new(hub, Some(server), client, grpc);
    if config.infer != Infer::Off {
        let first = ids.first().map(|(name, value, _)| (name.clone(), value.clone()));
        let keys = ids.into_iter().map(|(_, _, id)| id).collect();
        let place = hub.table.begin(keys, own, first, Instant::now());
        if place.is_none() {
            hub.stats.not_remembered();
        }
        exchange.remember(place);
    }
    exchange
}

/// An outbound request: a client span below whatever it belongs to.
fn emit(
    hub: &Arc<Hub>,
    parts: &mut Parts,
    about: &About,
    backend: &Backend,
    carried: Propagated,
    grpc: bool,
    role: &'static str,
) -> Exchange {
    let has_baggage = !carried.baggage.is_empty();
    let parent = Parent::find(hub, carried, &parts.headers);
    let client = about.client_span(None, backend, role);
    parent.adopt(hub, &client);
    if let Some((name, value)) = parent.served().and_then(|served| served.request_id.as_ref())
        && table::ids(&parts.headers, &hub.config.request_id_headers).is_empty()
    {
        parts.headers.insert(name.clone(), value.clone());
    }
    if let Some((name, value, _)) = table::ids(&parts.headers, &hub.config.request_id_headers).first() {
        note_request_id(&client, name, value);
    }
    inject(hub, parts, &client.propagated(), has_baggage);
    Exchange::new(hub, None, client, grpc)
}

/// Writes the context in every format, in place of what the request brought. Its baggage stays as it came
/// (`keeps_baggage`) and is written only where it was found out.
fn inject(hub: &Hub, parts: &mut Parts, propagated: &Propagated, keeps_baggage: bool) {
    if propagated.context.is_none() {
        return;
    }
    for name in hub.config.propagators.fields().filter(|name| *name != "baggage") {
        parts.headers.remove(name);
    }
    let carrier: &mut dyn Inject = &mut parts.headers;
    if keeps_baggage {
        let context = Propagated { baggage: Baggage::default(), ..propagated.clone() };
        hub.config.propagators.inject(&context, carrier);
    } else {
        hub.config.propagators.inject(propagated, carrier);
    }
}

/// Target and `Host` for that backend in that version.
fn address(parts: &mut Parts, backend: &Backend, host: Option<HeaderValue>, version: pool::Line) {
    let empty = parts.uri.path().is_empty() || (parts.uri.scheme().is_some() && parts.uri.path() == "/");
    let path =
        if parts.method == Method::OPTIONS && empty && parts.uri.query().is_none() && parts.uri.scheme().is_some() {
            PathAndQuery::from_static("*")
        } else {
            parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
        };
    let authority = host.as_ref().and_then(|host| host.to_str().ok()).map(str::to_owned);
    let mut uri = http::uri::Parts::default();
    match version {
        pool::Line::Http1 => {
            parts.version = Version::HTTP_11;
            if let Some(host) = host {
                parts.headers.insert(header::HOST, host);
            }
        }
        pool::Line::Http2 => {
            parts.version = Version::HTTP_2;
            parts.headers.remove(header::HOST);
            let named = authority.and_then(|authority| authority.parse().ok());
            uri.authority = named.or_else(|| backend.authority().parse().ok());
            uri.scheme = if backend.scheme == Scheme::Https { Some(UriScheme::HTTPS) } else { Some(UriScheme::HTTP) };
        }
    }
    uri.path_and_query = Some(path);
    if let Ok(uri) = Uri::from_parts(uri) {
        parts.uri = uri;
    }
}

/// The answer of the backend, as the client gets it.
fn arrive(
    hub: &Arc<Hub>,
    outcome: Outcome,
    asked: Removed,
    upgrade: OnUpgrade,
    mut exchange: Exchange,
    method: &Method,
    client_version: Version,
) -> Response<Answer> {
    let Outcome { mut response, lease } = outcome;
    exchange.answered(response.status(), response.version(), response.headers());
    let backend_version = response.version();
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let far = switched.then(|| hyper::upgrade::on(&mut response));
    let (mut parts, body) = response.into_parts();
    let protocol = parts.headers.get(header::UPGRADE).cloned();
    if parts.headers.contains_key(header::TRANSFER_ENCODING) {
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    headers::remove_hop_by_hop(&mut parts.headers);
    if hub.config.via {
        hub.via.add(&mut parts.headers, backend_version);
    }
    parts.version = if client_version == Version::HTTP_2 { Version::HTTP_2 } else { Version::HTTP_11 };
    if let Some(far) = far {
        if asked.upgrade.is_none() {
            exchange.fail(Failure::Malformed, Some(StatusCode::BAD_GATEWAY));
            return own_answer(Failure::Malformed, None, false, client_version);
        }
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = protocol {
            parts.headers.insert(header::UPGRADE, protocol);
        }
        tunnel::spawn(hub, upgrade, Far::Upgraded { upgrade: far, lease }, exchange);
        return Response::from_parts(parts, Answer::Empty);
    }
    let bodiless = *method == Method::HEAD
        || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    let relay = Relay::new(body, exchange, lease, bodiless);
    Response::from_parts(parts, Answer::Relay(Box::new(relay)))
}

/// `CONNECT`: a connection to the target, and bytes both ways.
async fn connect(hub: &Arc<Hub>, backend: &Backend, upgrade: OnUpgrade, mut exchange: Exchange) -> Response<Answer> {
    let begun = Instant::now();
    match hub.pool.connector.tcp(backend).await {
        Ok(stream) => {
            let connect_ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            exchange.client().record("tracewell.proxy.connect_ns", connect_ns);
            exchange.client().record("http.response.status_code", 200);
            tunnel::spawn(hub, upgrade, Far::Connected(stream), exchange);
            Response::new(Answer::Empty)
        }
        Err(failure) => {
            let answer = own_answer(failure, Some(backend), false, Version::HTTP_11);
            exchange.fail(failure, Some(answer.status()));
            answer
        }
    }
}

/// What the proxy says itself: a status with a sentence, or for gRPC a status in the only frame.
pub(crate) fn own_answer(
    failure: Failure,
    backend: Option<&Backend>,
    grpc: bool,
    version: Version,
) -> Response<Answer> {
    let words = match backend {
        Some(backend) => format!("tracewell proxy: {backend}: {}", failure.words()),
        None => format!("tracewell proxy: {}", failure.words()),
    };
    let mut response = Response::new(Answer::Empty);
    response.headers_mut().insert("x-tracewell-proxy-error", HeaderValue::from_static(failure.kind()));
    if grpc && version == Version::HTTP_2 {
        let head = response.headers_mut();
        head.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        head.insert("grpc-status", HeaderValue::from(failure.grpc_status()));
        if let Ok(message) = HeaderValue::from_str(&headers::grpc_message(&words)) {
            head.insert("grpc-message", message);
        }
        return response;
    }
    *response.status_mut() = failure.status();
    let head = response.headers_mut();
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    *response.body_mut() = Answer::Text(Some(Bytes::from(words + "\n")));
    response
}

/// A random UUID (RFC 9562, version 4).
fn new_request_id() -> HeaderValue {
    let mut bytes = [0u8; 16];
    if getrandom::fill(&mut bytes).is_err() {
        return HeaderValue::from_static("unknown");
    }
    let number = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let digits = format!("{number:032x}");
    let part = |from, to| digits.get(from..to).unwrap_or_default();
    let text = [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("unknown"))
}
