//! Trace files: finds out by itself what a file holds.
//!
//! | recognised by | format |
//! |---|---|
//! | an object with `resourceSpans` | OTLP JSON (`TracesData`, an export request) |
//! | several such objects, one after the other | OTLP JSON lines (the Collector's file exporter) |
//! | an object with `batches`, or with `trace` around either | the answers of Tempo's API |
//! | an object with `data` or `spans`, or an array of such | Jaeger JSON (query API, UI download) |
//! | anything else that begins as protobuf does | OTLP protobuf (`TracesData`, an export request) |

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tracewell_model::SpanRecord;

use crate::otlp::json::{parse_batches, parse_traces_file};
use crate::{DecodeError, JsonError, jaeger, otlp};

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
        "not a trace file: expected OTLP JSON (an object with resourceSpans), OTLP JSON lines, OTLP protobuf, \
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

/// The spans of a trace file, in its order. Spans without valid ids are left out.
pub fn read_traces(bytes: &[u8]) -> Result<Vec<SpanRecord>, FileError> {
    if bytes.is_empty() {
        return Err(FileError::Empty);
    }
    for (magic, name) in [(&b"\x1f\x8b"[..], "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"PK\x03\x04", "zip")] {
        if bytes.starts_with(magic) {
            return Err(FileError::Compressed(name));
        }
    }
    let json = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match json.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Err(FileError::Empty),
        // The header of protobuf's first field is a line feed, which JSON may begin with as well.
        Some(_) if bytes.first() == Some(&b'\n') && otlp::check_traces(bytes).is_ok() => read_protobuf(bytes),
        Some(b'{' | b'[') => read_json(json),
        Some(_) => read_protobuf(bytes),
    }
}

fn read_protobuf(bytes: &[u8]) -> Result<Vec<SpanRecord>, FileError> {
    match otlp::decode_traces(bytes) {
        Ok(records) => require_spans(records, Format::OtlpProtobuf, bytes),
        // Text and other files fail here, and to call them broken protobuf would mislead.
        Err(_) if bytes.first() != Some(&b'\n') => {
            let start: String = String::from_utf8_lossy(bytes.get(..bytes.len().min(24)).unwrap_or_default()).into();
            Err(FileError::Unrecognized { found: format!("a file that begins with {start:?}") })
        }
        Err(error) => Err(FileError::Broken { format: Format::OtlpProtobuf, error }),
    }
}

fn read_json(json: &[u8]) -> Result<Vec<SpanRecord>, FileError> {
    let mut outline = Outline::default();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    deserializer.disable_recursion_limit();
    let read = deserializer.deserialize_any(&mut outline);
    let has = |names: &[&str]| outline.keys.iter().any(|key| names.contains(&key.as_str()));
    if has(&["resourceSpans", "resource_spans"]) {
        return read_otlp_json(json);
    }
    if has(&["batches"]) {
        return from_protobuf(parse_batches(json), Format::TempoJson);
    }
    if has(&["trace"]) && read.is_ok() {
        return read_wrapped(json);
    }
    if has(&["data", "spans"]) {
        return jaeger::json::read(json).map_err(|error| FileError::Broken { format: Format::JaegerJson, error });
    }
    let found = match (outline.keys.is_empty(), read) {
        (true, Err(error)) => format!("text that begins like JSON but is not: {error}"),
        (true, Ok(())) => "JSON without fields".to_owned(),
        (false, _) => {
            let known = if has(&["resourceLogs"]) {
                " (OTLP logs)"
            } else if has(&["resourceMetrics"]) {
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

/// `{"trace":{…}}`, the answer of Tempo's second API.
fn read_wrapped(json: &[u8]) -> Result<Vec<SpanRecord>, FileError> {
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
    from_protobuf(read(inner).map_err(|error| shift(error.inside("trace"), json, offset)), format)
}

/// One OTLP document, or several one after the other.
fn read_otlp_json(json: &[u8]) -> Result<Vec<SpanRecord>, FileError> {
    let mut documents = Vec::new();
    let mut stream = serde_json::Deserializer::from_slice(json).into_iter::<IgnoredAny>();
    let mut start = 0;
    while let Some(Ok(IgnoredAny)) = stream.next() {
        documents.push(start..stream.byte_offset());
        start = stream.byte_offset();
    }
    // What is left behind the last whole document is a broken one, whose error is to be shown.
    let rest = json.get(start..).unwrap_or_default();
    if !rest.iter().all(u8::is_ascii_whitespace) {
        documents.push(start..json.len());
    }
    if documents.len() == 1 {
        return from_protobuf(parse_traces_file(json), Format::OtlpJson);
    }
    // Requests one after the other are one request: protobuf merges what is concatenated.
    let mut protobuf = Vec::with_capacity(json.len() / 2);
    for document in documents {
        let bytes = json.get(document.clone()).unwrap_or_default();
        match parse_traces_file(bytes) {
            Ok(request) => protobuf.extend_from_slice(&request),
            Err(error) => {
                let error = shift(error, json, document.start);
                return Err(FileError::Broken { format: Format::OtlpJsonLines, error });
            }
        }
    }
    from_protobuf(Ok(protobuf), Format::OtlpJsonLines)
}

fn from_protobuf(protobuf: Result<Vec<u8>, DecodeError>, format: Format) -> Result<Vec<SpanRecord>, FileError> {
    let broken = |error| FileError::Broken { format, error };
    let protobuf = protobuf.map_err(broken)?;
    let records = otlp::decode_traces(&protobuf).map_err(broken)?;
    require_spans(records, format, &protobuf)
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

/// The names of a document's outermost fields, or of those of its first element if it is an array.
#[derive(Default)]
struct Outline {
    keys: Vec<String>,
}

/// More names than this do not help anybody.
const KEYS_MAX: usize = 12;

impl<'de> Visitor<'de> for &mut Outline {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if self.keys.len() < KEYS_MAX {
                self.keys.push(key);
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        elements.next_element_seed(First(self))?;
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// The first element of an array.
struct First<'o>(&'o mut Outline);

impl<'de> serde::de::DeserializeSeed<'de> for First<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self.0)
    }
}
