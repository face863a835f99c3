//! Base64 (RFC 4648): written in the standard alphabet with padding, read in both alphabets with or
//! without padding, as protobuf's JSON mapping wants.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(crate) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            out.push(if place <= chunk.len() { ALPHABET[(group >> (18 - 6 * place) & 63) as usize] } else { b'=' });
        }
    }
}

/// Appends what `text` encodes; `None` if it is not base64, in which case `out` is as long as before.
pub(crate) fn decode(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    let digits = text.trim_end_matches('=').as_bytes();
    let padding = text.len() - digits.len();
    let complete = digits.len() % 4 != 1 && (padding == 0 || text.len().is_multiple_of(4) && padding <= 2);
    let mut group = 0u32;
    for (index, digit) in digits.iter().enumerate() {
        let Some(value) = value(*digit).filter(|_| complete) else {
            out.truncate(start);
            return None;
        };
        group = group << 6 | value;
        if index % 4 == 3 {
            out.extend_from_slice(&group.to_be_bytes()[1..]);
            group = 0;
        }
    }
    match digits.len() % 4 {
        2 => out.push((group >> 4) as u8),
        3 => out.extend_from_slice(&((group >> 2) as u16).to_be_bytes()),
        _ => {}
    }
    complete.then_some(())
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_alphabets_are_read_with_and_without_padding() {
        let cases: [(&str, Option<&[u8]>); 16] = [
            ("", Some(b"")),
            ("Zg==", Some(b"f")),
            ("Zg", Some(b"f")),
            ("Zm8=", Some(b"fo")),
            ("Zm8", Some(b"fo")),
            ("Zm9v", Some(b"foo")),
            ("Zm9vYmE=", Some(b"fooba")),
            ("-_-_", Some(b"\xfb\xff\xbf")),
            ("+/+/", Some(b"\xfb\xff\xbf")),
            ("Z", None),
            ("Zm9vY", None),
            ("Zg=", None),
            ("Zg===", None),
            ("=", None),
            ("Zm 9v", None),
            ("Zm=9v", None),
        ];
        for (text, expected) in cases {
            let mut out = b"kept".to_vec();
            let decoded = decode(text, &mut out).map(|()| &out[4..]);
            assert_eq!(decoded, expected, "{text:?}");
            if expected.is_none() {
                assert_eq!(out, b"kept", "{text:?}");
            }
        }
    }

    #[test]
    fn every_length_survives_the_round_trip() {
        for length in 0..70u8 {
            let bytes: Vec<u8> = (0..length).map(|index| index.wrapping_mul(37) ^ 0xa5).collect();
            let mut text = Vec::new();
            encode(&bytes, &mut text);
            assert_eq!(text.len() % 4, 0);
            let mut back = Vec::new();
            decode(std::str::from_utf8(&text).unwrap(), &mut back).unwrap();
            assert_eq!(back, bytes);
        }
    }
}
