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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use ::http::{HeaderMap, Request, Response};
    use http_body_util::{BodyExt, Full};
    use hyper::body::{Body, Incoming};
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use hyper_util::server::conn::auto;
    use tokio::net::TcpListener;

    use super::*;

    /// A receiver that takes the message `good`, has no time for `busy` and refuses all else.
    async fn answer(
        request: Request<Incoming>,
    ) -> Result<Response<impl Body<Data = Bytes, Error = Infallible>>, Infallible> {
        let grpc = request.headers()["content-type"] == "application/grpc";
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let message = if grpc { &body[5..] } else { &body[..] };
        let (status, code) = match message {
            b"good" => ("0", 200),
            b"busy" => ("14", 503),
            _ => ("3", 400),
        };
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        let partial = b"\x0a\x02\x08\x07";
        let framed = [&[0, 0, 0, 0, partial.len() as u8], &partial[..]].concat();
        let body = Full::from(if grpc { framed } else { partial.to_vec() });
        let body = body.with_trailers(async move { grpc.then_some(Ok(trailers)) });
        Ok(Response::builder().status(if grpc { 200 } else { code }).body(body).unwrap())
    }

    async fn receiver() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let connection = auto::Builder::new(TokioExecutor::new());
                    connection.serve_connection(TokioIo::new(stream), service_fn(answer)).await.ok();
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn both_clients_understand_what_a_receiver_says() {
        let address = receiver().await;
        for protocol in [Protocol::Grpc, Protocol::Http] {
            let mut client = Client::connect(protocol, &address).await.unwrap();
            let good = client.export(Bytes::from_static(b"good")).await.unwrap();
            assert_eq!(good, Outcome::Accepted { rejected: 7, message: String::new() }, "{protocol:?}");
            let busy = client.export(Bytes::from_static(b"busy")).await.unwrap();
            assert_eq!(busy, Outcome::Busy { after: None }, "{protocol:?}");
            let bad = client.export(Bytes::from_static(b"bad")).await.unwrap();
            assert!(matches!(bad, Outcome::Refused { .. }), "{protocol:?}");
        }
    }
}
