//! gRPC between services: tonic's client and server, without generated code.
//!
//! Every method of the shop takes and answers a [`Subject`]: what the request is about, with what has been found out
//! on the way. A real shop has a message for each; the wire looks the same.

mod codec;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::routing::post;
use http::{StatusCode, Uri};
use hyper_util::client::legacy::Client as Pool;
use tonic::{Code, Request, Response, Status};
use tower_layer::Layer;
use tracewell_sdk::tonic::{Client as Traced, ClientLayer, ServerLayer};

use crate::network::{Balanced, Connector};
use crate::service::{CallError, Service};
use crate::topology::spec;

pub(crate) use codec::Subject;
use codec::SubjectCodec;

/// A method, as `package.Service/Method`.
pub(crate) type Method = &'static str;

type Transport = Balanced<Pool<Connector, tonic::body::Body>>;

/// The caller's side. Clones share their connections.
#[derive(Clone)]
pub(crate) struct Client {
    transport: Traced<Transport>,
}

impl Client {
    pub(crate) fn new(transport: Transport) -> Self {
        Self { transport: ClientLayer::new().layer(transport) }
    }

    /// Calls a method within a client span.
    pub(crate) async fn call(&self, target: &'static str, method: Method, subject: Subject) -> Result<Subject, Status> {
        let port = spec(target).map_or(0, |spec| spec.port);
        let origin: Uri = format!("http://{target}:{port}").parse().map_err(internal)?;
        let path = format!("/{method}").parse().map_err(internal)?;
        let mut client = tonic::client::Grpc::with_origin(self.transport.clone(), origin);
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        client.unary(Request::new(subject), path, SubjectCodec).await.map(Response::into_inner)
    }
}

fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

/// A failed call as the caller's error.
pub(crate) fn error(target: &'static str, status: &Status) -> CallError {
    let code = match status.code() {
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::FailedPrecondition | Code::Aborted => StatusCode::CONFLICT,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    CallError { target, status: code, message: status.message().to_owned(), own: false }
}

/// A service's error as its callers see it.
fn status(error: &CallError) -> Status {
    let code = match error.answered() {
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::CONFLICT => Code::FailedPrecondition,
        StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        status if status.is_client_error() => Code::InvalidArgument,
        _ => Code::Internal,
    };
    Status::new(code, error.to_string())
}

/// Serves one method: `handle` runs within the server span.
pub(crate) fn method<F, R>(service: &Service, method: Method, handle: F) -> Router
where
    F: Fn(Service, Subject) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<Subject, CallError>> + Send + 'static,
{
    let service = service.clone();
    let serve = move |request: axum::extract::Request| {
        let handler = Handler { service: service.clone(), handle: handle.clone() };
        async move {
            let mut server = tonic::server::Grpc::new(SubjectCodec);
            server.unary(handler, request).await.map(axum::body::Body::new)
        }
    };
    Router::new().route(&format!("/{method}"), post(serve)).layer(ServerLayer::new())
}

/// A method as tonic calls it.
struct Handler<F> {
    service: Service,
    handle: F,
}

impl<F, R> tower_service::Service<Request<Subject>> for Handler<F>
where
    F: Fn(Service, Subject) -> R,
    R: Future<Output = Result<Subject, CallError>> + Send + 'static,
{
    type Response = Response<Subject>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Subject>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Subject>) -> Self::Future {
        let handled = (self.handle)(self.service.clone(), request.into_inner());
        Box::pin(async move {
            handled.await.map(Response::new).map_err(|error| {
                if !error.own {
                    tracing::warn!(upstream = error.target, "request failed: {error}");
                }
                status(&error)
            })
        })
    }
}
