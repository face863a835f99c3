//! JSON's scalar texts, appended to a buffer.

use std::io::Write as _;

/// A JSON string. Invalid UTF-8 becomes U+FFFD; what JSON must escape is escaped, nothing else.
pub(crate) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    if std::str::from_utf8(bytes).is_ok() {
        put_escaped(out, bytes);
    } else {
        put_escaped(out, String::from_utf8_lossy(bytes).as_bytes());
    }
    out.push(b'"');
}

fn put_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\') {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => {
                out.extend_from_slice(b"\\u00");
                put_hex(out, &[*other]);
            }
        }
        rest = after;
    }
    out.extend_from_slice(rest);
}

/// Lower-case hexadecimal digits, two for each byte.
pub(crate) fn put_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
}

/// A decimal number.
pub(crate) fn put_integer(out: &mut Vec<u8>, number: impl std::fmt::Display) {
    // Writing to a vector does not fail.
    let _ = write!(out, "{number}");
}

/// A double: the shortest digits that read back as the same number, or protobuf's names for what JSON
/// numbers cannot express.
pub(crate) fn put_double(out: &mut Vec<u8>, number: f64) {
    if number.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if number.is_infinite() {
        out.extend_from_slice(if number > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" });
    } else {
        let _ = write!(out, "{number:?}");
    }
}
