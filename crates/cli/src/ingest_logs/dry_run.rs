//! How the first lines of a file are understood.

use std::path::Path;

use anyhow::{Context, Result};
use tracewell_ingest::tail::{self, Lines};
use tracewell_model::{KeyValue, Span, Value};
use tracewell_server::time::format_rfc3339_ms;
use tracewell_wire::accesslog::{Format, Options, Outcome, Place};

use super::read;
use crate::table::duration;

/// Lines that are shown.
const LINES_MAX: usize = 10;

/// The first lines of a file, and what each would become.
pub fn show(file: &Path, format: Option<&Format>, options: &Options, named: bool) -> Result<String> {
    let opened = read::open(file).with_context(|| file.display().to_string())?;
    let (begin, reader) = tail::sample(opened)?;
    let mut converter = read::converter(file, &begin, format, options, named)?;
    let how = match (format, read::detect(&begin)) {
        (Some(_), _) => "as named",
        (None, Some(_)) => "told from the first lines",
        (None, None) => "no format fits the first lines; name one with --format",
    };
    let mut out = format!("{}: {} ({how})\n", file.display(), converter.format().name());
    let mut lines = Lines::new(reader, 0);
    for number in 1..=LINES_MAX {
        let Some(line) = lines.next_line()? else { break };
        let text: String = String::from_utf8_lossy(line.bytes).chars().take(300).collect();
        out.push_str(&format!("\n{number}: {text}\n"));
        match converter.convert(line.bytes, Place { offset: line.offset, cut: line.cut }) {
            Outcome::Spans { spans, inferred } => {
                for record in &spans {
                    out.push_str(&span(&record.span, record.resource.service_name(), inferred));
                }
            }
            Outcome::Log { entry, joined } => {
                let which = if joined { "log record of trace " } else { "log record by itself" };
                let entry = entry.map(|entry| entry.record);
                let trace = entry.as_ref().and_then(|record| record.trace_id).map(|id| id.to_string());
                out.push_str(&format!("   {which}{}\n", trace.unwrap_or_default()));
                out.push_str(&attributes(entry.as_ref().map_or(&[], |record| &record.attributes)));
            }
            Outcome::Unreadable { reason, .. } => out.push_str(&format!("   cannot be read: {}\n", reason.as_str())),
            Outcome::Blank => out.push_str("   empty\n"),
        }
    }
    Ok(out)
}

fn span(span: &Span, service: &str, inferred: bool) -> String {
    let kind = if span.kind == 3 { "client" } else { "server" };
    let parent = span.parent_span_id.map_or("none".to_owned(), |id| id.to_string());
    let by = if inferred { " (from the request id)" } else { "" };
    format!(
        "   {kind} span {service}: {}, {} from {}\n     trace {}{by} span {} parent {parent}\n{}",
        span.name,
        duration(span.duration_ns()),
        format_rfc3339_ms(span.start_unix_nano),
        span.trace_id,
        span.span_id,
        attributes(&span.attributes),
    )
}

fn attributes(attributes: &[KeyValue]) -> String {
    let line = |attribute: &KeyValue| format!("     {} = {}\n", attribute.key, text(&attribute.value));
    attributes.iter().map(line).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Str(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
        other => format!("{other:?}"),
    }
}
