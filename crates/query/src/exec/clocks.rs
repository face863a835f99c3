//! What the clocks behind one trace are off by, by the light of others.

use std::sync::Arc;

use tracewell_analysis::{Builder, Traces, skew};
use tracewell_model::{SpanRecord, TraceId};
use tracewell_store::table::Source;

use super::{Budget, GatherRequest, Which, gather};
use crate::QueryError;

/// Traces that begin like the one that is asked about, at most: enough to tell a clock from a slow request.
const LIKE_MAX: usize = 200;

/// Their spans, at most; a trace this large tells enough by itself.
const LIKE_SPANS_MAX: u64 = 100_000;

/// How far before and after the trace they may be: clocks move.
const AROUND_NS: u64 = 1_800_000_000_000;

/// What has to be subtracted from the start and the end of each of a trace's `records`, nanoseconds, in their order;
/// `None` where no clock is known to be off. The clocks are told by the trace itself and by up to 200 others with the same
/// root within half an hour.
///
/// # Errors
/// [`QueryError::Cancelled`] when the budget's flag was raised.
pub fn corrections(
    spans: &[Arc<dyn Source>],
    id: TraceId,
    records: &[SpanRecord],
    budget: &Budget,
) -> Result<Option<Vec<i64>>, QueryError> {
    // Nothing to compare within one process.
    let Some(first) = records.first() else { return Ok(None) };
    if records.iter().all(|record| Arc::ptr_eq(&record.resource, &first.resource)) {
        return Ok(None);
    }
    let like = match root(records) {
        Some((service, name, begin)) if (records.len() as u64) < LIKE_SPANS_MAX => {
            let request = GatherRequest {
                start: begin.saturating_sub(AROUND_NS),
                end: begin.saturating_add(AROUND_NS),
                limit: LIKE_MAX,
                spans_max: LIKE_SPANS_MAX,
                except: [id].into(),
                attributes: false,
                ..GatherRequest::new(Which::Root { service, name })
            };
            gather(spans, &[], &request, budget)?.traces
        }
        _ => Traces::default(),
    };
    Ok(skew::corrections(records, &like))
}

/// Service, name and start of the root.
fn root(records: &[SpanRecord]) -> Option<(String, String, u64)> {
    let traces = Builder::from_records(records, &[]);
    let root = &traces.spans()[traces.main_root(traces.traces().first()?)?];
    Some((traces.text(root.service).to_owned(), traces.text(root.operation).to_owned(), root.start_ns))
}
