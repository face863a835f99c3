//! Borrowed views of the small messages: `Resource`, `InstrumentationScope`, `Event`, `Link`.

use super::pb::{BYTES, Extent, FIXED32, FIXED64, Payloads, Reader, VARINT, tag};
use super::value::{KeyValueView, attributes};
use crate::{DecodeError, Problem};

/// A `Resource` or an `InstrumentationScope`, the messages that stand at the head of a group.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HeadView<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) version: &'a [u8],
    pub(crate) dropped_attributes_count: u32,
    attributes: Extent,
    attributes_field: u32,
    entity_refs: Extent,
    raw: &'a [u8],
}

impl<'a> HeadView<'a> {
    pub(crate) fn resource(bytes: &'a [u8]) -> Result<Self, Problem> {
        const KNOWN: u32 = 1 << 1 | 1 << 2 | 1 << 3;
        let mut resource = Self { raw: bytes, attributes_field: 1, ..Self::default() };
        let mut reader = Reader::new(bytes);
        loop {
            let before = reader.remaining();
            let Some(found) = reader.tag()? else { break };
            const ATTRIBUTE: u32 = tag(1, BYTES);
            const DROPPED_ATTRIBUTES: u32 = tag(2, VARINT);
            const ENTITY_REF: u32 = tag(3, BYTES);
            match found {
                ATTRIBUTE => {
                    reader.bytes()?;
                    resource.attributes.note(before, reader.remaining());
                }
                DROPPED_ATTRIBUTES => resource.dropped_attributes_count = reader.varint()? as u32,
                ENTITY_REF => {
                    reader.bytes()?;
                    resource.entity_refs.note(before, reader.remaining());
                }
                other => reader.skip_unknown(other, KNOWN)?,
            }
        }
        Ok(resource)
    }

    pub(crate) fn scope(bytes: &'a [u8]) -> Result<Self, Problem> {
        const KNOWN: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4;
        let mut scope = Self { raw: bytes, attributes_field: 3, ..Self::default() };
        let mut reader = Reader::new(bytes);
        loop {
            let before = reader.remaining();
            let Some(found) = reader.tag()? else { break };
            const NAME: u32 = tag(1, BYTES);
            const VERSION: u32 = tag(2, BYTES);
            const ATTRIBUTE: u32 = tag(3, BYTES);
            const DROPPED_ATTRIBUTES: u32 = tag(4, VARINT);
            match found {
                NAME => scope.name = reader.bytes()?,
                VERSION => scope.version = reader.bytes()?,
                ATTRIBUTE => {
                    reader.bytes()?;
                    scope.attributes.note(before, reader.remaining());
                }
                DROPPED_ATTRIBUTES => scope.dropped_attributes_count = reader.varint()? as u32,
                other => reader.skip_unknown(other, KNOWN)?,
            }
        }
        Ok(scope)
    }

    /// The bytes that hold the attributes, and the number of their field.
    pub(crate) fn attribute_extent(&self) -> (&'a [u8], u32) {
        (self.attributes.of(self.raw), self.attributes_field)
    }

    /// The encoded `EntityRef`s of a resource.
    pub(crate) fn entity_refs(&self) -> Payloads<'a> {
        Payloads::new(self.entity_refs.of(self.raw), 3)
    }
}

/// An `EntityRef`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EntityRefView<'a> {
    pub(crate) schema_url: &'a [u8],
    pub(crate) kind: &'a [u8],
    raw: &'a [u8],
}

impl<'a> EntityRefView<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Problem> {
        const KNOWN: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4;
        let mut entity = Self { raw: bytes, ..Self::default() };
        let mut reader = Reader::new(bytes);
        while let Some(found) = reader.tag()? {
            const SCHEMA_URL: u32 = tag(1, BYTES);
            const KIND: u32 = tag(2, BYTES);
            const ID_KEY: u32 = tag(3, BYTES);
            const DESCRIPTION_KEY: u32 = tag(4, BYTES);
            match found {
                SCHEMA_URL => entity.schema_url = reader.bytes()?,
                KIND => entity.kind = reader.bytes()?,
                ID_KEY | DESCRIPTION_KEY => drop(reader.bytes()?),
                other => reader.skip_unknown(other, KNOWN)?,
            }
        }
        Ok(entity)
    }

    pub(crate) fn id_keys(&self) -> Payloads<'a> {
        Payloads::new(self.raw, 3)
    }

    pub(crate) fn description_keys(&self) -> Payloads<'a> {
        Payloads::new(self.raw, 4)
    }
}

/// An event whose bytes are still those of the request.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventView<'a> {
    /// When, in nanoseconds since the Unix epoch.
    pub time_unix_nano: u64,
    /// What; usually, not surely, UTF-8.
    pub name: &'a [u8],
    /// Attributes that the sender dropped.
    pub dropped_attributes_count: u32,
    pub(super) attributes: Extent,
    pub(super) raw: &'a [u8],
}

impl<'a> EventView<'a> {
    /// Reads an encoded `Span.Event`.
    pub fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::read(bytes).map_err(|problem| DecodeError::protobuf("Event", problem))
    }

    fn read(bytes: &'a [u8]) -> Result<Self, Problem> {
        const KNOWN: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4;
        let mut event = Self { raw: bytes, ..Self::default() };
        let mut reader = Reader::new(bytes);
        loop {
            let before = reader.remaining();
            let Some(found) = reader.tag()? else { break };
            const TIME: u32 = tag(1, FIXED64);
            const NAME: u32 = tag(2, BYTES);
            const ATTRIBUTE: u32 = tag(3, BYTES);
            const DROPPED_ATTRIBUTES: u32 = tag(4, VARINT);
            match found {
                TIME => event.time_unix_nano = reader.fixed64()?,
                NAME => event.name = reader.bytes()?,
                ATTRIBUTE => {
                    reader.bytes()?;
                    event.attributes.note(before, reader.remaining());
                }
                DROPPED_ATTRIBUTES => event.dropped_attributes_count = reader.varint()? as u32,
                other => reader.skip_unknown(other, KNOWN)?,
            }
        }
        Ok(event)
    }

    /// The attributes in the order received. After an error the iterator ends.
    pub fn attributes(&self) -> impl Iterator<Item = Result<KeyValueView<'a>, DecodeError>> + use<'a> {
        attributes(self.attributes.of(self.raw), 3, "Event")
    }
}

/// A link whose bytes are still those of the request.
#[derive(Debug, Clone, Copy, Default)]
pub struct LinkView<'a> {
    /// Trace of the linked span, as received.
    pub trace_id: &'a [u8],
    /// The linked span, as received.
    pub span_id: &'a [u8],
    /// Its W3C `tracestate`.
    pub trace_state: &'a [u8],
    /// Attributes that the sender dropped.
    pub dropped_attributes_count: u32,
    /// W3C flags, as [`super::view::SpanView::flags`].
    pub flags: u32,
    pub(super) attributes: Extent,
    pub(super) raw: &'a [u8],
}

impl<'a> LinkView<'a> {
    /// Reads an encoded `Span.Link`.
    pub fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::read(bytes).map_err(|problem| DecodeError::protobuf("Link", problem))
    }

    fn read(bytes: &'a [u8]) -> Result<Self, Problem> {
        const KNOWN: u32 = 0b111_1110;
        let mut link = Self { raw: bytes, ..Self::default() };
        let mut reader = Reader::new(bytes);
        loop {
            let before = reader.remaining();
            let Some(found) = reader.tag()? else { break };
            const TRACE_ID: u32 = tag(1, BYTES);
            const SPAN_ID: u32 = tag(2, BYTES);
            const TRACE_STATE: u32 = tag(3, BYTES);
            const ATTRIBUTE: u32 = tag(4, BYTES);
            const DROPPED_ATTRIBUTES: u32 = tag(5, VARINT);
            const FLAGS: u32 = tag(6, FIXED32);
            match found {
                TRACE_ID => link.trace_id = reader.bytes()?,
                SPAN_ID => link.span_id = reader.bytes()?,
                TRACE_STATE => link.trace_state = reader.bytes()?,
                ATTRIBUTE => {
                    reader.bytes()?;
                    link.attributes.note(before, reader.remaining());
                }
                DROPPED_ATTRIBUTES => link.dropped_attributes_count = reader.varint()? as u32,
                FLAGS => link.flags = reader.fixed32()?,
                other => reader.skip_unknown(other, KNOWN)?,
            }
        }
        Ok(link)
    }

    /// The attributes in the order received. After an error the iterator ends.
    pub fn attributes(&self) -> impl Iterator<Item = Result<KeyValueView<'a>, DecodeError>> + use<'a> {
        attributes(self.attributes.of(self.raw), 4, "Link")
    }
}
