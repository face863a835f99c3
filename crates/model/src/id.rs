//! Trace and span identifiers (W3C Trace Context §3.2.2.3, §3.2.2.4).

use std::fmt;
use std::str::FromStr;

/// The 16-byte identifier of a trace. All zero is invalid on the wire.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub [u8; 16]);

/// The 8-byte identifier of a span within its trace. All zero is invalid on the wire.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub [u8; 8]);

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseIdError {
    /// Hex digits that were expected.
    pub expected_digits: usize,
}

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} hexadecimal digits", self.expected_digits)
    }
}

impl std::error::Error for ParseIdError {}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseIdError> {
    let error = ParseIdError { expected_digits: 2 * N };
    let bytes = text.as_bytes();
    if bytes.len() != 2 * N {
        return Err(error);
    }
    let mut out = [0u8; N];
    for (pair, slot) in bytes.chunks_exact(2).zip(&mut out) {
        match (digit(pair[0]), digit(pair[1])) {
            (Some(high), Some(low)) => *slot = high << 4 | low,
            _ => return Err(error),
        }
    }
    Ok(out)
}

macro_rules! identifier {
    ($name:ident, $bytes:literal) => {
        impl $name {
            /// True when every byte is zero, which the specifications reserve for "no id".
            pub fn is_zero(&self) -> bool {
                self.0 == [0; $bytes]
            }

            /// The id in `bytes`, if there are exactly as many as an id has.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            /// Reads hexadecimal digits of either case, exactly two for each byte.
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                let mut text = [0u8; 2 * $bytes];
                for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
                    pair[0] = DIGITS[usize::from(byte >> 4)];
                    pair[1] = DIGITS[usize::from(byte & 15)];
                }
                f.pad(std::str::from_utf8(&text).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

identifier!(TraceId, 16);
identifier!(SpanId, 8);

impl TraceId {
    /// The trace of a request that carries no trace context, only an id that every service of the request writes down.
    ///
    /// An id of 32 hexadecimal digits, dashes aside (a UUID, nginx's `$request_id`), is the trace id, so that people
    /// find one by the other; of any other text it is the 128-bit FNV-1a hash. `None` for an empty text and for zeros.
    pub fn from_request_id(request_id: &str) -> Option<Self> {
        const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        let text = request_id.trim();
        if text.is_empty() || text == "-" {
            return None;
        }
        let digits: String = text.chars().filter(|c| *c != '-').take(33).collect();
        let id = digits.parse().unwrap_or_else(|_| {
            let hash = text.bytes().fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
            TraceId(hash.to_be_bytes())
        });
        Some(id).filter(|id| !id.is_zero())
    }
}

impl SpanId {
    /// The id as a number, big-endian, so that numeric order is byte order.
    pub fn to_u64(self) -> u64 {
        u64::from_be_bytes(self.0)
    }

    /// The inverse of [`SpanId::to_u64`].
    pub fn from_u64(number: u64) -> Self {
        Self(number.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_in_any_case_and_written_in_lower() {
        let id: TraceId = "4BF92F3577b34DA6A3CE929D0E0E4736".parse().unwrap();
        assert_eq!(id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        for bad in ["", "4bf9", "4bf92f3577b34da6a3ce929d0e0e473g", "4bf92f3577b34da6a3ce929d0e0e47361"] {
            assert!(bad.parse::<TraceId>().is_err(), "{bad:?}");
        }
        assert_eq!(SpanId::from_u64(1).to_string(), "0000000000000001");
    }

    #[test]
    fn a_request_id_makes_a_trace_id() {
        let of = |text| TraceId::from_request_id(text).map(|id| id.to_string());
        let same = Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned());
        assert_eq!(of("4bf92f35-77b3-4da6-a3ce-929d0e0e4736"), same);
        assert_eq!(of(" 4BF92F3577B34DA6A3CE929D0E0E4736"), same);
        // The published FNV-1a test vector for "a".
        assert_eq!(of("a"), Some("d228cb696f1a8caf78912b704e4a8964".to_owned()));
        assert_ne!(of("4bf92f3577b34da6a3ce929d0e0e47361"), same);
        for none in ["", " ", "-", "00000000-0000-0000-0000-000000000000"] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
