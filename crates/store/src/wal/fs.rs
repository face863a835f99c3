//! The file operations that the log needs, behind a trait so that tests can fail every one of them.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::path::Path;

/// A file that is being written.
pub trait LogFile: Send {
    /// Appends as much of the buffers as the system takes; returns how many bytes that was.
    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Makes the contents durable. After an error the state on disk is unknown and a second call proves nothing.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file to `length` bytes.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// A directory entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// File name without its folder.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// Room on a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What an ordinary user may still write.
    pub free: u64,
    /// Size of the file system.
    pub total: u64,
}

/// File operations. Names become durable only with [`Fs::sync_dir`].
pub trait Fs: Send + Sync + 'static {
    /// The files of a folder, in any order.
    fn list(&self, dir: &Path) -> io::Result<Vec<LogEntry>>;
    /// A new empty file; fails where one exists.
    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>>;
    /// An existing file, to cut it and make it durable.
    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>>;
    /// An existing file from its beginning.
    fn read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;
    /// Gives a file another name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// How much room there is.
    fn space(&self, dir: &Path) -> io::Result<Space>;
}

/// The operating system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskFs;

struct DiskFile(File);

impl LogFile for DiskFile {
    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(buffers)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
}

impl Fs for DiskFs {
    fn list(&self, dir: &Path) -> io::Result<Vec<LogEntry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_file() {
                entries
                    .push(LogEntry { name: entry.file_name().to_string_lossy().into_owned(), bytes: metadata.len() });
            }
        }
        Ok(entries)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let file = OpenOptions::new().append(true).create_new(true).open(path)?;
        Ok(Box::new(DiskFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(DiskFile(OpenOptions::new().append(true).open(path)?)))
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let found = rustix::fs::statvfs(dir)?;
        Ok(Space { free: found.f_bavail * found.f_frsize, total: found.f_blocks * found.f_frsize })
    }
}
