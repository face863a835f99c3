//! One instance of a service: its telemetry, its clients, its server.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_layer::Layer;
use tower_service::Service as _;
use tracewell_sdk::http::{Client, ClientLayer, UrlTemplate};
use tracing::Dispatch;

use crate::faults::Switches;
use crate::network::{Directory, PlainClient, plain_client};
use crate::random::Random;
use crate::topology::{Spec, spec};

/// The longest that a service waits for another.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest answer that a service accepts from another.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Connections that one instance serves at a time.
const CONNECTIONS_MAX: usize = 256;

/// What all services share.
pub(crate) struct World {
    pub(crate) directory: Arc<Directory>,
    pub(crate) random: Random,
    pub(crate) faults: Switches,
    pub(crate) requests_per_second: f64,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// One instance of a service. Clones are the same instance.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) spec: &'static Spec,
    pub(crate) world: Arc<World>,
    pub(crate) dispatch: Dispatch,
    http: Client<PlainClient>,
    plain: PlainClient,
}

/// A call that did not succeed, as the caller's own answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{target}: {message}")]
pub(crate) struct CallError {
    pub(crate) target: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// True for an answer of the service itself, false for what it got from another.
    pub(crate) own: bool,
}

impl CallError {
    /// An answer of the service itself.
    pub(crate) fn own(service: &Service, status: StatusCode, message: impl Into<String>) -> Self {
        Self { target: service.spec.name, status, message: message.into(), own: true }
    }
}

impl IntoResponse for CallError {
    fn into_response(self) -> Response {
        if self.own {
            return (self.status, axum::Json(json!({"error": self.message}))).into_response();
        }
        // What the client did wrong stays its fault; everything else is the upstream's.
        let status = match self.status {
            status if status.is_client_error() || status == StatusCode::GATEWAY_TIMEOUT => status,
            _ => StatusCode::BAD_GATEWAY,
        };
        tracing::warn!(upstream = self.target, "request failed: {self}");
        (status, axum::Json(json!({"error": self.to_string()}))).into_response()
    }
}

/// An answer of a service's handler.
pub(crate) type Answer = Result<axum::Json<Value>, CallError>;

impl Service {
    pub(crate) fn new(spec: &'static Spec, world: Arc<World>, dispatch: Dispatch) -> Self {
        let plain = plain_client(&world.directory);
        Self { spec, world, dispatch, http: ClientLayer::new().layer(plain.clone()), plain }
    }

    /// Spends time as real work does: around `median_ms`, and one time in a hundred ten times as much.
    pub(crate) async fn think(&self, median_ms: f64) {
        let hiccup = if self.world.random.chance(0.01) { 10.0 } else { 1.0 };
        self.pause(self.world.random.log_normal(median_ms * hiccup, 0.35)).await;
    }

    /// Waits, but not once the shop closes: what is under way then comes to its end at once.
    pub(crate) async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.world.stop.cancelled() => {}
        }
    }

    pub(crate) async fn get(&self, target: &'static str, template: &str, path: &str) -> Result<Value, CallError> {
        self.call(Method::GET, target, template, path, None).await
    }

    pub(crate) async fn post(
        &self,
        target: &'static str,
        template: &str,
        path: &str,
        body: Value,
    ) -> Result<Value, CallError> {
        self.call(Method::POST, target, template, path, Some(body)).await
    }

    /// Calls another service within a client span.
    async fn call(
        &self,
        method: Method,
        target: &'static str,
        template: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, CallError> {
        let mut request = self.request(method, target, path, body)?;
        request.extensions_mut().insert(UrlTemplate(template.into()));
        let mut client = self.http.clone();
        let exchange = async {
            let response = client.call(request).await.map_err(|error| failure(target, &error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok((status, body.map_err(|error| failure(target, &error))?.to_bytes()))
        };
        answer(target, within(target, exchange).await?)
    }

    /// Calls another service with headers of the caller's making and without a span of its own.
    pub(crate) async fn plain_call(
        &self,
        method: Method,
        target: &'static str,
        path: &str,
        headers: http::HeaderMap,
        body: Option<Value>,
    ) -> Result<Value, CallError> {
        let mut request = self.request(method, target, path, body)?;
        request.headers_mut().extend(headers);
        let exchange = async {
            let response = self.plain.request(request).await.map_err(|error| failure(target, &error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok((status, body.map_err(|error| failure(target, &error))?.to_bytes()))
        };
        answer(target, within(target, exchange).await?)
    }

    fn request(
        &self,
        method: Method,
        target: &'static str,
        path: &str,
        body: Option<Value>,
    ) -> Result<Request<Full<Bytes>>, CallError> {
        let port = spec(target).map_or(80, |spec| spec.port);
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        Request::builder()
            .method(method)
            .uri(format!("http://{target}:{port}{path}"))
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, format!("{}/{}", self.spec.name, self.spec.version))
            .body(Full::new(body))
            .map_err(|error| failure(target, &error))
    }

    /// Serves `router` on `listener` until the shop closes. Everything runs under this service's subscriber.
    pub(crate) fn serve(&self, listener: TcpListener, router: Router) {
        let (world, dispatch) = (Arc::clone(&self.world), self.dispatch.clone());
        let slots = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
        self.world.tasks.spawn(async move {
            loop {
                let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
                let stream = tokio::select! {
                    () = world.stop.cancelled() => return,
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => stream,
                        // Out of descriptors, most likely: wait until some are free.
                        Err(_) => {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                            continue;
                        }
                    },
                };
                let (router, stop) = (router.clone(), world.stop.clone());
                let connection = async move {
                    let _slot = slot;
                    let service = TowerToHyperService::new(router);
                    let connection = hyper::server::conn::http1::Builder::new()
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(stream), service);
                    let mut connection = std::pin::pin!(connection);
                    tokio::select! {
                        _ = connection.as_mut() => {}
                        () = stop.cancelled() => {
                            connection.as_mut().graceful_shutdown();
                            // The caller sees a broken connection; there is nobody else to tell.
                            let _ = connection.await;
                        }
                    }
                };
                world.tasks.spawn(tracewell_sdk::under(&dispatch, connection));
            }
        });
    }
}

fn failure(target: &'static str, error: &dyn std::fmt::Display) -> CallError {
    CallError { target, status: StatusCode::BAD_GATEWAY, message: error.to_string(), own: false }
}

async fn within<T>(target: &'static str, exchange: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    tokio::time::timeout(CALL_TIMEOUT, exchange).await.unwrap_or_else(|_| {
        let message = format!("no answer within {} ms", CALL_TIMEOUT.as_millis());
        Err(CallError { target, status: StatusCode::GATEWAY_TIMEOUT, message, own: false })
    })
}

fn answer(target: &'static str, (status, body): (StatusCode, Bytes)) -> Result<Value, CallError> {
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status.is_success() {
        return Ok(value);
    }
    let message = value.get("error").and_then(Value::as_str).unwrap_or_else(|| status.as_str()).to_owned();
    Err(CallError { target, status, message, own: false })
}
