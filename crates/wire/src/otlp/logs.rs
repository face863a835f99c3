//! Borrowed views of `opentelemetry/proto/logs/v1/logs.proto`.

use tracewell_model::{SpanId, TraceId};

use super::pb::{BYTES, Extent, FIXED32, FIXED64, Payloads, Reader, VARINT, tag};
use super::value::{KeyValueView, ValueView, attributes};
use super::view::Group;
use crate::{DecodeError, Problem};

/// An encoded `ExportLogsServiceRequest`, which has the shape of `LogsData`.
#[derive(Debug, Clone, Copy)]
pub struct LogsRequest<'a> {
    bytes: &'a [u8],
}

impl<'a> LogsRequest<'a> {
    /// A view of `bytes`. Nothing is read yet.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The groups of records by resource. After an error the iterator ends.
    pub fn resource_logs(&self) -> impl Iterator<Item = Result<ResourceLogs<'a>, DecodeError>> + use<'a> {
        Payloads::new(self.bytes, 1).map(|payload| match payload {
            Ok(bytes) => Group::new(bytes, "ResourceLogs").map(|group| ResourceLogs {
                resource: group.head,
                schema_url: group.schema_url,
                scope_logs: group.members,
                in_pieces: group.in_pieces,
            }),
            Err(problem) => Err(DecodeError::protobuf("ExportLogsServiceRequest", problem)),
        })
    }
}

/// The log records of one resource.
#[derive(Debug, Clone, Copy)]
pub struct ResourceLogs<'a> {
    /// The encoded `Resource`; empty if absent.
    pub resource: &'a [u8],
    /// Schema of the resource and of everything below that names none.
    pub schema_url: &'a [u8],
    scope_logs: &'a [u8],
    pub(super) in_pieces: bool,
}

impl<'a> ResourceLogs<'a> {
    /// The groups of records by scope. After an error the iterator ends.
    pub fn scope_logs(&self) -> impl Iterator<Item = Result<ScopeLogs<'a>, DecodeError>> + use<'a> {
        Payloads::new(self.scope_logs, 2).map(|payload| match payload {
            Ok(bytes) => Group::new(bytes, "ScopeLogs").map(|group| ScopeLogs {
                scope: group.head,
                schema_url: group.schema_url,
                log_records: group.members,
                in_pieces: group.in_pieces,
            }),
            Err(problem) => Err(DecodeError::protobuf("ResourceLogs", problem)),
        })
    }
}

/// The log records of one instrumentation scope.
#[derive(Debug, Clone, Copy)]
pub struct ScopeLogs<'a> {
    /// The encoded `InstrumentationScope`; empty if absent.
    pub scope: &'a [u8],
    /// Schema of the records.
    pub schema_url: &'a [u8],
    log_records: &'a [u8],
    pub(super) in_pieces: bool,
}

impl<'a> ScopeLogs<'a> {
    /// The records. After an error the iterator ends.
    pub fn log_records(&self) -> impl Iterator<Item = Result<LogView<'a>, DecodeError>> + use<'a> {
        Payloads::new(self.log_records, 2).map(|payload| match payload {
            Ok(bytes) => LogView::new(bytes),
            Err(problem) => Err(DecodeError::protobuf("ScopeLogs", problem)),
        })
    }
}

/// A log record whose bytes are still those of the request.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogView<'a> {
    /// When it happened, in nanoseconds since the Unix epoch; 0 if unknown.
    pub time_unix_nano: u64,
    /// When the collection system saw it, in nanoseconds since the Unix epoch.
    pub observed_time_unix_nano: u64,
    /// OTLP `SeverityNumber`.
    pub severity_number: i32,
    /// The severity as the source spelled it.
    pub severity_text: &'a [u8],
    /// The message, text or structured.
    pub body: ValueView<'a>,
    /// Attributes that the sender dropped.
    pub dropped_attributes_count: u32,
    /// W3C flags in bits 0–7.
    pub flags: u32,
    /// As received; see [`LogView::trace`].
    pub trace_id: &'a [u8],
    /// As received; see [`LogView::span`].
    pub span_id: &'a [u8],
    /// Name of the event that this record is, if it is one.
    pub event_name: &'a [u8],
    /// The encoded `LogRecord`.
    pub raw: &'a [u8],
    attributes: Extent,
    pub(super) in_pieces: bool,
}

impl<'a> LogView<'a> {
    /// Reads an encoded `LogRecord`: its own fields, not what attributes and a structured body hold.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::read(bytes).map_err(|problem| DecodeError::protobuf("LogRecord", problem))
    }

    #[inline]
    fn read(bytes: &'a [u8]) -> Result<Self, Problem> {
        const KNOWN: u32 = 0b1_1111_1110_1110;
        let mut log = Self { raw: bytes, ..Self::default() };
        let mut has_body = false;
        let mut reader = Reader::new(bytes);
        loop {
            let before = reader.remaining();
            let Some(found) = reader.tag()? else { break };
            const TIME: u32 = tag(1, FIXED64);
            const SEVERITY_NUMBER: u32 = tag(2, VARINT);
            const SEVERITY_TEXT: u32 = tag(3, BYTES);
            const BODY: u32 = tag(5, BYTES);
            const ATTRIBUTE: u32 = tag(6, BYTES);
            const DROPPED_ATTRIBUTES: u32 = tag(7, VARINT);
            const FLAGS: u32 = tag(8, FIXED32);
            const TRACE_ID: u32 = tag(9, BYTES);
            const SPAN_ID: u32 = tag(10, BYTES);
            const OBSERVED_TIME: u32 = tag(11, FIXED64);
            const EVENT_NAME: u32 = tag(12, BYTES);
            match found {
                ATTRIBUTE => {
                    reader.bytes()?;
                    log.attributes.note(before, reader.remaining());
                }
                TIME => log.time_unix_nano = reader.fixed64()?,
                SEVERITY_NUMBER => log.severity_number = reader.varint()? as i32,
                SEVERITY_TEXT => log.severity_text = reader.bytes()?,
                BODY => {
                    let (value, in_pieces) = ValueView::read(reader.bytes()?)?;
                    log.in_pieces |= in_pieces | std::mem::replace(&mut has_body, true);
                    if value != ValueView::Empty {
                        log.body = value;
                    }
                }
                DROPPED_ATTRIBUTES => log.dropped_attributes_count = reader.varint()? as u32,
                FLAGS => log.flags = reader.fixed32()?,
                TRACE_ID => log.trace_id = reader.bytes()?,
                SPAN_ID => log.span_id = reader.bytes()?,
                OBSERVED_TIME => log.observed_time_unix_nano = reader.fixed64()?,
                EVENT_NAME => log.event_name = reader.bytes()?,
                other => reader.skip_unknown(other, KNOWN)?,
            }
        }
        Ok(log)
    }

    /// The attributes in the order received. After an error the iterator ends.
    #[inline]
    pub fn attributes(&self) -> impl Iterator<Item = Result<KeyValueView<'a>, DecodeError>> + use<'a> {
        attributes(self.attributes.of(self.raw), 6, "LogRecord")
    }

    pub(super) fn attribute_extent(&self) -> &'a [u8] {
        self.attributes.of(self.raw)
    }

    /// The trace, if the record names one. An id of a wrong length or zero means none, as the
    /// protocol's comments on `LogRecord.trace_id` say.
    #[inline]
    pub fn trace(&self) -> Option<TraceId> {
        TraceId::from_slice(self.trace_id).filter(|id| !id.is_zero())
    }

    /// The span, if the record names one; as [`LogView::trace`].
    #[inline]
    pub fn span(&self) -> Option<SpanId> {
        SpanId::from_slice(self.span_id).filter(|id| !id.is_zero())
    }
}
