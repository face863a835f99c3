//! Configuration: what can be set, and the layers it is read from.
//!
//! ```text
//! defaults  <  file (tracewell.toml)  <  environment (TRACEWELL_*)  <  flags
//! ```
//!
//! Every setting is one row of the table in [`keys`]; the default file, the environment's names, the printed
//! configuration and `docs/config.md` are made from that table, so that they cannot disagree. A key that does not exist
//! is an error that names the file, the line and the nearest key that does.

mod keys;
mod load;
mod logfiles;
mod render;
mod suggest;
mod units;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tracewell_ingest::OtherSignals;
use tracewell_ingest::tail::Log as LogFile;

pub use load::{ConfigError, FlagValue, Inputs, Loaded, Origin, Problem, Setting, load};
pub use render::{default_file, effective, reference};
pub use suggest::nearest;
pub use units::duration;

/// The file that is read from the working directory when none is named.
pub const DEFAULT_FILE: &str = "tracewell.toml";

/// Everything that can be set. Sizes are bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// User interface and query APIs.
    pub http: Http,
    /// The receivers for OTLP.
    pub otlp: Otlp,
    /// Log files that are followed.
    pub logfiles: LogFiles,
    /// How much is held in memory before it is written out.
    pub store: StoreLimits,
    /// What is deleted when.
    pub retention: Retention,
    /// What one query may use.
    pub query: QueryLimits,
    /// The server's own log.
    pub log: Log,
}

/// User interface and query APIs.
#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Host names, beyond the loopback ones, by which a server on loopback may be addressed.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may read the APIs (CORS); `*` for any.
    pub allowed_origins: Vec<String>,
    /// Connections at one time.
    pub connections_max: usize,
}

/// The receivers for OTLP.
#[derive(Debug, Clone, PartialEq)]
pub struct Otlp {
    /// Address for gRPC; `None` for no such listener.
    pub grpc_listen: Option<SocketAddr>,
    /// Address for HTTP; `None` for no such listener.
    pub http_listen: Option<SocketAddr>,
    /// Origins of web pages that may send spans (CORS); `*` for any.
    pub allowed_origins: Vec<String>,
    /// Bytes of one request after decompression.
    pub body_bytes_max: u64,
    /// Bytes of all requests that are being worked on.
    pub inflight_bytes_max: u64,
    /// Connections at one time over both listeners.
    pub connections_max: usize,
    /// What exporters of metrics and profiles are told.
    pub other_signals: OtherSignals,
}

/// Log files that are followed.
#[derive(Debug, Clone, PartialEq)]
pub struct LogFiles {
    /// Which.
    pub read: Vec<LogFile>,
    /// How often they are looked at.
    pub poll: Duration,
    /// A file that is seen for the first time is read from its end.
    pub from_end: bool,
}

/// How much is held in memory before it is written out.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreLimits {
    /// The head is written to a segment at this size in memory.
    pub head_bytes_max: u64,
    /// The head is written to a segment at this age.
    pub head_age_max: Duration,
    /// Memory of everything that is not yet in a segment.
    pub memory_bytes_max: u64,
    /// Memory for decoded pieces of segments.
    pub cache_bytes_max: u64,
    /// Stop accepting when the disk has less room than this.
    pub disk_free_bytes_min: u64,
}

/// What is deleted when.
#[derive(Debug, Clone, PartialEq)]
pub struct Retention {
    /// Delete what arrived longer ago.
    pub age: Option<Duration>,
    /// Delete the oldest when all segments together are larger.
    pub size_bytes: Option<u64>,
}

/// What one query may use.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryLimits {
    /// Time.
    pub time_max: Duration,
    /// Bytes of column values that it may look at.
    pub scan_bytes_max: u64,
    /// Queries that run at one time.
    pub concurrency_max: usize,
    /// Queries that may wait for their turn.
    pub waiting_max: usize,
}

/// The server's own log.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or filter directives such as `info,tracewell_store=debug`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How lines of the server's own log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    /// The documented defaults: everything on loopback, two weeks are kept.
    fn default() -> Self {
        keys::defaults()
    }
}
