//! What the proxy is told to do.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use serde_json::Value;
use tracewell_propagate::Composite;

use crate::backend::{Backend, Routes};

/// Which HTTP version backends in cleartext are spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// The version that the client speaks: the backend gets what it would get without the proxy.
    #[default]
    Mirror,
    /// HTTP/1.1, always.
    Http1,
    /// HTTP/2 by prior knowledge, always.
    Http2,
}

/// How far the proxy goes to find the inbound request that an outbound one without context belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Infer {
    /// Not at all.
    Off,
    /// By a request id that both carry.
    #[default]
    RequestId,
    /// By a request id; else, where exactly one inbound request is in flight, that one.
    Single,
}

/// A listener whose requests all go to one backend, for applications that know no forward proxy.
#[derive(Debug, Clone)]
pub struct Egress {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where to send.
    pub to: Backend,
}

/// Bounds. Each refusal that they cause is counted.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections of all listeners together; above, a client is answered 503.
    pub connections_max: usize,
    /// Bytes of a request's or an answer's head; above, 431 or 502.
    pub head_bytes_max: usize,
    /// Requests under way on one HTTP/2 connection.
    pub streams_max: u32,
    /// Inbound requests that are remembered for their outbound ones.
    pub remembered_max: usize,
    /// Bytes of what is remembered.
    pub remembered_bytes_max: usize,
    /// Of a request's body that much is kept until its answer begins, to be sent again.
    pub replay_bytes_max: usize,
    /// Idle connections kept for one backend.
    pub idle_per_backend_max: usize,
    /// Idle connections kept in all.
    pub idle_max: usize,
    /// How long an idle connection is kept.
    pub idle_time: Duration,
    /// How long a client may take to send the head of a request.
    pub head_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            head_bytes_max: 64 << 10,
            streams_max: 256,
            remembered_max: 65_536,
            remembered_bytes_max: 64 << 20,
            replay_bytes_max: 64 << 10,
            idle_per_backend_max: 512,
            idle_max: 4_096,
            idle_time: Duration::from_secs(60),
            head_time: Duration::from_secs(30),
        }
    }
}

/// Reads figures that the proxy itself does not have, for its status page.
pub type Figures = Arc<dyn Fn() -> Value + Send + Sync>;

/// Everything that can be set. [`Config::default`] listens nowhere.
#[derive(Clone)]
pub struct Config {
    /// Where requests for the application arrive.
    pub inbound: Option<SocketAddr>,
    /// Where they go.
    pub routes: Routes,
    /// Where the application's own requests arrive, as to a forward proxy.
    pub outbound: Option<SocketAddr>,
    /// Further listeners for the application's own requests, one for each backend.
    pub egress: Vec<Egress>,
    /// Where health and figures can be asked for.
    pub admin: Option<SocketAddr>,
    /// Header formats that are read and written.
    pub propagators: Composite,
    /// Headers that hold a request id; the first one is added where all are missing.
    pub request_id_headers: Vec<HeaderName>,
    /// How requests without context find their parent.
    pub infer: Infer,
    /// How long a finished inbound request is remembered for outbound ones that come late.
    pub linger: Duration,
    /// HTTP version towards backends in cleartext.
    pub protocol: Protocol,
    /// Sends the backend's own name as `Host` instead of the client's.
    pub rewrite_host: bool,
    /// Adds `X-Forwarded-For`, `-Proto`, `-Host`, and a hop to `Forwarded` where there is one.
    pub forwarded: bool,
    /// Adds `Via`.
    pub via: bool,
    /// Longest time for a connection to a backend, its TLS handshake included.
    pub connect_time: Duration,
    /// Longest time until an answer begins; none where `None`.
    pub answer_time: Option<Duration>,
    /// How long requests may go on when the proxy ends.
    pub drain_time: Duration,
    /// A file with certificates (PEM) that backends are trusted by, beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Bounds.
    pub limits: Limits,
    /// What the status page says about exported spans.
    pub figures: Option<Figures>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            inbound: None,
            routes: Routes::default(),
            outbound: None,
            egress: Vec::new(),
            admin: None,
            propagators: Composite::default(),
            request_id_headers: vec![HeaderName::from_static("x-request-id")],
            infer: Infer::default(),
            linger: Duration::from_secs(5),
            protocol: Protocol::default(),
            rewrite_host: false,
            forwarded: true,
            via: true,
            connect_time: Duration::from_secs(5),
            answer_time: None,
            drain_time: Duration::from_secs(5),
            ca_file: None,
            limits: Limits::default(),
            figures: None,
        }
    }
}
