//! Log files, read once or followed: their lines become spans and log records and go to a [`Sink`].
//!
//! It is: files that grow, are rotated and compressed, offsets that survive a restart, batches, repetition until the sink
//! has taken them. It is not: the meaning of a line ([`tracewell_wire::accesslog`] knows it).
//!
//! ```text
//! path ─▶ glob ─▶ follow (renamed? emptied? new?) ─▶ lines ─▶ Converter ─▶ Batch ─▶ deliver ─▶ Sink
//!                    ▲                                                                 │ stored
//!                    └────────────────────── state (offsets, in the data folder) ◀─────┘
//! ```
//!
//! A file is read at least once, and stored once: before a request is sent, its end is written down; after a crash the same
//! lines make the same request, which the store recognises for an hour.

mod deliver;
mod engine;
mod follow;
mod glob;
mod lines;
mod source;
mod state;
mod stats;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracewell_wire::accesslog::{Format, Options};

pub use deliver::{Undelivered, deliver};
pub use engine::{FileStatus, TailStats, follow};
pub use glob::files;
pub use lines::{Line, Lines};
pub use source::{decompressed, is_compressed_name, sample};
pub use stats::{Example, LineSnapshot, LineStats};

/// Files that are followed at one time.
pub const FILES_MAX: usize = 1_000;

/// Files to be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A path, with `*` and `?` in its parts.
    pub path: PathBuf,
    /// How lines are written; from the first lines without it.
    pub format: Option<Format>,
    /// What lines become.
    pub options: Options,
}

/// What to follow, and how.
#[derive(Debug, Clone)]
pub struct TailConfig {
    /// The files.
    pub logs: Vec<Log>,
    /// Where offsets are kept; without it every start begins anew.
    pub state_file: Option<PathBuf>,
    /// How often files are looked at.
    pub poll: Duration,
    /// A file that is seen for the first time is read from its end.
    pub from_end: bool,
    /// Tenant of what is read.
    pub tenant: Arc<str>,
}
