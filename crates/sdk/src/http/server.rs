//! The server's side: one span for each request handled.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{CONTENT_LENGTH, HOST, USER_AGENT};
use http::response::Parts;
use http::{Extensions, HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;
use tracing::Span;

use super::attributes::{host_and_port, protocol_version, text};
use super::body::TracedBody;
use super::forwarded::Origin;
use super::future::Traced;
use super::options::{Options, ServerLayer};
use super::panics;
use super::watch::{End, Open, Watch};
use crate::SpanExt;
use crate::edit::{self, Editor};
use crate::proto::ValueRef;
use crate::span::SpanKind;

/// Target of the spans.
const TARGET: &str = "tracewell_sdk::http";

/// The template of the route that a request took, such as `/cart/{id}`. Routers other than axum's (feature
/// `axum`) put it into the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route(pub Arc<str>);

/// The other end of the connection, in the request's extensions, for `network.peer.address` and
/// `client.address`. With the feature `axum` its `ConnectInfo<SocketAddr>` is found as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

/// In the extensions of a request that has its span already. The span itself is the current one: a handle here
/// would cost every request what only few need.
#[derive(Clone, Copy)]
struct Outer;

impl<S> Layer<S> for ServerLayer {
    type Service = Server<S>;

    fn layer(&self, inner: S) -> Server<S> {
        panics::install();
        Server { inner, options: Arc::clone(&self.options) }
    }
}

/// The service that [`ServerLayer`] makes.
#[derive(Debug, Clone)]
pub struct Server<S> {
    inner: S,
    options: Arc<Options>,
}

/// The answer of a [`Server`] to come.
pub type ServerFuture<F> = Traced<F, ServerWatch>;

/// The body of a [`Server`]'s answer.
pub type ServerBody<B> = TracedBody<B, ServerWatch>;

impl<S, B, R> Service<Request<B>> for Server<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: fmt::Display + Any,
    R: Body,
{
    type Response = Response<ServerBody<R>>;
    type Error = S::Error;
    type Future = ServerFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> ServerFuture<S::Future> {
        if request.extensions().get::<Outer>().is_some() {
            self.options.name_current(&request);
            let open = Open::new(Span::none(), ServerWatch::new(request.method(), &self.options));
            return Traced::new(self.inner.call(request), open);
        }
        let mut wanted = self.options.wants_path(request.uri().path());
        if let Some(filter) = self.options.filter() {
            let (parts, body) = request.into_parts();
            wanted = wanted && filter(&parts);
            request = Request::from_parts(parts, body);
        }
        let span = self.options.begin(&request, wanted);
        request.extensions_mut().insert(Outer);
        let watch = ServerWatch::new(request.method(), &self.options);
        let future = span.in_scope(|| self.inner.call(request));
        Traced::new(future, Open::new(span, watch))
    }
}

fn route(extensions: &Extensions) -> Option<&str> {
    #[cfg(feature = "axum")]
    if let Some(matched) = extensions.get::<axum::extract::MatchedPath>() {
        return Some(matched.as_str());
    }
    extensions.get::<Route>().map(|route| &*route.0)
}

pub(crate) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    #[cfg(feature = "axum")]
    if let Some(axum::extract::ConnectInfo(address)) = extensions.get() {
        return Some(*address);
    }
    extensions.get().map(|PeerAddress(address)| *address)
}

/// Adds who asked, and where he asked.
pub(crate) fn record_ends(
    edit: &mut Editor<'_>,
    authority: Option<(&str, Option<u16>)>,
    origin: &Origin<'_>,
    peer: Option<SocketAddr>,
) {
    if let Some((host, port)) = origin.host.or(authority) {
        edit.text("server.address", host);
        if let Some(port) = port {
            edit.int("server.port", port);
        }
    }
    if let Some(peer) = peer {
        let address = peer.ip().to_canonical().to_string();
        edit.text("network.peer.address", &address);
        edit.int("network.peer.port", peer.port());
        edit.text("client.address", origin.client.map_or(&address, |(client, _)| client));
    } else if let Some((client, _)) = origin.client {
        edit.text("client.address", client);
    }
}

impl Options {
    /// A router within a traced one knows the route better; a second span would say nothing new.
    fn name_current<B>(&self, request: &Request<B>) {
        let (span, Some(route)) = (Span::current(), route(request.extensions())) else { return };
        let is_ours = |metadata: &tracing::Metadata<'_>| {
            metadata.target() == TARGET && metadata.fields().field("http.route").is_some()
        };
        if span.metadata().is_some_and(is_ours) {
            let method = self.methods.known(request.method()).unwrap_or("HTTP");
            edit::edit(&span, |edit| {
                edit.name([method, route].join(" "));
                edit.set("http.route", ValueRef::Str(route));
            });
        }
    }

    /// The span of a request.
    fn begin<B>(&self, request: &Request<B>, wanted: bool) -> Span {
        let (headers, uri) = (request.headers(), request.uri());
        let (method, route) = (self.methods.known(request.method()), route(request.extensions()));
        // What a formatter of log lines shows of a request are its fields; everything else is added beside.
        let span = tracing::info_span!(
            target: TARGET,
            parent: None,
            "HTTP",
            http.request.method = method.unwrap_or("_OTHER"),
            url.path = uri.path(),
            http.route = route,
        );
        let remote = crate::extract(headers);
        if !wanted {
            edit::silence(&span, &remote);
            return span;
        }
        let origin = if self.behind_proxy { Origin::read(headers) } else { Origin::default() };
        edit::begin(&span, &remote, |edit| {
            edit.kind(SpanKind::Server);
            match (route, method) {
                (Some(route), _) => edit.name([method.unwrap_or("HTTP"), route].join(" ")),
                (None, Some(method)) => edit.name(static_name(method)),
                (None, None) => {}
            }
            if method.is_none() {
                edit.text("http.request.method_original", request.method().as_str());
            }
            edit.text("url.scheme", origin.scheme.or(self.scheme).or(uri.scheme_str()).unwrap_or("http"));
            if let Some(query) = uri.query() {
                edit.text("url.query", &self.secrets.redacted(query));
            }
            let host = || headers.get(HOST).and_then(|value| value.to_str().ok());
            let authority = uri.authority().map(|authority| authority.as_str()).or_else(host);
            record_ends(edit, authority.and_then(host_and_port), &origin, peer(request.extensions()));
            edit.text("network.protocol.version", protocol_version(request.version()));
            if let Some(agent) = headers.get(USER_AGENT) {
                edit.text("user_agent.original", &text(agent));
            }
            if self.body_sizes
                && let Some(size) = content_length(headers)
            {
                edit.int("http.request.body.size", size);
            }
            self.request_headers.record(headers, edit);
        });
        span
    }
}

/// The name of a span without a route, without an allocation for the usual methods.
pub(crate) fn static_name(method: &str) -> std::borrow::Cow<'static, str> {
    const USUAL: [&str; 8] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT"];
    match USUAL.into_iter().find(|usual| *usual == method) {
        Some(usual) => usual.into(),
        None => method.to_owned().into(),
    }
}

pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// What a server notes of a request.
pub struct ServerWatch {
    options: Arc<Options>,
    status: Option<StatusCode>,
    /// The answer has no body whatever its headers say.
    bodiless: bool,
    expected_bytes: Option<u64>,
    sent_bytes: u64,
}

impl ServerWatch {
    fn new(method: &Method, options: &Arc<Options>) -> Self {
        let bodiless = method == Method::HEAD || method == Method::CONNECT;
        Self { options: Arc::clone(options), status: None, bodiless, expected_bytes: None, sent_bytes: 0 }
    }
}

impl Watch for ServerWatch {
    fn head(&mut self, span: &Span, head: &mut Parts) {
        self.status = Some(head.status);
        self.bodiless |=
            head.status.is_informational() || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        self.expected_bytes = content_length(&head.headers);
        if !self.options.response_headers.is_empty() {
            edit::edit(span, |edit| self.options.response_headers.record(&head.headers, edit));
        }
        if self.options.server_timing
            && let Some(context) = span.context()
        {
            tracewell_propagate::response::append(&context, &mut head.headers);
        }
    }

    fn data(&mut self, _: &Span, _: &[u8], bytes: usize) {
        self.sent_bytes += bytes as u64;
    }

    fn trailers(&mut self, _: &Span, _: &HeaderMap) {}

    fn may_stop(&self) -> bool {
        // A connection drops a body as soon as it has as many bytes as were promised.
        self.bodiless || self.expected_bytes.is_some_and(|expected| self.sent_bytes >= expected)
    }

    fn end(&mut self, edit: &mut Editor<'_>, end: End<'_>) {
        if let Some(status) = self.status {
            edit.int("http.response.status_code", status.as_u16());
            if self.options.body_sizes {
                edit.int("http.response.body.size", self.sent_bytes);
            }
        }
        match end {
            End::Complete => {
                if let Some(status) = self.status.filter(StatusCode::is_server_error) {
                    edit.fail(status.as_str(), None);
                }
            }
            End::Failed(kind, message) => {
                let fallback = if self.status.is_some() { "body_error" } else { "service_error" };
                edit.fail(kind.unwrap_or(fallback), Some(&message));
            }
            End::Abandoned => edit.fail("cancelled", Some("the client went away before the answer was complete")),
            End::Panicked(panicked) => {
                panicked.record(edit);
                edit.fail("panic", Some(panicked.message()));
            }
        }
    }
}
