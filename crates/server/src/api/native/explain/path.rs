//! The critical path of a trace, what each span could win, and how failures went through it.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use tracewell_analysis::critical_path::{self, Segment, errors, room};
use tracewell_analysis::{Trace, Traces};

use crate::engine::{self, trace_not_found};
use crate::http::error::ApiError;
use crate::http::params::{Params, Tenant, span_id, trace_id};
use crate::state::App;

pub(super) async fn of_trace(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
    tenant: Tenant,
) -> Result<Json<Value>, ApiError> {
    params.only(&["span", "factor"])?;
    let id = trace_id(&id)?;
    let span = params.text("span").map(span_id).transpose()?;
    let factor = factor(&params)?;
    let work = app.clone();
    app.queries
        .run(move |budget| {
            let found = engine::gather_trace(&work, &tenant, id, budget)?;
            let trace = found.traces.traces().first().ok_or_else(|| trace_not_found(id))?;
            let mut document = document(&found.traces, trace);
            if let Some(span) = span {
                document["what_if"] = what_if(&found.traces, trace, span, factor).ok_or_else(|| {
                    ApiError::not_found("span_not_found", format!("trace {id} has no span {span} below its root"))
                })?;
            }
            document["warnings"] = json!(found.warnings);
            Ok(Json(document))
        })
        .await
}

fn factor(params: &Params) -> Result<f64, ApiError> {
    let Some(text) = params.text("factor") else { return Ok(0.5) };
    text.parse()
        .ok()
        .filter(|factor: &f64| factor.is_finite() && (0.0..=1000.0).contains(factor))
        .ok_or_else(|| ApiError::invalid_parameter(format!("`factor` is `{text}`; it must be a number from 0 to 1000")))
}

fn document(traces: &Traces, trace: &Trace) -> Value {
    let Some(root) = traces.main_root(trace) else { return json!({}) };
    let path = critical_path::of(traces, root);
    let steps = |segments: &[Segment]| segments.iter().map(|segment| step(traces, segment)).collect::<Vec<_>>();
    let rooms = room::of(traces, root).into_iter().enumerate().map(|(place, room)| {
        json!({
            "span": traces.spans()[root + place].id.to_string(),
            "slack_ns": room.slack_ns, "drag_ns": room.drag_ns, "length_ns": room.length_ns,
        })
    });
    let failures = errors::of(traces, root);
    let roles = failures.spans.iter().map(|failure| named(traces, failure.span, "role", json!(failure.role)));
    json!({
        "trace": trace.id.to_string(),
        "root": traces.spans()[root].id.to_string(),
        "duration_ns": traces.spans()[root].duration_ns(),
        "critical_path": steps(&path.segments),
        "completion_path": path.completion.as_ref().map_or_else(Vec::new, |completion| steps(&completion.segments)),
        "room": rooms.collect::<Vec<_>>(),
        "failures": roles.collect::<Vec<_>>(),
        "failure_way": failures.way.iter().map(|span| traces.spans()[*span].id.to_string()).collect::<Vec<_>>(),
    })
}

/// A span with something that is said of it.
fn named(traces: &Traces, number: usize, key: &str, value: Value) -> Value {
    let span = &traces.spans()[number];
    json!({
        "span": span.id.to_string(), "service": traces.text(span.service), "operation": traces.text(span.operation),
        key: value,
    })
}

fn step(traces: &Traces, segment: &Segment) -> Value {
    let mut step = named(traces, segment.span, "kind", json!(segment.kind));
    step["start"] = json!(segment.start_ns);
    step["duration"] = json!(segment.duration_ns());
    step
}

fn what_if(traces: &Traces, trace: &Trace, id: tracewell_model::SpanId, factor: f64) -> Option<Value> {
    let root = traces.main_root(trace)?;
    let below = root..root + 1 + traces.spans()[root].descendants as usize;
    let span = traces.find(trace, id).filter(|span| below.contains(span))?;
    let duration_ns = critical_path::replay::what_if(traces, root, span, factor);
    Some(json!({"span": id.to_string(), "factor": factor, "duration_ns": duration_ns}))
}
