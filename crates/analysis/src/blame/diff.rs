//! What changed between two sets, in parts that add up.
//!
//! For a key and a kind of request *r* (the root's operation) let *f* be calls per trace, *c* time per call, *x = f c*, and
//! *p* the share of traces of that kind; before and now. With a bar for the mean of both and Δ for now less before:
//!
//! ```text
//! Δ mean  =  Σr Δp x̄   +  Σr p̄ Δf c̄   +  Σr p̄ f̄ Δc
//!            mix            calls           time per call
//! ```
//!
//! which is exact, for every key and for their sum. Where a kind of request is missing on one side its *x* there is that of
//! the other side (all of it is mix), where a key is missing its *c* is (all of it is calls).

use serde::Serialize;

use super::figures::{Interval, Weights, set, subject};
use super::flame::{self, FlameDiffNode};
use super::tally::{Entry, Tally, View};
use super::{LISTED_MAX, Subject, words};

/// How long the requests of a set take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Set {
    /// Traces.
    pub traces: usize,
    /// Requests that they stand for.
    pub weight: f64,
    /// Mean duration of the root, nanoseconds.
    pub mean_ns: f64,
    /// Its 95 % interval; absent with fewer than two traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// The duration that half of the roots stay below, nanoseconds …
    pub p50_ns: u64,
    /// … 95 in a hundred …
    pub p95_ns: u64,
    /// … and 99.
    pub p99_ns: u64,
}

/// Time of a key in one of the sets.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Side {
    /// Mean time on the critical path, nanoseconds per trace.
    pub mean_ns: f64,
    /// Spans of it on the critical path, per trace; of a service the requests that it handled there.
    pub calls: f64,
    /// Mean time of one of them, nanoseconds.
    pub per_call_ns: f64,
}

/// Whether a key is in both sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// In both.
    Both,
    /// Only now.
    New,
    /// Only before.
    Gone,
}

/// What changed about a key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The key.
    #[serde(flatten)]
    pub subject: Subject,
    /// Whether it is in both sets.
    pub standing: Standing,
    /// Before.
    pub before: Side,
    /// Now.
    pub now: Side,
    /// Change of the mean time, nanoseconds per trace: the sum of the three parts below.
    pub change_ns: f64,
    /// Its 95 % interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// What of it comes from other kinds of requests than before.
    pub mix_ns: f64,
    /// What of it comes from more or fewer calls within the same kind of request.
    pub calls_ns: f64,
    /// Its 95 % interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_interval: Option<Interval>,
    /// What of it comes from longer or shorter calls.
    pub per_call_ns: f64,
    /// Its 95 % interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_call_interval: Option<Interval>,
    /// Share of the change of the mean request beyond the mix; of both signs, all shares sum to one.
    pub share: f64,
    /// True where the change beyond the mix is more than chance explains at 95 %.
    pub significant: bool,
    /// All of it in a sentence.
    pub sentence: String,
}

impl Change {
    /// The change beyond the mix, nanoseconds per trace.
    pub fn beyond_mix_ns(&self) -> f64 {
        self.calls_ns + self.per_call_ns
    }
}

/// One view of the changes: the largest beyond the mix first.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Changes {
    /// The keys, at most [`LISTED_MAX`].
    pub listed: Vec<Change>,
    /// Keys that are not listed …
    pub other: usize,
    /// … and their change together, nanoseconds per trace.
    pub other_ns: f64,
}

/// A kind of request, before and now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RootChange {
    /// Service of the root.
    pub service: String,
    /// Operation of the root.
    pub operation: String,
    /// Its share of the requests before …
    pub before_share: f64,
    /// … and now.
    pub now_share: f64,
    /// Its mean duration before, nanoseconds; absent where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_mean_ns: Option<f64>,
    /// The same now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now_mean_ns: Option<f64>,
    /// What it adds to the change of the mean request by being more or less frequent, nanoseconds.
    pub mix_ns: f64,
    /// What it adds by taking longer or shorter, nanoseconds.
    pub within_ns: f64,
}

/// What changed from one set of traces to another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BlameDiff {
    /// The set before.
    pub before: Set,
    /// The set now.
    pub now: Set,
    /// Change of the mean request, nanoseconds.
    pub change_ns: f64,
    /// Its 95 % interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// What of it comes from other kinds of requests than before, nanoseconds.
    pub mix_ns: f64,
    /// The kinds of requests, those that add most first.
    pub roots: Vec<RootChange>,
    /// Operations and ways of hops: their changes sum to that of the mean request.
    pub places: Changes,
    /// Services.
    pub services: Changes,
    /// Hops, both ways together.
    pub edges: Changes,
    /// Statements.
    pub statements: Changes,
    /// The merged flame graph of both: call paths in preorder, the largest of siblings first.
    pub flame: Vec<FlameDiffNode>,
}

/// Weighted sums over traces: calls, time, and their products.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    calls: f64,
    time: f64,
    calls_calls: f64,
    calls_time: f64,
    time_time: f64,
}

impl Sums {
    fn add(&mut self, weight: f64, calls: f64, time: f64) {
        self.calls += weight * calls;
        self.time += weight * time;
        self.calls_calls += weight * calls * calls;
        self.calls_time += weight * calls * time;
        self.time_time += weight * time * time;
    }
}

/// What both sets weigh, together and by kind of request.
struct Strata {
    sets: [Weights; 2],
    roots: Vec<[Weights; 2]>,
}

impl Strata {
    fn of(tally: &Tally) -> Self {
        let mut roots = vec![[Weights::default(); 2]; tally.keys.places.len()];
        for request in &tally.requests {
            roots[request.root as usize][request.set].add(request.weight);
        }
        Self { sets: [0, 1].map(|set| Weights::of(tally, set)), roots }
    }

    /// Shares of a kind of request, before and now.
    fn shares(&self, root: usize) -> [f64; 2] {
        [0, 1].map(|set| self.sets[set].mean(self.roots[root][set].sum))
    }

    /// What intervals go by: the smaller of the two sets.
    fn effective(&self) -> f64 {
        self.sets[0].effective().min(self.sets[1].effective())
    }
}

/// A linear part of a change: its value, and its variance.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    value: f64,
    variance: f64,
}

/// Everything of one key.
#[derive(Debug, Clone, Copy, Default)]
struct Parts {
    mix: f64,
    calls: Part,
    per_call: Part,
    /// Of calls and time per call together.
    within_variance: f64,
}

/// Adds what one kind of request does to a key.
fn add_root(parts: &mut Parts, strata: &Strata, root: usize, sums: &[Sums; 2]) {
    let [p0, p1] = strata.shares(root);
    let weights = &strata.roots[root];
    let f = [0, 1].map(|set| weights[set].mean(sums[set].calls));
    let x = [0, 1].map(|set| weights[set].mean(sums[set].time));
    if p0 == 0.0 || p1 == 0.0 {
        // A kind of request that is new or gone: all of it is mix.
        parts.mix += p1 * x[1] - p0 * x[0];
        return;
    }
    parts.mix += (p1 - p0) * (x[0] + x[1]) / 2.0;
    let p = (p0 + p1) / 2.0;
    let per_call = |set: usize| if f[set] > 0.0 { Some(x[set] / f[set]) } else { None };
    let c0 = per_call(0).or(per_call(1)).unwrap_or(0.0);
    let c1 = per_call(1).or(per_call(0)).unwrap_or(0.0);
    let (df, dc, f_mean, c_mean) = (f[1] - f[0], c1 - c0, (f[0] + f[1]) / 2.0, (c0 + c1) / 2.0);
    parts.calls.value += p * df * c_mean;
    parts.per_call.value += p * dc * f_mean;
    // The delta method: how the parts follow the means of calls and time, on each side.
    for set in 0..2 {
        let sign = if set == 1 { 1.0 } else { -1.0 };
        let (mean, weights) = ((f[set], x[set]), &weights[set]);
        let variance_f = weights.covariance(sums[set].calls_calls, (mean.0, mean.0));
        let covariance = weights.covariance(sums[set].calls_time, mean);
        let variance_x = weights.covariance(sums[set].time_time, (mean.1, mean.1));
        let spread = |(by_f, by_x): (f64, f64)| {
            p * p * (by_f * by_f * variance_f + 2.0 * by_f * by_x * covariance + by_x * by_x * variance_x)
        };
        parts.within_variance += spread((0.0, 1.0));
        if f[set] > 0.0 {
            let c = if set == 1 { c1 } else { c0 };
            parts.calls.variance += spread((sign * c_mean - df * c / (2.0 * f[set]), df / (2.0 * f[set])));
            parts.per_call.variance += spread((dc / 2.0 - sign * f_mean * c / f[set], sign * f_mean / f[set]));
        }
    }
}

/// The changes of a view.
fn changes(tally: &Tally, view: View, strata: &Strata, beyond_mix_ns: f64) -> Changes {
    let (entries, first) = tally.by_key(view);
    let mut found: Vec<(u32, Parts, [Sums; 2])> = Vec::new();
    // Sums by kind of request of the key under way, and which of them are in use.
    let mut by_root = vec![[Sums::default(); 2]; tally.keys.places.len()];
    let mut touched: Vec<u32> = Vec::new();
    let mut all_ns = 0.0;
    for key in 0..tally.len(view) {
        let entries: &[Entry] = &entries[first[key]..first[key + 1]];
        if entries.is_empty() {
            continue;
        }
        let mut sums = [Sums::default(); 2];
        for entry in entries {
            let request = &tally.requests[entry.request as usize];
            let sum = &mut by_root[request.root as usize];
            if sum.iter().all(|sum| sum.calls == 0.0 && sum.time == 0.0) {
                touched.push(request.root);
            }
            let (calls, time) = (f64::from(entry.calls), entry.time_ns as f64);
            sum[request.set].add(request.weight, calls, time);
            sums[request.set].add(request.weight, calls, time);
        }
        let mut parts = Parts::default();
        touched.sort_unstable();
        touched.dedup();
        for root in touched.drain(..) {
            add_root(&mut parts, strata, root as usize, &by_root[root as usize]);
            by_root[root as usize] = [Sums::default(); 2];
        }
        all_ns += parts.mix + parts.calls.value + parts.per_call.value;
        found.push((key as u32, parts, sums));
    }
    let size = |parts: &Parts| (parts.calls.value + parts.per_call.value).abs();
    found.sort_by(|a, b| size(&b.1).total_cmp(&size(&a.1)).then_with(|| a.0.cmp(&b.0)));
    let other = found.len().saturating_sub(LISTED_MAX);
    found.truncate(LISTED_MAX);
    let mut listed: Vec<Change> = found
        .iter()
        .map(|(key, parts, sums)| change(subject(tally, view, *key), parts, sums, strata, beyond_mix_ns))
        .collect();
    listed.sort_by(|a, b| {
        b.beyond_mix_ns().abs().total_cmp(&a.beyond_mix_ns().abs()).then_with(|| a.subject.cmp(&b.subject))
    });
    let other_ns = if other > 0 { all_ns - listed.iter().map(|change| change.change_ns).sum::<f64>() } else { 0.0 };
    Changes { listed, other, other_ns }
}

fn change(subject: Subject, parts: &Parts, sums: &[Sums; 2], strata: &Strata, beyond_mix_ns: f64) -> Change {
    let side = |set: usize| {
        let (calls, time) = (sums[set].calls, sums[set].time);
        Side {
            mean_ns: strata.sets[set].mean(time),
            calls: strata.sets[set].mean(calls),
            per_call_ns: if calls > 0.0 { time / calls } else { 0.0 },
        }
    };
    let (before, now) = (side(0), side(1));
    let standing = match (sums[0].time > 0.0, sums[1].time > 0.0) {
        (false, true) => Standing::New,
        (true, false) => Standing::Gone,
        _ => Standing::Both,
    };
    let variance: f64 = [0, 1]
        .map(|set| {
            let mean = strata.sets[set].mean(sums[set].time);
            strata.sets[set].covariance(sums[set].time_time, (mean, mean))
        })
        .iter()
        .sum();
    let effective = strata.effective();
    let within = parts.calls.value + parts.per_call.value;
    let change_ns = parts.mix + within;
    let mut change = Change {
        subject,
        standing,
        before,
        now,
        change_ns,
        interval: Interval::around(change_ns, variance, effective),
        mix_ns: parts.mix,
        calls_ns: parts.calls.value,
        calls_interval: Interval::around(parts.calls.value, parts.calls.variance, effective),
        per_call_ns: parts.per_call.value,
        per_call_interval: Interval::around(parts.per_call.value, parts.per_call.variance, effective),
        share: if beyond_mix_ns == 0.0 { 0.0 } else { within / beyond_mix_ns },
        significant: Interval::around(within, parts.within_variance, effective).is_some_and(|it| it.excludes_zero()),
        sentence: String::new(),
    };
    change.sentence = words::sentence(&change);
    change
}

/// The kinds of requests, and what the mix changes altogether.
fn roots(tally: &Tally, strata: &Strata) -> (Vec<RootChange>, f64) {
    let mut sums = vec![[0.0; 2]; strata.roots.len()];
    for request in &tally.requests {
        sums[request.root as usize][request.set] += request.weight * request.duration_ns as f64;
    }
    let mut roots: Vec<RootChange> = Vec::new();
    for (root, weights) in strata.roots.iter().enumerate().filter(|(_, sets)| sets[0].traces + sets[1].traces > 0) {
        let [p0, p1] = strata.shares(root);
        let mean = [0, 1].map(|set| (weights[set].sum > 0.0).then(|| weights[set].mean(sums[root][set])));
        let (mix_ns, within_ns) = match mean {
            [Some(x0), Some(x1)] => ((p1 - p0) * (x0 + x1) / 2.0, (p0 + p1) / 2.0 * (x1 - x0)),
            [x0, x1] => (p1 * x1.unwrap_or(0.0) - p0 * x0.unwrap_or(0.0), 0.0),
        };
        let (service, operation) = tally.keys.operation(root as u32);
        let [before_mean_ns, now_mean_ns] = mean;
        roots.push(RootChange {
            service,
            operation,
            before_share: p0,
            now_share: p1,
            before_mean_ns,
            now_mean_ns,
            mix_ns,
            within_ns,
        });
    }
    let mix_ns = roots.iter().map(|root| root.mix_ns).sum();
    let size = |root: &RootChange| (root.mix_ns + root.within_ns).abs();
    roots.sort_by(|a, b| {
        let names = |root: &RootChange| (root.service.clone(), root.operation.clone());
        size(b).total_cmp(&size(a)).then_with(|| names(a).cmp(&names(b)))
    });
    roots.truncate(LISTED_MAX);
    (roots, mix_ns)
}

/// What changed from the first set of the tally to the second.
pub(super) fn of(tally: &Tally) -> BlameDiff {
    let strata = Strata::of(tally);
    let [before, now] = [0, 1].map(|number| set(tally, number, &strata.sets[number]));
    let change_ns = now.mean_ns - before.mean_ns;
    let (roots, mix_ns) = roots(tally, &strata);
    let variance: f64 = [0, 1]
        .map(|number| {
            let of = |of: &dyn Fn(f64) -> f64| -> f64 {
                let requests = tally.requests.iter().filter(|request| request.set == number);
                requests.map(|request| request.weight * of(request.duration_ns as f64)).sum()
            };
            let mean = strata.sets[number].mean(of(&|time| time));
            strata.sets[number].covariance(of(&|time| time * time), (mean, mean))
        })
        .iter()
        .sum();
    let view = |view| changes(tally, view, &strata, change_ns - mix_ns);
    BlameDiff {
        change_ns,
        interval: Interval::around(change_ns, variance, strata.effective()),
        mix_ns,
        roots,
        places: view(View::Places),
        services: view(View::Services),
        edges: view(View::Edges),
        statements: view(View::Statements),
        flame: flame::compared(tally, strata.sets.map(|weights| weights.sum)),
        before,
        now,
    }
}
