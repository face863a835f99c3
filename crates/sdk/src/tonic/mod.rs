//! Spans for gRPC, both ways, as tower layers for tonic (OpenTelemetry semantic conventions 1.44, "gRPC").
//!
//! ```text
//! generated client ─▶ ClientLayer ─▶ Channel ──metadata: traceparent──▶ Server ─▶ ServerLayer ─▶ services
//!        span ends with the trailers received          span ends with the trailers sent
//! ```
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! # let service = tonic::service::Routes::default();
//! use tower_layer::Layer;
//! use tracewell_sdk::tonic::{ClientLayer, ServerLayer};
//!
//! let server = tonic::transport::Server::builder().layer(ServerLayer::new());
//! let channel = tonic::transport::Endpoint::from_static("http://inventory:50051").connect_lazy();
//! let channel = ClientLayer::to("http://inventory:50051").layer(channel); // for any generated client
//! # Ok(())
//! # }
//! ```
//!
//! A span is called `package.Service/Method` and lasts until the status has been exchanged, which in a stream is
//! after its last message. It is: unary and streaming calls of either direction, cancellations, deadlines. It is
//! not: metrics, health checks, reflection.

mod client;
pub(crate) mod code;
mod messages;
mod server;
mod watch;

pub use client::{Client, ClientBody, ClientFuture, ClientLayer};
pub use server::{Server, ServerBody, ServerFuture, ServerLayer};
pub use watch::RpcWatch;
