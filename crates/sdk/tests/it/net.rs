//! What tests with real sockets share: services on loopback ports, each under a subscriber of its own.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http_body::Frame;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::Service;
use tracewell_model::{Event, Span, SpanRecord, Value};
use tracewell_sdk::{Pipeline, Resource, under};
use tracing::instrument::WithSubscriber;
use tracing::{Dispatch, Level};

use crate::receiver::Receiver;

/// A receiver and a pipeline to it.
pub struct Stage {
    receiver: Receiver,
    pipeline: Pipeline,
}

impl Stage {
    pub fn new() -> Self {
        let receiver = Receiver::start(vec![]);
        let pipeline = Pipeline::start_with(receiver.traces_only(), |_| {}).unwrap();
        Self { receiver, pipeline }
    }

    /// A subscriber for one service.
    pub fn service(&self, name: &str) -> Dispatch {
        self.pipeline.tracer(&Resource::new(name)).dispatch(Level::INFO)
    }

    /// Waits until `count` spans have arrived; a server may end its own after its client has read the answer.
    pub async fn spans(self, count: usize) -> Vec<SpanRecord> {
        let wait = move || {
            for _ in 0..400 {
                assert!(self.pipeline.flush(Duration::from_secs(10)));
                let spans = self.receiver.spans();
                if spans.len() >= count {
                    return spans;
                }
                std::thread::sleep(Duration::from_millis(25));
            }
            panic!("expected {count} spans, got {:#?}", self.receiver.spans());
        };
        tokio::task::spawn_blocking(wait).await.unwrap()
    }
}

pub fn find<'a>(spans: &'a [SpanRecord], service: &str, name: &str) -> &'a Span {
    let found = spans.iter().find(|r| r.resource.service_name() == service && r.span.name == name);
    &found.unwrap_or_else(|| panic!("no span {name:?} of {service} in {spans:#?}")).span
}

pub fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    span.attribute(key).and_then(Value::as_str)
}

pub fn int(span: &Span, key: &str) -> Option<i64> {
    match span.attribute(key) {
        Some(Value::Int(number)) => Some(*number),
        _ => None,
    }
}

/// The text attribute of an event.
pub fn of_event<'a>(event: &'a Event, key: &str) -> Option<&'a str> {
    event.attributes.iter().find(|attribute| attribute.key == key).and_then(|attribute| attribute.value.as_str())
}

/// Serves a router on a loopback port, HTTP/1.1 and HTTP/2.
pub async fn serve(router: Router, dispatch: Dispatch) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accept = async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let service = router.clone().layer(axum::Extension(tracewell_sdk::http::PeerAddress(peer)));
            let service = hyper_util::service::TowerToHyperService::new(service);
            let connection = async move {
                let builder = hyper_util::server::conn::auto::Builder::new(Inheriting);
                builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await.is_ok()
            };
            tokio::spawn(connection.with_current_subscriber());
        }
    };
    tokio::spawn(accept.with_subscriber(dispatch));
    format!("http://{address}")
}

/// Spawns the streams of an HTTP/2 connection under its subscriber.
#[derive(Clone)]
struct Inheriting;

impl<F> hyper::rt::Executor<F> for Inheriting
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(future.with_current_subscriber());
    }
}

/// A layer that runs a service under a subscriber, for servers that spawn tasks of their own.
#[derive(Clone)]
pub struct In(pub Dispatch);

impl<S> tower::Layer<S> for In {
    type Service = InService<S>;

    fn layer(&self, inner: S) -> InService<S> {
        InService { inner, dispatch: self.0.clone() }
    }
}

#[derive(Clone)]
pub struct InService<S> {
    inner: S,
    dispatch: Dispatch,
}

impl<S: Service<R>, R> Service<R> for InService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = tracewell_sdk::Under<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let future = tracing::dispatcher::with_default(&self.dispatch, || self.inner.call(request));
        under(&self.dispatch, future)
    }
}

/// Sends bytes as they are and reads what comes until `enough`, the end or two seconds without a byte.
pub async fn raw(url: &str, request: &[u8], enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while !enough(&answer) {
        match tokio::time::timeout(Duration::from_secs(2), stream.read(&mut piece)).await {
            Ok(Ok(length)) if length > 0 => answer.extend_from_slice(&piece[..length]),
            _ => break,
        }
    }
    answer
}

/// A body whose frames come 20 ms apart, and after the last one what `end` says.
pub struct Ticking {
    pub frames: Vec<&'static str>,
    pub end: End,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

/// How a [`Ticking`] body ends.
pub enum End {
    Complete,
    Error(std::io::ErrorKind),
    Panic,
}

impl Ticking {
    pub fn new(frames: &[&'static str], end: End) -> Self {
        Self { frames: frames.to_vec(), end, sleep: Box::pin(tokio::time::sleep(Duration::from_millis(20))) }
    }
}

impl http_body::Body for Ticking {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        std::task::ready!(self.sleep.as_mut().poll(context));
        self.sleep = Box::pin(tokio::time::sleep(Duration::from_millis(20)));
        if self.frames.is_empty() {
            return Poll::Ready(match self.end {
                End::Complete => None,
                End::Error(kind) => Some(Err(kind.into())),
                End::Panic => panic!("in the body"),
            });
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(self.frames.remove(0).as_bytes())))))
    }
}
