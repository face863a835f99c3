//! Log records: those of a trace, and those that a text, a service and a time range select.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use tracewell_query::LogSearch;

use super::json;
use crate::engine;
use crate::http::error::ApiError;
use crate::http::params::{Params, Tenant, trace_id};
use crate::state::App;

pub(super) async fn of_trace(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
    tenant: Tenant,
) -> Result<Json<Value>, ApiError> {
    params.only(&[])?;
    let id = trace_id(&id)?;
    let work = app.clone();
    app.queries
        .run(move |budget| {
            let logs = engine::trace_logs(&work, &tenant, id, budget)?;
            let records: Vec<Value> = logs.items.iter().map(json::log).collect();
            Ok(Json(json!({"logs": records, "warnings": logs.warnings})))
        })
        .await
}

pub(super) async fn search(State(app): State<App>, params: Params, tenant: Tenant) -> Result<Json<Value>, ApiError> {
    params.only(&["q", "service", "start", "end", "limit"])?;
    let (start, end) = params.time_range()?;
    let search = LogSearch {
        text: params.text("q").unwrap_or_default().to_owned(),
        service: params.text("service").map(str::to_owned),
        start,
        end,
        limit: params.number("limit", 100, 1..=10_000)?,
    };
    let work = app.clone();
    app.queries
        .run(move |budget| {
            let found = engine::search_logs(&work, &tenant, &search, budget)?;
            let logs: Vec<Value> = found.items.iter().map(json::log).collect();
            Ok(Json(json!({"logs": logs, "complete": found.complete, "warnings": found.warnings})))
        })
        .await
}
