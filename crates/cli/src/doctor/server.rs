//! The server: does it answer, is it well, does its clock agree, what did its receivers refuse.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tracewell_server::time::now_ns;

use super::{Finding, Outcome};
use crate::client::Client;
use crate::table::{self, counted};

/// Clocks that differ by more make spans of different hosts look out of order.
const CLOCK_DIFFERENCE_MAX_NS: u64 = 500_000_000;

/// The server's status document.
pub async fn status(client: &Client) -> Result<Value> {
    let asking = client.get_json("/api/v1/status");
    match tokio::time::timeout(Duration::from_secs(5), asking).await {
        Ok(status) => status,
        Err(_) => anyhow::bail!("{} does not answer within 5 s", client.url()),
    }
}

/// Compares this machine's clock with reason and with the server's.
pub fn clock(status: Option<&Value>) -> Finding {
    // 2024-01-01; a machine without a battery starts in 1970.
    const EARLIEST_NS: u64 = 1_704_067_200_000_000_000;
    let now = now_ns();
    if now < EARLIEST_NS {
        return Finding::new("clock", Outcome::Bad, "this machine's clock is years behind")
            .advice("set it (timedatectl set-ntp true); spans are stored under their own time");
    }
    let server = status.and_then(|status| {
        let started: u64 = status["startedUnixNano"].as_str()?.parse().ok()?;
        Some(started + (status["uptimeSeconds"].as_f64()? * 1e9) as u64)
    });
    match server.map(|server| server.abs_diff(now)) {
        None => Finding::new("clock", Outcome::Good, "plausible; no server to compare it with"),
        Some(apart) if apart <= CLOCK_DIFFERENCE_MAX_NS => {
            Finding::new("clock", Outcome::Good, "agrees with the server's")
        }
        Some(apart) => {
            Finding::new("clock", Outcome::Warning, format!("{} apart from the server's", table::duration(apart)))
                .advice("let both follow a time server (timedatectl set-ntp true)")
        }
    }
}

/// Readiness, and what was refused.
pub async fn check(client: &Client, status: &Result<Value>) -> Vec<Finding> {
    let status = match status {
        Ok(status) => status,
        Err(error) => {
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            return vec![
                Finding::new("server", Outcome::Bad, causes.join(": "))
                    .advice("start one with `tracewell serve`, or name one with --server URL"),
            ];
        }
    };
    let version = status["version"].as_str().unwrap_or("?");
    let uptime = (status["uptimeSeconds"].as_f64().unwrap_or(0.0) * 1e9) as u64;
    let ready = client.send("GET", "/readyz", &[], Vec::new()).await;
    let mut findings = vec![match ready {
        Ok(answer) if answer.status.is_success() => Finding::new(
            "server",
            Outcome::Good,
            format!("tracewell {version} at {}, up {}", client.url(), table::duration(uptime)),
        ),
        Ok(answer) => {
            Finding::new("server", Outcome::Bad, format!("not ready: {}", String::from_utf8_lossy(&answer.body).trim()))
                .advice("the server's log on standard error says more")
        }
        Err(error) => Finding::new("server", Outcome::Bad, error.to_string()),
    }];
    findings.extend(receivers(status));
    findings
}

/// One finding for each receiver: what it took, and what it refused and why.
fn receivers(status: &Value) -> Vec<Finding> {
    let none = Vec::new();
    let receivers = status["receivers"].as_array().unwrap_or(&none);
    receivers
        .iter()
        .map(|receiver| {
            let name = receiver["name"].as_str().unwrap_or("?").replace('_', " ");
            let mut taken = Vec::new();
            let mut refused = Vec::new();
            for signal in receiver["signals"].as_array().unwrap_or(&none) {
                let kind = signal["signal"].as_str().unwrap_or("?");
                let items = signal["itemsAccepted"].as_u64().unwrap_or(0) as usize;
                if items > 0 {
                    taken.push(counted(items, if kind == "traces" { "span" } else { "log record" }));
                }
                for (reason, count) in signal["itemsRejected"].as_object().into_iter().flatten() {
                    let count = count.as_u64().unwrap_or(0);
                    refused.push(match receiver["files"].is_array() {
                        true => format!("could not read {}: {reason}", counted(count as usize, "line")),
                        false => format!("left out {count} of {kind}: {reason}"),
                    });
                }
                for (reason, count) in signal["refused"].as_object().into_iter().flatten() {
                    let last = &signal["lastErrors"][reason];
                    let message =
                        last["message"].as_str().map(|message| format!("; last: {message}")).unwrap_or_default();
                    let peer = last["peer"].as_str().map(|peer| format!(" ({peer})")).unwrap_or_default();
                    refused.push(format!("refused {} times: {reason}{message}{peer}", count.as_u64().unwrap_or(0)));
                }
            }
            let taken =
                if taken.is_empty() { "nothing received yet".to_owned() } else { format!("took {}", taken.join(", ")) };
            let seen = [vec![taken], refused.clone()].concat().join("\n");
            let finding = Finding::new(&format!("receiver {name}"), Outcome::Good, seen);
            if refused.is_empty() {
                return finding;
            }
            Finding { outcome: Outcome::Warning, ..finding }
                .advice("the reasons name what the sender has to change; nothing of a refused request is stored")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn refusals_are_shown_with_their_reason_and_last_message() {
        let status = json!({"receivers": [{"name": "otlp_http", "signals": [
            {"signal": "traces", "itemsAccepted": 12, "itemsRejected": {"invalid_trace_id": 2},
             "refused": {"too_large": 3},
             "lastErrors": {"too_large": {"message": "the body is larger than 64 MiB", "peer": "127.0.0.1:9"}}}]}]});
        let findings = receivers(&status);
        assert_eq!(findings[0].outcome, Outcome::Warning);
        assert_eq!(
            findings[0].seen,
            "took 12 spans\nleft out 2 of traces: invalid_trace_id\nrefused 3 times: too_large; last: the body is larger than 64 MiB (127.0.0.1:9)"
        );
    }

    #[test]
    fn clocks_are_compared() {
        let status = |started: u64| json!({"startedUnixNano": started.to_string(), "uptimeSeconds": 10.0});
        assert_eq!(clock(Some(&status(now_ns() - 10_000_000_000))).outcome, Outcome::Good);
        assert_eq!(clock(Some(&status(now_ns()))).outcome, Outcome::Warning);
        assert_eq!(clock(None).outcome, Outcome::Good);
    }
}
