//! The proxy between real sockets: what clients and backends see, and what the spans say about it.

mod carrying;
mod context;
mod deaths;
mod grpc;
mod running;
mod support;
mod tls;
mod tunnels;
