//! The server's side: one span for each request handled.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{HOST, USER_AGENT};
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use tracing::field::Empty;
use tracing::instrument::Instrumented;
use tracing::{Instrument, Span};

use super::body::{Open, TracedBody};
use super::{known_method, protocol_version, redacted_query};
use crate::SpanExt;

/// The template of the route that a request took, such as `/cart/{id}`. Routers other than axum's (feature
/// `axum`) put it into the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route(pub Arc<str>);

/// Makes a server span for each request, as child of the caller's span. To be put around an axum router
/// (`router.layer(ServerLayer::new())`) or any other tower service over HTTP.
///
/// The span is called `GET /cart/{id}` where the route is known, else `GET`. An answer of 500 and above
/// and an error of the service set its status; what the client did wrong (4xx) does not.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerLayer {
    scheme: Option<&'static str>,
}

impl ServerLayer {
    /// The layer; `url.scheme` is that of the request, else `http`.
    pub fn new() -> Self {
        Self::default()
    }

    /// The layer of a server that speaks TLS: `url.scheme` is `https`.
    #[must_use]
    pub fn https(self) -> Self {
        Self { scheme: Some("https") }
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = Server<S>;

    fn layer(&self, inner: S) -> Server<S> {
        Server { inner, layer: *self }
    }
}

/// The service that [`ServerLayer`] makes.
#[derive(Debug, Clone)]
pub struct Server<S> {
    inner: S,
    layer: ServerLayer,
}

impl<S, B, R> Service<Request<B>> for Server<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: fmt::Display,
    R: Body,
{
    type Response = Response<TracedBody<R>>;
    type Error = S::Error;
    type Future = ServerFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> ServerFuture<S::Future> {
        let span = server_span(&request, self.layer.scheme);
        let open = Open::new(span.clone());
        let future = span.in_scope(|| self.inner.call(request)).instrument(span.clone());
        ServerFuture { future, open: Some(open) }
    }
}

fn route<B>(request: &Request<B>) -> Option<Arc<str>> {
    #[cfg(feature = "axum")]
    if let Some(matched) = request.extensions().get::<axum::extract::MatchedPath>() {
        return Some(matched.as_str().into());
    }
    request.extensions().get::<Route>().map(|route| Arc::clone(&route.0))
}

fn server_span<B>(request: &Request<B>, scheme: Option<&str>) -> Span {
    let (method, uri) = (request.method(), request.uri());
    let span = tracing::info_span!(
        target: "tracewell_sdk::http",
        parent: None,
        "HTTP",
        otel.kind = "server",
        otel.status_code = Empty,
        otel.status_message = Empty,
        http.request.method = known_method(method).unwrap_or("_OTHER"),
        http.request.method_original = Empty,
        http.route = Empty,
        http.response.status_code = Empty,
        url.scheme = scheme.or(uri.scheme_str()).unwrap_or("http"),
        url.path = uri.path(),
        url.query = Empty,
        server.address = Empty,
        server.port = Empty,
        network.protocol.version = protocol_version(request.version()),
        user_agent.original = Empty,
        error.type = Empty,
    );
    span.set_remote(&crate::extract(request.headers()));
    if span.is_disabled() {
        return span;
    }
    let name = known_method(method).unwrap_or("HTTP");
    match route(request) {
        Some(route) => {
            span.record("http.route", &*route);
            span.set_name(format!("{name} {route}"));
        }
        None => span.set_name(name.to_owned()),
    }
    if known_method(method).is_none() {
        span.record("http.request.method_original", method.as_str());
    }
    if let Some(query) = uri.query() {
        span.record("url.query", redacted_query(query));
    }
    let host = request.headers().get(HOST).and_then(|value| value.to_str().ok());
    let authority = host.and_then(|host| host.parse::<http::uri::Authority>().ok());
    if let Some(authority) = uri.authority().or(authority.as_ref()) {
        span.record("server.address", authority.host());
        if let Some(port) = authority.port_u16() {
            span.record("server.port", port);
        }
    }
    if let Some(agent) = request.headers().get(USER_AGENT).and_then(|value| value.to_str().ok()) {
        span.record("user_agent.original", agent);
    }
    span
}

pin_project! {
    /// The answer to come, within its span.
    pub struct ServerFuture<F> {
        #[pin]
        future: Instrumented<F>,
        open: Option<Open>,
    }
}

impl<F, R, E> Future for ServerFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body,
    E: fmt::Display,
{
    type Output = Result<Response<TracedBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = std::task::ready!(this.future.poll(context));
        let mut open = this.open.take().unwrap_or_else(|| Open::new(Span::none()));
        Poll::Ready(match result {
            Ok(response) => {
                let (status, span) = (response.status(), open.span());
                span.record("http.response.status_code", status.as_u16());
                if status.is_server_error() {
                    span.record("error.type", status.as_str());
                    span.record("otel.status_code", "error");
                }
                Ok(response.map(|body| TracedBody::new(body, open)))
            }
            Err(error) => {
                open.failed("service_error", &error);
                Err(error)
            }
        })
    }
}
