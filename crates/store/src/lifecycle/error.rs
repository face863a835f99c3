//! What can go wrong, and what the caller may do about it.

use std::time::Duration;

use crate::catalog::CatalogError;
use crate::segment::WriteError;
use crate::table::SourceError;

/// Why a store cannot be opened, or could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the folder.
    #[error("{dir} is in use by process {pid}: stop it, or choose another data folder")]
    InUse {
        /// The data folder.
        dir: String,
        /// The process, as it wrote it down.
        pid: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// The operating system's words.
        source: std::io::Error,
    },
    /// The catalog cannot be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A segment could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A segment that was just written, or is to be merged, cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is not enough room on the disk.
    #[error("{needed_mib} MiB are needed on the disk of {dir} and {free_mib} MiB are free: free some space")]
    NoRoom {
        /// The data folder.
        dir: String,
        /// How much would be written, with the reserve.
        needed_mib: u64,
        /// How much is free.
        free_mib: u64,
    },
    /// A defect of the program; the data is safe in the log.
    #[error("a defect while {action}: {panic}; what was acknowledged stays in the log")]
    Panicked {
        /// What was under way.
        action: &'static str,
        /// The panic's message.
        panic: String,
    },
    /// The store is being closed.
    #[error("the store is closing")]
    Closing,
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        StoreError::Io { action, path: path.display().to_string(), source }
    }

    pub(crate) fn panicked(action: &'static str, panic: Box<dyn std::any::Any + Send>) -> Self {
        let words = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
        StoreError::Panicked { action, panic: words.unwrap_or_else(|| "no message".into()) }
    }
}

/// Why a request was not taken. Nothing of it is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Too much is waiting; the same request can succeed later.
    #[error("the store is busy; retry after {retry_after:?}")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// Nothing can be taken now.
    #[error("the store is not available: {reason}")]
    Unavailable {
        /// For the operator: what is wrong and what to do.
        reason: String,
        /// When to try again.
        retry_after: Duration,
    },
}
