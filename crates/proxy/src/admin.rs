//! Health and figures, on a listener of their own so that no path of the application is taken.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::hub::Hub;

/// Connections at the same time.
const CONNECTIONS_MAX: usize = 32;

/// Longest life of a connection.
const CONNECTION_TIME: Duration = Duration::from_secs(30);

/// Answers until `stop`.
pub(crate) async fn serve(hub: Arc<Hub>, listener: TcpListener, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = hub.closing.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (hub, stop) = (Arc::clone(&hub), stop.clone());
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(|request: Request<Incoming>| {
                let answer = answer(&hub, &request, stop.is_cancelled());
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(5))
                .serve_connection(TokioIo::new(stream), service);
            // Whoever asks may leave at any time.
            let _ = tokio::time::timeout(CONNECTION_TIME, connection).await;
        });
    }
}

fn answer<B>(hub: &Hub, request: &Request<B>, stopping: bool) -> Response<Full<Bytes>> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/healthz") if stopping => {
            (StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "ending" }))
        }
        (&Method::GET | &Method::HEAD, "/healthz") => (StatusCode::OK, json!({ "status": "ok" })),
        (&Method::GET | &Method::HEAD, "/stats") => (StatusCode::OK, stats(hub)),
        (_, "/healthz" | "/stats") => (StatusCode::METHOD_NOT_ALLOWED, json!({ "error": "only GET is served here" })),
        _ => (StatusCode::NOT_FOUND, json!({ "error": "there are only /healthz and /stats" })),
    };
    let mut response = Response::new(Full::new(Bytes::from(format!("{body:#}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Everything that is counted.
pub(crate) fn stats(hub: &Hub) -> Value {
    let mut stats = hub.stats.json();
    let (remembered, in_flight) = hub.table.size();
    let (idle, shared) = hub.pool.size();
    stats["correlation"] = json!({ "remembered": remembered, "inbound_in_flight": in_flight });
    stats["backend_connections"] = json!({ "idle_http1": idle, "http2": shared });
    if let Some(figures) = &hub.config.figures {
        stats["spans"] = figures();
    }
    stats
}
