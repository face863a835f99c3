//! The HTTP layers: two services, one trace.

use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::{Layer, Service, ServiceExt};
use tracewell_model::{SpanKind, StatusCode as SpanStatus, Value};
use tracewell_sdk::http::{ClientLayer, ServerLayer, UrlTemplate};
use tracing::instrument::WithSubscriber;
use tracing::{Dispatch, info_span};

use crate::net::{End, Stage, Ticking, find, serve, text};

/// Sends one request through a client layer; what comes back is read to the end.
async fn fetch(url: String, template: &'static str) -> (StatusCode, Bytes) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let mut client = ClientLayer::new().layer(client);
    let mut request = Request::get(url).header("user-agent", "tests/1").body(Empty::new()).unwrap();
    request.extensions_mut().insert(UrlTemplate(template.into()));
    let response = client.call(request).await.unwrap();
    (response.status(), response.into_body().collect().await.unwrap().to_bytes())
}

async fn item(State(backend): State<String>) -> Result<String, StatusCode> {
    let (status, body) = fetch(format!("{backend}/prices/7?sig=secret"), "/prices/{id}").await;
    if status.is_success() { Ok(format!("price {body:?}")) } else { Err(StatusCode::BAD_GATEWAY) }
}

async fn slow_body() -> Response {
    Response::new(Body::new(Ticking::new(&["1", "2", "3"], End::Complete)))
}

#[tokio::test]
async fn two_services_make_one_trace() {
    let stage = Stage::new();
    let prices = Router::new().route("/prices/{id}", get(|| async { "12" })).layer(ServerLayer::new());
    let backend = serve(prices, stage.service("pricing")).await;
    let shop = Router::new().route("/items/{id}", get(item)).with_state(backend).layer(ServerLayer::new());
    let front = serve(shop, stage.service("shop")).await;

    let (status, body) = fetch(format!("{front}/items/3?q=1"), "").with_subscriber(Dispatch::none()).await;
    assert_eq!((status, &body[..]), (StatusCode::OK, &b"price b\"12\""[..]));
    let spans = stage.spans(3).await;
    let server = find(&spans, "shop", "GET /items/{id}");
    let client = find(&spans, "shop", "GET /prices/{id}");
    let below = find(&spans, "pricing", "GET /prices/{id}");
    assert_eq!(server.parent_span_id, None);
    assert_eq!((client.parent_span_id, client.trace_id), (Some(server.span_id), server.trace_id));
    assert_eq!((below.parent_span_id, below.trace_id), (Some(client.span_id), server.trace_id));
    assert_eq!(
        (server.kind, client.kind, below.kind),
        (SpanKind::Server as i32, SpanKind::Client as i32, SpanKind::Server as i32)
    );
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/items/{id}"),
        ("url.path", "/items/3"),
        ("url.query", "q=1"),
        ("url.scheme", "http"),
        ("server.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "tests/1"),
    ] {
        assert_eq!(text(server, key), Some(value), "{key}");
    }
    assert_eq!(server.attribute("http.response.status_code"), Some(&Value::Int(200)));
    assert!(matches!(server.attribute("server.port"), Some(Value::Int(_))));
    assert!(text(client, "url.full").is_some_and(|url| url.ends_with("/prices/7?sig=REDACTED")));
    assert_eq!(text(client, "url.template"), Some("/prices/{id}"));
}

#[tokio::test]
async fn a_streamed_answer_counts_to_its_last_byte() {
    let stage = Stage::new();
    let router = Router::new().route("/stream", get(slow_body)).layer(ServerLayer::new());
    let front = serve(router, stage.service("shop")).await;
    let caller = stage.service("caller");
    let (_, body) = fetch(format!("{front}/stream"), "/stream").with_subscriber(caller).await;
    assert_eq!(&body[..], b"123");
    let spans = stage.spans(2).await;
    for service in ["shop", "caller"] {
        let span = find(&spans, service, "GET /stream");
        assert!(span.duration_ns() >= 55_000_000, "{service}: {} ns", span.duration_ns());
        assert_eq!(span.status.code, SpanStatus::Unset as i32);
    }
}

#[tokio::test]
async fn failures_have_a_type_and_belong_to_whoever_is_at_fault() {
    let stage = Stage::new();
    let router = Router::new()
        .route("/500", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
        .route("/404", get(|| async { StatusCode::NOT_FOUND }))
        .route("/panic", get(|| async { panic_now() }))
        .route("/never", get(std::future::pending::<()>))
        .layer(ServerLayer::new());
    let front = serve(router, stage.service("shop")).await;
    let caller = stage.service("caller");
    for path in ["/500", "/404"] {
        fetch(format!("{front}{path}"), path).with_subscriber(caller.clone()).await;
    }
    let gone = tokio::time::timeout(
        Duration::from_millis(100),
        fetch(format!("{front}/never"), "/never").with_subscriber(caller.clone()),
    );
    assert!(gone.await.is_err());
    let panicked = tokio::spawn(fetch(format!("{front}/panic"), "/panic").with_subscriber(caller));
    assert!(panicked.await.is_err(), "the connection broke");
    let spans = stage.spans(8).await;
    let (error, unset) = (SpanStatus::Error as i32, SpanStatus::Unset as i32);
    for (service, name, status, kind) in [
        ("shop", "GET /500", error, Some("500")),
        ("caller", "GET /500", error, Some("500")),
        ("shop", "GET /404", unset, None),
        ("caller", "GET /404", error, Some("404")),
        ("shop", "GET /never", error, Some("cancelled")),
        ("caller", "GET /never", error, Some("cancelled")),
        ("shop", "GET /panic", error, Some("panic")),
        ("caller", "GET /panic", error, Some("incomplete_message")),
    ] {
        let span = find(&spans, service, name);
        assert_eq!((span.status.code, text(span, "error.type")), (status, kind), "{service} {name}");
    }
}

fn panic_now() {
    panic!("on purpose");
}

#[tokio::test]
async fn unknown_methods_and_routes_do_not_make_up_names() {
    let stage = Stage::new();
    let dispatch = stage.service("shop");
    let router = Router::new().route("/", get(|| async {})).layer(ServerLayer::new());
    async {
        let _outer = info_span!("not the parent of a request").entered();
        let request = Request::builder().method("BREW").uri("/wherever").body(Body::empty()).unwrap();
        let response = futures_now(router.oneshot(request));
        drop(response);
    }
    .with_subscriber(dispatch)
    .await;
    let spans = stage.spans(1).await;
    let span = find(&spans, "shop", "HTTP");
    assert_eq!(text(span, "http.request.method"), Some("_OTHER"));
    assert_eq!(text(span, "http.request.method_original"), Some("BREW"));
    assert_eq!((text(span, "http.route"), span.parent_span_id), (None, None));
}

/// Drives a future that is ready without waiting.
fn futures_now<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut TaskContext::from_waker(std::task::Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready at once"),
    }
}
