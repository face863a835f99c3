//! What goes into the log's writer and what comes out.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::table::Signal;

/// A request that is to become durable.
#[derive(Debug)]
pub struct Submission<T> {
    /// Tenant, 1 to 255 bytes.
    pub tenant: Arc<str>,
    /// What the payload holds.
    pub signal: Signal,
    /// At most [`super::format::PAYLOAD_BYTES_MAX`].
    pub payload: Bytes,
    /// What the caller needs to find its way back.
    pub ticket: T,
}

/// A request that is durable.
#[derive(Debug)]
pub struct Frame<T> {
    /// Frame number.
    pub number: u64,
    /// When it was written, in milliseconds since the epoch.
    pub received_ms: u64,
    /// The request.
    pub submission: Submission<T>,
}

/// Why the log takes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For the operator: what is wrong and what to do.
    pub reason: String,
    /// False when it stays so until the store is opened anew.
    pub passing: bool,
}

/// Takes what the writer has finished with. Called on the writer's thread, in order.
pub trait Consumer<T>: Send {
    /// These are durable; their numbers are consecutive.
    fn durable(&mut self, group: Vec<Frame<T>>);
    /// None of these is stored.
    fn refused(&mut self, group: Vec<Submission<T>>, refusal: &Refusal);
}

/// How the log is written.
#[derive(Debug, Clone)]
pub struct WalConfig {
    /// Folder of the files.
    pub dir: PathBuf,
    /// A group ends with the request that brings it to this many bytes.
    pub group_bytes: usize,
    /// A file of this size is followed by a new one.
    pub file_bytes: u64,
    /// Nothing is written when less than this would stay free (or a tenth of the file system, if that is less).
    pub free_bytes_min: u64,
}

/// What there is to know about the log.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct WalStatus {
    /// Files on disk.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Groups made durable since the start.
    pub groups: u64,
    /// Frames made durable since the start.
    pub frames: u64,
    /// Nanoseconds spent in fsync since the start.
    pub sync_ns: u64,
    /// The slowest fsync since the start, in nanoseconds.
    pub sync_ns_max: u64,
    /// Requests refused since the start.
    pub refused: u64,
    /// Why nothing is taken, while that is so.
    pub refusal: Option<String>,
    /// True when that stays so until the store is opened anew.
    pub poisoned: bool,
}
