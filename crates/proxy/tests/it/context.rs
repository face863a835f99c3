//! Whose child a request is: carried context in every format, and the request id where nothing is carried.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::Notify;
use tracewell_model::Span;
use tracewell_proxy::Infer;
use tracewell_sdk::propagate::Composite;

use crate::support::{Bench, CLIENT, SERVER, app, echo, echoed, exchange, get, of_kind, text};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

#[tokio::test(flavor = "multi_thread")]
async fn every_format_is_read_and_written() {
    let to = echo().await;
    let table = [
        ("tracecontext", format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: a=1\r\n"), "traceparent"),
        ("b3", format!("b3: {TRACE}-{PARENT}-1\r\n"), "b3"),
        ("b3multi", format!("x-b3-traceid: {TRACE}\r\nx-b3-spanid: {PARENT}\r\nx-b3-sampled: 1\r\n"), "x-b3-traceid"),
        ("jaeger", format!("uber-trace-id: {TRACE}:{PARENT}:0:1\r\n"), "uber-trace-id"),
        (
            "datadog",
            "x-datadog-trace-id: 11803532876627986230\r\nx-datadog-parent-id: 67667974448284343\r\n\
            x-datadog-sampling-priority: 1\r\nx-datadog-tags: _dd.p.tid=4bf92f3577b34da6\r\n"
                .to_owned(),
            "",
        ),
        (
            "xray",
            format!("x-amzn-trace-id: Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent={PARENT};Sampled=1\r\n"),
            "",
        ),
        ("gcp", format!("x-cloud-trace-context: {TRACE}/67667974448284343;o=1\r\n"), ""),
    ];
    for (name, lines, header) in table {
        let Ok(propagators) = Composite::from_names(name) else {
            panic!("{name} is not a format");
        };
        let bench = Bench::with(to, |config| config.propagators = propagators).await;
        let answer = get(bench.inbound(), "/", &lines).await;
        let spans = bench.spans(2).await;
        let (server, client) = (of_kind(&spans, SERVER), of_kind(&spans, CLIENT));
        assert_eq!(server.trace_id.to_string(), TRACE, "{name}");
        assert_eq!(server.parent_span_id.unwrap().to_string(), PARENT, "{name}");
        let all = answer.split_once("\r\n\r\n").unwrap().1;
        if header.is_empty() {
            // Formats that write ids as numbers or in pieces: what was there is gone.
            assert!(!all.contains("67667974448284343") && !all.contains(PARENT), "{name}: {all}");
            continue;
        }
        let told = echoed(&answer, header).unwrap_or_else(|| panic!("{name}: {answer}"));
        assert!(told.contains(TRACE), "{name}: {told}");
        assert!(all.contains(&client.span_id.to_string()) && !all.contains(PARENT), "{name}: {all}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_cannot_be_used_are_counted_and_the_request_goes_on() {
    let bench = Bench::new(echo().await).await;
    let answer = get(bench.inbound(), "/", "traceparent: ff-00-00-00\r\nbaggage: =\u{fc}, a=1\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(echoed(&answer, "baggage").as_deref(), Some("=\u{fc}, a=1"), "baggage stays as it came");
    let stats = bench.running().stats();
    let reasons = stats["bad_headers"].as_object().unwrap();
    assert!(reasons.keys().any(|reason| reason.starts_with("traceparent: ")), "{stats:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsampled_trace_is_carried_on_and_not_recorded() {
    let bench = Bench::new(echo().await).await;
    let answer = get(bench.inbound(), "/", &format!("traceparent: 00-{TRACE}-{PARENT}-00\r\n")).await;
    let told = echoed(&answer, "traceparent").unwrap();
    assert!(told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-00"), "{told}");
    get(bench.inbound(), "/", "").await;
    let spans = bench.spans(2).await;
    assert!(spans.iter().all(|span| span.trace_id.to_string() != TRACE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_id_gets_one_and_keeps_the_one_it_has() {
    let bench = Bench::new(echo().await).await;
    let id = echoed(&get(bench.inbound(), "/", "").await, "x-request-id").unwrap();
    assert!(id.len() == 36 && id.as_bytes()[14] == b'4', "{id}");
    let kept = get(bench.inbound(), "/", "x-request-id: my own \u{fc}\r\n").await;
    assert_eq!(echoed(&kept, "x-request-id").as_deref(), Some("my own \u{fc}"));
    assert!(text(&bench.spans(4).await[0], "http.request.header.x-request-id").contains(&id));
}

/// An application that calls `to` through the outbound listener, which it learns from `x-outbound`, with those of the
/// headers that it forwards.
async fn caller(to: SocketAddr, forwards: &'static [&'static str]) -> SocketAddr {
    app(move |request: Request<Incoming>| async move {
        let mut lines = String::new();
        for name in forwards {
            if let Some(value) = request.headers().get(*name).and_then(|value| value.to_str().ok()) {
                lines.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        let outbound = request.headers()["x-outbound"].to_str().unwrap().parse().unwrap();
        let call = format!("GET http://{to}/called HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n{lines}\r\n");
        Response::new(Full::new(Bytes::from(exchange(outbound, call.as_bytes()).await)))
    })
    .await
}

fn outgoing(spans: &[Span]) -> &Span {
    let role = |span: &&Span| text(span, "tracewell.proxy.role") == "outbound";
    spans.iter().find(role).unwrap_or_else(|| panic!("no outbound span: {spans:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_the_application_join_the_trace() {
    for (forwards, infer, whole, by) in [
        (&["traceparent"][..], Infer::RequestId, true, None),
        (&["x-request-id"], Infer::RequestId, true, Some("x-request-id")),
        (&["traceparent", "x-request-id"], Infer::RequestId, true, None),
        (&["x-request-id"], Infer::Off, false, None),
        (&[], Infer::RequestId, false, None),
        (&[], Infer::Single, true, Some("only request in flight")),
    ] {
        let bench = Bench::with(caller(echo().await, forwards).await, |config| config.infer = infer).await;
        let lines = format!("x-outbound: {}\r\nbaggage: user=7\r\n", bench.outbound());
        let answer = get(bench.inbound(), "/", &lines).await;
        let spans = bench.spans(3).await;
        let (server, call) = (of_kind(&spans, SERVER), outgoing(&spans));
        let client = spans.iter().find(|span| text(span, "tracewell.proxy.role") == "inbound" && span.kind == CLIENT);
        let case = format!("{forwards:?} {infer:?}");
        if whole {
            assert_eq!(call.trace_id, server.trace_id, "{case}");
            assert_eq!(call.parent_span_id, Some(client.unwrap().span_id), "{case}");
        } else {
            assert_ne!(call.trace_id, server.trace_id, "{case}");
            assert_eq!(call.parent_span_id, None, "{case}");
        }
        assert_eq!(call.attribute("tracewell.inferred").is_some(), by.is_some(), "{case}");
        assert_eq!(by.is_some(), text(call, "tracewell.inferred.by") == by.unwrap_or_default(), "{case}");
        let inner = answer.rsplit_once("\r\n\r\n").unwrap().1;
        assert!(inner.contains(&call.span_id.to_string()), "{case}: the called service gets the call's span: {inner}");
        assert_eq!(inner.contains("baggage: user=7"), by.is_some(), "{case}: {inner}");
        if let Some(by) = by {
            assert_eq!(bench.running().stats()["inferred"][by], 1, "{case}");
            assert!(inner.contains("x-request-id: "), "{case}");
        }
    }
}

/// An application that answers when it is told to.
async fn waiting(go: &Arc<Notify>) -> SocketAddr {
    let go = Arc::clone(go);
    app(move |_| {
        let go = Arc::clone(&go);
        async move {
            go.notified().await;
            Response::new(Full::default())
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn doubt_is_told_and_never_decided_between_traces() {
    let go = Arc::new(Notify::new());
    let bench = Bench::new(waiting(&go).await).await;
    let other = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let serve = |trace: &str, id: &str| {
        let (to, lines) = (bench.inbound(), format!("traceparent: 00-{trace}-{PARENT}-01\r\nx-request-id: {id}\r\n"));
        tokio::spawn(async move { get(to, "/", &lines).await })
    };
    let waiting = [serve(TRACE, "same"), serve(TRACE, "same"), serve(TRACE, "mixed"), serve(other, "mixed")];
    while bench.running().stats()["correlation"]["inbound_in_flight"] != 4 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let to = echo().await;
    for id in ["same", "mixed", "unknown"] {
        let call = format!("GET http://{to}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-request-id: {id}\r\n\r\n");
        exchange(bench.outbound(), call.as_bytes()).await;
    }
    let spans = bench.spans(3).await;
    let by_id = |id: &str| {
        let holds = |span: &&Span| text(span, "http.request.header.x-request-id").contains(&format!("\"{id}\""));
        spans.iter().find(holds).unwrap_or_else(|| panic!("{id}: {spans:#?}"))
    };
    let same = by_id("same");
    assert_eq!(same.trace_id.to_string(), TRACE);
    assert_eq!((text(same, "tracewell.inferred.candidates").as_str(), same.links.len()), ("2", 1));
    let mixed = by_id("mixed");
    assert_eq!((mixed.parent_span_id, mixed.links.len()), (None, 2));
    assert_eq!(text(mixed, "tracewell.inferred"), "false");
    assert!(text(mixed, "tracewell.inferred.refused").contains("several traces"));
    let unknown = by_id("unknown");
    assert_eq!((unknown.parent_span_id, unknown.attribute("tracewell.inferred")), (None, None));
    go.notify_waiters();
    for served in waiting {
        assert!(served.await.unwrap().starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_comes_late_still_finds_its_request_for_a_while() {
    for (linger, found) in [(Duration::from_secs(60), true), (Duration::ZERO, false)] {
        let to = echo().await;
        let bench = Bench::with(to, |config| config.linger = linger).await;
        get(bench.inbound(), "/", "x-correlation: x\r\nx-request-id: late\r\n").await;
        bench.spans(2).await;
        let call = format!("GET http://{to}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-request-id: late\r\n\r\n");
        exchange(bench.outbound(), call.as_bytes()).await;
        let spans = bench.spans(3).await;
        assert_eq!(outgoing(&spans).parent_span_id.is_some(), found, "{linger:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_headers_can_hold_the_id() {
    let bench = Bench::with(caller(echo().await, &["x-correlation-id"]).await, |config| {
        config.request_id_headers = ["x-request-id", "x-correlation-id"].map(http::HeaderName::from_static).to_vec();
    })
    .await;
    get(bench.inbound(), "/", &format!("x-outbound: {}\r\nx-correlation-id: c-1\r\n", bench.outbound())).await;
    let spans = bench.spans(3).await;
    assert_eq!(text(outgoing(&spans), "tracewell.inferred.by"), "x-correlation-id");
}
