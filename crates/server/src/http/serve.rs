//! Serving connections: bounded in number, in the time that a client may take to ask, and in the time that they may
//! take to end.

use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// A client has this long to send a request's headers; an idle connection ends after it too.
const HEADER_TIME_MAX: Duration = Duration::from_secs(30);

/// Answers connections until `shutdown` turns true, then finishes what is under way, for at most `drain`.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    connections_max: usize,
    mut shutdown: watch::Receiver<bool>,
    drain: Duration,
) {
    let slots = Arc::new(Semaphore::new(connections_max));
    let mut connections = JoinSet::new();
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            _ = shutdown.wait_for(|stop| *stop) => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shutdown.wait_for(|stop| *stop) => break,
        };
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, usually: others must end before more can come.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone().layer(Extension(peer)));
        let mut shutdown = shutdown.clone();
        connections.spawn(async move {
            let _slot = slot;
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME_MAX);
            builder.http2().timer(TokioTimer::new()).max_concurrent_streams(256);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => Some(ended),
                _ = async { shutdown.wait_for(|stop| *stop).await.map(drop) } => None,
            };
            let ended = match ended {
                Some(ended) => ended,
                None => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
    drop(listener);
    let drained = tokio::time::timeout(drain, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(open = connections.len(), "connections were still busy at the end of the grace period");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::mpsc;

    use super::*;

    /// Says so when it is dropped.
    struct Watched(mpsc::UnboundedSender<&'static str>);

    impl Drop for Watched {
        fn drop(&mut self) {
            let _ = self.0.send("dropped");
        }
    }

    /// A server whose only route never answers; what happens to it comes over the channel.
    async fn start() -> (std::net::SocketAddr, mpsc::UnboundedReceiver<&'static str>, watch::Sender<bool>, JoinSet<()>)
    {
        let (events, seen) = mpsc::unbounded_channel();
        let router = Router::new().route(
            "/",
            get(move || {
                let events = events.clone();
                async move {
                    let watched = Watched(events);
                    let _ = watched.0.send("began");
                    std::future::pending::<()>().await;
                    drop(watched);
                }
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, router, 8, stopping, Duration::from_millis(50)));
        (address, seen, stop, tasks)
    }

    #[tokio::test]
    async fn a_handler_ends_with_its_client() {
        let (address, mut seen, _stop, _tasks) = start().await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        assert_eq!(seen.recv().await, Some("began"));
        drop(client);
        assert_eq!(seen.recv().await, Some("dropped"));
    }

    #[tokio::test]
    async fn the_end_does_not_wait_for_ever() {
        let (address, mut seen, stop, mut tasks) = start().await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        assert_eq!(seen.recv().await, Some("began"));
        stop.send_replace(true);
        tasks.join_next().await.unwrap().unwrap();
        assert_eq!(seen.recv().await, Some("dropped"));
        assert_eq!(client.read(&mut [0; 16]).await.unwrap_or(0), 0, "the connection is closed");
        assert!(TcpStream::connect(address).await.is_err(), "and no other is accepted");
    }
}
