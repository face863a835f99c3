//! What arrived, and where nothing did, why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;

use super::environment::RUN_ID;
use super::server::Found;
use crate::client::Client;
use crate::table::{counted, duration};

/// Pages of traces that are counted; more are "at least".
const PAGES_MAX: usize = 10;

/// How long the last spans may take to arrive.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(3);

/// Names of a list that are shown.
const NAMES_MAX: usize = 8;

/// What the server has of a run.
#[derive(Debug, Default, PartialEq)]
pub struct Arrived {
    spans: u64,
    traces: u64,
    failed_traces: u64,
    logs: u64,
    /// Not everything was counted.
    at_least: bool,
    slowest: Option<(String, u64, String)>,
    own: BTreeSet<String>,
    others: BTreeSet<String>,
}

/// What a process that loaded our file wrote down.
#[derive(Debug, Deserialize)]
pub struct Loaded {
    runtime: String,
    ok: bool,
    #[serde(default)]
    error: String,
    #[serde(default)]
    instrumented: Vec<String>,
}

/// Reads what the processes wrote down; what is half written or strange is left out.
pub fn loaded(folder: &Path) -> Vec<Loaded> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let texts = entries.flatten().take(1000).filter_map(|entry| std::fs::read(entry.path()).ok());
    texts.filter_map(|text| serde_json::from_slice(&text).ok()).collect()
}

/// Asks until the numbers stop growing.
///
/// # Errors
/// When the server no longer answers.
pub async fn arrived(server: &Found, run_id: &str, started_ns: u64, expects: bool) -> Result<Arrived> {
    let give_up = tokio::time::Instant::now() + if expects { ARRIVAL_TIME_MAX } else { Duration::from_millis(600) };
    let mut last = ask(&server.client, run_id, started_ns).await?;
    while tokio::time::Instant::now() < give_up {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let next = ask(&server.client, run_id, started_ns).await?;
        let settled = next == last && next.spans + next.logs > 0;
        last = next;
        if settled {
            break;
        }
    }
    Ok(last)
}

async fn ask(client: &Client, run_id: &str, started_ns: u64) -> Result<Arrived> {
    let query = format!("{{ resource.{RUN_ID} = \"{run_id}\" }}");
    let mut arrived = Arrived::default();
    let mut cursor: Option<String> = None;
    for page in 0.. {
        let mut parameters = form_urlencoded::Serializer::new(String::new());
        // Clocks of containers differ a little; the run's id does the rest.
        parameters.append_pair("q", &query).append_pair("limit", "1000");
        parameters.append_pair("start", &started_ns.saturating_sub(60_000_000_000).to_string());
        if let Some(cursor) = &cursor {
            parameters.append_pair("cursor", cursor);
        }
        let answer = client.get_json(&format!("/api/v1/search?{}", parameters.finish())).await?;
        arrived.count(&answer);
        cursor = answer["nextCursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
        if page + 1 == PAGES_MAX {
            arrived.at_least = true;
            arrived.traces = answer["total"].as_u64().unwrap_or(arrived.traces);
            break;
        }
    }
    for service in arrived.own.clone() {
        let mut parameters = form_urlencoded::Serializer::new(String::new());
        parameters.append_pair("service", &service).append_pair("limit", "1000");
        parameters.append_pair("start", &started_ns.to_string());
        if let Ok(answer) = client.get_json(&format!("/api/v1/logs?{}", parameters.finish())).await {
            arrived.logs += answer["logs"].as_array().map_or(0, |logs| logs.len() as u64);
        }
    }
    arrived.others = arrived.others.difference(&arrived.own).cloned().collect();
    Ok(arrived)
}

impl Arrived {
    fn count(&mut self, answer: &Value) {
        for trace in answer["traces"].as_array().into_iter().flatten() {
            self.traces += 1;
            self.spans += trace["matchedSpans"].as_u64().unwrap_or(0);
            self.failed_traces += u64::from(trace["errorCount"].as_u64().unwrap_or(0) > 0);
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            for span in trace["spans"].as_array().into_iter().flatten() {
                self.own.insert(text(&span["service"]));
            }
            for service in trace["services"].as_array().into_iter().flatten() {
                self.others.insert(text(&service["name"]));
            }
            let took = trace["durationNs"].as_u64().unwrap_or(0);
            if self.slowest.as_ref().is_none_or(|(_, slowest, _)| took > *slowest) {
                let name = format!("{}: {}", text(&trace["rootService"]), text(&trace["rootName"]));
                self.slowest = Some((name, took, text(&trace["traceId"])));
            }
        }
    }

    /// True when not a single span or log record came.
    pub fn is_empty(&self) -> bool {
        self.spans == 0 && self.logs == 0
    }

    /// The lines that say what arrived, ending with the address to open.
    pub fn lines(&self, url: &str, run_id: &str) -> Vec<String> {
        let names = |names: &BTreeSet<String>| {
            let shown: Vec<&str> = names.iter().take(NAMES_MAX).map(String::as_str).collect();
            let more = names.len().saturating_sub(NAMES_MAX);
            if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
        };
        let at_least = if self.at_least { "at least " } else { "" };
        let mut line = format!(
            "arrived from {}: {at_least}{} in {}",
            names(&self.own),
            counted(self.spans as usize, "span"),
            counted(self.traces as usize, "trace"),
        );
        if self.failed_traces > 0 {
            line.push_str(&format!(", {} with an error", self.failed_traces));
        }
        line.push_str(&format!("; {}", counted(self.logs as usize, "log record")));
        let mut lines = vec![line];
        if let Some((name, took, trace)) = &self.slowest {
            lines.push(format!("slowest: {name}, {} (tracewell query trace {trace})", duration(*took)));
        }
        if !self.others.is_empty() {
            lines.push(format!("in the same traces: {}", names(&self.others)));
        }
        let query = format!("{{ resource.{RUN_ID} = \"{run_id}\" }}");
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("q", &query).finish();
        lines.push(format!("open {url}/traces?{query}"));
        lines
    }
}

/// What is known when nothing arrived.
#[derive(Debug)]
pub struct Nothing<'a> {
    /// What the processes wrote down.
    pub loaded: &'a [Loaded],
    /// The runtime whose instrumentation was set up, if any.
    pub runtime: Option<&'a str>,
    /// The server's receivers at the start and now.
    pub status: Option<(&'a Value, &'a Value)>,
    /// An address that the user has set, other than the server's.
    pub elsewhere: Option<&'a str>,
    /// `OTEL_SDK_DISABLED` is true.
    pub disabled: bool,
    /// The program was killed.
    pub killed: bool,
}

/// Why nothing arrived, most likely first.
pub fn reasons(nothing: &Nothing<'_>) -> Vec<String> {
    let mut reasons = Vec::new();
    if nothing.disabled {
        reasons.push("OTEL_SDK_DISABLED=true switches the instrumentation off; unset it".to_owned());
    }
    if let Some(address) = nothing.elsewhere {
        reasons.push(format!("OTEL_EXPORTER_OTLP_ENDPOINT={address} is yours and is not this server; unset it"));
    }
    let failed: Vec<&Loaded> = nothing.loaded.iter().filter(|process| !process.ok).collect();
    for process in failed.iter().take(3) {
        reasons.push(format!("the instrumentation failed in {}: {}", process.runtime, process.error));
    }
    if let Some((before, now)) = nothing.status {
        reasons.extend(refusals(before, now));
    }
    let working: Vec<&Loaded> = nothing.loaded.iter().filter(|process| process.ok).collect();
    if let Some(runtime) = nothing.runtime {
        if runtime == "Java" {
            reasons.push(
                "the agent was named in JAVA_TOOL_OPTIONS: the program may not have handled or made a request yet, or \
                 its virtual machine refused the agent, which it says on standard error"
                    .to_owned(),
            );
        } else if nothing.loaded.is_empty() {
            reasons.push(format!(
                "no {runtime} process loaded the instrumentation: the program cleared its environment, or another \
                 interpreter ran it"
            ));
        } else if let Some(process) = working.first() {
            let with: BTreeSet<&str> =
                working.iter().flat_map(|process| process.instrumented.iter().map(String::as_str)).collect();
            let with: Vec<&str> = with.into_iter().collect();
            let with = if with.is_empty() { String::new() } else { format!(" (instrumented: {})", with.join(", ")) };
            reasons.push(format!(
                "the instrumentation was loaded by {}{with}; the program may not have handled or made a request yet",
                process.runtime
            ));
            if nothing.killed {
                reasons.push("the program was killed, and what was not yet sent with it".to_owned());
            }
            if process.runtime.starts_with("Node") {
                reasons.push(
                    "process.exit() ends Node at once; what was recorded in the last 0.5 s is not sent".to_owned(),
                );
            }
        }
    } else if nothing.loaded.is_empty() {
        reasons.push(
            "only variables were set: a program that is not built with an OpenTelemetry SDK sends nothing (put \
             `tracewell proxy` in front of it, or read its logs with `tracewell ingest-logs`)"
                .to_owned(),
        );
    }
    reasons
}

/// What the receivers refused since the start.
fn refusals(before: &Value, now: &Value) -> Vec<String> {
    let count = |status: &Value| {
        let mut counts: BTreeMap<String, (u64, String)> = BTreeMap::new();
        for receiver in status["receivers"].as_array().into_iter().flatten() {
            for signal in receiver["signals"].as_array().into_iter().flatten() {
                for (reason, number) in signal["refused"].as_object().into_iter().flatten() {
                    let message = signal["lastErrors"][reason]["message"].as_str().unwrap_or_default();
                    let entry = counts.entry(reason.clone()).or_default();
                    entry.0 += number.as_u64().unwrap_or(0);
                    entry.1 = message.to_owned();
                }
            }
        }
        counts
    };
    let before = count(before);
    let grown = count(now).into_iter().filter_map(|(reason, (number, message))| {
        let more = number.saturating_sub(before.get(&reason).map_or(0, |(number, _)| *number));
        (more > 0).then(|| format!("the server refused {}: {reason}: {message}", counted(more as usize, "request")))
    });
    grown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nothing(loaded: &[Loaded]) -> Nothing<'_> {
        Nothing { loaded, runtime: Some("Python"), status: None, elsewhere: None, disabled: false, killed: false }
    }

    fn process(ok: bool, instrumented: &[&str]) -> Loaded {
        Loaded {
            runtime: "Python 3.11.7".into(),
            ok,
            error: if ok { String::new() } else { "ImportError: no module named x".into() },
            instrumented: instrumented.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn what_arrived_is_counted_over_pages() {
        let mut arrived = Arrived::default();
        let span = json!({"service": "app"});
        let trace = |errors: u64, took: u64| {
            json!({"traceId": "4bf9", "rootService": "app", "rootName": "GET /", "durationNs": took, "errorCount": errors,
                   "matchedSpans": 2, "spans": [span], "services": [{"name": "app"}, {"name": "db"}]})
        };
        arrived.count(&json!({"traces": [trace(0, 5), trace(1, 9_000_000)]}));
        arrived.count(&json!({"traces": [trace(0, 7)]}));
        arrived.others.remove("app");
        let lines = arrived.lines("http://127.0.0.1:3200", "r1");
        assert_eq!(lines[0], "arrived from app: 6 spans in 3 traces, 1 with an error; 0 log records");
        assert_eq!(lines[1], "slowest: app: GET /, 9.00 ms (tracewell query trace 4bf9)");
        assert_eq!(lines[2], "in the same traces: db");
        assert!(lines[3].starts_with("open http://127.0.0.1:3200/traces?q=%7B"), "{}", lines[3]);
    }

    #[test]
    fn the_likely_reason_is_named() {
        let none: [Loaded; 0] = [];
        let says = |nothing: &Nothing<'_>, part: &str| {
            let reasons = reasons(nothing);
            assert!(reasons.iter().any(|reason| reason.contains(part)), "{part}: {reasons:?}");
        };
        says(&Nothing { disabled: true, ..nothing(&none) }, "OTEL_SDK_DISABLED");
        says(&Nothing { elsewhere: Some("http://x"), ..nothing(&none) }, "http://x");
        says(&nothing(&none), "no Python process");
        says(&nothing(&[process(false, &[])]), "ImportError");
        says(&nothing(&[process(true, &["flask"])]), "instrumented: flask");
        says(&Nothing { runtime: None, ..nothing(&none) }, "only variables");
        let status = |count: u64| {
            json!({"receivers": [{"signals": [{"refused": {"too_large": count},
                   "lastErrors": {"too_large": {"message": "more than 64 MiB"}}}]}]})
        };
        let (before, now) = (status(1), status(3));
        says(&Nothing { status: Some((&before, &now)), ..nothing(&none) }, "refused 2 requests: too_large: more than");
    }
}
