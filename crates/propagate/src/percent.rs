//! Percent-encoding (RFC 3986 §2.1) as baggage uses it.

use std::borrow::Cow;

use crate::hex;

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// Appends `text`, each byte that is not `allowed` written as `%XX`.
pub(crate) fn encode_into(out: &mut String, text: &str, allowed: impl Fn(u8) -> bool) {
    for byte in text.bytes() {
        if byte.is_ascii() && allowed(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

/// Decodes `%XX`. A `%` that no two hex digits follow stands for itself; bytes that are not UTF-8
/// become U+FFFD (W3C Baggage §3.2.1.3).
pub fn percent_decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let encoded = if byte == b'%' { bytes.get(at + 1..at + 3).and_then(hex::any_case) } else { None };
        decoded.push(encoded.unwrap_or(byte));
        at += if encoded.is_some() { 3 } else { 1 };
    }
    Cow::Owned(
        String::from_utf8(decoded).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

/// Characters that never need encoding (RFC 3986 §2.3).
pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}
