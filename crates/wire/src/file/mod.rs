//! Trace files: finds out by itself what a file holds.
//!
//! | recognised by | format |
//! |---|---|
//! | an object with `resourceSpans`, `resourceLogs` or both | OTLP JSON (`TracesData`, `LogsData`, an export request) |
//! | several such objects, one after the other | OTLP JSON lines (the Collector's file exporter) |
//! | an object with `batches`, or with `trace` around either | the answers of Tempo's API |
//! | an object with `data` or `spans`, or an array of such | Jaeger JSON (query API, UI download) |
//! | anything else that begins as protobuf does | OTLP protobuf (`TracesData`, `LogsData`, an export request) |
//!
//! A file of lines can be read line by line ([`is_line`], [`read_line`]), so that its size does not matter.

mod outline;

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tracewell_model::SpanRecord;

use crate::otlp::json::{parse_batches, parse_logs_file, parse_traces_file};
use crate::{DecodeError, JsonError, jaeger, otlp};
use outline::{Outline, Signals, is_logs, is_metrics, is_spans};

/// What a file was recognised as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One OTLP request or `TracesData` as JSON.
    OtlpJson,
    /// Several OTLP requests, one after the other.
    OtlpJsonLines,
    /// OTLP protobuf.
    OtlpProtobuf,
    /// An answer of Tempo's API.
    TempoJson,
    /// Jaeger's JSON.
    JaegerJson,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::OtlpJson => "OTLP JSON",
            Format::OtlpJsonLines => "OTLP JSON lines",
            Format::OtlpProtobuf => "OTLP protobuf",
            Format::TempoJson => "Tempo JSON",
            Format::JaegerJson => "Jaeger JSON",
        })
    }
}

/// Why a file gives no spans.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// There is nothing in it.
    #[error("the file is empty")]
    Empty,
    /// It is compressed, which the caller has to undo.
    #[error("the file is compressed with {0}; decompress it first")]
    Compressed(&'static str),
    /// It is of no known format.
    #[error(
        "not a trace file: expected OTLP JSON (an object with resourceSpans or resourceLogs), OTLP JSON lines, OTLP protobuf, \
         Tempo JSON (batches) or Jaeger JSON (data or spans), found {found}"
    )]
    Unrecognized {
        /// What is there instead.
        found: String,
    },
    /// It was recognised and then broke.
    #[error("the file was recognised as {format}: {error}")]
    Broken {
        /// What it was recognised as.
        format: Format,
        /// Where and why it broke.
        error: DecodeError,
    },
    /// It was read, and none of its spans can be used.
    #[error("the file was recognised as {format}, but {reason}")]
    NoValidSpans {
        /// What it was recognised as.
        format: Format,
        /// What is wrong with the spans.
        reason: String,
    },
}

/// What a file or a line of one holds: OTLP export requests as protobuf, checked, so that no `decode_*` of them fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// What it was recognised as.
    pub format: Format,
    /// An `ExportTraceServiceRequest`; empty where there are no spans.
    pub traces: Vec<u8>,
    /// An `ExportLogsServiceRequest`; empty where there are no log records.
    pub logs: Vec<u8>,
    /// Spans with valid ids.
    pub spans: u64,
    /// Log records.
    pub log_records: u64,
    /// Spans that cannot be used, because their ids are not valid.
    pub rejected: u64,
    /// Why they cannot, where there are any.
    pub reason: Option<String>,
}

/// The spans of a trace file, in its order. Spans without valid ids are left out.
pub fn read_traces(bytes: &[u8]) -> Result<Vec<SpanRecord>, FileError> {
    match recognise(bytes)? {
        Recognised::Records(records) => Ok(records),
        Recognised::Requests { traces: None, .. } => {
            Err(FileError::Unrecognized { found: "JSON with the fields resourceLogs (OTLP logs)".to_owned() })
        }
        Recognised::Requests { format, traces: Some(protobuf), .. } => {
            let records = otlp::decode_traces(&protobuf).map_err(|error| FileError::Broken { format, error })?;
            require_spans(records, format, &protobuf)
        }
    }
}

/// Spans and log records of a file.
///
/// # Errors
/// The file is of no known format or broken, or it has spans and none of them can be used.
pub fn read(bytes: &[u8]) -> Result<Contents, FileError> {
    let contents = match recognise(bytes)? {
        Recognised::Records(records) => check(Format::JaegerJson, otlp::encode_traces(&records), Vec::new()),
        Recognised::Requests { format, traces, logs } => {
            check(format, traces.unwrap_or_default(), logs.unwrap_or_default())
        }
    }?;
    match &contents.reason {
        Some(reason) if contents.spans == 0 && contents.log_records == 0 => {
            Err(FileError::NoValidSpans { format: contents.format, reason: format!("it has {reason}") })
        }
        _ => Ok(contents),
    }
}

/// Is this line a whole OTLP request as JSON? If a file's first line is, so are the others.
pub fn is_line(line: &[u8]) -> bool {
    let line = line.strip_prefix(BOM).unwrap_or(line);
    let mut outline = Outline::default();
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    deserializer.disable_recursion_limit();
    let whole = deserializer.deserialize_map(&mut outline).is_ok() && deserializer.end().is_ok();
    whole && outline.keys.iter().any(|key| is_spans(key) || is_logs(key) || is_metrics(key))
}

/// Spans and log records of line `number` (from 1) of a file of OTLP JSON lines. Blank lines and other signals hold none.
///
/// # Errors
/// The line is not one or several OTLP requests; the error says which line.
pub fn read_line(line: &[u8], number: usize) -> Result<Contents, FileError> {
    let line = line.strip_prefix(BOM).unwrap_or(line);
    if let Some(signals) = Signals::at_a_glance(line)
        && let Ok((traces, logs)) = parse_document(line, signals)
    {
        return check(Format::OtlpJsonLines, traces, logs);
    }
    match read_otlp_json(line) {
        Ok(Recognised::Requests { traces, logs, .. }) => {
            check(Format::OtlpJsonLines, traces.unwrap_or_default(), logs.unwrap_or_default())
        }
        Ok(Recognised::Records(_)) => check(Format::OtlpJsonLines, Vec::new(), Vec::new()),
        Err(FileError::Broken { error: DecodeError::Json(mut error), .. }) => {
            error.line += number.saturating_sub(1);
            Err(FileError::Broken { format: Format::OtlpJsonLines, error: DecodeError::Json(error) })
        }
        Err(other) => Err(other),
    }
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// A file, read as far as its format says.
enum Recognised {
    /// OTLP as protobuf, not yet checked; `None` for a signal that the file does not speak of.
    Requests { format: Format, traces: Option<Vec<u8>>, logs: Option<Vec<u8>> },
    /// Jaeger's.
    Records(Vec<SpanRecord>),
}

fn check(format: Format, traces: Vec<u8>, logs: Vec<u8>) -> Result<Contents, FileError> {
    let broken = |error| FileError::Broken { format, error };
    let of_traces = otlp::check_traces(&traces).map_err(broken)?;
    let of_logs = otlp::check_logs(&logs).map_err(broken)?;
    Ok(Contents {
        format,
        spans: of_traces.items,
        log_records: of_logs.items,
        rejected: of_traces.rejected,
        reason: of_traces.reason,
        traces: of_traces.normalized.unwrap_or(traces),
        logs: of_logs.normalized.unwrap_or(logs),
    })
}

fn recognise(bytes: &[u8]) -> Result<Recognised, FileError> {
    if bytes.is_empty() {
        return Err(FileError::Empty);
    }
    for (magic, name) in [(&b"\x1f\x8b"[..], "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"PK\x03\x04", "zip")] {
        if bytes.starts_with(magic) {
            return Err(FileError::Compressed(name));
        }
    }
    let json = bytes.strip_prefix(BOM).unwrap_or(bytes);
    match json.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Err(FileError::Empty),
        // The header of protobuf's first field is a line feed, which JSON may begin with as well.
        Some(_) if bytes.first() == Some(&b'\n') && is_protobuf(bytes) => read_protobuf(bytes),
        Some(b'{' | b'[') => read_json(json),
        Some(_) => read_protobuf(bytes),
    }
}

fn is_protobuf(bytes: &[u8]) -> bool {
    otlp::check_traces(bytes).is_ok() || otlp::check_logs(bytes).is_ok()
}

fn read_protobuf(bytes: &[u8]) -> Result<Recognised, FileError> {
    let format = Format::OtlpProtobuf;
    match otlp::check_traces(bytes) {
        Ok(_) => Ok(Recognised::Requests { format, traces: Some(bytes.to_vec()), logs: None }),
        // A span begins with its id, a log record with its time: neither passes for the other.
        Err(_) if otlp::check_logs(bytes).is_ok_and(|checked| checked.items > 0) => {
            Ok(Recognised::Requests { format, traces: None, logs: Some(bytes.to_vec()) })
        }
        // Text and other files fail here, and to call them broken protobuf would mislead.
        Err(_) if bytes.first() != Some(&b'\n') => {
            let start: String = String::from_utf8_lossy(bytes.get(..bytes.len().min(24)).unwrap_or_default()).into();
            Err(FileError::Unrecognized { found: format!("a file that begins with {start:?}") })
        }
        Err(error) => Err(FileError::Broken { format, error }),
    }
}

fn read_json(json: &[u8]) -> Result<Recognised, FileError> {
    let mut outline = Outline::default();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    deserializer.disable_recursion_limit();
    let read = deserializer.deserialize_any(&mut outline);
    let has = |names: &[&str]| outline.keys.iter().any(|key| names.contains(&key.as_str()));
    if outline.keys.iter().any(|key| is_spans(key) || is_logs(key)) {
        return read_otlp_json(json);
    }
    // Metrics alone are of no use, between other requests they do no harm.
    if outline.keys.iter().any(|key| is_metrics(key))
        && let Ok(others @ (Recognised::Requests { traces: Some(_), .. } | Recognised::Requests { logs: Some(_), .. })) =
            read_otlp_json(json)
    {
        return Ok(others);
    }
    if has(&["batches"]) {
        return requests(parse_batches(json), Format::TempoJson);
    }
    if has(&["trace"]) && read.is_ok() {
        return read_wrapped(json);
    }
    if has(&["data", "spans"]) {
        return jaeger::json::read(json)
            .map(Recognised::Records)
            .map_err(|error| FileError::Broken { format: Format::JaegerJson, error });
    }
    let found = match (outline.keys.is_empty(), read) {
        (true, Err(error)) => format!("text that begins like JSON but is not: {error}"),
        (true, Ok(())) => "JSON without fields".to_owned(),
        (false, _) => {
            let known = if has(&["resourceMetrics"]) {
                " (OTLP metrics)"
            } else if has(&["traceId"]) && has(&["id"]) {
                " (Zipkin JSON)"
            } else {
                ""
            };
            format!("JSON with the fields {}{known}", outline.keys.join(", "))
        }
    };
    Err(FileError::Unrecognized { found })
}

fn requests(protobuf: Result<Vec<u8>, DecodeError>, format: Format) -> Result<Recognised, FileError> {
    let protobuf = protobuf.map_err(|error| FileError::Broken { format, error })?;
    Ok(Recognised::Requests { format, traces: Some(protobuf), logs: None })
}

/// `{"trace":{…}}`, the answer of Tempo's second API.
fn read_wrapped(json: &[u8]) -> Result<Recognised, FileError> {
    #[derive(Deserialize)]
    struct Wrapped<'a> {
        #[serde(borrow)]
        trace: &'a RawValue,
    }
    let format = Format::TempoJson;
    let wrapped: Wrapped<'_> = serde_json::from_slice(json).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let error = JsonError { line, column, path: String::new(), reason: error.to_string() };
        FileError::Broken { format, error: DecodeError::Json(Box::new(error)) }
    })?;
    let inner = wrapped.trace.get().as_bytes();
    let offset = inner.as_ptr() as usize - json.as_ptr() as usize;
    let mut outline = Outline::default();
    // An error shows again, with its place, when the trace is read.
    let _ = serde_json::Deserializer::from_slice(inner).deserialize_any(&mut outline);
    let read = if outline.keys.iter().any(|key| key == "batches") { parse_batches } else { parse_traces_file };
    requests(read(inner).map_err(|error| shift(error.inside("trace"), json, offset)), format)
}

/// One OTLP document, or several one after the other.
fn read_otlp_json(json: &[u8]) -> Result<Recognised, FileError> {
    let mut documents = Vec::new();
    let mut stream = serde_json::Deserializer::from_slice(json).into_iter::<Signals>();
    let mut start = 0;
    while let Some(Ok(signals)) = stream.next() {
        documents.push((start..stream.byte_offset(), signals));
        start = stream.byte_offset();
    }
    // What is left behind the last whole document is a broken one, whose error is to be shown.
    let rest = json.get(start..).unwrap_or_default();
    if !rest.iter().all(u8::is_ascii_whitespace) {
        let signals = Signals::at_a_glance(rest).unwrap_or(Signals { spans: true, logs: false });
        documents.push((start..json.len(), signals));
    }
    let format = if documents.len() == 1 { Format::OtlpJson } else { Format::OtlpJsonLines };
    // Requests one after the other are one request: protobuf merges what is concatenated.
    let (mut traces, mut logs) = (None::<Vec<u8>>, None::<Vec<u8>>);
    for (document, signals) in documents {
        let bytes = json.get(document.clone()).unwrap_or_default();
        let (of_traces, of_logs) = parse_document(bytes, signals)
            .map_err(|error| FileError::Broken { format, error: shift(error, json, document.start) })?;
        for (has, request, all) in [(signals.spans, of_traces, &mut traces), (signals.logs, of_logs, &mut logs)] {
            match all {
                Some(all) => all.extend_from_slice(&request),
                None if has => *all = Some(request),
                None => {}
            }
        }
    }
    Ok(Recognised::Requests { format, traces, logs })
}

/// The spans and log records of one OTLP request, as protobuf.
fn parse_document(json: &[u8], signals: Signals) -> Result<(Vec<u8>, Vec<u8>), DecodeError> {
    let traces = if signals.spans { parse_traces_file(json)? } else { Vec::new() };
    let logs = if signals.logs { parse_logs_file(json)? } else { Vec::new() };
    Ok((traces, logs))
}

/// A file whose every span is refused is an error; a file without spans is an empty trace.
fn require_spans(records: Vec<SpanRecord>, format: Format, protobuf: &[u8]) -> Result<Vec<SpanRecord>, FileError> {
    if records.is_empty()
        && let Ok(checked) = otlp::check_traces(protobuf)
        && let Some(reason) = checked.reason
    {
        return Err(FileError::NoValidSpans { format, reason: format!("it has {reason}") });
    }
    Ok(records)
}

/// Moves the place of an error in a part of `json` that begins at `offset` to its place in the whole.
fn shift(mut error: DecodeError, json: &[u8], offset: usize) -> DecodeError {
    if let DecodeError::Json(error) = &mut error {
        let before = json.get(..offset).unwrap_or_default();
        let last_line = before.iter().rev().position(|byte| *byte == b'\n').unwrap_or(before.len());
        if error.line == 1 {
            error.column += last_line;
        }
        error.line += before.iter().filter(|byte| **byte == b'\n').count();
    }
    error
}
