//! How a store behaves.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of a [`Store`](crate::Store). [`StoreConfig::new`] has sensible ones for every folder.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreConfig {
    /// Folder of everything that is stored. Created where missing; one server at a time.
    pub data_dir: PathBuf,
    /// A head of this many rows is sealed into segments.
    pub head_rows_max: u64,
    /// A head of this many bytes of memory is sealed.
    pub head_bytes_max: u64,
    /// A head is sealed this long after its first row.
    pub head_age_max: Duration,
    /// Memory of all heads and of what waits to get there, in bytes. Past it requests wait, then are turned away.
    pub memory_bytes_max: u64,
    /// How long a request waits for memory before it is turned away.
    pub append_wait_max: Duration,
    /// A log file of this size is followed by a new one.
    pub wal_file_bytes: u64,
    /// Log on disk past which the heads with the oldest frames are sealed, whatever their size.
    pub wal_bytes_max: u64,
    /// Nothing more is taken when less than this is free on the disk (or a tenth of it, where that is less).
    pub free_bytes_min: u64,
    /// An identical request within this time is acknowledged without being stored again. Zero turns that off.
    pub request_window: Duration,
    /// How many requests are remembered for that at most.
    pub request_window_max: usize,
    /// Width of the time partitions of segments. Compaction merges within one, and once a UTC day has passed,
    /// within the day.
    pub partition: Duration,
    /// Segments are merged up to this many rows.
    pub segment_rows_max: u64,
    /// Small segments in one partition before they are merged even under load.
    pub compaction_fan_in: usize,
    /// Rows a second above which compaction waits until [`StoreConfig::compaction_fan_in`] is reached.
    pub busy_rows_per_second: u64,
    /// Zstandard level of what a head is sealed into, and of what compaction writes.
    pub zstd_level: (i32, i32),
    /// Segments are deleted when their newest rows arrived this long ago. `None` keeps them.
    pub retention_age: Option<Duration>,
    /// The oldest segments are deleted while all together are larger than this, in bytes. `None` sets no bound.
    pub retention_bytes: Option<u64>,
    /// Memory for decoded pieces of segments, in bytes.
    pub cache_bytes: u64,
    /// Tenants at most; requests of further ones are refused.
    pub tenants_max: usize,
    /// Threads that seal heads.
    pub seal_threads: usize,
    /// How long [`Store::close`](crate::Store::close) may seal; what is not sealed by then stays in the log.
    pub close_seal_max: Duration,
}

impl StoreConfig {
    /// Defaults, with everything in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            data_dir: data_dir.into(),
            head_rows_max: 524_288,
            head_bytes_max: 128 << 20,
            head_age_max: Duration::from_secs(120),
            memory_bytes_max: 256 << 20,
            append_wait_max: Duration::from_secs(5),
            wal_file_bytes: 256 << 20,
            wal_bytes_max: 1 << 30,
            free_bytes_min: 256 << 20,
            request_window: Duration::from_secs(3600),
            request_window_max: 1_000_000,
            partition: Duration::from_secs(3600),
            segment_rows_max: 16 << 20,
            compaction_fan_in: 32,
            busy_rows_per_second: 20_000,
            zstd_level: (1, 1),
            retention_age: Some(Duration::from_secs(7 * 86_400)),
            retention_bytes: None,
            cache_bytes: 128 << 20,
            tenants_max: 1_000,
            seal_threads: (cores / 4).max(1),
            close_seal_max: Duration::from_millis(3_500),
        }
    }
}
