//! The write-ahead log: what makes a request durable before it is acknowledged.
//!
//! It is: numbered frames in files that are only ever appended to, one `fdatasync` for everyone who waits,
//! and a replay that reads back whatever can be read. It is not: a store of rows (a frame's payload is the
//! request as received) and not a queue to other machines.
//!
//! ```text
//! submit ─▶ inbox ─▶ writer thread: write group ─▶ fdatasync ─▶ Consumer::durable (in frame order)
//!                        │ a write or fsync failed
//!                        └─▶ Consumer::refused; cut the file back to what is durable; poisoned, or, where the
//!                            disk was merely full, a new file as soon as there is room again
//! open ─▶ replay: every frame that can be read, in order; what cannot is reported
//! ```
//!
//! The bytes are described in [`format`] and in `docs/formats.md`.

pub mod format;
mod fs;
mod reader;
mod request;
#[cfg(test)]
pub(crate) mod sim;
#[cfg(test)]
mod tests;
mod writer;

pub use fs::{DiskFs, Fs, LogEntry, LogFile, Space};
pub use reader::{FrameRef, Replay, ReplayReport, replay};
pub use request::{Consumer, Frame, Refusal, Submission, WalConfig, WalStatus};
pub use writer::Wal;

/// One file of the log, as the writer and the trimming know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalFile {
    /// Where it is.
    pub path: std::path::PathBuf,
    /// Number of the first frame that it holds or would hold.
    pub first: u64,
    /// Number of the frame after its last.
    pub next: u64,
    /// Bytes of header and durable frames.
    pub bytes: u64,
    /// True when part of it cannot be read: it is kept aside, not deleted, once it is no longer needed.
    pub damaged: bool,
}
