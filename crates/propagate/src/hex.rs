//! Hex digits of ids, read without case where the format allows it and always written in lower case.

const LOWER: &[u8; 16] = b"0123456789abcdef";

/// Value of each byte as a lower-case hex digit; 0xff for any other byte.
const VALUES: [u8; 256] = {
    let mut values = [0xff; 256];
    let mut digit = 0;
    while digit < 16 {
        values[LOWER[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

/// Exactly `2 * N` lower-case digits.
pub(crate) fn lower<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    let mut seen = 0;
    for (pair, byte) in digits.chunks_exact(2).zip(&mut bytes) {
        let (high, low) = (VALUES[usize::from(pair[0])], VALUES[usize::from(pair[1])]);
        seen |= high | low;
        *byte = high << 4 | low;
    }
    // Values of digits fit in four bits, the mark of another byte does not.
    (seen < 16).then_some(bytes)
}

/// The byte of two digits of either case.
pub(crate) fn any_case(pair: &[u8]) -> Option<u8> {
    let value = |digit: u8| VALUES[usize::from(digit.to_ascii_lowercase())];
    match pair {
        [high, low] => Some(value(*high)).filter(|high| *high < 16).zip(Some(value(*low)).filter(|low| *low < 16)),
        _ => None,
    }
    .map(|(high, low)| high << 4 | low)
}

/// Writes two digits for each byte, as far as `out` has room.
pub(crate) fn write(bytes: &[u8], out: &mut [u8]) {
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair[0] = LOWER[usize::from(byte >> 4)];
        pair[1] = LOWER[usize::from(byte & 15)];
    }
}

/// 1 to `2 * N` digits of either case; missing leading ones are zero.
pub(crate) fn padded<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let missing = (2 * N).checked_sub(digits.len()).filter(|_| !digits.is_empty())?;
    let mut bytes = [0; N];
    for (place, digit) in digits.bytes().enumerate() {
        let value = VALUES[usize::from(digit.to_ascii_lowercase())];
        if value > 15 {
            return None;
        }
        let place = place + missing;
        bytes[place / 2] |= if place % 2 == 0 { value << 4 } else { value };
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_as_the_format_allows() {
        assert_eq!((lower(b"00ff"), lower::<2>(b"00FF"), lower::<2>(b"0ff")), (Some([0, 0xff]), None, None));
        assert_eq!((padded("F"), padded("1c8"), padded("01c8")), (Some([0, 15]), Some([1, 0xc8]), Some([1, 0xc8])));
        assert_eq!((padded::<2>(""), padded::<2>("12345"), padded::<2>("-1")), (None, None, None));
        assert_eq!((any_case(b"fF"), any_case(b"0g"), any_case(b"0")), (Some(0xff), None, None));
        let mut out = [0; 4];
        write(&[0x0a, 0xff], &mut out);
        assert_eq!(&out, b"0aff");
    }
}
