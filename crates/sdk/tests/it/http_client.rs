//! The clients' side on real sockets: hyper-util's client under the layer, and the client like reqwest's.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{Redirect, Response};
use axum::routing::{get, post};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::rt::TokioExecutor;
use tower::{Service, ServiceBuilder, ServiceExt};
use tracewell_model::StatusCode as SpanStatus;
use tracewell_sdk::http::{ClientLayer, ResendLayer, ServerLayer};
use tracewell_sdk::reqwest::Client;
use tracing::instrument::WithSubscriber;

use crate::net::{End, Stage, Ticking, find, int, of_event, serve, text};

fn router() -> Router {
    Router::new()
        .route("/items/{id}", get(|Path(id): Path<String>| async move { format!("item {id}") }))
        .route("/hop/{left}", get(hop))
        .route("/echo", post(|body: Bytes| async move { body }))
        .route("/header", get(|headers: HeaderMap| async move { format!("{:?}", headers.get("traceparent")) }))
        .route("/status/{code}", get(|Path(code): Path<u16>| async move { StatusCode::from_u16(code).unwrap() }))
        .route("/slow", get(|| async { Response::new(Body::new(Ticking::new(&["1", "2", "3"], End::Complete))) }))
        .route("/broken", get(|| async { Response::new(Body::new(Ticking::new(&["1"], End::Panic))) }))
        .route("/never", get(std::future::pending::<()>))
        .layer(ServerLayer::new())
}

async fn hop(Path(left): Path<u32>) -> Redirect {
    Redirect::temporary(&if left == 0 { "/items/1?sig=secret".to_owned() } else { format!("/hop/{}", left - 1) })
}

/// An address where nobody listens.
async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn attempts_are_counted_and_each_has_a_span() {
    let stage = Stage::new();
    let url = serve(router(), stage.service("shop")).await;
    let client = HyperClient::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let service = ServiceBuilder::new()
        .layer(ResendLayer::new())
        .layer(tower::retry::RetryLayer::new(UntilFine { left: 2 }))
        .layer(ClientLayer::new())
        .service(client);
    let sent = async {
        let request = Request::get(format!("{url}/status/503")).body(Empty::new()).unwrap();
        service.oneshot(request).await.unwrap().status()
    };
    assert_eq!(sent.with_subscriber(stage.service("caller")).await, StatusCode::SERVICE_UNAVAILABLE);
    let spans = stage.spans(6).await;
    let mut resends: Vec<_> = spans
        .iter()
        .filter(|record| record.resource.service_name() == "caller")
        .map(|record| int(&record.span, "http.request.resend_count"))
        .collect();
    resends.sort_unstable();
    assert_eq!(resends, [None, Some(1), Some(2)]);
}

/// Sends a request again until the answer is no 503.
#[derive(Clone)]
struct UntilFine {
    left: u32,
}

impl<R, E> tower::retry::Policy<Request<Empty<Bytes>>, http::Response<R>, E> for UntilFine {
    type Future = std::future::Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Empty<Bytes>>,
        result: &mut Result<http::Response<R>, E>,
    ) -> Option<Self::Future> {
        let again = self.left > 0 && result.as_ref().is_ok_and(|response| response.status() == 503);
        self.left = self.left.saturating_sub(1);
        again.then(|| std::future::ready(()))
    }

    fn clone_request(&mut self, request: &Request<Empty<Bytes>>) -> Option<Request<Empty<Bytes>>> {
        Some(request.clone())
    }
}

#[tokio::test]
async fn a_connection_that_fails_says_why() {
    let stage = Stage::new();
    let (refused, plain) = (nobody().await, serve(router(), stage.service("shop")).await);
    let calls = async {
        let client = HyperClient::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let mut client = ServiceBuilder::new().layer(ClientLayer::new()).service(client);
        let request = |url: String| Request::get(url).body(Empty::new()).unwrap();
        assert!(client.call(request(format!("{refused}/hyper"))).await.is_err());
        let response = client.call(request(format!("{plain}/broken"))).await.unwrap();
        assert!(response.into_body().collect().await.is_err(), "cut off in the middle");

        let client = Client::new();
        assert!(
            client
                .get(format!("{refused}/reqwest?sig=secret"))
                .template("/reqwest")
                .send()
                .await
                .unwrap_err()
                .is_connect()
        );
        let late = client.get(format!("{plain}/never")).template("/never").timeout(Duration::from_millis(50));
        assert!(late.send().await.unwrap_err().is_timeout());
        let gone = tokio::time::timeout(
            Duration::from_millis(50),
            client.get(format!("{plain}/never")).template("/gone").send(),
        );
        assert!(gone.await.is_err());
        let mut begun = client.get(format!("{plain}/slow")).template("/begun").send().await.unwrap();
        assert!(begun.chunk().await.unwrap().is_some());
    };
    calls.with_subscriber(stage.service("caller")).await;
    let spans = stage.spans(6 + 4).await;
    let caller = |path: &str| {
        let found = spans.iter().find(|record| {
            record.resource.service_name() == "caller"
                && text(&record.span, "url.full").unwrap().contains(path)
                && text(&record.span, "url.template").is_none()
        });
        &found.unwrap_or_else(|| panic!("no call of {path} in {spans:#?}")).span
    };
    for (span, error) in [
        (caller("/hyper"), "connection_refused"),
        (caller("/broken"), "unexpected_eof"),
        (find(&spans, "caller", "GET /reqwest"), "connection_refused"),
        (find(&spans, "caller", "GET /never"), "timeout"),
        (find(&spans, "caller", "GET /gone"), "cancelled"),
        (find(&spans, "caller", "GET /begun"), "cancelled"),
    ] {
        assert_eq!(
            (text(span, "error.type"), span.status.code),
            (Some(error), SpanStatus::Error as i32),
            "{}",
            span.name
        );
        assert!(!format!("{span:?}").contains("secret"), "{span:#?}");
    }
}

#[tokio::test]
async fn the_client_like_reqwests_joins_the_trace_and_keeps_what_reqwest_says() {
    let stage = Stage::new();
    let url = serve(router(), stage.service("shop")).await;
    let calls = async {
        let client =
            Client::new().with_layer(ClientLayer::new().body_sizes().capture_response_headers(["content-type"]));
        let answer = client.get(format!("{url}/items/7")).template("/items/{id}").send().await.unwrap();
        assert_eq!((answer.status(), answer.url().path()), (StatusCode::OK, "/items/7"));
        assert!(answer.remote_addr().is_some() && answer.content_length() == Some(6));
        assert_eq!(answer.text().await.unwrap(), "item 7");

        let echoed =
            client.post(format!("{url}/echo")).template("/echo").json(&[1, 2]).query(&[("a", "b")]).send().await;
        assert_eq!(echoed.unwrap().json::<Vec<u8>>().await.unwrap(), [1, 2]);

        let missing = client.get(format!("{url}/status/404")).template("/status").basic_auth("user", Some("secret"));
        assert!(missing.send().await.unwrap().error_for_status().is_err());

        let moved = client.get(format!("{url}/hop/2")).template("/hop").send().await.unwrap();
        assert_eq!(moved.url().path(), "/items/1");

        let slow = client.get(format!("{url}/slow")).template("/slow").send().await.unwrap();
        assert_eq!(slow.bytes().await.unwrap(), "123");

        assert!(client.get("not a URL").send().await.unwrap_err().is_builder());
        let request = client.get(format!("{url}/header")).build().unwrap();
        let sent = client.clone().call(request).await.unwrap().text().await.unwrap();
        assert!(sent.contains("\"00-"), "{sent}");
    };
    calls.with_subscriber(stage.service("caller")).await;
    let spans = stage.spans(6 + 9).await;
    let item = find(&spans, "caller", "GET /items/{id}");
    let below = find(&spans, "shop", "GET /items/{id}");
    assert_eq!((below.trace_id, below.parent_span_id), (item.trace_id, Some(item.span_id)));
    assert_eq!(text(item, "network.protocol.version"), Some("1.1"));
    assert_eq!((text(item, "server.address"), int(item, "http.response.body.size")), (Some("127.0.0.1"), Some(6)));
    assert!(item.attribute("http.response.header.content-type").is_some());
    assert_eq!(text(find(&spans, "caller", "GET /status"), "error.type"), Some("404"));
    assert!(text(find(&spans, "caller", "POST /echo"), "url.full").unwrap().ends_with("/echo?a=b"));
    assert!(find(&spans, "caller", "GET /slow").duration_ns() >= 60_000_000, "to the last byte");

    let moved = find(&spans, "caller", "GET /hop");
    let to: Vec<_> = moved.events.iter().filter_map(|event| of_event(event, "url.full")).collect();
    assert_eq!((to.len(), int(moved, "http.request.resend_count")), (3, Some(3)));
    assert!(to[2].ends_with("/items/1?sig=REDACTED"), "{to:?}");
    assert_eq!(int(moved, "http.response.status_code"), Some(200));
}

#[tokio::test]
async fn http_2_and_an_unread_answer() {
    let stage = Stage::new();
    let url = serve(router(), stage.service("shop")).await;
    let calls = async {
        let client = Client::from(reqwest::Client::builder().http2_prior_knowledge().build().unwrap());
        assert_eq!(
            client.get(format!("{url}/slow")).template("/slow").send().await.unwrap().text().await.unwrap(),
            "123"
        );
        drop(client.get(format!("{url}/slow")).template("/unread").send().await.unwrap());
    };
    calls.with_subscriber(stage.service("caller")).await;
    let spans = stage.spans(4).await;
    for (service, name) in [("caller", "GET /slow"), ("shop", "GET /slow"), ("caller", "GET /unread")] {
        let span = find(&spans, service, name);
        assert_eq!(text(span, "network.protocol.version"), Some("2"), "{service}");
        assert_eq!(text(span, "error.type"), None, "{service} {name}");
    }
    let unread = find(&spans, "caller", "GET /unread");
    assert!(unread.duration_ns() < 60_000_000, "nobody waited for the body");
}
