//! HTTP as it has to go through.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracewell_proxy::{Egress, Limits};

use crate::support::{ANY, Bench, CLIENT, SERVER, backend, echo, echoed, exchange, get, of_kind, read_until, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_makes_two_spans_and_the_backend_gets_the_second_as_parent() {
    let bench = Bench::new(echo().await).await;
    let head =
        "GET /carts/42?sig=abc HTTP/1.1\r\nhost: shop.example:8080\r\nuser-agent: test/1\r\nconnection: close\r\n\r\n";
    let answer = exchange(bench.inbound(), head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let spans = bench.spans(2).await;
    let (server, client) = (of_kind(&spans, SERVER), of_kind(&spans, CLIENT));
    assert_eq!((server.name.as_str(), client.name.as_str()), ("GET /carts/{id}", "GET /carts/{id}"));
    assert_eq!((server.parent_span_id, client.parent_span_id), (None, Some(server.span_id)));
    assert_eq!(client.flags & 0x200, 0, "the parent is not remote");
    let traceparent = format!("00-{}-{}-03", client.trace_id, client.span_id);
    assert_eq!(echoed(&answer, "traceparent"), Some(traceparent));
    for (key, expected) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.path", "/carts/42"),
        ("url.query", "sig=REDACTED"),
        ("url.template", "/carts/{id}"),
        ("server.address", "shop.example"),
        ("server.port", "8080"),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "test/1"),
    ] {
        assert_eq!(text(server, key), expected, "{key}");
    }
    assert_eq!(text(client, "tracewell.proxy.connection"), "new");
    assert!(client.attribute("tracewell.proxy.connect_ns").is_some());
    assert!(client.attribute("tracewell.proxy.first_byte_ns").is_some());
    assert!(text(client, "url.full").ends_with("/carts/42?sig=REDACTED"));
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(text(server, "http.response.body.size"), body.len().to_string());
}

/// What the client sends, and lines that the backend must or must not see.
#[tokio::test(flavor = "multi_thread")]
async fn heads_reach_the_backend_as_they_should() {
    let bench = Bench::new(echo().await).await;
    let table: &[(&str, &[&str], &[&str])] = &[
        ("GET / HTTP/1.1\r\nHost: shop\r\n", &["GET / HTTP/1.1", "host: shop", "x-forwarded-for: 127.0.0.1"], &["te:"]),
        ("GET http://other/x?y=1 HTTP/1.1\r\nHost: shop\r\n", &["GET /x?y=1 ", "host: other"], &["host: shop"]),
        ("OPTIONS * HTTP/1.1\r\nHost: shop\r\n", &["OPTIONS * HTTP/1.1"], &[]),
        ("BREW /pot HTTP/1.1\r\nHost: shop\r\n", &["BREW /pot "], &[]),
        ("GET / HTTP/1.0\r\n", &["GET / HTTP/1.1", "host: 127.0.0.1", "via: 1.0 tracewell-"], &[]),
        (
            "GET / HTTP/1.1\r\nHost: shop\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=1\r\n",
            &[],
            &["x-hop", "keep-alive", "connection"],
        ),
        (
            "GET / HTTP/1.1\r\nHost: shop\r\nTE: trailers, deflate\r\n",
            &["te: trailers", "connection: te"],
            &["deflate"],
        ),
        ("GET / HTTP/1.1\r\nHost: shop\r\nX-Odd: caf\u{e9} \u{fc}\r\n", &["x-odd: caf\u{e9} \u{fc}"], &[]),
        ("GET / HTTP/1.1\r\nHost: shop\r\ntraceparent: rubbish\r\n", &["traceparent: 00-"], &["rubbish"]),
        ("GET /a%20b/%FF{}?{}|\u{fc} HTTP/1.1\r\nHost: shop\r\n", &["GET /a%20b/%FF{}?{}|\u{fc} "], &[]),
        ("GET / HTTP/1.1\r\nHost: shop\r\nX-Forwarded-For: 9.9.9.9\r\n", &["x-forwarded-for: 9.9.9.9, 127.0.0.1"], &[]),
        ("GET / HTTP/1.1\r\nHost: shop\r\nForwarded: for=9.9.9.9\r\n", &["forwarded: for=9.9.9.9, for=127.0.0.1"], &[]),
    ];
    for (head, present, absent) in table {
        let answer = exchange(bench.inbound(), format!("{head}Connection: close\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.") && answer.contains(" 200 OK\r\n"), "{head:?}: {answer}");
        let got = answer.split_once("\r\n\r\n").unwrap().1;
        present.iter().for_each(|line| assert!(got.contains(line), "{head:?}: no {line:?} in {got}"));
        absent.iter().for_each(|line| assert!(!got.contains(line), "{head:?}: {line:?} in {got}"));
    }
}

/// Requests that no server may take, and none that crashes it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_is_refused_and_counted() {
    let bench = Bench::new(echo().await).await;
    let large = format!("GET / HTTP/1.1\r\nHost: shop\r\nX-Large: {}\r\n\r\n", "x".repeat(200 << 10));
    let many = format!("GET / HTTP/1.1\r\nHost: shop\r\n{}\r\n", "a: b\r\n".repeat(1000));
    let table: &[(&[u8], &str)] = &[
        (b"GET / HTTP/1.1\r\nHost: shop\r\nX-Nul: a\0b\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: shop\r\nX Space: a\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: shop\r\nX-Cr: a\rb\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400"),
        (b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: -1\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked, identity\r\n\r\n", "400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400"),
        (b"\xff\xfe\x00\x01 rubbish\r\n\r\n", "400"),
        (large.as_bytes(), "431"),
        (many.as_bytes(), "431"),
    ];
    for (bytes, status) in table {
        let answer = exchange(bench.inbound(), bytes).await;
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{start:?}: {answer:?}");
    }
    assert!(get(bench.inbound(), "/", "").await.contains("200 OK"), "the proxy goes on");
    let stats = bench.running().stats();
    let refused: u64 = stats["bad_requests"].as_object().unwrap().values().filter_map(|count| count.as_u64()).sum();
    assert_eq!(refused, table.len() as u64, "{stats:#}");
}

/// The backend sees a body that is framed once and in one way, whatever the client tried.
#[tokio::test(flavor = "multi_thread")]
async fn a_length_beside_chunked_is_not_passed_on() {
    let bench = Bench::new(echo().await).await;
    let smuggled = b"POST / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n0\r\n\r\n";
    let answer = exchange(bench.inbound(), smuggled).await;
    if answer.contains("200 OK") {
        assert_eq!(echoed(&answer, "content-length"), None, "{answer}");
        assert!(answer.contains("hello"), "{answer}");
    } else {
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_keep_their_framing_both_ways() {
    let bench = Bench::new(echo().await).await;
    for method in ["POST", "GET", "DELETE"] {
        let sized = format!("{method} / HTTP/1.1\r\nHost: s\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
        let answer = exchange(bench.inbound(), sized.as_bytes()).await;
        assert_eq!(echoed(&answer, "content-length").as_deref(), Some("5"), "{answer}");
        assert!(answer.ends_with("\nhello") && !answer.contains("chunked"), "{answer}");
        let chunked = format!(
            "{method} / HTTP/1.1\r\nHost: s\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        );
        let answer = exchange(bench.inbound(), chunked.as_bytes()).await;
        assert_eq!(echoed(&answer, "transfer-encoding").as_deref(), Some("chunked"), "{answer}");
        assert!(answer.ends_with("\nhello"), "{answer}");
    }
    let answer =
        exchange(bench.inbound(), b"POST / HTTP/1.1\r\nHost: s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .await;
    assert_eq!(echoed(&answer, "content-length").as_deref(), Some("0"));
}

/// An answer as the backend writes it, and as the client reads it.
#[tokio::test(flavor = "multi_thread")]
async fn answers_reach_the_client_as_they_should() {
    let table: &[(&str, &str, &str, &[&str])] = &[
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 123\r\n\r\n", "HTTP/1.1 200", &["Content-Length: 123"]),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", "HTTP/1.1 304", &["ETag: \"x\""]),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204", &[]),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "HTTP/1.1 200",
            &["\r\nabc\r\n"],
        ),
        ("GET", "HTTP/1.0 200 OK\r\n\r\nuntil the end", "HTTP/1.1 200", &["until the end"]),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 200",
            &["\r\n\r\nok"],
        ),
        ("GET", "HTTP/1.1 299 Own Words\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 299 Own Words", &[]),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=\u{fc}\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200",
            &["Set-Cookie: a=1", "Set-Cookie: b=\u{fc}"],
        ),
        (
            "GET",
            "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 ",
            &["\r\n\r\nok"],
        ),
    ];
    for (method, written, start, present) in table {
        let bytes = written.as_bytes().to_vec();
        let bench = Bench::new(
            backend(move |mut stream, _| {
                let bytes = bytes.clone();
                async move {
                    read_until(&mut stream, b"\r\n\r\n").await;
                    stream.write_all(&bytes).await.unwrap();
                }
            })
            .await,
        )
        .await;
        let request = format!("{method} / HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n");
        let answer = exchange(bench.inbound(), request.as_bytes()).await;
        assert!(answer.starts_with(start), "{written:?}: {answer:?}");
        present.iter().for_each(|part| assert!(answer.contains(part), "{written:?}: no {part:?} in {answer:?}"));
        assert!(!answer.contains("X-Hop") && answer.contains("via: 1.") || answer.contains("Via: 1."), "{answer:?}");
        let spans = bench.spans(2).await;
        assert!(spans.iter().all(|span| span.status.code == 0), "{written:?}: {spans:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_go_through_in_both_directions() {
    let backend = backend(|mut stream, _| async move {
        let got = read_until(&mut stream, b"\r\n\r\n").await;
        let rest = read_until(&mut stream, b"x-sum: 7\r\n\r\n").await;
        let told = [got, rest].concat().len();
        let answer = "HTTP/1.1 200 OK\r\nTrailer: X-Total\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Total: 9\r\n\r\n";
        assert!(told > 0);
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let bench = Bench::new(backend).await;
    let request = "POST / HTTP/1.1\r\nHost: s\r\nConnection: close, te\r\nTE: trailers\r\nTrailer: X-Sum\r\n\
        Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 7\r\n\r\n";
    let answer = exchange(bench.inbound(), request.as_bytes()).await;
    assert!(answer.to_ascii_lowercase().ends_with("0\r\nx-total: 9\r\n\r\n"), "{answer:?}");
}

/// A client that waits for leave gets it from the backend, or a refusal without having sent its body.
#[tokio::test(flavor = "multi_thread")]
async fn expect_100_continue_is_the_backends_to_answer() {
    let head = b"POST / HTTP/1.1\r\nHost: s\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let asks = backend(|mut stream, _| async move {
        let got = read_until(&mut stream, b"\r\n\r\n").await;
        assert!(String::from_utf8_lossy(&got).to_ascii_lowercase().contains("expect: 100-continue"));
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        read_until(&mut stream, b"hello").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    });
    let bench = Bench::new(asks.await).await;
    let mut client = TcpStream::connect(bench.inbound()).await.unwrap();
    client.write_all(head).await.unwrap();
    assert_eq!(read_until(&mut client, b"\r\n\r\n").await, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"hello").await.unwrap();
    assert!(read_until(&mut client, b"\r\n\r\n").await.starts_with(b"HTTP/1.1 200"));

    let refuses = backend(|mut stream, _| async move {
        read_until(&mut stream, b"\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(read_until(&mut stream, b"hello").await.is_empty(), "no body is sent");
    });
    let bench = Bench::new(refuses.await).await;
    let mut client = TcpStream::connect(bench.inbound()).await.unwrap();
    client.write_all(head).await.unwrap();
    assert!(read_until(&mut client, b"\r\n\r\n").await.starts_with(b"HTTP/1.1 413"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order_over_one_connection() {
    let bench = Bench::new(echo().await).await;
    let mut requests: String = (0..20).map(|n| format!("GET /{n}x HTTP/1.1\r\nHost: s\r\n\r\n")).collect();
    requests.push_str("GET /last HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n");
    let answers = exchange(bench.inbound(), requests.as_bytes()).await;
    let mut at = 0;
    for path in (0..20).map(|n| format!("GET /{n}x ")).chain(["GET /last ".to_owned()]) {
        at += answers[at..].find(&path).unwrap_or_else(|| panic!("{path} in its place: {answers}"));
    }
}

/// Neither side is gathered: a gigabyte would not fit, and the first part arrives before the last is written.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_stream_with_back_pressure() {
    let backend = backend(|mut stream, _| async move {
        read_until(&mut stream, b"\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await.unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        stream.write_all(b"4\r\nlast\r\n0\r\n\r\n").await.unwrap();
    })
    .await;
    let bench = Bench::new(backend).await;
    let mut client = TcpStream::connect(bench.inbound()).await.unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 1\r\n\r\n").await.unwrap();
    read_until(&mut client, b"first\r\n").await;
    client.write_all(b"x").await.unwrap();
    assert!(read_until(&mut client, b"0\r\n\r\n").await.ends_with(b"4\r\nlast\r\n0\r\n\r\n"));

    let (fill, stopped) = (vec![b'x'; 1 << 20], std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    let written = std::sync::Arc::clone(&stopped);
    let endless = crate::support::backend(move |mut stream, _| {
        let (fill, written) = (fill.clone(), std::sync::Arc::clone(&written));
        async move {
            read_until(&mut stream, b"\r\n\r\n").await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            while stream.write_all(&fill).await.is_ok() {
                written.fetch_add(fill.len(), std::sync::atomic::Ordering::Relaxed);
            }
        }
    });
    let bench = Bench::new(endless.await).await;
    let mut client = TcpStream::connect(bench.inbound()).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: s\r\n\r\n").await.unwrap();
    read_until(&mut client, b"\r\n\r\n").await;
    let read = || stopped.load(std::sync::atomic::Ordering::Relaxed);
    let mut before = usize::MAX;
    while read() != before {
        before = read();
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    assert!(before < 64 << 20, "{before} bytes were taken from the backend although nobody read");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_header_is_the_clients_or_the_backends() {
    let to = echo().await;
    let bench = Bench::with(to, |config| config.rewrite_host = true).await;
    assert_eq!(echoed(&get(bench.inbound(), "/", "").await, "host"), Some(to.to_string()));
    let bench = Bench::with(to, |config| {
        config.egress.push(Egress { listen: ANY, to: format!("http://{to}").parse().unwrap() });
        (config.forwarded, config.via) = (false, false);
    })
    .await;
    let answer = get(bench.running().addresses().egress[0], "/", "").await;
    assert_eq!(echoed(&answer, "host"), Some(to.to_string()));
    let answer = get(bench.inbound(), "/", "").await;
    assert_eq!(echoed(&answer, "host").as_deref(), Some("shop"));
    assert!(echoed(&answer, "via").is_none() && echoed(&answer, "x-forwarded-for").is_none(), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_choose_by_host_and_path_and_say_when_none_fits() {
    let (first, second) = (
        echo().await,
        backend(|mut stream, _| async move {
            read_until(&mut stream, b"\r\n\r\n").await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond").await;
        })
        .await,
    );
    let bench = Bench::with(first, |config| {
        let rows = [format!("/api=http://{first}"), format!("admin.example/=http://{second}")];
        config.routes = tracewell_proxy::Routes::new(rows.iter().map(|row| row.parse().unwrap()).collect(), None);
    })
    .await;
    assert!(get(bench.inbound(), "/api/x", "").await.contains("GET /api/x "));
    let other =
        exchange(bench.inbound(), b"GET /api HTTP/1.1\r\nHost: admin.example:8080\r\nConnection: close\r\n\r\n").await;
    assert!(other.ends_with("second"), "{other}");
    let none = get(bench.inbound(), "/", "").await;
    assert!(none.starts_with("HTTP/1.1 404") && none.contains("no route"), "{none}");
    let spans = bench.spans(5).await;
    assert!(spans.iter().any(|span| span.kind == SERVER && text(span, "error.type") == "no_route"), "{spans:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_ends() {
    let port = std::net::TcpListener::bind(ANY).unwrap().local_addr().unwrap();
    let mut config = tracewell_proxy::Config { inbound: Some(port), ..Default::default() };
    config.routes = tracewell_proxy::Routes::new(Vec::new(), Some(format!("http://{port}").parse().unwrap()));
    let started = tracewell_proxy::start(config, tracing::Dispatch::none()).await;
    assert!(matches!(started, Err(tracewell_proxy::StartError::Loop { .. })));

    let bench = Bench::new(echo().await).await;
    let to_itself = format!("GET http://{}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", bench.outbound());
    let answer = exchange(bench.outbound(), to_itself.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 508") || answer.starts_with("HTTP/1.1 400"), "{answer}");
    let lost = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", bench.outbound());
    assert!(exchange(bench.outbound(), lost.as_bytes()).await.starts_with("HTTP/1.1 400"));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded() {
    let bench = Bench::with(echo().await, |config| {
        config.limits = Limits { connections_max: 1, ..Limits::default() };
    })
    .await;
    let mut first = TcpStream::connect(bench.inbound()).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nHost: s\r\n\r\n").await.unwrap();
    read_until(&mut first, b"\r\n\r\n").await;
    let refused = get(bench.inbound(), "/", "").await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("too many connections"), "{refused}");
    assert_eq!(bench.running().stats()["connections"]["refused"], 1);
}
