//! Clients that are broken, slow, lying or hostile.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const RESOURCE_EXHAUSTED: u8 = 8;
const UNAVAILABLE: u8 = 14;

/// One GiB of zeros in about a megabyte.
fn gzip_bomb() -> &'static [u8] {
    static BOMB: OnceLock<Vec<u8>> = OnceLock::new();
    BOMB.get_or_init(|| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for _ in 0..1024 {
            encoder.write_all(&[0; 1 << 20]).unwrap();
        }
        encoder.finish().unwrap()
    })
}

/// One GiB of zeros in about thirty kilobytes.
fn zstd_bomb() -> &'static [u8] {
    static BOMB: OnceLock<Vec<u8>> = OnceLock::new();
    BOMB.get_or_init(|| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        for _ in 0..1024 {
            encoder.write_all(&[0; 1 << 20]).unwrap();
        }
        encoder.finish().unwrap()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_are_refused_and_memory_stays_flat() {
    let server = setup().await;
    let bombs = [("gzip", gzip_bomb()), ("zstd", zstd_bomb())];
    let base_bytes = resident_bytes();
    static DONE: AtomicBool = AtomicBool::new(false);
    static PEAK_BYTES: AtomicU64 = AtomicU64::new(0);
    let watcher = std::thread::spawn(|| {
        while !DONE.load(Ordering::Relaxed) {
            PEAK_BYTES.fetch_max(resident_bytes(), Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    let mut tasks = Vec::new();
    for (coding, bomb) in bombs {
        for _ in 0..4 {
            let (http, grpc) = (server.http, server.grpc);
            tasks.push(tokio::spawn(async move {
                let bytes = post("/v1/traces", &[PROTOBUF, ("content-encoding", coding)], bomb);
                let answer = exchange(http, &bytes).await;
                assert!([413, 429].contains(&answer.status), "{coding}: {answer:?}");
                let answer = call(grpc, TRACES, &[("grpc-encoding", coding)], frame(1, bomb)).await;
                assert!([RESOURCE_EXHAUSTED, UNAVAILABLE].contains(&answer.grpc().0), "{coding}: {answer:?}");
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    DONE.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
    let grown_bytes = PEAK_BYTES.load(Ordering::Relaxed).saturating_sub(base_bytes);
    // 16 GiB came out of the bombs at a bound of 128 MiB in flight; other tests run in this process too.
    assert!(grown_bytes < 700 << 20, "memory grew by {} MiB", grown_bytes >> 20);
    let answer = exchange(server.http, &post("/v1/traces", &[PROTOBUF], &two_spans())).await;
    assert_eq!(answer.status, 200, "the budget is free again");
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() {
    let exact = traces_named(&[[1; 8]], 9_000);
    let limit = exact.len() as u64;
    let more = traces_named(&[[1; 8]], 9_001);
    assert_eq!(more.len() as u64, limit + 1);
    type Compress = fn(&[u8]) -> Vec<u8>;
    let codings: [(&str, Compress); 4] =
        [("identity", |data| data.to_vec()), ("gzip", gzip), ("deflate", zlib), ("zstd", zstd)];
    let server = setup_with(|config| config.limits.body_bytes_max = limit).await;
    for (coding, compress) in codings {
        let headers = [PROTOBUF, ("content-encoding", coding)];
        let flag = u8::from(coding != "identity");
        let http = |body: &[u8]| post("/v1/traces", &headers, &compress(body));
        let grpc = |body: &[u8]| frame(flag, &compress(body));
        let grpc_headers = [("grpc-encoding", coding)];

        assert_eq!(exchange(server.http, &http(&exact)).await.status, 200, "{coding}");
        assert_eq!(exchange(server.http, &http(&more)).await.status, 413, "{coding}");
        assert_eq!(call(server.grpc, TRACES, &grpc_headers, grpc(&exact)).await.grpc().0, 0, "{coding}");
        let answer = call(server.grpc, TRACES, &grpc_headers, grpc(&more)).await;
        assert_eq!(answer.grpc().0, RESOURCE_EXHAUSTED, "{coding}");
        assert_eq!(answer.header("grpc-status-details-bin"), None, "no RetryInfo: a retry cannot help");
    }
    assert_eq!(server.taken().len(), 8);
    assert_eq!(server.counters("otlp_http", "traces").refused["too_large"].count, 4);
}

#[tokio::test]
async fn an_announced_size_is_refused_before_the_body() {
    let server = setup().await;
    let headers = [PROTOBUF, ("content-length", "10000000000")];
    let answer = exchange(server.http, &post("/v1/traces", &headers, b"")).await;
    assert_eq!(answer.status, 413, "{answer:?}");

    // A client that asks first is told before it sends anything.
    let headers = [PROTOBUF, ("content-length", "10000000000"), ("expect", "100-continue")];
    let answer = exchange(server.http, &post("/v1/traces", &headers, b"")).await;
    assert_eq!(answer.status, 413, "{answer:?}");
}

#[tokio::test]
async fn a_client_in_the_middle_of_a_large_body_still_reads_the_refusal() {
    let server = setup_with(|config| config.limits.body_bytes_max = 1 << 20).await;
    let body = traces_named(&[[1; 8]], 1 << 20 | 1);
    for _ in 0..5 {
        let mut stream = TcpStream::connect(server.http).await.unwrap();
        stream.write_all(&post("/v1/traces", &[PROTOBUF], &body)).await.unwrap();
        assert_eq!(read_answer(&mut stream).await.status, 413);
        // All of it was read, so the connection goes on.
        stream.write_all(&post("/v1/traces", &[PROTOBUF], &two_spans())).await.unwrap();
        assert_eq!(read_answer(&mut stream).await.status, 200);
    }
}

#[tokio::test]
async fn expect_continue_is_answered() {
    let server = setup().await;
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    let bytes = post("/v1/traces", &[PROTOBUF, ("expect", "100-continue")], &two_spans());
    let head = bytes.len() - two_spans().len();
    stream.write_all(&bytes[..head]).await.unwrap();
    let mut line = [0; 25];
    stream.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&bytes[head..]).await.unwrap();
    assert_eq!(read_answer(&mut stream).await.status, 200);
}

#[tokio::test]
async fn chunked_bodies() {
    let chunked = |body: &[u8], size: usize, ending: &str| {
        let mut bytes = post("/v1/traces", &[PROTOBUF, ("transfer-encoding", "chunked")], b"");
        for chunk in body.chunks(size) {
            bytes.extend(format!("{:x};ext=1\r\n", chunk.len()).as_bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(ending.as_bytes());
        bytes
    };
    let server = setup_with(|config| config.limits.body_bytes_max = 1000).await;
    for size in [1, 7, 1000] {
        let answer = exchange(server.http, &chunked(&two_spans(), size, "0\r\n\r\n")).await;
        assert_eq!(answer.status, 200, "chunks of {size}: {answer:?}");
    }
    let answer = exchange(server.http, &chunked(&two_spans(), 10, "0\r\nx-trailer: 1\r\n\r\n")).await;
    assert_eq!(answer.status, 200, "trailers: {answer:?}");
    let answer = exchange(server.http, &chunked(&[0; 5000], 100, "0\r\n\r\n")).await;
    assert_eq!(answer.status, 413, "no length was announced: {answer:?}");

    let mut stream = TcpStream::connect(server.http).await.unwrap();
    stream.write_all(&chunked(&two_spans(), 10, "zz\r\n")).await.unwrap();
    assert_eq!(read_answer(&mut stream).await.status, 400, "a chunk size that is not a number");
    assert_eq!(server.refused("otlp_http", "traces", "aborted").await.count, 1);
    assert_eq!(server.taken().len(), 4);
}

#[tokio::test]
async fn junk_is_counted_and_answered() {
    for addr_of in [|server: &Server| server.grpc, |server: &Server| server.http] {
        let server = setup().await;
        let receiver = if addr_of(&server) == server.grpc { "otlp_grpc" } else { "otlp_http" };
        let send = async |bytes: &[u8]| {
            let mut stream = TcpStream::connect(addr_of(&server)).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            let mut answer = Vec::new();
            // Closed without a reset: the answer can be read to its end.
            tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
            answer
        };
        let answer = send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on").await;
        assert_eq!(answer, [0x15, 3, 3, 0, 2, 2, 0x28], "a TLS alert");
        let refused = server.refused(receiver, "other", "not_http").await;
        assert!(refused.last.unwrap().message.contains("TLS"));
        for junk in [&b"hello\r\n"[..], b"\x00\x00\x00\x00\x00\x00", b"{\"resourceSpans\":[]}\n"] {
            let answer = String::from_utf8(send(junk).await).unwrap();
            assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("gRPC and HTTP\n"), "{answer}");
        }
        let answer = String::from_utf8(send(b"GET this is not HTTP\r\n\r\n").await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand then no frames of HTTP/2 at all").await;
        let count = || server.counters(receiver, "other").refused["not_http"].count;
        eventually("all six are counted", || count() == 6).await;
        // Somebody who only looks whether the port is open is not an error.
        drop(TcpStream::connect(addr_of(&server)).await.unwrap());
        let answer = exchange(addr_of(&server), &post("/v1/traces", &[PROTOBUF], &two_spans())).await;
        assert_eq!(answer.status, 200);
        assert_eq!(count(), 6);
    }
}

#[tokio::test]
async fn half_closed_connections_get_their_answer() {
    let server = setup().await;
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    stream.write_all(&post("/v1/traces", &[PROTOBUF], &two_spans())).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_answer(&mut stream).await.status, 200);
    assert_eq!(server.taken().len(), 1);
}

#[tokio::test]
async fn a_connection_cut_within_a_body_stores_nothing() {
    let server = setup().await;
    let bytes = post("/v1/traces", &[PROTOBUF], &two_spans());
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    stream.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
    drop(stream);
    assert_eq!(server.refused("otlp_http", "traces", "aborted").await.count, 1);
    assert!(server.taken().is_empty());
}

#[tokio::test]
async fn slow_clients_are_given_up() {
    let server = setup_with(|config| {
        config.limits.body_idle_timeout_ms = 50;
        config.limits.head_timeout_ms = 50;
    })
    .await;
    let bytes = post("/v1/traces", &[PROTOBUF], &two_spans());
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    stream.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")), "the body stands still");
    assert_eq!(server.refused("otlp_http", "traces", "timed_out").await.count, 1);

    let body = Pieces { pieces: VecDeque::from([Bytes::from_static(&[0, 0])]), stays_open: true };
    let answer = call(server.grpc, TRACES, &[], body).await;
    assert_eq!(answer.grpc().0, 4, "{answer:?}");

    for head in [&b""[..], b"POST", b"POST /v1/traces HTTP/1.1\r\nhost:"] {
        let mut stream = TcpStream::connect(server.http).await.unwrap();
        stream.write_all(head).await.unwrap();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "the head stands still after {head:?}");
    }
}

#[tokio::test]
async fn a_drip_of_bytes_does_not_hold_a_body_open_forever() {
    let server = setup_with(|config| config.limits.body_timeout_ms = 100).await;
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    let headers = [PROTOBUF, ("content-length", "1000000")];
    stream.write_all(&post("/v1/traces", &headers, b"")).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let drip = tokio::spawn(async move {
        while writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let mut start = [0; 12];
    tokio::time::timeout(PATIENCE, reading.read_exact(&mut start)).await.unwrap().unwrap();
    assert_eq!(&start, b"HTTP/1.1 408");
    drip.abort();
}

#[tokio::test]
async fn announcing_much_and_sending_nothing_takes_no_place() {
    let server = setup().await;
    let headers = [PROTOBUF, ("content-length", "60000000")];
    let mut liars = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(server.http).await.unwrap();
        stream.write_all(&post("/v1/traces", &headers, b"x")).await.unwrap();
        liars.push(stream);
    }
    let answer = exchange(server.http, &post("/v1/traces", &[PROTOBUF], &two_spans())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn connections_past_the_limit_are_closed() {
    let server = setup_with(|config| config.limits.connections_max = 2).await;
    let mut first = TcpStream::connect(server.http).await.unwrap();
    let second = TcpStream::connect(server.grpc).await.unwrap();
    first.write_all(&post("/v1/traces", &[PROTOBUF], &two_spans())).await.unwrap();
    assert_eq!(read_answer(&mut first).await.status, 200);
    let open = || server.stats.snapshot().receivers.iter().map(|r| r.connections_open).sum::<u64>();
    eventually("two are open", || open() == 2).await;
    let mut third = TcpStream::connect(server.http).await.unwrap();
    let mut nothing = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, third.read_to_end(&mut nothing)).await.unwrap();
    assert!(nothing.is_empty());
    assert_eq!(server.refused("otlp_http", "other", "too_many_connections").await.count, 1);

    drop(second);
    eventually("one is open", || open() == 1).await;
    let answer = exchange(server.grpc, &post("/v1/traces", &[PROTOBUF], &two_spans())).await;
    assert_eq!(answer.status, 200, "a place is free again");
}

#[tokio::test]
async fn opening_and_resetting_streams_in_a_loop_harms_nobody_else() {
    let server = setup().await;
    let client = http2(server.grpc).await;
    for _ in 0..2000 {
        let mut client = client.clone();
        let body = Pieces { pieces: VecDeque::from([Bytes::from_static(&[0, 0])]), stays_open: true };
        let request = http::Request::post(format!("http://localhost{TRACES}"))
            .header("content-type", "application/grpc")
            .body(body)
            .unwrap();
        // Dropped after one poll: the stream is opened and reset.
        let sent = client.send_request(request);
        let _ = tokio::time::timeout(Duration::ZERO, sent).await;
        tokio::task::yield_now().await;
    }
    let answer = call(server.grpc, TRACES, &[], frame(0, &two_spans())).await;
    assert_eq!(answer.grpc().0, 0, "{answer:?}");
}

#[tokio::test]
async fn headers_are_bounded() {
    let server = setup().await;
    let long = "x".repeat(100_000);
    let answer = exchange(server.http, &post("/v1/traces", &[PROTOBUF, ("x-long", &long)], b"")).await;
    assert_eq!(answer.status, 431, "{answer:?}");
}

/// Bodies that start out valid or not, damaged in one place, in pieces.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let valid = prop_oneof![
        Just(two_spans()),
        Just(one_log()),
        Just(TWO_SPANS_JSON.as_bytes().to_vec()),
        Just(gzip(&two_spans())),
        Just(zlib(&two_spans())),
        Just(zstd(&two_spans())),
        proptest::collection::vec(any::<u8>(), 0..200),
    ];
    (valid, any::<prop::sample::Index>(), any::<u8>(), any::<bool>(), 0..3u8).prop_map(
        |(mut body, at, byte, framed, flag)| {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] ^= byte;
            }
            if framed { frame(flag, &body) } else { body }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn bad_input_is_never_the_servers_fault(
        body in bodies(),
        path in prop::sample::select(vec!["/v1/traces", "/v1/logs", TRACES, LOGS, "/grpc.health.v1.Health/Check"]),
        content_type in prop::sample::select(vec!["application/x-protobuf", "application/json", "application/grpc"]),
        coding in prop::sample::select(vec!["identity", "gzip", "deflate", "zstd"]),
        piece_bytes in 1usize..300,
    ) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let server = setup().await;
            let pieces = body.chunks(piece_bytes).map(Bytes::copy_from_slice).collect();
            let request = http::Request::post(path)
                .version(http::Version::HTTP_2)
                .header("content-type", content_type)
                .header("content-encoding", coding)
                .header("grpc-encoding", coding)
                .body(Pieces { pieces, stays_open: false })
                .unwrap();
            let answer = server.endpoint.call(request, "127.0.0.1:1".parse().unwrap()).await;
            assert!(!answer.status().is_server_error(), "{answer:?}");
            for receiver in server.stats.snapshot().receivers {
                for signal in receiver.signals {
                    assert!(!signal.refused.contains_key("internal"), "{signal:?}");
                }
            }
            assert_eq!(server.stats.snapshot().in_flight_bytes, 0, "everything is given back");
        });
    }
}
