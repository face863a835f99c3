//! The input of every analysis: traces as columns of small records, each trace in preorder.
//!
//! ```text
//! traces   │ first..end │ first..end │ …
//! spans    │ a b c d e  │ f g h      │ …      preorder: the descendants of a span follow it directly
//! ```
//!
//! Texts are numbered ([`Texts`]), so that comparing services is comparing integers and a span is some 130 bytes. Walking
//! the children of a span is skipping over descendants; walking a trace backwards sees children before their parents.
//! Building is O(n log n) in the spans of a trace (siblings are sorted by start), reading is O(1) per step.

mod append;
mod builder;
mod kinds;
mod scalar;
mod subset;
mod texts;
mod times;

use std::ops::Range;

use tracewell_model::{SpanId, SpanKind, TraceId};

pub use builder::{Builder, Origin, PEER_KEYS, STATEMENT_KEYS};
pub use scalar::{Attribute, Scalar, quoted};
pub use texts::{Text, Texts};

/// In place of the number of a span: there is none.
pub const NO_SPAN: u32 = u32::MAX;

/// How a span's work ended (OTLP `StatusCode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// Not said.
    #[default]
    Unset,
    /// Explicitly well.
    Ok,
    /// Failed.
    Error,
}

/// One span. Texts that are not known are empty ([`Text::EMPTY`]).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// Its id.
    pub id: SpanId,
    /// The id of its parent, which need not be among the spans.
    pub parent_id: Option<SpanId>,
    /// Start, nanoseconds since the Unix epoch. Where the sender did not say, it is concluded once built, and
    /// [`Span::timed`] is false.
    pub start_ns: u64,
    /// End, nanoseconds since the Unix epoch, at or after the start.
    pub end_ns: u64,
    /// False where start or end were not sent and had to be concluded.
    pub timed: bool,
    /// True where nobody said the kind, and the span's place in the trace showed it.
    pub kind_inferred: bool,
    /// Number of the parent in [`Traces::spans`]; [`NO_SPAN`] for a root.
    pub parent: u32,
    /// Spans below this one, at any depth: they follow it directly.
    pub descendants: u32,
    /// Distance from the root, which has 0.
    pub depth: u32,
    /// OTLP `SpanKind` as a number.
    pub kind: u8,
    /// How it ended.
    pub status: Status,
    /// W3C flags in bits 0–7, "has is-remote" and "is-remote" in bits 8 and 9.
    pub flags: u32,
    /// `service.name`.
    pub service: Text,
    /// Name of the operation.
    pub operation: Text,
    /// Who exactly: `service.instance.id`, else `k8s.pod.name`, else `container.id`.
    pub instance: Text,
    /// Where it ran: `host.name`, else `k8s.node.name`, else `host.id`.
    pub host: Text,
    /// `service.version`.
    pub version: Text,
    /// Whom it calls, where that can be told without the other side: `peer.service`, else `db.namespace`,
    /// `messaging.destination.name`, `server.address`. The kind of a database (`db.system.name`) is no name: there may be
    /// many of a kind, and some are part of the process.
    pub peer: Text,
    /// What it asks for: `db.query.text`, else `db.statement`, else `db.query.summary`.
    pub statement: Text,
    /// `tracestate` as received.
    pub trace_state: Text,
    /// The developer's words for an error.
    pub status_message: Text,
    /// Number of the resource, for [`Traces::resource`].
    pub resource: u32,
    /// First of the span's attributes …
    pub attributes_first: u32,
    /// … and how many there are.
    pub attributes_count: u32,
}

/// One trace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trace {
    /// Its id.
    pub id: TraceId,
    /// First of its spans …
    pub first: u32,
    /// … and one past its last.
    pub end: u32,
    /// First of its log records …
    pub logs_first: u32,
    /// … and one past the last.
    pub logs_end: u32,
    /// How many traces it stands for (1 unless a sampler kept it for others too).
    pub weight: f64,
}

/// Where a log record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    /// A log record.
    Record,
    /// An event of a span, such as an exception.
    Event,
}

/// A log record of a trace, or an event of a span.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Log {
    /// Number of the span it was written under; [`NO_SPAN`] if that is not known.
    pub span: u32,
    /// When, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Who wrote it.
    pub service: Text,
    /// OTLP `SeverityNumber`, 0 if unknown.
    pub severity: u8,
    /// The record's text without what varies: see [`crate::traces::Builder::log`].
    pub site: Text,
    /// What kind of record it is.
    pub source: LogSource,
}

/// A link from one span to another, often in another trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Number of the span that links.
    pub span: u32,
    /// Trace of the linked span.
    pub trace_id: TraceId,
    /// The linked span.
    pub span_id: SpanId,
}

/// Any number of traces, ready to be analysed. Made by a [`Builder`].
#[derive(Debug, Clone, Default)]
pub struct Traces {
    pub(crate) texts: Texts,
    pub(crate) spans: Vec<Span>,
    pub(crate) traces: Vec<Trace>,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) resources: Vec<Vec<Attribute>>,
    pub(crate) logs: Vec<Log>,
    pub(crate) links: Vec<Link>,
}

impl Span {
    /// Duration in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        self.end_ns - self.start_ns
    }

    /// True when the span calls another process: a client or a producer.
    pub fn is_outgoing(&self) -> bool {
        self.kind == SpanKind::Client as u8 || self.kind == SpanKind::Producer as u8
    }

    /// True when the span was called by another process: a server or a consumer.
    pub fn is_incoming(&self) -> bool {
        self.kind == SpanKind::Server as u8 || self.kind == SpanKind::Consumer as u8
    }

    /// True when the span takes a message that was sent earlier.
    pub fn is_consumer(&self) -> bool {
        self.kind == SpanKind::Consumer as u8
    }

    /// True when the span hands over a message and does not wait for an answer.
    pub fn is_producer(&self) -> bool {
        self.kind == SpanKind::Producer as u8
    }

    /// True when the span names a parent that is not among the spans.
    pub fn is_orphan(&self) -> bool {
        self.parent == NO_SPAN && self.parent_id.is_some()
    }

    /// True when the work failed.
    pub fn is_error(&self) -> bool {
        self.status == Status::Error
    }
}

impl Trace {
    /// The numbers of its spans.
    pub fn spans(&self) -> Range<usize> {
        self.first as usize..self.end as usize
    }
}

impl Traces {
    /// The texts.
    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    /// A text by its number.
    pub fn text(&self, text: Text) -> &str {
        self.texts.get(text)
    }

    /// All spans: those of one trace together, in preorder.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The traces, in the order in which they were added.
    pub fn traces(&self) -> &[Trace] {
        &self.traces
    }

    /// The spans of a trace.
    pub fn spans_of(&self, trace: &Trace) -> &[Span] {
        &self.spans[trace.spans()]
    }

    /// The log records and events of a trace, in order of time.
    pub fn logs_of(&self, trace: &Trace) -> &[Log] {
        &self.logs[trace.logs_first as usize..trace.logs_end as usize]
    }

    /// All log records and events.
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// All links, in order of their spans.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The number of a span's parent.
    pub fn parent(&self, span: usize) -> Option<usize> {
        let parent = self.spans[span].parent;
        (parent != NO_SPAN).then_some(parent as usize)
    }

    /// The numbers of a span's children, in order of their start.
    pub fn children(&self, span: usize) -> Siblings<'_> {
        let end = span + 1 + self.spans[span].descendants as usize;
        Siblings { traces: self, next: span + 1, end }
    }

    /// The numbers of a trace's roots, orphans among them, in order of their start.
    pub fn roots(&self, trace: &Trace) -> Siblings<'_> {
        Siblings { traces: self, next: trace.first as usize, end: trace.end as usize }
    }

    /// The root that the trace is told by: the earliest without a parent, else the orphan with most spans below it.
    /// `None` for a trace without spans.
    pub fn main_root(&self, trace: &Trace) -> Option<usize> {
        let earliest = self.roots(trace).find(|root| self.spans[*root].parent_id.is_none());
        earliest.or_else(|| self.roots(trace).max_by_key(|root| (self.spans[*root].descendants, usize::MAX - root)))
    }

    /// A span's own attributes.
    pub fn attributes(&self, span: usize) -> &[Attribute] {
        let span = &self.spans[span];
        let first = span.attributes_first as usize;
        &self.attributes[first..first + span.attributes_count as usize]
    }

    /// The attributes of the resource that a span came from.
    pub fn resource(&self, span: usize) -> &[Attribute] {
        &self.resources[self.spans[span].resource as usize]
    }

    /// How many different resources there are.
    pub fn resources(&self) -> usize {
        self.resources.len()
    }

    /// The number of the span with an id within a trace.
    pub fn find(&self, trace: &Trace, id: SpanId) -> Option<usize> {
        trace.spans().find(|span| self.spans[*span].id == id)
    }
}

/// Numbers of spans that share a parent; made by [`Traces::children`] and [`Traces::roots`].
#[derive(Debug, Clone)]
pub struct Siblings<'a> {
    traces: &'a Traces,
    next: usize,
    end: usize,
}

impl Iterator for Siblings<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.next >= self.end {
            return None;
        }
        let span = self.next;
        self.next += 1 + self.traces.spans[span].descendants as usize;
        Some(span)
    }
}
