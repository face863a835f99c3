//! What a line becomes.

use std::collections::HashMap;
use std::sync::Arc;

use tracewell_model::{KeyValue, LogEntry, LogRecord, Resource, SERVICE_NAME, Scope, SpanRecord, Value};

use super::field::{Access, Field};
use super::format::{Format, Mismatch};
use super::ids::{self, Context};
use super::span::{self, Request, Timing};
use super::time;

/// Longest line, in bytes; what is longer is kept as text up to here.
pub const LINE_BYTES_MAX: usize = 64 << 10;

/// Services of one log whose resources are remembered.
const RESOURCES_MAX: usize = 1_000;

/// How lines are to be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The service of lines that name none.
    pub service: String,
    /// Offset, in seconds east of UTC, of times that name no zone.
    pub zone_s: i64,
    /// Keep lines that cannot be read, as text.
    pub keep_unreadable: bool,
    /// Keep lines that belong to no trace.
    pub keep_unjoined: bool,
    /// The time of lines without one at the start of a log, in nanoseconds since the Unix epoch.
    pub fallback_time_ns: u64,
}

impl Default for Options {
    fn default() -> Self {
        let service = "access-log".to_owned();
        Self { service, zone_s: 0, keep_unreadable: true, keep_unjoined: true, fallback_time_ns: 0 }
    }
}

/// Where a line stands. With the line itself it makes the ids of its spans, so that two requests that left the same line
/// stay two, and one line that is read twice stays one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Bytes before the line, in the log as it was written.
    pub offset: u64,
    /// The line was longer than [`LINE_BYTES_MAX`].
    pub cut: bool,
}

/// Why a line could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// It is not written in the format.
    Format,
    /// It is not a JSON object.
    Json,
    /// It is longer than [`LINE_BYTES_MAX`].
    TooLong,
    /// Its time is missing or is none.
    Time,
}

impl Reason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Format, Self::Json, Self::TooLong, Self::Time];

    /// Name as counters show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Format => "other_format",
            Self::Json => "not_json",
            Self::TooLong => "too_long",
            Self::Time => "no_time",
        }
    }
}

/// What a line became.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A server span, then one client span for each attempt at the server behind.
    Spans {
        /// At least one.
        spans: Vec<SpanRecord>,
        /// Their trace was made from a request id.
        inferred: bool,
    },
    /// A log record, of a trace when `joined`.
    Log {
        /// The record; `None` when such lines are not kept.
        entry: Option<LogEntry>,
        /// It belongs to a trace.
        joined: bool,
    },
    /// A line that could not be read, as a log record with its text.
    Unreadable {
        /// The record; `None` when such lines are not kept.
        entry: Option<LogEntry>,
        /// Why.
        reason: Reason,
    },
    /// A line of spaces, or of nothing.
    Blank,
}

/// Turns the lines of one log into spans and log records, in their order.
#[derive(Debug)]
pub struct Converter {
    format: Format,
    options: Options,
    resources: HashMap<String, Arc<Resource>>,
    scope: Arc<Scope>,
    last_time_ns: u64,
}

impl Converter {
    /// A converter for lines in this format.
    pub fn new(format: Format, options: Options) -> Self {
        let scope = Scope { name: "tracewell.accesslog".to_owned(), ..Scope::default() };
        let last_time_ns = options.fallback_time_ns;
        Self { format, options, resources: HashMap::new(), scope: Arc::new(scope), last_time_ns }
    }

    /// The format.
    pub fn format(&self) -> &Format {
        &self.format
    }

    /// The time of the newest line, which lines without a time take. Whoever goes on in the middle of a log sets it to what
    /// it was there.
    pub fn last_time_ns(&self) -> u64 {
        self.last_time_ns
    }

    /// See [`Converter::last_time_ns`].
    pub fn set_last_time_ns(&mut self, time_ns: u64) {
        self.last_time_ns = time_ns;
    }

    /// What a line, without its line end, becomes. Takes any bytes.
    pub fn convert(&mut self, line: &[u8], place: Place) -> Outcome {
        let text = String::from_utf8_lossy(line.get(..LINE_BYTES_MAX).unwrap_or(line));
        let text = text.trim_start_matches('\u{feff}').trim_end();
        if text.trim_start().is_empty() {
            return Outcome::Blank;
        }
        if place.cut {
            return self.unreadable(text, Reason::TooLong);
        }
        let mut access = match self.format.read(text) {
            Ok(access) => access,
            Err(Mismatch::Pattern) => return self.unreadable(text, Reason::Format),
            Err(Mismatch::Json) => return self.unreadable(text, Reason::Json),
        };
        let Some(timing) = self.timing(&access) else { return self.unreadable(text, Reason::Time) };
        self.last_time_ns = timing.end_ns;
        let resource = self.resource(access.get(Field::Service));
        let request = Request::of(&access);
        let extra = access.take_extra();
        match (ids::context(&access), timing.duration_known) {
            (Some(context), true) => {
                let inferred = context.inferred;
                let identity = (resource.service_name(), place.offset, text);
                let spans = span::spans(&access, &request, extra, &context, timing, identity);
                let scope = &self.scope;
                let record = |span| SpanRecord { resource: Arc::clone(&resource), scope: Arc::clone(scope), span };
                Outcome::Spans { spans: spans.into_iter().map(record).collect(), inferred }
            }
            (context, _) => {
                let joined = context.is_some();
                let keep = joined || self.options.keep_unjoined;
                let entry = keep.then(|| {
                    let record = log_record(&access, &request, extra, context, timing, text);
                    LogEntry { resource, scope: Arc::clone(&self.scope), record }
                });
                Outcome::Log { entry, joined }
            }
        }
    }

    fn timing(&self, access: &Access<'_>) -> Option<Timing> {
        let at = |field| access.get(field).and_then(|text| time::parse(text, self.options.zone_s));
        let duration = access.duration(Field::Duration);
        let (start, end) = (at(Field::StartTime), at(Field::EndTime).or_else(|| at(Field::Time)));
        let timing = match (start, end, duration) {
            (Some(start), _, Some(duration)) => Timing::known(start, start.checked_add(duration)?),
            (None, Some(end), Some(duration)) => Timing::known(end.saturating_sub(duration), end),
            (Some(start), Some(end), None) if access.get(Field::EndTime).is_some() => {
                Timing::known(start, end.max(start))
            }
            (Some(time), _, None) | (None, Some(time), None) => {
                Timing { start_ns: time, end_ns: time, duration_known: false }
            }
            (None, None, _) => return None,
        };
        Some(timing)
    }

    fn unreadable(&mut self, text: &str, reason: Reason) -> Outcome {
        let entry = self.options.keep_unreadable.then(|| LogEntry {
            resource: self.resource(None),
            scope: Arc::clone(&self.scope),
            record: LogRecord {
                observed_time_unix_nano: self.last_time_ns,
                body: Value::Str(text.to_owned()),
                attributes: vec![KeyValue::new("tracewell.unreadable", reason.as_str())],
                ..LogRecord::default()
            },
        });
        Outcome::Unreadable { entry, reason }
    }

    fn resource(&mut self, service: Option<&str>) -> Arc<Resource> {
        let service = service.unwrap_or(&self.options.service);
        if let Some(known) = self.resources.get(service) {
            return Arc::clone(known);
        }
        let attributes = vec![KeyValue::new(SERVICE_NAME, service)];
        let resource = Arc::new(Resource { attributes, ..Resource::default() });
        if self.resources.len() < RESOURCES_MAX {
            self.resources.insert(service.to_owned(), Arc::clone(&resource));
        }
        resource
    }
}

fn log_record(
    access: &Access<'_>,
    request: &Request,
    extra: Vec<(std::borrow::Cow<'_, str>, Value)>,
    context: Option<Context>,
    timing: Timing,
    text: &str,
) -> LogRecord {
    let mut attributes = span::attributes(access, request, extra);
    if let Some(duration) = access.duration(Field::Duration) {
        attributes.push(KeyValue::new("http.server.request.duration", Value::Double(duration as f64 / 1e9)));
    }
    let context = context.unwrap_or_default();
    if context.inferred {
        attributes.extend(span::inferred());
    }
    let (severity_number, severity_text) = severity(access);
    let body = match access.get(Field::Message) {
        Some(message) => message.to_owned(),
        None => request.summary(access).unwrap_or_else(|| text.to_owned()),
    };
    LogRecord {
        time_unix_nano: timing.end_ns,
        observed_time_unix_nano: timing.end_ns,
        severity_number,
        severity_text,
        body: Value::Str(body),
        attributes,
        flags: u32::from(context.flags),
        trace_id: Some(context.trace_id).filter(|id| !id.is_zero()),
        span_id: context.own.or(context.parent),
        ..LogRecord::default()
    }
}

/// OTLP's number for a level in words, or for a status.
fn severity(access: &Access<'_>) -> (i32, String) {
    let Some(text) = access.get(Field::Severity) else {
        let status: u16 = access.get(Field::Status).and_then(|status| status.parse().ok()).unwrap_or(0);
        return match status {
            500.. => (17, String::new()),
            400..500 => (13, String::new()),
            _ => (9, String::new()),
        };
    };
    let number = match text.to_ascii_lowercase().as_str() {
        "trace" => 1,
        "debug" | "dbug" => 5,
        "info" | "information" | "notice" => 9,
        "warn" | "warning" => 13,
        "error" | "err" | "eror" => 17,
        "fatal" | "critical" | "crit" | "alert" | "emerg" | "emergency" | "panic" | "dpanic" => 21,
        _ => 0,
    };
    (number, text.to_owned())
}
