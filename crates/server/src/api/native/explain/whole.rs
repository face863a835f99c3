//! The whole explanation.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::Value;

use super::question::{self, TWO};
use crate::engine::{self, trace_not_found};
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
            let one = engine::gather_with_like(&work, &tenant, id, budget)?.ok_or_else(|| trace_not_found(id))?;
            let document = tracewell_query::explain_trace(&one).ok_or_else(|| trace_not_found(id))?;
            to_json(&document)
        })
        .await
}

pub(super) async fn of_set(State(app): State<App>, params: Params, tenant: Tenant) -> Result<Json<Value>, ApiError> {
    params.only(&TWO)?;
    let question = question::read(&params)?;
    let work = app.clone();
    app.queries
        .run(move |budget| {
            let two = engine::gather_two(&work, &tenant, &question, budget)?;
            to_json(&tracewell_query::explain_set(&two))
        })
        .await
}

fn to_json(document: &tracewell_query::Explained) -> Result<Json<Value>, ApiError> {
    serde_json::to_value(document)
        .map(Json)
        .map_err(|error| ApiError::internal(format!("an explanation could not be written: {error}")))
}
