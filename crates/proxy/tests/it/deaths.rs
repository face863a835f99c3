//! Backends that die, and clients that leave: at every point of a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{ANY, Bench, CLIENT, PATIENCE, SERVER, backend, exchange, get, of_kind, read_until, text};

/// Closes with a reset instead of a farewell.
fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

async fn nobody() -> SocketAddr {
    TcpListener::bind(ANY).await.unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_begins_is_a_502_with_the_reason() {
    let closes = backend(|mut stream, _| async move {
        read_until(&mut stream, b"\r\n\r\n").await;
    });
    let resets = backend(|mut stream, _| async move {
        read_until(&mut stream, b"\r\n\r\n").await;
        reset(&stream);
    });
    let babbles = backend(|mut stream, _| async move {
        read_until(&mut stream, b"\r\n\r\n").await;
        let _ = stream.write_all(b"220 smtp.example ESMTP\r\n\r\n").await;
    });
    let large = backend(|mut stream, _| async move {
        read_until(&mut stream, b"\r\n\r\n").await;
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(300 << 10)).as_bytes()).await;
    });
    for (name, to, reason) in [
        ("refused", nobody().await, "connection_refused"),
        ("closes", closes.await, "closed_before_answer"),
        ("resets", resets.await, "closed_before_answer"),
        ("babbles", babbles.await, "malformed_answer"),
        ("large", large.await, "malformed_answer"),
    ] {
        let bench = Bench::new(to).await;
        let answer = get(bench.inbound(), "/", "").await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{name}: {answer}");
        assert!(
            answer.to_ascii_lowercase().contains(&format!("x-tracewell-proxy-error: {reason}")),
            "{name}: {answer}"
        );
        assert!(answer.contains(&format!("tracewell proxy: http://{to}: ")), "{name}: {answer}");
        let spans = bench.spans(2).await;
        for span in [of_kind(&spans, SERVER), of_kind(&spans, CLIENT)] {
            assert_eq!((text(span, "error.type").as_str(), span.status.code), (reason, 2), "{name}");
        }
        assert_eq!(text(of_kind(&spans, SERVER), "http.response.status_code"), "502", "{name}");
        assert_eq!(bench.running().stats()["failures"][reason], 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_address_and_a_time_that_is_over_are_told_apart() {
    let bench = Bench::with(nobody().await, |config| {
        config.routes = tracewell_proxy::Routes::new(Vec::new(), Some("http://nowhere.invalid".parse().unwrap()));
    })
    .await;
    let answer = get(bench.inbound(), "/", "").await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("name_not_resolved"), "{answer}");

    let silent = backend(|stream, _| async move {
        tokio::time::sleep(PATIENCE).await;
        drop(stream);
    });
    let bench = Bench::with(silent.await, |config| config.answer_time = Some(Duration::from_millis(100))).await;
    let answer = get(bench.inbound(), "/", "").await;
    assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("answer_timeout"), "{answer}");
}

/// The client must see that something is missing: no last chunk, or fewer bytes than announced.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    for (head, chunked) in
        [("Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n", true), ("Content-Length: 100\r\n\r\npart", false)]
    {
        for hard in [false, true] {
            let to = backend(move |mut stream, _| async move {
                read_until(&mut stream, b"\r\n\r\n").await;
                stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
                if hard {
                    reset(&stream);
                }
            });
            let bench = Bench::new(to.await).await;
            let answer = get(bench.inbound(), "/", "").await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("part"), "{answer}");
            assert!(!answer.ends_with("0\r\n\r\n") || !chunked, "{answer}");
            let spans = bench.spans(2).await;
            for span in [of_kind(&spans, SERVER), of_kind(&spans, CLIENT)] {
                assert_eq!((text(span, "error.type").as_str(), span.status.code), ("closed_in_body", 2), "{span:#?}");
            }
        }
    }
}

/// A backend that answers the first request of a connection and hangs up at the second.
async fn moody(seen: &Arc<AtomicUsize>) -> SocketAddr {
    let seen = Arc::clone(seen);
    backend(move |mut stream, number| {
        let seen = Arc::clone(&seen);
        async move {
            loop {
                let head = read_until(&mut stream, b"\r\n\r\n").await;
                if head.is_empty() {
                    return;
                }
                let first = seen.fetch_add(1, Ordering::SeqCst) == 0;
                if number == 0 && !first {
                    return;
                }
                let mut body = String::new();
                if String::from_utf8_lossy(&head).to_ascii_lowercase().contains("content-length: 5") {
                    body = String::from_utf8_lossy(&read_until(&mut stream, b"hello").await).into_owned();
                }
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_died_is_tried_again_with_the_body_where_that_is_allowed() {
    for (method, status) in [("PUT", "200"), ("POST", "502")] {
        let seen = Arc::new(AtomicUsize::new(0));
        let bench = Bench::new(moody(&seen).await).await;
        assert!(get(bench.inbound(), "/", "").await.starts_with("HTTP/1.1 200"));
        while bench.running().stats()["backend_connections"]["idle_http1"] != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let request = format!("{method} / HTTP/1.1\r\nHost: s\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
        let answer = exchange(bench.inbound(), request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{method}: {answer}");
        let spans = bench.spans(4).await;
        let client = spans.iter().rfind(|span| span.kind == CLIENT).unwrap();
        if status == "200" {
            assert!(answer.ends_with("hello"), "the body was sent twice: {answer}");
            assert_eq!(text(client, "http.request.resend_count"), "1");
            assert_eq!(text(client, "http.request.body.size"), "5");
            assert_eq!(client.status.code, 0);
        } else {
            assert_eq!(text(client, "error.type"), "closed_before_answer");
        }
        assert_eq!(bench.running().stats()["requests"]["retried"], u64::from(status == "200"));
    }
}

/// A backend that closed its side while the connection was idle costs nothing, whatever the method.
#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_hangs_up_between_requests_is_not_noticed() {
    let to = backend(|mut stream, _| async move {
        read_until(&mut stream, b"\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    });
    let bench = Bench::new(to.await).await;
    for number in 0..20 {
        let request = "POST / HTTP/1.1\r\nHost: s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        let answer = exchange(bench.inbound(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{number}: {answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_its_request_along() {
    let gone = Arc::new(AtomicBool::new(false));
    let noticed = Arc::clone(&gone);
    let to = backend(move |mut stream, _| {
        let noticed = Arc::clone(&noticed);
        async move {
            read_until(&mut stream, b"\r\n\r\n").await;
            // Nothing more comes: this returns when the proxy hangs up.
            let _ = stream.read_u8().await;
            noticed.store(true, Ordering::SeqCst);
        }
    });
    let bench = Bench::new(to.await).await;
    let mut client = TcpStream::connect(bench.inbound()).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: s\r\n\r\n").await.unwrap();
    while bench.running().stats()["correlation"]["inbound_in_flight"] != 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(client);
    let spans = bench.spans(2).await;
    assert_eq!(text(of_kind(&spans, SERVER), "error.type"), "client_gone");
    tokio::time::timeout(PATIENCE, async {
        while !gone.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the backend is left too");
    assert_eq!(bench.running().stats()["requests"]["in_flight"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_breaks_off_its_upload_is_told_from_a_dead_backend() {
    let to = backend(|mut stream, _| async move {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all).await;
    });
    let bench = Bench::new(to.await).await;
    let mut client = TcpStream::connect(bench.inbound()).await.unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 100\r\n\r\npart").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.shutdown().await.unwrap();
    let spans = bench.spans(2).await;
    let kind = text(of_kind(&spans, SERVER), "error.type");
    assert!(kind.starts_with("client_"), "{kind}");
}
