//! A column chunk: the values of one column for one row group, as Parquet pages.

use foldhash::{HashMap, HashMapExt};
use parquet::basic::{Compression, Encoding as ParquetEncoding, ZstdLevel};
use tracewell_model::TraceId;

use super::encode;
use super::page::{Encoding, PageHeader, PageKind};
use super::schema::Layout;
use super::{CHUNK_ROWS, WriteError};
use crate::table::{Bitmap, NO_CODE, StrTable};

/// Dictionaries beyond this are not worth reading whole for one page.
const DICTIONARY_BYTES: usize = 1 << 20;

/// Distinct numbers for which a dictionary is kept.
const DICTIONARY_NUMBERS: usize = 16_384;

/// Values of one column for the rows of a row group, one slot a row.
#[derive(Debug)]
pub enum Values {
    /// Codes of trace ids; [`NO_CODE`] where a row has none.
    TraceIds {
        /// Position in `ids`.
        codes: Vec<u32>,
        /// The ids.
        ids: Vec<TraceId>,
    },
    /// Codes of texts; [`NO_CODE`] where a row has none.
    Text {
        /// Number in `dict`.
        codes: Vec<u32>,
        /// Texts, each once.
        dict: StrTable,
    },
    /// Numbers as 64 bits.
    Num {
        /// The bits, 0 where a row has none.
        values: Vec<u64>,
        /// Rows that have one; `None` when all have.
        present: Option<Bitmap>,
    },
}

/// An encoded column chunk. Offsets count from the start of `bytes`.
#[derive(Debug)]
pub struct EncodedColumn {
    /// Pages with their headers, the dictionary page first.
    pub bytes: Vec<u8>,
    /// Length of the dictionary page with its header; 0 without one.
    pub dictionary_bytes: usize,
    /// Rows and bytes (with header) of each data page.
    pub pages: Vec<(usize, usize)>,
    /// Bytes before compression, headers included.
    pub uncompressed_bytes: usize,
    /// Rows.
    pub rows: usize,
    /// Encodings used.
    pub encodings: Vec<ParquetEncoding>,
    /// How the pages are compressed.
    pub compression: Compression,
    /// Smallest and largest value of a column of times or numbers, as signed numbers, and rows without value.
    pub range: Option<(i64, i64)>,
    /// Rows without a value.
    pub nulls: usize,
}

/// Turns values into pages. Keeps its compressor from chunk to chunk.
pub struct ColumnEncoder {
    compressor: zstd::bulk::Compressor<'static>,
    level: i32,
}

impl ColumnEncoder {
    /// An encoder at a zstd level.
    pub fn new(level: i32) -> Result<Self, WriteError> {
        let compressor = zstd::bulk::Compressor::new(level)
            .map_err(|error| WriteError::Encode { reason: format!("zstd level {level}: {error}") })?;
        Ok(Self { compressor, level })
    }

    /// Encodes a column chunk.
    pub fn encode(&mut self, layout: Layout, values: &Values) -> Result<EncodedColumn, WriteError> {
        let rows = match values {
            Values::TraceIds { codes, .. } | Values::Text { codes, .. } => codes.len(),
            Values::Num { values, .. } => values.len(),
        };
        let compression = if layout == Layout::Id {
            Compression::UNCOMPRESSED
        } else {
            let level = ZstdLevel::try_new(self.level).unwrap_or_default();
            Compression::ZSTD(level)
        };
        let mut column = EncodedColumn {
            bytes: Vec::new(),
            dictionary_bytes: 0,
            pages: Vec::new(),
            uncompressed_bytes: 0,
            rows,
            encodings: vec![ParquetEncoding::RLE],
            compression,
            range: None,
            nulls: 0,
        };
        match values {
            Values::TraceIds { codes, ids } => {
                column.nulls = codes.iter().filter(|code| **code == NO_CODE).count();
                let mut dictionary = Vec::with_capacity(16 * ids.len());
                ids.iter().for_each(|id| dictionary.extend_from_slice(&id.0));
                self.dictionary_page(&mut column, &dictionary, ids.len())?;
                self.coded_pages(&mut column, codes)?;
            }
            Values::Text { codes, dict } => {
                column.nulls = codes.iter().filter(|code| **code == NO_CODE).count();
                let held = rows - column.nulls;
                if dict.len() * 2 <= held.max(64) && dict.size_bytes() <= DICTIONARY_BYTES {
                    let mut dictionary = Vec::with_capacity(dict.size_bytes());
                    encode::put_plain_texts(&mut dictionary, dict);
                    self.dictionary_page(&mut column, &dictionary, dict.len())?;
                    self.coded_pages(&mut column, codes)?;
                } else {
                    column.encodings.push(ParquetEncoding::DELTA_LENGTH_BYTE_ARRAY);
                    let collect = |from: usize, to: usize, held: &mut Vec<u32>| {
                        held.extend(codes[from..to].iter().filter(|code| **code != NO_CODE));
                    };
                    let write = |out: &mut Vec<u8>, held: &[u32]| {
                        encode::put_texts(out, held.iter().map(|code| dict.bytes(*code)));
                        Encoding::DeltaLengthByteArray
                    };
                    self.pages(&mut column, |row| codes[row] != NO_CODE, collect, write)?;
                }
            }
            Values::Num { values, present } => self.numbers(&mut column, layout, values, present.as_ref())?,
        }
        Ok(column)
    }

    fn numbers(
        &mut self,
        column: &mut EncodedColumn,
        layout: Layout,
        values: &[u64],
        present: Option<&Bitmap>,
    ) -> Result<(), WriteError> {
        let is_held = |row: usize| present.is_none_or(|present| present.get(row));
        let held = present.map_or(values.len(), Bitmap::count);
        column.nulls = values.len() - held;
        let held_values = || values.iter().enumerate().filter(|(row, _)| is_held(*row)).map(|(_, value)| *value);
        if matches!(layout, Layout::Time | Layout::Number) && held > 0 {
            let signed = || held_values().map(|bits| bits as i64);
            column.range = signed().min().zip(signed().max());
        }
        if matches!(layout, Layout::Number | Layout::Double)
            && let Some((numbers, codes)) = dictionary_of(values, &is_held, held)
        {
            let mut dictionary = Vec::with_capacity(8 * numbers.len());
            numbers.iter().for_each(|number| dictionary.extend_from_slice(&number.to_le_bytes()));
            self.dictionary_page(column, &dictionary, numbers.len())?;
            return self.coded_pages(column, &codes);
        }
        column.encodings.push(match layout {
            Layout::Time => ParquetEncoding::DELTA_BINARY_PACKED,
            Layout::Number | Layout::Double => ParquetEncoding::BYTE_STREAM_SPLIT,
            _ => ParquetEncoding::PLAIN,
        });
        let collect = |from: usize, to: usize, held: &mut Vec<u64>| match present {
            None => held.extend_from_slice(&values[from..to]),
            Some(present) => held.extend((from..to).filter(|row| present.get(*row)).map(|row| values[row])),
        };
        self.pages(column, is_held, collect, |out, held| match layout {
            Layout::Id => {
                held.iter().for_each(|value| out.extend_from_slice(&value.to_be_bytes()));
                Encoding::Plain
            }
            Layout::Truth => {
                encode::put_bools(out, held);
                Encoding::Plain
            }
            Layout::Time => {
                let signed: Vec<i64> = held.iter().map(|bits| *bits as i64).collect();
                encode::put_delta(out, &signed);
                Encoding::DeltaBinaryPacked
            }
            _ => {
                encode::put_split(out, held);
                Encoding::ByteStreamSplit
            }
        })
    }

    fn coded_pages(&mut self, column: &mut EncodedColumn, codes: &[u32]) -> Result<(), WriteError> {
        column.encodings.push(ParquetEncoding::RLE_DICTIONARY);
        let collect = |from: usize, to: usize, held: &mut Vec<u32>| {
            held.extend(codes[from..to].iter().filter(|code| **code != NO_CODE));
        };
        self.pages(
            column,
            |row| codes[row] != NO_CODE,
            collect,
            |out, held| {
                encode::put_codes(out, held);
                Encoding::RleDictionary
            },
        )
    }

    /// Data pages of [`CHUNK_ROWS`] rows each, or a single one when no row has a value. `collect` gets the values
    /// of a range of rows, `write` turns them into the page's body.
    fn pages<T>(
        &mut self,
        column: &mut EncodedColumn,
        is_held: impl Fn(usize) -> bool,
        collect: impl Fn(usize, usize, &mut Vec<T>),
        write: impl Fn(&mut Vec<u8>, &[T]) -> Encoding,
    ) -> Result<(), WriteError> {
        let page_rows = if column.nulls == column.rows { column.rows } else { CHUNK_ROWS as usize };
        let (mut plain, mut held) = (Vec::new(), Vec::new());
        let mut from = 0;
        while from < column.rows {
            let to = column.rows.min(from + page_rows);
            held.clear();
            collect(from, to, &mut held);
            plain.clear();
            encode::put_levels(&mut plain, (from..to).map(&is_held).collect::<Vec<_>>().into_iter());
            let encoding = write(&mut plain, &held);
            let bytes = self.page(column, &plain, PageKind::Data, to - from, encoding)?;
            column.pages.push((to - from, bytes));
            from = to;
        }
        Ok(())
    }

    fn dictionary_page(&mut self, column: &mut EncodedColumn, plain: &[u8], values: usize) -> Result<(), WriteError> {
        column.encodings.push(ParquetEncoding::PLAIN);
        column.dictionary_bytes = self.page(column, plain, PageKind::Dictionary, values, Encoding::Plain)?;
        Ok(())
    }

    fn page(
        &mut self,
        column: &mut EncodedColumn,
        plain: &[u8],
        kind: PageKind,
        values: usize,
        encoding: Encoding,
    ) -> Result<usize, WriteError> {
        let start = column.bytes.len();
        let compressed;
        let stored = if column.compression == Compression::UNCOMPRESSED {
            plain
        } else {
            compressed = self
                .compressor
                .compress(plain)
                .map_err(|error| WriteError::Encode { reason: format!("zstd: {error}") })?;
            &compressed
        };
        if plain.len() > i32::MAX as usize {
            return Err(WriteError::Encode {
                reason: format!("a page of {} bytes is more than Parquet takes", plain.len()),
            });
        }
        let header = PageHeader {
            kind,
            uncompressed: plain.len(),
            compressed: stored.len(),
            crc: crc32fast::hash(stored),
            values,
            encoding,
        };
        header.put(&mut column.bytes);
        column.uncompressed_bytes += column.bytes.len() - start + plain.len();
        column.bytes.extend_from_slice(stored);
        Ok(column.bytes.len() - start)
    }
}

/// Distinct numbers and the code of each row, if there are few enough.
fn dictionary_of(values: &[u64], is_held: &impl Fn(usize) -> bool, held: usize) -> Option<(Vec<u64>, Vec<u32>)> {
    let most = DICTIONARY_NUMBERS.min((held / 4).max(16));
    let mut numbers = Vec::new();
    let mut known: HashMap<u64, u32> = HashMap::new();
    let mut codes = Vec::with_capacity(values.len());
    for (row, value) in values.iter().enumerate() {
        if !is_held(row) {
            codes.push(NO_CODE);
            continue;
        }
        let code = *known.entry(*value).or_insert_with(|| {
            numbers.push(*value);
            numbers.len() as u32 - 1
        });
        if numbers.len() > most {
            return None;
        }
        codes.push(code);
    }
    Some((numbers, codes))
}
