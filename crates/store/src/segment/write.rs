//! Writing the Parquet file of a segment. The container (row groups, footer, page locations) is the `parquet` crate's;
//! the pages are ours.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, KeyValue, OffsetIndexBuilder};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::Statistics;
use parquet::file::writer::SerializedFileWriter;

use super::column::{ColumnEncoder, EncodedColumn, Values};
use super::meta::SegmentMeta;
use super::schema::{self, Column};
use super::{COLUMNS_KEY, META_KEY, WriteError};

/// A segment's Parquet file being written.
pub struct DataWriter {
    path: PathBuf,
    file: SerializedFileWriter<BufWriter<File>>,
    columns: Vec<Column>,
    encoder: ColumnEncoder,
}

impl DataWriter {
    /// Creates the file, which must not exist.
    pub fn create(path: &Path, columns: Vec<Column>, zstd_level: i32) -> Result<Self, WriteError> {
        let file = File::create_new(path).map_err(|error| WriteError::io(path, &error))?;
        let broken = |error: ParquetError| WriteError::parquet(path, error);
        let properties = WriterProperties::builder()
            .set_created_by(concat!("tracewell version ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .build();
        let schema = schema::parquet_schema(&columns).map_err(broken)?;
        let file = SerializedFileWriter::new(BufWriter::with_capacity(1 << 20, file), schema, Arc::new(properties))
            .map_err(broken)?;
        Ok(Self { path: path.to_owned(), file, columns, encoder: ColumnEncoder::new(zstd_level)? })
    }

    /// The columns, in the order in which each row group wants them.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Writes a row group; `values` is asked for each column in turn.
    pub fn row_group(
        &mut self,
        mut values: impl FnMut(&Column) -> Result<Values, WriteError>,
    ) -> Result<(), WriteError> {
        let path = &self.path;
        let broken = |error: ParquetError| WriteError::parquet(path, error);
        let descriptors = self.file.schema_descr().columns().to_vec();
        let mut group = self.file.next_row_group().map_err(broken)?;
        for (column, descriptor) in self.columns.iter().zip(descriptors) {
            let mut encoded = self.encoder.encode(column.layout(), &values(column)?)?;
            let bytes = Bytes::from(std::mem::take(&mut encoded.bytes));
            let metadata = chunk_metadata(&encoded, bytes.len(), descriptor).map_err(broken)?;
            let mut offsets = OffsetIndexBuilder::new();
            let mut offset = encoded.dictionary_bytes;
            for (rows, size) in &encoded.pages {
                offsets.append_row_count(*rows as i64);
                offsets.append_offset_and_size(offset as i64, *size as i32);
                offset += size;
            }
            let close = ColumnCloseResult {
                bytes_written: bytes.len() as u64,
                rows_written: encoded.rows as u64,
                metadata,
                bloom_filter: None,
                column_index: None,
                offset_index: Some(offsets.build()),
            };
            group.append_column(&bytes, close).map_err(broken)?;
        }
        group.close().map_err(broken)?;
        Ok(())
    }

    /// Writes the footer, makes the file durable, and fills in what is known only now.
    pub fn finish(mut self, meta: &mut SegmentMeta) -> Result<(), WriteError> {
        let path = &self.path;
        let broken = |error: ParquetError| WriteError::parquet(path, error);
        let described =
            serde_json::to_string(meta).map_err(|error| WriteError::Encode { reason: error.to_string() })?;
        self.file.append_key_value_metadata(KeyValue::new(META_KEY.to_owned(), described));
        self.file.append_key_value_metadata(KeyValue::new(COLUMNS_KEY.to_owned(), schema::describe(&self.columns)));
        let buffer = self.file.into_inner().map_err(broken)?;
        let file = buffer.into_inner().map_err(|error| WriteError::io(path, error.error()))?;
        file.sync_all().map_err(|error| WriteError::io(path, &error))?;
        let (size, crc) =
            super::read::footer_crc(path).map_err(|error| WriteError::Encode { reason: error.to_string() })?;
        meta.data_bytes = size;
        meta.data_footer_crc = crc;
        Ok(())
    }
}

fn chunk_metadata(
    encoded: &EncodedColumn,
    bytes: usize,
    descriptor: parquet::schema::types::ColumnDescPtr,
) -> Result<ColumnChunkMetaData, ParquetError> {
    let mut builder = ColumnChunkMetaData::builder(descriptor)
        .set_compression(encoded.compression)
        .set_encodings(encoded.encodings.clone())
        .set_num_values(encoded.rows as i64)
        .set_total_compressed_size(bytes as i64)
        .set_total_uncompressed_size(encoded.uncompressed_bytes as i64)
        .set_data_page_offset(encoded.dictionary_bytes as i64)
        .set_dictionary_page_offset((encoded.dictionary_bytes > 0).then_some(0));
    if let Some((least, most)) = encoded.range {
        builder =
            builder.set_statistics(Statistics::int64(Some(least), Some(most), None, Some(encoded.nulls as u64), false));
    }
    builder.build()
}
