//! One server for a data folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::StoreError;

/// Holds the folder until dropped; the operating system lets go of it when the process ends, however it ends.
pub(crate) struct FolderLock {
    file: File,
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing would not do while a process that is just being started still shares the handle.
        if let Err(error) = self.file.unlock() {
            tracing::warn!("cannot unlock the data folder: {error}");
        }
    }
}

impl FolderLock {
    /// Takes the folder, or says who has it.
    pub(crate) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("LOCK");
        let failed = |source| StoreError::io("lock", &path, source);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).map_err(failed)?;
                let pid = if pid.trim().is_empty() { "unknown" } else { pid.trim() };
                return Err(StoreError::InUse { dir: dir.display().to_string(), pid: pid.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        // On a full disk the number is missing, the lock is not.
        writeln!(file, "{}", std::process::id()).ok();
        Ok(Self { file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_was_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = FolderLock::take(dir.path()).unwrap();
        let error = FolderLock::take(dir.path()).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(&format!("in use by process {}", std::process::id())), "{error}");
        drop(first);
        FolderLock::take(dir.path()).unwrap();
    }
}
