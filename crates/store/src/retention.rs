//! Which segments have had their time. A pure decision; the housekeeper carries it out.

use crate::catalog::SegmentRow;
use crate::config::StoreConfig;

/// Ids of the segments to delete at `now_ms`.
///
/// Age counts from the arrival of a segment's newest rows, not from the time that the rows speak of: a span of last
/// month that is sent today is searchable for as long as one of today, and a clock that runs ahead keeps nothing
/// for ever. Where size decides, what arrived first goes first.
pub fn expired(segments: &[SegmentRow], now_ms: u64, config: &StoreConfig) -> Vec<u64> {
    let oldest_ms = config.retention_age.map_or(0, |age| now_ms.saturating_sub(age.as_millis() as u64));
    let mut order: Vec<&SegmentRow> = segments.iter().collect();
    order.sort_by_key(|row| (row.created_ms, row.id));
    let mut bytes: u64 = order.iter().map(|row| row.size_bytes()).sum();
    let bytes_max = config.retention_bytes.unwrap_or(u64::MAX);
    let mut expired = Vec::new();
    for row in order {
        if row.created_ms < oldest_ms || bytes > bytes_max {
            bytes -= row.size_bytes();
            expired.push(row.id);
        }
    }
    expired
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::table::Signal;

    fn segment(id: u64, created_ms: u64, bytes: u64) -> SegmentRow {
        SegmentRow {
            id,
            tenant: "t".into(),
            signal: Signal::Traces,
            level: 0,
            rows: 1,
            traces: 1,
            min_start: 0,
            max_end: 0,
            partition_start: 0,
            data_bytes: bytes,
            index_bytes: 0,
            data_footer_crc: 0,
            wal_from: 0,
            wal_to: 0,
            created_ms,
            set_id: id,
        }
    }

    #[test]
    fn age_counts_from_arrival_and_size_takes_the_oldest() {
        let segments = [segment(1, 1_000, 10), segment(2, 9_000, 10), segment(3, 5_000, 10)];
        let cases = [
            (None, None, vec![]),
            (Some(4_000), None, vec![1, 3]),
            (Some(100_000), None, vec![]),
            (None, Some(20), vec![1]),
            (None, Some(29), vec![1]),
            (None, Some(0), vec![1, 3, 2]),
            (Some(8_500), Some(15), vec![1, 3]),
        ];
        for (age_ms, bytes, expected) in cases {
            let config = StoreConfig {
                retention_age: age_ms.map(Duration::from_millis),
                retention_bytes: bytes,
                ..StoreConfig::new("/nowhere")
            };
            assert_eq!(expired(&segments, 10_000, &config), expected, "{age_ms:?} {bytes:?}");
        }
    }
}
