//! The estimate as a whole, and its rows.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::bounds::Interval;
use super::course::Course;
use super::level::{Tie, solve};
use super::pairs::{Edge, Pair, Pairs};
use super::place::{NO_CLOCK, Neighbours, Placement, other, typical_delay};
use super::{ClockKind, ClockOffset, Clocks, Options, Step, Stretch};
use crate::{Text, Traces};

/// Rounds of taking back.
const ROUNDS: usize = 4;

pub(super) fn estimate(traces: &Traces, options: &Options) -> Clocks {
    let pairs = Pairs::of(traces);
    let neighbours = Neighbours::of(&pairs);
    let right = options.reference.as_deref().and_then(|name| traces.texts().find(name));
    let mut placement = Placement::of(&pairs, &neighbours, right);
    settle(&pairs, &mut placement);
    revoke(&pairs, &mut placement);
    let settled = intervals(&pairs, &placement);
    let reach =
        pairs.pairs.iter().fold((0.0f64, 0.0f64), |reach, pair| (reach.0.min(pair.time), reach.1.max(pair.time)));

    let mut clocks = Clocks { base_ns: pairs.base_ns, reach, ..Clocks::default() };
    for (unit, clock) in pairs.units.iter().zip(&placement.clock) {
        if *clock != NO_CLOCK {
            let names = [unit.service, unit.instance, unit.host].map(|text| traces.texts().shared(text));
            clocks.names.push((names, *clock));
            clocks.units.insert(*unit, *clock);
        }
    }
    clocks.courses = std::mem::take(&mut placement.courses);
    let verdicts = verdicts(&pairs, &placement, &clocks);
    let total = verdicts.iter().fold([0; 3], |total, edge| std::array::from_fn(|field| total[field] + edge[field]));
    [clocks.samples, clocks.violations_before, clocks.violations_after] = total;
    clocks.offsets = rows(traces, &pairs, &placement, &clocks, &settled, &verdicts);
    clocks
}

/// What the pairs of each edge still allow the callee's clock to be moved by.
fn intervals(pairs: &Pairs, placement: &Placement) -> Vec<Interval> {
    let allowed = |edge: &Edge| {
        let course = &placement.courses[placement.clock[edge.callee]];
        placement.samples(pairs, edge, edge.caller, course).allowed()
    };
    pairs.edges.iter().map(allowed).collect()
}

/// Solves for the offsets of all clocks together.
fn settle(pairs: &Pairs, placement: &mut Placement) {
    if placement.courses.len() == placement.starts.len() {
        return;
    }
    let ties = pairs.edges.iter().zip(intervals(pairs, placement)).filter_map(|(edge, allowed)| {
        let (first, second) = (placement.clock[edge.caller], placement.clock[edge.callee]);
        (first != second).then_some(Tie { first, second, allowed })
    });
    let ties: Vec<Tie> = ties.collect();
    let mut fixed = placement.is_forced.clone();
    placement.starts.iter().for_each(|start| fixed[placement.clock[*start]] = true);
    let corrections = solve(placement.courses.len(), &fixed, &ties, typical_delay(pairs));
    for (course, correction) in placement.courses.iter_mut().zip(&corrections) {
        if *correction != 0.0 {
            course.raise(*correction);
        }
    }
}

/// Takes back what turned out not to be one clock: placement saw only the neighbours that were there before. An offset
/// stays if it leaves at most half of the violations that there would be without, movement if it does not add any.
fn revoke(pairs: &Pairs, placement: &mut Placement) {
    let clocks = placement.courses.len();
    if clocks == placement.starts.len() {
        return;
    }
    let mut edges: Vec<Vec<&Edge>> = vec![Vec::new(); clocks];
    for edge in &pairs.edges {
        let (caller, callee) = (placement.clock[edge.caller], placement.clock[edge.callee]);
        if caller != callee {
            edges[caller].push(edge);
            edges[callee].push(edge);
        }
    }
    for _ in 0..ROUNDS {
        let mut is_settled = true;
        for clock in (0..clocks).rev().filter(|clock| !edges[*clock].is_empty()) {
            let against = placement.courses[placement.against[clock]].clone();
            if against == placement.courses[clock] {
                continue;
            }
            let count = |placement: &Placement| -> usize {
                let course = |unit: usize| &placement.courses[placement.clock[unit]];
                edges[clock].iter().map(|edge| violations(pairs, edge, course(edge.caller), course(edge.callee))).sum()
            };
            let with = count(placement);
            let own = std::mem::replace(&mut placement.courses[clock], against);
            let without = count(placement);
            let all: usize = edges[clock].iter().map(|edge| edge.len()).sum();
            let is_better = if own.is_constant() { 2 * with <= without } else { with <= without + all / 500 };
            if is_better {
                placement.courses[clock] = own;
            } else {
                (placement.is_forced[clock], is_settled) = (false, false);
            }
        }
        if is_settled {
            break;
        }
    }
}

/// How many pairs of an edge break causality if its clocks run like this.
fn violations(pairs: &Pairs, edge: &Edge, caller: &Course, callee: &Course) -> usize {
    let apart = |time: f64| callee.at(time).round() - caller.at(time).round();
    let breaks = |pair: &Pair, offset: f64| pair.up < offset || pair.down > offset;
    let all = pairs.of_edge(edge).iter();
    if caller.is_constant() && callee.is_constant() {
        let offset = apart(0.0);
        return all.filter(|pair| breaks(pair, offset)).count();
    }
    all.filter(|pair| breaks(pair, apart(pair.time))).count()
}

/// For each edge: pairs, those that break causality as the clocks show it, and those that do once corrected.
fn verdicts(pairs: &Pairs, placement: &Placement, clocks: &Clocks) -> Vec<[usize; 3]> {
    let none = Course::constant(0.0);
    let count = |edge: &Edge| {
        let course = |unit: usize| &clocks.courses[placement.clock[unit]];
        let after = violations(pairs, edge, course(edge.caller), course(edge.callee));
        [edge.len(), violations(pairs, edge, &none, &none), after]
    };
    pairs.edges.iter().map(count).collect()
}

/// Which units share a row: those of a host whose units all follow one clock, else each has its own.
fn clock_of_host(pairs: &Pairs, placement: &Placement) -> BTreeMap<Text, Option<usize>> {
    let mut hosts: BTreeMap<Text, Option<usize>> = BTreeMap::new();
    for (unit, clock) in pairs.units.iter().zip(&placement.clock) {
        if !unit.host.is_empty() && *clock != NO_CLOCK {
            hosts.entry(unit.host).and_modify(|one| *one = one.filter(|one| one == clock)).or_insert(Some(*clock));
        }
    }
    hosts
}

fn rows(
    traces: &Traces,
    pairs: &Pairs,
    placement: &Placement,
    clocks: &Clocks,
    allowed: &[Interval],
    verdicts: &[[usize; 3]],
) -> Vec<ClockOffset> {
    let hosts = clock_of_host(pairs, placement);
    let mut row_of_unit = vec![usize::MAX; pairs.units.len()];
    let mut row_of_host: BTreeMap<Text, usize> = BTreeMap::new();
    let mut members: Vec<Vec<usize>> = Vec::new();
    for (number, unit) in pairs.units.iter().enumerate().filter(|(number, _)| placement.clock[*number] != NO_CLOCK) {
        let next = members.len();
        let is_shared = hosts.get(&unit.host).is_some_and(Option::is_some);
        let row = if is_shared { *row_of_host.entry(unit.host).or_insert(next) } else { next };
        if row == next {
            members.push(Vec::new());
        }
        members[row].push(number);
        row_of_unit[number] = row;
    }
    let uncertainty = uncertainty(pairs, placement, allowed, &row_of_unit, members.len());
    let mut counts = vec![[0; 3]; members.len()];
    for (edge, verdict) in pairs.edges.iter().zip(verdicts) {
        let (caller, callee) = (row_of_unit[edge.caller], row_of_unit[edge.callee]);
        for row in [Some(caller), (callee != caller).then_some(callee)].into_iter().flatten() {
            counts[row].iter_mut().zip(verdict).for_each(|(sum, count)| *sum += count);
        }
    }
    let text = |text: Text| Some(traces.text(text).to_owned()).filter(|text| !text.is_empty());
    let name = |row: usize| {
        let unit = &pairs.units[members[row][0]];
        match row_of_host.get(&unit.host) {
            Some(shared) if *shared == row => (ClockKind::Host, traces.text(unit.host).to_owned()),
            _ if !unit.instance.is_empty() => (ClockKind::Instance, traces.text(unit.instance).to_owned()),
            _ => (ClockKind::Service, traces.text(unit.service).to_owned()),
        }
    };
    let rows = members.iter().enumerate().map(|(row, units)| {
        let first = &pairs.units[units[0]];
        let only = |of: fn(&super::Unit) -> Text| {
            let same = units.iter().all(|unit| of(&pairs.units[*unit]) == of(first));
            if same { text(of(first)) } else { None }
        };
        let services: BTreeSet<&str> = units.iter().map(|unit| traces.text(pairs.units[*unit].service)).collect();
        let (clock, component) = (placement.clock[units[0]], placement.component[units[0]]);
        let course = &clocks.courses[clock];
        let last = course.pieces()[course.pieces().len() - 1];
        let (kind, named) = name(row);
        let reference = row_of_unit[placement.starts[component]];
        let uncertainty_ns = uncertainty[row].map(|wide| (wide + last.offset_error).round() as u64);
        ClockOffset {
            clock: named,
            kind,
            service: only(|unit| unit.service),
            services: services.into_iter().map(str::to_owned).collect(),
            host: only(|unit| unit.host),
            instance: only(|unit| unit.instance),
            offset_ns: course.at(clocks.reach.1).round() as i64,
            uncertainty_ns,
            drift_ppm: last.slope * 1e6,
            drift_error_ppm: last.slope_error * 1e6,
            steps: steps(course, clocks.base_ns),
            course: stretches(course, clocks.base_ns),
            samples: counts[row][0],
            violations_before: counts[row][1],
            violations_after: counts[row][2],
            component,
            reference: name(reference).1,
            is_reference: row == reference,
            is_forced: placement.is_forced[clock],
        }
    });
    let mut rows: Vec<ClockOffset> = rows.collect();
    rows.sort_by(|one, two| {
        let size = |row: &ClockOffset| Reverse((row.offset_ns.unsigned_abs(), row.course.len()));
        size(one).cmp(&size(two)).then_with(|| (&one.clock, &one.services).cmp(&(&two.clock, &two.services)))
    });
    rows
}

fn unix(base_ns: u64, time: f64) -> u64 {
    base_ns.saturating_add_signed(time.round() as i64)
}

fn steps(course: &Course, base_ns: u64) -> Vec<Step> {
    let steps = course.jumps().map(|jump| Step {
        at: unix(base_ns, jump.at),
        at_error_ns: jump.at_error.round() as u64,
        by_ns: jump.by.round() as i64,
        by_error_ns: jump.by_error.round() as u64,
    });
    steps.collect()
}

fn stretches(course: &Course, base_ns: u64) -> Vec<Stretch> {
    if course.is_constant() {
        return Vec::new();
    }
    let stretches = course.pieces().iter().map(|piece| Stretch {
        from: unix(base_ns, piece.from),
        offset_ns: piece.offset.round() as i64,
        drift_ppm: piece.slope * 1e6,
    });
    stretches.collect()
}

/// How far each row may be off: the shortest way from its component's reference, where an edge is as long as what it
/// allows on its wider side.
fn uncertainty(
    pairs: &Pairs,
    placement: &Placement,
    allowed: &[Interval],
    row_of_unit: &[usize],
    rows: usize,
) -> Vec<Option<f64>> {
    let neighbours = Neighbours::of(pairs);
    let mut units: Vec<Vec<usize>> = vec![Vec::new(); rows];
    for (unit, row) in row_of_unit.iter().enumerate().filter(|(_, row)| **row != usize::MAX) {
        units[*row].push(unit);
    }
    let mut far = vec![None; rows];
    let mut queue: BinaryHeap<Reverse<(u64, usize)>> =
        placement.starts.iter().map(|start| Reverse((0, row_of_unit[*start]))).collect();
    while let Some(Reverse((distance, row))) = queue.pop() {
        if far[row].is_some() {
            continue;
        }
        far[row] = Some(distance as f64);
        for unit in &units[row] {
            for number in neighbours.at(*unit) {
                let (edge, allowed) = (&pairs.edges[*number], &allowed[*number]);
                let next = row_of_unit[other(edge, *unit)];
                let wide = allowed.high.abs().max(allowed.low.abs());
                if wide.is_finite() && far[next].is_none() {
                    queue.push(Reverse((distance.saturating_add(wide.round() as u64), next)));
                }
            }
        }
    }
    far
}
