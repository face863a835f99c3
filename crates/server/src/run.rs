//! Starting and stopping everything, in order.
//!
//! ```text
//! start: store (replays its log) → sockets, all or none → receivers and http serve → ready
//! stop:  receivers and http take nothing more → what is under way ends (bounded) → store seals and closes
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracewell_ingest::tail::{self, TailConfig, TailStats};
use tracewell_ingest::{BindError, Cors, IngestConfig, Limits};
use tracewell_model::SpanRecord;
use tracewell_store::{AppendError, Store, StoreConfig, StoreError, table};

use crate::config::Config;
use crate::demo::DemoControl;
use crate::http::params::DEFAULT_TENANT;
use crate::http::serve::serve;
use crate::queries::Queries;
use crate::sink::StoreSink;
use crate::state::{App, Listening};

/// What is under way when the server stops may take this long; with the store's part it stays below five seconds.
const DRAIN: Duration = Duration::from_millis(1200);

/// Sealing what is in memory may take this long; what is not sealed by then lies in the write-ahead log.
const SEAL: Duration = Duration::from_millis(2500);

/// Closing the store may take this long, sealing included.
const CLOSE: Duration = Duration::from_millis(3200);

/// Spans, and bytes unless a single span has more, of one request of an import.
const IMPORT_SPANS: usize = 10_000;
const IMPORT_BYTES: usize = 16 << 20;

/// Why the server did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened.
    #[error("cannot open the data folder {folder}")]
    Store {
        /// The folder.
        folder: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The port of the user interface and the APIs cannot be had.
    #[error("cannot listen on {address} for the user interface")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A receiver's port cannot be had.
    #[error(transparent)]
    Receiver(#[from] BindError),
}

impl StartError {
    /// What to do, where that is known and not in the message.
    pub fn hint(&self) -> Option<String> {
        match self {
            StartError::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => Some(
                "another program has the port (`tracewell doctor` says which); choose another with --http-listen, \
                 port 0 takes any free one"
                    .to_owned(),
            ),
            StartError::Listen { .. } => Some("choose another address with --http-listen".to_owned()),
            StartError::Store { source: StoreError::InUse { .. }, .. } => None,
            StartError::Store { .. } => Some("`tracewell doctor` checks the folder and its disk".to_owned()),
            StartError::Receiver(_) => None,
        }
    }
}

/// Where the server listens, with the real ports where 0 was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// User interface and APIs.
    pub http: SocketAddr,
    /// OTLP over gRPC.
    pub otlp_grpc: Option<SocketAddr>,
    /// OTLP over HTTP.
    pub otlp_http: Option<SocketAddr>,
}

/// A running server.
pub struct Running {
    app: App,
    store: Store,
    data_dir: PathBuf,
    stop: watch::Sender<bool>,
    ended: watch::Receiver<Option<&'static str>>,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts the server; when this returns, every listener answers.
///
/// # Errors
/// What could not be opened, and why.
pub async fn start(config: Config) -> Result<Running, StartError> {
    // First what fails fast: a log can take seconds to replay.
    let address = config.http.listen;
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let http = listener.local_addr().map_err(failed)?;
    let store = open_store(&config).await?;
    match listen(config, store.clone(), listener, http).await {
        Ok(running) => Ok(running),
        Err(error) => {
            let _ = tokio::task::spawn_blocking(move || store.close()).await;
            Err(error)
        }
    }
}

async fn open_store(config: &Config) -> Result<Store, StartError> {
    let folder = config.data_dir.display().to_string();
    let settings = store_config(config);
    let opened = tokio::task::spawn_blocking(move || Store::open(settings)).await;
    let (store, report) = match opened {
        Ok(opened) => opened.map_err(|source| StartError::Store { folder: folder.clone(), source })?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    tracing::info!(
        %folder,
        segments = report.segments,
        rows = report.segment_rows,
        replayed_rows = report.replayed_rows,
        elapsed_ms = report.elapsed_ms,
        "the store is open"
    );
    if let Some(reason) = &report.catalog_rebuilt {
        tracing::warn!(%reason, "the catalog was rebuilt from the segments");
    }
    if report.quarantined > 0 {
        tracing::warn!(segments = report.quarantined, "segments cannot be opened; the status names them");
    }
    Ok(store)
}

async fn listen(config: Config, store: Store, listener: TcpListener, http: SocketAddr) -> Result<Running, StartError> {
    let receivers = tracewell_ingest::bind(ingest_config(&config), Arc::new(StoreSink(store.clone()))).await?;
    let listening = Listening { http, otlp_grpc: receivers.grpc_addr, otlp_http: receivers.http_addr };
    let queries = Queries::new(config.query.clone());
    let tail = Arc::new(TailStats::default());
    let app = App::new(store.clone(), queries, Arc::clone(&receivers.stats), Arc::clone(&tail), listening);
    let router = crate::api::router(app.clone(), &config, receivers.endpoint());

    if !http.ip().is_loopback() {
        tracing::warn!(%http, "whoever reaches this address can read every trace: put a proxy with a login in front");
    }
    let (stop, stopping) = watch::channel(false);
    let (end, ended) = watch::channel(None);
    let connections_max = config.http.connections_max;
    let mut until = stopping.clone();
    let (following, followed) = (stopping.clone(), end.clone());
    let mut tasks = vec![
        spawn_watched("the receivers", end.clone(), async move {
            receivers.serve(async move { drop(until.wait_for(|stop| *stop).await) }).await;
        }),
        spawn_watched("the http server", end, serve(listener, router, connections_max, stopping, DRAIN)),
    ];
    if let Some(logs) = tail_config(&config) {
        let sink = Arc::new(StoreSink(app.store.clone()));
        tasks.push(spawn_watched("the log files", followed, async move {
            let mut until = following.clone();
            if let Err(error) = tail::follow(logs, sink, tail, following).await {
                tracing::error!(%error, "log files are not followed: their offsets cannot be read (logfiles.json)");
                // The rest of the server goes on.
                drop(until.wait_for(|stop| *stop).await);
            }
        }));
    }
    Ok(Running { app, store, data_dir: config.data_dir, stop, ended, tasks })
}

/// Runs a part of the server; says when it has ended, by panic too.
fn spawn_watched(
    name: &'static str,
    end: watch::Sender<Option<&'static str>>,
    part: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    struct Notice(&'static str, watch::Sender<Option<&'static str>>);
    impl Drop for Notice {
        fn drop(&mut self) {
            self.1.send_replace(Some(self.0));
        }
    }
    tokio::spawn(async move {
        let _notice = Notice(name, end);
        part.await;
    })
}

/// The log files that are followed; none when the configuration names none.
fn tail_config(config: &Config) -> Option<TailConfig> {
    let logs = &config.logfiles;
    (!logs.read.is_empty()).then(|| TailConfig {
        logs: logs.read.clone(),
        state_file: Some(config.data_dir.join("logfiles.json")),
        poll: logs.poll,
        from_end: logs.from_end,
        tenant: DEFAULT_TENANT.into(),
    })
}

fn store_config(config: &Config) -> StoreConfig {
    StoreConfig {
        head_bytes_max: config.store.head_bytes_max,
        head_age_max: config.store.head_age_max,
        memory_bytes_max: config.store.memory_bytes_max,
        cache_bytes: config.store.cache_bytes_max,
        free_bytes_min: config.store.disk_free_bytes_min,
        retention_age: config.retention.age,
        retention_bytes: config.retention.size_bytes,
        close_seal_max: SEAL,
        ..StoreConfig::new(&config.data_dir)
    }
}

fn ingest_config(config: &Config) -> IngestConfig {
    let otlp = &config.otlp;
    IngestConfig {
        grpc: otlp.grpc_listen,
        http: otlp.http_listen,
        limits: Limits {
            body_bytes_max: otlp.body_bytes_max,
            in_flight_bytes_max: otlp.inflight_bytes_max.max(otlp.body_bytes_max),
            connections_max: u32::try_from(otlp.connections_max).unwrap_or(u32::MAX),
            shutdown_grace_ms: DRAIN.as_millis() as u64,
            ..Limits::default()
        },
        cors: Cors { allowed_origins: otlp.allowed_origins.clone(), ..Cors::default() },
        other_signals: otlp.other_signals,
    }
}

impl Running {
    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        let Listening { http, otlp_grpc, otlp_http } = self.app.listeners;
        Addresses { http, otlp_grpc, otlp_http }
    }

    /// Where it keeps everything.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Stores spans as if they had been received; they can be found when this returns.
    ///
    /// # Errors
    /// As a receiver would refuse them.
    pub async fn import(&self, spans: &[SpanRecord]) -> Result<(), AppendError> {
        let mut waiting: Vec<&[SpanRecord]> = spans.chunks(IMPORT_SPANS).rev().collect();
        while let Some(batch) = waiting.pop() {
            let payload = tracewell_wire::otlp::encode_traces(batch);
            if payload.len() > IMPORT_BYTES && batch.len() > 1 {
                let (first, second) = batch.split_at(batch.len() / 2);
                waiting.extend([second, first]);
                continue;
            }
            self.store.append(DEFAULT_TENANT.into(), table::Signal::Traces, payload.into()).await?;
        }
        Ok(())
    }

    /// Tells the API of a demo that runs beside the server; the first one stays.
    pub fn with_demo(&self, demo: Arc<dyn DemoControl>) {
        // A second demo is not worth an error: the switches of the first go on working.
        let _ = self.app.demo.set(demo);
    }

    /// Waits until a part of the server has ended by itself, which it should not, and says which.
    pub async fn failed(&self) -> &'static str {
        let mut ended = self.ended.clone();
        let part = ended.wait_for(Option::is_some).await.ok().and_then(|part| *part);
        part.unwrap_or("the server")
    }

    /// Stops taking requests, lets those under way end, writes the head out and closes the store, all within five
    /// seconds. False when something had to be cut short; nothing acknowledged is lost by that.
    pub async fn shutdown(self) -> bool {
        self.app.stop();
        self.stop.send_replace(true);
        let mut clean = true;
        for task in self.tasks {
            let abort = task.abort_handle();
            if tokio::time::timeout(DRAIN + Duration::from_millis(300), task).await.is_err() {
                abort.abort();
                clean = false;
            }
        }
        let store = self.store;
        let closing = tokio::task::spawn_blocking(move || store.close());
        match tokio::time::timeout(CLOSE, closing).await {
            Ok(closed) => clean && closed.is_ok(),
            Err(_) => {
                tracing::warn!("closing the store takes too long; its log holds what is not yet in a segment");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_defaults_are_those_of_the_parts() {
        let config = Config::default();
        let store = StoreConfig {
            retention_age: config.retention.age,
            close_seal_max: SEAL,
            ..StoreConfig::new(&config.data_dir)
        };
        assert_eq!(store_config(&config), store);
        let ingest = ingest_config(&config);
        let limits = Limits { shutdown_grace_ms: DRAIN.as_millis() as u64, ..Limits::default() };
        assert_eq!(ingest.limits, limits);
        assert_eq!((ingest.grpc, ingest.http), (IngestConfig::default().grpc, IngestConfig::default().http));
        assert_eq!(ingest.other_signals, IngestConfig::default().other_signals);
    }
}
