//! The real binary, from outside: what goes in over OTLP comes out of every API, and what is wrong is said.

mod apis;
mod commands;
mod explain;
mod hops;
mod ingest_logs;
mod lifecycle;
mod proxy;
mod run;
mod verdicts;

use tracewell_testkit::server::{Server, ServerBuilder};

/// The binary under test.
const BINARY: &str = env!("CARGO_BIN_EXE_tracewell");

/// A trace id for tests that need one.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn builder() -> ServerBuilder {
    Server::builder(BINARY)
}

fn start() -> Server {
    Server::start(BINARY)
}

/// A request through four spans of three services.
fn checkout() -> serde_json::Value {
    tracewell_testkit::server::otlp_trace(
        TRACE,
        &[
            ("00f067aa0ba902b7", "", "gateway", "GET /checkout"),
            ("00f067aa0ba902b8", "00f067aa0ba902b7", "gateway", "POST orders"),
            ("00f067aa0ba902b9", "00f067aa0ba902b8", "orders", "POST /orders"),
            ("00f067aa0ba902ba", "00f067aa0ba902b9", "orders-db", "INSERT orders"),
        ],
    )
}
