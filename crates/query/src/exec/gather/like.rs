//! What something is compared with: a trace with its like, a set with another.

use std::sync::Arc;

use tracewell_model::TraceId;
use tracewell_store::table::Source;

use super::{GatherRequest, Gathered, Which, gather};
use crate::QueryError;
use crate::exec::Budget;
use crate::traceql::Query;

/// Traces like another: enough for quantiles, few enough for a page that opens at once.
const LIKE_TRACES: usize = 300;

/// Spans of these at most.
const LIKE_SPANS_MAX: u64 = 300_000;

/// Fewer than this, and a longer time is looked at.
const LIKE_TRACES_MIN: usize = 30;

const MINUTE_NS: u64 = 60_000_000_000;

/// How far before and after a trace its like is looked for, the next only where the one before gave too few. Mostly
/// before: what came later may be as ill as the trace itself.
const WINDOWS_NS: [(u64, u64); 3] =
    [(60 * MINUTE_NS, 10 * MINUTE_NS), (24 * 60 * MINUTE_NS, 60 * MINUTE_NS), (u64::MAX, u64::MAX)];

/// A trace, and others to compare it with.
#[derive(Debug, Clone, Default)]
pub struct OneTrace {
    /// The trace, with its log records.
    pub trace: Gathered,
    /// Up to some hundreds that begin with the same operation of the same service, without the trace itself.
    pub like: Gathered,
}

/// Gathers a trace and a fair sample of its like; `None` where no source holds any of it.
///
/// # Errors
/// [`QueryError::Cancelled`] when the budget's flag was raised.
pub fn gather_with_like(
    spans: &[Arc<dyn Source>],
    logs: &[Arc<dyn Source>],
    trace_id: &TraceId,
    budget: &Budget,
) -> Result<Option<OneTrace>, QueryError> {
    let wanted = GatherRequest::new(Which::Ids(vec![*trace_id]));
    let trace = gather(spans, logs, &wanted, budget)?;
    let traces = &trace.traces;
    let Some(root) = traces.traces().first().and_then(|trace| traces.main_root(trace)) else { return Ok(None) };
    let root = &traces.spans()[root];
    let (service, name) = (traces.text(root.service).to_owned(), traces.text(root.operation).to_owned());
    let which = match root.parent_id {
        None => Which::Root { service, name },
        // Its root is missing, and so it is from those whose root is missing too.
        Some(_) => match Query::parse(&format!("{{ resource.service.name = {service:?} && name = {name:?} }}")) {
            Ok(query) => Which::Query(query),
            Err(_) => return Ok(Some(OneTrace { trace, like: Gathered::default() })),
        },
    };
    let mut like = Gathered::default();
    for (before_ns, after_ns) in WINDOWS_NS {
        let request = GatherRequest {
            start: root.start_ns.saturating_sub(before_ns),
            end: root.start_ns.saturating_add(after_ns),
            limit: LIKE_TRACES,
            spans_max: LIKE_SPANS_MAX,
            except: [*trace_id].into(),
            ..GatherRequest::new(which.clone())
        };
        like = gather(spans, &[], &request, budget)?;
        if like.traces.traces().len() >= LIKE_TRACES_MIN || like.sampled {
            break;
        }
    }
    Ok(Some(OneTrace { trace, like }))
}

/// A set of traces, and another to compare it with.
#[derive(Debug, Clone, Default)]
pub struct TwoSets {
    /// The set.
    pub of: Gathered,
    /// The other, without the traces of the first.
    pub against: Option<Gathered>,
}

/// Gathers two sets. A trace that both requests find belongs to the first.
///
/// # Errors
/// [`QueryError::Cancelled`] when the budget's flag was raised.
pub fn gather_two(
    spans: &[Arc<dyn Source>],
    logs: &[Arc<dyn Source>],
    of: &GatherRequest,
    against: Option<&GatherRequest>,
    budget: &Budget,
) -> Result<TwoSets, QueryError> {
    let of = gather(spans, logs, of, budget)?;
    let against = match against {
        Some(request) => {
            let mut request = request.clone();
            request.except.extend(of.traces.traces().iter().map(|trace| trace.id));
            Some(gather(spans, logs, &request, budget)?)
        }
        None => None,
    };
    Ok(TwoSets { of, against })
}
