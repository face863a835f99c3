//! `tracewell proxy`: spans and trace context for services that nobody instruments, by standing beside them.
//!
//! It is: a reverse proxy in front of an application and a forward proxy for the application's own calls, for HTTP/1.1,
//! HTTP/2, gRPC, WebSocket and anything else that `Upgrade` leads to. It makes a span for each request on either side,
//! carries context in every format of `OTEL_PROPAGATORS`, and finds the parent of an outbound request by its request id
//! where the application forwards no context; such a span says that it was inferred, and by what. It is not: a load
//! balancer, a cache, a TLS terminator, or a place where requests are changed.
//!
//! ```text
//!              inbound                                     outbound
//! client ──▶ listen ▶ carry ──▶ application ──▶ listen ▶ carry ──▶ another service
//!                      │  context, request id       │
//!                      └──▶ table ───────────────▶ parent
//!            carry:  headers ▶ attempt (pool ▶ connect) ▶ exchange (spans, until the last byte)
//!                                                     └▶ tunnel (Upgrade, CONNECT)
//! ```
//!
//! Bodies stream both ways without being gathered; every table, pool and buffer is bounded; a backend's death becomes an
//! answer with a reason, or a broken connection where the answer had begun, and never a wrong one.

mod admin;
mod attempt;
mod backend;
mod carry;
mod config;
mod connect;
mod exchange;
mod failure;
mod headers;
mod hub;
mod listen;
mod names;
mod parent;
mod pool;
mod semconv;
mod stats;
mod table;
mod tunnel;
mod upload;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracewell_sdk::under;
use tracing::Dispatch;

pub use backend::{Backend, BackendError, Route, RouteError, Routes, Scheme};
pub use config::{Config, Egress, Figures, Infer, Limits, Protocol};
pub use connect::CertificateError;

use hub::{Door, Hub};

/// How often idle connections are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// How long broken-off requests may take to report themselves.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why a proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port that cannot be had.
    #[error("cannot listen on {address} ({what}): {source}; choose another with {flag}")]
    Bind {
        /// The address as configured.
        address: SocketAddr,
        /// What it was for.
        what: &'static str,
        /// The flag that sets it.
        flag: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// Requests would come back to the proxy for ever.
    #[error("{backend} is the proxy's own address, so that requests would go round in circles; send them elsewhere")]
    Loop {
        /// The backend.
        backend: String,
    },
    /// Nothing to do.
    #[error("nowhere to listen; expected an address for inbound or outbound requests")]
    Nothing,
    /// An inbound listener that leads nowhere.
    #[error("no backend for inbound requests; name one with --to URL or --route /prefix=URL")]
    NoBackend,
    /// Certificates.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// Where the proxy listens, with the real ports where 0 was asked for.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// For the application.
    pub inbound: Option<SocketAddr>,
    /// From the application.
    pub outbound: Option<SocketAddr>,
    /// From the application, one for each fixed backend.
    pub egress: Vec<SocketAddr>,
    /// Health and figures.
    pub admin: Option<SocketAddr>,
}

/// A proxy at work. Dropping it without [`Running::shutdown`] breaks everything off.
pub struct Running {
    hub: Arc<Hub>,
    addresses: Addresses,
    stop: CancellationToken,
    loops: JoinSet<()>,
}

/// Opens all listeners, or none, and serves them. Spans go to `dispatch`, whose subscriber has to be a
/// [`TraceSubscriber`](tracewell_sdk::TraceSubscriber) or to hold a [`TraceLayer`](tracewell_sdk::TraceLayer).
///
/// # Errors
///
/// [`StartError`] names the address or the certificate that is to blame.
pub async fn start(config: Config, dispatch: Dispatch) -> Result<Running, StartError> {
    if config.inbound.is_some() && config.routes.rows().is_empty() {
        return Err(StartError::NoBackend);
    }
    if config.inbound.is_none() && config.outbound.is_none() && config.egress.is_empty() {
        return Err(StartError::Nothing);
    }
    let (mut doors, mut addresses) = (Vec::new(), Addresses::default());
    if let Some(address) = config.inbound {
        let listener = bind(address, "inbound", "--listen").await?;
        addresses.inbound = listener.local_addr().ok();
        doors.push((listener, Door::Inbound));
    }
    if let Some(address) = config.outbound {
        let listener = bind(address, "outbound", "--outbound").await?;
        addresses.outbound = listener.local_addr().ok();
        doors.push((listener, Door::Outbound));
    }
    for egress in &config.egress {
        let listener = bind(egress.listen, "egress", "--egress").await?;
        addresses.egress.extend(listener.local_addr());
        doors.push((listener, Door::Egress(Arc::new(egress.to.clone()))));
    }
    let admin = match config.admin {
        Some(address) => Some(bind(address, "admin", "--admin").await?),
        None => None,
    };
    addresses.admin = admin.as_ref().and_then(|listener| listener.local_addr().ok());
    let own: Vec<_> = doors.iter().filter_map(|(listener, _)| listener.local_addr().ok()).collect();
    let backends = config.routes.rows().iter().map(|row| &*row.to).chain(config.egress.iter().map(|egress| &egress.to));
    if let Some(backend) = backends.into_iter().find(|backend| is_own(backend, &own)) {
        return Err(StartError::Loop { backend: backend.to_string() });
    }
    let hub = Arc::new(Hub {
        pool: pool::Pool::new(&config)?,
        table: table::Table::new(config.limits.remembered_max, config.limits.remembered_bytes_max, config.linger),
        stats: Arc::default(),
        names: names::Names::default(),
        via: headers::Via::new(),
        dispatch,
        own,
        closing: CancellationToken::new(),
        tasks: TaskTracker::new(),
        config,
    });
    let (stop, mut loops) = (CancellationToken::new(), JoinSet::new());
    let places = Arc::new(Semaphore::new(hub.config.limits.connections_max.min(Semaphore::MAX_PERMITS)));
    for (listener, door) in doors {
        let accepting = listen::accept(Arc::clone(&hub), listener, door, Arc::clone(&places), stop.clone());
        loops.spawn(under(&hub.dispatch, accepting));
    }
    if let Some(listener) = admin {
        loops.spawn(admin::serve(Arc::clone(&hub), listener, stop.clone()));
    }
    loops.spawn(sweep(Arc::clone(&hub)));
    Ok(Running { hub, addresses, stop, loops })
}

async fn bind(address: SocketAddr, what: &'static str, flag: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Bind { address, what, flag, source })
}

fn is_own(backend: &Backend, own: &[SocketAddr]) -> bool {
    own.iter().any(|address| {
        let host = backend.host.as_str();
        let same = host == "localhost" && address.ip().is_loopback()
            || host.parse().is_ok_and(|ip: std::net::IpAddr| {
                ip == address.ip() || (address.ip().is_unspecified() && ip.is_loopback())
            });
        same && backend.port == address.port()
    })
}

async fn sweep(hub: Arc<Hub>) {
    while !hub.closing.is_cancelled() {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_EVERY) => hub.pool.sweep(),
            () = hub.closing.cancelled() => {}
        }
    }
}

impl Running {
    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What it counted: the object that `/stats` shows.
    pub fn stats(&self) -> Value {
        admin::stats(&self.hub)
    }

    /// Takes no more connections, lets requests finish within the time of the configuration, breaks off the rest, and
    /// returns when all spans have been handed over. False when something had to be broken off.
    pub async fn shutdown(mut self) -> bool {
        self.stop.cancel();
        self.hub.tasks.close();
        let clean = tokio::time::timeout(self.hub.config.drain_time, self.hub.tasks.wait()).await.is_ok();
        self.hub.closing.cancel();
        if !clean {
            tracing::warn!("requests did not finish in time; breaking them off");
            // They end at once; the time is for a machine that is very busy.
            let _ = tokio::time::timeout(LAST_WORDS, self.hub.tasks.wait()).await;
        }
        while self.loops.join_next().await.is_some() {}
        clean
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        self.hub.closing.cancel();
    }
}
