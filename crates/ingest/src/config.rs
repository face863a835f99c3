//! What listens where, and within which bounds.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings of the listeners. Every field has a default, so that an empty document is a working configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestConfig {
    /// Address for OTLP over gRPC; `None` for no such listener. Port 0 picks a free one. Default `127.0.0.1:4317`.
    ///
    /// Both ports answer both protocols: an exporter pointed at the wrong one works all the same.
    pub grpc: Option<SocketAddr>,
    /// Address for OTLP over HTTP; `None` for no such listener. Default `127.0.0.1:4318`.
    pub http: Option<SocketAddr>,
    /// Bounds on bodies, memory, connections and time.
    pub limits: Limits,
    /// Which browser pages may send.
    pub cors: Cors,
    /// What happens to metrics and profiles, which are not stored.
    pub other_signals: OtherSignals,
}

impl Default for IngestConfig {
    fn default() -> Self {
        let loopback = |port| Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
        Self {
            grpc: loopback(4317),
            http: loopback(4318),
            limits: Limits::default(),
            cors: Cors::default(),
            other_signals: OtherSignals::default(),
        }
    }
}

/// Bounds that keep memory flat and slow or hostile clients from taking the place of others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest body or gRPC message, before and after decompression. Default 64 MiB.
    pub body_bytes_max: u64,
    /// Bytes of all requests in flight over all listeners; past it requests are refused at once with "retry later".
    /// At least `body_bytes_max` is needed for a body of that size to be taken. Default 128 MiB.
    pub in_flight_bytes_max: u64,
    /// Open connections over all listeners; further ones are closed at once. Default 4,096.
    pub connections_max: u32,
    /// Requests at a time in one HTTP/2 connection. Default 256.
    pub streams_per_connection_max: u32,
    /// Size of a request's header block in bytes. Default 32 KiB.
    pub header_bytes_max: u32,
    /// How long a connection may take to send a request's head, waiting included: an idle HTTP/1 connection is closed
    /// after this time. Default 60 s.
    pub head_timeout_ms: u64,
    /// How long a body may stand still. Default 10 s.
    pub body_idle_timeout_ms: u64,
    /// How long a body may take as a whole. Default 60 s.
    pub body_timeout_ms: u64,
    /// How often an HTTP/2 client is asked whether it is still there; without an answer within 20 s the connection is
    /// closed. Default 30 s.
    pub keep_alive_interval_ms: u64,
    /// How long requests in flight may take to finish when the listeners stop. Default 3 s.
    pub shutdown_grace_ms: u64,
    /// What "retry later" says when the memory for requests in flight is used up. Default 1 s.
    pub retry_after_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 64 << 20,
            in_flight_bytes_max: 128 << 20,
            connections_max: 4096,
            streams_per_connection_max: 256,
            header_bytes_max: 32 << 10,
            head_timeout_ms: 60_000,
            body_idle_timeout_ms: 10_000,
            body_timeout_ms: 60_000,
            keep_alive_interval_ms: 30_000,
            shutdown_grace_ms: 3_000,
            retry_after_ms: 1_000,
        }
    }
}

impl Limits {
    pub(crate) fn head_timeout(&self) -> Duration {
        Duration::from_millis(self.head_timeout_ms)
    }

    pub(crate) fn body_idle_timeout(&self) -> Duration {
        Duration::from_millis(self.body_idle_timeout_ms)
    }

    pub(crate) fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.body_timeout_ms)
    }

    pub(crate) fn keep_alive_interval(&self) -> Duration {
        Duration::from_millis(self.keep_alive_interval_ms)
    }

    pub(crate) fn shutdown_grace(&self) -> Duration {
        Duration::from_millis(self.shutdown_grace_ms)
    }

    pub(crate) fn retry_after(&self) -> Duration {
        Duration::from_millis(self.retry_after_ms)
    }
}

/// Cross-origin requests (the Fetch standard's CORS protocol), for pages that export their own spans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cors {
    /// Origins that may send, such as `https://shop.example.com`. `*` within one stands for anything
    /// (`https://*.example.com`, `http://localhost:*`), `*` alone for every origin.
    ///
    /// The default allows pages served from this machine, so that a front end under development works at once, and no
    /// page of the Internet: a page elsewhere could otherwise write spans into the store of whoever visits it.
    pub allowed_origins: Vec<String>,
    /// How long a browser may remember the permission. Default two hours, the most that browsers accept.
    pub max_age_seconds: u32,
}

impl Default for Cors {
    fn default() -> Self {
        let hosts = ["localhost", "127.0.0.1", "[::1]"];
        let origins = hosts.iter().flat_map(|host| {
            ["http", "https"]
                .into_iter()
                .flat_map(move |scheme| [format!("{scheme}://{host}"), format!("{scheme}://{host}:*")])
        });
        Self { allowed_origins: origins.collect(), max_age_seconds: 7200 }
    }
}

/// What an exporter of metrics or profiles is told. Either way it is counted as `unsupported_signal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtherSignals {
    /// 404 or UNIMPLEMENTED with a message that says how to turn the exporter off. Exporters do not retry it: an SDK
    /// whose metrics are on logs one line per export interval (a minute), and Java's over gRPC a single one.
    #[default]
    Refuse,
    /// Success, and the data is thrown away: nothing in the application's log, for agents whose metrics cannot be turned
    /// off.
    Discard,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_document_is_the_default() {
        let config: IngestConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(config, IngestConfig::default());
        assert_eq!(config.http.unwrap().to_string(), "127.0.0.1:4318");
        let again: IngestConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn parts_can_be_set_and_typing_errors_are_found() {
        let text = r#"{"grpc":null,"limits":{"body_bytes_max":1000},"other_signals":"discard"}"#;
        let config: IngestConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.grpc, None);
        assert_eq!(config.limits, Limits { body_bytes_max: 1000, ..Limits::default() });
        assert_eq!(config.other_signals, OtherSignals::Discard);
        assert!(serde_json::from_str::<IngestConfig>(r#"{"limits":{"body_max":1}}"#).is_err());
    }
}
