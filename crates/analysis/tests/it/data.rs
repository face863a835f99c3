//! The recorded data beside the project.

use std::collections::HashMap;
use std::path::PathBuf;

use tracewell_analysis::{Builder, Log, LogSource, NO_SPAN, Span, Traces};
use tracewell_model::{SpanId, SpanKind, TraceId};

/// A file or folder of the recorded data, `None` (and a word about it) where it is missing.
pub fn path(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

/// The bytes of a file, decompressed where its name ends in `.zst`.
pub fn bytes(name: &str) -> Option<Vec<u8>> {
    let path = path(name)?;
    let bytes = std::fs::read(&path).unwrap();
    Some(if name.ends_with(".zst") { zstd::decode_all(bytes.as_slice()).unwrap() } else { bytes })
}

/// Traces of a file in any format that the project reads.
pub fn records(name: &str) -> Option<Traces> {
    let records = tracewell_wire::file::read_traces(&bytes(name)?).unwrap();
    Some(Builder::from_records(&records, &[]))
}

/// The fields of a line of CSV (RFC 4180, no line breaks within fields).
pub fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            _ => field.push(character),
        }
    }
    fields.push(field);
    fields
}

/// The spans and log records of a trace.
type Group = (Vec<Span>, Vec<(Option<SpanId>, Log)>);

/// One case of `root-cause/`: `name` without `.csv.zst`; with its logs where it has any.
pub fn root_cause(name: &str) -> Option<Traces> {
    let spans = String::from_utf8(bytes(&format!("root-cause/{name}.csv.zst"))?).unwrap();
    let logs = format!("root-cause/logs/{name}.logs.csv.zst");
    let has_logs = path("root-cause/logs").is_some_and(|folder| folder.join(format!("{name}.logs.csv.zst")).exists());
    let logs = if has_logs { String::from_utf8(bytes(&logs)?).unwrap() } else { String::new() };

    let mut builder = Builder::new();
    let mut order = Vec::new();
    let mut groups: HashMap<TraceId, Group> = HashMap::new();
    for line in spans.lines().skip(1) {
        let row = fields(line);
        let trace: TraceId = row[0].parse().unwrap();
        let texts = builder.texts();
        let span = Span {
            id: row[1].parse().unwrap(),
            parent_id: row[2].parse().ok(),
            service: texts.number(&row[3]),
            instance: texts.number(&row[4]),
            operation: texts.number(&row[5]),
            kind: match row[6].as_str() {
                "server" => SpanKind::Server as u8,
                "client" => SpanKind::Client as u8,
                "producer" => SpanKind::Producer as u8,
                "consumer" => SpanKind::Consumer as u8,
                _ => SpanKind::Internal as u8,
            },
            start_ns: row[7].parse().unwrap(),
            end_ns: row[8].parse().unwrap(),
            ..Span::default()
        };
        groups.entry(trace).or_insert_with(|| (order.push(trace), Default::default()).1).0.push(span);
    }
    // A message may hold line breaks within quotes.
    let mut rest = logs.lines().skip(1);
    while let Some(line) = rest.next() {
        let mut line = line.to_owned();
        while line.matches('"').count() % 2 == 1 {
            let Some(more) = rest.next() else { break };
            line.push('\n');
            line.push_str(more);
        }
        let row = fields(&line);
        let Some(Ok(trace)) = row.get(1).map(|id| id.parse::<TraceId>()) else { continue };
        let service = builder.texts().number(&row[3]);
        let log = Log {
            span: NO_SPAN,
            // Some records lie outside of all time.
            time_ns: row[0].parse().unwrap_or(0),
            service,
            severity: 0,
            site: builder.site(&row[5]),
            source: LogSource::Record,
        };
        if let Some(group) = groups.get_mut(&trace) {
            group.1.push((row[2].parse().ok(), log));
        }
    }
    for trace in order {
        let Some((spans, logs)) = groups.remove(&trace) else { continue };
        spans.into_iter().for_each(|span| builder.span(span, &[]));
        logs.into_iter().for_each(|(span, log)| builder.log(span, log));
        builder.finish_trace(trace, 1.0);
    }
    Some(builder.finish())
}

/// Adds the traces that begin within a time (nanoseconds since the Unix epoch) to others.
pub fn copy(builder: &mut Builder, traces: &Traces, time: std::ops::Range<u64>) {
    for trace in traces.traces() {
        let begins = traces.spans_of(trace).iter().map(|span| span.start_ns).min().unwrap_or(0);
        if !time.contains(&begins) {
            continue;
        }
        for span in traces.spans_of(trace) {
            let mut span = *span;
            let texts = builder.texts();
            for text in [&mut span.service, &mut span.operation, &mut span.instance] {
                *text = texts.number(traces.text(*text));
            }
            builder.span(span, &[]);
        }
        for log in traces.logs_of(trace) {
            let span = traces.spans().get(log.span as usize).map(|span| span.id);
            let texts = builder.texts();
            let (service, site) = (texts.number(traces.text(log.service)), texts.number(traces.text(log.site)));
            builder.log(span, Log { service, site, ..*log });
        }
        builder.finish_trace(trace.id, trace.weight);
    }
}
