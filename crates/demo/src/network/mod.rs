//! The shop's network: names instead of addresses, as a cluster's name service gives them.
//!
//! ```text
//! http://inventory:8080/…  ──Balanced──▶ http://inventory-2.inventory:8080/…  ──Connector──▶ 127.0.0.1:41234
//!   what a service calls      the next instance in turn, as a                  its socket, or that of
//!   and what its span says    service mesh picks for each request              a relay on the way (link)
//! ```
//!
//! What crosses it is ordinary HTTP over TCP.

mod balance;
mod link;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::body::Body;
use hyper::rt::Executor;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower_service::Service;
use tracing::Dispatch;

pub(crate) use balance::{Balanced, DropContext};
pub(crate) use link::Link;

/// Idle connections that one service keeps to one instance of another.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// An idle connection is closed after this time.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// The instances behind one name.
#[derive(Default)]
struct Instances {
    /// Hosts of the current version and of the next.
    current: Vec<String>,
    next: Vec<String>,
    rolling: AtomicBool,
    turn: AtomicUsize,
}

impl Instances {
    /// The next instance in turn. While a version is rolled out, its instances stand where others stood.
    fn pick(&self) -> Option<&str> {
        let replaced = if self.rolling.load(Ordering::Relaxed) { self.next.len() } else { 0 };
        let serving = self.current.iter().skip(replaced).chain(self.next.iter().take(replaced));
        let count = serving.clone().count().max(1);
        serving.into_iter().nth(self.turn.fetch_add(1, Ordering::Relaxed) % count).map(String::as_str)
    }
}

/// Names and the sockets behind them.
#[derive(Default)]
pub(crate) struct Directory {
    instances: HashMap<&'static str, Instances>,
    sockets: HashMap<String, (&'static str, SocketAddr)>,
}

impl Directory {
    /// Adds an instance, of the next version or of the current one.
    pub(crate) fn add(&mut self, name: &'static str, is_next: bool, socket: SocketAddr) {
        let instances = self.instances.entry(name).or_default();
        let host = format!("{name}-{}.{name}", instances.current.len() + instances.next.len());
        self.sockets.insert(host.clone(), (name, socket));
        if is_next { instances.next.push(host) } else { instances.current.push(host) }
    }

    pub(crate) fn first(&self, name: &str) -> Option<SocketAddr> {
        let host = self.instances.get(name)?.current.first()?;
        self.sockets.get(host).map(|(_, socket)| *socket)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        self.sockets.values().copied()
    }

    /// Begins or takes back the roll-out of the next version.
    pub(crate) fn roll_out(&self, name: &str, on: bool) {
        if let Some(instances) = self.instances.get(name) {
            instances.rolling.store(on, Ordering::Relaxed);
        }
    }

    /// The host of the instance whose turn it is.
    fn pick(&self, name: &str) -> Option<&str> {
        self.instances.get(name)?.pick()
    }

    fn socket(&self, host: &str) -> Option<SocketAddr> {
        self.sockets.get(host).map(|(_, socket)| *socket)
    }
}

/// Opens connections to instances.
#[derive(Clone)]
pub(crate) struct Connector {
    directory: Arc<Directory>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let socket = uri.host().and_then(|host| self.directory.socket(host));
        Box::pin(async move {
            let socket = socket.ok_or_else(|| {
                io::Error::new(io::ErrorKind::NotFound, format!("no service answers to the name in {uri}"))
            })?;
            let stream = TcpStream::connect(socket).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}

/// Runs the tasks of connections under the subscriber of the service that they belong to.
#[derive(Clone)]
pub(crate) struct Tasks(pub(crate) Dispatch);

impl<F> Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        tokio::spawn(tracewell_sdk::under(&self.0, task));
    }
}

/// A client by name, with its own connections and without any instrumentation.
pub(crate) fn client<B>(directory: &Arc<Directory>, dispatch: &Dispatch, http2: bool) -> Balanced<Client<Connector, B>>
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    let client = Client::builder(Tasks(dispatch.clone()))
        .http2_only(http2)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .pool_idle_timeout(IDLE_MAX)
        .pool_timer(TokioTimer::new())
        .build(Connector { directory: Arc::clone(directory) });
    Balanced::new(client, Arc::clone(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_take_turns_and_the_next_version_takes_the_place_of_some() {
        let socket = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut directory = Directory::default();
        for is_next in [false, false, false, true, true] {
            directory.add("inventory", is_next, socket);
        }
        let three = |directory: &Directory| -> Vec<String> {
            (0..3).filter_map(|_| directory.pick("inventory").map(str::to_owned)).collect()
        };
        assert_eq!(three(&directory), ["inventory-0.inventory", "inventory-1.inventory", "inventory-2.inventory"]);
        directory.roll_out("inventory", true);
        assert_eq!(three(&directory), ["inventory-2.inventory", "inventory-3.inventory", "inventory-4.inventory"]);
        directory.roll_out("inventory", false);
        assert_eq!(three(&directory)[0], "inventory-0.inventory");
        assert_eq!(directory.pick("mail"), None);
    }
}
