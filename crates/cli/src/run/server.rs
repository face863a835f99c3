//! The server that the program's spans go to: found by its HTTP API, or started for the time of the run.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tracewell_server::Running;
use tracewell_server::config::{Config, Log, LogFormat};

use crate::client::Client;

/// How long a server may take to say that it is there.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

/// A server that answers.
#[derive(Debug, Clone)]
pub struct Found {
    /// For questions.
    pub client: Client,
    /// Where OTLP over HTTP goes.
    pub otlp: String,
    /// What its receivers had taken and refused at the start.
    pub status: Value,
}

/// Asks the server where it takes OTLP.
///
/// # Errors
/// When nobody answers, or something else than Tracewell does.
pub async fn find(url: &str) -> Result<Found> {
    let client = Client::new(url, None)?;
    let status = match tokio::time::timeout(ANSWER_TIME_MAX, client.get_json("/api/v1/status")).await {
        Ok(status) => status?,
        Err(_) => bail!("{} does not answer within {} s", client.url(), ANSWER_TIME_MAX.as_secs()),
    };
    let otlp = otlp_address(&client.url(), &status);
    Ok(Found { client, otlp, status })
}

/// Where OTLP over HTTP goes: the receiver's port at the host by which the server was reached, or, without such a
/// receiver, the server's own port, which takes OTLP too.
fn otlp_address(url: &str, status: &Value) -> String {
    let listener: Option<SocketAddr> = status["listeners"]["otlpHttp"].as_str().and_then(|text| text.parse().ok());
    let host = url.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
    let local = host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match listener {
        Some(address) if address.ip().is_unspecified() => format!("http://{host}:{}", address.port()),
        // A loopback address of another machine, behind a tunnel, is not ours.
        Some(address) if address.ip().is_loopback() && !local => url.to_owned(),
        Some(address) => format!("http://{address}"),
        None => url.to_owned(),
    }
}

/// A server that lives as long as the run.
pub struct Temporary {
    running: Running,
    /// Deleted at the end.
    _folder: tempfile::TempDir,
}

impl Temporary {
    /// Starts it on the usual ports where they are free, and on any where they are not.
    ///
    /// # Errors
    /// When the folder or a port cannot be had.
    pub async fn start() -> Result<Self> {
        crate::settings::start_log(&Log { level: "error".to_owned(), format: LogFormat::Text })?;
        let folder = tempfile::Builder::new().prefix("tracewell-run-").tempdir()?;
        let mut config = Config { data_dir: PathBuf::from(folder.path()), ..Config::default() };
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        if std::net::TcpListener::bind(config.http.listen).is_err() {
            config.http.listen = any;
        }
        config.otlp.grpc_listen = None;
        config.otlp.http_listen = Some(any);
        let running = tracewell_server::start(config).await.context("cannot start a server")?;
        Ok(Self { running, _folder: folder })
    }

    /// Where its API is.
    pub fn url(&self) -> String {
        format!("http://{}", self.running.addresses().http)
    }

    /// Stops it.
    pub async fn stop(self) {
        self.running.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn spans_go_where_the_server_can_be_reached() {
        for (url, listener, otlp) in [
            ("http://127.0.0.1:3200", json!("127.0.0.1:4318"), "http://127.0.0.1:4318"),
            ("http://localhost:3200", json!("[::1]:4318"), "http://[::1]:4318"),
            ("http://traces.example:3200", json!("0.0.0.0:4318"), "http://traces.example:4318"),
            ("http://traces.example:3200", json!("10.0.0.7:4318"), "http://10.0.0.7:4318"),
            ("http://traces.example:3200", json!("127.0.0.1:4318"), "http://traces.example:3200"),
            ("http://127.0.0.1:3200", json!(null), "http://127.0.0.1:3200"),
        ] {
            assert_eq!(otlp_address(url, &json!({"listeners": {"otlpHttp": listener}})), otlp, "{url}");
        }
    }
}
