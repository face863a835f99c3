//! The server's side: one span for each call handled.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{Extensions, Request, Response};
use http_body::Body;
use tonic::transport::server::TcpConnectInfo;
use tower_layer::Layer;
use tower_service::Service;
use tracing::Span;

use super::messages::{Direction, Messages, Watched};
use super::watch::{Options, RpcWatch, Side, method};
use crate::edit;
use crate::http::attributes::{host_and_port, protocol_version, text};
use crate::http::body::TracedBody;
use crate::http::capture::Captured;
use crate::http::forwarded::Origin;
use crate::http::future::Traced;
use crate::http::panics;
use crate::http::server::{peer, record_ends};
use crate::http::watch::Open;
use crate::span::SpanKind;

/// Makes a server span for each call, as child of the caller's span: `Server::builder().layer(ServerLayer::new())`.
///
/// The status is that of the trailers, or of the headers where nothing else is sent. These are errors:
/// `UNKNOWN`, `DEADLINE_EXCEEDED`, `UNIMPLEMENTED`, `INTERNAL`, `UNAVAILABLE`, `DATA_LOSS`, with the code as
/// `error.type`, and a panic, `panic`; other codes are the caller's fault. A call that the client gives up is
/// `CANCELLED`, or `DEADLINE_EXCEEDED` where its deadline has passed. A method that nobody serves is called
/// `_OTHER`, so that a caller cannot make up any number of span names.
#[derive(Debug, Clone, Default)]
pub struct ServerLayer {
    options: Arc<Options>,
}

impl ServerLayer {
    /// The layer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `rpc.request.metadata.<key>` with all values of these keys; those that give access are replaced by
    /// `REDACTED`.
    #[must_use]
    pub fn capture_request_metadata(mut self, keys: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        Arc::make_mut(&mut self.options).request_metadata = Captured::new("rpc.request.metadata.", keys);
        self
    }

    /// Adds `rpc.response.metadata.<key>`, as [`ServerLayer::capture_request_metadata`].
    #[must_use]
    pub fn capture_response_metadata(mut self, keys: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        Arc::make_mut(&mut self.options).response_metadata = Captured::new("rpc.response.metadata.", keys);
        self
    }

    /// Adds an event `rpc.message` for each of the first `messages_max` messages of either direction.
    #[must_use]
    pub fn message_events(mut self, messages_max: u32) -> Self {
        Arc::make_mut(&mut self.options).message_events_max = messages_max;
        self
    }
}

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
pub type ServerFuture<F> = Traced<F, RpcWatch>;

/// The body of a [`Server`]'s answer.
pub type ServerBody<B> = TracedBody<B, RpcWatch>;

impl<S, B, R> Service<Request<B>> for Server<S>
where
    S: Service<Request<tonic::body::Body>, Response = Response<R>>,
    S::Error: fmt::Display + Any,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    R: Body,
{
    type Response = Response<ServerBody<R>>;
    type Error = S::Error;
    type Future = ServerFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> ServerFuture<S::Future> {
        let span = begin(&self.options, &request);
        let watch = RpcWatch::new(Side::Server, &self.options, request.uri().path(), request.headers());
        let request = watched(request, &span, Direction::Received, self.options.message_events_max);
        let future = span.in_scope(|| self.inner.call(request));
        Traced::new(future, Open::new(span, watch))
    }
}

/// The request with a body that records its messages, where they are asked for.
pub(super) fn watched<B>(request: Request<B>, span: &Span, direction: Direction, max: u32) -> Request<tonic::body::Body>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    request.map(|body| match max {
        0 => tonic::body::Body::new(body),
        _ => tonic::body::Body::new(Watched::new(body, span.clone(), Messages::new(direction, max))),
    })
}

fn peer_address(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr).or_else(|| peer(extensions))
}

fn begin<B>(options: &Options, request: &Request<B>) -> Span {
    let span = tracing::info_span!(
        target: "tracewell_sdk::tonic",
        parent: None,
        "gRPC",
        rpc.method = method(request.uri().path()),
    );
    let headers = request.headers();
    edit::begin(&span, &crate::extract(headers), |edit| {
        edit.kind(SpanKind::Server);
        edit.name(method(request.uri().path()).to_owned());
        edit.text("rpc.system.name", "grpc");
        let host = headers.get(HOST).and_then(|value| value.to_str().ok());
        let authority = request.uri().authority().map(|authority| authority.as_str()).or(host);
        record_ends(edit, authority.and_then(host_and_port), &Origin::default(), peer_address(request.extensions()));
        edit.text("network.protocol.name", "http");
        edit.text("network.protocol.version", protocol_version(request.version()));
        if let Some(agent) = headers.get(USER_AGENT) {
            edit.text("user_agent.original", &text(agent));
        }
        options.request_metadata.record(headers, edit);
    });
    span
}
