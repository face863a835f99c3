//! Sockets: accepting connections, serving them, ending them in order.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracewell_sdk::under;
use tracing::Dispatch;

use crate::carry::carry;
use crate::connect::tune;
use crate::failure::source;
use crate::hub::{Door, Hub};
use crate::stats::one;

/// How long accepting pauses after a failure that lasts, such as having no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Flow-control windows towards HTTP/2 clients.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Header fields of one request.
const HEADERS_MAX: usize = 256;

/// An HTTP/2 client is asked this often whether it still lives, and has that long to answer.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIME: Duration = Duration::from_secs(20);

const FULL_ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nretry-after: 1\r\n\
    connection: close\r\ncontent-length: 50\r\n\r\ntracewell proxy: too many connections are open now\n";

/// How long the farewell to a connection that is one too many may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Runs hyper's tasks under the subscriber that their spans belong to.
#[derive(Clone)]
struct UnderExecutor(Dispatch);

impl<F> Executor<F> for UnderExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(under(&self.0, future));
    }
}

/// Accepts connections until `stop`.
pub(crate) async fn accept(
    hub: Arc<Hub>,
    listener: TcpListener,
    door: Door,
    places: Arc<Semaphore>,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        tune(&stream);
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            hub.stats.connection_refused();
            hub.tasks.spawn(farewell(stream));
            continue;
        };
        let open = Open::new(&hub);
        let (task_hub, door, stop) = (Arc::clone(&hub), door.clone(), stop.clone());
        hub.tasks.spawn(under(&hub.dispatch, async move {
            let _held = (place, open);
            serve(task_hub, stream, peer, door, stop).await;
        }));
    }
}

/// Tells a client that there is no room, so that it arrives.
async fn farewell(mut stream: TcpStream) {
    let goodbye = async {
        stream.write_all(FULL_ANSWER).await?;
        stream.shutdown().await?;
        let mut rest = tokio::io::AsyncReadExt::take(&mut stream, 64 << 10);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // Whether the client listens is its own affair.
    let _ = tokio::time::timeout(FAREWELL, goodbye).await;
}

/// Serves one connection, HTTP/1.1 or HTTP/2 by what it begins with.
async fn serve(hub: Arc<Hub>, stream: TcpStream, peer: SocketAddr, door: Door, stop: CancellationToken) {
    let asked = Arc::new(AtomicBool::new(false));
    let service = {
        let (hub, asked) = (Arc::clone(&hub), Arc::clone(&asked));
        service_fn(move |request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let (hub, door) = (Arc::clone(&hub), door.clone());
            async move { Ok::<_, Infallible>(carry(hub, door, peer, request).await) }
        })
    };
    let builder = builder(&hub);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let head_time = hub.config.limits.head_time;
    let mut silence = pin!(tokio::time::sleep(head_time));
    let (mut stopping, mut silent) = (false, true);
    let result = loop {
        tokio::select! {
            result = connection.as_mut() => break result,
            () = silence.as_mut(), if silent => {
                silent = false;
                // hyper's own clock starts when it knows the version.
                if !asked.load(Ordering::Relaxed) {
                    return;
                }
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = hub.closing.cancelled() => return,
        }
    };
    if let Err(error) = result
        && let Some(reason) = broken(error.as_ref())
    {
        hub.stats.bad_request(reason);
    }
}

fn builder(hub: &Hub) -> auto::Builder<UnderExecutor> {
    let limits = &hub.config.limits;
    let mut builder = auto::Builder::new(UnderExecutor(hub.dispatch.clone()));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_bytes_max.max(8 << 10))
        .max_headers(HEADERS_MAX)
        .preserve_header_case(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        // A client that opens and resets streams in a loop (CVE-2023-44487) or provokes resets is disconnected.
        .max_pending_accept_reset_streams(64)
        .max_local_error_reset_streams(256)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIME);
    builder
}

/// Why a connection broke, where its client broke the protocol and did not simply leave.
fn broken(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = source::<h2::Error>(error) {
        return error.is_library().then_some("broken HTTP/2");
    }
    if let Some(error) = source::<hyper::Error>(error) {
        return if error.is_parse_too_large() {
            Some("the head of the request is too large")
        } else if error.is_parse() {
            Some("not an HTTP request")
        } else if error.is_timeout() {
            Some("the head of the request did not come in time")
        } else {
            None
        };
    }
    let io = source::<io::Error>(error)?;
    (io.kind() == io::ErrorKind::InvalidData).then_some("not an HTTP request")
}

/// Counts a connection for as long as it lives, however it ends.
struct Open(Arc<Hub>);

impl Open {
    fn new(hub: &Arc<Hub>) -> Self {
        one(&hub.stats.connections_open);
        Self(Arc::clone(hub))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.stats.connections_open.fetch_sub(1, Ordering::Relaxed);
    }
}
