//! Borrowed views of `opentelemetry/proto/trace/v1/trace.proto`, the hot path of ingestion.
//!
//! A view reads the scalar fields of a message in one pass and remembers where its repeated fields
//! lie; nothing is copied and nothing is allocated. Fields may come in any order, unknown fields are
//! passed over. Of a singular embedded message that occurs twice only the last is seen here, while
//! protobuf merges the two: [`super::check_traces`] notices such requests, which no known sender
//! writes, and hands back the merged form.
//!
//! ```text
//! TracesRequest ─▶ ResourceSpans ─▶ ScopeSpans ─▶ SpanView ─▶ KeyValueView ─▶ ValueView
//!                    .resource        .scope         ├─▶ encoded Event
//!                                                    └─▶ encoded Link
//! ```

use tracewell_model::{SpanId, TraceId};

use super::pb::{BYTES, Extent, FIXED32, FIXED64, Payloads, Reader, VARINT, tag};
use super::value::attributes;
use crate::{DecodeError, Problem};

pub use super::logs::{LogView, LogsRequest, ResourceLogs, ScopeLogs};
pub use super::value::{KeyValueView, ValueView};

/// An encoded `ExportTraceServiceRequest`, which has the shape of `TracesData`.
#[derive(Debug, Clone, Copy)]
pub struct TracesRequest<'a> {
    bytes: &'a [u8],
}

impl<'a> TracesRequest<'a> {
    /// A view of `bytes`. Nothing is read yet.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The groups of spans by resource. After an error the iterator ends.
    pub fn resource_spans(&self) -> impl Iterator<Item = Result<ResourceSpans<'a>, DecodeError>> + use<'a> {
        Payloads::new(self.bytes, 1).map(|payload| match payload {
            Ok(bytes) => Group::new(bytes, "ResourceSpans").map(|group| ResourceSpans {
                resource: group.head,
                schema_url: group.schema_url,
                scope_spans: group.members,
                in_pieces: group.in_pieces,
            }),
            Err(problem) => Err(DecodeError::protobuf("ExportTraceServiceRequest", problem)),
        })
    }
}

/// The shape that `ResourceSpans`, `ScopeSpans`, `ResourceLogs` and `ScopeLogs` share: an embedded
/// message as field 1, the members as field 2, a schema URL as field 3.
pub(super) struct Group<'a> {
    pub(super) head: &'a [u8],
    pub(super) members: &'a [u8],
    pub(super) schema_url: &'a [u8],
    pub(super) in_pieces: bool,
}

impl<'a> Group<'a> {
    pub(super) fn new(bytes: &'a [u8], name: &'static str) -> Result<Self, DecodeError> {
        Self::read(bytes).map_err(|problem| DecodeError::protobuf(name, problem))
    }

    fn read(bytes: &'a [u8]) -> Result<Self, Problem> {
        const KNOWN: u32 = 1 << 1 | 1 << 2 | 1 << 3;
        let mut group = Self { head: &[], members: &[], schema_url: &[], in_pieces: false };
        let mut extent = Extent::default();
        let mut has_head = false;
        let mut reader = Reader::new(bytes);
        loop {
            let before = reader.remaining();
            let Some(found) = reader.tag()? else { break };
            const HEAD: u32 = tag(1, BYTES);
            const MEMBER: u32 = tag(2, BYTES);
            const SCHEMA_URL: u32 = tag(3, BYTES);
            match found {
                MEMBER => {
                    reader.bytes()?;
                    extent.note(before, reader.remaining());
                }
                HEAD => {
                    group.head = reader.bytes()?;
                    group.in_pieces |= std::mem::replace(&mut has_head, true);
                }
                SCHEMA_URL => group.schema_url = reader.bytes()?,
                other => reader.skip_unknown(other, KNOWN)?,
            }
        }
        group.members = extent.of(bytes);
        Ok(group)
    }
}

/// The spans of one resource.
#[derive(Debug, Clone, Copy)]
pub struct ResourceSpans<'a> {
    /// The encoded `Resource`; empty if absent.
    pub resource: &'a [u8],
    /// Schema of the resource and of everything below that names none.
    pub schema_url: &'a [u8],
    scope_spans: &'a [u8],
    pub(super) in_pieces: bool,
}

impl<'a> ResourceSpans<'a> {
    /// The groups of spans by scope. After an error the iterator ends.
    pub fn scope_spans(&self) -> impl Iterator<Item = Result<ScopeSpans<'a>, DecodeError>> + use<'a> {
        Payloads::new(self.scope_spans, 2).map(|payload| match payload {
            Ok(bytes) => Group::new(bytes, "ScopeSpans").map(|group| ScopeSpans {
                scope: group.head,
                schema_url: group.schema_url,
                spans: group.members,
                in_pieces: group.in_pieces,
            }),
            Err(problem) => Err(DecodeError::protobuf("ResourceSpans", problem)),
        })
    }
}

/// The spans of one instrumentation scope.
#[derive(Debug, Clone, Copy)]
pub struct ScopeSpans<'a> {
    /// The encoded `InstrumentationScope`; empty if absent.
    pub scope: &'a [u8],
    /// Schema of the spans.
    pub schema_url: &'a [u8],
    spans: &'a [u8],
    pub(super) in_pieces: bool,
}

impl<'a> ScopeSpans<'a> {
    /// The encoded spans.
    #[inline]
    pub(super) fn encoded_spans(&self) -> Payloads<'a> {
        Payloads::new(self.spans, 2)
    }

    /// The spans, invalid ones included (see [`SpanView::invalid`]). After an error it ends.
    #[inline]
    pub fn spans(&self) -> impl Iterator<Item = Result<SpanView<'a>, DecodeError>> + use<'a> {
        Payloads::new(self.spans, 2).map(|payload| match payload {
            Ok(bytes) => SpanView::new(bytes),
            Err(problem) => Err(DecodeError::protobuf("ScopeSpans", problem)),
        })
    }
}

/// A span whose bytes are still those of the request.
#[derive(Debug, Clone, Copy, Default)]
pub struct SpanView<'a> {
    /// 16 bytes in a valid span.
    pub trace_id: &'a [u8],
    /// 8 bytes in a valid span.
    pub span_id: &'a [u8],
    /// As received; see [`SpanView::parent`].
    pub parent_span_id: &'a [u8],
    /// W3C `tracestate`.
    pub trace_state: &'a [u8],
    /// W3C flags in bits 0–7, "has is-remote" and "is-remote" in bits 8 and 9.
    pub flags: u32,
    /// Operation name; usually, not surely, UTF-8.
    pub name: &'a [u8],
    /// OTLP `SpanKind` as a number.
    pub kind: i32,
    /// Start, in nanoseconds since the Unix epoch.
    pub start_unix_nano: u64,
    /// End, in nanoseconds since the Unix epoch.
    pub end_unix_nano: u64,
    /// Attributes that the sender dropped.
    pub dropped_attributes_count: u32,
    /// Events that the sender dropped.
    pub dropped_events_count: u32,
    /// Links that the sender dropped.
    pub dropped_links_count: u32,
    /// OTLP `StatusCode` as a number.
    pub status_code: i32,
    /// The developer's words for an error.
    pub status_message: &'a [u8],
    /// There is at least one event.
    pub has_events: bool,
    /// There is at least one link.
    pub has_links: bool,
    /// The encoded `Span`.
    pub raw: &'a [u8],
    attributes: Extent,
    events: Extent,
    links: Extent,
}

/// Why a span must be rejected: without these ids it belongs to no trace and nothing can refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpan {
    /// The trace id is missing, of another length, or zero.
    #[error("the trace id is not 16 bytes with at least one other than zero")]
    TraceId,
    /// The span id is missing, of another length, or zero.
    #[error("the span id is not 8 bytes with at least one other than zero")]
    SpanId,
}

impl<'a> SpanView<'a> {
    /// Reads an encoded `Span`: its own fields and its status, not what attributes, events and links hold.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::read(bytes).map_err(|problem| DecodeError::protobuf("Span", problem))
    }

    #[inline]
    fn read(bytes: &'a [u8]) -> Result<Self, Problem> {
        Self::read_with(bytes, |_| {})
    }

    /// As [`SpanView::new`], showing each encoded attribute to `see` on the way.
    #[inline(always)]
    pub(super) fn read_with(bytes: &'a [u8], mut see: impl FnMut(&'a [u8])) -> Result<Self, Problem> {
        const KNOWN: u32 = 0b1_1111_1111_1111_1110;
        let mut span = Self { raw: bytes, ..Self::default() };
        let mut reader = Reader::new(bytes);
        loop {
            let before = reader.remaining();
            let Some(found) = reader.tag()? else { break };
            const TRACE_ID: u32 = tag(1, BYTES);
            const SPAN_ID: u32 = tag(2, BYTES);
            const TRACE_STATE: u32 = tag(3, BYTES);
            const PARENT_SPAN_ID: u32 = tag(4, BYTES);
            const NAME: u32 = tag(5, BYTES);
            const KIND: u32 = tag(6, VARINT);
            const START: u32 = tag(7, FIXED64);
            const END: u32 = tag(8, FIXED64);
            const ATTRIBUTE: u32 = tag(9, BYTES);
            const DROPPED_ATTRIBUTES: u32 = tag(10, VARINT);
            const EVENT: u32 = tag(11, BYTES);
            const DROPPED_EVENTS: u32 = tag(12, VARINT);
            const LINK: u32 = tag(13, BYTES);
            const DROPPED_LINKS: u32 = tag(14, VARINT);
            const STATUS: u32 = tag(15, BYTES);
            const FLAGS: u32 = tag(16, FIXED32);
            match found {
                ATTRIBUTE => {
                    see(reader.bytes()?);
                    span.attributes.note(before, reader.remaining());
                }
                TRACE_ID => span.trace_id = reader.bytes()?,
                SPAN_ID => span.span_id = reader.bytes()?,
                TRACE_STATE => span.trace_state = reader.bytes()?,
                PARENT_SPAN_ID => span.parent_span_id = reader.bytes()?,
                NAME => span.name = reader.bytes()?,
                KIND => span.kind = reader.varint()? as i32,
                START => span.start_unix_nano = reader.fixed64()?,
                END => span.end_unix_nano = reader.fixed64()?,
                DROPPED_ATTRIBUTES => span.dropped_attributes_count = reader.varint()? as u32,
                EVENT => {
                    reader.bytes()?;
                    span.events.note(before, reader.remaining());
                }
                DROPPED_EVENTS => span.dropped_events_count = reader.varint()? as u32,
                LINK => {
                    reader.bytes()?;
                    span.links.note(before, reader.remaining());
                }
                DROPPED_LINKS => span.dropped_links_count = reader.varint()? as u32,
                STATUS => span.read_status(reader.bytes()?)?,
                FLAGS => span.flags = reader.fixed32()?,
                other => reader.skip_unknown(other, KNOWN)?,
            }
        }
        span.has_events = !span.events.is_empty();
        span.has_links = !span.links.is_empty();
        Ok(span)
    }

    /// Called once per occurrence, so that a status in two pieces is merged.
    #[inline]
    fn read_status(&mut self, bytes: &'a [u8]) -> Result<(), Problem> {
        const KNOWN: u32 = 1 << 2 | 1 << 3;
        let mut reader = Reader::new(bytes);
        while let Some(found) = reader.tag()? {
            const MESSAGE: u32 = tag(2, BYTES);
            const CODE: u32 = tag(3, VARINT);
            match found {
                MESSAGE => self.status_message = reader.bytes()?,
                CODE => self.status_code = reader.varint()? as i32,
                other => reader.skip_unknown(other, KNOWN)?,
            }
        }
        Ok(())
    }

    /// The attributes in the order received. After an error the iterator ends.
    #[inline]
    pub fn attributes(&self) -> impl Iterator<Item = Result<KeyValueView<'a>, DecodeError>> + use<'a> {
        attributes(self.attributes.of(self.raw), 9, "Span")
    }

    pub(super) fn attribute_extent(&self) -> &'a [u8] {
        self.attributes.of(self.raw)
    }

    pub(super) fn event_extent(&self) -> &'a [u8] {
        self.events.of(self.raw)
    }

    pub(super) fn link_extent(&self) -> &'a [u8] {
        self.links.of(self.raw)
    }

    /// The encoded events in the order received; see [`super::decode_event`].
    pub fn events(&self) -> impl Iterator<Item = Result<&'a [u8], DecodeError>> + use<'a> {
        Payloads::new(self.events.of(self.raw), 11)
            .map(|payload| payload.map_err(|problem| DecodeError::protobuf("Span", problem)))
    }

    /// The encoded links in the order received; see [`super::decode_link`].
    pub fn links(&self) -> impl Iterator<Item = Result<&'a [u8], DecodeError>> + use<'a> {
        Payloads::new(self.links.of(self.raw), 13)
            .map(|payload| payload.map_err(|problem| DecodeError::protobuf("Span", problem)))
    }

    /// Why the span must be rejected, if it must.
    #[inline]
    pub fn invalid(&self) -> Option<InvalidSpan> {
        if self.trace().is_none() {
            Some(InvalidSpan::TraceId)
        } else if self.span().is_none() {
            Some(InvalidSpan::SpanId)
        } else {
            None
        }
    }

    /// The trace id, if it is valid.
    #[inline]
    pub fn trace(&self) -> Option<TraceId> {
        TraceId::from_slice(self.trace_id).filter(|id| !id.is_zero())
    }

    /// The span id, if it is valid.
    #[inline]
    pub fn span(&self) -> Option<SpanId> {
        SpanId::from_slice(self.span_id).filter(|id| !id.is_zero())
    }

    /// The parent. An id of another length than 8 bytes is no parent, and neither is zero.
    #[inline]
    pub fn parent(&self) -> Option<SpanId> {
        SpanId::from_slice(self.parent_span_id).filter(|id| !id.is_zero())
    }
}
