//! The inverse of [`super::encode`]: only what we write is read. Every function answers `None` for bytes that do not
//! hold what they should, and allocates no more than the caller's row count calls for.

use super::encode::{DELTA_BLOCK, DELTA_MINIBLOCK};
use super::varint::Input;
use crate::table::{Bitmap, StrTable};

/// Definition levels of `rows` rows: which have a value. `None` inside when all have.
pub fn levels(input: &mut Input<'_>, rows: usize) -> Option<Option<Bitmap>> {
    let length = input.u32_le()? as usize;
    let mut levels = Input::new(input.take(length)?);
    let header = levels.number()?;
    if header & 1 == 0 {
        if (header >> 1) as usize != rows {
            return None;
        }
        return Some(match levels.byte()? {
            0 => Some(Bitmap::filled(rows, false)),
            _ => None,
        });
    }
    let bytes = levels.take(rows.div_ceil(8))?;
    let words = bytes
        .chunks(8)
        .map(|chunk| {
            let mut word = [0u8; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        })
        .collect();
    Some(Some(Bitmap::from_words(words, rows)))
}

/// `count` dictionary codes, each below `dictionary`.
pub fn codes(input: &mut Input<'_>, count: usize, dictionary: usize) -> Option<Vec<u32>> {
    let width_bytes = match input.byte()? {
        8 => 1,
        16 => 2,
        32 => 4,
        _ => return None,
    };
    let mut codes = Vec::with_capacity(count);
    if count > 0 {
        let header = input.number()?;
        if header & 1 == 0 {
            let mut bytes = [0u8; 4];
            bytes[..width_bytes].copy_from_slice(input.take(width_bytes)?);
            codes.resize(count, u32::from_le_bytes(bytes));
        } else {
            let bytes = input.take(count * width_bytes)?;
            match width_bytes {
                1 => codes.extend(bytes.iter().map(|byte| u32::from(*byte))),
                2 => codes.extend(bytes.chunks_exact(2).map(|pair| u32::from(u16::from_le_bytes([pair[0], pair[1]])))),
                _ => codes
                    .extend(bytes.chunks_exact(4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]))),
            }
        }
    }
    codes.iter().all(|code| (*code as usize) < dictionary).then_some(codes)
}

/// `count` numbers of 64 bits, split by significance.
pub fn split(input: &mut Input<'_>, count: usize) -> Option<Vec<u64>> {
    let bytes = input.take(count.checked_mul(8)?)?;
    let mut values = vec![0u64; count];
    for byte in 0..8 {
        for (value, part) in values.iter_mut().zip(&bytes[byte * count..(byte + 1) * count]) {
            *value |= u64::from(*part) << (8 * byte);
        }
    }
    Some(values)
}

/// `count` numbers of 64 bits, little-endian.
pub fn plain(input: &mut Input<'_>, count: usize) -> Option<Vec<u64>> {
    let bytes = input.take(count.checked_mul(8)?)?;
    Some(bytes.chunks_exact(8).filter_map(|eight| Some(u64::from_le_bytes(eight.try_into().ok()?))).collect())
}

/// `count` ids of 8 bytes, as big-endian numbers.
pub fn ids(input: &mut Input<'_>, count: usize) -> Option<Vec<u64>> {
    let bytes = input.take(count.checked_mul(8)?)?;
    Some(bytes.chunks_exact(8).filter_map(|eight| Some(u64::from_be_bytes(eight.try_into().ok()?))).collect())
}

/// `count` numbers stored as differences.
pub fn delta(input: &mut Input<'_>, count: usize) -> Option<Vec<i64>> {
    if input.number()? != DELTA_BLOCK as u64 || input.number()? != (DELTA_BLOCK / DELTA_MINIBLOCK) as u64 {
        return None;
    }
    if input.number()? != count as u64 {
        return None;
    }
    let mut last = input.signed()?;
    let mut values = Vec::with_capacity(count);
    if count > 0 {
        values.push(last);
    }
    while values.len() < count {
        let least = input.signed()?;
        let widths = input.take(DELTA_BLOCK / DELTA_MINIBLOCK)?;
        for width in widths {
            if values.len() >= count {
                break;
            }
            if *width > 64 {
                return None;
            }
            let width = usize::from(*width);
            let bytes = input.take(width * DELTA_MINIBLOCK / 8)?;
            let wanted = DELTA_MINIBLOCK.min(count - values.len());
            let (mut held, mut bits, mut at) = (0u128, 0usize, 0usize);
            let mask = if width == 64 { u128::from(u64::MAX) } else { (1u128 << width) - 1 };
            for _ in 0..wanted {
                while bits < width {
                    // Eight bytes at a time as long as there are so many.
                    if let Some(Ok(eight)) = bytes.get(at..at + 8).map(<[u8; 8]>::try_from)
                        && bits <= 63
                    {
                        held |= u128::from(u64::from_le_bytes(eight)) << bits;
                        bits += 64;
                        at += 8;
                        continue;
                    }
                    held |= u128::from(*bytes.get(at)?) << bits;
                    bits += 8;
                    at += 1;
                }
                last = last.wrapping_add(least).wrapping_add((held & mask) as u64 as i64);
                held >>= width;
                bits -= width;
                values.push(last);
            }
        }
    }
    Some(values)
}

/// `count` texts behind their lengths.
pub fn texts(input: &mut Input<'_>, count: usize) -> Option<StrTable> {
    let lengths = delta(input, count)?;
    let mut end = 0u32;
    let mut ends = Vec::with_capacity(count);
    for length in lengths {
        end = end.checked_add(u32::try_from(length).ok()?)?;
        ends.push(end);
    }
    StrTable::from_parts(input.take(end as usize)?.to_vec(), ends)
}

/// `count` texts, each behind its own length.
pub fn plain_texts(input: &mut Input<'_>, count: usize) -> Option<StrTable> {
    let mut bytes = Vec::with_capacity(input.rest().len());
    let mut ends = Vec::with_capacity(count.min(input.rest().len() / 4 + 1));
    for _ in 0..count {
        let length = input.u32_le()? as usize;
        bytes.extend_from_slice(input.take(length)?);
        ends.push(bytes.len() as u32);
    }
    StrTable::from_parts(bytes, ends)
}

/// `count` truth values, one bit each.
pub fn bools(input: &mut Input<'_>, count: usize) -> Option<Vec<u64>> {
    let bytes = input.take(count.div_ceil(8))?;
    Some((0..count).map(|index| u64::from(bytes[index / 8] >> (index % 8) & 1)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::encode::*;
    use super::*;

    fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    proptest! {
        #[test]
        fn every_encoding_comes_back(
            numbers in proptest::collection::vec(prop_oneof![any::<i64>(), 0i64..1000, Just(i64::MIN), Just(i64::MAX)], 0..400),
            words in proptest::collection::vec(".{0,12}", 0..50),
        ) {
            let count = numbers.len();
            let bytes = encoded(|out| put_delta(out, &numbers));
            prop_assert_eq!(delta(&mut Input::new(&bytes), count), Some(numbers.clone()));

            let bits: Vec<u64> = numbers.iter().map(|number| *number as u64).collect();
            let bytes = encoded(|out| put_split(out, &bits));
            prop_assert_eq!(split(&mut Input::new(&bytes), count), Some(bits.clone()));

            let small: Vec<u32> = bits.iter().map(|bits| (*bits % 70_000) as u32).collect();
            let bytes = encoded(|out| put_codes(out, &small));
            prop_assert_eq!(codes(&mut Input::new(&bytes), count, 70_000), Some(small));

            let held: Vec<bool> = bits.iter().map(|bits| bits % 3 == 0).collect();
            let bytes = encoded(|out| put_levels(out, held.iter().copied()));
            let levels = levels(&mut Input::new(&bytes), count).expect("levels");
            prop_assert!((0..count).all(|row| levels.as_ref().is_none_or(|levels| levels.get(row)) == held[row]));

            let truths: Vec<u64> = held.iter().map(|held| u64::from(*held)).collect();
            let bytes = encoded(|out| put_bools(out, &truths));
            prop_assert_eq!(bools(&mut Input::new(&bytes), count), Some(truths));

            let mut table = StrTable::default();
            words.iter().for_each(|word| { table.push(word); });
            let bytes = encoded(|out| put_texts(out, words.iter().map(|word| word.as_bytes())));
            prop_assert_eq!(texts(&mut Input::new(&bytes), words.len()), Some(table.clone()));
            let bytes = encoded(|out| put_plain_texts(out, &table));
            prop_assert_eq!(plain_texts(&mut Input::new(&bytes), words.len()), Some(table));
        }

        #[test]
        fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), count in 0usize..300) {
            let input = || Input::new(&bytes);
            let _ = levels(&mut input(), count);
            let _ = codes(&mut input(), count, 10);
            let _ = split(&mut input(), count);
            let _ = delta(&mut input(), count);
            let _ = texts(&mut input(), count);
            let _ = plain_texts(&mut input(), count);
            let _ = bools(&mut input(), count);
        }
    }
}
