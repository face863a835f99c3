//! The shop: twenty services that talk HTTP with each other over loopback sockets, under a steady load, to
//! look at with Tracewell.
//!
//! It is: real servers and clients, instrumented by `tracewell-sdk` as an application would be, with
//! realistic latencies, a few failures, and a switch that makes a database slow. It is not: a load generator
//! for measurements, or a stub that makes up spans.
//!
//! ```text
//! visitors ──▶ web-frontend ──▶ api-gateway ──▶ authentication, inventory, pricing, user-profile, …
//!                                     │                    └─ databases, caches, payment provider
//!                every service: own resource, own subscriber, one shared exporter ──OTLP/HTTP──▶ endpoint
//! control port: POST /faults/slow-database {"on":true}
//! ```
//!
//! ```no_run
//! # async fn example() -> Result<(), tracewell_demo::DemoError> {
//! let demo = tracewell_demo::run(tracewell_demo::DemoConfig::new("http://127.0.0.1:4318")).await?;
//! println!("faults are switched at http://{}", demo.control_addr());
//! demo.stop().await;
//! # Ok(())
//! # }
//! ```

mod broker;
mod cache;
mod control;
mod database;
pub mod faults;
mod load;
mod network;
mod random;
mod service;
mod services;
mod topology;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracewell_sdk::{Config, Pipeline, Signal, SignalStats};
use tracing::{Dispatch, Level};

use crate::faults::Switches;
use crate::network::Directory;
use crate::random::Random;
use crate::service::{Service, World};
use crate::topology::SERVICES;

pub use faults::{FaultError, FaultState, Switch};

/// The longest that [`Demo::stop`] waits for requests that are under way, and then for what they left to send.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// How the shop is to run.
#[derive(Debug, Clone)]
pub struct DemoConfig {
    /// Base of the OTLP/HTTP endpoint, such as `http://127.0.0.1:4318`.
    pub otlp_endpoint: String,
    /// Visitors' requests per second on average; 0 for none. Default 5.
    pub requests_per_second: f64,
    /// The faults that are on from the beginning.
    pub faults: Vec<Switch>,
    /// Socket of the control port; port 0 picks a free one. Default `127.0.0.1:0`.
    pub control_listen: SocketAddr,
    /// Seed of think times, choices and failures; the same seed gives the same sequence of them.
    pub seed: u64,
    /// The longest that a finished span waits before it is sent. Default one second.
    pub export_delay: Duration,
}

impl DemoConfig {
    /// The default shop, sending to this endpoint.
    pub fn new(otlp_endpoint: impl Into<String>) -> Self {
        Self {
            otlp_endpoint: otlp_endpoint.into(),
            requests_per_second: 5.0,
            faults: Vec::new(),
            control_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 0x5409,
            export_delay: Duration::from_secs(1),
        }
    }
}

/// Why the shop did not open.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A socket could not be had.
    #[error("{what} cannot listen on {address}: {source}")]
    Listen {
        /// Which service.
        what: String,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The exporter could not be started.
    #[error(transparent)]
    Export(#[from] tracewell_sdk::StartError),
}

/// The open shop. Dropping it closes it without waiting; [`Demo::stop`] waits for what is under way.
pub struct Demo {
    world: Arc<World>,
    pipeline: Option<Pipeline>,
    control: SocketAddr,
}

/// Opens the shop. Must be called within a tokio runtime with I/O and time; returns once every service listens.
///
/// # Errors
///
/// [`DemoError`] names the socket or the exporter that could not be had.
pub async fn run(config: DemoConfig) -> Result<Demo, DemoError> {
    let faults = Switches::default();
    for switch in &config.faults {
        faults.set(*switch, true);
    }
    let random = Random::new(config.seed);

    let mut directory = Directory::default();
    let mut listeners = Vec::new();
    for spec in SERVICES {
        for _ in 0..spec.instances {
            let listener = listen(spec.name, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
            if let Ok(socket) = listener.local_addr() {
                directory.add(spec.name, socket);
            }
            listeners.push((spec, listener));
        }
    }
    let control_listener = listen("the control port", config.control_listen).await?;
    let control = control_listener.local_addr().unwrap_or(config.control_listen);

    let mut export = Config::to_endpoint(&config.otlp_endpoint);
    for destination in [&mut export.traces, &mut export.logs] {
        destination.delay = config.export_delay;
        destination.queue_records_max = 8192;
        destination.gzip = true;
    }
    let pipeline = Pipeline::start(export)?;
    let world = Arc::new(World {
        directory: Arc::new(directory),
        random,
        faults,
        requests_per_second: config.requests_per_second,
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
    });

    for (spec, listener) in listeners {
        let dispatch = match spec.traces() {
            false => Dispatch::none(),
            true => pipeline.tracer(&spec.resource(&world.random)).dispatch(Level::INFO),
        };
        let service = Service::new(spec, Arc::clone(&world), dispatch.clone());
        let router = match spec.name {
            "message-broker" => broker::router(world.stop.clone()),
            _ => services::router(&service),
        };
        service.serve(listener, router);
        if spec.name == "notifications" {
            world.tasks.spawn(tracewell_sdk::under(&dispatch, service.consume()));
        }
    }
    let stop = world.stop.clone();
    let router = control::router(Arc::clone(&world));
    world.tasks.spawn(async move {
        // Serving ends with the shop only.
        let _ = axum::serve(control_listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    });
    world.tasks.spawn(load::run(Arc::clone(&world), config.requests_per_second));
    Ok(Demo { world, pipeline: Some(pipeline), control })
}

async fn listen(what: &str, address: SocketAddr) -> Result<TcpListener, DemoError> {
    TcpListener::bind(address).await.map_err(|source| DemoError::Listen { what: what.to_owned(), address, source })
}

impl Demo {
    /// The socket of the control port.
    pub fn control_addr(&self) -> SocketAddr {
        self.control
    }

    /// The socket of the web frontend, where visitors come in.
    pub fn frontend_addr(&self) -> Option<SocketAddr> {
        self.world.directory.first("web-frontend")
    }

    /// Each service and the sockets of its instances.
    pub fn services(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        self.world.directory.all()
    }

    /// The switches, to be kept beside the shop.
    pub fn control(&self) -> Control {
        Control { world: Arc::clone(&self.world) }
    }

    /// What became of the spans or log records so far.
    pub fn stats(&self, signal: Signal) -> SignalStats {
        self.pipeline.as_ref().map(|pipeline| pipeline.stats(signal)).unwrap_or_default()
    }

    /// Closes the shop: no new requests, at most one second for those under way, at most another one to send
    /// what is left.
    pub async fn stop(mut self) {
        self.world.stop.cancel();
        self.world.tasks.close();
        // Whoever is still at it after that time ends with the runtime.
        let _ = tokio::time::timeout(STOP_TIMEOUT, self.world.tasks.wait()).await;
        if let Some(pipeline) = self.pipeline.take() {
            // Sending blocks: not on a thread of the runtime.
            let _ = tokio::task::spawn_blocking(move || pipeline.shutdown(STOP_TIMEOUT)).await;
        }
    }
}

/// The switches of an open shop. Clones switch the same shop; once it is closed they have no effect.
#[derive(Clone)]
pub struct Control {
    world: Arc<World>,
}

impl Control {
    /// Every fault as it is now, in the order of [`faults::FAULTS`].
    pub fn faults(&self) -> Vec<FaultState> {
        self.world.faults.states()
    }

    /// Switches a fault on or off.
    pub fn switch(&self, switch: Switch, on: bool) -> FaultState {
        self.world.faults.set(switch, on)
    }

    /// Requests per second, on average.
    pub fn requests_per_second(&self) -> f64 {
        self.world.requests_per_second
    }

    /// Services with a name of their own that send telemetry.
    pub fn services(&self) -> usize {
        SERVICES.iter().filter(|spec| spec.traces()).count()
    }

    /// Instances of all of them.
    pub fn instances(&self) -> usize {
        SERVICES.iter().filter(|spec| spec.traces()).map(|spec| spec.instances).sum()
    }

    /// The services of the longest path, from the first to the last.
    pub fn chain(&self) -> Vec<&'static str> {
        topology::CHAIN.to_vec()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.world.stop.cancel();
    }
}
