//! Opening, sharing, filling up, closing.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracewell_ingest::{IngestConfig, Receiver, bind};

use crate::support::*;

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

#[tokio::test]
async fn a_taken_port_is_named_with_the_way_out() {
    let server = setup().await;
    for (config, receiver, expected) in [
        (
            IngestConfig { grpc: Some(server.grpc), http: None, ..IngestConfig::default() },
            Receiver::OtlpGrpc,
            format!(
                "address {} is already in use (otlp grpc); stop the other program or choose another with \
                 --otlp-grpc-listen",
                server.grpc
            ),
        ),
        (
            IngestConfig { grpc: None, http: Some(server.http), ..IngestConfig::default() },
            Receiver::OtlpHttp,
            format!(
                "address {} is already in use (otlp http); stop the other program or choose another with \
                 --otlp-http-listen",
                server.http
            ),
        ),
        (
            IngestConfig { grpc: None, http: Some("192.0.2.1:1".parse().unwrap()), ..IngestConfig::default() },
            Receiver::OtlpHttp,
            "address 192.0.2.1:1 does not belong to this machine (otlp http); choose one that does with \
             --otlp-http-listen"
                .to_owned(),
        ),
    ] {
        let error = bind(config, Arc::new(MemorySink::default())).await.unwrap_err();
        assert_eq!((error.to_string(), error.receiver), (expected, receiver));
    }
}

#[tokio::test]
async fn a_listener_can_be_left_out() {
    let config = IngestConfig { grpc: None, http: Some("127.0.0.1:0".parse().unwrap()), ..IngestConfig::default() };
    let listeners = bind(config, Arc::new(MemorySink::default())).await.unwrap();
    assert_eq!(listeners.grpc_addr, None);
    assert_ne!(listeners.http_addr.unwrap().port(), 0, "the real port is told");

    let nothing = IngestConfig { grpc: None, http: None, ..IngestConfig::default() };
    let listeners = bind(nothing, Arc::new(MemorySink::default())).await.unwrap();
    tokio::time::timeout(PATIENCE, listeners.serve(async {})).await.unwrap();
}

#[tokio::test]
async fn the_budget_is_shared_by_all_listeners_and_refuses_at_once() {
    let server = setup_with(|config| config.limits.in_flight_bytes_max = 1 << 20).await;
    let large = traces_named(&[[1; 8]], 700 << 10);
    let gate = server.sink.gate.acquire_many(1000).await.unwrap();
    let (http, body) = (server.http, post("/v1/traces", &[PROTOBUF], &large));
    let waiting = tokio::spawn(async move { exchange(http, &body).await });
    eventually("the first request arrived", || server.counters("otlp_http", "traces").bytes_decoded > 0).await;

    let answer = exchange(server.http, &post("/v1/traces", &[PROTOBUF], &large)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")), "{answer:?}");
    let answer = call(server.grpc, TRACES, &[], frame(0, &large)).await;
    assert_eq!(answer.grpc().0, 14, "{answer:?}");
    assert!(answer.header("grpc-status-details-bin").is_some(), "RetryInfo is sent");
    // What inflates past the budget is refused as well, although it looks small.
    let headers = [PROTOBUF, ("content-encoding", "gzip")];
    assert_eq!(exchange(server.http, &post("/v1/traces", &headers, &gzip(&large))).await.status, 429);
    assert_eq!(server.refused("otlp_http", "traces", "overloaded").await.count, 2);

    drop(gate);
    assert_eq!(waiting.await.unwrap().status, 200);
    let answer = exchange(server.http, &post("/v1/traces", &[PROTOBUF], &large)).await;
    assert_eq!(answer.status, 200, "given back: {answer:?}");
}

#[tokio::test]
async fn stopping_lets_requests_in_flight_finish() {
    let mut server = setup().await;
    let sink = server.sink.clone();
    let gate = sink.gate.acquire_many(1000).await.unwrap();
    let (http, grpc) = (server.http, server.grpc);
    let idle = TcpStream::connect(http).await.unwrap();
    let over_http = tokio::spawn(async move { exchange(http, &post("/v1/traces", &[PROTOBUF], &two_spans())).await });
    let over_grpc = tokio::spawn(async move { call(grpc, TRACES, &[], frame(0, &two_spans())).await });
    for receiver in ["otlp_http", "otlp_grpc"] {
        eventually("both arrived", || server.counters(receiver, "traces").bytes_decoded > 0).await;
    }
    let stopped = server.stop();
    let refuses = || std::net::TcpStream::connect(http).is_err();
    eventually("nothing new is accepted", refuses).await;
    assert!(!stopped.is_finished(), "two requests are still waiting");
    drop(gate);
    assert_eq!(over_http.await.unwrap().status, 200);
    assert_eq!(over_grpc.await.unwrap().grpc().0, 0);
    tokio::time::timeout(PATIENCE, stopped).await.unwrap().unwrap();
    assert_eq!(server.taken().len(), 2);
    drop(idle);
}

#[tokio::test]
async fn stopping_does_not_wait_longer_than_its_grace() {
    let mut server = setup_with(|config| config.limits.shutdown_grace_ms = 50).await;
    let sink = server.sink.clone();
    let _gate = sink.gate.acquire_many(1000).await.unwrap();
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    let bytes = post("/v1/traces", &[PROTOBUF], &two_spans());
    stream.write_all(&bytes).await.unwrap();
    eventually("the request arrived", || server.counters("otlp_http", "traces").bytes_decoded > 0).await;
    tokio::time::timeout(PATIENCE, server.stop()).await.unwrap().unwrap();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty(), "closed without an answer, so that the client sends it again");
}
