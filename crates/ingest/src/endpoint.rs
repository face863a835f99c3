//! The requests of all listeners, told apart.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

use crate::body::Reply;
use crate::pipeline::Shared;
use crate::{grpc, http as otlp_http};

/// Answers OTLP requests, whichever connection they came over: the listeners use it, and another HTTP server can mount
/// it at `/v1/traces` and `/v1/logs`.
#[derive(Clone)]
pub struct Endpoint {
    pub(crate) shared: Arc<Shared>,
}

impl Endpoint {
    /// Answers one request from `peer`: gRPC where its content type says so, OTLP/HTTP otherwise. Paths are those of the
    /// OTLP specification, counted from the root.
    pub async fn call<B>(&self, request: Request<B>, peer: SocketAddr) -> Response<Reply>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::fmt::Display,
    {
        let (parts, body) = request.into_parts();
        if grpc::is_grpc(&parts.headers) {
            grpc::handle(&self.shared, parts, body, peer).await
        } else if grpc::is_grpc_path(parts.uri.path()) {
            grpc::wrong_content_type(&self.shared, &parts, peer)
        } else {
            otlp_http::handle(&self.shared, parts, body, peer).await
        }
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("config", &self.shared.config).finish_non_exhaustive()
    }
}
