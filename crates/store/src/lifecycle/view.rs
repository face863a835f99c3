//! What is visible: heads and segments of every tenant.
//!
//! Every change (a head frozen, its segments committed, segments merged) happens under one lock, so that a reader's
//! snapshot holds each row exactly once.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::catalog::SegmentRow;
use crate::head::Head;
use crate::segment::Segment;
use crate::table::{Signal, Source};

/// Whose rows, and which.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub tenant: Arc<str>,
    pub signal: Signal,
}

/// A head, and what of the log is in it.
pub(crate) struct OpenHead {
    pub head: Head,
    pub first_frame: u64,
    pub last_frame: AtomicU64,
    /// When the first row came, in milliseconds since the epoch.
    pub opened_ms: u64,
    /// When the last row came.
    pub received_ms: AtomicU64,
    /// Memory, as counted in the budget.
    pub bytes: AtomicU64,
    /// Hashes of the requests in here.
    pub requests: Mutex<Vec<u128>>,
}

impl OpenHead {
    pub(crate) fn new(signal: Signal, first_frame: u64, now_ms: u64) -> Self {
        Self {
            head: Head::new(signal),
            first_frame,
            last_frame: AtomicU64::new(first_frame),
            opened_ms: now_ms,
            received_ms: AtomicU64::new(now_ms),
            bytes: AtomicU64::new(0),
            requests: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// A segment that is open.
pub(crate) struct Held {
    pub row: SegmentRow,
    pub segment: Arc<Segment>,
    /// Found damaged by compaction: still served as far as it can be read, never merged.
    pub damaged: AtomicBool,
}

/// Rows of one tenant and signal.
#[derive(Default)]
pub(crate) struct Table {
    pub filling: Option<Arc<OpenHead>>,
    pub sealing: Option<Arc<OpenHead>>,
    pub segments: Vec<Arc<Held>>,
    /// In the catalog, but cannot be opened.
    pub quarantined: Vec<SegmentRow>,
}

impl Table {
    fn is_empty(&self) -> bool {
        self.filling.is_none() && self.sealing.is_none() && self.segments.is_empty() && self.quarantined.is_empty()
    }

    pub(crate) fn heads(&self) -> impl Iterator<Item = &Arc<OpenHead>> {
        self.sealing.iter().chain(&self.filling)
    }
}

/// Everything.
#[derive(Default)]
pub(crate) struct View {
    tenants: HashMap<Arc<str>, [Table; 2]>,
}

fn slot(signal: Signal) -> usize {
    match signal {
        Signal::Traces => 0,
        Signal::Logs => 1,
    }
}

impl View {
    pub(crate) fn table(&self, tenant: &str, signal: Signal) -> Option<&Table> {
        self.tenants.get(tenant)?.get(slot(signal))
    }

    pub(crate) fn table_mut(&mut self, key: &Key) -> &mut Table {
        &mut self.tenants.entry(key.tenant.clone()).or_default()[slot(key.signal)]
    }

    pub(crate) fn tables(&self) -> impl Iterator<Item = (Key, &Table)> {
        self.tenants.iter().flat_map(|(tenant, tables)| {
            [Signal::Traces, Signal::Logs].into_iter().zip(tables).map(|(signal, table)| {
                let key = Key { tenant: tenant.clone(), signal };
                (key, table)
            })
        })
    }

    /// Tenants with anything stored, sorted.
    pub(crate) fn tenants(&self) -> Vec<Arc<str>> {
        let stored = |tables: &[Table; 2]| tables.iter().any(|table| !table.is_empty());
        let mut tenants: Vec<Arc<str>> =
            self.tenants.iter().filter(|(_, tables)| stored(tables)).map(|(tenant, _)| tenant.clone()).collect();
        tenants.sort();
        tenants
    }

    pub(crate) fn tenant_count(&self) -> usize {
        self.tenants.len()
    }

    pub(crate) fn has_tenant(&self, tenant: &str) -> bool {
        self.tenants.contains_key(tenant)
    }

    /// Number of the first frame that is in a head and in no segment; `None` where every frame is in segments.
    pub(crate) fn oldest_frame(&self) -> Option<u64> {
        self.tables().flat_map(|(_, table)| table.heads().map(|head| head.first_frame)).min()
    }

    /// Every segment's row, also of those that cannot be opened.
    pub(crate) fn rows(&self) -> Vec<SegmentRow> {
        self.tables()
            .flat_map(|(_, table)| table.segments.iter().map(|held| &held.row).chain(&table.quarantined).cloned())
            .collect()
    }
}

/// The sources of a table that can have rows in `time`.
pub(crate) fn sources(
    heads: Vec<Arc<OpenHead>>,
    segments: Vec<Arc<Segment>>,
    time: Option<&RangeInclusive<u64>>,
) -> Vec<Arc<dyn Source>> {
    let overlaps = |source: &Arc<dyn Source>| {
        let (from, to) = source.time_range();
        time.is_none_or(|time| from <= *time.end() && to >= *time.start())
    };
    let rows = heads.iter().flat_map(|head| head.head.sources());
    rows.chain(segments.into_iter().map(|segment| segment as Arc<dyn Source>)).filter(overlaps).collect()
}
