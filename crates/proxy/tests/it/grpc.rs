//! HTTP/2 and gRPC: trailers, resets, and a proxy's own words that gRPC understands.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};
use tracewell_proxy::{Backend, Protocol, Routes};

use crate::support::{ANY, Bench, CLIENT, SERVER, backend, echo, of_kind, text};

type Sender = SendRequest<Full<Bytes>>;

async fn h2(to: SocketAddr) -> Sender {
    let stream = TcpStream::connect(to).await.unwrap();
    let (sender, connection) = http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn call(path: &str) -> Request<Full<Bytes>> {
    let uri = format!("http://shop{path}");
    let request = Request::post(uri).version(Version::HTTP_2).header("content-type", "application/grpc+proto");
    request.header("te", "trailers").header("grpc-timeout", "5S").body(Full::from("\0\0\0\0\x02ab")).unwrap()
}

/// Frames that a handler wants to send, the last of which may be an error; that one comes after a while, else the reset
/// would overtake the head.
struct Script(VecDeque<Result<Frame<Bytes>, &'static str>>, Pin<Box<Sleep>>);

impl Body for Script {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        if matches!(self.0.front(), Some(Err(_))) {
            ready!(self.1.as_mut().poll(context));
        }
        Poll::Ready(self.0.pop_front())
    }
}

/// A gRPC service: `/Shop/Ok` answers with trailers, `/Shop/Fails` with a status, `/Shop/Refuses` without a body,
/// `/Shop/Breaks` resets in the middle.
async fn service() -> SocketAddr {
    backend(|stream, _| async move {
        let service = service_fn(|request: Request<Incoming>| async move {
            assert_eq!(request.headers()["te"], "trailers");
            assert_eq!(request.headers()["grpc-timeout"], "5S");
            let path = request.uri().path().to_owned();
            let trailers = |status: &'static str| {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static(status));
                trailers.insert("grpc-message", HeaderValue::from_static("all%20well"));
                Frame::trailers(trailers)
            };
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let data = Frame::data(body);
            let (frames, status) = match path.as_str() {
                "/Shop/Ok" => (vec![Ok(data), Ok(trailers("0"))], None),
                "/Shop/Fails" => (vec![Ok(data), Ok(trailers("5"))], None),
                "/Shop/Refuses" => (vec![], Some("13")),
                _ => (vec![Ok(data), Err("broken")], None),
            };
            let mut response = Response::new(Script(frames.into(), Box::pin(sleep(Duration::from_millis(200)))));
            response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc+proto"));
            if let Some(status) = status {
                response.headers_mut().insert("grpc-status", HeaderValue::from_static(status));
            }
            Ok::<_, Infallible>(response)
        });
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_goes_through_with_its_trailers_and_its_status_is_the_spans() {
    for (path, status, on_server, on_client) in [
        ("/Shop/Ok", "OK", false, false),
        ("/Shop/Fails", "NOT_FOUND", false, true),
        ("/Shop/Refuses", "INTERNAL", true, true),
    ] {
        let bench = Bench::new(service().await).await;
        let response = h2(bench.inbound()).await.send_request(call(path)).await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/grpc+proto");
        let body = response.into_body().collect().await.unwrap();
        if path != "/Shop/Refuses" {
            assert_eq!(body.trailers().unwrap()["grpc-message"], "all%20well");
            assert_eq!(body.to_bytes().len(), 7);
        }
        let spans = bench.spans(2).await;
        for (span, failed) in [(of_kind(&spans, SERVER), on_server), (of_kind(&spans, CLIENT), on_client)] {
            assert_eq!(span.name, path.trim_start_matches('/'));
            assert_eq!(text(span, "rpc.system.name"), "grpc");
            assert_eq!(text(span, "rpc.method"), path.trim_start_matches('/'));
            assert_eq!(text(span, "rpc.response.status_code"), status);
            assert_eq!(span.status.code == 2, failed, "{path} {span:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_stream_that_breaks_is_reset_for_the_client() {
    let bench = Bench::new(service().await).await;
    let response = h2(bench.inbound()).await.send_request(call("/Shop/Breaks")).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    let spans = bench.spans(2).await;
    assert_eq!(text(of_kind(&spans, SERVER), "error.type"), "closed_in_body");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_backend_is_unavailable_in_the_words_of_grpc() {
    let dead = TcpListener::bind(ANY).await.unwrap().local_addr().unwrap();
    let bench = Bench::new(dead).await;
    let response = h2(bench.inbound()).await.send_request(call("/Shop/Ok")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "14");
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert!(response.headers()["grpc-message"].to_str().unwrap().contains("refused"));
    let spans = bench.spans(2).await;
    assert_eq!(text(of_kind(&spans, CLIENT), "error.type"), "connection_refused");
}

async fn body_of(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn plain(path: &str) -> Request<Full<Bytes>> {
    Request::post(format!("http://shop{path}")).version(Version::HTTP_2).body(Full::from("hello")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backend_gets_the_clients_version_or_the_one_that_is_said() {
    let to = echo().await;
    for (protocol, scheme, expected) in [
        (Protocol::Mirror, "http", "POST http://shop/x HTTP/2.0"),
        (Protocol::Http2, "http", "POST http://shop/x HTTP/2.0"),
        (Protocol::Http1, "http", "POST /x HTTP/1.1"),
        (Protocol::Http1, "h2c", "POST http://shop/x HTTP/2.0"),
    ] {
        let bench = Bench::with(to, |config| {
            config.protocol = protocol;
            let backend: Backend = format!("{scheme}://{to}").parse().unwrap();
            config.routes = Routes::new(Vec::new(), Some(backend));
        })
        .await;
        let told = body_of(h2(bench.inbound()).await.send_request(plain("/x")).await.unwrap()).await;
        assert!(told.starts_with(expected) && told.ends_with("hello"), "{protocol:?} {scheme}: {told}");
        if protocol == Protocol::Http1 && scheme == "http" {
            assert!(told.contains("host: shop"), "{told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_without_http_2_is_told_from_a_dead_one() {
    let to = backend(|mut stream, _| async move {
        use tokio::io::AsyncWriteExt;
        crate::support::read_until(&mut stream, b"\r\n\r\n").await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        tokio::time::sleep(crate::support::PATIENCE).await;
    });
    let bench = Bench::new(to.await).await;
    let response = h2(bench.inbound()).await.send_request(plain("/")).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-tracewell-proxy-error"]),
        (502, &HeaderValue::from_static("http2_broken"))
    );
    assert!(body_of(response).await.contains("--backend-protocol http1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_share_few_connections() {
    let to = echo().await;
    let bench = Bench::new(to).await;
    let sender = h2(bench.inbound()).await;
    let calls: Vec<_> = (0..200)
        .map(|number| {
            let mut sender = sender.clone();
            tokio::spawn(
                async move { body_of(sender.send_request(plain(&format!("/{number}x"))).await.unwrap()).await },
            )
        })
        .collect();
    for (number, call) in calls.into_iter().enumerate() {
        assert!(call.await.unwrap().contains(&format!("/{number}x ")));
    }
    bench.spans(400).await;
    let open = bench.running().stats()["backend_connections"]["http2"].as_u64().unwrap();
    assert!((1..=4).contains(&open), "{open} connections");
}
