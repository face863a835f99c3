//! The SDK as an application sees it, against a receiver that does what a script says.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod db;
mod decisions;
mod diagnostics;
mod export;
mod grpc;
mod http;
mod http_client;
mod http_server;
mod log_lines;
mod messaging;
mod net;
mod programs;
mod receiver;
mod spans;
mod task;
#[cfg(feature = "tls")]
mod tls;
