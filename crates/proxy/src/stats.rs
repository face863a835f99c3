//! Figures of the proxy: what it carried, what it refused, and why.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tracewell_sdk::diagnostics;

use crate::failure::Failure;

/// A counter for each of a few reasons.
#[derive(Debug, Default)]
pub(crate) struct Reasons(Mutex<BTreeMap<String, u64>>);

/// Reasons told apart; they are words of the program, so that this is never reached.
const REASONS_MAX: usize = 256;

impl Reasons {
    fn add(&self, reason: &str) {
        let mut counts = self.0.lock();
        if let Some(count) = counts.get_mut(reason) {
            *count += 1;
        } else if counts.len() < REASONS_MAX {
            counts.insert(reason.to_owned(), 1);
        }
    }

    fn json(&self) -> Value {
        json!(*self.0.lock())
    }
}

/// Counters, readable at any time.
#[derive(Debug)]
pub(crate) struct Stats {
    begun: Instant,
    pub(crate) inbound: AtomicU64,
    pub(crate) outbound: AtomicU64,
    pub(crate) tunnels: AtomicU64,
    in_flight: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) connections_open: AtomicU64,
    connections_refused: AtomicU64,
    bad_requests: Reasons,
    bad_headers: Reasons,
    failures: Reasons,
    inferred: Reasons,
    not_inferred: Reasons,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            inbound: AtomicU64::new(0),
            outbound: AtomicU64::new(0),
            tunnels: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            connections_open: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            bad_requests: Reasons::default(),
            bad_headers: Reasons::default(),
            failures: Reasons::default(),
            inferred: Reasons::default(),
            not_inferred: Reasons::default(),
        }
    }
}

pub(crate) fn one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Stats {
    /// A context header that was ignored.
    pub(crate) fn bad_header(&self, header: &'static str, reason: &'static str) {
        self.bad_headers.add(&format!("{header}: {reason}"));
        diagnostics::count(header, reason);
    }

    /// Something on a connection that is no request.
    pub(crate) fn bad_request(&self, reason: &'static str) {
        self.bad_requests.add(reason);
        diagnostics::count("proxy request", reason);
    }

    pub(crate) fn failed(&self, failure: Failure) {
        self.failures.add(failure.kind());
        // A client that goes away is the client's affair, and everyday.
        if failure.is_backends() {
            diagnostics::count("proxy backend", failure.words());
        }
    }

    pub(crate) fn connection_refused(&self) {
        one(&self.connections_refused);
        diagnostics::count("proxy connection", "too many connections are open");
    }

    pub(crate) fn inferred(&self, by: &str) {
        self.inferred.add(by);
    }

    /// An outbound request for which no parent was found.
    pub(crate) fn not_inferred(&self, reason: &'static str) {
        self.not_inferred.add(reason);
    }

    /// An inbound request that outbound ones will not find.
    pub(crate) fn not_remembered(&self) {
        self.not_inferred.add("the table of inbound requests is full");
        diagnostics::count("proxy correlation", "the table of inbound requests is full");
    }

    pub(crate) fn json(&self) -> Value {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        json!({
            "uptime_s": self.begun.elapsed().as_secs(),
            "requests": {
                "inbound": read(&self.inbound),
                "outbound": read(&self.outbound),
                "tunnels": read(&self.tunnels),
                "in_flight": read(&self.in_flight),
                "retried": read(&self.retries),
            },
            "connections": { "open": read(&self.connections_open), "refused": read(&self.connections_refused) },
            "bad_requests": self.bad_requests.json(),
            "bad_headers": self.bad_headers.json(),
            "failures": self.failures.json(),
            "inferred": self.inferred.json(),
            "not_inferred": self.not_inferred.json(),
        })
    }
}

/// Counts a request for as long as it is under way.
pub(crate) struct InFlight(Arc<Stats>);

impl InFlight {
    pub(crate) fn new(stats: &Arc<Stats>) -> Self {
        one(&stats.in_flight);
        Self(Arc::clone(stats))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
