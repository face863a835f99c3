//! Listeners that take spans and logs from applications: OTLP over gRPC and over HTTP.
//!
//! It is: sockets, protocols, compression, limits, back-pressure, tenants and counters. It is not: a store (what was
//! checked goes to a [`Sink`], and is acknowledged when the sink says so) and not a decoder (`tracewell-wire` knows the
//! formats). Everything is bounded: body and header sizes, bytes in flight over all listeners, connections, streams, and
//! the time that each may take.
//!
//! ```text
//! listen ─▶ conn ─▶ sniff ─┬─ HTTP/1 ─┐             ┌─ grpc ─┐                   check (wire)
//!  (ports)  (one client)   └─ HTTP/2 ─┴─▶ endpoint ─┤        ├─▶ body ─▶ pipeline ────┤
//!                                                   └─ http ─┘  (inflate,             ▼
//!                                                                budget)            Sink
//! ```
//!
//! Log files are the other way in: [`tail`] reads them and hands their lines to the same [`Sink`].
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use tracewell_ingest::{BindError, IngestConfig, Sink};
//! # async fn run(sink: Arc<dyn Sink>, ctrl_c: impl Future<Output = ()>) -> Result<(), BindError> {
//! let listeners = tracewell_ingest::bind(IngestConfig::default(), sink).await?;
//! println!("OTLP over gRPC at {:?}, over HTTP at {:?}", listeners.grpc_addr, listeners.http_addr);
//! listeners.serve(ctrl_c).await;
//! # Ok(())
//! # }
//! ```

mod answer;
mod body;
mod budget;
mod config;
mod conn;
mod cors;
mod endpoint;
mod grpc;
mod http;
mod inflate;
mod listen;
mod pipeline;
mod refusal;
mod sink;
mod sniff;
mod stats;
pub mod tail;
mod tenant;

pub use body::Reply;
pub use config::{Cors, IngestConfig, Limits, OtherSignals};
pub use endpoint::Endpoint;
pub use listen::{BindError, Listeners, bind};
pub use refusal::Reason;
pub use sink::{Signal, Sink, SinkError, SinkFuture, Submission};
pub use stats::{LastError, Receiver, ReceiverSnapshot, RefusedSnapshot, SignalSnapshot, Snapshot, Stats};
