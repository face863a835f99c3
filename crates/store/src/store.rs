//! The store as the rest of the program sees it.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::config::StoreConfig;
use crate::lifecycle::{
    AppendError, Entry, Environment, OpenReport, Running, StoreError, StoreStatus, Ticket, compact_all, request_hash,
    sources,
};
use crate::table::{Signal, Source};
use crate::wal::{Submission, format::PAYLOAD_BYTES_MAX};

/// How long [`Store::seal_now`] waits.
const SEAL_WAIT_MAX: Duration = Duration::from_secs(600);

/// Spans and logs, durable and searchable. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct Store(Arc<Running>);

impl Store {
    /// Opens the store in `config.data_dir`, creating it where there is none, and says what was found. Everything
    /// that was ever acknowledged is visible when this returns.
    pub fn open(config: StoreConfig) -> Result<(Self, OpenReport), StoreError> {
        Self::open_in(config, Environment::default())
    }

    /// As [`Store::open`], with another clock or other files for the log.
    pub fn open_in(config: StoreConfig, environment: Environment) -> Result<(Self, OpenReport), StoreError> {
        let running = Running::open(config, environment)?;
        let report = running.opened().clone();
        Ok((Self(Arc::new(running)), report))
    }

    /// Stores a checked OTLP export request of `signal`, as protobuf. When it returns `Ok` the request is durable and
    /// visible to [`Store::sources`]; after an error nothing of it is stored. A request that is identical to one of
    /// the last hour is not stored again. Dropping the future leaves open whether the request is stored.
    pub async fn append(&self, tenant: Arc<str>, signal: Signal, payload: Bytes) -> Result<(), AppendError> {
        let core = &self.0.core;
        if core.closing.load(Ordering::Acquire) {
            return Err(core.unavailable("the server is shutting down"));
        }
        if tenant.is_empty() || tenant.len() > 255 {
            return Err(core.unavailable(format!("a tenant has 1 to 255 bytes, this one has {}", tenant.len())));
        }
        if payload.len() > PAYLOAD_BYTES_MAX {
            let reason = format!("a request has at most {PAYLOAD_BYTES_MAX} bytes, this one has {}", payload.len());
            return Err(core.unavailable(reason));
        }
        {
            let view = core.view.read();
            if !view.has_tenant(&tenant) && view.tenant_count() >= core.config.tenants_max {
                return Err(core.unavailable(format!("there are {} tenants already", core.config.tenants_max)));
            }
        }

        let Some(reservation) = core.budget.admit(payload.len(), core.config.append_wait_max).await else {
            core.overloaded_requests.fetch_add(1, Ordering::Relaxed);
            // Memory that does not come free because segments cannot be written is not a matter of load.
            return Err(match core.journal.lock().seal_error.clone() {
                Some(reason) => core.unavailable(reason),
                None => AppendError::Overloaded { retry_after: Duration::from_secs(1) },
            });
        };
        let hash = request_hash(&tenant, signal, &payload);
        let outcome = watch::Sender::new(None);
        let entry = core.window.lock().enter(hash, core.now_ms(), &outcome);
        let mut ended = match entry {
            Entry::Stored => {
                core.duplicate_requests.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            Entry::UnderWay(first) => {
                core.duplicate_requests.fetch_add(1, Ordering::Relaxed);
                drop(reservation);
                first
            }
            Entry::New => {
                let ended = outcome.subscribe();
                let ticket = Ticket { hash, outcome, reservation: Some(reservation) };
                let submission = Submission { tenant, signal, payload, ticket };
                let taken = match core.wal.get() {
                    Some(wal) => wal.submit(submission).is_ok(),
                    None => false,
                };
                if !taken {
                    core.window.lock().failed(hash);
                    return Err(core.unavailable("the server is shutting down"));
                }
                ended
            }
        };
        match ended.wait_for(Option::is_some).await.map(|outcome| outcome.clone()) {
            Ok(Some(outcome)) => outcome,
            _ => Err(core.unavailable("the server is shutting down")),
        }
    }

    /// Everything stored for a tenant and signal, as one consistent snapshot: each row is in exactly one source.
    /// With `time` (nanoseconds since the epoch) sources without any row in it are left out.
    pub fn sources(&self, tenant: &str, signal: Signal, time: Option<RangeInclusive<u64>>) -> Vec<Arc<dyn Source>> {
        let (heads, segments) = {
            let view = self.0.core.view.read();
            let Some(table) = view.table(tenant, signal) else { return Vec::new() };
            let heads: Vec<_> = table.heads().cloned().collect();
            let segments: Vec<_> = table.segments.iter().map(|held| held.segment.clone()).collect();
            (heads, segments)
        };
        sources(heads, segments, time.as_ref())
    }

    /// Tenants with anything stored, sorted.
    pub fn tenants(&self) -> Vec<Arc<str>> {
        self.0.core.view.read().tenants()
    }

    /// What there is to know.
    pub fn status(&self) -> StoreStatus {
        self.0.status()
    }

    /// Seals every head into segments and waits for it. Blocks.
    pub fn seal_now(&self) -> Result<(), StoreError> {
        self.0.seal_all(SEAL_WAIT_MAX)
    }

    /// Merges segments until nothing is left to merge, and deletes what was replaced. Blocks.
    pub fn compact_now(&self) -> Result<(), StoreError> {
        compact_all(&self.0.core)
    }

    /// Ends the store: takes nothing more, makes durable what waits, seals heads if that takes no more than
    /// [`StoreConfig::close_seal_max`] and leaves them in the log otherwise. Blocks, for less than five seconds.
    pub fn close(&self) {
        self.0.close();
    }
}
