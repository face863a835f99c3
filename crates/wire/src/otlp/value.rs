//! Borrowed views of `opentelemetry/proto/common/v1/common.proto` and `resource.proto`.

use super::pb::{BYTES, FIXED64, Payloads, Reader, VARINT, tag};
use crate::{DecodeError, Problem};

/// An attribute whose bytes are still those of the request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeyValueView<'a> {
    /// The attribute's name; usually, not surely, UTF-8.
    pub key: &'a [u8],
    /// Its value.
    pub value: ValueView<'a>,
    /// The sender wrote a part of this attribute in pieces that have to be merged.
    pub(crate) in_pieces: bool,
}

/// An `AnyValue` whose bytes are still those of the request.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum ValueView<'a> {
    /// No value is set.
    #[default]
    Empty,
    /// Text; usually, not surely, UTF-8.
    Str(&'a [u8]),
    /// A truth value.
    Bool(bool),
    /// A signed 64-bit integer.
    Int(i64),
    /// An IEEE 754 double.
    Double(f64),
    /// Arbitrary bytes.
    Bytes(&'a [u8]),
    /// An encoded `ArrayValue`; see [`ValueView::elements`].
    Array(&'a [u8]),
    /// An encoded `KeyValueList`; see [`ValueView::entries`].
    Map(&'a [u8]),
}

impl<'a> KeyValueView<'a> {
    /// Reads an encoded `KeyValue`.
    #[inline(always)]
    pub fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::read(bytes).map_err(|problem| DecodeError::protobuf("KeyValue", problem))
    }

    #[inline(always)]
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Problem> {
        const KNOWN: u32 = 1 << 1 | 1 << 2;
        let mut reader = Reader::new(bytes);
        let mut attribute = Self { key: &[], value: ValueView::Empty, in_pieces: false };
        let mut has_value = false;
        while let Some(found) = reader.tag()? {
            const KEY: u32 = tag(1, BYTES);
            const VALUE: u32 = tag(2, BYTES);
            match found {
                KEY => attribute.key = reader.bytes()?,
                VALUE => {
                    let (value, in_pieces) = ValueView::read(reader.bytes()?)?;
                    attribute.in_pieces |= in_pieces | has_value;
                    has_value = true;
                    // An empty second piece leaves the first as it is.
                    if value != ValueView::Empty {
                        attribute.value = value;
                    }
                }
                other => reader.skip_unknown(other, KNOWN)?,
            }
        }
        Ok(attribute)
    }
}

impl<'a> ValueView<'a> {
    /// Reads an encoded `AnyValue`.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        match Self::read(bytes) {
            Ok((value, _)) => Ok(value),
            Err(problem) => Err(DecodeError::protobuf("AnyValue", problem)),
        }
    }

    /// The value, and whether it came as two pieces of a list or a map that have to be merged.
    #[inline(always)]
    pub(crate) fn read(bytes: &'a [u8]) -> Result<(Self, bool), Problem> {
        const KNOWN: u32 = 0b1111_1110;
        let mut reader = Reader::new(bytes);
        let mut value = ValueView::Empty;
        let mut in_pieces = false;
        while let Some(found) = reader.tag()? {
            const STRING: u32 = tag(1, BYTES);
            const BOOL: u32 = tag(2, VARINT);
            const INT: u32 = tag(3, VARINT);
            const DOUBLE: u32 = tag(4, FIXED64);
            const ARRAY: u32 = tag(5, BYTES);
            const MAP: u32 = tag(6, BYTES);
            const RAW: u32 = tag(7, BYTES);
            value = match found {
                STRING => ValueView::Str(reader.bytes()?),
                BOOL => ValueView::Bool(reader.varint()? != 0),
                INT => ValueView::Int(reader.varint()? as i64),
                DOUBLE => ValueView::Double(f64::from_bits(reader.fixed64()?)),
                ARRAY => {
                    in_pieces |= matches!(value, ValueView::Array(_));
                    ValueView::Array(reader.bytes()?)
                }
                MAP => {
                    in_pieces |= matches!(value, ValueView::Map(_));
                    ValueView::Map(reader.bytes()?)
                }
                RAW => ValueView::Bytes(reader.bytes()?),
                other => {
                    reader.skip_unknown(other, KNOWN)?;
                    value
                }
            };
        }
        Ok((value, in_pieces))
    }

    /// The elements, if this is a list; otherwise nothing.
    pub fn elements(&self) -> impl Iterator<Item = Result<ValueView<'a>, DecodeError>> + use<'a> {
        let bytes = if let ValueView::Array(bytes) = self { bytes } else { &[][..] };
        Payloads::new(bytes, 1).map(|payload| match payload {
            Ok(bytes) => ValueView::new(bytes),
            Err(problem) => Err(DecodeError::protobuf("ArrayValue", problem)),
        })
    }

    /// The entries, if this is a map; otherwise nothing.
    pub fn entries(&self) -> impl Iterator<Item = Result<KeyValueView<'a>, DecodeError>> + use<'a> {
        let bytes = if let ValueView::Map(bytes) = self { bytes } else { &[][..] };
        attributes(bytes, 1, "KeyValueList")
    }
}

/// The `KeyValue`s in field number `field` of the message `name`.
#[inline]
pub(crate) fn attributes<'a>(
    bytes: &'a [u8],
    field: u32,
    name: &'static str,
) -> impl Iterator<Item = Result<KeyValueView<'a>, DecodeError>> + use<'a> {
    Payloads::new(bytes, field).map(move |payload| match payload {
        Ok(bytes) => KeyValueView::new(bytes),
        Err(problem) => Err(DecodeError::protobuf(name, problem)),
    })
}
