//! Who holds the ports that a server wants.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tracewell_server::config::Config;

use super::{Finding, Outcome};
use crate::client::Client;

/// Looks at each configured port.
pub async fn check(config: &Config) -> Vec<Finding> {
    let ports = [
        ("ui and api", "--http-listen", Some(config.http.listen)),
        ("otlp grpc", "--otlp-grpc-listen", config.otlp.grpc_listen),
        ("otlp http", "--otlp-http-listen", config.otlp.http_listen),
    ];
    let mut findings = Vec::new();
    for (name, flag, address) in ports {
        let subject = format!("port for {name}");
        findings.push(match address {
            None => Finding::new(&subject, Outcome::Skipped, "off in the configuration"),
            Some(address) if address.port() == 0 => {
                Finding::new(&subject, Outcome::Good, format!("{address}: any free one"))
            }
            Some(address) => holder(&subject, flag, address).await,
        });
    }
    findings
}

async fn holder(subject: &str, flag: &str, address: SocketAddr) -> Finding {
    match TcpListener::bind(address).await {
        Ok(_) => Finding::new(subject, Outcome::Good, format!("{address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            if is_tracewell(address).await {
                return Finding::new(subject, Outcome::Good, format!("{address} is held by tracewell"));
            }
            let who = process_on(address.port()).unwrap_or_else(|| "another program".to_owned());
            let other = SocketAddr::new(address.ip(), 0);
            Finding::new(subject, Outcome::Bad, format!("{address} is taken by {who}"))
                .advice(format!("end that program, or choose another port: {flag} {other} takes any free one"))
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Finding::new(subject, Outcome::Bad, format!("{address}: this user may not listen there"))
                .advice(format!("choose a port of 1024 or more with {flag}"))
        }
        Err(error) => Finding::new(subject, Outcome::Bad, format!("{address}: {error}"))
            .advice(format!("choose an address of this machine with {flag}")),
    }
}

/// Tracewell's API says who it is; its receivers refuse an unknown path in the way of OTLP.
async fn is_tracewell(address: SocketAddr) -> bool {
    let Ok(client) = Client::new(&format!("http://{address}"), None) else { return false };
    let ask = async {
        if let Ok(status) = client.get_json("/api/v1/status").await {
            return status["receivers"].is_array();
        }
        let probe = client.send("GET", "/v1/traces", &[], Vec::new()).await;
        probe.is_ok_and(|answer| {
            answer.headers.get("server").is_some_and(|server| server.as_bytes().starts_with(b"tracewell"))
                || String::from_utf8_lossy(&answer.body).to_lowercase().contains("tracewell")
        })
    };
    TcpStream::connect(address).await.is_ok()
        && tokio::time::timeout(Duration::from_secs(2), ask).await.unwrap_or(false)
}

/// The process that listens on a port, as far as `/proc` tells this user.
fn process_on(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let text = std::fs::read_to_string(table).ok()?;
        text.lines().skip(1).find_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let local_port = u16::from_str_radix(columns.get(1)?.rsplit(':').next()?, 16).ok()?;
            // State 0A: listening.
            (local_port == port && columns.get(3) == Some(&"0A"))
                .then(|| columns.get(9).map(|inode| inode.to_string()))?
        })
    })?;
    let wanted = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").ok()?;
    processes.filter_map(Result::ok).find_map(|process| {
        // `self` and others are not numbers.
        process.file_name().to_str()?.parse::<u32>().ok()?;
        let files = std::fs::read_dir(process.path().join("fd")).ok()?;
        let holds = files
            .filter_map(Result::ok)
            .any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str()));
        let name = holds.then(|| std::fs::read_to_string(process.path().join("comm")).ok())??;
        Some(format!("{} (pid {})", name.trim(), process.file_name().to_string_lossy()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_holder() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        if let Some(holder) = process_on(listener.local_addr().unwrap().port()) {
            assert!(holder.contains(&format!("pid {}", std::process::id())), "{holder}");
        }
    }
}
