//! A writer for the few protobuf shapes that OTLP consists of (protobuf encoding guide; OTLP 1.11).
//!
//! Messages are appended to one buffer. Nested messages are written in place and their length is put
//! before them afterwards, so that no message is built twice.

use crate::Value;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
pub(crate) const BYTES: u32 = 2;
const FIXED32: u32 = 5;

/// Longest varint in bytes.
const VARINT_BYTES_MAX: usize = 10;

pub(crate) fn varint(buffer: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        buffer.push(number as u8 | 0x80);
        number >>= 7;
    }
    buffer.push(number as u8);
}

pub(crate) fn tag(buffer: &mut Vec<u8>, field: u32, wire: u32) {
    varint(buffer, u64::from(field << 3 | wire));
}

pub(crate) fn uint(buffer: &mut Vec<u8>, field: u32, number: u64) {
    tag(buffer, field, VARINT);
    varint(buffer, number);
}

pub(crate) fn fixed64(buffer: &mut Vec<u8>, field: u32, number: u64) {
    tag(buffer, field, FIXED64);
    buffer.extend_from_slice(&number.to_le_bytes());
}

pub(crate) fn fixed32(buffer: &mut Vec<u8>, field: u32, number: u32) {
    tag(buffer, field, FIXED32);
    buffer.extend_from_slice(&number.to_le_bytes());
}

pub(crate) fn bytes(buffer: &mut Vec<u8>, field: u32, content: &[u8]) {
    tag(buffer, field, BYTES);
    varint(buffer, content.len() as u64);
    buffer.extend_from_slice(content);
}

/// A nested message whose fields `write` appends.
pub(crate) fn message(buffer: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    tag(buffer, field, BYTES);
    let start = buffer.len();
    // Most messages are shorter than 128 bytes: one byte is kept free for their length.
    buffer.push(0);
    write(buffer);
    let length = buffer.len() - start - 1;
    if length < 0x80 {
        buffer[start] = length as u8;
        return;
    }
    let mut digits = Vec::with_capacity(VARINT_BYTES_MAX);
    varint(&mut digits, length as u64);
    buffer.splice(start..=start, digits);
}

/// An `AnyValue` as `field`.
pub(crate) fn any_value(buffer: &mut Vec<u8>, field: u32, value: ValueRef<'_>) {
    message(buffer, field, |buffer| match value {
        ValueRef::Str(text) => bytes(buffer, 1, text.as_bytes()),
        ValueRef::Bool(truth) => uint(buffer, 2, u64::from(truth)),
        ValueRef::Int(number) => uint(buffer, 3, number as u64),
        ValueRef::Double(number) => fixed64(buffer, 4, number.to_bits()),
        ValueRef::Array(values) => message(buffer, 5, |buffer| {
            for value in values {
                any_value(buffer, 1, value.as_ref());
            }
        }),
        ValueRef::Bytes(content) => bytes(buffer, 7, content),
    });
}

/// Bytes of a varint.
pub(crate) fn varint_len(number: u64) -> usize {
    // 7 bits a byte: 9/64 is near enough to 1/7 for all 64 lengths.
    ((64 - (number | 1).leading_zeros() as usize) * 9 + 64) / 64
}

/// A `KeyValue` as `field`.
pub(crate) fn key_value(buffer: &mut Vec<u8>, field: u32, key: &str, value: ValueRef<'_>) {
    if field < 16 && short_key_value(buffer, field as u8, key.as_bytes(), value) {
        return;
    }
    message(buffer, field, |buffer| {
        bytes(buffer, 1, key.as_bytes());
        any_value(buffer, 2, value);
    });
}

/// Writes what nearly every attribute is: a single value, all in all shorter than 128 bytes, so that each
/// length is one byte and known beforehand. False where the attribute is not like that.
fn short_key_value(buffer: &mut Vec<u8>, field: u8, key: &[u8], value: ValueRef<'_>) -> bool {
    // Tag and content of the AnyValue.
    let mut scalar = [0u8; 1 + VARINT_BYTES_MAX];
    let (scalar, text): (&[u8], &[u8]) = match value {
        ValueRef::Str(text) if text.len() < 0x80 => {
            scalar[..2].copy_from_slice(&[1 << 3 | BYTES as u8, text.len() as u8]);
            (&scalar[..2], text.as_bytes())
        }
        ValueRef::Bool(truth) => {
            scalar[..2].copy_from_slice(&[2 << 3, u8::from(truth)]);
            (&scalar[..2], &[])
        }
        ValueRef::Int(number) => {
            scalar[0] = 3 << 3;
            let (mut rest, mut at) = (number as u64, 1);
            while rest >= 0x80 {
                scalar[at] = rest as u8 | 0x80;
                (rest, at) = (rest >> 7, at + 1);
            }
            scalar[at] = rest as u8;
            (&scalar[..=at], &[])
        }
        ValueRef::Double(number) => {
            scalar[0] = 4 << 3 | FIXED64 as u8;
            scalar[1..9].copy_from_slice(&number.to_bits().to_le_bytes());
            (&scalar[..9], &[])
        }
        _ => return false,
    };
    let value_len = scalar.len() + text.len();
    let len = 2 + key.len() + 2 + value_len;
    if len >= 0x80 {
        return false;
    }
    buffer.reserve(2 + len);
    buffer.extend_from_slice(&[field << 3 | BYTES as u8, len as u8, 1 << 3 | BYTES as u8, key.len() as u8]);
    buffer.extend_from_slice(key);
    buffer.extend_from_slice(&[2 << 3 | BYTES as u8, value_len as u8]);
    buffer.extend_from_slice(scalar);
    buffer.extend_from_slice(text);
    true
}

/// A borrowed [`Value`].
#[derive(Clone, Copy)]
pub(crate) enum ValueRef<'a> {
    Str(&'a str),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(&'a [u8]),
    Array(&'a [Value]),
}

/// Reads one varint; `None` where the bytes end or never stop.
pub(crate) fn read_varint(input: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..VARINT_BYTES_MAX).map(|index| 7 * index) {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift as u32)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// A field of a message, with its whole encoding.
pub(crate) struct Field<'a> {
    pub(crate) number: u64,
    /// The value of a varint field.
    pub(crate) varint: u64,
    /// The content of a length-delimited field.
    pub(crate) content: &'a [u8],
    /// Tag and value as they stand in the message.
    pub(crate) whole: &'a [u8],
}

/// Reads the next field and moves `input` behind it; `None` at the end or where the bytes are not protobuf.
pub(crate) fn next_field<'a>(input: &mut &'a [u8]) -> Option<Field<'a>> {
    let whole = *input;
    let tag = read_varint(input)?;
    let mut field = Field { number: tag >> 3, varint: 0, content: &[], whole: &[] };
    let length = match (tag & 7) as u32 {
        VARINT => {
            field.varint = read_varint(input)?;
            0
        }
        FIXED64 => 8,
        FIXED32 => 4,
        BYTES => usize::try_from(read_varint(input)?).ok()?,
        _ => return None,
    };
    let (content, rest) = input.split_at_checked(length)?;
    *input = rest;
    field.content = content;
    field.whole = whole.get(..whole.len() - rest.len())?;
    Some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_any_length_gets_its_length_in_front() {
        for length in [0usize, 1, 127, 128, 300, 20_000] {
            let mut buffer = Vec::new();
            message(&mut buffer, 2, |buffer| buffer.resize(buffer.len() + length, 7));
            let mut input = buffer.as_slice();
            let field = next_field(&mut input).unwrap();
            assert_eq!((field.number, field.content.len(), field.whole.len()), (2, length, buffer.len()));
            assert!(input.is_empty() && next_field(&mut input).is_none());
        }
    }

    #[test]
    fn the_short_way_writes_the_same_bytes() {
        let texts = ["", "a", &"b".repeat(100), &"c".repeat(127), &"d".repeat(128), &"e".repeat(300)];
        let numbers = [0, 1, 127, 128, -1, i64::MAX, i64::MIN, 1 << 35];
        let values = texts.iter().map(|text| ValueRef::Str(text));
        let values = values.chain(numbers.iter().map(|number| ValueRef::Int(*number)));
        for value in values.chain([ValueRef::Bool(true), ValueRef::Bool(false), ValueRef::Double(-0.5)]) {
            for key in ["", "key", &"k".repeat(120), &"k".repeat(200)] {
                let (mut ours, mut plain) = (Vec::new(), Vec::new());
                key_value(&mut ours, 9, key, value);
                message(&mut plain, 9, |buffer| {
                    bytes(buffer, 1, key.as_bytes());
                    any_value(buffer, 2, value);
                });
                assert_eq!(ours, plain);
            }
        }
    }

    #[test]
    fn the_length_of_a_varint_is_known() {
        for shift in 0..64 {
            for number in [1u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let mut buffer = Vec::new();
                varint(&mut buffer, number);
                assert_eq!(varint_len(number), buffer.len(), "{number}");
            }
        }
    }

    #[test]
    fn cut_input_ends_the_reading() {
        let mut buffer = Vec::new();
        bytes(&mut buffer, 1, b"abc");
        for end in 0..buffer.len() {
            assert!(next_field(&mut &buffer[..end]).is_none());
        }
        assert!(read_varint(&mut [0xff; 11].as_slice()).is_none());
    }
}
