//! What lies on the disk: bytes by kind of file, and by column within the segments.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;
use parquet::file::reader::{FileReader, SerializedFileReader};

/// Bytes of a data folder.
#[derive(Debug, Default)]
pub struct Usage {
    /// Bytes by kind of file.
    pub by_kind: BTreeMap<&'static str, u64>,
    /// Segment files.
    pub segments: u64,
    /// Rows in them.
    pub rows: u64,
    /// Compressed bytes by column, the footers and page indexes as a column of their own.
    pub by_column: BTreeMap<String, u64>,
}

/// The kinds of file, in the order of a span's way.
pub const KINDS: &[&str] = &["wal", "segment data", "segment index", "catalog", "other"];

fn kind(path: &Path) -> &'static str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let in_wal = path.parent().and_then(Path::file_name).is_some_and(|folder| folder == "wal");
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "parquet" => "segment data",
        "idx" => "segment index",
        "wal" => "wal",
        _ if in_wal => "wal",
        _ if name.contains("catalog") => "catalog",
        _ => "other",
    }
}

/// All files below a folder, with their sizes. Files that vanish meanwhile are left out.
pub fn files(folder: &Path) -> anyhow::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(data) if data.is_dir() => folders.push(entry.path()),
                Ok(data) => found.push((entry.path(), data.len())),
                Err(_) => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Measures a data folder.
pub fn usage(folder: &Path) -> anyhow::Result<Usage> {
    let mut usage = Usage::default();
    for (path, size) in files(folder)? {
        let kind = kind(&path);
        *usage.by_kind.entry(kind).or_default() += size;
        if kind == "segment data" {
            usage.add_segment(&path, size).with_context(|| format!("cannot read {}", path.display()))?;
        }
    }
    Ok(usage)
}

impl Usage {
    fn add_segment(&mut self, path: &Path, size: u64) -> anyhow::Result<()> {
        let reader = SerializedFileReader::new(File::open(path)?)?;
        let metadata = reader.metadata();
        let mut in_columns = 0;
        for group in metadata.row_groups() {
            for column in group.columns() {
                let bytes = u64::try_from(column.compressed_size())?;
                *self.by_column.entry(column.column_path().string()).or_default() += bytes;
                in_columns += bytes;
            }
        }
        *self.by_column.entry("(footer, page index)".to_owned()).or_default() += size.saturating_sub(in_columns);
        self.segments += 1;
        self.rows += u64::try_from(metadata.file_metadata().num_rows())?;
        Ok(())
    }

    /// Bytes of segments and their indexes together.
    pub fn stored(&self) -> u64 {
        ["segment data", "segment index"].iter().filter_map(|kind| self.by_kind.get(kind)).sum()
    }

    /// Columns, the largest first.
    pub fn columns(&self) -> Vec<(&str, u64)> {
        let mut columns: Vec<_> = self.by_column.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
        columns.sort_by_key(|(name, bytes)| (std::cmp::Reverse(*bytes), *name));
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_by_kind() {
        let cases = [
            ("/d/segments/0001.parquet", "segment data"),
            ("/d/segments/0001.idx", "segment index"),
            ("/d/wal/0000000001", "wal"),
            ("/d/0001.wal", "wal"),
            ("/d/catalog.sqlite-wal", "catalog"),
            ("/d/LOCK", "other"),
        ];
        for (path, expected) in cases {
            assert_eq!(kind(Path::new(path)), expected, "{path}");
        }
    }
}
