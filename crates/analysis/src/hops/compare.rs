//! One window against another: every part of every edge is tested, and the false discovery rate of all is held.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::changes::{Change, HopChange, HopChanges, Options, Part, Quantiles, Tail, Verdict};
use super::locate::locate;
use super::rank::{self, RankTest, Sample, Shift};
use super::samples::{EdgeSamples, Grouping, key, samples};
use super::split::split;
use crate::Traces;

/// Every part, in the order of [`Tested::parts`].
const PARTS: [Part; 7] =
    [Part::Request, Part::Response, Part::Network, Part::Server, Part::Own, Part::Queue, Part::Call];
/// With fewer calls before, no test of them alone could stand among many others: neighbours help out.
const FEW: u64 = 20;
/// Neighbours from which their calls stand in for an edge's own.
const NEIGHBOURS: usize = 3;
/// Calls of neighbours that stand in at most.
const BORROWED: u64 = 256;
/// Request and response that cancel up to this share are a clock that moved.
const CANCELLED: f64 = 0.25;

/// An edge in both windows, and what the tests of its parts came to.
pub(super) struct Tested<'a> {
    pub before: Option<&'a EdgeSamples>,
    pub now: &'a EdgeSamples,
    parts: [Option<Change>; PARTS.len()],
}

impl Tested<'_> {
    /// What the test of a part came to; `None` where it was not tested.
    pub fn part(&self, part: Part) -> Option<&Change> {
        self.parts[part as usize].as_ref()
    }

    /// The part, if it grew.
    pub fn grew(&self, part: Part) -> Option<&Change> {
        self.part(part).filter(|change| change.verdict == Verdict::Grew)
    }

    /// What a part that grew adds to all calls now together, in nanoseconds; 0 for one that did not.
    pub fn added_ns(&self, part: Part) -> i64 {
        self.grew(part).map_or(0, added_ns)
    }
}

/// What a change adds to all calls now together.
fn added_ns(change: &Change) -> i64 {
    let each = if change.tail.is_some() { change.mean_shift_ns } else { change.shift_ns };
    each.saturating_mul(i64::try_from(change.now.count).unwrap_or(i64::MAX))
}

fn sample(edge: &EdgeSamples, part: Part) -> &Sample {
    match part {
        Part::Request => &edge.request,
        Part::Response => &edge.response,
        Part::Network => &edge.network,
        Part::Server => &edge.server,
        Part::Own => &edge.own,
        Part::Queue => &edge.queue,
        Part::Call => &edge.call,
    }
}

/// What changed between the services of two windows, with [`Options::default`].
pub fn changes(before: &Traces, now: &Traces) -> HopChanges {
    let gathered = |traces: &Traces| samples(traces, &split(traces), Grouping::Services);
    compare(&gathered(before), &gathered(now), &Options::default())
}

/// What changed between two windows of edges, each edge once in each.
pub fn compare(before: &[EdgeSamples], now: &[EdgeSamples], options: &Options) -> HopChanges {
    let tested = test_all(before, now, options);
    let mut told = HopChanges { locations: locate(&tested, options), ..HopChanges::default() };
    for edge in &tested {
        let verdict = |wanted: &[Verdict]| edge.parts.iter().flatten().any(|part| wanted.contains(&part.verdict));
        let is_tested = edge.parts.iter().flatten().any(|part| part.verdict != Verdict::NotEnough);
        told.tested += u64::from(is_tested);
        told.not_enough += u64::from(!is_tested && verdict(&[Verdict::NotEnough]));
        told.small += u64::from(verdict(&[Verdict::Small]));
        for part in PARTS {
            let Some(change) = edge.part(part) else { continue };
            if matches!(change.verdict, Verdict::Grew | Verdict::Fell | Verdict::Clock) {
                told.changes.push(shown(edge, part, change));
            }
        }
    }
    told.changes.sort_by(|a, b| {
        let names = |of: &HopChange| (of.caller.clone(), of.callee.clone(), of.operation.clone(), of.part);
        // What a callee takes in all is told last: it says nothing of where.
        let is_whole = |of: &HopChange| of.part == Part::Server;
        let order = is_whole(a).cmp(&is_whole(b)).then(b.added_ns.cmp(&a.added_ns));
        order.then_with(|| names(a).cmp(&names(b)))
    });
    told
}

fn shown(edge: &Tested<'_>, part: Part, change: &Change) -> HopChange {
    HopChange {
        caller: edge.now.caller.clone(),
        callee: edge.now.callee.clone(),
        operation: edge.now.operation.clone(),
        is_async: edge.now.is_async,
        part,
        change: *change,
        calls_before: edge.before.map_or(0, |before| before.calls),
        calls_now: edge.now.calls,
        errors_before: edge.before.map_or(0, |before| before.errors),
        errors_now: edge.now.errors,
        added_ns: added_ns(change),
    }
}

/// A test that waits for its q-value.
struct Pending<'a> {
    edge: usize,
    part: Part,
    before: Cow<'a, Sample>,
    borrowed: bool,
    least_ns: i64,
    ranks: RankTest,
    tail: Option<Tail>,
    p: f64,
}

fn test_all<'a>(before: &'a [EdgeSamples], now: &'a [EdgeSamples], options: &Options) -> Vec<Tested<'a>> {
    let known: HashMap<_, &EdgeSamples, RandomState> = before.iter().map(|edge| (key(edge), edge)).collect();
    let mut neighbours = Neighbours { before, pools: HashMap::default() };
    let mut tested: Vec<Tested<'a>> = Vec::with_capacity(now.len());
    let mut pending: Vec<Pending<'a>> = Vec::new();
    for (number, edge) in now.iter().enumerate() {
        let known = known.get(&key(edge)).copied();
        let mut parts = [None; PARTS.len()];
        let least_ns = least(known, options);
        for part in PARTS {
            let own = sample(edge, part);
            if own.is_empty() {
                continue;
            }
            // Callees that are to be seen are told of by their spans.
            if part == Part::Call && !edge.server.is_empty() {
                continue;
            }
            let earlier = known.map(|known| sample(known, part));
            let enough = |sample: &Sample| sample.count() >= options.min_samples;
            let mut borrow = || {
                let pool = neighbours.of(edge, part).filter(&enough)?;
                stands_out(own, earlier, &pool, least_ns).then_some(pool)
            };
            let reference = match earlier.filter(|earlier| enough(earlier)) {
                _ if !enough(own) => None,
                Some(earlier) if earlier.count() >= FEW => Some((Cow::Borrowed(earlier), false)),
                Some(earlier) => {
                    Some(borrow().map_or((Cow::Borrowed(earlier), false), |pool| (Cow::Owned(pool), true)))
                }
                None => borrow().map(|pool| (Cow::Owned(pool), true)),
            };
            match reference {
                Some((reference, borrowed)) => {
                    pending.push(tested_part(number, part, reference, own, borrowed, least_ns));
                }
                None => parts[part as usize] = Some(untested(earlier, own)),
            }
        }
        tested.push(Tested { before: known, now: edge, parts });
    }
    let q = rank::discoveries(&pending.iter().map(|test| test.p).collect::<Vec<_>>());
    for (test, q) in pending.iter().zip(q) {
        let own = sample(tested[test.edge].now, test.part);
        tested[test.edge].parts[test.part as usize] = Some(judged(test, own, q, options));
    }
    for edge in &mut tested {
        join_network(&mut edge.parts, least(edge.before, options));
        find_clock(&mut edge.parts);
    }
    tested
}

/// The least shift that matters on an edge.
fn least(before: Option<&EdgeSamples>, options: &Options) -> i64 {
    let typical = before.and_then(|before| {
        let whole = [&before.client, &before.server, &before.call].into_iter().find(|sample| !sample.is_empty());
        whole.and_then(|sample| sample.quantile(0.5))
    });
    let share = (typical.unwrap_or(0) as f64 * options.min_relative) as i64;
    share.max(options.min_shift_ns)
}

fn tested_part<'a>(
    edge: usize,
    part: Part,
    before: Cow<'a, Sample>,
    own: &Sample,
    borrowed: bool,
    least_ns: i64,
) -> Pending<'a> {
    let ranks = rank::test(&before, own);
    let mut p = ranks.p;
    let mut tail = None;
    if !borrowed {
        let threshold_ns = before.quantile(0.95).unwrap_or(0).saturating_add(least_ns);
        let (slow_before, slow) = (before.above(threshold_ns), own.above(threshold_ns));
        // Two tests of one question: the better chance counts twice.
        p = (2.0 * p.min(rank::proportion(slow_before, before.count(), slow, own.count()))).min(1.0);
        tail = Some(Tail {
            threshold_ns,
            share_before: slow_before as f64 / before.count() as f64,
            share_now: slow as f64 / own.count().max(1) as f64,
        });
    }
    Pending { edge, part, before, borrowed, least_ns, ranks, tail, p }
}

fn judged(test: &Pending<'_>, own: &Sample, q: f64, options: &Options) -> Change {
    let mean_shift_ns = (own.mean() - test.before.mean()).round() as i64;
    let mut change = Change {
        verdict: Verdict::Steady,
        shift_ns: 0,
        shift_low_ns: 0,
        shift_high_ns: 0,
        mean_shift_ns,
        p: test.p,
        q,
        superiority: test.ranks.superiority,
        before: test.before.as_ref().into(),
        now: own.into(),
        tail: None,
        borrowed: test.borrowed,
    };
    if q > options.q_max {
        return change;
    }
    let Some(Shift { estimate, low, high }) = rank::shift(&test.before, own, options.z) else { return change };
    (change.shift_ns, change.shift_low_ns, change.shift_high_ns) = (estimate, low, high);
    let has_tail = test
        .tail
        .filter(|tail| tail.share_now - tail.share_before >= options.min_tail_share && mean_shift_ns >= test.least_ns);
    change.verdict = if estimate >= test.least_ns && low > 0 {
        Verdict::Grew
    } else if estimate <= -test.least_ns && high < 0 {
        Verdict::Fell
    } else if has_tail.is_some() {
        change.tail = has_tail;
        Verdict::Grew
    } else {
        Verdict::Small
    };
    change
}

fn untested(before: Option<&Sample>, own: &Sample) -> Change {
    Change {
        verdict: Verdict::NotEnough,
        shift_ns: 0,
        shift_low_ns: 0,
        shift_high_ns: 0,
        mean_shift_ns: 0,
        p: 1.0,
        q: 1.0,
        superiority: 0.5,
        before: before.map(Quantiles::from).unwrap_or_default(),
        now: own.into(),
        tail: None,
        borrowed: false,
    }
}

/// Where only the distributions of request and response are known, their sum is what theirs add up to.
fn join_network(parts: &mut [Option<Change>; PARTS.len()], least_ns: i64) {
    if parts[Part::Network as usize].is_some() {
        return;
    }
    let (Some(request), Some(response)) = (parts[Part::Request as usize], parts[Part::Response as usize]) else {
        return;
    };
    let is_told = |change: &Change| matches!(change.verdict, Verdict::Grew | Verdict::Fell);
    let of = |value: fn(&Change) -> i64| {
        [&request, &response].into_iter().filter(|change| is_told(change)).map(value).sum::<i64>()
    };
    let both = |left: Quantiles, right: Quantiles| Quantiles {
        count: left.count.max(right.count),
        mean_ns: left.mean_ns + right.mean_ns,
        p50_ns: left.p50_ns + right.p50_ns,
        p90_ns: left.p90_ns + right.p90_ns,
        p99_ns: left.p99_ns + right.p99_ns,
    };
    let stronger = if request.q <= response.q { request } else { response };
    let shift_ns = of(|change| change.shift_ns);
    let mean_shift_ns = of(|change| change.mean_shift_ns);
    let tail = [&request, &response].into_iter().filter(|change| is_told(change)).find_map(|change| change.tail);
    let each = if tail.is_some() { mean_shift_ns } else { shift_ns };
    let verdict = match (request.verdict, response.verdict) {
        (Verdict::NotEnough, _) | (_, Verdict::NotEnough) => Verdict::NotEnough,
        _ if each >= least_ns => Verdict::Grew,
        _ if each <= -least_ns => Verdict::Fell,
        _ => Verdict::Steady,
    };
    parts[Part::Network as usize] = Some(Change {
        verdict,
        shift_ns,
        shift_low_ns: of(|change| change.shift_low_ns),
        shift_high_ns: of(|change| change.shift_high_ns),
        mean_shift_ns,
        p: stronger.p,
        q: stronger.q,
        superiority: stronger.superiority,
        before: both(request.before, response.before),
        now: both(request.now, response.now),
        tail,
        borrowed: request.borrowed || response.borrowed,
    });
}

/// Request and response that changed by as much in opposite directions, and a network that did not: a clock moved.
fn find_clock(parts: &mut [Option<Change>; PARTS.len()]) {
    let (Some(request), Some(response)) = (parts[Part::Request as usize], parts[Part::Response as usize]) else {
        return;
    };
    let is_opposite =
        matches!((request.verdict, response.verdict), (Verdict::Grew, Verdict::Fell) | (Verdict::Fell, Verdict::Grew));
    let network = parts[Part::Network as usize].map_or(0, |network| network.shift_ns);
    let most = request.shift_ns.abs().max(response.shift_ns.abs());
    if is_opposite && (network.abs() as f64) < CANCELLED * most as f64 {
        for part in [Part::Request, Part::Response] {
            if let Some(change) = &mut parts[part as usize] {
                change.verdict = Verdict::Clock;
            }
        }
        if let Some(network) = &mut parts[Part::Network as usize] {
            network.verdict = Verdict::Small;
        }
    }
}

/// True when an edge's calls now are slower than nearly all of its neighbours', and than the few of its own before.
fn stands_out(own: &Sample, earlier: Option<&Sample>, pool: &Sample, least_ns: i64) -> bool {
    let Some(median) = own.quantile(0.5) else { return false };
    let above = |reference: Option<i64>| reference.is_none_or(|value| median >= value.saturating_add(least_ns));
    above(pool.quantile(0.95)) && above(earlier.and_then(|earlier| earlier.quantile(0.5)))
}

/// How many edges have a service on one side, and their calls.
type Pools<'a> = HashMap<&'a str, (usize, Sample), RandomState>;

/// Calls before of edges that share a caller or a callee.
struct Neighbours<'a> {
    before: &'a [EdgeSamples],
    /// By part, and by whether the side is the caller's.
    pools: HashMap<(Part, bool), Pools<'a>, RandomState>,
}

impl Neighbours<'_> {
    /// The calls of an edge's neighbours, for the parts that are alike among neighbours: those of the network.
    fn of(&mut self, edge: &EdgeSamples, part: Part) -> Option<Sample> {
        if !matches!(part, Part::Request | Part::Response | Part::Network) || edge.caller.is_empty() {
            return None;
        }
        let mut pool = Sample::default();
        let mut edges = 0;
        for (is_caller, name) in [(true, &edge.caller), (false, &edge.callee)] {
            let before = self.before;
            let pools = self.pools.entry((part, is_caller)).or_insert_with(|| {
                let mut values: HashMap<&str, (usize, Vec<&Sample>), RandomState> = HashMap::default();
                for edge in before.iter().filter(|edge| !edge.caller.is_empty() && !sample(edge, part).is_empty()) {
                    let name: &str = if is_caller { &edge.caller } else { &edge.callee };
                    let of = values.entry(name).or_default();
                    of.0 += 1;
                    of.1.push(sample(edge, part));
                }
                values
                    .into_iter()
                    .map(|(name, (edges, held))| (name, (edges, Sample::thinned(&held, BORROWED))))
                    .collect()
            });
            if let Some((held, more)) = pools.get(name.as_str()) {
                edges += held;
                pool = pool.merged(more);
            }
        }
        (edges >= NEIGHBOURS).then_some(pool)
    }
}
