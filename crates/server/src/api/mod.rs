//! Everything that answers on the HTTP port.

mod native;
mod tempo;
mod ui;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware;
use axum::routing::any;
use tracewell_ingest::Endpoint;

use crate::config::Config;
use crate::http::compress::compress;
use crate::http::cors::{AllowedOrigins, allow_origins};
use crate::http::guard::{AllowedHosts, check_host, common_headers};
use crate::state::App;

pub(crate) use ui::is_embedded as ui_is_embedded;

/// One route of an API.
pub(crate) struct Route {
    /// Path, parameters in braces.
    pub(crate) path: &'static str,
    /// What answers it.
    pub(crate) handler: axum::routing::MethodRouter<App>,
}

/// Where OTLP comes in: over HTTP, and the methods of its gRPC services.
const OTLP_PATHS: [&str; 5] = [
    "/v1/traces",
    "/v1/logs",
    "/v1/metrics",
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
];

/// All routes. `otlp` also takes spans here, so that one port is enough behind a proxy.
pub(crate) fn router(app: App, config: &Config, otlp: Endpoint) -> Router {
    let mut router = Router::new();
    for Route { path, handler } in native::routes().into_iter().chain(tempo::routes()) {
        router = router.route(path, handler);
    }
    for path in OTLP_PATHS {
        let otlp = otlp.clone();
        router = router.route(path, any(move |request: Request| receive(otlp, request)));
    }
    let hosts = AllowedHosts::new(app.listeners.http, &config.http.allowed_hosts);
    let origins = AllowedOrigins::new(&config.http.allowed_origins);
    // The last layer is the first to see a request.
    router
        .fallback(ui::fallback)
        .layer(middleware::from_fn(compress))
        .layer(middleware::from_fn(common_headers))
        .layer(middleware::from_fn_with_state(origins, allow_origins))
        .layer(middleware::from_fn_with_state(hosts, check_host))
        .with_state(app)
}

async fn receive(otlp: Endpoint, request: Request) -> axum::response::Response {
    let unknown = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    let peer = request.extensions().get::<SocketAddr>().copied().unwrap_or(unknown);
    otlp.call(request, peer).await.map(Body::new)
}
