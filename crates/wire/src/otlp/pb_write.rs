//! The protobuf wire format, appended to a buffer.

use super::pb::{BYTES, FIXED32, FIXED64, VARINT, tag};

#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A length-delimited field, also when empty.
#[inline]
pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u32, payload: &[u8]) {
    put_varint(out, u64::from(tag(field, BYTES)));
    put_varint(out, payload.len() as u64);
    out.extend_from_slice(payload);
}

/// A length-delimited field, left out when empty as proto3 does.
#[inline]
pub(crate) fn put_text(out: &mut Vec<u8>, field: u32, payload: &[u8]) {
    if !payload.is_empty() {
        put_bytes(out, field, payload);
    }
}

/// A varint field, also when zero.
#[inline]
pub(crate) fn put_number(out: &mut Vec<u8>, field: u32, number: u64) {
    put_varint(out, u64::from(tag(field, VARINT)));
    put_varint(out, number);
}

/// A `uint32` field, left out when zero.
#[inline]
pub(crate) fn put_uint32(out: &mut Vec<u8>, field: u32, number: u32) {
    if number != 0 {
        put_number(out, field, u64::from(number));
    }
}

/// An `int32` or enum field, left out when zero. Negative numbers take ten bytes, as protobuf wants.
#[inline]
pub(crate) fn put_int32(out: &mut Vec<u8>, field: u32, number: i32) {
    if number != 0 {
        put_number(out, field, i64::from(number) as u64);
    }
}

/// A `fixed64` or `double` field, also when zero.
#[inline]
pub(crate) fn put_fixed64(out: &mut Vec<u8>, field: u32, number: u64) {
    put_varint(out, u64::from(tag(field, FIXED64)));
    out.extend_from_slice(&number.to_le_bytes());
}

/// A `fixed64` time, left out when zero.
#[inline]
pub(crate) fn put_time(out: &mut Vec<u8>, field: u32, number: u64) {
    if number != 0 {
        put_fixed64(out, field, number);
    }
}

/// A `fixed32` field, left out when zero.
#[inline]
pub(crate) fn put_fixed32(out: &mut Vec<u8>, field: u32, number: u32) {
    if number != 0 {
        put_varint(out, u64::from(tag(field, FIXED32)));
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// An embedded message, also when empty, whose length becomes known only after `write` has written it.
///
/// One byte is kept for the length; where more are needed the message moves once. Nested messages
/// move once per level at most, so that writing stays linear for messages of bounded depth.
#[inline]
pub(crate) fn put_message(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let start = begin_message(out, field);
    write(out);
    end_message(out, start);
}

/// Opens an embedded message; give the returned mark to [`end_message`].
#[inline]
pub(crate) fn begin_message(out: &mut Vec<u8>, field: u32) -> usize {
    put_varint(out, u64::from(tag(field, BYTES)));
    out.push(0);
    out.len()
}

/// Closes the embedded message that began at `start`.
#[inline]
pub(crate) fn end_message(out: &mut Vec<u8>, start: usize) {
    let length = out.len() - start;
    if length < 0x80 {
        out[start - 1] = length as u8;
        return;
    }
    let mut prefix = [0u8; 10];
    let mut used = 0;
    let mut number = length as u64;
    while number >= 0x80 {
        prefix[used] = number as u8 | 0x80;
        number >>= 7;
        used += 1;
    }
    prefix[used] = number as u8;
    used += 1;
    let extra = used - 1;
    out.resize(out.len() + extra, 0);
    out.copy_within(start..start + length, start + extra);
    out[start - 1..start - 1 + used].copy_from_slice(&prefix[..used]);
}
