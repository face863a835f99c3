//! Search for traces.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use tracewell_query::{Cursor, SearchRequest, SearchResponse, SpanSummary, TotalMode, TraceSummary};

use super::json::{kind_name, plain, status_name};
use crate::engine;
use crate::http::error::ApiError;
use crate::http::params::{Params, Tenant};
use crate::state::App;

pub(super) async fn search(State(app): State<App>, params: Params, tenant: Tenant) -> Result<Json<Value>, ApiError> {
    params.only(&["q", "start", "end", "limit", "cursor", "total"])?;
    let (start, end) = params.time_range()?;
    let total = match params.text("total") {
        None | Some("exact") => TotalMode::Exact,
        Some("none") => TotalMode::None,
        Some(other) => {
            return Err(ApiError::invalid_parameter(format!("`total` is `{other}`; it must be exact or none")));
        }
    };
    let request = SearchRequest {
        start,
        end,
        limit: params.number("limit", 20, 1..=1000)?,
        cursor: params.text("cursor").map(cursor).transpose()?,
        total,
        ..SearchRequest::new(engine::parse(params.text("q").unwrap_or("{}"))?)
    };
    let work = app.clone();
    app.queries
        .run(move |budget| {
            let began = std::time::Instant::now();
            let found = engine::search(&work, &tenant, &request, budget)?;
            Ok(Json(page(&found, began.elapsed().as_secs_f64() * 1e3)))
        })
        .await
}

fn cursor(text: &str) -> Result<Cursor, ApiError> {
    text.parse().map_err(|error: tracewell_query::QueryError| {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_cursor", error.to_string())
    })
}

fn page(found: &SearchResponse, elapsed_ms: f64) -> Value {
    let mut page = json!({
        "traces": found.traces.iter().map(trace).collect::<Vec<_>>(),
        "warnings": found.warnings,
        "stats": {
            "inspectedSpans": found.stats.inspected_spans, "inspectedBytes": found.stats.inspected_bytes,
            "elapsedMs": (elapsed_ms * 1e3).round() / 1e3, "sources": found.stats.sources,
        },
    });
    if let Some(cursor) = &found.next_cursor {
        page["nextCursor"] = json!(cursor.to_string());
    }
    if let Some(total) = found.total {
        page["total"] = json!(total.value);
        page["totalRelation"] = json!(if total.exact { "eq" } else { "gte" });
    }
    page
}

fn trace(trace: &TraceSummary) -> Value {
    // Where the root is missing, the first matched span stands for the trace.
    let first = trace.spans.first().map(|span| (span.service.as_str(), span.name.as_str()));
    let root = trace.root.as_ref().map(|(service, name)| (service.as_str(), name.as_str()));
    let (service, name) = root.or(first).unwrap_or_default();
    let services = trace.services.iter();
    json!({
        "traceId": trace.trace_id.to_string(),
        "rootService": service, "rootName": name, "rootMissing": trace.root.is_none(),
        "startUnixNano": trace.start_unix_nano.to_string(), "durationNs": trace.duration_ns,
        "spanCount": trace.span_count, "errorCount": trace.error_count,
        "services": services
            .map(|service| json!({"name": service.name, "spans": service.spans, "errors": service.errors}))
            .collect::<Vec<_>>(),
        "matchedSpans": trace.matched_spans,
        "spans": trace.spans.iter().map(span).collect::<Vec<_>>(),
    })
}

fn span(span: &SpanSummary) -> Value {
    let attributes: Map<String, Value> =
        span.attributes.iter().map(|(key, value)| (key.clone(), plain(value))).collect();
    json!({
        "spanId": span.span_id.to_string(), "name": span.name, "service": span.service,
        "startUnixNano": span.start_unix_nano.to_string(), "durationNs": span.duration_ns.max(0),
        "status": status_name(span.status), "kind": kind_name(span.kind), "attributes": attributes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracewell_query::Total;

    #[test]
    fn what_is_absent_is_left_out() {
        let found = SearchResponse::default();
        let empty = page(&found, 1.23456);
        for name in ["nextCursor", "total", "totalRelation"] {
            assert!(empty.get(name).is_none(), "{name}");
        }
        assert_eq!(empty["stats"]["elapsedMs"], 1.235);
        let counted = page(&SearchResponse { total: Some(Total { value: 7, exact: false }), ..found }, 0.0);
        assert_eq!((&counted["total"], &counted["totalRelation"]), (&json!(7), &json!("gte")));
    }

    #[test]
    fn a_trace_without_root_says_so_and_shows_what_it_has() {
        let span =
            SpanSummary { name: "work".into(), service: "orders".into(), duration_ns: -5, ..SpanSummary::default() };
        let json = trace(&TraceSummary { spans: vec![span], ..TraceSummary::default() });
        assert_eq!(
            (&json["rootService"], &json["rootName"], &json["rootMissing"]),
            (&json!("orders"), &json!("work"), &json!(true))
        );
        assert_eq!(json["spans"][0]["durationNs"], 0);
    }
}
