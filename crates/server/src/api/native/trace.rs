//! One trace: as OTLP, as columns, and its spans one by one.

use std::collections::HashSet;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tracewell_wire::otlp::{encode_traces_data, json as otlp_json};

use super::json;
use crate::columns;
use crate::engine::{self, trace_not_found};
use crate::http::error::ApiError;
use crate::http::params::{Params, Tenant, span_id, trace_id};
use crate::state::App;

/// Content type of OTLP protobuf; `x-protobuf` is the name from before it was registered.
pub(crate) const PROTOBUF: &str = "application/protobuf";

/// True when the client prefers protobuf.
pub(crate) fn wants_protobuf(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.split(',').map(|part| part.split(';').next().unwrap_or_default().trim()).find_map(|kind| match kind {
        "application/protobuf" | "application/x-protobuf" => Some(true),
        "application/json" => Some(false),
        _ => None,
    }) == Some(true)
}

pub(super) async fn trace(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
    tenant: Tenant,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    let id = trace_id(&id)?;
    let protobuf = wants_protobuf(&headers);
    let work = app.clone();
    app.queries
        .run(move |budget| {
            let trace = engine::trace(&work, &tenant, id, budget)?.ok_or_else(|| trace_not_found(id))?;
            let mut response = if protobuf {
                ([(header::CONTENT_TYPE, PROTOBUF)], encode_traces_data(&trace.spans)).into_response()
            } else {
                let mut body = Vec::with_capacity(512 * trace.spans.len());
                otlp_json::write_traces(&trace.spans, otlp_json::Style::Otlp, &mut body);
                ([(header::CONTENT_TYPE, "application/json")], body).into_response()
            };
            // OTLP has no place for what could not be read.
            for warning in trace.warnings.iter().filter_map(|warning| HeaderValue::from_str(warning).ok()) {
                response.headers_mut().append("tracewell-warning", warning);
            }
            Ok(response)
        })
        .await
}

pub(super) async fn columns(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
    tenant: Tenant,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    let id = trace_id(&id)?;
    let work = app.clone();
    app.queries
        .run(move |budget| {
            let trace = engine::trace(&work, &tenant, id, budget)?.ok_or_else(|| trace_not_found(id))?;
            let logs = engine::trace_logs(&work, &tenant, id, budget)?;
            let with_logs: HashSet<_> = logs.items.iter().filter_map(|entry| entry.record.span_id).collect();
            let corrections = engine::corrections(&work, &tenant, id, &trace.spans, budget)?;
            let body = columns::encode(id, &trace.spans, &with_logs, corrections.as_deref(), &trace.warnings);
            Ok(([(header::CONTENT_TYPE, columns::CONTENT_TYPE)], body).into_response())
        })
        .await
}

pub(super) async fn span(
    State(app): State<App>,
    Path((id, span)): Path<(String, String)>,
    params: Params,
    tenant: Tenant,
) -> Result<Json<Value>, ApiError> {
    params.only(&[])?;
    let (id, span) = (trace_id(&id)?, span_id(&span)?);
    let work = app.clone();
    app.queries
        .run(move |budget| {
            let trace = engine::trace(&work, &tenant, id, budget)?.ok_or_else(|| trace_not_found(id))?;
            let spans = trace.spans.iter().filter(|record| record.span.span_id == span).map(json::span);
            let spans: Vec<Value> = spans.collect();
            if spans.is_empty() {
                return Err(ApiError::not_found("span_not_found", format!("trace {id} has no span {span}")));
            }
            Ok(Json(json!({ "spans": spans })))
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protobuf_is_sent_to_those_who_ask_for_it_first() {
        for (accept, expected) in [
            ("", false),
            ("*/*", false),
            ("application/json", false),
            ("application/protobuf", true),
            ("application/x-protobuf;q=1", true),
            ("application/protobuf, application/json", true),
            ("application/json, application/protobuf", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(wants_protobuf(&headers), expected, "{accept:?}");
        }
    }
}
