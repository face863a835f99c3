//! Pages of a Parquet file: a Thrift header, then the (compressed) bytes (parquet-format, `PageHeader`).

use super::varint::{Input, put_signed};

/// Parquet's number of an encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Values one after the other.
    Plain = 0,
    /// Differences, bit-packed.
    DeltaBinaryPacked = 5,
    /// Lengths as differences, then the bytes.
    DeltaLengthByteArray = 6,
    /// Codes of a dictionary page.
    RleDictionary = 8,
    /// Bytes of equal significance together.
    ByteStreamSplit = 9,
}

impl Encoding {
    fn from_number(number: i64) -> Option<Self> {
        [Self::Plain, Self::DeltaBinaryPacked, Self::DeltaLengthByteArray, Self::RleDictionary, Self::ByteStreamSplit]
            .into_iter()
            .find(|encoding| *encoding as i64 == number)
    }
}

/// Whether a page holds a dictionary or rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// Rows.
    Data,
    /// The column chunk's dictionary.
    Dictionary,
}

/// A page's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageHeader {
    /// What the page holds.
    pub kind: PageKind,
    /// Bytes before compression.
    pub uncompressed: usize,
    /// Bytes in the file behind the header.
    pub compressed: usize,
    /// CRC-32 of the bytes in the file.
    pub crc: u32,
    /// Rows, or dictionary entries.
    pub values: usize,
    /// How values are encoded.
    pub encoding: Encoding,
}

/// Thrift compact protocol: a field header, `delta` field numbers after the last, of type `i32`.
const I32: u8 = 5;
const STRUCT: u8 = 12;
/// Parquet's number of the `RLE` encoding, which all levels have.
const LEVELS_RLE: i64 = 3;

impl PageHeader {
    /// Appends the header in Thrift's compact protocol.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut field = |delta: u8, number: i64| {
            out.push(delta << 4 | I32);
            put_signed(out, number);
        };
        field(1, if self.kind == PageKind::Data { 0 } else { 2 });
        field(1, self.uncompressed as i64);
        field(1, self.compressed as i64);
        field(1, i64::from(self.crc as i32));
        match self.kind {
            PageKind::Data => {
                out.push(1 << 4 | STRUCT);
                for number in [self.values as i64, self.encoding as i64, LEVELS_RLE, LEVELS_RLE] {
                    out.push(1 << 4 | I32);
                    put_signed(out, number);
                }
            }
            PageKind::Dictionary => {
                out.push(3 << 4 | STRUCT);
                for number in [self.values as i64, self.encoding as i64] {
                    out.push(1 << 4 | I32);
                    put_signed(out, number);
                }
            }
        }
        out.extend_from_slice(&[0, 0]);
    }

    /// Reads a header as [`PageHeader::put`] writes it.
    pub fn read(input: &mut Input<'_>) -> Option<Self> {
        let field = |delta: u8, input: &mut Input<'_>| {
            (input.byte()? == delta << 4 | I32).then_some(())?;
            input.signed()
        };
        let kind = match field(1, input)? {
            0 => PageKind::Data,
            2 => PageKind::Dictionary,
            _ => return None,
        };
        let uncompressed = usize::try_from(field(1, input)?).ok()?;
        let compressed = usize::try_from(field(1, input)?).ok()?;
        let crc = field(1, input)? as i32 as u32;
        let opening = if kind == PageKind::Data { 1 << 4 | STRUCT } else { 3 << 4 | STRUCT };
        (input.byte()? == opening).then_some(())?;
        let values = usize::try_from(field(1, input)?).ok()?;
        let encoding = Encoding::from_number(field(1, input)?)?;
        if kind == PageKind::Data {
            field(1, input)?;
            field(1, input)?;
        }
        (input.take(2)? == [0, 0]).then_some(())?;
        Some(Self { kind, uncompressed, compressed, crc, values, encoding })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back() {
        for kind in [PageKind::Data, PageKind::Dictionary] {
            let header = PageHeader {
                kind,
                uncompressed: 70_000,
                compressed: 123,
                crc: 0xfedc_ba98,
                values: 8_192,
                encoding: Encoding::RleDictionary,
            };
            let mut bytes = Vec::new();
            header.put(&mut bytes);
            assert_eq!(PageHeader::read(&mut Input::new(&bytes)), Some(header));
        }
    }
}
