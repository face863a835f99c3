//! Which instance answers: chosen for each request, below the instrumentation.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::HOST;
use http::uri::{Authority, Uri};
use http::{HeaderValue, Request, Version};
use tower_service::Service;

use super::Directory;

/// What carries the context of a trace.
const CONTEXT_HEADERS: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// In a request's extensions: headers of traces are left out, as a proxy does that forwards only headers it knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DropContext;

/// A client that asks the instances behind a name in turn.
#[derive(Clone)]
pub(crate) struct Balanced<C> {
    client: C,
    directory: Arc<Directory>,
}

impl<C> Balanced<C> {
    pub(super) fn new(client: C, directory: Arc<Directory>) -> Self {
        Self { client, directory }
    }
}

impl<C, B> Service<Request<B>> for Balanced<C>
where
    C: Service<Request<B>>,
{
    type Response = C::Response;
    type Error = C::Error;
    type Future = C::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.client.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> C::Future {
        if request.extensions().get::<DropContext>().is_some() {
            for name in CONTEXT_HEADERS {
                request.headers_mut().remove(name);
            }
        }
        // What names no service of ours is left alone; the connector says so.
        let instance = request.uri().host().and_then(|name| self.directory.pick(name));
        if let Some((uri, host)) = instance.and_then(|instance| at_instance(request.uri(), instance)) {
            if request.version() != Version::HTTP_2 {
                request.headers_mut().entry(HOST).or_insert(host);
            }
            *request.uri_mut() = uri;
        }
        self.client.call(request)
    }
}

/// The URI with the instance's host, and the header that keeps the service's.
fn at_instance(uri: &Uri, instance: &str) -> Option<(Uri, HeaderValue)> {
    let host = HeaderValue::from_str(uri.authority()?.as_str()).ok()?;
    let port = uri.port_u16().unwrap_or(80);
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(Authority::try_from(format!("{instance}:{port}")).ok()?);
    Some((Uri::from_parts(parts).ok()?, host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_stays_what_the_caller_called() {
        let uri = Uri::from_static("http://inventory:8080/products?category=toys");
        let (uri, host) = at_instance(&uri, "inventory-2.inventory").unwrap();
        assert_eq!(uri, "http://inventory-2.inventory:8080/products?category=toys");
        assert_eq!(host, "inventory:8080");
    }
}
