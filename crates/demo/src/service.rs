//! One instance of a service: its telemetry, its clients, its server.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client as Pool;
use serde_json::{Value, json};
use tower_layer::Layer;
use tower_service::Service as _;
use tracewell_sdk::http::{Client, ClientLayer, Resends, UrlTemplate};
use tracing::Dispatch;

use crate::faults::FaultId;
use crate::network::{self, Balanced, Connector, DropContext};
use crate::rpc;
use crate::topology::{Spec, spec};
use crate::world::World;

/// The longest that a service waits for another.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest answer that a service accepts from another.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The service whose requests lose the context of their trace, on demand.
const LOSES_CONTEXT: &str = "recommendations";

/// An HTTP client by name, without any instrumentation.
pub(crate) type PlainClient = Balanced<Pool<Connector, Full<Bytes>>>;

/// One instance of a service. Clones are the same instance.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) spec: &'static Spec,
    /// Its place among the instances of the service.
    pub(crate) instance: usize,
    /// Whether it runs the next version.
    pub(crate) is_next: bool,
    pub(crate) world: Arc<World>,
    pub(crate) dispatch: Dispatch,
    http: Client<PlainClient>,
    plain: PlainClient,
    grpc: rpc::Client,
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

    /// What the caller of the service is answered: what the client did wrong stays its fault, everything else is the
    /// upstream's.
    pub(crate) fn answered(&self) -> StatusCode {
        match self.status {
            status if self.own || status.is_client_error() || status == StatusCode::GATEWAY_TIMEOUT => status,
            _ => StatusCode::BAD_GATEWAY,
        }
    }
}

impl IntoResponse for CallError {
    fn into_response(self) -> Response {
        if self.own {
            return (self.status, axum::Json(json!({"error": self.message}))).into_response();
        }
        tracing::warn!(upstream = self.target, "request failed: {self}");
        (self.answered(), axum::Json(json!({"error": self.to_string()}))).into_response()
    }
}

/// An answer of a service's handler.
pub(crate) type Answer = Result<axum::Json<Value>, CallError>;

impl Service {
    pub(crate) fn new(
        spec: &'static Spec,
        (instance, is_next): (usize, bool),
        world: Arc<World>,
        dispatch: Dispatch,
    ) -> Self {
        let plain: PlainClient = network::client(&world.directory, &dispatch, false);
        let grpc = rpc::Client::new(network::client(&world.directory, &dispatch, true));
        let http = ClientLayer::new().layer(plain.clone());
        Self { spec, instance, is_next, world, dispatch, http, plain, grpc }
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
        self.call((Method::GET, target, template, path), None, None).await
    }

    pub(crate) async fn post(
        &self,
        target: &'static str,
        template: &str,
        path: &str,
        body: Value,
    ) -> Result<Value, CallError> {
        self.call((Method::POST, target, template, path), Some(body), None).await
    }

    /// As [`Service::post`], for a request that may be one of several attempts.
    pub(crate) async fn attempt(
        &self,
        target: &'static str,
        path: &str,
        body: Value,
        resends: &Resends,
    ) -> Result<Value, CallError> {
        self.call((Method::POST, target, path, path), Some(body), Some(resends)).await
    }

    /// Calls another service within a client span.
    async fn call(
        &self,
        (method, target, template, path): (Method, &'static str, &str, &str),
        body: Option<Value>,
        resends: Option<&Resends>,
    ) -> Result<Value, CallError> {
        let mut request = self.request(method, target, path, body)?;
        request.extensions_mut().insert(UrlTemplate(template.into()));
        if let Some(resends) = resends {
            request.extensions_mut().insert(resends.clone());
        }
        if self.spec.name == LOSES_CONTEXT && self.world.faults.is_on(FaultId::LostContext) {
            request.extensions_mut().insert(DropContext);
        }
        let mut client = self.http.clone();
        let exchange = async {
            let response = client.call(request).await.map_err(|error| failure(target, &error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok((status, body.map_err(|error| failure(target, &error))?.to_bytes()))
        };
        answer(target, within(target, exchange).await?)
    }

    /// Calls a method of another service within a client span.
    pub(crate) async fn rpc(
        &self,
        target: &'static str,
        method: rpc::Method,
        subject: rpc::Subject,
    ) -> Result<rpc::Subject, CallError> {
        let exchange = self.grpc.call(target, method, subject);
        let exchange = async { exchange.await.map_err(|status| rpc::error(target, &status)) };
        within(target, exchange).await
    }

    /// Calls another service with headers of the caller's making and without a span of its own.
    pub(crate) async fn plain_call(
        &self,
        method: Method,
        target: &'static str,
        path: &str,
        headers: HeaderMap,
        body: Option<Value>,
    ) -> Result<Value, CallError> {
        let mut request = self.request(method, target, path, body)?;
        request.headers_mut().extend(headers);
        let mut client = self.plain.clone();
        let exchange = async {
            let response = client.call(request).await.map_err(|error| failure(target, &error))?;
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
            .header(USER_AGENT, format!("{}/{}", self.spec.name, self.version()))
            .body(Full::new(body))
            .map_err(|error| failure(target, &error))
    }

    /// Which version it runs.
    pub(crate) fn version(&self) -> &'static str {
        self.spec.next.filter(|_| self.is_next).map_or(self.spec.version, |next| next.version)
    }

    /// The service in front of its router: what it serves, with spans for each request.
    pub(crate) fn traced(&self, router: Router) -> Router {
        router.layer(tracewell_sdk::http::ServerLayer::new())
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
