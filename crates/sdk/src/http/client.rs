//! The caller's side: one span for each request sent, and its identity in the headers.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, Uri};
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

/// The template that a URL was made from, such as `/cart/{id}`, in the request's extensions. It names the span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlTemplate(pub Arc<str>);

/// Makes a client span for each request below the current span, and writes its identity to the headers.
/// To be put around hyper-util's client or any other tower service over HTTP.
///
/// The span is called `GET /cart/{id}` where the request has a [`UrlTemplate`], else `GET`. An answer of
/// 400 and above and an error of the service set its status.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientLayer {
    _private: (),
}

impl ClientLayer {
    /// The layer.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for ClientLayer {
    type Service = Client<S>;

    fn layer(&self, inner: S) -> Client<S> {
        Client { inner }
    }
}

/// The service that [`ClientLayer`] makes.
#[derive(Debug, Clone)]
pub struct Client<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Client<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: fmt::Display,
    R: Body,
{
    type Response = Response<TracedBody<R>>;
    type Error = S::Error;
    type Future = ClientFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> ClientFuture<S::Future> {
        let span = client_span(&request);
        crate::inject(&span, request.headers_mut());
        let open = Open::new(span.clone());
        let future = span.in_scope(|| self.inner.call(request)).instrument(span.clone());
        ClientFuture { future, open: Some(open) }
    }
}

fn client_span<B>(request: &Request<B>) -> Span {
    let (method, uri) = (request.method(), request.uri());
    let span = tracing::info_span!(
        target: "tracewell_sdk::http",
        "HTTP",
        otel.kind = "client",
        otel.status_code = Empty,
        otel.status_message = Empty,
        http.request.method = known_method(method).unwrap_or("_OTHER"),
        http.request.method_original = Empty,
        http.response.status_code = Empty,
        url.full = Empty,
        url.template = Empty,
        server.address = Empty,
        server.port = Empty,
        network.protocol.version = Empty,
        error.type = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    let name = known_method(method).unwrap_or("HTTP");
    match request.extensions().get::<UrlTemplate>() {
        Some(UrlTemplate(template)) => {
            span.record("url.template", &**template);
            span.set_name(format!("{name} {template}"));
        }
        None => span.set_name(name.to_owned()),
    }
    if known_method(method).is_none() {
        span.record("http.request.method_original", method.as_str());
    }
    span.record("url.full", full_url(uri));
    if let Some(host) = uri.host() {
        span.record("server.address", host);
    }
    let default_port = match uri.scheme_str() {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    };
    if let Some(port) = uri.port_u16().or(default_port) {
        span.record("server.port", port);
    }
    span
}

/// The URL without user name, password and secrets of the query.
fn full_url(uri: &Uri) -> String {
    let mut url = String::new();
    if let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) {
        let host = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host);
        url.push_str(scheme);
        url.push_str("://");
        url.push_str(host);
    }
    url.push_str(uri.path());
    if let Some(query) = uri.query() {
        url.push('?');
        url.push_str(&redacted_query(query));
    }
    url
}

pin_project! {
    /// The answer to come, within its span.
    pub struct ClientFuture<F> {
        #[pin]
        future: Instrumented<F>,
        open: Option<Open>,
    }
}

impl<F, R, E> Future for ClientFuture<F>
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
                span.record("network.protocol.version", protocol_version(response.version()));
                if status.is_client_error() || status.is_server_error() {
                    span.record("error.type", status.as_str());
                    span.record("otel.status_code", "error");
                }
                Ok(response.map(|body| TracedBody::new(body, open)))
            }
            Err(error) => {
                open.failed("connection_error", &error);
                Err(error)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_do_not_reach_the_trace() {
        let uri = "https://user:secret@shop.example:8443/cart?item=1&sig=abc".parse().unwrap();
        assert_eq!(full_url(&uri), "https://shop.example:8443/cart?item=1&sig=REDACTED");
    }
}
