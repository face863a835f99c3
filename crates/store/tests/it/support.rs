//! Numbered spans, and finding them again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracewell_model::{LogEntry, LogRecord, Resource, Scope, Span, SpanId, SpanRecord, TraceId, Value};
use tracewell_store::table::{Field, Signal, Source};
use tracewell_store::{AppendError, Store, StoreConfig};
use tracewell_wire::otlp::{encode_logs, encode_traces};

pub const TENANT: &str = "default";
/// When span 0 starts: noon, UTC.
pub const EPOCH_NS: u64 = 1_700_049_600_000_000_000;
/// Spans of consecutive numbers start this far apart.
pub const STEP_NS: u64 = 1_000_000;

/// A request with the spans of these numbers; a span's id is its number and one, for zero is not valid.
pub fn request(numbers: impl IntoIterator<Item = u64>) -> Bytes {
    let (resource, scope) = (Arc::new(Resource::default()), Arc::new(Scope::default()));
    let record = |number: u64| {
        let start_unix_nano = EPOCH_NS + number * STEP_NS;
        let span = Span {
            trace_id: TraceId((1 + u128::from(number / 7)).to_be_bytes()),
            span_id: SpanId::from_u64(number + 1),
            name: format!("operation {}", number % 5),
            start_unix_nano,
            end_unix_nano: start_unix_nano + 3 * STEP_NS,
            ..Span::default()
        };
        SpanRecord { resource: resource.clone(), scope: scope.clone(), span }
    };
    encode_traces(&numbers.into_iter().map(record).collect::<Vec<_>>()).into()
}

/// A request with log records of these numbers.
pub fn log_request(numbers: impl IntoIterator<Item = u64>) -> Bytes {
    let record = |number: u64| LogEntry {
        record: LogRecord {
            time_unix_nano: EPOCH_NS + number * STEP_NS,
            body: Value::Str(format!("line {number}")),
            trace_id: Some(TraceId((1 + u128::from(number / 7)).to_be_bytes())),
            span_id: Some(SpanId::from_u64(number + 1)),
            ..LogRecord::default()
        },
        ..LogEntry::default()
    };
    encode_logs(&numbers.into_iter().map(record).collect::<Vec<_>>()).into()
}

/// A store that does nothing by itself: no age, no size, no load makes it seal, merge or delete.
pub fn quiet(dir: &Path) -> StoreConfig {
    StoreConfig {
        head_age_max: Duration::from_secs(86_400),
        compaction_fan_in: usize::MAX,
        busy_rows_per_second: 0,
        retention_age: None,
        free_bytes_min: 0,
        ..StoreConfig::new(dir)
    }
}

pub fn open(config: &StoreConfig) -> Store {
    Store::open(config.clone()).unwrap().0
}

/// Appends the spans of these numbers in one request.
pub async fn append(store: &Store, numbers: impl IntoIterator<Item = u64>) -> Result<(), AppendError> {
    store.append(TENANT.into(), Signal::Traces, request(numbers)).await
}

/// The numbers of the rows in sources, with how often each is there.
pub fn ids(sources: &[Arc<dyn Source>]) -> BTreeMap<u64, u32> {
    let mut found = BTreeMap::new();
    for source in sources {
        let chunks = source.rows().div_ceil(source.chunk_rows());
        for chunk in 0..chunks {
            let ids = source.chunk(&Field::SpanId, chunk).unwrap().unwrap();
            (0..ids.len()).for_each(|row| *found.entry(ids.bits(row).unwrap() - 1).or_default() += 1);
        }
    }
    found
}

/// The numbers of the stored spans; every one must be there once.
pub fn stored(store: &Store) -> Vec<u64> {
    let found = ids(&store.sources(TENANT, Signal::Traces, None));
    let twice: Vec<_> = found.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "stored more than once: {twice:?}");
    found.into_keys().collect()
}

/// Files in a folder of the store whose names end so, sorted.
pub fn files(dir: &Path, folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join(folder)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(ending));
    files.sort();
    files
}

/// Changes the bytes of a file.
pub fn tamper(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}
