//! Upgrades and `CONNECT`: bytes both ways, and one span for as long as they flow.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, client_async};

use crate::support::{ANY, Bench, CLIENT, SERVER, backend, echo, exchange, get, of_kind, read_until, text};

/// Sends every message back.
async fn websocket() -> SocketAddr {
    backend(|stream, _| async move {
        let Ok(mut socket) = accept_async(stream).await else { return };
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() || socket.send(message).await.is_err() {
                break;
            }
        }
        // The other side may be gone.
        let _ = socket.close(None).await;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_carried_until_it_closes() {
    let bench = Bench::new(websocket().await).await;
    let stream = TcpStream::connect(bench.inbound()).await.unwrap();
    let (mut socket, response) = client_async("ws://shop/live/42", stream).await.unwrap();
    assert_eq!(response.status(), 101);
    for size in [1, 1000, 1_000_000] {
        let message = Message::binary(vec![7u8; size]);
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    assert_eq!(bench.running().stats()["requests"]["in_flight"], 1);
    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
    drop(socket);
    let spans = bench.spans(2).await;
    for span in [of_kind(&spans, SERVER), of_kind(&spans, CLIENT)] {
        assert_eq!((span.name.as_str(), text(span, "http.response.status_code").as_str()), ("GET /live/{id}", "101"));
        assert_eq!(span.status.code, 0, "{span:#?}");
        let bytes = |key: &str| text(span, key).parse::<u64>().unwrap();
        assert!(bytes("tracewell.proxy.tunnel.sent_bytes") > 1_001_001);
        assert!(bytes("tracewell.proxy.tunnel.received_bytes") > 1_001_001);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_protocol_can_be_upgraded_to_and_a_backend_may_decline() {
    let to = backend(|mut stream, number| async move {
        let head = String::from_utf8_lossy(&read_until(&mut stream, b"\r\n\r\n").await).to_ascii_lowercase();
        assert!(head.contains("upgrade: chat/1") && head.contains("connection: upgrade"), "{head}");
        if number == 0 {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
            return;
        }
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat/1\r\n\r\nwelcome";
        stream.write_all(switch).await.unwrap();
        let said = read_until(&mut stream, b"bye").await;
        stream.write_all(&said).await.unwrap();
    });
    let bench = Bench::new(to.await).await;
    let lines = "Connection: Upgrade\r\nUpgrade: chat/1\r\n";
    assert!(get(bench.inbound(), "/", lines).await.ends_with("\r\n\r\nno"));
    let mut client = TcpStream::connect(bench.inbound()).await.unwrap();
    client.write_all(format!("GET / HTTP/1.1\r\nHost: s\r\n{lines}\r\nearly ").as_bytes()).await.unwrap();
    let head = String::from_utf8(read_until(&mut client, b"\r\n\r\n").await).unwrap();
    assert!(head.starts_with("HTTP/1.1 101") && head.to_ascii_lowercase().contains("upgrade: chat/1"), "{head}");
    client.write_all(b"and bye").await.unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "welcomeearly and bye");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_not_upgraded_to_past_the_proxy() {
    let bench = Bench::new(echo().await).await;
    let lines = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n";
    let answer = get(bench.inbound(), "/", lines).await;
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.to_ascii_lowercase().contains("\nupgrade"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_makes_a_tunnel_with_one_span() {
    let to = backend(|mut stream, _| async move {
        let said = read_until(&mut stream, b"over").await;
        stream.write_all(&said).await.unwrap();
    })
    .await;
    let bench = Bench::new(echo().await).await;
    let mut client = TcpStream::connect(bench.outbound()).await.unwrap();
    client.write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).await.unwrap();
    let head = read_until(&mut client, b"\r\n\r\n").await;
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    client.write_all(b"\x00\xffbytes over").await.unwrap();
    let mut back = Vec::new();
    client.read_to_end(&mut back).await.unwrap();
    assert_eq!(back, b"\x00\xffbytes over");
    drop(client);
    let spans = bench.spans(1).await;
    assert_eq!((spans.len(), spans[0].kind, spans[0].name.as_str()), (1, CLIENT, "CONNECT"));
    assert_eq!(text(&spans[0], "server.address"), "127.0.0.1");
    assert_eq!(text(&spans[0], "tracewell.proxy.tunnel.sent_bytes"), "12");
    assert_eq!(text(&spans[0], "tracewell.proxy.tunnel.received_bytes"), "12");
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_says_what_is_wrong() {
    let bench = Bench::new(echo().await).await;
    let nobody = tokio::net::TcpListener::bind(ANY).await.unwrap().local_addr().unwrap();
    for (to, target, status) in [
        (bench.outbound(), nobody.to_string(), "502"),
        (bench.outbound(), "no-port".to_owned(), "400"),
        (bench.inbound(), nobody.to_string(), "400"),
    ] {
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
        let answer = exchange(to, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{target}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_end_with_the_proxy() {
    let mut bench = Bench::with(websocket().await, |config| config.drain_time = Duration::from_millis(100)).await;
    let stream = TcpStream::connect(bench.inbound()).await.unwrap();
    let (mut socket, _) = client_async("ws://shop/", stream).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    socket.next().await.unwrap().unwrap();
    assert!(!bench.proxy.take().unwrap().shutdown().await);
    assert!(!matches!(socket.next().await, Some(Ok(Message::Text(_)))));
    let spans = bench.spans(2).await;
    assert_eq!(text(of_kind(&spans, SERVER), "error.type"), "proxy_ended");
}
