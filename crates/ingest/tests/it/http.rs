//! OTLP/HTTP.

use bytes::Bytes;
use tracewell_ingest::{OtherSignals, Signal, SinkError};
use tracewell_wire::otlp::response::{PartialSuccess, RpcStatus, decode_export_response};

use crate::support::*;

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn every_format_and_coding_is_taken() {
    let protobuf = two_spans();
    let json = TWO_SPANS_JSON.as_bytes();
    type Compress = fn(&[u8]) -> Vec<u8>;
    let codings: [(&str, Compress); 5] =
        [("identity", |data| data.to_vec()), ("gzip", gzip), ("deflate", zlib), ("zstd", zstd), ("GZIP", gzip)];
    let types = [
        ("application/x-protobuf", protobuf.as_slice()),
        ("application/protobuf", &protobuf),
        ("application/json", json),
        ("application/json; charset=utf-8", json),
    ];
    for (content_type, body) in types {
        for (coding, compress) in codings {
            let server = setup().await;
            let headers = [("content-type", content_type), ("content-encoding", coding)];
            let answer = exchange(server.http, &post("/v1/traces", &headers, &compress(body))).await;
            let what = format!("{content_type} {coding}: {answer:?}");

            assert_eq!(answer.status, 200, "{what}");
            let plain_type = content_type.split(';').next().unwrap();
            assert_eq!(answer.header("content-type"), Some(plain_type), "{what}");
            let expected: &[u8] = if plain_type == "application/json" { b"{}" } else { b"" };
            assert_eq!(answer.body, expected, "{what}");
            let taken = server.taken();
            assert_eq!(taken.len(), 1, "{what}");
            assert_eq!((taken[0].items, taken[0].signal, &*taken[0].tenant), (2, Signal::Traces, "default"));
            if plain_type != "application/json" {
                assert_eq!(taken[0].payload, protobuf, "{what}");
            }
            let counters = server.counters("otlp_http", "traces");
            assert_eq!((counters.requests, counters.items_accepted), (1, 2), "{what}");
            assert_eq!(counters.bytes_received, compress(body).len() as u64, "{what}");
            assert_eq!(counters.bytes_decoded, body.len() as u64, "{what}");
        }
    }
}

#[tokio::test]
async fn logs_are_taken_at_their_own_path() {
    let server = setup().await;
    let answer = exchange(server.http, &post("/v1/logs", &[PROTOBUF], &one_log())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}},{}]}]}]}"#;
    let answer = exchange(server.http, &post("/v1/logs", &[JSON], json)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let taken: Vec<_> = server.taken().iter().map(|one| (one.signal, one.items)).collect();
    assert_eq!(taken, [(Signal::Logs, 1), (Signal::Logs, 2)]);
    assert_eq!(server.counters("otlp_http", "logs").items_accepted, 3);
}

#[tokio::test]
async fn invalid_spans_are_left_out_and_named() {
    let server = setup().await;
    let body = traces_named(&[[1; 8], [0; 8], [2; 8]], 1);
    let answer = exchange(server.http, &post("/v1/traces", &[PROTOBUF], &body)).await;
    assert_eq!(answer.status, 200);
    let PartialSuccess { rejected, error_message } = decode_export_response(&answer.body).unwrap().unwrap();
    assert_eq!(rejected, 1);
    assert!(error_message.contains("span id"), "{error_message}");
    assert_eq!(server.taken()[0].items, 2);

    // Nothing valid: the sink is not asked at all.
    let answer = exchange(server.http, &post("/v1/traces", &[PROTOBUF], &traces_named(&[[0; 8]; 4], 1))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(decode_export_response(&answer.body).unwrap().unwrap().rejected, 4);
    assert_eq!(server.taken().len(), 1);

    let json = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"","spanId":"","name":"a"}]}]}]}"#;
    let answer = exchange(server.http, &post("/v1/traces", &[JSON], json.as_bytes())).await;
    assert_eq!(answer.json()["partialSuccess"]["rejectedSpans"], "1", "{answer:?}");
    let rejected = server.counters("otlp_http", "traces").items_rejected;
    assert_eq!(rejected.into_iter().collect::<Vec<_>>(), [("invalid_span_id", 5), ("invalid_trace_id", 1)]);
}

#[tokio::test]
async fn an_empty_request_is_a_success() {
    let server = setup().await;
    for (headers, body) in [(PROTOBUF, &b""[..]), (JSON, b"{}"), (JSON, br#"{"resourceSpans":[]}"#)] {
        let answer = exchange(server.http, &post("/v1/traces", &[headers], body)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert!(server.taken().is_empty());
}

#[tokio::test]
async fn every_error_has_its_status_in_the_requests_format() {
    let long_tenant = "t".repeat(151);
    let post_to = |path: &str, headers: &[(&str, &str)], body: &[u8]| post(path, headers, body);
    let table: Vec<(Vec<u8>, u16, &str, &str, &str)> = vec![
        // request, status, signal, reason, a part of the message
        (post_to("/v1/traces", &[PROTOBUF], b"\xff\xff"), 400, "traces", "decode_error", "protobuf"),
        (post_to("/v1/traces", &[JSON], b"{\"resourceSpans\":[{"), 400, "traces", "decode_error", "json"),
        (post_to("/v1/traces", &[JSON], b""), 400, "traces", "decode_error", "json"),
        (post_to("/v1/logs", &[JSON], b"[]"), 400, "logs", "decode_error", "json"),
        (
            post_to("/v1/traces", &[PROTOBUF, ("content-encoding", "gzip")], b"xx"),
            400,
            "traces",
            "decode_error",
            "gzip",
        ),
        (
            post_to("/v1/traces", &[PROTOBUF, ("content-encoding", "zstd")], b"xx"),
            400,
            "traces",
            "decode_error",
            "zstd",
        ),
        (
            post_to("/v1/traces", &[PROTOBUF, ("content-encoding", "gzip")], &gzip(&two_spans())[..20]),
            400,
            "traces",
            "decode_error",
            "ends in the middle",
        ),
        (post_to("/v1/traces", &[PROTOBUF, ("x-scope-orgid", "a/b")], b""), 400, "traces", "bad_tenant", "letters"),
        (post_to("/v1/traces", &[PROTOBUF, ("x-scope-orgid", "..")], b""), 400, "traces", "bad_tenant", "must not"),
        (
            post_to("/v1/traces", &[PROTOBUF, ("x-scope-orgid", &long_tenant)], b""),
            400,
            "traces",
            "bad_tenant",
            "1 to 150",
        ),
        (post_to("/v1/nothing", &[JSON], b"{}"), 404, "other", "unknown_path", "/v1/traces"),
        (post_to("/", &[], b""), 404, "other", "unknown_path", "/v1/traces"),
        (post_to("/v1/metrics", &[PROTOBUF], b""), 404, "other", "unsupported_signal", "only traces and logs"),
        (post_to("/v1development/profiles", &[JSON], b"{}"), 404, "other", "unsupported_signal", "profiles"),
        (request("GET /v1/traces", &[], b""), 405, "traces", "method_not_allowed", "POST"),
        (request("PUT /v1/logs", &[JSON], b"{}"), 405, "logs", "method_not_allowed", "POST"),
        (post_to("/v1/traces", &[], &two_spans()), 415, "traces", "unsupported_media_type", "no content type"),
        (
            post_to("/v1/traces", &[("content-type", "text/plain")], b"hi"),
            415,
            "traces",
            "unsupported_media_type",
            "application/json",
        ),
        (
            post_to("/v1/traces", &[PROTOBUF, ("content-encoding", "br")], b"hi"),
            415,
            "traces",
            "unsupported_encoding",
            "gzip",
        ),
        (
            post_to("/v1/traces", &[PROTOBUF, ("content-encoding", "gzip, zstd")], b"hi"),
            415,
            "traces",
            "unsupported_encoding",
            "gzip, zstd",
        ),
    ];
    for (bytes, status, signal, reason, part) in table {
        let server = setup().await;
        let answer = exchange(server.http, &bytes).await;
        let what = format!("{:?} → {answer:?}", String::from_utf8_lossy(&bytes));
        assert_eq!(answer.status, status, "{what}");
        let protobuf = String::from_utf8_lossy(&bytes).contains("application/x-protobuf");
        let message = if protobuf {
            assert_eq!(answer.header("content-type"), Some("application/x-protobuf"), "{what}");
            RpcStatus::decode(&answer.body).unwrap().message
        } else {
            assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
            answer.json()["message"].as_str().unwrap().to_owned()
        };
        assert!(message.contains(part), "{what}: {message}");
        let refused = server.refused("otlp_http", signal, reason).await;
        assert_eq!((refused.count, refused.last.unwrap().message), (1, message), "{what}");
        match status {
            405 => assert_eq!(answer.header("allow"), Some("POST, OPTIONS"), "{what}"),
            415 if reason == "unsupported_encoding" => {
                assert_eq!(answer.header("accept-encoding"), Some("identity,gzip,deflate,zstd"), "{what}");
            }
            _ => {}
        }
        assert!(server.taken().is_empty(), "{what}");
    }
}

#[tokio::test]
async fn a_busy_or_broken_sink_says_when_to_retry() {
    let second_and_a_half = std::time::Duration::from_millis(1500);
    let full = SinkError::Unavailable { reason: "the disk is full".into(), retry_after: second_and_a_half };
    for (error, status, code, reason) in [
        (SinkError::Overloaded { retry_after: second_and_a_half }, 429, 14, "overloaded"),
        (full, 503, 14, "unavailable"),
    ] {
        let server = setup().await;
        *server.sink.refuse.lock().unwrap() = Some(error);
        let answer = exchange(server.http, &post("/v1/traces", &[PROTOBUF], &two_spans())).await;
        assert_eq!((answer.status, answer.header("retry-after")), (status, Some("2")), "{answer:?}");
        let rpc_status = RpcStatus::decode(&answer.body).unwrap();
        assert_eq!((rpc_status.code, rpc_status.retry_after), (code, Some(second_and_a_half)));

        let answer = exchange(server.http, &post("/v1/traces", &[JSON], TWO_SPANS_JSON.as_bytes())).await;
        assert_eq!(answer.json()["details"][0]["retryDelay"], "1.5s", "{answer:?}");
        assert_eq!(server.refused("otlp_http", "traces", reason).await.count, 2);
        assert_eq!(server.counters("otlp_http", "traces").items_accepted, 0);

        // The same request succeeds later.
        *server.sink.refuse.lock().unwrap() = None;
        let answer = exchange(server.http, &post("/v1/traces", &[PROTOBUF], &two_spans())).await;
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn tenants_reach_the_sink() {
    let server = setup().await;
    let headers = [PROTOBUF, ("X-Scope-OrgID", "team-a.(1)")];
    assert_eq!(exchange(server.http, &post("/v1/traces", &headers, &two_spans())).await.status, 200);
    assert_eq!(&*server.taken()[0].tenant, "team-a.(1)");
}

#[tokio::test]
async fn one_connection_carries_many_requests_and_survives_refusals() {
    let server = setup().await;
    let mut stream = tokio::net::TcpStream::connect(server.http).await.unwrap();
    for round in 0..3 {
        for (bytes, expected) in [
            (post("/v1/traces", &[PROTOBUF], &two_spans()), 200),
            (post("/v1/traces", &[("content-type", "text/plain")], &[b'x'; 100_000]), 415),
            (post("/v1/traces", &[PROTOBUF], b"\xff"), 400),
        ] {
            tokio::io::AsyncWriteExt::write_all(&mut stream, &bytes).await.unwrap();
            assert_eq!(read_answer(&mut stream).await.status, expected, "round {round}");
        }
    }
    assert_eq!(server.counters("otlp_http", "traces").items_accepted, 6);
}

#[tokio::test]
async fn http2_without_upgrade_works_on_the_same_port() {
    let server = setup().await;
    let mut client = http2(server.http).await;
    let answer = send(&mut client, "/v1/traces", &[PROTOBUF], two_spans()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = send(&mut client, "/v1/traces", &[PROTOBUF], vec![0xff]).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(server.taken().len(), 1);
}

#[tokio::test]
async fn both_ports_answer_both_protocols() {
    let server = setup().await;
    let answer = exchange(server.grpc, &post("/v1/traces", &[PROTOBUF], &two_spans())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = call(server.http, TRACES, &[], frame(0, &two_spans())).await;
    assert_eq!(answer.grpc().0, 0, "{answer:?}");
    assert_eq!(server.counters("otlp_http", "traces").items_accepted, 2);
    assert_eq!(server.counters("otlp_grpc", "traces").items_accepted, 2);
}

#[tokio::test]
async fn other_signals_can_be_discarded_in_silence() {
    let server = setup_with(|config| config.other_signals = OtherSignals::Discard).await;
    let answer = exchange(server.http, &post("/v1/metrics", &[PROTOBUF], b"anything")).await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b""[..]));
    let answer = exchange(server.http, &post("/v1/metrics", &[JSON], b"{}")).await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]));
    let counters = server.counters("otlp_http", "other");
    assert_eq!((counters.requests, counters.refused["unsupported_signal"].count), (2, 2), "counted all the same");
    assert!(server.taken().is_empty());
}

#[tokio::test]
async fn pages_may_send_from_allowed_origins_only() {
    let preflight = |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type,x-custom"),
            ("access-control-request-private-network", "true"),
        ];
        request("OPTIONS /v1/traces", &headers, b"")
    };
    let server = setup().await;
    let answer = exchange(server.http, &preflight("http://localhost:5173")).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    for (name, value) in [
        ("access-control-allow-origin", "http://localhost:5173"),
        ("access-control-allow-methods", "POST"),
        ("access-control-allow-headers", "content-type,x-custom"),
        ("access-control-allow-private-network", "true"),
        ("access-control-max-age", "7200"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    let headers = [JSON, ("origin", "http://localhost:5173")];
    let answer = exchange(server.http, &post("/v1/traces", &headers, TWO_SPANS_JSON.as_bytes())).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:5173"));
    assert_eq!(answer.header("vary"), Some("origin"));
    let answer = exchange(server.http, &post("/v1/traces", &headers, b"no")).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:5173"), "errors are readable too");

    let answer = exchange(server.http, &preflight("https://shop.example")).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, None));
    assert!(server.refused("otlp_http", "traces", "origin_refused").await.last.unwrap().message.contains("shop"));

    let server = setup_with(|config| config.cors.allowed_origins = vec!["https://*.example".into()]).await;
    assert_eq!(exchange(server.http, &preflight("https://shop.example")).await.status, 204);
    assert_eq!(exchange(server.http, &preflight("http://localhost:5173")).await.status, 403);

    let server = setup_with(|config| config.cors.allowed_origins = vec!["*".into()]).await;
    assert_eq!(exchange(server.http, &preflight("https://anything.test")).await.status, 204);
}

#[tokio::test]
async fn the_endpoint_can_be_mounted_elsewhere() {
    let server = setup().await;
    let request = http::Request::post("/v1/traces")
        .header("content-type", "application/x-protobuf")
        .body(http_body_util::Full::new(Bytes::from(two_spans())))
        .unwrap();
    let answer = server.endpoint.call(request, "127.0.0.1:1".parse().unwrap()).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(server.counters("otlp_http", "traces").items_accepted, 2);
}
