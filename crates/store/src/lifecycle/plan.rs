//! Which segments to merge next. A pure decision.
//!
//! Rewriting costs as much as sealing did, so each row should be rewritten rarely: while rows pour in, segments pile
//! up to the fan-in and are then merged at once; when it is calm, four of similar size are enough; and what no longer
//! changes is merged whole, first each partition, then each day.

use std::collections::BTreeMap;

use crate::catalog::SegmentRow;
use crate::config::StoreConfig;

/// A partition without a new segment for this long no longer changes.
const QUIET_MS: u64 = 600_000;
/// Segments of similar size that are worth a merge.
const SIMILAR_MIN: usize = 4;
const DAY_NS: u64 = 86_400_000_000_000;
/// Retention goes by the newest rows of a segment. So that old rows do not stay much longer by being merged with new
/// ones, only what arrived within this part of the retention's age is merged.
const AGE_PARTS: u32 = 4;

/// A merge to carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What to merge, at least two.
    pub ids: Vec<u64>,
    /// Level of the result.
    pub level: u8,
    /// Partition of the result, in nanoseconds since the epoch.
    pub partition_start: u64,
    /// Its width in nanoseconds.
    pub partition_ns: u64,
}

/// How eager to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Rows pour in: merge only what would slow queries down.
    Busy,
    /// Time to spare.
    Calm,
    /// Asked to merge all that can be.
    Forced,
}

/// The next merge among one table's segments, if any is worth it.
pub(crate) fn plan(rows: &[&SegmentRow], now_ms: u64, mood: Mood, config: &StoreConfig) -> Option<Plan> {
    let partition_ns = (config.partition.as_nanos() as u64).clamp(1, DAY_NS);
    let small = |row: &&&SegmentRow| row.rows < config.segment_rows_max / 2;
    let quiet = |group: &[&SegmentRow]| {
        mood == Mood::Forced || group.iter().all(|row| row.created_ms.saturating_add(QUIET_MS) <= now_ms)
    };

    let arrival_ms = config.retention_age.map_or(u64::MAX, |age| (age / AGE_PARTS).as_millis() as u64).max(1);
    let arrival = |row: &SegmentRow| row.created_ms / arrival_ms;

    let mut partitions: BTreeMap<(u64, u64), Vec<&SegmentRow>> = BTreeMap::new();
    for row in rows.iter().filter(small).filter(|row| row.level < 2) {
        let start = row.partition_start / partition_ns * partition_ns;
        partitions.entry((start, arrival(row))).or_default().push(row);
    }
    for ((start, _), mut group) in partitions {
        let ids = match mood {
            Mood::Busy if group.len() < config.compaction_fan_in => continue,
            Mood::Busy => smallest(&mut group, config.segment_rows_max, u64::MAX),
            Mood::Calm | Mood::Forced if quiet(&group) => smallest(&mut group, config.segment_rows_max, u64::MAX),
            Mood::Calm | Mood::Forced => {
                let similar = smallest(&mut group, config.segment_rows_max, 2);
                if similar.len() < SIMILAR_MIN {
                    continue;
                }
                similar
            }
        };
        if ids.len() >= 2 {
            return Some(Plan { ids, level: 1, partition_start: start, partition_ns });
        }
    }
    if mood == Mood::Busy || partition_ns == DAY_NS {
        return None;
    }

    let mut days: BTreeMap<(u64, u64), Vec<&SegmentRow>> = BTreeMap::new();
    for row in rows.iter().filter(small) {
        days.entry((row.partition_start / DAY_NS * DAY_NS, arrival(row))).or_default().push(row);
    }
    for ((start, _), mut group) in days {
        let over = start.saturating_add(DAY_NS + partition_ns) / 1_000_000 <= now_ms;
        if over && quiet(&group) {
            let ids = smallest(&mut group, config.segment_rows_max, u64::MAX);
            if ids.len() >= 2 {
                return Some(Plan { ids, level: 2, partition_start: start, partition_ns: DAY_NS });
            }
        }
    }
    None
}

/// The smallest segments that fit into one, ending before the first that is more than `factor` times as large as
/// those before it together.
fn smallest(group: &mut [&SegmentRow], rows_max: u64, factor: u64) -> Vec<u64> {
    group.sort_by_key(|row| (row.rows, row.id));
    let mut total = 0u64;
    let taken = group.iter().take_while(|row| {
        let fits = total + row.rows <= rows_max && (total == 0 || row.rows <= total.saturating_mul(factor));
        total += row.rows;
        fits
    });
    taken.map(|row| row.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Signal;

    const HOUR_NS: u64 = 3_600_000_000_000;
    /// Noon of the second day.
    const NOW_MS: u64 = 36 * 3_600_000;

    /// A segment in an hour, created so many minutes ago.
    fn segment(id: u64, rows: u64, hour: u64, minutes_ago: u64, level: u8) -> SegmentRow {
        SegmentRow {
            id,
            tenant: "t".into(),
            signal: Signal::Traces,
            level,
            rows,
            traces: 1,
            min_start: 0,
            max_end: 0,
            partition_start: hour * HOUR_NS,
            data_bytes: 0,
            index_bytes: 0,
            data_footer_crc: 0,
            wal_from: 0,
            wal_to: 0,
            created_ms: NOW_MS - minutes_ago * 60_000,
            set_id: id,
        }
    }

    fn planned(rows: &[SegmentRow], mood: Mood) -> Option<(Vec<u64>, u8)> {
        let config = StoreConfig {
            segment_rows_max: 1_000,
            compaction_fan_in: 8,
            retention_age: Some(std::time::Duration::from_secs(86_400)),
            ..StoreConfig::new("/nowhere")
        };
        let rows: Vec<&SegmentRow> = rows.iter().collect();
        plan(&rows, NOW_MS, mood, &config).map(|plan| (plan.ids, plan.level))
    }

    type Case = (&'static str, Vec<SegmentRow>, Mood, Option<(Vec<u64>, u8)>);

    #[test]
    fn merges_are_chosen_by_load_size_and_age() {
        let fresh = |count: u64| (1..=count).map(|id| segment(id, 10, 35, 0, 0)).collect::<Vec<_>>();
        let cases: Vec<Case> = vec![
            ("nothing", vec![], Mood::Forced, None),
            ("one is not merged with itself", fresh(1), Mood::Forced, None),
            ("under load, wait for the fan-in", fresh(7), Mood::Busy, None),
            ("under load, all at once at the fan-in", fresh(8), Mood::Busy, Some(((1..=8).collect(), 1))),
            ("calm, three are too few", fresh(3), Mood::Calm, None),
            ("calm, four are enough", fresh(4), Mood::Calm, Some((vec![1, 2, 3, 4], 1))),
            (
                "a large one is not rewritten for small ones",
                [fresh(4), vec![segment(9, 400, 35, 0, 1)]].concat(),
                Mood::Calm,
                Some((vec![1, 2, 3, 4], 1)),
            ),
            (
                "unless its partition no longer changes",
                vec![segment(1, 10, 35, 11, 0), segment(2, 400, 35, 11, 1)],
                Mood::Calm,
                Some((vec![1, 2], 1)),
            ),
            (
                "no larger than the bound",
                vec![segment(1, 400, 35, 11, 1), segment(2, 450, 35, 11, 1), segment(3, 480, 35, 11, 1)],
                Mood::Calm,
                Some((vec![1, 2], 1)),
            ),
            ("full ones stay", vec![segment(1, 500, 35, 11, 1), segment(2, 900, 35, 11, 1)], Mood::Forced, None),
            ("partitions are kept apart", vec![segment(1, 10, 34, 11, 0), segment(2, 10, 35, 11, 0)], Mood::Calm, None),
            (
                "until their day is over",
                vec![segment(1, 10, 3, 60, 1), segment(2, 10, 17, 60, 1)],
                Mood::Calm,
                Some((vec![1, 2], 2)),
            ),
            (
                "late rows join their day when they have settled",
                vec![segment(1, 10, 3, 5, 0), segment(2, 10, 0, 60, 2)],
                Mood::Calm,
                None,
            ),
        ];
        for (name, rows, mood, expected) in cases {
            assert_eq!(planned(&rows, mood), expected, "{name}");
        }
    }

    #[test]
    fn merging_comes_to_an_end() {
        let mut rows: Vec<SegmentRow> = (1..=60).map(|id| segment(id, 37 * (id % 13) + 1, id % 36, 60, 0)).collect();
        let config = StoreConfig { segment_rows_max: 1_000, ..StoreConfig::new("/nowhere") };
        let mut next = 100;
        for step in 0.. {
            assert!(step < 100);
            let refs: Vec<&SegmentRow> = rows.iter().collect();
            let Some(plan) = plan(&refs, NOW_MS, Mood::Forced, &config) else { break };
            let (merged, rest): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| plan.ids.contains(&row.id));
            let total = merged.iter().map(|row| row.rows).sum();
            rows = rest;
            next += 1;
            rows.push(segment(next, total, plan.partition_start / HOUR_NS, 60, plan.level));
        }
        assert!(rows.iter().all(|row| row.rows <= 1_000) && rows.len() < 40, "{}", rows.len());
    }
}
