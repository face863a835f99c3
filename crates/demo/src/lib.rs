//! The shop: fifty services that talk HTTP, gRPC, messages and SQL with each other over loopback sockets, under a steady
//! load, to look at with Tracewell.
//!
//! It is: real servers and clients, instrumented by `tracewell-sdk` as an application would be, with a resource, a
//! version, instances and a clock for each service, realistic latencies, a few failures, and faults that can be switched
//! on and off ([`faults`]). It is not: a load generator for measurements, or a stub that makes up spans.
//!
//! ```text
//! visitors ──▶ web-frontend ──▶ api-gateway ──▶ authentication, inventory, pricing, user-profile, …
//!                                     │                    └─ databases (SQLite), caches, payment provider
//!                                     └──▶ checkout ──▶ … thirty services deep … ──▶ ledger
//!                every instance: own resource, own subscriber, own clock
//!                                one shared exporter ──OTLP/HTTP──▶ endpoint
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | `topology` | who is part of the shop |
//! | `services` | what each service does with a request |
//! | `service`, `serve`, `rpc` | an instance: its clients and its server, HTTP and gRPC |
//! | `network` | names instead of addresses, instances in turn, the line between two regions |
//! | `database`, `cache`, `queue` | what keeps data, and the callers' side of it |
//! | `load` | the visitors |
//! | `faults`, `world` | what can go wrong, and what the switches move |
//!
//! ```no_run
//! # async fn example() -> Result<(), tracewell_demo::DemoError> {
//! let demo = tracewell_demo::run(tracewell_demo::DemoConfig::new("http://127.0.0.1:4318")).await?;
//! println!("faults are switched at http://{}", demo.control_addr());
//! demo.stop().await;
//! # Ok(())
//! # }
//! ```

mod cache;
mod control;
mod database;
#[cfg(test)]
mod docs;
pub mod faults;
mod load;
mod network;
mod queue;
mod random;
mod rpc;
mod serve;
mod service;
mod services;
mod topology;
mod world;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracewell_sdk::{Config, Pipeline, Signal, SignalStats, Tracer};
use tracing::{Dispatch, Level};

use crate::database::Databases;
use crate::faults::Switches;
use crate::network::{Directory, Link};
use crate::random::Random;
use crate::service::Service;
use crate::topology::{CHAIN, SERVICES, Spec};
use crate::world::World;

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
    /// A database could not be created.
    #[error("the databases cannot be filled: {0}")]
    Database(String),
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
    let databases = tokio::task::spawn_blocking(Databases::open);
    let random = Random::new(config.seed);
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let link = Arc::new(Link::default());

    let mut directory = Directory::default();
    let mut instances = Vec::new();
    for spec in SERVICES {
        for (place, is_next) in places(spec) {
            let listener = listen(spec.name).await?;
            let mut socket = address(&listener)?;
            if spec.name == CHAIN[10] {
                // Its caller reaches it through the line between the two regions.
                let relay = listen("the line between two regions").await?;
                let callee = std::mem::replace(&mut socket, address(&relay)?);
                tasks.spawn(Arc::clone(&link).relay(relay, callee, stop.clone(), tasks.clone()));
            }
            directory.add(spec.name, is_next, socket);
            instances.push((spec, (place, is_next), listener));
        }
    }
    let control_listener = listen_on("the control port", config.control_listen).await?;
    let control = address(&control_listener)?;

    let pipeline = Pipeline::start(export(&config))?;
    let tracer = |spec: &'static Spec, is_next: bool| -> Option<Tracer> {
        let version = spec.next.filter(|_| is_next).map_or(spec.version, |next| next.version);
        spec.traces().then(|| pipeline.tracer(&spec.resource(version, &random)))
    };
    let instances: Vec<_> =
        instances.into_iter().map(|(spec, place, listener)| (spec, place, listener, tracer(spec, place.1))).collect();
    let tracers = instances.iter().filter_map(|(spec, _, _, tracer)| Some((spec.name, tracer.clone()?))).collect();
    let databases = databases.await.map_err(|error| DemoError::Database(error.to_string()))?;
    let world = Arc::new(World {
        directory: Arc::new(directory),
        databases: databases.map_err(|error| DemoError::Database(error.to_string()))?,
        random,
        faults: Switches::default(),
        link,
        tracers,
        requests_per_second: config.requests_per_second,
        stop: stop.clone(),
        tasks,
    });
    for switch in &config.faults {
        world.switch(*switch, true);
    }

    for (spec, place, listener, tracer) in instances {
        let dispatch = tracer.map_or_else(Dispatch::none, |tracer| tracer.dispatch(Level::INFO));
        let service = Service::new(spec, place, Arc::clone(&world), dispatch.clone());
        let router = match spec.traces() {
            false => queue::router(stop.clone()),
            true => services::router(&service),
        };
        service.serve(listener, router);
        world.tasks.spawn(tracewell_sdk::under(&dispatch, services::by_itself(service)));
    }
    let router = control::router(Arc::clone(&world));
    world.tasks.spawn(async move {
        // Serving ends with the shop only.
        let _ = axum::serve(control_listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    });
    world.tasks.spawn(Arc::clone(&world).drift());
    world.tasks.spawn(load::run(Arc::clone(&world), config.requests_per_second));
    Ok(Demo { world, pipeline: Some(pipeline), control })
}

/// The instances of a service: their numbers, and whether they run the next version.
fn places(spec: &Spec) -> impl Iterator<Item = (usize, bool)> {
    let next = spec.next.map_or(0, |next| next.instances);
    (0..spec.instances)
        .map(|place| (place, false))
        .chain((spec.instances..spec.instances + next).map(|place| (place, true)))
}

fn export(config: &DemoConfig) -> Config {
    let mut export = Config::to_endpoint(&config.otlp_endpoint);
    for destination in [&mut export.traces, &mut export.logs] {
        destination.delay = config.export_delay;
        destination.queue_records_max = 8192;
        destination.gzip = true;
    }
    export
}

async fn listen(what: &str) -> Result<TcpListener, DemoError> {
    listen_on(what, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
}

async fn listen_on(what: &str, address: SocketAddr) -> Result<TcpListener, DemoError> {
    TcpListener::bind(address).await.map_err(|source| DemoError::Listen { what: what.to_owned(), address, source })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, DemoError> {
    let unknown = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let failed = |source| DemoError::Listen { what: "a service".to_owned(), address: unknown, source };
    listener.local_addr().map_err(failed)
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
        self.world.switch(switch, on)
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
        CHAIN.to_vec()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.world.stop.cancel();
    }
}
