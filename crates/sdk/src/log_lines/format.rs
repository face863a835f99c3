//! From the parts of an event to its line.

use std::fmt::Write;

use tracewell_propagate::Context;
use tracing::{Level, Metadata};

use super::visit::LineVisitor;
use super::{LogFormat, json, time};
use crate::span::now_unix_nano;

/// ANSI escapes.
const DIM: &str = "\u{1b}[2m";
const BOLD: &str = "\u{1b}[1m";
const RESET: &str = "\u{1b}[0m";

fn level_colour(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        Level::DEBUG => "\u{1b}[34m",
        Level::TRACE => "\u{1b}[35m",
    }
}

/// Adds later fields of a span to earlier ones.
pub(super) fn join(format: LogFormat, known: &mut String, more: &str) {
    known.push(if format == LogFormat::Text { ' ' } else { ',' });
    known.push_str(more);
}

/// The spans around an event, outermost first.
pub(super) struct Spans {
    format: LogFormat,
    colour: bool,
    text: String,
}

impl Spans {
    pub(super) fn new(format: LogFormat, colour: bool) -> Self {
        Self { format, colour, text: String::new() }
    }

    pub(super) fn push(&mut self, name: &str, fields: &str) {
        match self.format {
            LogFormat::Text => {
                let (bold, reset) = if self.colour { (BOLD, RESET) } else { ("", "") };
                let _ = write!(self.text, "{bold}{name}{reset}");
                if !fields.is_empty() {
                    let _ = write!(self.text, "{{{fields}}}");
                }
                self.text.push(':');
            }
            LogFormat::Json => {
                if !self.text.is_empty() {
                    self.text.push(',');
                }
                self.text.push_str("{\"name\":");
                json::string(&mut self.text, name);
                if !fields.is_empty() {
                    let _ = write!(self.text, ",\"fields\":{{{fields}}}");
                }
                self.text.push('}');
            }
        }
    }
}

/// One event.
pub(super) struct Line<'a> {
    pub(super) metadata: &'a Metadata<'a>,
    pub(super) event: &'a LineVisitor,
    pub(super) ids: Option<&'a Context>,
    pub(super) spans: &'a Spans,
}

impl Line<'_> {
    /// Appends the line with its end.
    pub(super) fn write(&self, format: LogFormat, colour: bool, out: &mut String) {
        // Writing to a string does not fail.
        let _ = match format {
            LogFormat::Text => self.text(colour, out),
            LogFormat::Json => self.json(out),
        };
        out.push('\n');
    }

    fn target(&self) -> &str {
        self.event.target.as_deref().unwrap_or_else(|| self.metadata.target())
    }

    fn text(&self, colour: bool, out: &mut String) -> std::fmt::Result {
        let (dim, reset) = if colour { (DIM, RESET) } else { ("", "") };
        out.push_str(dim);
        time::rfc3339(out, now_unix_nano());
        out.push_str(reset);
        let level = self.metadata.level();
        let tint = if colour { level_colour(level) } else { "" };
        write!(out, " {tint}{:>5}{reset} ", level.as_str())?;
        if !self.spans.text.is_empty() {
            out.push_str(&self.spans.text);
            out.push(' ');
        }
        write!(out, "{dim}{}:{reset}", self.target())?;
        if !self.event.message.is_empty() {
            out.push(' ');
            json::one_line(out, &self.event.message);
        }
        if !self.event.fields.is_empty() {
            out.push(' ');
            out.push_str(&self.event.fields);
        }
        if let Some(ids) = self.ids {
            write!(out, " {dim}trace_id={} span_id={}{reset}", ids.trace_id, ids.span_id)?;
        }
        Ok(())
    }

    fn json(&self, out: &mut String) -> std::fmt::Result {
        out.push_str("{\"timestamp\":\"");
        time::rfc3339(out, now_unix_nano());
        write!(out, "\",\"level\":\"{}\",\"message\":", self.metadata.level())?;
        json::string(out, &self.event.message);
        out.push_str(",\"target\":");
        json::string(out, self.target());
        if let Some(ids) = self.ids {
            write!(out, ",\"trace_id\":\"{}\",\"span_id\":\"{}\"", ids.trace_id, ids.span_id)?;
            write!(out, ",\"trace_flags\":\"{:02x}\"", ids.flags)?;
        }
        if !self.event.fields.is_empty() {
            write!(out, ",\"fields\":{{{}}}", self.event.fields)?;
        }
        if !self.spans.text.is_empty() {
            write!(out, ",\"spans\":[{}]", self.spans.text)?;
        }
        out.push('}');
        Ok(())
    }
}
