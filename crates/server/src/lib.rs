//! The server: configuration, HTTP APIs, user interface, and the wiring of receivers, store and queries.
//!
//! It is: the one place that knows HTTP routes and starts and stops everything. It is not: a store, a query engine or a
//! receiver; those are crates of their own that this one connects.
//!
//! ```text
//! config ──▶ run ──┬─▶ ingest listeners ──▶ sink ──▶ store
//!                  └─▶ http ──▶ api/native ─┐           │ sources
//!                          ├──▶ api/tempo ──┼─▶ queries ┴─▶ query
//!                          ├──▶ status, metrics
//!                          └──▶ api/ui (embedded)
//! ```

mod api;
pub mod build;
pub mod columns;
pub mod config;
pub mod demo;
mod engine;
mod http;
mod metrics;
mod queries;
mod run;
mod sink;
mod state;
mod status;
pub mod time;

pub use run::{Addresses, Running, StartError, start};
