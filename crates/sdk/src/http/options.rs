//! What can be set on a server's layer.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;

use super::attributes::{Methods, Secrets};
use super::capture::Captured;

pub(crate) type Filter = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

/// Makes a server span for each request, as child of the caller's span. To be put around an axum router
/// (`router.layer(ServerLayer::new())`) or any other tower service over HTTP.
///
/// ```
/// use tracewell_sdk::http::ServerLayer;
///
/// let layer = ServerLayer::new()
///     .behind_proxy() // believe Forwarded and X-Forwarded-*
///     .skip_paths(["/healthz", "/metrics"])
///     .capture_request_headers(["x-tenant"]);
/// ```
///
/// The span is called `GET /cart/{id}` where the route is known, else `GET`. It ends with the last byte of the
/// answer's body; that of an upgraded connection (WebSocket) with the 101 that opens it. These make it an error:
///
/// | what happened | `error.type` |
/// |---|---|
/// | an answer of 500 and above | the status, `500` |
/// | a panic of the handler | `panic`, with an `exception` event; the panic goes on |
/// | an error of the service or of the body | its kind, such as `timeout`, else `service_error`, `body_error` |
/// | the client went away before the end | `cancelled` |
///
/// What the client did wrong (4xx) is no error of the server. With `tower_http`'s `CatchPanicLayer` inside of this
/// layer, the client gets a 500 and the span still has the panic.
///
/// A layer inside of another one makes no second span: it only adds the route, which routers mounted as a
/// service know alone. Whatever bytes are in a header, no request is refused and nothing panics; headers
/// that could not be used are counted in [`diagnostics`](crate::diagnostics).
#[derive(Clone, Default)]
pub struct ServerLayer {
    pub(super) options: Arc<Options>,
}

/// The settings, shared by all services of one layer.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) methods: Methods,
    pub(crate) secrets: Secrets,
    pub(crate) scheme: Option<&'static str>,
    pub(crate) behind_proxy: bool,
    pub(crate) body_sizes: bool,
    pub(crate) server_timing: bool,
    pub(crate) request_headers: Captured,
    pub(crate) response_headers: Captured,
    skipped_paths: Arc<[String]>,
    filter: Option<Filter>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            methods: Methods::from_env(),
            secrets: Secrets::default(),
            scheme: None,
            behind_proxy: false,
            body_sizes: false,
            server_timing: false,
            request_headers: Captured::default(),
            response_headers: Captured::default(),
            skipped_paths: Arc::default(),
            filter: None,
        }
    }
}

impl Options {
    /// Whether a request to this path is to be recorded, as far as the path tells.
    pub(crate) fn wants_path(&self, path: &str) -> bool {
        !self.skipped_paths.iter().any(|skipped| skipped == path)
    }

    pub(crate) fn filter(&self) -> Option<&Filter> {
        self.filter.as_ref()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("skipped_paths", &self.skipped_paths).finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerLayer").field("options", &self.options).finish()
    }
}

impl ServerLayer {
    /// The layer; `url.scheme` is that of the request, else `http`. Which methods are known is
    /// `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS`.
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(Arc::make_mut(&mut self.options));
        self
    }

    /// The layer of a server that speaks TLS: `url.scheme` is `https`.
    #[must_use]
    pub fn https(self) -> Self {
        self.with(|options| options.scheme = Some("https"))
    }

    /// Takes `client.address`, `server.address` and `url.scheme` from `Forwarded` or `X-Forwarded-*`. Only for
    /// servers that are reached through a proxy that sets these headers: else any client can make them up.
    #[must_use]
    pub fn behind_proxy(self) -> Self {
        self.with(|options| options.behind_proxy = true)
    }

    /// Does not record requests to these paths, nor what happens during them. Their trace goes on as not sampled.
    #[must_use]
    pub fn skip_paths(self, paths: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with(|options| options.skipped_paths = paths.into_iter().map(Into::into).collect())
    }

    /// Records only requests for which `wanted` returns true.
    #[must_use]
    pub fn filter(self, wanted: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.with(|options| options.filter = Some(Arc::new(wanted)))
    }

    /// Adds `http.request.header.<name>` with all values of these headers. The values of headers that give
    /// access (`authorization`, `cookie` and the like) are replaced by `REDACTED`.
    #[must_use]
    pub fn capture_request_headers(self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.with(|options| options.request_headers = Captured::new("http.request.header.", names))
    }

    /// Adds `http.response.header.<name>`, as [`ServerLayer::capture_request_headers`].
    #[must_use]
    pub fn capture_response_headers(self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.with(|options| options.response_headers = Captured::new("http.response.header.", names))
    }

    /// Adds `http.request.body.size` (as `Content-Length` says) and `http.response.body.size` (as sent), in bytes.
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

    /// Tells the client which span handled its request, by `Server-Timing: traceparent;desc="00-…"`. Scripts in
    /// browsers can read that of the page itself, which they have no other way to learn.
    #[must_use]
    pub fn server_timing(self) -> Self {
        self.with(|options| options.server_timing = true)
    }
}
