//! What is appended is there, for whoever asks now and for whoever asked before.

use std::sync::Arc;

use tracewell_model::{KeyValue, LogEntry, LogRecord, Span, SpanId, SpanRecord, TraceId, Value};
use tracewell_wire::otlp::{encode_logs, encode_traces};

use super::Head;
use super::block::BLOCK_ROWS;
use crate::table::{AttrType, Field, Signal, Source};

fn span(number: u64) -> SpanRecord {
    SpanRecord {
        span: Span {
            trace_id: TraceId(u128::from(number / 10 + 1).to_be_bytes()),
            span_id: SpanId::from_u64(number + 1),
            name: "work".to_owned(),
            start_unix_nano: number,
            end_unix_nano: number + 5,
            attributes: vec![KeyValue::new("number", number as i64)],
            ..Span::default()
        },
        ..SpanRecord::default()
    }
}

fn rows(sources: &[Arc<dyn Source>]) -> u64 {
    sources.iter().map(|source| u64::from(source.rows())).sum()
}

#[test]
fn a_source_does_not_change_while_the_head_grows_over_several_blocks() {
    let head = Head::new(Signal::Traces);
    let count = u64::from(BLOCK_ROWS) * 2 + 100;
    let records: Vec<SpanRecord> = (0..count).map(span).collect();
    let mut before = Vec::new();
    for batch in records.chunks(30_000) {
        head.append(&encode_traces(batch));
        let sources = head.sources();
        before.push((head.rows(), sources));
    }
    for (count, sources) in before {
        assert_eq!(rows(&sources), count);
        let mut seen = 0;
        for source in &sources {
            let chunk = source.chunk(&Field::attr("number", AttrType::Int), 0).unwrap().unwrap();
            for row in 0..source.rows() as usize {
                assert_eq!(chunk.bits(row), Some(seen));
                seen += 1;
            }
            let block = source.trace_block(0).unwrap();
            assert_eq!(block.rows.iter().map(|rows| rows.len()).sum::<usize>(), source.rows() as usize);
            let spans: u32 = block.entries.iter().map(|entry| entry.spans).sum();
            assert_eq!(spans, source.rows());
        }
    }
    assert!(head.size_bytes() > 1 << 20);
}

#[test]
fn invalid_spans_are_skipped_and_the_rest_is_kept() {
    let mut records = vec![span(1), span(2), span(3)];
    records[1].span.span_id = SpanId::default();
    let head = Head::new(Signal::Traces);
    let appended = head.append(&encode_traces(&records));
    assert_eq!((appended.rows, appended.skipped), (2, 1));
    assert_eq!(head.append(b"\xff\xff\xff").skipped, 1);
    assert_eq!(head.rows(), 2);
}

#[test]
fn logs_with_and_without_a_trace_are_kept() {
    let entry = |record: LogRecord| LogEntry { record, ..LogEntry::default() };
    let trace_id = Some(TraceId([1; 16]));
    let entries = [
        entry(LogRecord { time_unix_nano: 5, body: Value::from("hello"), trace_id, ..LogRecord::default() }),
        entry(LogRecord { observed_time_unix_nano: 7, body: Value::Int(3), ..LogRecord::default() }),
    ];
    let head = Head::new(Signal::Logs);
    assert_eq!(head.append(&encode_logs(&entries)).rows, 2);
    let source = &head.sources()[0];
    let text =
        |field: Field, row| source.chunk(&field, 0).unwrap().and_then(|chunk| chunk.text(row).map(str::to_owned));
    let bits = |field: Field, row| source.chunk(&field, 0).unwrap().and_then(|chunk| chunk.bits(row));
    assert_eq!(text(Field::Body, 0).as_deref(), Some("hello"));
    assert_eq!(text(Field::Body, 1), None);
    assert!(text(Field::BodyValue, 1).unwrap().contains('3'));
    assert_eq!((bits(Field::Start, 0), bits(Field::Start, 1)), (Some(5), Some(7)));
    assert_eq!(bits(Field::LogTime, 1), Some(0));
    assert_eq!(source.find_trace(&TraceId([1; 16])).unwrap(), Some(0));
}
