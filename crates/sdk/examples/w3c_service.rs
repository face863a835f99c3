//! The service under test of the public W3C Trace Context test harness: it is told whom to call, and calls them.
//!
//! ```text
//! cargo run -p tracewell-sdk --example w3c_service -- 127.0.0.1:5000
//! ```
//!
//! `POST /test` takes `[{"url": "http://…", "arguments": […]}, …]` and posts each `arguments` as JSON to
//! each `url`, one after the other. Whoever calls it with a `traceparent` finds the calls in his own trace.
//! Which headers are read and written is `OTEL_PROPAGATORS`, where the spans go `OTEL_EXPORTER_OTLP_ENDPOINT`.
//!
//! Port 0 takes a free one; the first line on stdout names it. SIGTERM and SIGINT end it.

use std::error::Error;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Request, StatusCode};
use axum::routing::{get, post};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tower::{Layer, Service};
use tracewell_sdk::http::{ClientLayer, ServerLayer};

type Calls = tracewell_sdk::http::Client<Client<HttpConnector, Full<Bytes>>>;

/// One entry of the harness's request.
struct Call {
    url: String,
    arguments: Value,
}

impl Call {
    fn from_json(mut entry: Value) -> Option<Self> {
        Some(Self { url: entry.get("url")?.as_str()?.to_owned(), arguments: entry.get_mut("arguments")?.take() })
    }
}

async fn test(State(client): State<Calls>, Json(entries): Json<Vec<Value>>) -> Result<(), (StatusCode, String)> {
    let calls: Option<Vec<Call>> = entries.into_iter().map(Call::from_json).collect();
    let Some(calls) = calls else {
        let message = "each entry needs a text `url` and a value `arguments`".to_owned();
        return Err((StatusCode::BAD_REQUEST, message));
    };
    for Call { url, arguments } in calls {
        let sent = send(client.clone(), &url, &arguments).await;
        sent.map_err(|error| (StatusCode::BAD_GATEWAY, format!("call to {url:?}: {error}")))?;
    }
    Ok(())
}

/// Posts `arguments` to `url` and reads the answer to its end, so that the connection is used again.
async fn send(mut client: Calls, url: &str, arguments: &Value) -> Result<(), Box<dyn Error + Send + Sync>> {
    let body = Full::from(arguments.to_string());
    let request = Request::post(url).header(CONTENT_TYPE, "application/json").body(body)?;
    let response = client.call(request).await?;
    response.into_body().collect().await?;
    Ok(())
}

/// Returns when the process is told to end.
async fn told_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    // Without a handler the operating system's default ends the process.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let _guard = tracewell_sdk::init();
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5000".to_owned());
    let listener =
        tokio::net::TcpListener::bind(&address).await.map_err(|error| format!("listen on {address:?}: {error}"))?;
    let client = ClientLayer::new().layer(Client::builder(TokioExecutor::new()).build_http());
    let router = Router::new()
        .route("/", get(|| async { "POST /test takes [{\"url\": \"…\", \"arguments\": […]}]\n" }))
        .route("/test", post(test))
        .with_state(client)
        .layer(ServerLayer::new());
    println!("listening on http://{}", listener.local_addr()?);
    // Connections that are idle or stuck do not keep the process alive.
    let ended = async {
        told_to_end().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    };
    tokio::select! {
        served = async { axum::serve(listener, router).with_graceful_shutdown(told_to_end()).await } => served?,
        () = ended => {}
    }
    Ok(())
}
