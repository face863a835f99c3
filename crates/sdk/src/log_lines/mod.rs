//! Log lines that can be found in the trace, and traces that can be found from a log line.
//!
//! ```text
//! 2026-11-22T20:15:03.512043Z  INFO request{http.route="/cart"}: shop::cart: added items=3 trace_id=4bf9… span_id=00f0…
//! {"timestamp":"2026-11-22T20:15:03.512043Z","level":"INFO","message":"added","target":"shop::cart",
//!  "trace_id":"4bf9…","span_id":"00f0…","trace_flags":"01","fields":{"items":3},"spans":[{"name":"request",…}]}
//! ```
//!
//! One event is one line, whatever is in it: control characters are escaped, so that nobody can forge a line
//! by sending a line break. Nothing is locked while the application's values are formatted, which may
//! themselves use `tracing`.

mod format;
mod json;
mod time;
mod visit;

use std::cell::Cell;
use std::io::{IsTerminal, Write};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::access::identity;
use crate::diagnostics;
use format::Line;
use visit::LineVisitor;

/// The shape of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object for each line: `timestamp`, `level`, `message`, `target`; `trace_id`, `span_id` and
    /// `trace_flags` inside a span; `fields` and `spans`, outermost first.
    Json,
}

impl LogFormat {
    /// The format of that name, as in `TRACEWELL_LOG_FORMAT`.
    pub fn from_name(name: &str) -> Option<Self> {
        [("text", Self::Text), ("json", Self::Json)]
            .into_iter()
            .find_map(|(known, format)| known.eq_ignore_ascii_case(name.trim()).then_some(format))
    }
}

/// A layer that writes lines. It finds ids where a [`TraceLayer`](crate::TraceLayer) is in the same subscriber.
///
/// ```
/// use tracing_subscriber::layer::SubscriberExt;
/// let lines = tracewell_sdk::log_lines::LogLines::new(std::io::stdout);
/// let subscriber = tracing_subscriber::registry().with(lines);
/// # drop(subscriber);
/// ```
///
/// A program that formats with `tracing_subscriber::fmt` gets the same lines there:
/// `fmt::layer().event_format(LogFormat::Json)`.
pub struct LogLines {
    format: LogFormat,
    colour: bool,
    span_fields: bool,
    writer: BoxMakeWriter,
}

/// The fields of a span as they stand in its lines.
struct SpanFields(String);

/// Longest buffer that a thread keeps for the next line.
const BUFFER_BYTES_MAX: usize = 16 << 10;

thread_local! {
    static BUFFER: Cell<String> = const { Cell::new(String::new()) };
}

impl LogLines {
    /// Text lines without colours to anything that makes writers. Each line is one write.
    pub fn new<W>(writer: W) -> Self
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        Self { format: LogFormat::Text, colour: false, span_fields: true, writer: BoxMakeWriter::new(writer) }
    }

    /// Text lines to stderr, in colour where that is a terminal and `NO_COLOR` is not set.
    pub fn stderr() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self::new(std::io::stderr).colour(wanted && std::io::stderr().is_terminal())
    }

    /// Text or JSON.
    #[must_use]
    pub fn format(self, format: LogFormat) -> Self {
        Self { format, ..self }
    }

    /// Whether text is coloured (ANSI escapes).
    #[must_use]
    pub fn colour(self, colour: bool) -> Self {
        Self { colour, ..self }
    }

    /// Whether the fields of the spans around an event are repeated in its line; their names always are.
    #[must_use]
    pub fn span_fields(self, span_fields: bool) -> Self {
        Self { span_fields, ..self }
    }
}

impl<S> Layer<S> for LogLines
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if !self.span_fields || attributes.is_empty() {
            return;
        }
        let mut visitor = LineVisitor::new(self.format);
        attributes.record(&mut visitor);
        if let Some(span) = context.span(id)
            && !visitor.fields.is_empty()
        {
            span.extensions_mut().replace(SpanFields(visitor.fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if !self.span_fields {
            return;
        }
        let mut visitor = LineVisitor::new(self.format);
        values.record(&mut visitor);
        let Some(span) = context.span(id).filter(|_| !visitor.fields.is_empty()) else { return };
        let mut extensions = span.extensions_mut();
        match extensions.get_mut::<SpanFields>() {
            Some(SpanFields(known)) => format::join(self.format, known, &visitor.fields),
            None => {
                extensions.replace(SpanFields(visitor.fields));
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut visitor = LineVisitor::new(self.format);
        event.record(&mut visitor);
        let mut spans = format::Spans::new(self.format, self.colour);
        let mut ids = None;
        if let Some(innermost) = context.event_span(event) {
            ids = identity(&innermost);
            for span in innermost.scope().from_root() {
                let extensions = span.extensions();
                let fields = extensions.get::<SpanFields>().map(|SpanFields(fields)| fields.as_str());
                spans.push(span.name(), fields.unwrap_or_default());
            }
        }
        #[cfg(feature = "opentelemetry")]
        let ids = crate::bridge::identity_of_event(ids);
        let line = Line { metadata: event.metadata(), event: &visitor, ids: ids.as_ref(), spans: &spans };
        let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
        buffer.clear();
        line.write(self.format, self.colour, &mut buffer);
        let written = self.writer.make_writer_for(event.metadata()).write_all(buffer.as_bytes());
        if written.is_err() {
            diagnostics::count("log lines", "cannot be written");
        }
        if buffer.capacity() <= BUFFER_BYTES_MAX {
            let _ = BUFFER.try_with(|kept| kept.set(buffer));
        }
    }
}

impl<S, N> FormatEvent<S, N> for LogFormat
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let colour = writer.has_ansi_escapes();
        let mut visitor = LineVisitor::new(*self);
        event.record(&mut visitor);
        let mut spans = format::Spans::new(*self, colour);
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            // The other formatter's fields are text: they have no place in a JSON object.
            let fields = extensions.get::<FormattedFields<N>>().filter(|_| *self == LogFormat::Text);
            spans.push(span.name(), fields.map(|fields| fields.fields.as_str()).unwrap_or_default());
        }
        let ids = context.event_scope().and_then(|mut scope| identity(&scope.next()?));
        let mut line = String::new();
        Line { metadata: event.metadata(), event: &visitor, ids: ids.as_ref(), spans: &spans }
            .write(*self, colour, &mut line);
        writer.write_str(&line)
    }
}
