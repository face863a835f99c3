//! The layer without sockets: what it adds to a service that answers at once.

use std::convert::Infallible;
use std::hint::black_box;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::http::{Request, Response};
use http_body::Body;
use http_body_util::{Empty, Full};
use rustix::time::{ClockId, clock_gettime};
use tower::{Layer, Service, service_fn};
use tracewell_sdk::http::{Route, ServerLayer};
use tracewell_sdk::{Config, Pipeline, Resource};
use tracing::Level;

const REQUESTS: u32 = 20_000;

/// Time that this thread has been running, in nanoseconds.
fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nothing waits"),
    }
}

type Answer<B> = Response<B>;

/// Nanoseconds for each request to `service`, headers and extensions of a usual one included.
fn measure<S, B>(mut service: S) -> f64
where
    S: Service<Request<Empty<bytes::Bytes>>, Response = Answer<B>, Error = Infallible>,
    B: Body<Error = Infallible> + Unpin,
{
    let template = Request::get("/items/42?color=blue")
        .header("host", "shop.example:8080")
        .header("user-agent", "bench/1.0")
        .header("accept", "*/*")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03")
        .extension(Route("/items/{id}".into()));
    let template = template.body(Empty::new()).expect("a request");
    let begin = cpu_ns();
    for _ in 0..REQUESTS {
        let mut body = ready(service.call(template.clone())).expect("no error").into_body();
        while let Some(frame) = ready(std::future::poll_fn(|context| pin!(&mut body).poll_frame(context))) {
            black_box(frame.is_ok());
        }
    }
    (cpu_ns() - begin) / f64::from(REQUESTS)
}

/// Prints what the layer costs, best of several rounds: the others were disturbed.
pub fn report(sink: SocketAddr) {
    let mut config = Config::to_endpoint(&format!("http://{sink}"));
    config.logs.url = None;
    config.traces.queue_records_max = 1 << 20;
    config.traces.queue_bytes_max = 1 << 30;
    config.traces.delay = Duration::from_millis(100);
    let pipeline = Pipeline::start_with(config, |_| {}).expect("a thread");
    let dispatch = pipeline.tracer(&Resource::new("bench")).dispatch(Level::INFO);
    let answer = |_: Request<_>| async { Ok(Response::new(Full::<bytes::Bytes>::from("hello"))) };
    let rounds = |act: &dyn Fn() -> f64| (0..10).map(|_| act()).fold(f64::INFINITY, f64::min);
    let bare = rounds(&|| measure(service_fn(answer)));
    let traced = tracing::dispatcher::with_default(&dispatch, || {
        rounds(&|| measure(ServerLayer::new().layer(service_fn(answer))))
    });
    println!("layer alone, no sockets: {bare:.0} ns without, {traced:.0} ns with, {:.0} ns more", traced - bare);
}
