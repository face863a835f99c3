//! The proxy between real sockets: what clients and backends see, and what the spans say about it.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod carrying;
mod context;
mod deaths;
mod grpc;
mod running;
mod support;
mod tls;
mod tunnels;
