//! The one line that starts everything for a process with one service.

use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::{Config, Pipeline, Signal, SignalStats};

/// Keeps the exporter alive; dropping it sends what is queued, for at most
/// [`Config::shutdown_timeout`](crate::Config::shutdown_timeout).
#[must_use = "dropping the guard ends the export"]
pub struct Guard {
    pipeline: Option<Pipeline>,
}

impl Guard {
    /// Waits until everything that is queued now has been sent or given up; false when `timeout` was too short.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.pipeline.as_ref().is_none_or(|pipeline| pipeline.flush(timeout))
    }

    /// What became of the records of one signal.
    pub fn stats(&self, signal: Signal) -> SignalStats {
        self.pipeline.as_ref().map(|pipeline| pipeline.stats(signal)).unwrap_or_default()
    }
}

/// Sets up tracing for the whole process from the environment: what `RUST_LOG` lets through (default
/// `info`) goes to stderr as text and to the OTLP endpoint as spans and log records.
///
/// Never fails: an application must run without its telemetry. What is wrong is told on stderr. Where a
/// global subscriber exists already it stays, and nothing is exported.
pub fn init() -> Guard {
    let (config, warnings) = Config::from_env();
    for warning in warnings {
        eprintln!("tracewell: ignored {warning}");
    }
    let resource = config.resource.clone();
    let pipeline = match Pipeline::start(config) {
        Ok(pipeline) => pipeline,
        Err(error) => {
            eprintln!("tracewell: nothing is exported: {error}");
            return Guard { pipeline: None };
        }
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::registry()
        .with(filter)
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr))
        .with(pipeline.tracer(&resource).layer());
    if let Err(error) = subscriber.try_init() {
        eprintln!("tracewell: nothing is exported, another subscriber is in place: {error}");
        return Guard { pipeline: None };
    }
    Guard { pipeline: Some(pipeline) }
}
