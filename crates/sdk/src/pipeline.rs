//! From configuration to a running exporter, and one layer for each service.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{Dispatch, Level};

use crate::config::{Config, Signal};
use crate::exporter::{Exporter, Report};
use crate::layer::TraceLayer;
use crate::queue::{Shared, SignalStats, Source, lock};
use crate::recorder::Recorder;
use crate::subscriber::TraceSubscriber;
use crate::{Resource, Sampler};

/// Why no pipeline could be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operating system gave no thread.
    #[error("the exporter's thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// One exporter thread with its queue. Any number of services of one process share it:
///
/// ```no_run
/// # fn main() -> Result<(), tracewell_sdk::StartError> {
/// use tracewell_sdk::{Config, Pipeline, Resource};
/// use tracing::Level;
///
/// let pipeline = Pipeline::start(Config::to_endpoint("http://127.0.0.1:4318"))?;
/// let cart = pipeline.tracer(&Resource::new("cart")).dispatch(Level::INFO);
/// let orders = pipeline.tracer(&Resource::new("orders")).dispatch(Level::INFO);
/// let serve = async {};
/// let served = tracewell_sdk::under(&cart, serve); // everything below belongs to `cart`
/// # drop((served, orders));
/// # Ok(())
/// # }
/// ```
///
/// Dropping it sends what is queued, for at most [`Config::shutdown_timeout`].
pub struct Pipeline {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Pipeline {
    /// Starts the exporter. Problems with exporting go to stderr, at most once a minute.
    ///
    /// # Errors
    ///
    /// [`StartError::Thread`] where no thread can be had.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, |problem| eprintln!("tracewell: {problem}"))
    }

    /// As [`Pipeline::start`], with another place for problems. `report` runs on the exporter's thread.
    ///
    /// # Errors
    ///
    /// [`StartError::Thread`] where no thread can be had.
    pub fn start_with(config: Config, report: impl Fn(&str) + Send + 'static) -> Result<Self, StartError> {
        let shared = Arc::new(Shared::new(config));
        let report: Report = Box::new(report);
        let exporter = Exporter::new(Arc::clone(&shared), report);
        let thread = std::thread::Builder::new().name("tracewell-export".to_owned()).spawn(move || exporter.run())?;
        shared.set_thread(thread.thread().clone());
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// A tracer for one service.
    pub fn tracer(&self, resource: &Resource) -> Tracer {
        Tracer { shared: Arc::clone(&self.shared), source: self.shared.add_source(resource) }
    }

    /// Waits until everything that is queued now has been sent or given up; false when `timeout` was too short.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.shared.flush(timeout)
    }

    /// What became of the records of one signal.
    pub fn stats(&self, signal: Signal) -> SignalStats {
        self.shared.stats(signal)
    }

    /// Sends what is queued and ends the exporter, within `timeout`; false when that was too short.
    /// Records that come later are queued up to the limit and never sent.
    pub fn shutdown(&self, timeout: Duration) -> bool {
        let Some(thread) = lock(&self.thread).take() else { return true };
        let ended = self.shared.shutdown(timeout);
        if ended {
            // The thread has said that it is done; a panic in it has nobody to go to.
            let _ = thread.join();
        }
        ended
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.shutdown(self.shared.config.shutdown_timeout);
    }
}

/// Makes layers for one service of a [`Pipeline`]. Clones belong to the same service.
#[derive(Clone)]
pub struct Tracer {
    shared: Arc<Shared>,
    source: Arc<Source>,
}

impl Tracer {
    /// A layer for a subscriber of one's own.
    pub fn layer(&self) -> TraceLayer {
        TraceLayer { recorder: self.recorder() }
    }

    /// A subscriber that does nothing but record, faster than the layer.
    pub fn subscriber(&self) -> TraceSubscriber {
        TraceSubscriber::new(self.recorder())
    }

    fn recorder(&self) -> Recorder {
        Recorder::new(Arc::clone(&self.shared), Arc::clone(&self.source))
    }

    /// Replaces the sampler of this service, whatever [`Config::sampler`] said. Traces that have begun keep
    /// the decision that was taken for them.
    pub fn set_sampler(&self, sampler: Sampler) {
        self.source.policy().set(&sampler);
    }

    /// Shifts every time that this service records from now on, as if its host's clock were wrong by so
    /// much: for simulations and tests. A span that is open ends by the clock it began with.
    pub fn set_clock_offset(&self, nanoseconds: i64) {
        self.source.set_clock_offset(nanoseconds);
    }

    /// [`Tracer::subscriber`], to run a service's tasks under with [`under`](crate::under).
    /// What is more detailed than `max_level` is left out: libraries
    /// say a great deal at `DEBUG` and `TRACE`.
    pub fn dispatch(&self, max_level: Level) -> Dispatch {
        Dispatch::new(self.subscriber().with_max_level(max_level))
    }
}
