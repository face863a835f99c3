//! What a service itself does for how long, by operation and statement, before and now.

use std::collections::BTreeMap;

use crate::Traces;
use crate::hops::rank::{self, Sample};

/// An operation of a service, with its statement: empty where it has none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Task {
    /// Span name.
    pub operation: String,
    /// `db.query.text`, or what stands for it.
    pub statement: String,
}

/// An operation that takes longer.
#[derive(Debug, Clone)]
pub(super) struct Slower {
    /// Which.
    pub task: Task,
    /// Median before, nanoseconds; `None` if it did not occur.
    pub before_ns: Option<i64>,
    /// Median now, nanoseconds.
    pub now_ns: i64,
    /// What it adds to everything, nanoseconds.
    pub added_ns: f64,
    /// Number of a span that shows it: the slowest.
    pub span: usize,
}

/// Durations of what a service does itself: exclusive time of its spans, and of calls to it where it sends no spans.
struct Work {
    values: Vec<i64>,
    slowest: (u64, usize),
}

fn work(traces: &Traces, service: &str) -> BTreeMap<Task, Work> {
    let Some(service) = traces.texts().find(service) else { return BTreeMap::new() };
    let mut tasks: BTreeMap<Task, Work> = BTreeMap::new();
    for (number, span) in traces.spans().iter().enumerate() {
        let called = span.is_outgoing() && span.peer == service && span.descendants == 0;
        if span.service != service && !called {
            continue;
        }
        let own_ns = exclusive_ns(traces, number);
        let task = Task {
            operation: traces.text(span.operation).to_owned(),
            statement: traces.text(span.statement).to_owned(),
        };
        let work = tasks.entry(task).or_insert_with(|| Work { values: Vec::new(), slowest: (0, number) });
        work.values.push(i64::try_from(own_ns).unwrap_or(i64::MAX));
        work.slowest = work.slowest.max((own_ns, number));
    }
    tasks
}

/// Duration of a span without what its children cover; 0 for a call that another service answers, which is on its way.
fn exclusive_ns(traces: &Traces, span: usize) -> u64 {
    let own = &traces.spans()[span];
    let mut cursor = own.start_ns;
    let mut free = 0;
    for child in traces.children(span).map(|child| &traces.spans()[child]) {
        if own.is_outgoing() && child.is_incoming() {
            return 0;
        }
        free += child.start_ns.min(own.end_ns).saturating_sub(cursor);
        cursor = cursor.max(child.end_ns);
    }
    free + own.end_ns.saturating_sub(cursor)
}

/// The operation of a service that adds most time, compared with before.
pub(super) fn slower(before: &Traces, now: &Traces, service: &str) -> Option<Slower> {
    let earlier = work(before, service);
    let candidates = work(now, service).into_iter().map(|(task, work)| {
        let old = earlier.get(&task).map(|work| Sample::from(work.values.clone()));
        let new = Sample::from(work.values);
        let was = old.as_ref().map_or(0.0, Sample::mean);
        Slower {
            before_ns: old.and_then(|old| old.quantile(0.5)),
            now_ns: new.quantile(0.5).unwrap_or(0),
            added_ns: (new.mean() - was) * new.count() as f64,
            span: work.slowest.1,
            task,
        }
    });
    candidates.filter(|slower| slower.added_ns > 0.0).max_by(|a, b| a.added_ns.total_cmp(&b.added_ns))
}

/// A version of a service that came since, and is slower than those before.
#[derive(Debug, Clone)]
pub(super) struct Release {
    /// `service.version` of the new one.
    pub new: String,
    /// Versions that it is compared with.
    pub old: Vec<String>,
    /// By how much its requests take longer, nanoseconds.
    pub shift_ns: i64,
    /// Interval of that at 95 %.
    pub interval_ns: (i64, i64),
    /// Requests to the new version.
    pub requests: u64,
    /// Share of its requests among all to the service now.
    pub share: f64,
}

/// The slowest new version of a service.
pub(super) fn release(before: &Traces, now: &Traces, service: &str) -> Option<Release> {
    let (earlier, current) = (by_version(before, service), by_version(now, service));
    let requests: usize = current.values().map(Vec::len).sum();
    // With a window before, new is what did not exist then; it is compared with all else, then and now.
    let is_new = |version: &String| !version.is_empty() && !earlier.contains_key(version) && !earlier.is_empty();
    let others: Vec<i64> = current
        .iter()
        .filter(|(version, _)| !is_new(version))
        .chain(&earlier)
        .flat_map(|(_, values)| values.iter().copied())
        .collect();
    let mut old: Vec<String> =
        current.keys().filter(|version| !is_new(version)).chain(earlier.keys()).cloned().collect();
    old.sort();
    old.dedup();
    old.retain(|version| !version.is_empty());
    let others = Sample::from(others);
    if others.count() < REQUESTS_MIN {
        return None;
    }
    let releases = current.iter().filter(|(version, _)| is_new(version)).filter_map(|(version, values)| {
        let values = Sample::from(values.clone());
        let shift = rank::shift(&others, &values, 1.96)?;
        let slower = values.count() >= REQUESTS_MIN && shift.low > 0;
        slower.then(|| Release {
            new: version.clone(),
            old: old.clone(),
            shift_ns: shift.estimate,
            interval_ns: (shift.low, shift.high),
            requests: values.count(),
            share: values.count() as f64 / requests.max(1) as f64,
        })
    });
    releases.max_by_key(|release| release.shift_ns)
}

/// Fewer requests than this say nothing.
const REQUESTS_MIN: u64 = 5;

/// Durations of the requests to a service, by version.
fn by_version(traces: &Traces, service: &str) -> BTreeMap<String, Vec<i64>> {
    let Some(service) = traces.texts().find(service) else { return BTreeMap::new() };
    let mut versions: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for span in traces.spans().iter().filter(|span| span.service == service && span.is_incoming()) {
        let duration_ns = i64::try_from(span.duration_ns()).unwrap_or(i64::MAX);
        versions.entry(traces.text(span.version).to_owned()).or_default().push(duration_ns);
    }
    versions
}
