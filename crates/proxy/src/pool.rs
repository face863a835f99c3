//! Connections to backends that are kept between requests.
//!
//! An HTTP/1.1 connection belongs to one request at a time and comes back when its answer has been read. An HTTP/2
//! connection is shared; another one is opened when the backend allows no more streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use parking_lot::Mutex;

use crate::backend::{Backend, Scheme};
use crate::config::{Config, Limits};
pub(crate) use crate::connect::Line;
use crate::connect::{CertificateError, Connector, Ended, Made};
use crate::failure::Failure;
use crate::upload::RequestBody;

/// Streams put on one HTTP/2 connection at most, whatever the backend allows.
const STREAMS_MAX: usize = 1_000;

/// HTTP/2 connections to one backend.
const SHARED_MAX: usize = 64;

/// How long the end of an answer may take to become the beginning of idleness.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// How long a connection that is over may take to say how it ended.
const END_TIME: Duration = Duration::from_millis(100);

type Key = (Arc<Backend>, Line);

/// The connections to all backends.
pub(crate) struct Pool {
    hosts: Mutex<HashMap<Key, Arc<Host>>>,
    pub(crate) connector: Connector,
    limits: Limits,
    connect_time: Duration,
    idle: AtomicUsize,
}

#[derive(Default)]
struct Host {
    idle: Mutex<Vec<(http1::SendRequest<RequestBody>, Instant)>>,
    shared: Mutex<Vec<Arc<Shared>>>,
    /// Whoever opens an HTTP/2 connection does it for everyone who waits.
    opening: tokio::sync::Mutex<()>,
    /// Over TLS it chose HTTP/1.1, so that there is nothing to share.
    unshared: AtomicBool,
}

struct Shared {
    sender: http2::SendRequest<RequestBody>,
    streams: AtomicUsize,
    streams_max: usize,
    ended: Ended,
}

/// A connection lent to one request.
pub(crate) struct Lease {
    pool: Arc<Pool>,
    host: Arc<Host>,
    line: Held,
    /// True when it served another request before.
    pub(crate) reused: bool,
    /// How long it took to open.
    pub(crate) connect_time: Option<Duration>,
}

enum Held {
    Http1(Option<http1::SendRequest<RequestBody>>),
    Http2(Arc<Shared>),
}

impl Pool {
    pub(crate) fn new(config: &Config) -> Result<Arc<Self>, CertificateError> {
        Ok(Arc::new(Self {
            hosts: Mutex::default(),
            connector: Connector::new(config)?,
            limits: config.limits.clone(),
            connect_time: config.connect_time,
            idle: AtomicUsize::new(0),
        }))
    }

    /// A connection in that version, an idle one unless `fresh`.
    pub(crate) async fn lease(
        self: &Arc<Self>,
        backend: &Arc<Backend>,
        version: Line,
        fresh: bool,
    ) -> Result<Lease, Failure> {
        let host = Arc::clone(self.hosts.lock().entry((Arc::clone(backend), version)).or_default());
        if !fresh && let Some(line) = self.idle_line(&host) {
            return Ok(Lease { pool: Arc::clone(self), host, line, reused: true, connect_time: None });
        }
        let begin = Instant::now();
        let own = Arc::clone(&host);
        let shares = version == Line::Http2 && !host.unshared.load(Ordering::Relaxed);
        let _one = if shares {
            let turn = tokio::time::timeout(self.connect_time, own.opening.lock()).await;
            Some(turn.map_err(|_| Failure::ConnectTimeout)?)
        } else {
            None
        };
        if !fresh
            && shares
            && let Some(line) = self.idle_line(&host)
        {
            return Ok(Lease { pool: Arc::clone(self), host, line, reused: true, connect_time: None });
        }
        let line = match self.connector.connect(backend, version).await? {
            Made::Http1(sender) => {
                host.unshared.store(true, Ordering::Relaxed);
                Held::Http1(Some(sender))
            }
            Made::Http2 { sender, streams_max, ended } => {
                let streams_max = streams_max.clamp(1, STREAMS_MAX);
                let shared = Arc::new(Shared { sender, streams: AtomicUsize::new(1), streams_max, ended });
                let mut all = host.shared.lock();
                all.retain(|shared| !shared.sender.is_closed());
                if all.len() < SHARED_MAX {
                    all.push(Arc::clone(&shared));
                }
                Held::Http2(shared)
            }
        };
        Ok(Lease { pool: Arc::clone(self), host, line, reused: false, connect_time: Some(begin.elapsed()) })
    }

    fn idle_line(&self, host: &Host) -> Option<Held> {
        for shared in host.shared.lock().iter().filter(|shared| !shared.sender.is_closed()) {
            let taken = shared.streams.fetch_add(1, Ordering::Relaxed);
            if taken < shared.streams_max {
                return Some(Held::Http2(Arc::clone(shared)));
            }
            shared.streams.fetch_sub(1, Ordering::Relaxed);
        }
        let mut idle = host.idle.lock();
        // The one used last is the least likely to have been closed meanwhile.
        while let Some((sender, since)) = idle.pop() {
            self.idle.fetch_sub(1, Ordering::Relaxed);
            if sender.is_ready() && since.elapsed() < self.limits.idle_time {
                return Some(Held::Http1(Some(sender)));
            }
        }
        None
    }

    fn put(&self, host: &Host, sender: http1::SendRequest<RequestBody>) {
        let mut idle = host.idle.lock();
        if idle.len() < self.limits.idle_per_backend_max && self.idle.load(Ordering::Relaxed) < self.limits.idle_max {
            self.idle.fetch_add(1, Ordering::Relaxed);
            idle.push((sender, Instant::now()));
        }
    }

    /// Closes what has been idle for too long, and forgets backends without connections.
    pub(crate) fn sweep(&self) {
        let mut hosts = self.hosts.lock();
        hosts.retain(|_, host| {
            let mut idle = host.idle.lock();
            let before = idle.len();
            idle.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < self.limits.idle_time);
            self.idle.fetch_sub(before - idle.len(), Ordering::Relaxed);
            let mut shared = host.shared.lock();
            shared.retain(|shared| !shared.sender.is_closed());
            !idle.is_empty() || !shared.is_empty() || Arc::strong_count(host) > 1
        });
    }

    /// Idle HTTP/1.1 connections, and HTTP/2 connections.
    pub(crate) fn size(&self) -> (usize, usize) {
        let shared = self.hosts.lock().values().map(|host| host.shared.lock().len()).sum();
        (self.idle.load(Ordering::Relaxed), shared)
    }
}

impl Lease {
    /// The version that the connection speaks.
    pub(crate) fn version(&self) -> Line {
        match self.line {
            Held::Http1(_) => Line::Http1,
            Held::Http2(_) => Line::Http2,
        }
    }

    /// Sends a request and waits for the head of its answer. Where the request was not touched it comes back.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Box<TrySendError<Request<RequestBody>>>> {
        match &mut self.line {
            Held::Http1(Some(sender)) => sender.try_send_request(request).await.map_err(Box::new),
            Held::Http2(shared) => shared.sender.clone().try_send_request(request).await.map_err(Box::new),
            // A lease is sent on once, and gives its connection back only at its end.
            Held::Http1(None) => std::future::pending().await,
        }
    }

    /// Why a connection that is over has ended, where it failed: what a request was not told that came too late for it.
    pub(crate) async fn ended(&self) -> Option<Failure> {
        let Held::Http2(shared) = &self.line else { return None };
        let mut ended = shared.ended.clone();
        let told = tokio::time::timeout(END_TIME, ended.wait_for(Option::is_some)).await;
        told.ok().and_then(Result::ok).and_then(|failure| *failure)
    }

    /// The answer has been read to its end: the connection may serve another request.
    pub(crate) fn give_back(mut self) {
        if let Held::Http1(sender) = &mut self.line
            && let Some(mut sender) = sender.take()
            && !sender.is_closed()
        {
            if sender.is_ready() {
                self.pool.put(&self.host, sender);
                return;
            }
            let (pool, host) = (Arc::clone(&self.pool), Arc::clone(&self.host));
            tokio::spawn(async move {
                if let Ok(Ok(())) = tokio::time::timeout(SETTLE_TIME, sender.ready()).await {
                    pool.put(&host, sender);
                }
            });
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Held::Http2(shared) = &self.line {
            shared.streams.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The version to speak to `backend` for a client that speaks `client`.
pub(crate) fn line_for(backend: &Backend, client: http::Version, protocol: crate::Protocol) -> Line {
    use crate::Protocol;
    match (backend.scheme, protocol) {
        (Scheme::H2c, _) | (_, Protocol::Http2) | (Scheme::Https, Protocol::Mirror) => Line::Http2,
        (_, Protocol::Http1) => Line::Http1,
        (Scheme::Http, Protocol::Mirror) if client == http::Version::HTTP_2 => Line::Http2,
        (Scheme::Http, Protocol::Mirror) => Line::Http1,
    }
}
