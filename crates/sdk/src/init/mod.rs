//! The one line that starts everything for a process with one service, and the ways in which it ends.
//!
//! ```text
//! builder() ─▶ environment, what the program sets, detected resource ─▶ pipeline ─▶ global subscriber
//!                                                                          ▲
//!   guard dropped ─ exit() ─ SIGTERM, SIGINT, … ─ abort ─ panic ────flush──┘
//! ```
//!
//! It is: composition, and care for the end of the process. It is not: needed. A program that composes its
//! own subscriber takes [`Builder::build`], or a [`Pipeline`] alone.

mod builder;
mod detect;
mod filter;
mod panics;
#[cfg(all(unix, feature = "signals"))]
mod unix;

pub use builder::{Builder, InitError};

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crate::queue::lock;
use crate::{Pipeline, Signal, SignalStats};

/// Keeps the exporter alive; dropping it sends what is queued, for at most
/// [`Config::shutdown_timeout`](crate::Config::shutdown_timeout).
///
/// It blocks the thread that drops it, never a runtime: the exporter has a thread of its own, so that a
/// guard may be dropped inside a task of a runtime with one thread.
#[must_use = "dropping the guard ends the export"]
pub struct Guard {
    running: Option<(Arc<Pipeline>, Duration)>,
}

impl Guard {
    /// Waits until everything that is queued now has been sent or given up; false when `timeout` was too short.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.running.as_ref().is_none_or(|(pipeline, _)| pipeline.flush(timeout))
    }

    /// What became of the records of one signal.
    pub fn stats(&self, signal: Signal) -> SignalStats {
        self.running.as_ref().map(|(pipeline, _)| pipeline.stats(signal)).unwrap_or_default()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The hooks hold the pipeline for moments only, but one of them may be the last to let go.
        if let Some((pipeline, timeout)) = self.running.take() {
            pipeline.shutdown(timeout);
        }
    }
}

/// The pipeline that has to be flushed when the process ends without its guard being dropped.
static RUNNING: Mutex<Option<(Weak<Pipeline>, Duration)>> = Mutex::new(None);

/// Sends what is queued, if anything is running, for at most as long as a shutdown may take.
fn flush_running() {
    let running = lock(&RUNNING).as_ref().and_then(|(pipeline, limit)| Some((pipeline.upgrade()?, *limit)));
    if let Some((pipeline, limit)) = running {
        pipeline.flush(limit);
    }
}

/// Sets up tracing for the whole process from the environment: what `RUST_LOG` lets through (default
/// `info`) goes to stderr as lines with the ids of their trace, and to the OTLP endpoint as spans and log
/// records.
///
/// Never fails: an application must run without its telemetry. What is wrong is told on stderr. Where a
/// global subscriber exists already it stays, and nothing is exported.
pub fn init() -> Guard {
    builder().init()
}

/// As [`init`], with a say in everything.
///
/// ```no_run
/// let _guard = tracewell_sdk::builder()
///     .service_name("cart")
///     .log_format(tracewell_sdk::log_lines::LogFormat::Json)
///     .init();
/// ```
pub fn builder() -> Builder {
    Builder::from_env()
}
