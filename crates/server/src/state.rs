//! What the routes share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tracewell_ingest::Stats;
use tracewell_ingest::tail::TailStats;
use tracewell_store::Store;

use crate::demo::DemoControl;
use crate::queries::Queries;

/// What the routes share; cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

/// Behind [`App`].
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) queries: Queries,
    pub(crate) ingest: Arc<Stats>,
    pub(crate) tail: Arc<TailStats>,
    pub(crate) listeners: Listening,
    pub(crate) started: Instant,
    pub(crate) started_ns: u64,
    /// The demo that runs beside the server, if one does.
    pub(crate) demo: OnceLock<Arc<dyn DemoControl>>,
    stopping: AtomicBool,
}

/// Where the server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listening {
    pub(crate) http: SocketAddr,
    pub(crate) otlp_grpc: Option<SocketAddr>,
    pub(crate) otlp_http: Option<SocketAddr>,
}

impl App {
    pub(crate) fn new(
        store: Store,
        queries: Queries,
        ingest: Arc<Stats>,
        tail: Arc<TailStats>,
        listeners: Listening,
    ) -> Self {
        let (started, started_ns) = (Instant::now(), crate::time::now_ns());
        let stopping = AtomicBool::new(false);
        let demo = OnceLock::new();
        Self(Arc::new(Shared { store, queries, ingest, tail, listeners, started, started_ns, demo, stopping }))
    }

    /// From now on readiness says that the server is stopping.
    pub(crate) fn stop(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Relaxed)
    }
}

impl std::ops::Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
