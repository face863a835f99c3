//! Patterns in a table of requests: calls whose long times go with slow requests.
//!
//! **Input:** a [`Table`]: for each request its end-to-end latency and the milliseconds that it spent in each remote
//! procedure (all calls of one procedure summed, callees included). **Question** (as in Traini and Cortellessa, *DeLag*, IEEE
//! TSE 2023): which requests are slow for which reason? A *pattern* is a conjunction of intervals, such as
//! `pricing ∈ [43, ∞) ms ∧ inventory ∈ [17.8, 24.2) ms`.
//!
//! **Algorithm:** a sequential covering of the requests, as in subgroup discovery.
//!
//! ```text
//! requests left ──▶ levels of each column ([`density`](super::density): parted by clear valleys)
//!       ▲                │ at most half of the requests, and large in latency against the others: Vargha–Delaney A ≥ 0.71
//!       │                ▼
//!       │           the level with the deepest valley ──▶ narrowed, up to three conditions, where another such column
//!       │                │                               parts it again and the latency differs there too (A ≥ 0.56)
//!       └─ without ◀─────┴──▶ pattern
//! ```
//!
//! 1. What makes a cause a cause is that times *jump*: a cache that is missed, a lock, a delay. Jumps show as separate levels
//!    of a column; the tail of a busy minute does not, though it is slow too.
//! 2. Levels that go without higher latency are left out: work beside the request's critical path.
//! 3. The column that parts best is told first, since its callers show the same delay, blurred by their other work.
//! 4. The requests of a pattern are taken out before the next is searched: what two causes share is explained once, and the
//!    tail of one is not mistaken for another.
//!
//! **Output:** [`TableExplanation`]: the patterns, and the pattern of each request. The thresholds are the literature's words
//! for large and small effects and the significance of a valley; none depends on the data set.
//! **Edge cases:** values that are not finite (a procedure that was not called) are in no level; a column or latencies of
//! another length than the first explain nothing beyond the shortest; without a clear level the explanation is empty.
//! **Complexity:** O(p·c·n log n) for c columns, n requests and at most [`PATTERNS_MAX`] patterns p.

mod search;

use serde::Serialize;

use super::effect::{Effect, Group, LARGE, Ordered, median};
use search::Search;

/// Patterns in an explanation, at most.
pub const PATTERNS_MAX: usize = 8;
/// Conditions of a pattern, at most.
pub const CONDITIONS_MAX: usize = 3;

/// Requests and where their time went.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// End-to-end latency of each request, milliseconds.
    pub latencies_ms: Vec<f64>,
    /// The remote procedures.
    pub columns: Vec<Column>,
}

/// Time spent in one remote procedure.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Column {
    /// What is called.
    pub name: String,
    /// Milliseconds for each request; not a number where it was not called.
    pub values_ms: Vec<f64>,
}

/// Why requests are slow.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TableExplanation {
    /// The reasons, clearest first.
    pub patterns: Vec<TablePattern>,
    /// For each request the number of the pattern that it shows, if any.
    pub anomalous: Vec<Option<u32>>,
    /// The latency that best tells requests with a pattern from those without (largest F1): what "slow" means here. None
    /// without patterns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_from_ms: Option<f64>,
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TablePattern {
    /// What holds for its requests.
    pub conditions: Vec<Condition>,
    /// How many requests show it.
    pub requests: usize,
    /// Their share of all.
    pub share: f64,
    /// Share of its requests that are slow.
    pub precision: f64,
    /// Share of the slow requests that show it.
    pub recall: f64,
    /// Probability that one of its requests takes longer than one without any pattern (Vargha and Delaney's A).
    pub superiority: f64,
    /// Median latency of its requests.
    pub median_ms: f64,
    /// Median latency of the requests without any pattern.
    pub rest_median_ms: f64,
    /// Columns that are clearly longer in its requests than in those without any pattern, by how much: the delay itself and
    /// those who wait for it. Largest first.
    pub shifts: Vec<Shift>,
    /// All of it in a sentence.
    pub what: String,
}

/// A column's value lies in an interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Condition {
    /// Name of the column.
    pub column: String,
    /// Smallest value. None: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<f64>,
    /// Smallest value above. None: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_ms: Option<f64>,
}

/// A column is longer than usual.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shift {
    /// Name of the column.
    pub column: String,
    /// Difference of the medians.
    pub by_ms: f64,
}

/// Finds out why requests are slow.
pub fn explain(table: &Table) -> TableExplanation {
    let mut search = Search::new(table);
    let found = search.run();
    let latencies = search.latencies();
    let ordered = Ordered::new(latencies);
    let anomalous = search.pattern_of().to_vec();
    let Some(slow_from_ms) = slow_from(latencies, &ordered, &anomalous) else {
        return TableExplanation { anomalous, ..TableExplanation::default() };
    };
    let slow = latencies.iter().filter(|latency| **latency >= slow_from_ms).count();
    let pattern = |(number, conditions): (u32, Vec<Condition>)| {
        let of = |wanted: Option<u32>| latencies.iter().zip(&anomalous).filter(move |(_, found)| **found == wanted);
        let requests = of(Some(number)).count();
        let hits = of(Some(number)).filter(|(latency, _)| **latency >= slow_from_ms).count();
        let against_rest = |request: usize| group(anomalous[request], number);
        let pattern = TablePattern {
            conditions,
            requests,
            share: requests as f64 / latencies.len().max(1) as f64,
            precision: hits as f64 / requests.max(1) as f64,
            recall: hits as f64 / slow.max(1) as f64,
            superiority: ordered.compare(against_rest).map_or(1.0, |effect: Effect| effect.superiority),
            median_ms: median(of(Some(number)).map(|(latency, _)| *latency)).unwrap_or_default(),
            rest_median_ms: median(of(None).map(|(latency, _)| *latency)).unwrap_or_default(),
            shifts: shifts(table, &anomalous, number),
            what: String::new(),
        };
        TablePattern { what: pattern.sentence(), ..pattern }
    };
    let patterns = (0..).zip(found).map(pattern).collect();
    TableExplanation { patterns, anomalous, slow_from_ms: Some(slow_from_ms) }
}

fn group(pattern: Option<u32>, first: u32) -> Group {
    match pattern {
        Some(pattern) if pattern == first => Group::First,
        Some(_) => Group::Neither,
        None => Group::Second,
    }
}

/// The latency from which on calling a request slow agrees best with the patterns.
fn slow_from(latencies: &[f64], ordered: &Ordered<'_>, anomalous: &[Option<u32>]) -> Option<f64> {
    let total = anomalous.iter().filter(|pattern| pattern.is_some()).count() as f64;
    let (mut seen, mut hits, mut best) = (0.0, 0.0, (0.0, None));
    for tied in ordered.ties().rev() {
        seen += tied.len() as f64;
        hits += tied.iter().filter(|request| anomalous[**request as usize].is_some()).count() as f64;
        let f1 = 2.0 * hits / (seen + total);
        if f1 > best.0 {
            best = (f1, tied.first().map(|request| latencies[*request as usize]));
        }
    }
    best.1
}

/// The columns that are longer in the requests of a pattern.
fn shifts(table: &Table, anomalous: &[Option<u32>], pattern: u32) -> Vec<Shift> {
    let shift = |column: &Column| {
        let values = &column.values_ms[..anomalous.len()];
        let effect = Ordered::new(values).compare(|request| {
            if values[request].is_finite() { group(anomalous[request], pattern) } else { Group::Neither }
        })?;
        let of = |wanted: Option<u32>| {
            median(values.iter().zip(anomalous).filter(|(_, found)| **found == wanted).map(|(value, _)| *value))
        };
        let by_ms = of(Some(pattern))? - of(None)?;
        (effect.superiority >= LARGE && by_ms > 0.0).then(|| Shift { column: column.name.clone(), by_ms })
    };
    let mut shifts: Vec<Shift> = table.columns.iter().filter_map(shift).collect();
    shifts.sort_by(|a, b| b.by_ms.total_cmp(&a.by_ms).then_with(|| a.column.cmp(&b.column)));
    shifts
}

impl TablePattern {
    fn sentence(&self) -> String {
        let conditions: Vec<String> = self.conditions.iter().map(Condition::words).collect();
        format!(
            "{} requests ({:.1} %) in which {} take {:.0} ms, those without any pattern {:.0} ms; that is {:.0} % of the slow ones",
            self.requests,
            self.share * 100.0,
            conditions.join(" and "),
            self.median_ms,
            self.rest_median_ms,
            self.recall * 100.0,
        )
    }
}

impl Condition {
    fn words(&self) -> String {
        let Self { column, from_ms, to_ms } = self;
        match (from_ms, to_ms) {
            (Some(from), Some(to)) => format!("{column} takes {from:.1} to {to:.1} ms"),
            (Some(from), None) => format!("{column} takes at least {from:.1} ms"),
            (None, Some(to)) => format!("{column} takes less than {to:.1} ms"),
            (None, None) => format!("{column} takes any time"),
        }
    }
}
