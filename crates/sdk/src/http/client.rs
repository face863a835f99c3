//! The caller's side: one span for each request sent, and its identity in the headers.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use http::response::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;
use tracing::Span;

#[cfg(feature = "reqwest")]
use super::attributes::REDACTED;
use super::attributes::{Methods, Secrets, protocol_version, target};
use super::body::TracedBody;
use super::capture::Captured;
use super::future::Traced;
use super::server::{content_length, static_name};
use super::watch::{End, Open, Watch};
use crate::edit::{self, Editor};
use crate::span::SpanKind;

/// The template that a URL was made from, such as `/cart/{id}`, in the request's extensions. It names the span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlTemplate(pub Arc<str>);

/// Counts how often one request is sent, in the request's extensions: layers that send a request again (retries,
/// redirects) clone them, and every attempt but the first gets `http.request.resend_count`.
///
/// [`ResendLayer`] outside of such a layer puts it there.
#[derive(Debug, Clone, Default)]
pub struct Resends(Arc<AtomicU32>);

impl Resends {
    /// How often the request was sent before.
    pub(crate) fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Lets the attempts of a retrying client be counted:
///
/// ```text
/// ServiceBuilder: ResendLayer ─▶ retries, redirects ─▶ ClientLayer ─▶ connection
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct ResendLayer {
    _private: (),
}

impl ResendLayer {
    /// The layer.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for ResendLayer {
    type Service = Resend<S>;

    fn layer(&self, inner: S) -> Resend<S> {
        Resend { inner }
    }
}

/// The service that [`ResendLayer`] makes.
#[derive(Debug, Clone)]
pub struct Resend<S> {
    inner: S,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Resend<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        request.extensions_mut().insert(Resends::default());
        self.inner.call(request)
    }
}

/// Makes a client span for each request below the current span, and writes its identity to the headers.
/// To be put around hyper-util's client or any other tower service over HTTP, inside of layers that retry.
///
/// The span is called `GET /cart/{id}` where the request has a [`UrlTemplate`], else `GET`. It ends with the last
/// byte of the answer. An answer of 400 and above is an error, `error.type` its status; so is an error of the
/// service or of the body, with its kind (`connection_refused`, `timeout`, …; feature `hyper` knows more), and
/// an answer that is dropped before its end, `cancelled`. An answer whose body is never read is none.
#[derive(Debug, Clone, Default)]
pub struct ClientLayer {
    options: Arc<ClientOptions>,
}

#[derive(Debug, Clone)]
pub(crate) struct ClientOptions {
    methods: Methods,
    secrets: Secrets,
    body_sizes: bool,
    request_headers: Captured,
    response_headers: Captured,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            methods: Methods::from_env(),
            secrets: Secrets::default(),
            body_sizes: false,
            request_headers: Captured::default(),
            response_headers: Captured::default(),
        }
    }
}

impl ClientLayer {
    /// The layer.
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, change: impl FnOnce(&mut ClientOptions)) -> Self {
        change(Arc::make_mut(&mut self.options));
        self
    }

    /// Adds `http.request.header.<name>` with all values of these headers. The values of headers that give
    /// access (`authorization`, `cookie` and the like) are replaced by `REDACTED`.
    #[must_use]
    pub fn capture_request_headers(self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.with(|options| options.request_headers = Captured::new("http.request.header.", names))
    }

    /// Adds `http.response.header.<name>`, as [`ClientLayer::capture_request_headers`].
    #[must_use]
    pub fn capture_response_headers(self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.with(|options| options.response_headers = Captured::new("http.response.header.", names))
    }

    /// Adds `http.request.body.size` (as `Content-Length` says) and `http.response.body.size` (as received), in
    /// bytes.
    #[must_use]
    pub fn body_sizes(self) -> Self {
        self.with(|options| options.body_sizes = true)
    }

    /// Does not record the values of these query parameters, besides those that the semantic conventions name.
    #[must_use]
    pub fn redact_query_parameters(self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with(|options| options.secrets = options.secrets.with(names))
    }

    /// The methods that may stand in `http.request.method`, instead of the standard ones.
    #[must_use]
    pub fn known_methods(self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with(|options| options.methods = Methods::Listed(names.into_iter().map(Into::into).collect()))
    }

    /// Opens the span of a request.
    pub(crate) fn open(&self, request: &Outgoing<'_>) -> Open<ClientWatch> {
        Open::new(self.options.begin(request), ClientWatch::new(&self.options))
    }

    /// A URL as it may be shown.
    #[cfg(feature = "reqwest")]
    pub(crate) fn shown_url(&self, url: &reqwest::Url) -> String {
        let mut url = url.clone();
        // Neither fails for a URL that has a user or a password.
        if !url.username().is_empty() {
            let _ = url.set_username(REDACTED);
        }
        if url.password().is_some() {
            let _ = url.set_password(Some(REDACTED));
        }
        if let Some(query) = url.query().map(|query| self.options.secrets.redacted(query).into_owned()) {
            url.set_query(Some(&query));
        }
        url.into()
    }
}

/// A request before it is sent, of whichever library.
pub(crate) struct Outgoing<'a> {
    pub(crate) method: &'a Method,
    /// The URL as it may be shown.
    pub(crate) url: String,
    /// Host and port.
    pub(crate) target: Option<(&'a str, Option<u16>)>,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) template: Option<&'a str>,
    /// How often it was sent before.
    pub(crate) resends: u32,
}

impl<S> Layer<S> for ClientLayer {
    type Service = Client<S>;

    fn layer(&self, inner: S) -> Client<S> {
        Client { inner, layer: self.clone() }
    }
}

/// The service that [`ClientLayer`] makes.
#[derive(Debug, Clone)]
pub struct Client<S> {
    inner: S,
    layer: ClientLayer,
}

/// The answer of a [`Client`] to come.
pub type ClientFuture<F> = Traced<F, ClientWatch>;

/// The body of the answer to a [`Client`].
pub type ClientBody<B> = TracedBody<B, ClientWatch>;

impl<S, B, R> Service<Request<B>> for Client<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: fmt::Display + Any,
    R: Body,
{
    type Response = Response<ClientBody<R>>;
    type Error = S::Error;
    type Future = ClientFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> ClientFuture<S::Future> {
        let extensions = request.extensions();
        let open = self.layer.open(&Outgoing {
            method: request.method(),
            url: self.layer.options.secrets.full_url(request.uri()),
            target: target(request.uri()),
            headers: request.headers(),
            template: extensions.get().map(|UrlTemplate(template)| &**template),
            resends: extensions.get().map_or(0, Resends::next),
        });
        crate::inject(open.span(), request.headers_mut());
        let future = open.span().in_scope(|| self.inner.call(request));
        Traced::new(future, open)
    }
}

impl ClientOptions {
    fn begin(&self, request: &Outgoing<'_>) -> Span {
        let method = self.methods.known(request.method);
        // What a formatter of log lines shows of a request are its fields; everything else is added beside.
        let span = tracing::info_span!(
            target: "tracewell_sdk::http",
            "HTTP",
            http.request.method = method.unwrap_or("_OTHER"),
            url.full = request.url,
        );
        edit::edit(&span, |edit| {
            edit.kind(SpanKind::Client);
            match (request.template, method) {
                (Some(template), _) => {
                    edit.text("url.template", template);
                    edit.name([method.unwrap_or("HTTP"), template].join(" "));
                }
                (None, Some(method)) => edit.name(static_name(method)),
                (None, None) => {}
            }
            if method.is_none() {
                edit.text("http.request.method_original", request.method.as_str());
            }
            if let Some((host, port)) = request.target {
                edit.text("server.address", host);
                if let Some(port) = port {
                    edit.int("server.port", port);
                }
            }
            if request.resends > 0 {
                edit.int("http.request.resend_count", request.resends);
            }
            if self.body_sizes
                && let Some(size) = content_length(request.headers)
            {
                edit.int("http.request.body.size", size);
            }
            self.request_headers.record(request.headers, edit);
        });
        span
    }
}

/// What a client notes of a request.
pub struct ClientWatch {
    options: Arc<ClientOptions>,
    answer: Option<(StatusCode, Version)>,
    expected_bytes: Option<u64>,
    received_bytes: u64,
}

impl ClientWatch {
    fn new(options: &Arc<ClientOptions>) -> Self {
        Self { options: Arc::clone(options), answer: None, expected_bytes: None, received_bytes: 0 }
    }
}

impl Watch for ClientWatch {
    fn head(&mut self, span: &Span, head: &mut Parts) {
        self.answer = Some((head.status, head.version));
        self.expected_bytes = content_length(&head.headers);
        if !self.options.response_headers.is_empty() {
            edit::edit(span, |edit| self.options.response_headers.record(&head.headers, edit));
        }
    }

    fn data(&mut self, _: &Span, _: &[u8], bytes: usize) {
        self.received_bytes += bytes as u64;
    }

    fn trailers(&mut self, _: &Span, _: &HeaderMap) {}

    fn may_stop(&self) -> bool {
        self.expected_bytes.is_some_and(|expected| self.received_bytes >= expected)
    }

    fn end(&mut self, edit: &mut Editor<'_>, end: End<'_>) {
        let mut failed = None;
        if let Some((status, version)) = self.answer {
            edit.int("http.response.status_code", status.as_u16());
            edit.text("network.protocol.version", protocol_version(version));
            if self.options.body_sizes {
                edit.int("http.response.body.size", self.received_bytes);
            }
            failed = Some(status).filter(|status| status.is_client_error() || status.is_server_error());
        }
        match end {
            End::Complete => {
                if let Some(status) = failed {
                    edit.fail(status.as_str(), None);
                }
            }
            End::Failed(kind, message) => {
                let fallback = if self.answer.is_some() { "body_error" } else { "connection_error" };
                edit.fail(kind.unwrap_or(fallback), Some(&message));
            }
            End::Abandoned => edit.fail("cancelled", Some("the answer was not awaited to its end")),
            End::Panicked(panicked) => {
                panicked.record(edit);
                edit.fail("panic", Some(panicked.message()));
            }
        }
    }
}
