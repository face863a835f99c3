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

    /// The attribute, if it is of the shape that nearly every attribute has: a short key, then a value
    /// that is one short text, one number or one truth value, and nothing else.
    #[inline(always)]
    pub(crate) fn plain(bytes: &'a [u8]) -> Option<Self> {
        const KEY: u8 = tag(1, BYTES) as u8;
        const VALUE: u8 = tag(2, BYTES) as u8;
        const STRING: u8 = tag(1, BYTES) as u8;
        const BOOL: u8 = tag(2, VARINT) as u8;
        const INT: u8 = tag(3, VARINT) as u8;
        const DOUBLE: u8 = tag(4, FIXED64) as u8;
        let [KEY, key_length @ 0..0x80, rest @ ..] = bytes else { return None };
        let (key, rest) = rest.split_at_checked(usize::from(*key_length))?;
        let [VALUE, value_length @ 0..0x80, value @ ..] = rest else { return None };
        if value.len() != usize::from(*value_length) {
            return None;
        }
        let value = match value {
            [STRING, length @ 0..0x80, text @ ..] if text.len() == usize::from(*length) => ValueView::Str(text),
            [INT, number @ 0..0x80] => ValueView::Int(i64::from(*number)),
            [INT, low @ 0x80..=0xff, high @ 0..0x80] => ValueView::Int(i64::from(*low & 0x7f) | i64::from(*high) << 7),
            [BOOL, truth @ 0..0x80] => ValueView::Bool(*truth != 0),
            [DOUBLE, bits @ ..] => ValueView::Double(f64::from_le_bytes(bits.try_into().ok()?)),
            _ => return None,
        };
        Some(Self { key, value, in_pieces: false })
    }

    #[inline(always)]
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Problem> {
        match Self::plain(bytes) {
            Some(plain) => Ok(plain),
            None => Self::read_any(bytes),
        }
    }

    /// As [`KeyValueView::read`], of any shape.
    fn read_any(bytes: &'a [u8]) -> Result<Self, Problem> {
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
    #[inline]
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every short attribute over the bytes that matter is read the same on the short way and on the long.
    #[test]
    fn plain_attributes_are_read_as_any_other() {
        const ALPHABET: [u8; 12] = [0, 1, 2, 3, 4, 0x0a, 0x10, 0x12, 0x18, 0x21, 0x2a, 0x80];
        let mut plain = 0;
        for number in 0..ALPHABET.len().pow(6) {
            let mut attribute = vec![0x0a, 1, b'k'];
            let mut rest = number;
            for _ in 0..6 {
                attribute.push(ALPHABET[rest % ALPHABET.len()]);
                rest /= ALPHABET.len();
            }
            for length in 3..=attribute.len() {
                let attribute = &attribute[..length];
                if let Some(view) = KeyValueView::plain(attribute) {
                    assert_eq!(KeyValueView::read_any(attribute), Ok(view), "{attribute:?}");
                    plain += 1;
                }
            }
        }
        assert!(plain > 1_000);
        let double = [&[0x0a, 1, b'k', 0x12, 9, 0x21][..], &0.5f64.to_le_bytes()].concat();
        assert_eq!(KeyValueView::plain(&double).map(|view| view.value), Some(ValueView::Double(0.5)));
        assert_eq!(KeyValueView::plain(&double), KeyValueView::read_any(&double).ok());
    }
}
