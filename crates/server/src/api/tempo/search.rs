//! Search, in the shape of Tempo's `SearchResponse`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};
use tracewell_query::{SearchRequest, SearchResponse, SpanSummary, TotalMode, TraceSummary};
use tracewell_wire::otlp::json::value_to_json;

use super::{TempoError, tags};
use crate::engine;
use crate::http::error::ApiError;
use crate::http::params::{Params, Tenant};
use crate::state::App;

/// What Tempo puts in place of a root that it has not seen; Grafana knows the text.
const ROOT_MISSING: &str = "<root span not yet received>";

pub(super) async fn search(State(app): State<App>, params: Params, tenant: Tenant) -> Result<Json<Value>, TempoError> {
    let query = match params.text("q") {
        Some(query) => query.to_owned(),
        None => {
            let tags = params.text("tags").unwrap_or_default();
            let query = tags::to_traceql(tags, params.text("minDuration"), params.text("maxDuration"));
            query.map_err(ApiError::invalid_parameter)?
        }
    };
    let (start, end) = params.time_range()?;
    let request = SearchRequest {
        start,
        end,
        limit: params.number("limit", 20, 1..=10_000)?,
        total: TotalMode::None,
        max_spans_per_trace: params.number("spss", 3, 0..=10_000)?,
        ..SearchRequest::new(engine::parse(&query)?)
    };
    let work = app.clone();
    let found = app.queries.run(move |budget| {
        let found = engine::search(&work, &tenant, &request, budget)?;
        Ok(Json(response(&found)))
    });
    Ok(found.await?)
}

fn response(found: &SearchResponse) -> Value {
    json!({
        "traces": found.traces.iter().map(trace).collect::<Vec<_>>(),
        "metrics": {
            "inspectedTraces": found.traces.len(), "inspectedBytes": found.stats.inspected_bytes.to_string(),
            "inspectedSpans": found.stats.inspected_spans.to_string(), "totalBlocks": found.stats.sources,
            "completedJobs": 1, "totalJobs": 1,
        },
    })
}

fn trace(trace: &TraceSummary) -> Value {
    let (service, name) = trace.root.clone().unwrap_or((ROOT_MISSING.to_owned(), String::new()));
    let set = json!({"spans": trace.spans.iter().map(span).collect::<Vec<_>>(), "matched": trace.matched_spans});
    let services: BTreeMap<&str, Value> = trace
        .services
        .iter()
        .map(|service| {
            let mut counts = Map::from_iter([("spanCount".to_owned(), json!(service.spans))]);
            // Protobuf's JSON leaves zeros out.
            if service.errors > 0 {
                counts.insert("errorCount".to_owned(), json!(service.errors));
            }
            (service.name.as_str(), Value::Object(counts))
        })
        .collect();
    json!({
        "traceID": trace.trace_id.to_string(), "rootServiceName": service, "rootTraceName": name,
        "startTimeUnixNano": trace.start_unix_nano.to_string(), "durationMs": trace.duration_ns / 1_000_000,
        "spanSet": set, "spanSets": [set], "serviceStats": services,
    })
}

fn span(span: &SpanSummary) -> Value {
    let attributes = span.attributes.iter().map(|(key, value)| {
        json!({"key": key, "value": serde_json::from_str::<Value>(&value_to_json(value)).unwrap_or_default()})
    });
    // Grafana shows the service of a span only where it is among the attributes.
    let named = span.attributes.iter().any(|(key, _)| key == "service.name");
    let service = (!named).then(|| json!({"key": "service.name", "value": {"stringValue": span.service}}));
    json!({
        "spanID": span.span_id.to_string(), "name": span.name,
        "startTimeUnixNano": span.start_unix_nano.to_string(), "durationNanos": span.duration_ns.max(0).to_string(),
        "attributes": attributes.chain(service).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_without_root_is_told_as_tempo_tells_it() {
        let json = trace(&TraceSummary { duration_ns: 1_999_999, ..TraceSummary::default() });
        assert_eq!(json["rootServiceName"], ROOT_MISSING);
        assert_eq!(json["durationMs"], 1);
        assert_eq!(json["traceID"], "0".repeat(32));
    }
}
