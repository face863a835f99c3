//! Spans for HTTP, both ways, as tower layers (OpenTelemetry semantic conventions 1.44, "HTTP spans").
//!
//! ```text
//! caller: ClientLayer ──traceparent──▶ ServerLayer :callee
//!         span ends with the          span ends with the
//!         last byte received          last byte handed over
//! ```
//!
//! A span lasts as long as its body: a streamed answer counts until its last frame, or until the receiver
//! went away. It is: [`ServerLayer`] for any tower service (route templates of axum with the feature `axum`),
//! [`ClientLayer`] for hyper-util's client and others. It is not: metrics, retries, an access log.

pub(crate) mod attributes;
pub(crate) mod body;
pub(crate) mod capture;
pub(crate) mod client;
pub(crate) mod fault;
pub(crate) mod forwarded;
pub(crate) mod future;
mod options;
pub(crate) mod panics;
pub(crate) mod server;
pub(crate) mod watch;

pub use body::TracedBody;
pub use client::{
    Client, ClientBody, ClientFuture, ClientLayer, ClientWatch, Resend, ResendLayer, Resends, UrlTemplate,
};
pub use future::Traced;
pub use options::ServerLayer;
pub use server::{PeerAddress, Route, Server, ServerBody, ServerFuture, ServerWatch};
