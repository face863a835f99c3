//! How far each file was read, kept beside the data.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Files that were read to their end and renamed away, so that they are not read again under their new name.
const DONE_MAX: usize = 1_000;

/// Which file a path led to: a path is given to another file when logs are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Device.
    pub device: u64,
    /// Number on the device.
    pub inode: u64,
}

/// How far a file was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The file.
    pub identity: Identity,
    /// Hash of its first bytes, and how many; a file that was emptied and written anew has others.
    pub head: (u64, u64),
    /// Everything before this offset is stored.
    pub offset: u64,
    /// The time of the newest line before it.
    pub last_time_ns: u64,
    /// Where the request ends that may have been on its way: what is read again is cut in the same place, so that the
    /// store recognises it.
    pub pending_end: Option<u64>,
}

/// Positions by path. Written after each request, by renaming; a crash loses nothing, and repeats at most one request.
#[derive(Debug, Default)]
pub struct State {
    file: Option<PathBuf>,
    content: Content,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Content {
    positions: BTreeMap<PathBuf, Position>,
    done: Vec<Identity>,
}

impl State {
    /// The state in a file, empty where there is none; without a file, nothing is remembered.
    ///
    /// # Errors
    /// When the file is there and cannot be read, or is not a state.
    pub fn open(file: Option<&Path>) -> io::Result<Self> {
        let Some(path) = file else { return Ok(Self::default()) };
        let content = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Content::default(),
            Err(error) => return Err(error),
        };
        Ok(Self { file: Some(path.to_owned()), content })
    }

    /// The position of a path.
    pub fn get(&self, path: &Path) -> Option<&Position> {
        self.content.positions.get(path)
    }

    /// True when a file was read to its end under another name.
    pub fn is_done(&self, identity: Identity) -> bool {
        self.content.done.contains(&identity)
    }

    /// Remembers a file that was read to its end and has lost its name.
    pub fn done(&mut self, identity: Identity) {
        if !self.is_done(identity) {
            self.content.done.push(identity);
        }
        let surplus = self.content.done.len().saturating_sub(DONE_MAX);
        self.content.done.drain(..surplus);
    }

    /// Sets the position of a path and writes the state.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set(&mut self, path: &Path, position: Position) -> io::Result<()> {
        // An inode is given to a new file when the old one is deleted.
        self.content.done.retain(|done| *done != position.identity);
        self.content.positions.insert(path.to_owned(), position);
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let partial = file.with_extension("partial");
        std::fs::write(&partial, serde_json::to_vec(&self.content).map_err(io::Error::other)?)?;
        std::fs::rename(&partial, file)
    }
}
