//! Parquet value encodings, written for columns as we hold them (parquet-format, `Encodings.md`).
//!
//! Dictionary codes are always written 8, 16 or 32 bits wide, never in between: packing then is copying, and zstd
//! sees whole symbols instead of bits shifted across bytes, which compresses better than the tightest packing.

use super::varint::{put, put_signed};
use crate::table::StrTable;

/// Values in a block and in a miniblock of `DELTA_BINARY_PACKED`.
pub const DELTA_BLOCK: usize = 128;
/// See [`DELTA_BLOCK`].
pub const DELTA_MINIBLOCK: usize = 32;

/// Definition levels of one page: 1 for a row with a value, 0 for one without (`RLE`, bit width 1, preceded by their
/// length as data page version 1 wants it).
pub fn put_levels(out: &mut Vec<u8>, present: impl ExactSizeIterator<Item = bool> + Clone) {
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let rows = present.len();
    let held = present.clone().filter(|present| *present).count();
    if held == rows || held == 0 {
        put(out, (rows as u64) << 1);
        out.push(u8::from(held > 0));
    } else {
        put(out, (rows.div_ceil(8) as u64) << 1 | 1);
        let mut byte = 0u8;
        let mut bits = 0;
        for present in present {
            byte |= u8::from(present) << bits;
            bits += 1;
            if bits == 8 {
                out.push(byte);
                (byte, bits) = (0, 0);
            }
        }
        if bits > 0 {
            out.push(byte);
        }
    }
    let length = (out.len() - length_at - 4) as u32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
}

/// Dictionary codes of one page (`RLE_DICTIONARY`).
pub fn put_codes(out: &mut Vec<u8>, codes: &[u32]) {
    let largest = codes.iter().copied().max().unwrap_or(0);
    let width_bytes = match largest {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        _ => 4,
    };
    out.push(8 * width_bytes as u8);
    let Some(first) = codes.first() else { return };
    if codes.iter().all(|code| code == first) {
        put(out, (codes.len() as u64) << 1);
        out.extend_from_slice(&first.to_le_bytes()[..width_bytes]);
        return;
    }
    put(out, (codes.len().div_ceil(8) as u64) << 1 | 1);
    match width_bytes {
        1 => out.extend(codes.iter().map(|code| *code as u8)),
        2 => codes.iter().for_each(|code| out.extend_from_slice(&(*code as u16).to_le_bytes())),
        _ => codes.iter().for_each(|code| out.extend_from_slice(&code.to_le_bytes())),
    }
    let padding = (8 - codes.len() % 8) % 8 * width_bytes;
    out.extend(std::iter::repeat_n(0, padding));
}

/// Numbers of 64 bits, byte by byte of equal significance (`BYTE_STREAM_SPLIT`).
pub fn put_split(out: &mut Vec<u8>, values: &[u64]) {
    for byte in 0..8 {
        out.extend(values.iter().map(|value| (value >> (8 * byte)) as u8));
    }
}

/// Numbers as differences from the one before (`DELTA_BINARY_PACKED`).
pub fn put_delta(out: &mut Vec<u8>, values: &[i64]) {
    put(out, DELTA_BLOCK as u64);
    put(out, (DELTA_BLOCK / DELTA_MINIBLOCK) as u64);
    put(out, values.len() as u64);
    put_signed(out, values.first().copied().unwrap_or(0));
    let mut deltas = [0u64; DELTA_BLOCK];
    for block in 0..values.len().saturating_sub(1).div_ceil(DELTA_BLOCK) {
        let from = 1 + block * DELTA_BLOCK;
        let count = DELTA_BLOCK.min(values.len() - from);
        let delta = |index: usize| values[from + index].wrapping_sub(values[from + index - 1]);
        let least = (0..count).map(delta).min().unwrap_or(0);
        deltas.fill(0);
        (0..count).for_each(|index| deltas[index] = delta(index).wrapping_sub(least) as u64);
        put_signed(out, least);
        let miniblocks = count.div_ceil(DELTA_MINIBLOCK);
        let widths: [u8; DELTA_BLOCK / DELTA_MINIBLOCK] = std::array::from_fn(|miniblock| {
            let range = miniblock * DELTA_MINIBLOCK..(miniblock + 1) * DELTA_MINIBLOCK;
            64 - deltas[range].iter().fold(0, |all, delta| all | delta).leading_zeros() as u8
        });
        out.extend_from_slice(&widths);
        for (miniblock, width) in widths.iter().enumerate().take(miniblocks) {
            put_packed(out, &deltas[miniblock * DELTA_MINIBLOCK..(miniblock + 1) * DELTA_MINIBLOCK], *width);
        }
    }
}

/// Numbers packed `width` bits each, least significant bit first.
fn put_packed(out: &mut Vec<u8>, values: &[u64], width: u8) {
    let (mut held, mut bits) = (0u128, 0u32);
    for value in values {
        held |= u128::from(*value) << bits;
        bits += u32::from(width);
        while bits >= 8 {
            out.push(held as u8);
            held >>= 8;
            bits -= 8;
        }
    }
    if bits > 0 {
        out.push(held as u8);
    }
}

/// Texts, their lengths first (`DELTA_LENGTH_BYTE_ARRAY`).
pub fn put_texts<'a>(out: &mut Vec<u8>, texts: impl Iterator<Item = &'a [u8]> + Clone) {
    let lengths: Vec<i64> = texts.clone().map(|text| text.len() as i64).collect();
    put_delta(out, &lengths);
    texts.for_each(|text| out.extend_from_slice(text));
}

/// Texts of a dictionary page, each behind its length (`PLAIN`).
pub fn put_plain_texts(out: &mut Vec<u8>, table: &StrTable) {
    for number in 0..table.len() as u32 {
        let text = table.bytes(number);
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text);
    }
}

/// Truth values, one bit each (`PLAIN`).
pub fn put_bools(out: &mut Vec<u8>, values: &[u64]) {
    for group in values.chunks(8) {
        out.push(group.iter().enumerate().fold(0, |byte, (bit, value)| byte | u8::from(*value != 0) << bit));
    }
}
