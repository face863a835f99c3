//! One connection, from its first byte to its end.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::config::Limits;
use crate::endpoint::Endpoint;
use crate::refusal::{Reason, Refusal};
use crate::sniff::{Protocol, Rewound, sniff};
use crate::stats::Receiver;

/// Flow-control windows of HTTP/2: what a client may have on its way before the server has read it. With these, one
/// stream over a link of 10 ms still carries 400 MB/s.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Largest HTTP/2 frame: large enough that framing costs nothing, small enough to buffer for each connection.
const FRAME_BYTES_MAX: u32 = 256 << 10;

/// How long an HTTP/2 client may take to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How much and how long a connection that is not HTTP is read before it is closed.
const FAREWELL_BYTES_MAX: u64 = 64 << 10;
const FAREWELL: Duration = Duration::from_secs(1);

/// A TLS alert record: fatal, handshake_failure (RFC 8446, section 6).
const TLS_ALERT: &[u8] = &[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28];

const NOT_HTTP_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 37\r\n\
    connection: close\r\n\r\nthis port speaks OTLP: gRPC and HTTP\n";

/// Serves a connection until its client or `closing` ends it.
pub(crate) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    receiver: Receiver,
    endpoint: Endpoint,
    closing: watch::Receiver<bool>,
) {
    // Answers are small: waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    let limits = endpoint.shared.config.limits.clone();
    let mut stop = closing.clone();
    let sniffed = tokio::select! {
        sniffed = timeout(limits.head_timeout(), sniff(stream)) => sniffed,
        _ = stop.wait_for(|closing| *closing) => return,
    };
    let Ok(Ok((protocol, stream))) = sniffed else {
        return;
    };
    let count = |refusal: Refusal| endpoint.shared.stats.cell(receiver, None).refused(&refusal, peer);
    match protocol {
        Protocol::Silent => {}
        Protocol::Http1 => {
            if let Err(error) = serve_http1(stream, peer, &endpoint, &limits, closing).await
                && error.is_parse()
            {
                count(Refusal::new(Reason::NotHttp, format!("not an HTTP request: {error}")));
            }
        }
        Protocol::Http2 => {
            if let Err(error) = serve_http2(stream, peer, &endpoint, &limits, closing).await
                && breaks_http2(&error)
            {
                count(Refusal::new(Reason::NotHttp, format!("broken HTTP/2: {}", innermost(&error))));
            }
        }
        Protocol::Tls => {
            let message = "a TLS handshake on a port without TLS; use http:// (or insecure) in the exporter's endpoint";
            count(Refusal::new(Reason::NotHttp, message));
            farewell(stream, TLS_ALERT).await;
        }
        Protocol::Junk => {
            count(Refusal::new(Reason::NotHttp, "the connection does not start like HTTP"));
            farewell(stream, NOT_HTTP_ANSWER).await;
        }
    }
}

async fn serve_http1(
    stream: Rewound<TcpStream>,
    peer: SocketAddr,
    endpoint: &Endpoint,
    limits: &Limits,
    closing: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let endpoint = endpoint.clone();
        async move { Ok::<_, Infallible>(endpoint.call(request, peer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout())
        .max_header_size(limits.header_bytes_max as usize)
        // A client may close its sending side after the request and still wait for the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    drive(connection, closing, |connection| connection.graceful_shutdown()).await
}

async fn serve_http2(
    stream: Rewound<TcpStream>,
    peer: SocketAddr,
    endpoint: &Endpoint,
    limits: &Limits,
    closing: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let endpoint = endpoint.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let endpoint = endpoint.clone();
        async move { Ok::<_, Infallible>(endpoint.call(request, peer).await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(limits.streams_per_connection_max)
        .max_header_list_size(limits.header_bytes_max)
        // A client that opens and resets streams in a loop (CVE-2023-44487) or provokes resets is disconnected.
        .max_pending_accept_reset_streams(64)
        .max_local_error_reset_streams(256)
        .keep_alive_interval(limits.keep_alive_interval())
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    drive(connection, closing, |connection| connection.graceful_shutdown()).await
}

/// Runs a connection; when the listeners close, it finishes what is in flight and takes nothing new.
async fn drive<C>(
    connection: C,
    mut closing: watch::Receiver<bool>,
    stop: impl FnOnce(Pin<&mut C>),
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return result,
        _ = closing.wait_for(|closing| *closing) => stop(connection.as_mut()),
    }
    connection.await
}

/// Says one last thing and closes so that it arrives: closing with unread input would reset the connection.
async fn farewell(mut stream: Rewound<TcpStream>, last_words: &[u8]) {
    let goodbye = async {
        stream.write_all(last_words).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(FAREWELL_BYTES_MAX), &mut tokio::io::sink()).await
    };
    // Whether the peer listens is its own affair.
    let _ = timeout(FAREWELL, goodbye).await;
}

/// Whether the client broke the protocol, as opposed to leaving.
fn breaks_http2(error: &hyper::Error) -> bool {
    error.source().and_then(|source| source.downcast_ref::<h2::Error>()).is_some_and(h2::Error::is_library)
}

fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost
}
