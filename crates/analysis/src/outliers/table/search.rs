//! The search for patterns: sequential covering.

use super::{CONDITIONS_MAX, Condition, PATTERNS_MAX, Table};
use crate::outliers::density;
use crate::outliers::effect::{Effect, Group, LARGE, Ordered, SMALL};

/// A level holds at least this share of the requests …
const SHARE_MIN: f64 = 0.02;
/// … and this many of them.
const REQUESTS_MIN: usize = 10;
/// A level that most of the requests are at is the usual one.
const SHARE_MAX: f64 = 0.5;
/// A part of a pattern stands for itself when its latency differs by this many standard deviations.
const DEVIATIONS_MIN: f64 = 4.0;

/// Requests, and which of them are explained already.
pub(super) struct Search<'a> {
    table: &'a Table,
    requests: usize,
    ordered: Ordered<'a>,
    pattern_of: Vec<Option<u32>>,
    level_requests_min: usize,
}

/// Values of a column between two valleys.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Level {
    column: usize,
    from: f64,
    to: f64,
    /// The depth of the shallower of the valleys that bound it.
    depth: f64,
}

impl Level {
    fn holds(&self, value: f64) -> bool {
        self.from <= value && value < self.to
    }
}

impl<'a> Search<'a> {
    pub(super) fn new(table: &'a Table) -> Self {
        let lengths = table.columns.iter().map(|column| column.values_ms.len());
        let requests = lengths.fold(table.latencies_ms.len(), usize::min);
        Self {
            table,
            requests,
            ordered: Ordered::new(&table.latencies_ms[..requests]),
            pattern_of: vec![None; requests],
            level_requests_min: REQUESTS_MIN.max((requests as f64 * SHARE_MIN).ceil() as usize),
        }
    }

    pub(super) fn latencies(&self) -> &'a [f64] {
        &self.table.latencies_ms[..self.requests]
    }

    pub(super) fn pattern_of(&self) -> &[Option<u32>] {
        &self.pattern_of
    }

    /// Finds patterns until no slow level is left.
    pub(super) fn run(&mut self) -> Vec<Vec<Condition>> {
        let mut patterns = Vec::new();
        while patterns.len() < PATTERNS_MAX {
            let left: Vec<bool> = self.pattern_of.iter().map(Option::is_none).collect();
            let slow = self.slow_levels(&left);
            let Some((clearest, _)) = slow.iter().max_by(|(a, a_effect), (b, b_effect)| {
                let by_effect = a_effect.superiority.total_cmp(&b_effect.superiority);
                // The first column where all is equal.
                a.depth.total_cmp(&b.depth).then(by_effect).then(b.column.cmp(&a.column))
            }) else {
                break;
            };
            let (levels, members) = self.narrow(*clearest, &slow, &left);
            let number = patterns.len() as u32;
            for (request, _) in members.iter().enumerate().filter(|(_, member)| **member) {
                self.pattern_of[request] = Some(number);
            }
            patterns.push(levels.iter().map(|level| self.condition(level)).collect());
        }
        patterns
    }

    /// The levels of a column among some of the requests; empty where there is but one.
    fn levels(&self, column: usize, among: &[bool]) -> Vec<Level> {
        let values = self.values(column).iter().zip(among).filter(|(_, among)| **among).map(|(value, _)| *value);
        let valleys = density::valleys(values, self.level_requests_min);
        let Some(last) = valleys.last() else { return Vec::new() };
        let mut levels = Vec::with_capacity(valleys.len() + 1);
        let (mut from, mut depth) = (f64::NEG_INFINITY, 1.0);
        for valley in &valleys {
            levels.push(Level { column, from, to: valley.at, depth: valley.depth.min(depth) });
            (from, depth) = (valley.at, valley.depth);
        }
        levels.push(Level { column, from, to: f64::INFINITY, depth: last.depth });
        levels
    }

    fn values(&self, column: usize) -> &[f64] {
        &self.table.columns[column].values_ms[..self.requests]
    }

    /// The levels with few of the requests that are left and clearly higher latency than the others have.
    fn slow_levels(&self, left: &[bool]) -> Vec<(Level, Effect)> {
        let total = left.iter().filter(|left| **left).count() as f64;
        let slow = |level: Level| {
            let values = self.values(level.column);
            let within = values.iter().zip(left).filter(|(value, left)| **left && level.holds(**value)).count();
            if within as f64 > SHARE_MAX * total {
                return None;
            }
            let effect = self.compare(left, |request| level.holds(values[request]))?;
            (effect.superiority >= LARGE).then_some((level, effect))
        };
        (0..self.table.columns.len()).flat_map(|column| self.levels(column, left)).filter_map(slow).collect()
    }

    /// Latency of the requests for which something holds, against that of the others.
    fn compare(&self, among: &[bool], holds: impl Fn(usize) -> bool) -> Option<Effect> {
        self.ordered.compare(|request| match among[request] {
            true if holds(request) => Group::First,
            true => Group::Second,
            false => Group::Neither,
        })
    }

    /// Adds conditions while another slow column parts what is found into levels that differ in latency as well.
    fn narrow(&self, first: Level, slow: &[(Level, Effect)], left: &[bool]) -> (Vec<Level>, Vec<bool>) {
        let within = |level: &Level, among: &[bool]| -> Vec<bool> {
            let values = self.values(level.column).iter().zip(among);
            values.map(|(value, among)| *among && level.holds(*value)).collect()
        };
        let mut members = within(&first, left);
        let mut levels = vec![first];
        let mut columns: Vec<usize> = slow.iter().map(|(level, _)| level.column).collect();
        columns.dedup();
        while levels.len() < CONDITIONS_MAX {
            let others = columns.iter().filter(|column| levels.iter().all(|level| level.column != **column));
            let parts = others.flat_map(|column| self.levels(*column, &members)).filter(|part| {
                let values = self.values(part.column);
                let effect = self.compare(&members, |request| part.holds(values[request]));
                effect.is_some_and(|effect| {
                    (effect.superiority - 0.5).abs() >= SMALL - 0.5 && effect.deviations.abs() >= DEVIATIONS_MIN
                })
            });
            let clearest = parts.max_by(|a, b| {
                let by_value = a.from.total_cmp(&b.from);
                a.depth.total_cmp(&b.depth).then(by_value).then(b.column.cmp(&a.column))
            });
            let Some(part) = clearest else { break };
            members = within(&part, &members);
            levels.push(part);
        }
        (levels, members)
    }

    fn condition(&self, level: &Level) -> Condition {
        let bound = |value: f64| value.is_finite().then_some(value);
        Condition {
            column: self.table.columns[level.column].name.clone(),
            from_ms: bound(level.from),
            to_ms: bound(level.to),
        }
    }
}
