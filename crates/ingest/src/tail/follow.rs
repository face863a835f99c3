//! One file that grows, is renamed, emptied, and made again.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::lines::Lines;
use super::state::{Identity, Position};

/// First bytes by which a file is known again.
const HEAD_BYTES: u64 = 256;

/// Files of a folder that are looked at to find one that was renamed.
const SIBLINGS_MAX: usize = 1_000;

/// A file that is being followed.
#[derive(Debug)]
pub struct Follower {
    /// The path, which may lead to another file by now.
    pub path: PathBuf,
    file: File,
    position: Position,
}

/// What a look at the path found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The same file.
    None,
    /// The file was emptied and is read from its start.
    Truncated,
    /// Another file has the path, or none: this one gets no more lines once its writers have closed it.
    Renamed,
}

/// Which file this is.
///
/// # Errors
/// Whatever the file system says.
pub fn identity(file: &File) -> io::Result<(Identity, u64)> {
    let metadata = file.metadata()?;
    Ok((Identity { device: metadata.dev(), inode: metadata.ino() }, metadata.len()))
}

impl Follower {
    /// Follows a file from its start, or from its end.
    ///
    /// # Errors
    /// When it cannot be opened or read.
    pub fn open(path: &Path, from_end: bool) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let (identity, length) = identity(&file)?;
        let head = head(&mut file, HEAD_BYTES)?;
        let offset = if from_end { last_line_start(&mut file, length)? } else { 0 };
        let position = Position { identity, head, offset, last_time_ns: 0, pending_end: None };
        Ok(Self { path: path.to_owned(), file, position })
    }

    /// Goes on where a former process has stopped: with the same file under its path, with the same file under another
    /// name in its folder, or with neither.
    ///
    /// # Errors
    /// When a file cannot be opened or read.
    pub fn resume(path: &Path, position: &Position) -> io::Result<Option<Self>> {
        let siblings = path.parent().and_then(|folder| std::fs::read_dir(folder).ok());
        let names = siblings.into_iter().flatten().flatten().take(SIBLINGS_MAX).map(|entry| entry.path());
        for candidate in std::iter::once(path.to_owned()).chain(names) {
            let Ok(mut file) = File::open(&candidate) else { continue };
            let Ok((found, length)) = identity(&file) else { continue };
            let same = found == position.identity && length >= position.offset;
            if same && head(&mut file, position.head.1)? == position.head {
                let position = position.clone();
                return Ok(Some(Self { path: path.to_owned(), file, position }));
            }
        }
        Ok(None)
    }

    /// How far it was read.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Looks whether the path still leads here.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn look(&mut self) -> io::Result<Change> {
        let (_, length) = identity(&self.file)?;
        let emptied =
            length < self.position.offset || head(&mut self.file, self.position.head.1)? != self.position.head;
        if emptied {
            self.position.offset = 0;
            self.position.pending_end = None;
            self.position.head = head(&mut self.file, HEAD_BYTES)?;
            return Ok(Change::Truncated);
        }
        if self.position.head.1 < HEAD_BYTES.min(length) {
            self.position.head = head(&mut self.file, HEAD_BYTES)?;
        }
        let here = std::fs::metadata(&self.path).ok();
        let same = here.is_some_and(|metadata| {
            Identity { device: metadata.dev(), inode: metadata.ino() } == self.position.identity
        });
        Ok(if same { Change::None } else { Change::Renamed })
    }

    /// Lines from where it stands.
    ///
    /// # Errors
    /// When the file cannot be read there.
    pub fn lines(&mut self) -> io::Result<Lines<&mut File>> {
        let offset = self.position.offset;
        self.file.seek(SeekFrom::Start(offset))?;
        Ok(Lines::new(&mut self.file, offset))
    }

    /// Says that a request with everything before `end` is on its way.
    pub fn sending(&mut self, end: u64) -> Position {
        self.position.pending_end = Some(end);
        self.position.clone()
    }

    /// Says that everything before `end` is stored.
    pub fn stored(&mut self, end: u64, last_time_ns: u64) -> Position {
        self.position.offset = end;
        self.position.last_time_ns = last_time_ns;
        self.position.pending_end = None;
        self.position.clone()
    }
}

/// A hash (FNV-1a) of the first bytes, and how many there were.
fn head(file: &mut File, most: u64) -> io::Result<(u64, u64)> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    Read::by_ref(file).take(most).read_to_end(&mut bytes)?;
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    Ok((hash, bytes.len() as u64))
}

/// The end of a file, or the start of a last line that is still being written.
fn last_line_start(file: &mut File, length: u64) -> io::Result<u64> {
    let window = length.min(64 << 10);
    file.seek(SeekFrom::Start(length - window))?;
    let mut bytes = Vec::new();
    Read::by_ref(file).take(window).read_to_end(&mut bytes)?;
    let unfinished = memchr::memrchr(b'\n', &bytes).map_or(0, |at| bytes.len() - at - 1);
    Ok((length - window) + bytes.len() as u64 - unfinished as u64)
}
