//! Just enough of the protobuf wire format to write OTLP: varints, fixed-width numbers, length-prefixed bytes.
//!
//! The generator writes bytes and not the store's own types on purpose: the load must not share code with the
//! decoder that it measures.

/// An attribute's value.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// Text.
    Str(&'a [u8]),
    /// Integer.
    Int(i64),
    /// Double.
    Double(f64),
    /// Truth value.
    Bool(bool),
    /// A list with one text.
    List(&'a [u8]),
}

/// Tag of a length-prefixed field; field numbers below 16 take one byte.
pub const fn bytes_tag(field: u8) -> u8 {
    field << 3 | 2
}

/// Appends a varint.
#[inline]
pub fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Bytes that a varint takes.
#[inline]
pub fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends a varint field.
#[inline]
pub fn number(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3);
    varint(out, value);
}

/// Appends a fixed 64-bit field.
#[inline]
pub fn fixed64(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a fixed 32-bit field.
#[inline]
pub fn fixed32(out: &mut Vec<u8>, tag: &[u8], value: u32) {
    out.extend_from_slice(tag);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a length-prefixed field.
#[inline]
pub fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    out.push(bytes_tag(field));
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Length of a length-prefixed field with a value of `len` bytes.
#[inline]
pub fn bytes_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

/// Appends a field that holds a `KeyValue`.
#[inline]
pub fn attribute(out: &mut Vec<u8>, field: u8, key: &str, value: Value<'_>) {
    let any_len = match value {
        Value::Str(text) => bytes_len(text.len()),
        Value::Int(number) => 1 + varint_len(number as u64),
        Value::Double(_) => 9,
        Value::Bool(_) => 2,
        Value::List(text) => bytes_len(bytes_len(bytes_len(text.len()))),
    };
    out.push(bytes_tag(field));
    varint(out, (bytes_len(key.len()) + bytes_len(any_len)) as u64);
    bytes(out, 1, key.as_bytes());
    out.push(bytes_tag(2));
    varint(out, any_len as u64);
    match value {
        Value::Str(text) => bytes(out, 1, text),
        Value::Bool(truth) => number(out, 2, u64::from(truth)),
        Value::Int(integer) => number(out, 3, integer as u64),
        Value::Double(double) => fixed64(out, 4, double.to_bits()),
        Value::List(text) => {
            out.push(bytes_tag(5));
            varint(out, bytes_len(bytes_len(text.len())) as u64);
            out.push(bytes_tag(1));
            varint(out, bytes_len(text.len()) as u64);
            bytes(out, 1, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_the_bytes_of_the_specification() {
        let cases: [(Value<'_>, &[u8]); 5] = [
            (Value::Str(b"v"), b"\x4a\x08\x0a\x01k\x12\x03\x0a\x01v"),
            (Value::Int(300), b"\x4a\x08\x0a\x01k\x12\x03\x18\xac\x02"),
            (Value::Bool(true), b"\x4a\x07\x0a\x01k\x12\x02\x10\x01"),
            (Value::Double(1.0), b"\x4a\x0e\x0a\x01k\x12\x09\x21\0\0\0\0\0\0\xf0\x3f"),
            (Value::List(b"v"), b"\x4a\x0c\x0a\x01k\x12\x07\x2a\x05\x0a\x03\x0a\x01v"),
        ];
        for (value, expected) in cases {
            let mut out = Vec::new();
            attribute(&mut out, 9, "k", value);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn varint_lengths_are_what_is_written() {
        for shift in 0..64 {
            for number in [(1u64 << shift) - 1, 1 << shift] {
                let mut out = Vec::new();
                varint(&mut out, number);
                assert_eq!(out.len(), varint_len(number), "{number}");
            }
        }
    }
}
