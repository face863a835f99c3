//! From a checked OTLP request into the columns of blocks.
//!
//! The request was walked by `check_traces` or `check_logs` before it was made durable, so decoding does not fail
//! here; were it to fail all the same, what was decoded so far stays and the rest is counted as skipped.

use tracewell_model::{SpanId, StatusCode, TraceId};
use tracewell_wire::otlp::view::{LogView, LogsRequest, SpanView, TracesRequest, ValueView};
use tracewell_wire::otlp::{decode_value, json};

use super::Appended;
use super::block::Block;

/// Hands out the block to write the next row to, and says when it is another one than before.
pub trait Blocks {
    /// The block that takes the next row, never full; true when it changed since the last call.
    fn next(&mut self) -> (&mut Block, bool);
}

/// Appends all valid spans of an `ExportTraceServiceRequest`.
pub fn traces(payload: &[u8], blocks: &mut impl Blocks) -> Appended {
    let mut appended = Appended::default();
    for resource_spans in TracesRequest::new(payload).resource_spans() {
        let Ok(resource_spans) = resource_spans else { return appended.broken() };
        for scope_spans in resource_spans.scope_spans() {
            let Ok(scope_spans) = scope_spans else { return appended.broken() };
            let mut codes = None;
            for span in scope_spans.spans() {
                let Ok(span) = span else { return appended.broken() };
                let (Some(trace_id), Some(span_id), None) = (span.trace(), span.span(), span.invalid()) else {
                    appended.skipped += 1;
                    continue;
                };
                let (block, changed) = blocks.next();
                if changed {
                    codes = None;
                }
                let (resource, scope) = *codes.get_or_insert_with(|| {
                    (
                        block.resource(resource_spans.resource, resource_spans.schema_url),
                        block.scope(scope_spans.scope, scope_spans.schema_url),
                    )
                });
                block.push_span(resource, scope, trace_id, span_id, &span);
                appended.rows += 1;
            }
        }
    }
    appended
}

/// Appends all records of an `ExportLogsServiceRequest`.
pub fn logs(payload: &[u8], blocks: &mut impl Blocks) -> Appended {
    let mut appended = Appended::default();
    for resource_logs in LogsRequest::new(payload).resource_logs() {
        let Ok(resource_logs) = resource_logs else { return appended.broken() };
        for scope_logs in resource_logs.scope_logs() {
            let Ok(scope_logs) = scope_logs else { return appended.broken() };
            let mut codes = None;
            for record in scope_logs.log_records() {
                let Ok(record) = record else { return appended.broken() };
                let (block, changed) = blocks.next();
                if changed {
                    codes = None;
                }
                let (resource, scope) = *codes.get_or_insert_with(|| {
                    (
                        block.resource(resource_logs.resource, resource_logs.schema_url),
                        block.scope(scope_logs.scope, scope_logs.schema_url),
                    )
                });
                block.push_log(resource, scope, &record);
                appended.rows += 1;
            }
        }
    }
    appended
}

impl Block {
    /// Appends one span. The block must not be full.
    fn push_span(&mut self, resource: u32, scope: u32, trace_id: TraceId, span_id: SpanId, span: &SpanView<'_>) {
        let row = self.rows as u16;
        let (start, end) = (span.start_unix_nano, span.end_unix_nano);
        let fixed = &mut self.fixed;
        fixed.span_id.push_num(row, span_id.to_u64());
        fixed.start.push_num(row, start);
        fixed.duration.push_num(row, end.wrapping_sub(start));
        fixed.name.push_text(row, span.name);
        fixed.kind.push_num(row, span.kind as i64 as u64);
        fixed.resource.push_code(row, resource);
        fixed.scope.push_code(row, scope);
        let parent = span.parent();
        if let Some(parent) = parent {
            fixed.parent_span_id.push_num(row, parent.to_u64());
        }
        if span.status_code != 0 {
            fixed.status_code.push_num(row, span.status_code as i64 as u64);
        }
        if !span.status_message.is_empty() {
            fixed.status_message.push_text(row, span.status_message);
        }
        if span.flags != 0 {
            fixed.flags.push_num(row, u64::from(span.flags));
        }
        if !span.trace_state.is_empty() {
            fixed.trace_state.push_text(row, span.trace_state);
        }
        for (count, column) in [
            (span.dropped_attributes_count, &mut fixed.dropped_attributes),
            (span.dropped_events_count, &mut fixed.dropped_events),
            (span.dropped_links_count, &mut fixed.dropped_links),
        ] {
            if count != 0 {
                column.push_num(row, u64::from(count));
            }
        }
        if span.has_events {
            self.scratch.clear();
            // Cannot fail on a checked request; what was written so far is still the better half.
            let _ = json::write_events(span, &mut self.scratch);
            fixed.events.push_text(row, &self.scratch);
        }
        if span.has_links {
            self.scratch.clear();
            let _ = json::write_links(span, &mut self.scratch);
            fixed.links.push_text(row, &self.scratch);
        }
        let name = fixed.name.code_at(usize::from(row)).unwrap_or_default();
        let service = self.service_of_resource.get(resource as usize).copied().unwrap_or_default();
        let error = span.status_code == StatusCode::Error as i32;
        let stats = self.traces.add_row(trace_id, start, end, error);
        if parent.is_none() && stats.root.is_none_or(|(earliest, ..)| start < earliest) {
            stats.root = Some((start, service, name));
        }
        self.push_attributes(row, span.attributes().flatten());
        self.min_start = self.min_start.min(start);
        self.max_end = self.max_end.max(end);
        self.rows += 1;
    }

    /// Appends one log record. The block must not be full.
    fn push_log(&mut self, resource: u32, scope: u32, record: &LogView<'_>) {
        let row = self.rows as u16;
        let fixed = &mut self.fixed;
        let time = if record.time_unix_nano == 0 { record.observed_time_unix_nano } else { record.time_unix_nano };
        fixed.start.push_num(row, time);
        if record.time_unix_nano != time {
            fixed.log_time.push_num(row, record.time_unix_nano);
        }
        for (number, column) in [
            (record.observed_time_unix_nano, &mut fixed.observed_time),
            (record.severity_number as i64 as u64, &mut fixed.severity_number),
            (u64::from(record.dropped_attributes_count), &mut fixed.dropped_attributes),
            (u64::from(record.flags), &mut fixed.flags),
            (record.span().map_or(0, SpanId::to_u64), &mut fixed.span_id),
        ] {
            if number != 0 {
                column.push_num(row, number);
            }
        }
        for (text, column) in
            [(record.severity_text, &mut fixed.severity_text), (record.event_name, &mut fixed.event_name)]
        {
            if !text.is_empty() {
                column.push_text(row, text);
            }
        }
        match record.body {
            ValueView::Empty => {}
            ValueView::Str(text) => fixed.body.push_text(row, text),
            other => {
                let value = decode_value(other).unwrap_or_default();
                fixed.body_value.push_text(row, json::value_to_json(&value).as_bytes());
            }
        }
        fixed.resource.push_code(row, resource);
        fixed.scope.push_code(row, scope);
        // Severity 17 is ERROR (logs data model, severity fields).
        self.traces.add_row(record.trace().unwrap_or_default(), time, time, record.severity_number >= 17);
        self.push_attributes(row, record.attributes().flatten());
        self.min_start = self.min_start.min(time);
        self.max_end = self.max_end.max(time);
        self.rows += 1;
    }
}
