//! Calls between services, what changed about them, and a service over time.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Map, Value, json};
use tracewell_model::Sketch;
use tracewell_query::{HopEdge, HopRequest, RedStep};
use tracewell_store::table::HopCount;

use super::json::kind_name;
use crate::engine::{self, Range};
use crate::http::error::ApiError;
use crate::http::params::{Params, Tenant};
use crate::state::App;
use crate::time;

const MINUTE_NS: u64 = 60_000_000_000;
/// Points that an answer holds at most, over all its edges or operations.
const POINTS_MAX: usize = 60_000;
/// What is told of a change at most; what adds most time comes first.
const CHANGES_MAX: usize = 500;
/// The range where none is asked for.
const DEFAULT_RANGE_NS: u64 = 60 * MINUTE_NS;

/// The range, bounded: an hour up to now where nothing is said.
fn range(params: &Params) -> Result<Range, ApiError> {
    let (start, end) = params.time_range()?;
    let end = if params.text("end").is_some() { end } else { time::now_ns() };
    let start = if params.text("start").is_some() { start } else { end.saturating_sub(DEFAULT_RANGE_NS) };
    if start >= end {
        return Err(ApiError::invalid_parameter("`start` does not lie before `end`"));
    }
    Ok((start, end))
}

/// Minutes that are told together so that there are at most so many points.
fn step_minutes((start, end): Range, points: usize) -> u64 {
    let minutes = end.div_ceil(MINUTE_NS).saturating_sub(start / MINUTE_NS).max(1);
    minutes.div_ceil(points.max(1) as u64).max(1)
}

/// Count, mean and quantiles of a part in nanoseconds; signed, as clocks may be off.
fn part(sketch: &Sketch) -> Option<Value> {
    let quantile = |q: f64| sketch.quantile(q).map(|value| value.round() as i64);
    Some(json!({
        "count": sketch.count(), "meanNs": sketch.mean()?.round() as i64,
        "p50Ns": quantile(0.5), "p90Ns": quantile(0.9), "p99Ns": quantile(0.99),
    }))
}

fn minute(minute: u64) -> String {
    minute.saturating_mul(MINUTE_NS).to_string()
}

fn count(of: &HopCount) -> Map<String, Value> {
    let mut told = Map::new();
    told.insert("calls".to_owned(), json!(of.calls));
    told.insert("errors".to_owned(), json!(of.errors));
    let parts = [
        ("request", &of.request),
        ("server", &of.server),
        ("own", &of.own),
        ("response", &of.response),
        ("queue", &of.queue),
    ];
    for (name, sketch) in parts {
        told.extend(part(sketch).map(|part| (name.to_owned(), part)));
    }
    told
}

fn edge(of: &HopEdge) -> Value {
    let mut told = count(&of.total);
    told.insert("caller".to_owned(), json!(&*of.total.caller));
    told.insert("callee".to_owned(), json!(&*of.total.callee));
    told.insert("isAsync".to_owned(), json!(of.total.is_async));
    told.insert("unpaired".to_owned(), json!(of.total.unpaired));
    if !of.steps.is_empty() {
        let step = |step: &HopCount| {
            let mut told = count(step);
            told.insert("startUnixNano".to_owned(), json!(minute(step.minute)));
            told
        };
        told.insert("steps".to_owned(), of.steps.iter().map(step).collect());
    }
    Value::Object(told)
}

pub(super) async fn hops(State(app): State<App>, params: Params, tenant: Tenant) -> Result<Json<Value>, ApiError> {
    params.only(&["start", "end", "service", "points", "limit"])?;
    let range = range(&params)?;
    let service = params.text("service").map(str::to_owned);
    let limit = params.number("limit", 5_000, 1..=10_000)?;
    let points = params.number("points", if service.is_some() { 60 } else { 0 }, 0..=1_440)?;
    let step_minutes = if points == 0 { 0 } else { step_minutes(range, points) };
    let work = app.clone();
    app.queries
        .run(move |budget| {
            let request = HopRequest { start: range.0, end: range.1, service, step_minutes };
            let found = engine::hops(&work, &tenant, &request, budget)?;
            let mut left = POINTS_MAX;
            let mut warnings = found.warnings;
            let total = found.items.len();
            let edges: Vec<Value> = found
                .items
                .iter()
                .take(limit)
                .take_while(|edge| {
                    let points = edge.steps.len().max(1);
                    let fits = points <= left;
                    left = left.saturating_sub(points);
                    fits
                })
                .map(edge)
                .collect();
            if edges.len() < total.min(limit) {
                warnings.push(format!("{} edges have more than {POINTS_MAX} points; ask for fewer `points`", total));
            }
            Ok(Json(json!({
                "edges": edges, "total": total, "stepMinutes": step_minutes, "complete": found.complete,
                "warnings": warnings,
            })))
        })
        .await
}

pub(super) async fn changes(State(app): State<App>, params: Params, tenant: Tenant) -> Result<Json<Value>, ApiError> {
    params.only(&["start", "end", "againstStart", "againstEnd", "service"])?;
    let now = range(&params)?;
    let (first, last) = (now.0 / MINUTE_NS * MINUTE_NS, now.1.div_ceil(MINUTE_NS).saturating_mul(MINUTE_NS));
    let against = |name: &str, default: u64| match params.text(name) {
        Some(text) => {
            time::parse(text, time::now_ns()).map_err(|error| ApiError::invalid_parameter(format!("`{name}`: {error}")))
        }
        None => Ok(default),
    };
    // As long as what is asked about, and just before it.
    let end = against("againstEnd", first)?;
    let start = against("againstStart", end.saturating_sub(last - first))?;
    if start >= end {
        return Err(ApiError::invalid_parameter("`againstStart` does not lie before `againstEnd`"));
    }
    let service = params.text("service").map(str::to_owned);
    let work = app.clone();
    app.queries
        .run(move |budget| {
            let (mut found, warnings) = engine::hop_changes(&work, &tenant, (start, end), now, budget)?;
            if let Some(service) = service {
                found.changes.retain(|change| change.caller == service || change.callee == service);
                found
                    .locations
                    .retain(|place| place.edges.iter().any(|edge| edge.caller == service || edge.callee == service));
            }
            let cut = found.changes.len() > CHANGES_MAX || found.locations.len() > CHANGES_MAX;
            found.changes.truncate(CHANGES_MAX);
            found.locations.truncate(CHANGES_MAX);
            let mut told = serde_json::to_value(&found)
                .map_err(|error| ApiError::internal(format!("changes do not serialize: {error}")))?;
            if let Value::Object(told) = &mut told {
                told.insert("start".to_owned(), json!(now.0.to_string()));
                told.insert("end".to_owned(), json!(now.1.to_string()));
                told.insert("against_start".to_owned(), json!(start.to_string()));
                told.insert("against_end".to_owned(), json!(end.to_string()));
                told.insert("complete".to_owned(), json!(!cut && warnings.is_empty()));
                told.insert("warnings".to_owned(), json!(warnings));
            }
            Ok(Json(told))
        })
        .await
}

fn step(of: &RedStep) -> Value {
    let mut told = json!({
        "startUnixNano": minute(of.minute), "spans": of.spans, "errors": of.errors,
        "meanDurationNs": of.duration_ns.checked_div(of.spans).unwrap_or(0),
    });
    if let (Value::Object(told), Some(durations)) = (&mut told, part(&of.durations)) {
        told.insert("duration".to_owned(), durations);
    }
    told
}

pub(super) async fn red(
    State(app): State<App>,
    Path(service): Path<String>,
    params: Params,
    tenant: Tenant,
) -> Result<Json<Value>, ApiError> {
    params.only(&["start", "end", "points"])?;
    let range = range(&params)?;
    let step_minutes = step_minutes(range, params.number("points", 60, 1..=1_440)?);
    let work = app.clone();
    app.queries
        .run(move |budget| {
            let found = engine::red(&work, &tenant, &service, range, step_minutes, budget)?;
            let mut left = POINTS_MAX;
            let operations = found.operations.items.iter().map(|operation| {
                let steps: Vec<Value> = operation.steps.iter().take(left).map(step).collect();
                left -= steps.len();
                json!({
                    "name": operation.name, "kind": kind_name(operation.kind), "total": step(&operation.total),
                    "steps": steps,
                })
            });
            Ok(Json(json!({
                "service": service, "stepMinutes": step_minutes,
                "operations": operations.collect::<Vec<_>>(),
                "total": step(&found.total), "steps": found.steps.iter().map(step).collect::<Vec<_>>(),
                "complete": found.operations.complete, "warnings": found.operations.warnings,
            })))
        })
        .await
}
