//! Set files: which segments were written together and what they replace.
//!
//! ```text
//! "TWSET1 " crc32c of the rest, 8 hex digits "\n" JSON
//! ```
//!
//! A set file is written after its segments are durable and before the catalog is told. It says nothing that the
//! catalog does not say better, until the catalog is lost.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::SegmentRow;

const MAGIC: &str = "TWSET1 ";
const SUFFIX: &str = ".set";

/// Segments that came into being together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentSet {
    /// The segments, as they go into the catalog. At least one; the file is named after the first.
    pub segments: Vec<SegmentRow>,
    /// Ids whose rows are in these segments, and which therefore no longer exist.
    pub replaces: Vec<u64>,
    /// For what came from a head: its log is stored up to and including this frame.
    pub sealed: Option<u64>,
}

/// What [`read_sets`] found.
#[derive(Debug, Default)]
pub struct SetFiles {
    /// Whole sets.
    pub sets: Vec<SegmentSet>,
    /// Ids in the names of set files that are damaged.
    pub damaged: Vec<u64>,
}

fn set_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:016x}{SUFFIX}"))
}

/// Writes a set file durably.
pub fn write_set(dir: &Path, set: &SegmentSet) -> io::Result<()> {
    let Some(first) = set.segments.first() else { return Ok(()) };
    let json = serde_json::to_string(set)?;
    let path = set_path(dir, first.set_id);
    let mut file = std::fs::File::create(&path)?;
    file.write_all(format!("{MAGIC}{:08x}\n{json}", crc32c::crc32c(json.as_bytes())).as_bytes())?;
    file.sync_all()?;
    std::fs::File::open(dir)?.sync_all()
}

/// Removes the set file named after a segment, if there is one.
pub fn remove_set(dir: &Path, id: u64) -> io::Result<()> {
    match std::fs::remove_file(set_path(dir, id)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Reads every set file of a folder.
pub fn read_sets(dir: &Path) -> io::Result<SetFiles> {
    let mut files = SetFiles::default();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some(id) = name.strip_suffix(SUFFIX).and_then(|id| u64::from_str_radix(id, 16).ok()) else { continue };
        match decode(&std::fs::read(dir.join(&name))?) {
            Some(set) => files.sets.push(set),
            None => files.damaged.push(id),
        }
    }
    files.sets.sort_by_key(|set| set.segments.first().map(|row| row.set_id));
    Ok(files)
}

fn decode(bytes: &[u8]) -> Option<SegmentSet> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (crc, json) = text.strip_prefix(MAGIC)?.split_once('\n')?;
    if u32::from_str_radix(crc, 16).ok()? != crc32c::crc32c(json.as_bytes()) {
        return None;
    }
    serde_json::from_str::<SegmentSet>(json).ok().filter(|set| !set.segments.is_empty())
}
