//! One trace in full, put together from every source that holds a part of it.

use std::sync::Arc;

use tracewell_model::{SpanRecord, TraceId};
use tracewell_store::table::{Signal, Source};
use tracewell_wire::otlp::encode_traces;

use super::columns::Columns;
use super::rows::read_spans;
use super::{Budget, Meter, Sources, Stop};
use crate::QueryError;
use crate::error::Halt;

/// A trace in full.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// Its spans by start, then id; what was received twice stands once.
    pub spans: Vec<SpanRecord>,
    /// What could not be read.
    pub warnings: Vec<String>,
}

/// Reads a whole trace; `None` where no source holds any of it.
///
/// # Errors
/// [`QueryError::Cancelled`] when the budget's flag was raised.
pub fn trace(sources: &[Arc<dyn Source>], trace_id: &TraceId, budget: &Budget) -> Result<Option<Trace>, QueryError> {
    let meter = Meter::new(budget);
    let sources = Sources::new(sources, Signal::Traces);
    let mut spans = Vec::new();
    for part in sources.parts(trace_id) {
        let mut columns = Columns::new(sources.get(part.source), &meter);
        match read_spans(&mut columns, *trace_id, &part.rows) {
            Ok(read) => spans.extend(read),
            Err(Halt::Source(error)) => sources.give_up(part.source, &error),
            Err(Halt::Stop(Stop::Cancelled)) => return Err(QueryError::Cancelled),
            Err(Halt::Stop(stop)) => {
                sources.warn(stop.warning());
                break;
            }
        }
    }
    let warnings = sources.take_warnings();
    if spans.is_empty() && warnings.is_empty() {
        return Ok(None);
    }
    sort_and_unite(&mut spans);
    Ok(Some(Trace { spans, warnings }))
}

/// Sorts spans by start, then id, and keeps one of each that are the same in everything.
pub(crate) fn sort_and_unite(spans: &mut Vec<SpanRecord>) {
    let key = |record: &SpanRecord| (record.span.start_unix_nano, record.span.span_id);
    spans.sort_by_key(key);
    let mut kept: Vec<SpanRecord> = Vec::with_capacity(spans.len());
    for record in spans.drain(..) {
        let of_same_id = kept.iter().rev().take_while(|other| key(other) == key(&record));
        // Compared as they would be sent, so that a NaN equals itself.
        let is_double = of_same_id
            .into_iter()
            .any(|other| encode_traces(std::slice::from_ref(other)) == encode_traces(std::slice::from_ref(&record)));
        if !is_double {
            kept.push(record);
        }
    }
    *spans = kept;
}
