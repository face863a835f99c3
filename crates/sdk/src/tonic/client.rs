//! The caller's side: one span for each call, and its identity in the metadata.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;
use tracing::Span;

use super::messages::Direction;
use super::server::watched;
use super::watch::{Options, RpcWatch, Side, method};
use crate::edit;
use crate::http::attributes::target;
use crate::http::body::TracedBody;
use crate::http::capture::Captured;
use crate::http::future::Traced;
use crate::http::watch::Open;
use crate::span::SpanKind;

/// Makes a client span for each call below the current span, and writes its identity to the metadata:
/// `GreeterClient::new(ClientLayer::to("http://greeter:50051").layer(channel))`.
///
/// Every status but `OK` is an error, with the code as `error.type`; an error of the connection has its kind
/// instead, such as `connection_refused`. A call that is given up is `CANCELLED`, or `DEADLINE_EXCEEDED`
/// where its deadline has passed.
#[derive(Debug, Clone, Default)]
pub struct ClientLayer {
    options: Arc<Options>,
}

impl ClientLayer {
    /// The layer. A channel does not tell its layers whom it calls: [`ClientLayer::to`] does.
    pub fn new() -> Self {
        Self::default()
    }

    /// The layer of a channel to `uri`, which becomes `server.address` and `server.port`.
    pub fn to(uri: &str) -> Self {
        let mut layer = Self::new();
        if let Ok(uri) = uri.parse::<Uri>() {
            let server = target(&uri).map(|(host, port)| (host.to_owned(), port));
            Arc::make_mut(&mut layer.options).server = server;
        }
        layer
    }

    /// Adds `rpc.request.metadata.<key>` with all values of these keys; those that give access are replaced by
    /// `REDACTED`.
    #[must_use]
    pub fn capture_request_metadata(mut self, keys: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        Arc::make_mut(&mut self.options).request_metadata = Captured::new("rpc.request.metadata.", keys);
        self
    }

    /// Adds `rpc.response.metadata.<key>`, as [`ClientLayer::capture_request_metadata`].
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

impl<S> Layer<S> for ClientLayer {
    type Service = Client<S>;

    fn layer(&self, inner: S) -> Client<S> {
        Client { inner, options: Arc::clone(&self.options) }
    }
}

/// The service that [`ClientLayer`] makes, to be given to a generated client.
#[derive(Debug, Clone)]
pub struct Client<S> {
    inner: S,
    options: Arc<Options>,
}

/// The answer of a [`Client`] to come.
pub type ClientFuture<F> = Traced<F, RpcWatch>;

/// The body of the answer to a [`Client`].
pub type ClientBody<B> = TracedBody<B, RpcWatch>;

impl<S, B, R> Service<Request<B>> for Client<S>
where
    S: Service<Request<tonic::body::Body>, Response = Response<R>>,
    S::Error: fmt::Display + Any,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    R: Body,
{
    type Response = Response<ClientBody<R>>;
    type Error = S::Error;
    type Future = ClientFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> ClientFuture<S::Future> {
        let span = begin(&self.options, &request);
        crate::inject(&span, request.headers_mut());
        let watch = RpcWatch::new(Side::Client, &self.options, request.uri().path(), request.headers());
        let request = watched(request, &span, Direction::Sent, self.options.message_events_max);
        let future = span.in_scope(|| self.inner.call(request));
        Traced::new(future, Open::new(span, watch))
    }
}

fn begin<B>(options: &Options, request: &Request<B>) -> Span {
    let span = tracing::info_span!(
        target: "tracewell_sdk::tonic",
        "gRPC",
        rpc.method = method(request.uri().path()),
    );
    edit::edit(&span, |edit| {
        edit.kind(SpanKind::Client);
        edit.name(method(request.uri().path()).to_owned());
        edit.text("rpc.system.name", "grpc");
        let configured = options.server.as_ref().map(|(host, port)| (host.as_str(), *port));
        if let Some((host, port)) = configured.or_else(|| target(request.uri())) {
            edit.text("server.address", host);
            if let Some(port) = port {
                edit.int("server.port", port);
            }
        }
        edit.text("network.protocol.name", "http");
        edit.text("network.protocol.version", "2");
        options.request_metadata.record(request.headers(), edit);
    });
    span
}
