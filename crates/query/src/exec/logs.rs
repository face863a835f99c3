//! Log records: those of a trace, and those found by text, service and time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use tracewell_model::{LogEntry, TraceId};
use tracewell_store::table::{Bitmap, Field, Rows, Signal, Source};

use super::columns::{Columns, Memo, retain_numbers};
use super::rows::{read_logs, trace_of_row};
use super::scan::rows_in_chunk;
use super::{Budget, Listing, Meter, Sources, Stop};
use crate::QueryError;
use crate::error::Halt;

/// What log records are wanted. Times are nanoseconds since the epoch.
#[derive(Debug, Clone, Default)]
pub struct LogSearch {
    /// Text that the body contains, in any case; everything where it is empty.
    pub text: String,
    /// Service that wrote it.
    pub service: Option<String>,
    /// Records at or after this …
    pub start: u64,
    /// … and before this.
    pub end: u64,
    /// Most records.
    pub limit: usize,
}

/// The log records of a trace in order of their time; what was received twice stands once.
///
/// # Errors
/// [`QueryError::Cancelled`] when the budget's flag was raised.
pub fn trace_logs(
    sources: &[Arc<dyn Source>],
    trace_id: &TraceId,
    budget: &Budget,
) -> Result<Listing<LogEntry>, QueryError> {
    let meter = Meter::new(budget);
    let sources = Sources::new(sources, Signal::Logs);
    let mut entries: Vec<LogEntry> = Vec::new();
    let mut complete = true;
    for part in sources.parts(trace_id) {
        let mut columns = Columns::new(sources.get(part.source), &meter);
        match read_logs(&mut columns, &part.rows, |_| Ok(*trace_id)) {
            Ok(read) => entries.extend(read),
            Err(Halt::Source(error)) => sources.give_up(part.source, &error),
            Err(Halt::Stop(Stop::Cancelled)) => return Err(QueryError::Cancelled),
            Err(Halt::Stop(stop)) => {
                sources.warn(stop.warning());
                complete = false;
                break;
            }
        }
    }
    entries.sort_by_key(|entry| entry.record.effective_time_unix_nano());
    unite(&mut entries);
    let warnings = sources.take_warnings();
    Ok(Listing { items: entries, complete: complete && warnings.is_empty(), warnings })
}

/// Keeps one of the neighbours with the same time that are the same in everything.
fn unite(entries: &mut Vec<LogEntry>) {
    let mut kept: Vec<LogEntry> = Vec::with_capacity(entries.len());
    for entry in entries.drain(..) {
        let time = entry.record.effective_time_unix_nano();
        let mut same_time = kept.iter().rev().take_while(|other| other.record.effective_time_unix_nano() == time);
        if !same_time.any(|other| *other == entry) {
            kept.push(entry);
        }
    }
    *entries = kept;
}

/// The newest log records that match, the newest first.
///
/// # Errors
/// [`QueryError::Cancelled`] when the budget's flag was raised.
pub fn search_logs(
    sources: &[Arc<dyn Source>],
    request: &LogSearch,
    budget: &Budget,
) -> Result<Listing<LogEntry>, QueryError> {
    let text = (!request.text.is_empty())
        .then(|| RegexBuilder::new(&regex::escape(&request.text)).case_insensitive(true).build())
        .transpose()
        .map_err(|error| QueryError::Regex(error.to_string()))?;
    let meter = Meter::new(budget);
    let sources = Sources::new(sources, Signal::Logs);
    let mut order: Vec<usize> = (0..sources.len()).collect();
    order.sort_by_key(|index| Reverse(sources.get(*index).time_range().1));

    // The newest so far, the oldest of them on top.
    let mut newest: BinaryHeap<Reverse<(u64, usize, u32)>> = BinaryHeap::new();
    let mut complete = true;
    for index in order {
        let source = sources.get(index);
        let (first, last) = source.time_range();
        let full = newest.len() >= request.limit;
        let too_old = full && newest.peek().is_none_or(|Reverse((oldest, ..))| last < *oldest);
        if first >= request.end || last < request.start || too_old {
            continue;
        }
        match collect(source, index, request, text.as_ref(), &meter, &mut newest) {
            Ok(()) => {}
            Err(Halt::Source(error)) => sources.give_up(index, &error),
            Err(Halt::Stop(Stop::Cancelled)) => return Err(QueryError::Cancelled),
            Err(Halt::Stop(stop)) => {
                sources.warn(stop.warning());
                complete = false;
                break;
            }
        }
    }
    // What was found is told, whatever the budget says by now.
    let unlimited = Budget::default();
    let unmetered = Meter::new(&unlimited);
    let mut columns: Vec<Option<Columns<'_>>> = (0..sources.len()).map(|_| None).collect();
    let mut entries = Vec::new();
    for Reverse((_, index, row)) in newest.into_sorted_vec() {
        let source = sources.get(index);
        let columns = columns[index].get_or_insert_with(|| Columns::new(source, &unmetered));
        match read_logs(columns, &Rows::Range(row, row + 1), |row| trace_of_row(source, row)) {
            Ok(read) => entries.extend(read),
            Err(Halt::Source(error)) => sources.give_up(index, &error),
            Err(Halt::Stop(_)) => {}
        }
    }
    unite(&mut entries);
    let warnings = sources.take_warnings();
    Ok(Listing { items: entries, complete: complete && warnings.is_empty(), warnings })
}

fn collect(
    source: &dyn Source,
    index: usize,
    request: &LogSearch,
    text: Option<&Regex>,
    meter: &Meter<'_>,
    newest: &mut BinaryHeap<Reverse<(u64, usize, u32)>>,
) -> Result<(), Halt> {
    let mut columns = Columns::new(source, meter);
    let [time, service, body, value] =
        [Field::Start, Field::Service, Field::Body, Field::BodyValue].map(|field| columns.slot(&field));
    let [mut of_service, mut of_body, mut of_value] = [Memo::default(), Memo::default(), Memo::default()];
    let chunk_rows = source.chunk_rows().max(1);
    // Rows of a source stand roughly in order of their time: the last are the newest.
    for number in (0..source.rows().div_ceil(chunk_rows)).rev() {
        let mut rows = Bitmap::filled(rows_in_chunk(source, number), true);
        let times = columns.chunk(time, number)?;
        let oldest =
            if newest.len() >= request.limit { newest.peek().map_or(0, |Reverse((time, ..))| *time) } else { 0 };
        let from = request.start.max(oldest);
        rows = retain_numbers(&rows, times.as_deref(), |time| time >= from && time < request.end);
        if let (Some(wanted), true) = (&request.service, rows.any()) {
            let services = columns.chunk(service, number)?;
            rows = of_service.retain(&rows, services.as_deref(), 1, |text| u8::from(text == wanted));
        }
        if let (Some(text), true) = (text, rows.any()) {
            let bodies = columns.chunk(body, number)?;
            let mut found = of_body.retain(&rows, bodies.as_deref(), 1, |body| u8::from(text.is_match(body)));
            let values = columns.chunk(value, number)?;
            found.or(&of_value.retain(&rows, values.as_deref(), 1, |body| u8::from(text.is_match(body))));
            rows = found;
        }
        meter.add_spans(rows.len());
        for row in rows.iter() {
            let at = times.as_ref().and_then(|times| times.bits(row)).unwrap_or_default();
            newest.push(Reverse((at, index, number * chunk_rows + row as u32)));
            if newest.len() > request.limit {
                newest.pop();
            }
        }
    }
    Ok(())
}
