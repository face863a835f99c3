//! A client like reqwest's, whose every request is a span of the caller's trace.
//!
//! ```no_run
//! # async fn example() -> Result<(), reqwest::Error> {
//! use tracewell_sdk::reqwest::Client; // instead of reqwest::Client
//!
//! let client = Client::new();
//! let cart = client.get("http://cart/items/42").template("/items/{id}").send().await?;
//! println!("{}", cart.text().await?); // the span ends here
//! # Ok(())
//! # }
//! ```
//!
//! It is: the same methods with the same meaning, requests and answers of reqwest's own types. A changed type in
//! one place traces every call; there is nothing to be remembered at each. It is not: a client of its own.
//! [`Client::from`] takes a `reqwest::Client` with whatever settings.
//!
//! A request is one span from its sending to the last byte of its answer, redirects included (reqwest does not
//! tell when it sends again); with [`redirect_policy`] each redirect is an event of it.

mod request;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use reqwest::{IntoUrl, Method, Request, Response, Result, Url};
use tracing::Span;

pub use request::RequestBuilder;

use crate::edit;
use crate::http::future::Traced;
use crate::http::{ClientLayer, client::Outgoing};
use crate::proto::ValueRef;

/// As many redirects as reqwest follows by default.
const REDIRECTS_MAX: usize = 10;

/// As `reqwest::Client`, with a client span for each request.
#[derive(Debug, Clone)]
pub struct Client {
    inner: reqwest::Client,
    layer: ClientLayer,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl From<reqwest::Client> for Client {
    fn from(inner: reqwest::Client) -> Self {
        Self { inner, layer: ClientLayer::new() }
    }
}

/// A policy that follows at most `redirects_max` redirects and records each as an event `http.redirect` of the
/// request's span, and their number as `http.request.resend_count`.
pub fn redirect_policy(redirects_max: usize) -> reqwest::redirect::Policy {
    reqwest::redirect::Policy::custom(move |attempt| {
        let (resends, status) = (attempt.previous().len(), attempt.status().as_u16());
        let to = ClientLayer::new().shown_url(attempt.url());
        edit::edit(&Span::current(), |edit| {
            let number = ValueRef::Int(i64::from(status));
            edit.event("http.redirect", &[("url.full", ValueRef::Str(&to)), ("http.response.status_code", number)]);
            edit.set("http.request.resend_count", ValueRef::Int(i64::try_from(resends).unwrap_or(i64::MAX)));
        });
        if resends > redirects_max { attempt.error("too many redirects") } else { attempt.follow() }
    })
}

impl Client {
    /// A client with reqwest's defaults and [`redirect_policy`].
    ///
    /// # Panics
    ///
    /// As `reqwest::Client::new`: where the resolver or TLS cannot be set up. [`Client::from`] a client of your
    /// own gives the error instead.
    pub fn new() -> Self {
        let built = reqwest::Client::builder().redirect(redirect_policy(REDIRECTS_MAX)).build();
        Self::from(built.unwrap_or_else(|_| reqwest::Client::new()))
    }

    /// Sets what is recorded, such as headers and body sizes.
    #[must_use]
    pub fn with_layer(mut self, layer: ClientLayer) -> Self {
        self.layer = layer;
        self
    }

    /// The client underneath, for a request that is not to be traced.
    pub fn untraced(&self) -> &reqwest::Client {
        &self.inner
    }

    /// As `reqwest::Client::get`.
    pub fn get(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// As `reqwest::Client::post`.
    pub fn post(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// As `reqwest::Client::put`.
    pub fn put(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// As `reqwest::Client::patch`.
    pub fn patch(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// As `reqwest::Client::delete`.
    pub fn delete(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// As `reqwest::Client::head`.
    pub fn head(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// As `reqwest::Client::request`.
    pub fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder {
        RequestBuilder::new(self.clone(), self.inner.request(method, url))
    }

    /// Sends a request.
    ///
    /// # Errors
    ///
    /// Those of `reqwest::Client::execute`.
    pub fn execute(&self, request: Request) -> impl Future<Output = Result<Response>> + Send + use<> {
        self.send(request, None)
    }

    fn send(
        &self,
        mut request: Request,
        template: Option<&str>,
    ) -> impl Future<Output = Result<Response>> + Send + use<> {
        let url = request.url();
        let open = self.layer.open(&Outgoing {
            method: request.method(),
            url: self.layer.shown_url(url),
            target: url.host_str().map(|host| (host.trim_matches(['[', ']']), url.port_or_known_default())),
            headers: request.headers(),
            template,
            resends: 0,
        });
        crate::inject(open.span(), request.headers_mut());
        let sent = open.span().in_scope(|| self.inner.execute(request));
        // reqwest has no place for the answer's URL in the type that bodies are wrapped in.
        let answer = async move {
            let response = sent.await?;
            let url = FinalUrl(response.url().clone());
            let mut response = http::Response::<reqwest::Body>::from(response);
            response.extensions_mut().insert(url);
            Ok(response)
        };
        async move { Traced::new(answer, open).await.map(from_http) }
    }
}

/// The URL that an answer came from.
#[derive(Clone)]
struct FinalUrl(Url);

/// Back to reqwest's type, with all that was in it.
fn from_http(response: http::Response<crate::http::ClientBody<reqwest::Body>>) -> Response {
    use reqwest::ResponseBuilderExt;
    let (mut parts, body) = response.into_parts();
    let mut builder = http::Response::builder().status(parts.status).version(parts.version);
    if let Some(FinalUrl(url)) = parts.extensions.remove() {
        builder = builder.url(url);
    }
    let body = reqwest::Body::wrap(body);
    let mut rebuilt = match builder.body(body) {
        Ok(rebuilt) => rebuilt,
        // Status, version and URL come from an answer and are valid.
        Err(_) => http::Response::new(reqwest::Body::from("")),
    };
    *rebuilt.headers_mut() = parts.headers;
    rebuilt.extensions_mut().extend(parts.extensions);
    Response::from(rebuilt)
}

impl tower_service::Service<Request> for Client {
    type Response = Response;
    type Error = reqwest::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Box::pin(self.execute(request))
    }
}
