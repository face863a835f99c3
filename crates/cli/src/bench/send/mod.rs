//! Clients that export spans the way SDKs and collectors do, with as little of their own work as possible.

mod grpc;
mod http;
mod response;

use std::time::Duration;

use bytes::Bytes;

use super::Protocol;

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged, but for so many spans that were rejected for good.
    Accepted {
        /// Spans rejected.
        rejected: u64,
        /// The server's words about them.
        message: String,
    },
    /// Not taken now; to be sent again after a while.
    Busy {
        /// What the server asked for, if it did.
        after: Option<Duration>,
    },
    /// Refused.
    Refused {
        /// Status and message.
        reason: String,
    },
}

/// One connection.
#[derive(Clone)]
pub enum Client {
    /// OTLP/gRPC: any number of requests at the same time.
    Grpc(grpc::Client),
    /// OTLP/HTTP: HTTP/1.1, as SDKs do, so one connection for each request in flight.
    Http(http::Client),
}

impl Client {
    /// Connects to `host:port`.
    pub async fn connect(protocol: Protocol, address: &str) -> anyhow::Result<Self> {
        Ok(match protocol {
            Protocol::Grpc => Client::Grpc(grpc::Client::connect(address).await?),
            Protocol::Http => Client::Http(http::Client::connect(address).await?),
        })
    }

    /// Sends an `ExportTraceServiceRequest` and waits for the answer.
    pub async fn export(&mut self, body: Bytes) -> anyhow::Result<Outcome> {
        match self {
            Client::Grpc(client) => client.export(body).await,
            Client::Http(client) => client.export(body).await,
        }
    }
}
