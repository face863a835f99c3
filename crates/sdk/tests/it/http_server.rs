//! The server's layer on real sockets: what odd clients, odd handlers and each option do.

use std::io::ErrorKind;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use tracewell_model::{SpanRecord, StatusCode as SpanStatus, Value};
use tracewell_sdk::http::ServerLayer;
use tracewell_sdk::{SpanExt, diagnostics};

use crate::net::{End, Stage, Ticking, find, int, of_event, raw, serve, text};

/// The whole answer to a request on a connection of its own.
async fn ask(url: &str, head: &str) -> String {
    let request = format!("{head}\r\nconnection: close\r\n\r\n");
    String::from_utf8_lossy(&raw(url, request.as_bytes(), |_| false).await).into_owned()
}

fn streaming(frames: &[&'static str], end: End) -> Response {
    Response::new(Body::new(Ticking::new(frames, end)))
}

#[tokio::test]
async fn no_bytes_in_any_header_break_a_request() {
    let stage = Stage::new();
    let router = Router::new().route("/", any(|| async { "fine" })).layer(
        ServerLayer::new()
            .behind_proxy()
            .server_timing()
            .body_sizes()
            .capture_request_headers(["x-any", "authorization"]),
    );
    let url = serve(router, stage.service("shop")).await;
    let names = [
        "traceparent",
        "tracestate",
        "baggage",
        "host",
        "user-agent",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "authorization",
        "x-any",
        "b3",
        "uber-trace-id",
    ];
    let values: [&[u8]; 9] =
        [b"", b" \t ", b"\xff\xfe\x80", b"\xc3\xa9", b"00-", b";;;,,,===", b"\"", b"[::1", &[b'a'; 9000]];
    let mut sent = 0;
    for name in names {
        for value in values {
            let mut request = format!("GET /?q=%ff HTTP/1.1\r\n{name}: ").into_bytes();
            request.extend_from_slice(value);
            // The same header twice, as broken proxies do.
            request.extend_from_slice(format!("\r\n{name}: x\r\nconnection: close\r\n\r\n").as_bytes());
            let answer = raw(&url, &request, |_| false).await;
            assert!(answer.starts_with(b"HTTP/1.1 200 "), "{name}: {value:?}: {}", String::from_utf8_lossy(&answer));
            sent += 1;
        }
    }
    let spans = stage.spans(sent).await;
    assert_eq!(spans.len(), sent);
    assert!(spans.iter().all(|record| record.span.status.code == SpanStatus::Unset as i32));
    assert!(diagnostics::snapshot().iter().any(|problem| problem.kind == "traceparent"), "counted, not told");
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_is_marked() {
    let stage = Stage::new();
    let router = Router::new()
        .route("/endless", get(|| async { streaming(&["x"; 1000], End::Complete) }))
        .route("/short", get(|| async { streaming(&["x", "y"], End::Complete) }))
        .route("/sized", get(|| async { ([("content-length", "2")], streaming(&["x", "y", ""], End::Complete)) }))
        .route("/none", get(|| async { (StatusCode::NO_CONTENT, streaming(&["x"], End::Complete)) }))
        .layer(ServerLayer::new().body_sizes());
    let url = serve(router, stage.service("shop")).await;
    let first_byte = |answer: &[u8]| answer.ends_with(b"x\r\n");
    raw(&url, b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n", first_byte).await;
    ask(&url, "GET /short HTTP/1.1\r\nhost: a").await;
    ask(&url, "GET /sized HTTP/1.1\r\nhost: a").await;
    ask(&url, "GET /none HTTP/1.1\r\nhost: a").await;
    ask(&url, "HEAD /endless HTTP/1.1\r\nhost: a").await;
    let spans = stage.spans(5).await;
    for (name, error, bytes) in [
        ("GET /endless", Some("cancelled"), None),
        ("GET /short", None, Some(2)),
        ("GET /sized", None, Some(2)),
        ("GET /none", None, Some(0)),
        ("HEAD /endless", None, Some(0)),
    ] {
        let span = find(&spans, "shop", name);
        let sent = int(span, "http.response.body.size").unwrap();
        assert_eq!((text(span, "error.type"), bytes.unwrap_or(sent)), (error, sent), "{name}");
        assert!(int(span, "http.response.status_code").is_some(), "{name}: the head was sent");
    }
}

/// A handler that survives a panic of a part of it, as a layer that catches panics does.
async fn caught() -> StatusCode {
    match std::panic::catch_unwind(|| panic!("caught {}", 1)) {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn panicking() {
    panic!("order {} is unknown", 7);
}

#[tokio::test]
async fn panics_and_broken_bodies_are_exceptions_of_the_span() {
    let stage = Stage::new();
    let router = Router::new()
        .route("/handler", get(|| async { panicking() }))
        .route("/body", get(|| async { streaming(&["x"], End::Panic) }))
        .route("/caught", get(caught))
        .route("/broken", get(|| async { streaming(&["x"], End::Error(ErrorKind::UnexpectedEof)) }))
        .layer(ServerLayer::new());
    let url = serve(router, stage.service("shop")).await;
    for path in ["/handler", "/body", "/caught", "/broken"] {
        ask(&url, &format!("GET {path} HTTP/1.1\r\nhost: a")).await;
    }
    let spans = stage.spans(4).await;
    for (name, error, words) in [
        ("GET /handler", "panic", Some("order 7 is unknown")),
        ("GET /body", "panic", Some("in the body")),
        ("GET /caught", "500", Some("caught 1")),
        ("GET /broken", "unexpected_eof", None),
    ] {
        let span = find(&spans, "shop", name);
        assert_eq!(text(span, "error.type"), Some(error), "{name}");
        assert_eq!(span.status.code, SpanStatus::Error as i32, "{name}");
        let exception = span.events.iter().find(|event| event.name == "exception");
        assert_eq!(exception.and_then(|event| of_event(event, "exception.message")), words, "{name}");
        if let Some(event) = exception {
            assert_eq!(of_event(event, "exception.type"), Some("panic"));
            assert!(of_event(event, "exception.stacktrace").is_some_and(|trace| trace.starts_with("at ")), "{name}");
        }
    }
}

#[tokio::test]
async fn an_upgraded_connection_is_one_short_span() {
    let stage = Stage::new();
    let upgrade = |mut request: Request<Body>| async move {
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(upgraded.await);
        });
        (StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "websocket")])
    };
    let router = Router::new().route("/ws", get(upgrade)).layer(ServerLayer::new());
    let url = serve(router, stage.service("shop")).await;
    let request = b"GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let answer = raw(&url, request, |_| false).await;
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    let spans = stage.spans(1).await;
    let span = find(&spans, "shop", "GET /ws");
    assert_eq!((int(span, "http.response.status_code"), text(span, "error.type")), (Some(101), None));
    assert!(span.duration_ns() < 300_000_000, "the span is the handshake, not the session");
}

#[tokio::test]
async fn the_route_is_known_through_nested_routers() {
    let stage = Stage::new();
    let inner = || Router::new().route("/items/{id}", get(|| async {}));
    let router = Router::new()
        .nest("/plain", inner())
        .nest_service("/service", inner().layer(ServerLayer::new()))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(ServerLayer::new());
    let url = serve(router, stage.service("shop")).await;
    for path in ["/plain/items/1", "/service/items/2", "/nowhere/3"] {
        ask(&url, &format!("GET {path} HTTP/1.1\r\nhost: a")).await;
    }
    let spans = stage.spans(3).await;
    assert_eq!(spans.len(), 3, "a layer in another one makes no second span");
    for (name, route) in [
        ("GET /plain/items/{id}", Some("/plain/items/{id}")),
        ("GET /service/items/{id}", Some("/service/items/{id}")),
        ("GET", None),
    ] {
        assert_eq!(text(find(&spans, "shop", name), "http.route"), route, "{name}");
    }
}

fn list(values: &[&str]) -> Option<Value> {
    Some(Value::Array(values.iter().map(|value| Value::Str((*value).into())).collect()))
}

#[tokio::test]
async fn every_option_does_what_it_says() {
    let stage = Stage::new();
    let answer = || async { ([("x-shard", "7"), ("set-cookie", "secret")], "four").into_response() };
    let layer = ServerLayer::new()
        .behind_proxy()
        .body_sizes()
        .server_timing()
        .known_methods(["BREW"])
        .redact_query_parameters(["token"])
        .capture_request_headers(["X-Tenant", "authorization", "not a header\n"])
        .capture_response_headers(["x-shard", "set-cookie"]);
    let url = serve(Router::new().route("/", any(answer)).layer(layer), stage.service("shop")).await;
    let head = "BREW /?token=a&b=c HTTP/1.1\r\nhost: inner:8080\r\nx-tenant: a\r\nx-tenant: b\r\ncontent-length: 3\r\n\
                authorization: Bearer abc\r\nforwarded: for=\"[2001:db8::7]:9\";proto=https;host=shop.example";
    let answer = raw(&url, format!("{head}\r\nconnection: close\r\n\r\nabc").as_bytes(), |_| false).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let spans = stage.spans(1).await;
    let span = find(&spans, "shop", "BREW /");
    for (key, value) in [
        ("http.request.method", "BREW"),
        ("url.query", "token=REDACTED&b=c"),
        ("url.scheme", "https"),
        ("server.address", "shop.example"),
        ("client.address", "2001:db8::7"),
        ("network.peer.address", "127.0.0.1"),
    ] {
        assert_eq!(text(span, key), Some(value), "{key}");
    }
    for (key, value) in [("http.request.body.size", 3), ("http.response.body.size", 4)] {
        assert_eq!(int(span, key), Some(value), "{key}");
    }
    for (key, values) in [
        ("http.request.header.x-tenant", &["a", "b"][..]),
        ("http.request.header.authorization", &["Bearer REDACTED"]),
        ("http.response.header.x-shard", &["7"]),
        ("http.response.header.set-cookie", &["REDACTED"]),
    ] {
        assert_eq!(span.attribute(key).cloned(), list(values), "{key}");
    }
    let expected = format!("server-timing: traceparent;desc=\"00-{}-{}-", span.trace_id, span.span_id);
    assert!(answer.contains(&expected), "{answer}");
}

#[tokio::test]
async fn what_is_skipped_leaves_nothing_behind_but_its_context() {
    let stage = Stage::new();
    let inner = || async {
        let _below = tracing::info_span!("below").entered();
        tracing::Span::current().context().map(|context| context.to_traceparent()).unwrap_or_default()
    };
    let no_robots = |parts: &http::request::Parts| !parts.headers.contains_key("x-robot");
    let layer = ServerLayer::new().skip_paths(["/healthz"]).filter(no_robots);
    let router = Router::new().route("/", get(inner)).route("/healthz", get(inner)).layer(layer);
    let url = serve(router, stage.service("shop")).await;
    let caller = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for head in [
        format!("GET /healthz HTTP/1.1\r\nhost: a\r\n{caller}"),
        format!("GET / HTTP/1.1\r\nhost: a\r\nx-robot: 1\r\n{caller}"),
    ] {
        let answer = ask(&url, &head).await;
        assert!(
            answer.contains("00-4bf92f3577b34da6a3ce929d0e0e4736-") && answer.trim_end().ends_with("-00"),
            "{answer}"
        );
    }
    ask(&url, &format!("GET / HTTP/1.1\r\nhost: a\r\n{caller}")).await;
    let spans: Vec<SpanRecord> = stage.spans(2).await;
    let mut names: Vec<&str> = spans.iter().map(|record| record.span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["GET /", "below"]);
}

#[tokio::test]
async fn handlers_see_the_headers_as_they_were_sent() {
    let stage = Stage::new();
    let echo =
        |headers: HeaderMap| async move { format!("{:?}", headers.get_all("traceparent").iter().collect::<Vec<_>>()) };
    let url = serve(Router::new().route("/", get(echo)).layer(ServerLayer::new()), stage.service("shop")).await;
    let answer = ask(&url, "GET / HTTP/1.1\r\nhost: a\r\ntraceparent: x\r\nTraceParent: y").await;
    assert!(answer.ends_with("[\"x\", \"y\"]"), "{answer}");
}
