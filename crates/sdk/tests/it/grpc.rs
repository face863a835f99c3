//! gRPC with a real tonic server and client over loopback. The messages are written by hand: no compiler of
//! protocol buffers is needed.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::uri::PathAndQuery;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{Layer, Service, service_fn};
use tracewell_model::{Event, SpanKind, SpanRecord, StatusCode as SpanStatus};
use tracewell_sdk::tonic::{Client, ClientLayer, ServerLayer};
use tracing::instrument::WithSubscriber;

use crate::net::{In, Stage, find, int, of_event, raw, text};

/// `message Text { string text = 1; }`
#[derive(Clone, PartialEq, prost::Message)]
struct Text {
    #[prost(string, tag = "1")]
    text: String,
}

type Answers = Pin<Box<dyn Stream<Item = Result<Text, Status>> + Send>>;

fn new(text: &str) -> Text {
    Text { text: text.to_owned() }
}

/// What a word asks for: the same word back, a status, a panic, or patience.
async fn answer(word: &str) -> Result<Text, Status> {
    match word.split_once(':') {
        Some(("fail", code)) => Err(Status::new(code.parse::<i32>().unwrap().into(), "as asked: é")),
        Some(("wait", milliseconds)) => {
            tokio::time::sleep(Duration::from_millis(milliseconds.parse().unwrap())).await;
            Ok(new(word))
        }
        Some(("panic", why)) => panic!("{}", why.to_owned()),
        _ => Ok(new(word)),
    }
}

async fn unary(request: Request<Text>) -> Result<Response<Text>, Status> {
    Ok(Response::new(answer(&request.into_inner().text).await?))
}

/// One answer for each word.
async fn split(request: Request<Text>) -> Result<Response<Answers>, Status> {
    let words: Vec<String> = request.into_inner().text.split(' ').map(str::to_owned).collect();
    let answers = tokio_stream::iter(words).then(|word| async move { answer(&word).await });
    Ok(Response::new(Box::pin(answers)))
}

/// All words together.
async fn join(request: Request<Streaming<Text>>) -> Result<Response<Text>, Status> {
    let (mut words, mut joined) = (request.into_inner(), String::new());
    while let Some(word) = words.message().await? {
        joined.push_str(&answer(&word.text).await?.text);
    }
    Ok(Response::new(new(&joined)))
}

async fn chat(request: Request<Streaming<Text>>) -> Result<Response<Answers>, Status> {
    let answers = request.into_inner().then(|word| async move { answer(&word?.text).await });
    Ok(Response::new(Box::pin(answers)))
}

/// What `protoc` would have written.
#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<Text, Text>::default());
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/test.Echo/Unary" => grpc.unary(service_fn(unary), request).await,
                "/test.Echo/Split" => grpc.server_streaming(service_fn(split), request).await,
                "/test.Echo/Join" => grpc.client_streaming(service_fn(join), request).await,
                "/test.Echo/Chat" => grpc.streaming(service_fn(chat), request).await,
                _ => {
                    let head = http::Response::builder().header("grpc-status", "12");
                    head.header("content-type", "application/grpc").body(Body::empty()).unwrap()
                }
            })
        })
    }
}

/// Starts the server of a stage as service `echo`.
async fn serve(stage: &Stage, layer: ServerLayer) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder().layer(In(stage.service("echo"))).layer(layer).add_service(Echo);
    tokio::spawn(server.serve_with_incoming(incoming));
    format!("http://{address}")
}

type Grpc = tonic::client::Grpc<Client<Channel>>;

fn connect(url: &str, layer: ClientLayer) -> Grpc {
    let channel = Endpoint::from_shared(url.to_owned()).unwrap().connect_lazy();
    Grpc::new(layer.layer(channel))
}

fn codec() -> ProstCodec<Text, Text> {
    ProstCodec::default()
}

fn path(path: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(path)
}

async fn call(grpc: &mut Grpc, word: &str) -> Result<Text, Status> {
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    grpc.unary(Request::new(new(word)), path("/test.Echo/Unary"), codec()).await.map(Response::into_inner)
}

fn code(record: &SpanRecord) -> (Option<&str>, Option<&str>, bool) {
    let span = &record.span;
    let failed = span.status.code == SpanStatus::Error as i32;
    (text(span, "rpc.response.status_code"), text(span, "error.type"), failed)
}

fn of<'a>(spans: &'a [SpanRecord], service: &str) -> Vec<&'a SpanRecord> {
    let mut spans: Vec<_> = spans.iter().filter(|record| record.resource.service_name() == service).collect();
    spans.sort_by_key(|record| record.span.start_unix_nano);
    spans
}

#[tokio::test]
async fn a_call_is_two_spans_of_one_trace() {
    let stage = Stage::new();
    let url = serve(&stage, ServerLayer::new().capture_request_metadata(["x-tenant", "authorization"])).await;
    let sent = async {
        let mut grpc = connect(&url, ClientLayer::to(&url).capture_response_metadata(["content-type"]));
        grpc.ready().await.unwrap();
        let mut request = Request::new(new("hello"));
        request.metadata_mut().insert("x-tenant", "a".parse().unwrap());
        request.metadata_mut().insert("authorization", "Bearer secret".parse().unwrap());
        grpc.unary(request, path("/test.Echo/Unary"), codec()).await.unwrap().into_inner().text
    };
    assert_eq!(sent.with_subscriber(stage.service("caller")).await, "hello");
    let spans = stage.spans(2).await;
    let (client, server) = (find(&spans, "caller", "test.Echo/Unary"), find(&spans, "echo", "test.Echo/Unary"));
    assert_eq!((server.trace_id, server.parent_span_id), (client.trace_id, Some(client.span_id)));
    assert_eq!((client.kind, server.kind), (SpanKind::Client as i32, SpanKind::Server as i32));
    for span in [client, server] {
        for (key, value) in [
            ("rpc.system.name", "grpc"),
            ("rpc.method", "test.Echo/Unary"),
            ("rpc.response.status_code", "OK"),
            ("server.address", "127.0.0.1"),
            ("network.protocol.version", "2"),
        ] {
            assert_eq!(text(span, key), Some(value), "{key}");
        }
        assert!(int(span, "server.port").is_some() && span.status.code == SpanStatus::Unset as i32);
    }
    assert_eq!(text(server, "network.peer.address"), Some("127.0.0.1"));
    let metadata = |key| format!("{:?}", server.attribute(key));
    assert!(metadata("rpc.request.metadata.x-tenant").contains("\"a\""));
    assert!(metadata("rpc.request.metadata.authorization").contains("Bearer REDACTED"));
    assert!(client.attribute("rpc.response.metadata.content-type").is_some());
}

#[tokio::test]
async fn each_code_is_the_fault_of_one_side_or_both() {
    let stage = Stage::new();
    let url = serve(&stage, ServerLayer::new()).await;
    let calls = async {
        let mut grpc = connect(&url, ClientLayer::to(&url));
        for number in 0..=16 {
            let word = if number == 0 { "fine".to_owned() } else { format!("fail:{number}") };
            let status = call(&mut grpc, &word).await;
            assert_eq!(status.err().map_or(Code::Ok, |status| status.code()), Code::from(number));
        }
    };
    calls.with_subscriber(stage.service("caller")).await;
    let spans = stage.spans(34).await;
    let names = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let servers_fault = ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];
    for (index, name) in names.into_iter().enumerate() {
        let (client, server) = (of(&spans, "caller")[index], of(&spans, "echo")[index]);
        let failed = |failed: bool| (Some(name), failed.then_some(name), failed);
        assert_eq!(code(client), failed(name != "OK"), "client");
        assert_eq!(code(server), failed(servers_fault.contains(&name)), "server");
        if name == "INTERNAL" {
            assert_eq!((&*client.span.status.message, &*server.span.status.message), ("as asked: é", "as asked: é"));
        }
    }
    assert!(of(&spans, "echo").iter().all(|record| record.span.name == "test.Echo/Unary"), "served, if only by a word");
}

fn messages(events: &[Event], kind: &str) -> usize {
    events
        .iter()
        .filter(|event| event.name == "rpc.message" && of_event(event, "rpc.message.type") == Some(kind))
        .count()
}

#[tokio::test]
async fn streams_of_either_direction_last_to_their_status() {
    let stage = Stage::new();
    let url = serve(&stage, ServerLayer::new().message_events(100)).await;
    let calls = async {
        let mut grpc = connect(&url, ClientLayer::to(&url).message_events(2));
        grpc.ready().await.unwrap();
        let words = || tokio_stream::iter(["a", "wait:40", "c"].map(new));
        let split = grpc.server_streaming(Request::new(new("a wait:40 c")), path("/test.Echo/Split"), codec()).await;
        assert_eq!(split.unwrap().into_inner().collect::<Vec<_>>().await.len(), 3);
        grpc.ready().await.unwrap();
        let join = grpc.client_streaming(Request::new(words()), path("/test.Echo/Join"), codec()).await;
        assert_eq!(join.unwrap().into_inner().text, "await:40c");
        grpc.ready().await.unwrap();
        let chat = grpc.streaming(Request::new(words()), path("/test.Echo/Chat"), codec()).await;
        assert_eq!(chat.unwrap().into_inner().collect::<Vec<_>>().await.len(), 3);
        grpc.ready().await.unwrap();
        let broken = grpc.server_streaming(Request::new(new("a fail:13")), path("/test.Echo/Broken"), codec());
        assert_eq!(broken.await.unwrap_err().code(), Code::Unimplemented);
        grpc.ready().await.unwrap();
        let words = Request::new(tokio_stream::iter(["a", "fail:13"].map(new)));
        let mut cut = grpc.streaming(words, path("/test.Echo/Chat"), codec()).await.unwrap().into_inner();
        assert!(cut.message().await.unwrap().is_some());
        assert_eq!(cut.message().await.unwrap_err().code(), Code::Internal);
    };
    calls.with_subscriber(stage.service("caller")).await;
    let spans = stage.spans(10).await;
    for (index, name, sent, received) in
        [(0, "test.Echo/Split", 1, 3), (1, "test.Echo/Join", 3, 1), (2, "test.Echo/Chat", 3, 3)]
    {
        for service in ["caller", "echo"] {
            let record = of(&spans, service)[index];
            assert_eq!(record.span.name, name);
            assert_eq!(code(record), (Some("OK"), None, false), "{service} {name}");
            assert!(record.span.duration_ns() >= 40_000_000, "{service} {name}");
            let counted = (messages(&record.span.events, "SENT"), messages(&record.span.events, "RECEIVED"));
            let expected = if service == "caller" { (sent.min(2), received.min(2)) } else { (received, sent) };
            assert_eq!(counted, expected, "{service} {name}");
        }
    }
    let unknown = &of(&spans, "echo")[3].span;
    assert_eq!((unknown.name.as_str(), text(unknown, "rpc.method")), ("grpc", Some("_OTHER")));
    assert_eq!(text(unknown, "rpc.method_original"), Some("test.Echo/Broken"));
    for service in ["caller", "echo"] {
        assert_eq!(code(of(&spans, service)[4]), (Some("INTERNAL"), Some("INTERNAL"), true), "{service}: by trailers");
    }
}

#[tokio::test]
async fn calls_that_are_given_up_say_why() {
    let stage = Stage::new();
    let url = serve(&stage, ServerLayer::new()).await;
    let refused = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let calls = async {
        let mut grpc = connect(&url, ClientLayer::to(&url));
        let dropped = tokio::time::timeout(Duration::from_millis(50), call(&mut grpc, "wait:10000"));
        assert!(dropped.await.is_err());

        grpc.ready().await.unwrap();
        let mut late = Request::new(new("wait:10000"));
        late.set_timeout(Duration::from_millis(50));
        assert!(grpc.unary(late, path("/test.Echo/Unary"), codec()).await.is_err());

        grpc.ready().await.unwrap();
        let half = Request::new(new("a wait:10000"));
        let mut half = grpc.server_streaming(half, path("/test.Echo/Split"), codec()).await.unwrap().into_inner();
        assert!(half.message().await.unwrap().is_some());
        drop(half);

        assert!(call(&mut grpc, "panic:no stock").await.is_err());
        let mut nobody = connect(&refused, ClientLayer::to(&refused));
        assert_eq!(call(&mut nobody, "a").await.unwrap_err().code(), Code::Unavailable);
    };
    calls.with_subscriber(stage.service("caller")).await;
    let spans = stage.spans(9).await;
    let (clients, servers) = (of(&spans, "caller"), of(&spans, "echo"));
    let failed = |code: &'static str| (Some(code), Some(code), true);
    assert_eq!(code(clients[0]), failed("CANCELLED"));
    assert_eq!(code(servers[0]), (Some("CANCELLED"), None, false), "the client's decision");
    let late = code(clients[1]);
    assert_eq!((late.0, late.2), (Some("DEADLINE_EXCEEDED"), true));
    assert_eq!(code(servers[1]), failed("DEADLINE_EXCEEDED"));
    assert_eq!(code(clients[2]), failed("CANCELLED"));
    assert_eq!(code(servers[2]), (Some("CANCELLED"), None, false), "in the middle of a stream");
    assert_eq!(code(servers[3]).1, Some("panic"));
    let exception = servers[3].span.events.iter().find(|event| event.name == "exception").unwrap();
    assert_eq!(of_event(exception, "exception.message"), Some("no stock"));
    assert!(clients[3].span.status.code == SpanStatus::Error as i32);
    assert_eq!(code(clients[4]), (Some("UNAVAILABLE"), Some("connection_refused"), true));
}

#[tokio::test]
async fn bytes_that_are_no_grpc_are_answered_and_recorded() {
    let stage = Stage::new();
    let url = serve(&stage, ServerLayer::new().message_events(10)).await;
    let answer = raw(&url, b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n", |_| false).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4") || answer[0] == 0, "{answer:?}");
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    for timeout in ["", "12", "99999999999S", "é", "1H"] {
        let request = client.post(format!("{url}/test.Echo/Unary")).header("grpc-timeout", timeout.as_bytes());
        let request = request.header("content-type", "application/grpc").header("traceparent", &b"\xff\xfe"[..]);
        let answer = request.body(vec![0xff; 300]).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{timeout:?}");
    }
    let spans = stage.spans(5).await;
    assert!(of(&spans, "echo").iter().all(|record| text(&record.span, "rpc.response.status_code").is_some()));
}
