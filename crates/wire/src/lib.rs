//! Foreign trace formats, read into and written from Tracewell's model.
//!
//! It is: every byte-level fact about OTLP (protobuf and JSON), Jaeger's JSON and access logs that
//! Tracewell knows. It is not: a transport (`tracewell-ingest` owns sockets, compression and limits) or a
//! store. The crate performs no I/O. No decoder here panics, recurses without bound, allocates by a
//! length that the input merely claims, or takes more than linear time, whatever the bytes.
//!
//! ```text
//! files ──▶ file::read ──▶ OTLP protobuf
//!            └▶ read_traces ──▶ model           Jaeger JSON ──▶ jaeger::json ──▶ model
//!
//! OTLP/JSON ──▶ otlp::json ──▶ OTLP protobuf ──▶ otlp::check_traces ──▶ (WAL)
//!                                   │
//!                                   ├─▶ otlp::view     borrowed spans, no allocation (ingest)
//!                                   └─▶ otlp::decode_* ──▶ model ──▶ otlp::encode / otlp::json
//!
//! access log lines ──▶ accesslog ──▶ model ──▶ otlp::encode
//! ```

pub mod accesslog;
mod error;
pub mod file;
pub mod jaeger;
pub mod otlp;

pub use error::{DecodeError, JsonError, Problem, ProtobufError};
