//! Instrumentation for Rust applications: `tracing` stays the API, this crate sends what it sees as OTLP.
//!
//! It is: a [`TraceSubscriber`] (or a [`TraceLayer`], to stand beside other layers) that encodes spans and
//! events into OTLP protobuf, an exporter on a thread of its own that batches, retries and bounds ([`Pipeline`]), the context that crosses processes
//! ([`SpanExt`], [`extract`], [`inject`]), and middleware for HTTP (feature `http`; `axum`, `hyper`, `reqwest`)
//! and gRPC (`tonic`). It is not: an API of its own for spans, a metrics library, or tied to any async runtime.
//! It never blocks and never panics in the application; what does not fit is dropped and counted.
//!
//! ```text
//! tracing::span! ──▶ TraceSubscriber ──▶ Recorder ──▶ slot of an open span ──close──▶ encoded record
//! tracing::event! ─▶ or TraceLayer          │                                             │
//!                                           └──▶ log record ──────────────────▶ Source (one per service)
//!                                                                             │
//!                                               exporter thread ◀── bounded queue
//!                                                     └─ OTLP/HTTP protobuf, retry, gzip
//! ```
//!
//! One line starts it, with the environment variables of the OpenTelemetry specification:
//!
//! ```no_run
//! let _guard = tracewell_sdk::init(); // flushes when it is dropped
//! tracing::info_span!("work", order.id = 42).in_scope(|| tracing::info!("started"));
//! ```
//!
//! | variable | meaning |
//! |---|---|
//! | `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | who emits |
//! | `OTEL_EXPORTER_OTLP_ENDPOINT`, `_HEADERS`, `_TIMEOUT`, `_COMPRESSION`, `_CERTIFICATE` | where to, also with `_TRACES_` and `_LOGS_` |
//! | `OTEL_TRACES_EXPORTER`, `OTEL_LOGS_EXPORTER` | `otlp` (default) or `none` |
//! | `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` | which traces |
//! | `OTEL_BSP_*`, `OTEL_BLRP_*` | batching of spans and of log records |
//! | `OTEL_SPAN_*_LIMIT`, `OTEL_ATTRIBUTE_*_LIMIT` | size of one span |
//! | `OTEL_PROPAGATORS` | header formats |
//! | `OTEL_SDK_DISABLED`, `OTEL_LOG_LEVEL` | off; how much the SDK says about itself |
//! | `TRACEPARENT`, `TRACESTATE`, `BAGGAGE` | the span that started this process |
//! | `TRACEWELL_LOG_FORMAT` | `text` (default) or `json` lines |
//! | `RUST_LOG` | which spans and events |
//!
//! [`task`] keeps the trace over tasks and threads, [`process`] over programs, [`log_lines`] puts its ids into
//! every line, [`diagnostics`] counts what goes wrong; [`init`](mod@init) sees to the end of the process.

mod access;
mod claims;
mod client;
mod clock;
mod config;
mod current;
pub mod diagnostics;
#[cfg(feature = "http")]
mod edit;
mod exporter;
mod ext;
mod id;
pub mod init;
mod layer;
mod log;
pub mod log_lines;
mod pipeline;
pub mod process;
mod proto;
mod queue;
mod recorder;
mod resource;
mod sampler;
mod slab;
mod span;
mod subscriber;
mod target;
pub mod task;
mod tls;
mod under;
mod value;
mod visit;

#[cfg(feature = "opentelemetry")]
pub mod bridge;
#[cfg(feature = "db")]
pub mod db;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "messaging")]
pub mod messaging;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "reqwest")]
pub mod reqwest;
#[cfg(feature = "http")]
pub mod semconv;
#[cfg(feature = "sqlx")]
pub mod sqlx;
#[cfg(feature = "tonic")]
pub mod tonic;

pub use config::{Config, Destination, Limits, Signal, Warning};
pub use ext::{SpanExt, current_context, extract, inject};
pub use init::{Builder, Guard, InitError, builder, init};
pub use layer::TraceLayer;
pub use pipeline::{Pipeline, StartError, Tracer};
pub use queue::SignalStats;
pub use resource::Resource;
pub use sampler::{ParentRules, Sampler};
pub use span::{SpanKind, StatusCode};
pub use subscriber::TraceSubscriber;
pub use tracewell_propagate as propagate;
pub use under::{Under, under};
pub use value::Value;
