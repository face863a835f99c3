//! What the services' own instrumentation reported in the last hour: headers that could not be used, spans
//! that were dropped. The SDK, the proxy and the log ingestion send these as log records.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;

use super::{Finding, Outcome};
use crate::client::Client;
use crate::table::counted;

/// Text that the body of each report begins with, and the name of its event.
const TEXT: &str = "instrumentation problem";
const EVENT: &str = "tracewell.sdk.problem";

/// Reports that are read; the newest first.
const REPORTS_MAX: usize = 10_000;

/// Problems of one service that are listed.
const LINES_MAX: usize = 10;

/// Kind and reason of each problem of a service, and how often it was counted.
type Problems = BTreeMap<(String, String), u64>;

/// One finding for each service that reported something.
pub async fn check(client: &Client) -> Vec<Finding> {
    match reports(client).await {
        Ok((reports, complete)) => {
            let mut findings = findings(&reports);
            if findings.is_empty() {
                let seen = "no service reported a problem in the last hour";
                findings.push(Finding::new("instrumentation", Outcome::Good, seen));
            }
            if !complete || reports.len() >= REPORTS_MAX {
                let seen = format!("there are more reports than the {} that were read", reports.len());
                findings.push(Finding::new("instrumentation", Outcome::Warning, seen));
            }
            findings
        }
        Err(error) => vec![Finding::new("instrumentation", Outcome::Skipped, format!("not known: {error:#}"))],
    }
}

async fn reports(client: &Client) -> Result<(Vec<Value>, bool)> {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("q", TEXT)
        .append_pair("start", "now-1h")
        .append_pair("limit", &REPORTS_MAX.to_string())
        .finish();
    let found = client.get_json(&format!("/api/v1/logs?{query}")).await?;
    let complete = found["complete"].as_bool().unwrap_or(true);
    Ok((found["logs"].as_array().cloned().unwrap_or_default(), complete))
}

fn findings(reports: &[Value]) -> Vec<Finding> {
    let mut services: BTreeMap<&str, Problems> = BTreeMap::new();
    for report in reports.iter().filter(|report| report["eventName"] == EVENT) {
        let attribute = |key: &str| {
            let attributes = report["attributes"].as_array()?;
            attributes.iter().find(|attribute| attribute["key"] == key).map(|attribute| &attribute["value"])
        };
        let text = |key: &str| attribute(key).and_then(|value| value["stringValue"].as_str()).unwrap_or("?").to_owned();
        let count = attribute("tracewell.problem.count").and_then(|value| {
            let value = &value["intValue"];
            value.as_u64().or_else(|| value.as_str()?.parse().ok())
        });
        let service = report["service"].as_str().filter(|name| !name.is_empty()).unwrap_or("unknown_service");
        let pair = (text("tracewell.problem.kind"), text("tracewell.problem.reason"));
        *services.entry(service).or_default().entry(pair).or_default() += count.unwrap_or(1);
    }
    services.iter().map(|(service, problems)| finding(service, problems)).collect()
}

fn finding(service: &str, problems: &Problems) -> Finding {
    let mut ordered: Vec<_> = problems.iter().collect();
    ordered.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let mut lines: Vec<String> = ordered
        .iter()
        .take(LINES_MAX)
        .map(|((kind, reason), count)| format!("{kind}: {reason}, {}", counted(**count as usize, "time")))
        .collect();
    if ordered.len() > LINES_MAX {
        lines.push(format!("and {} more", counted(ordered.len() - LINES_MAX, "kind")));
    }
    let mut advice: Vec<String> = Vec::new();
    for ((kind, reason), _) in ordered.iter().take(LINES_MAX) {
        let words = advise(kind, reason);
        if !advice.contains(&words) {
            advice.push(words);
        }
    }
    let seen = format!("in the last hour:\n{}", lines.join("\n"));
    Finding::new(&format!("instrumentation of {service}"), Outcome::Warning, seen).advice(advice.join("\n"))
}

/// What to do about a problem.
fn advise(kind: &str, reason: &str) -> String {
    let header = |what: &str| {
        format!(
            "{kind}: a caller of this service sends {what}; such requests begin a new trace here. Look at what stands \
             before it: its SDK, a proxy or gateway that rewrites headers"
        )
    };
    match kind {
        "traceparent" if reason.contains("ff") => header("the version ff, which the specification forbids"),
        "traceparent" if reason.contains("all zero") => {
            header("ids of zeros, as an SDK does whose span was not started or that is switched off")
        }
        "traceparent" if reason.contains("more than once") => {
            header("the header more than once, as two layers do that both inject it: remove one of them")
        }
        "traceparent" => header("a traceparent that cannot be read"),
        "tracestate" => "tracestate: a caller sends a list that cannot be read; the trace goes on, but what other \
                         systems wrote into it, and the sampling threshold, is lost"
            .to_owned(),
        "baggage" => "baggage: members were left out; keep it below 64 members and 8192 bytes, with percent-encoded \
                      values"
            .to_owned(),
        "spans" | "log records" if reason.contains("queue") => format!(
            "{kind}: more were made than could be sent; raise OTEL_{}_MAX_QUEUE_SIZE, sample, or look why the server \
             takes them slowly",
            if kind == "spans" { "BSP" } else { "BLRP" }
        ),
        "spans" | "log records" if reason.contains("too many are open") => {
            format!("{kind}: spans are begun and never ended; look for handles that are kept")
        }
        "spans" | "log records" if reason.contains("refused one by one") => {
            format!("{kind}: the refusals of the receivers above name the reason")
        }
        "spans" | "log records" => format!(
            "{kind}: the server could not be reached for longer than the exporter tries; check \
             OTEL_EXPORTER_OTLP_ENDPOINT of that service, and the network between"
        ),
        "sampler" => "sampler: OTEL_TRACES_SAMPLER_ARG names a server that gives no strategy; the last one known stays"
            .to_owned(),
        "proxy backend" | "proxy connection" | "proxy request" | "proxy correlation" => {
            format!("{kind}: the proxy's own log and its --help name the limits and what to change")
        }
        "log lines" => "log lines: what they are written to is full or closed".to_owned(),
        "other" => "other: there were more kinds than are told apart; the first ones say most".to_owned(),
        _ if kind.starts_with("x-") || kind.starts_with("b3") || kind.starts_with("uber") => {
            header("a header that cannot be read; compare OTEL_PROPAGATORS on both sides")
        }
        _ => format!("{kind}: {reason}; the page about propagation (docs/propagation.md) says what is accepted"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(service: &str, kind: &str, reason: &str, count: u64) -> Value {
        let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
        json!({"eventName": EVENT, "service": service, "attributes": [
            text("tracewell.problem.kind", kind), text("tracewell.problem.reason", reason),
            {"key": "tracewell.problem.count", "value": {"intValue": count.to_string()}}]})
    }

    #[test]
    fn reports_are_summed_for_each_service_and_come_with_advice() {
        let found = findings(&[
            report("cart", "traceparent", "version is ff", 3),
            report("cart", "traceparent", "version is ff", 4),
            report("cart", "spans", "dropped, because the queue was full", 90),
            report("pricing", "baggage", "more than 64 members", 1),
            json!({"eventName": "", "service": "chat", "body": {"stringValue": "instrumentation problem solved"}}),
        ]);
        let subjects: Vec<_> = found.iter().map(|finding| finding.subject.as_str()).collect();
        assert_eq!(subjects, ["instrumentation of cart", "instrumentation of pricing"]);
        assert_eq!(
            found[0].seen,
            "in the last hour:\nspans: dropped, because the queue was full, 90 times\ntraceparent: version is ff, 7 times"
        );
        let advice = found[0].advice.as_deref().unwrap();
        assert!(advice.contains("OTEL_BSP_MAX_QUEUE_SIZE") && advice.contains("version ff"), "{advice}");
        assert_eq!(found[0].outcome, Outcome::Warning);
        assert!(findings(&[]).is_empty());
    }
}
