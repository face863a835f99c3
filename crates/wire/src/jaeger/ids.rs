//! Jaeger's ids as text.

use tracewell_model::{SpanId, TraceId};

/// A trace id. Jaeger leaves out leading zeros; older clients have trace ids of 8 bytes.
pub(crate) fn trace_id(text: &str) -> TraceId {
    TraceId(id(text))
}

/// A span id; see [`trace_id`].
pub(crate) fn span_id(text: &str) -> SpanId {
    SpanId(id(text))
}

/// The hexadecimal digits, aligned right. Traces written by hand name spans `G` or `root`: text that is
/// not hexadecimal or too long becomes an id of its own, marked by a first byte of 0xff.
fn id<const N: usize>(text: &str) -> [u8; N] {
    let mut id = [0u8; N];
    let digits = text.as_bytes();
    if digits.len() <= 2 * N && digits.iter().all(u8::is_ascii_hexdigit) {
        for (place, digit) in digits.iter().rev().enumerate() {
            let value = char::from(*digit).to_digit(16).unwrap_or_default() as u8;
            id[N - 1 - place / 2] |= value << (4 * (place % 2));
        }
        return id;
    }
    // FNV-1a of 64 bits: equal text gives equal ids, in this file and in the next.
    let hash = digits
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    id[N - 8..].copy_from_slice(&hash.to_be_bytes());
    id[0] = 0xff;
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_aligned_right_and_any_text_has_one() {
        let cases = [
            ("", "0000000000000000"),
            ("0", "0000000000000000"),
            ("A", "000000000000000a"),
            ("1a2", "00000000000001a2"),
            ("02dDfe25602b83ec", "02ddfe25602b83ec"),
        ];
        for (text, expected) in cases {
            assert_eq!(span_id(text).to_string(), expected, "{text:?}");
        }
        assert_eq!(trace_id("202d6c6c17bfe5").to_string(), "000000000000000000202d6c6c17bfe5");
        let odd = ["G", "H", "root", "02ddfe25602b83ec0", "a-b"];
        let ids: std::collections::BTreeSet<_> = odd.iter().map(|text| span_id(text)).collect();
        assert_eq!(ids.len(), odd.len());
        assert!(ids.iter().all(|id| id.0[0] == 0xff));
    }
}
