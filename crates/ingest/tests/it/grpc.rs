//! OTLP/gRPC.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tracewell_ingest::{OtherSignals, Signal, SinkError};
use tracewell_wire::otlp::response::{RpcStatus, decode_export_response};

use crate::support::*;

const OK: u8 = 0;
const INVALID_ARGUMENT: u8 = 3;
const DEADLINE_EXCEEDED: u8 = 4;
const NOT_FOUND: u8 = 5;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;
const UNAVAILABLE: u8 = 14;

#[tokio::test]
async fn every_coding_is_taken() {
    let message = two_spans();
    for (coding, flag, sent) in [
        (None, 0, message.clone()),
        (Some("identity"), 0, message.clone()),
        (Some("gzip"), 1, gzip(&message)),
        (Some("gzip"), 0, message.clone()),
        (Some("deflate"), 1, zlib(&message)),
        (Some("zstd"), 1, zstd(&message)),
    ] {
        let server = setup().await;
        let headers: Vec<_> = coding.map(|coding| ("grpc-encoding", coding)).into_iter().collect();
        let answer = call(server.grpc, TRACES, &headers, frame(flag, &sent)).await;
        let what = format!("{coding:?} {flag}: {answer:?}");

        assert_eq!(answer.grpc(), (OK, ""), "{what}");
        assert_eq!(answer.body, frame(0, b""), "{what}");
        assert_eq!(answer.header("content-type"), Some("application/grpc"), "{what}");
        assert_eq!(answer.header("grpc-accept-encoding"), Some("identity,gzip,deflate,zstd"), "{what}");
        assert!(answer.trailers.contains_key("grpc-status"), "an answer with a message ends with trailers: {what}");
        let taken = server.taken();
        assert_eq!((taken.len(), taken[0].items, &taken[0].payload), (1, 2, &Bytes::from(message.clone())), "{what}");
        let counters = server.counters("otlp_grpc", "traces");
        assert_eq!((counters.requests, counters.items_accepted), (1, 2), "{what}");
        assert_eq!(counters.bytes_received, 5 + sent.len() as u64, "{what}");
        assert_eq!(counters.bytes_decoded, message.len() as u64, "{what}");
    }
}

#[tokio::test]
async fn logs_have_their_own_service() {
    let server = setup().await;
    let answer = call(server.grpc, LOGS, &[], frame(0, &one_log())).await;
    assert_eq!(answer.grpc(), (OK, ""));
    assert_eq!((server.taken()[0].signal, server.taken()[0].items), (Signal::Logs, 1));
}

#[tokio::test]
async fn a_message_may_come_in_any_pieces() {
    let body = frame(1, &gzip(&two_spans()));
    for size in [1, 2, 3, 7, body.len()] {
        let server = setup().await;
        let pieces: VecDeque<Bytes> = body.chunks(size).map(Bytes::copy_from_slice).collect();
        let pieces = Pieces { pieces, stays_open: false };
        let answer = call(server.grpc, TRACES, &[("grpc-encoding", "gzip")], pieces).await;
        assert_eq!(answer.grpc(), (OK, ""), "pieces of {size}");
        assert_eq!(server.taken()[0].payload, two_spans());
    }
}

#[tokio::test]
async fn invalid_spans_are_left_out_and_named() {
    let server = setup().await;
    let answer = call(server.grpc, TRACES, &[], frame(0, &traces_named(&[[1; 8], [0; 8]], 1))).await;
    assert_eq!(answer.grpc(), (OK, ""));
    let partial = decode_export_response(&answer.body[5..]).unwrap().unwrap();
    assert_eq!(partial.rejected, 1);
    assert_eq!(server.taken()[0].items, 1);
}

#[tokio::test]
async fn every_error_has_its_code() {
    let good = frame(0, &two_spans());
    let cut = good[..good.len() - 1].to_vec();
    let twice = [good.clone(), good.clone()].concat();
    let gzipped = frame(1, &gzip(&two_spans()));
    let other = "/opentelemetry.proto.collector.trace.v1.TraceService/Import";
    let metrics = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    type Headers = &'static [(&'static str, &'static str)];
    type Row<'a> = (&'a str, Headers, Vec<u8>, u8, &'a str, &'a str);
    let table: Vec<Row<'_>> = vec![
        // path, headers, body, code, reason, a part of the message
        (TRACES, &[], frame(0, b"\xff\xff"), INVALID_ARGUMENT, "decode_error", "protobuf"),
        (TRACES, &[("grpc-encoding", "gzip")], frame(1, b"xx"), INVALID_ARGUMENT, "decode_error", "gzip"),
        (TRACES, &[("grpc-encoding", "zstd")], frame(1, b"xx"), INVALID_ARGUMENT, "decode_error", "zstd"),
        (TRACES, &[("x-scope-orgid", "a/b")], good.clone(), INVALID_ARGUMENT, "bad_tenant", "letters"),
        (TRACES, &[("grpc-encoding", "snappy")], gzipped.clone(), UNIMPLEMENTED, "unsupported_encoding", "gzip"),
        (TRACES, &[], gzipped.clone(), INTERNAL, "bad_framing", "grpc-encoding is missing"),
        (TRACES, &[("grpc-encoding", "identity")], gzipped, INTERNAL, "bad_framing", "grpc-encoding is missing"),
        (TRACES, &[], frame(2, b""), INTERNAL, "bad_framing", "neither 0 nor 1"),
        (TRACES, &[], cut, INTERNAL, "bad_framing", "ends within a message"),
        (TRACES, &[], vec![0, 0], INTERNAL, "bad_framing", "within the prefix"),
        (TRACES, &[], vec![], UNIMPLEMENTED, "bad_framing", "no message"),
        (TRACES, &[], twice, UNIMPLEMENTED, "bad_framing", "more than one message"),
        (TRACES, &[("grpc-timeout", "soon")], good.clone(), INTERNAL, "bad_framing", "grpc-timeout"),
        (TRACES, &[], frame_of_length(64 << 20 | 1), RESOURCE_EXHAUSTED, "too_large", "67108864"),
        (TRACES, &[], frame_of_length(u32::MAX), RESOURCE_EXHAUSTED, "too_large", "67108864"),
        (other, &[], good.clone(), UNIMPLEMENTED, "unknown_path", "there is no method"),
        ("/what/Ever", &[], good.clone(), UNIMPLEMENTED, "unknown_path", "there is no method"),
        (metrics, &[], good, UNIMPLEMENTED, "unsupported_signal", "only traces and logs"),
    ];
    for (path, headers, body, code, reason, part) in table {
        let server = setup().await;
        let what = format!("{path} {headers:?} {} bytes, {reason}", body.len());
        // The client never ends its stream here unless the end is what matters: the refusal must not wait for it.
        let stays_open = reason == "too_large";
        let body = Pieces { pieces: VecDeque::from([Bytes::from(body)]), stays_open };
        let answer = call(server.grpc, path, headers, body).await;
        let (found, message) = answer.grpc();
        assert_eq!(found, code, "{what}: {answer:?}");
        assert!(message.contains(part), "{what}: {message}");
        assert!(answer.headers.contains_key("grpc-status"), "an error is one block of headers: {what}");
        assert_eq!(answer.header("grpc-accept-encoding"), Some("identity,gzip,deflate,zstd"), "{what}");
        let signal = if path == TRACES { "traces" } else { "other" };
        assert_eq!(server.refused("otlp_grpc", signal, reason).await.count, 1, "{what}");
        assert!(server.taken().is_empty(), "{what}");
    }
}

/// The prefix of a message of that length, and nothing of the message.
fn frame_of_length(length: u32) -> Vec<u8> {
    [&[0][..], &length.to_be_bytes()].concat()
}

#[tokio::test]
async fn what_is_not_grpc_gets_a_status_of_http() {
    let server = setup().await;
    let mut client = http2(server.grpc).await;
    for content_type in ["text/plain", "application/json", "application/grpc+json", "application/grpc-web"] {
        let answer = send(&mut client, TRACES, &[("content-type", content_type)], frame(0, b"")).await;
        assert_eq!(answer.status, 415, "{content_type}: {answer:?}");
    }
    for content_type in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
        let answer = send(&mut client, TRACES, &[("content-type", content_type)], frame(0, b"")).await;
        assert_eq!(answer.grpc(), (OK, ""), "{content_type}");
    }
    let bytes = post(TRACES, &[("content-type", "application/grpc")], &frame(0, b""));
    assert_eq!(exchange(server.grpc, &bytes).await.status, 505, "gRPC over HTTP/1.1");
}

#[tokio::test]
async fn a_busy_or_broken_sink_says_when_to_retry() {
    let delay = Duration::from_millis(2500);
    for error in [
        SinkError::Overloaded { retry_after: delay },
        SinkError::Unavailable { reason: "le disque est plein à 100%".into(), retry_after: delay },
    ] {
        let server = setup().await;
        *server.sink.refuse.lock().unwrap() = Some(error.clone());
        let answer = call(server.grpc, TRACES, &[], frame(0, &two_spans())).await;
        let (code, message) = answer.grpc();
        assert_eq!(code, UNAVAILABLE, "{answer:?}");
        assert_eq!(message, error.to_string().replace('%', "%25").replace('à', "%C3%A0"));
        let details = base64(answer.header("grpc-status-details-bin").unwrap());
        let expected = RpcStatus { code: 14, message: error.to_string(), retry_after: Some(delay) };
        assert_eq!(RpcStatus::decode(&details).unwrap(), expected);
        let alone = base64(answer.header("google.rpc.retryinfo-bin").unwrap());
        assert_eq!(alone, field(1, &[0x08, 2, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01]), "2 s and 500,000,000 ns");
    }
}

/// Decodes base64 without padding.
fn base64(text: &str) -> Vec<u8> {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<usize> = text.chars().map(|c| alphabet.find(c).unwrap()).collect();
    let groups = digits.chunks(4).map(|group| {
        let bits = group.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - group.len()));
        [(bits >> 16) as u8, (bits >> 8) as u8, bits as u8][..group.len() - 1].to_vec()
    });
    groups.flatten().collect()
}

#[tokio::test]
async fn deadlines_of_the_client_hold_for_body_and_sink() {
    let server = setup().await;
    let gate = server.sink.gate.acquire_many(1000).await.unwrap();
    let answer = call(server.grpc, TRACES, &[("grpc-timeout", "50m")], frame(0, &two_spans())).await;
    assert_eq!(answer.grpc().0, DEADLINE_EXCEEDED, "the sink waits: {answer:?}");
    drop(gate);

    let body = Pieces { pieces: VecDeque::from([Bytes::from_static(&[0, 0])]), stays_open: true };
    let answer = call(server.grpc, TRACES, &[("grpc-timeout", "50m")], body).await;
    assert_eq!(answer.grpc().0, DEADLINE_EXCEEDED, "the body does not come: {answer:?}");
    assert_eq!(server.refused("otlp_grpc", "traces", "deadline_exceeded").await.count, 2);

    let answer = call(server.grpc, TRACES, &[("grpc-timeout", "20S")], frame(0, &two_spans())).await;
    assert_eq!(answer.grpc(), (OK, ""));
    // What the sink had begun is not undone by the client that left.
    assert_eq!(server.taken().len(), 2);
}

#[tokio::test]
async fn health_is_served() {
    let server = setup().await;
    let check = "/grpc.health.v1.Health/Check";
    let answer = call(server.grpc, check, &[], frame(0, b"")).await;
    assert_eq!((answer.grpc(), &answer.body[..]), ((OK, ""), &frame(0, &[8, 1])[..]));
    let named = field(1, b"opentelemetry.proto.collector.trace.v1.TraceService");
    assert_eq!(call(server.grpc, check, &[], frame(0, &named)).await.grpc().0, OK);
    assert_eq!(call(server.grpc, check, &[], frame(0, &field(1, b"x"))).await.grpc().0, NOT_FOUND);
    assert_eq!(call(server.grpc, "/grpc.health.v1.Health/Watch", &[], frame(0, b"")).await.grpc().0, UNIMPLEMENTED);
}

#[tokio::test]
async fn metrics_can_be_discarded_in_silence() {
    let server = setup_with(|config| config.other_signals = OtherSignals::Discard).await;
    let metrics = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    let answer = call(server.grpc, metrics, &[], frame(0, b"anything")).await;
    assert_eq!((answer.grpc(), &answer.body[..]), ((OK, ""), &frame(0, b"")[..]));
}

#[tokio::test]
async fn one_connection_carries_many_requests_at_a_time() {
    let server = setup().await;
    let client = http2(server.grpc).await;
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move {
                let headers = [("content-type", "application/grpc")];
                send(&mut client, TRACES, &headers, frame(0, &two_spans())).await.grpc().0
            })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), OK);
    }
    assert_eq!(server.counters("otlp_grpc", "traces").items_accepted, 400);
}
