//! Binding the ports and accepting connections until told to stop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::budget::Budget;
use crate::config::IngestConfig;
use crate::conn;
use crate::endpoint::Endpoint;
use crate::pipeline::Shared;
use crate::refusal::{Reason, Refusal};
use crate::sink::Sink;
use crate::stats::{Receiver, Stats};

/// How long accepting pauses after a failure that lasts, such as having no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{problem} ({receiver}); {remedy} {flag}", receiver = spoken(*.receiver), flag = flag(*.receiver))]
pub struct BindError {
    /// The address as configured.
    pub addr: SocketAddr,
    /// Who wanted it.
    pub receiver: Receiver,
    problem: String,
    remedy: &'static str,
    /// What the operating system said.
    #[source]
    pub source: io::Error,
}

impl BindError {
    fn new(addr: SocketAddr, receiver: Receiver, source: io::Error) -> Self {
        let (problem, remedy) = match source.kind() {
            io::ErrorKind::AddrInUse => {
                (format!("address {addr} is already in use"), "stop the other program or choose another with")
            }
            io::ErrorKind::PermissionDenied => {
                (format!("address {addr} may not be used: permission denied"), "choose a port of 1024 or above with")
            }
            io::ErrorKind::AddrNotAvailable => {
                (format!("address {addr} does not belong to this machine"), "choose one that does with")
            }
            _ => (format!("cannot listen on {addr}"), "choose another address with"),
        };
        Self { addr, receiver, problem, remedy, source }
    }
}

fn spoken(receiver: Receiver) -> &'static str {
    match receiver {
        Receiver::OtlpGrpc => "otlp grpc",
        Receiver::OtlpHttp => "otlp http",
    }
}

fn flag(receiver: Receiver) -> &'static str {
    match receiver {
        Receiver::OtlpGrpc => "--otlp-grpc-listen",
        Receiver::OtlpHttp => "--otlp-http-listen",
    }
}

/// Open ports that nobody is served on yet: [`Listeners::serve`] starts that.
///
/// Clients can connect already; their requests wait for `serve`.
#[derive(Debug)]
pub struct Listeners {
    /// Where OTLP/gRPC listens, with the real port where 0 was asked for.
    pub grpc_addr: Option<SocketAddr>,
    /// Where OTLP/HTTP listens, with the real port where 0 was asked for.
    pub http_addr: Option<SocketAddr>,
    /// Counters, readable at any time.
    pub stats: Arc<Stats>,
    listeners: Vec<(Receiver, TcpListener)>,
    endpoint: Endpoint,
}

/// Opens the configured ports, all or none. What arrives goes to `sink`.
pub async fn bind(config: IngestConfig, sink: Arc<dyn Sink>) -> Result<Listeners, BindError> {
    let mut listeners = Vec::new();
    for (receiver, addr) in [(Receiver::OtlpGrpc, config.grpc), (Receiver::OtlpHttp, config.http)] {
        let Some(addr) = addr else { continue };
        let listener = TcpListener::bind(addr).await.map_err(|source| BindError::new(addr, receiver, source))?;
        listeners.push((receiver, listener));
    }
    let addr_of = |wanted: Receiver| {
        let (_, listener) = listeners.iter().find(|(receiver, _)| *receiver == wanted)?;
        listener.local_addr().ok()
    };
    let (grpc_addr, http_addr) = (addr_of(Receiver::OtlpGrpc), addr_of(Receiver::OtlpHttp));
    let budget = Budget::new(config.limits.in_flight_bytes_max);
    let stats = Arc::new(Stats::new(Arc::clone(&budget)));
    let shared = Arc::new(Shared::new(config, sink, Arc::clone(&stats), budget));
    Ok(Listeners { grpc_addr, http_addr, stats, listeners, endpoint: Endpoint { shared } })
}

impl Listeners {
    /// What answers the requests, to be mounted in another server too. It shares bounds and counters with the listeners.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Serves until `shutdown` is ready, then takes no more requests, lets those in flight finish within the grace time of
    /// the configuration, and returns. Dropping the future closes everything at once.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let (close, closing) = watch::channel(false);
        let limits = &self.endpoint.shared.config.limits;
        let connections_max = Arc::new(Semaphore::new(limits.connections_max as usize));
        let mut loops = JoinSet::new();
        for (receiver, listener) in self.listeners {
            let places = Arc::clone(&connections_max);
            loops.spawn(accept(listener, receiver, self.endpoint.clone(), places, closing.clone()));
        }
        shutdown.await;
        self.endpoint.shared.close();
        // Fails only when there is no listener.
        let _ = close.send(true);
        while loops.join_next().await.is_some() {}
    }
}

/// Accepts connections of one listener until `closing`, then waits for them within the grace time.
async fn accept(
    listener: TcpListener,
    receiver: Receiver,
    endpoint: Endpoint,
    places: Arc<Semaphore>,
    mut closing: watch::Receiver<bool>,
) {
    let stats = Arc::clone(&endpoint.shared.stats);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closing.wait_for(|closing| *closing) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(receiver = receiver.as_str(), "cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            let message = "too many connections are open";
            stats.cell(receiver, None).refused(&Refusal::new(Reason::TooManyConnections, message), peer);
            continue;
        };
        let open = OpenConnection::new(Arc::clone(&stats), receiver);
        let (endpoint, closing) = (endpoint.clone(), closing.clone());
        connections.spawn(async move {
            let _held = (place, open);
            conn::serve(stream, peer, receiver, endpoint, closing).await;
        });
    }
    drop(listener);
    let grace = endpoint.shared.config.limits.shutdown_grace();
    let all_done = async { while connections.join_next().await.is_some() {} };
    if timeout(grace, all_done).await.is_err() {
        let left = connections.len();
        tracing::warn!(
            receiver = receiver.as_str(),
            left,
            "requests did not finish in time; closing their connections"
        );
    }
}

/// Counts a connection for as long as it lives, however it ends.
struct OpenConnection {
    stats: Arc<Stats>,
    receiver: Receiver,
}

impl OpenConnection {
    fn new(stats: Arc<Stats>, receiver: Receiver) -> Self {
        stats.connection_opened(receiver);
        Self { stats, receiver }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.stats.connection_closed(self.receiver);
    }
}
