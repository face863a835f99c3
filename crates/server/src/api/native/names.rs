//! What can be asked for: services, operations, attribute keys and their values.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use tracewell_query::AttributeScope;

use super::json::kind_name;
use crate::engine::{self, ValuesOf};
use crate::http::error::ApiError;
use crate::http::params::{Params, Tenant};
use crate::state::App;

/// The name of a scope in the API.
pub(crate) fn scope_name(scope: AttributeScope) -> &'static str {
    match scope {
        AttributeScope::Span => "span",
        AttributeScope::Resource => "resource",
        AttributeScope::Instrumentation => "instrumentation",
    }
}

/// The scope with this name.
pub(crate) fn scope(name: &str) -> Option<AttributeScope> {
    [AttributeScope::Span, AttributeScope::Resource, AttributeScope::Instrumentation]
        .into_iter()
        .find(|scope| scope_name(*scope) == name)
}

fn known_scope(name: &str) -> Result<AttributeScope, ApiError> {
    scope(name).ok_or_else(|| {
        ApiError::invalid_parameter(format!("`{name}` is not a scope; it must be span, resource or instrumentation"))
    })
}

pub(super) async fn services(State(app): State<App>, params: Params, tenant: Tenant) -> Result<Json<Value>, ApiError> {
    params.only(&["start", "end"])?;
    let range = params.time_range()?;
    let work = app.clone();
    app.queries
        .run(move |budget| {
            let found = engine::services(&work, &tenant, range, budget)?;
            let services = found.items.iter().map(|service| {
                json!({
                    "name": service.name, "spans": service.spans, "errors": service.errors,
                    "operations": service.operations,
                })
            });
            Ok(Json(json!({"services": services.collect::<Vec<_>>(), "warnings": found.warnings})))
        })
        .await
}

pub(super) async fn operations(
    State(app): State<App>,
    params: Params,
    tenant: Tenant,
) -> Result<Json<Value>, ApiError> {
    params.only(&["service", "start", "end"])?;
    let range = params.time_range()?;
    let service = params.text("service").map(str::to_owned);
    let work = app.clone();
    app.queries
        .run(move |budget| {
            let found = engine::operations(&work, &tenant, service.as_deref(), range, budget)?;
            let operations = found.items.iter().map(|operation| {
                json!({
                    "service": operation.service, "name": operation.name, "kind": kind_name(operation.kind),
                    "spans": operation.spans, "errors": operation.errors,
                    "meanDurationNs": operation.mean_duration_ns.max(0.0).round() as u64,
                })
            });
            Ok(Json(json!({"operations": operations.collect::<Vec<_>>(), "warnings": found.warnings})))
        })
        .await
}

pub(super) async fn attributes(
    State(app): State<App>,
    params: Params,
    tenant: Tenant,
) -> Result<Json<Value>, ApiError> {
    params.only(&["scope", "start", "end"])?;
    let range = params.time_range()?;
    let only = params.text("scope").map(known_scope).transpose()?;
    let work = app.clone();
    app.queries
        .run(move |budget| {
            let found = engine::attribute_keys(&work, &tenant, only, range, budget)?;
            let keys = found.items.iter().map(
                |key| json!({"scope": scope_name(key.scope), "key": key.key, "types": key.types, "spans": key.spans}),
            );
            Ok(Json(json!({"attributes": keys.collect::<Vec<_>>(), "warnings": found.warnings})))
        })
        .await
}

pub(super) async fn values(
    State(app): State<App>,
    Path((scope, key)): Path<(String, String)>,
    params: Params,
    tenant: Tenant,
) -> Result<Json<Value>, ApiError> {
    params.only(&["start", "end", "prefix", "limit"])?;
    let wanted = ValuesOf {
        scope: known_scope(&scope)?,
        key,
        prefix: params.text("prefix").unwrap_or_default().to_owned(),
        limit: params.number("limit", 100, 1..=10_000)?,
        range: params.time_range()?,
    };
    let work = app.clone();
    app.queries
        .run(move |budget| {
            let found = engine::attribute_values(&work, &tenant, &wanted, budget)?;
            let values = found
                .items
                .iter()
                .map(|value| json!({"value": value.value, "type": value.kind, "traces": value.traces}));
            Ok(Json(json!({
                "values": values.collect::<Vec<_>>(), "complete": found.complete, "warnings": found.warnings,
            })))
        })
        .await
}
