//! Trace context and its header formats: how the identity of a request travels from one process to
//! the next.
//!
//! It is: the context itself ([`Context`], [`TraceState`], [`Baggage`]), readers and writers of
//! header formats ([`Propagator`]), their combination as `OTEL_PROPAGATORS` names them ([`Composite`]),
//! and what carries headers where there is no HTTP ([`ByteValues`], [`GrpcMetadata`], [`Environment`],
//! [`SqlComment`]). It is not: an HTTP client or server, a place where the current context lives, or a
//! source of ids. This crate performs no I/O, keeps no state and reads no clock.
//!
//! ```text
//! headers ──Extract──▶ Propagator ──▶ Propagated { context, baggage, decision } (+ Problem for each refusal)
//!                      ├ TraceContext      traceparent, tracestate
//!                      ├ BaggagePropagator baggage
//!                      └ format/           B3, Jaeger, X-Ray, Datadog, OT trace, Google, OpenCensus
//! Propagated ──▶ Propagator ──Inject──▶ headers
//! ```
//!
//! Each format lies in a file of its own and is registered by name in `composite.rs`. The table of all
//! formats with what each can carry is in `docs/propagation.md`.

mod baggage;
mod base64;
mod carrier;
mod composite;
mod context;
mod format;
mod hex;
mod percent;
pub mod response;
pub mod sampling;
mod sqlcommenter;
mod tracecontext;
mod tracestate;

pub use baggage::{Baggage, BaggageError, BaggageItem, BaggagePropagator, MAX_BAGGAGE_BYTES, MAX_BAGGAGE_MEMBERS};
pub use carrier::{ByteValues, Environment, Extract, GrpcMetadata, Inject, environment_name};
pub use composite::{Composite, Decision, NAMES, Problem, Propagated, Propagator, UnknownPropagator};
pub use context::{Context, FLAG_RANDOM, FLAG_SAMPLED};
pub use format::{B3, Datadog, Google, Jaeger, OpenCensus, OtTrace, Variables, XRay};
pub use percent::percent_decode;
pub use sqlcommenter::SqlComment;
pub use tracecontext::{TraceContext, TraceParentError};
pub use tracestate::{MAX_TRACE_STATE_CHARS, MAX_TRACE_STATE_MEMBERS, TraceState, TraceStateError};
pub use tracewell_model::{ParseIdError, SpanId, TraceId};
