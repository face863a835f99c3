//! The shop's network: names instead of addresses, as a cluster's name service gives them.
//!
//! Services call `http://inventory:8080/…`; the connector turns the name into the loopback socket of one
//! of its instances. What crosses it is ordinary HTTP over TCP.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper::rt::Executor;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower_service::Service;

/// Idle connections that one service keeps to another.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// Names and the sockets behind them.
#[derive(Default)]
pub(crate) struct Directory {
    sockets: HashMap<&'static str, Vec<SocketAddr>>,
    turn: AtomicUsize,
}

impl Directory {
    pub(crate) fn add(&mut self, name: &'static str, socket: SocketAddr) {
        self.sockets.entry(name).or_default().push(socket);
    }

    pub(crate) fn first(&self, name: &str) -> Option<SocketAddr> {
        self.sockets.get(name)?.first().copied()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        self.sockets.iter().flat_map(|(name, sockets)| sockets.iter().map(|socket| (*name, *socket)))
    }

    /// The next instance in turn.
    fn resolve(&self, name: &str) -> Option<SocketAddr> {
        let sockets = self.sockets.get(name)?;
        sockets.get(self.turn.fetch_add(1, Ordering::Relaxed) % sockets.len().max(1)).copied()
    }
}

/// Opens connections by name.
#[derive(Clone)]
pub(crate) struct Connector {
    directory: Arc<Directory>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let socket = uri.host().and_then(|host| self.directory.resolve(host));
        Box::pin(async move {
            let socket = socket.ok_or_else(|| {
                io::Error::new(io::ErrorKind::NotFound, format!("no service answers to the name in {uri}"))
            })?;
            let stream = TcpStream::connect(socket).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}

/// Runs connections without a subscriber: they outlive the request that opened them and belong to nobody.
#[derive(Clone)]
pub(crate) struct Detached;

impl<F> Executor<F> for Detached
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, connection: F) {
        tokio::spawn(connection);
    }
}

/// An HTTP client by name, with its own connections and without any instrumentation.
pub(crate) type PlainClient = Client<Connector, Full<Bytes>>;

pub(crate) fn plain_client(directory: &Arc<Directory>) -> PlainClient {
    Client::builder(Detached)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .pool_idle_timeout(std::time::Duration::from_secs(30))
        .pool_timer(TokioTimer::new())
        .build(Connector { directory: Arc::clone(directory) })
}
