//! Gives every unit a clock: outwards from a start along the surest edges, joining a clock that is there already where
//! nothing speaks against it.
//!
//! ```text
//! start ── agrees ── b ── agrees ── c          one clock: b and c join the clock of the start
//!            │
//!            └── rules out zero ── p ── …      a clock of its own: p's offset, drift and steps against b's
//! ```
//!
//! The order is that of Prim's minimum spanning tree with the least delay of an edge as its length, so that what is known
//! best is settled first. A unit is tried on the clock of its own host before any other.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use foldhash::fast::RandomState;

use super::bounds::{Interval, PAIRS_ENOUGH, Sample, Samples};
use super::course::Course;
use super::movement;
use super::pairs::{Edge, Pairs};
use crate::Text;

/// Clocks that a unit is tried on before it gets one of its own.
const TRIED_MAX: usize = 4;

/// In place of the number of a clock: none yet.
pub(super) const NO_CLOCK: usize = usize::MAX;

/// Which unit follows which clock.
#[derive(Debug, Default)]
pub(super) struct Placement {
    /// For each unit the number of its clock.
    pub clock: Vec<usize>,
    /// The offsets of the clocks against that of the component's start.
    pub courses: Vec<Course>,
    /// For each clock the one that it was found to depart from; itself for a start's.
    pub against: Vec<usize>,
    /// For each clock, whether its offset rests on a few pairs only.
    pub is_forced: Vec<bool>,
    /// For each unit the number of its component.
    pub component: Vec<usize>,
    /// For each component its start.
    pub starts: Vec<usize>,
}

/// Edges at each unit.
pub(super) struct Neighbours {
    first: Vec<usize>,
    edges: Vec<usize>,
}

impl Neighbours {
    pub(super) fn of(pairs: &Pairs) -> Self {
        let mut first = vec![0; pairs.units.len() + 1];
        for edge in &pairs.edges {
            first[edge.caller + 1] += 1;
            first[edge.callee + 1] += 1;
        }
        for unit in 1..first.len() {
            first[unit] += first[unit - 1];
        }
        let (mut next, mut edges) = (first.clone(), vec![0; 2 * pairs.edges.len()]);
        for (number, edge) in pairs.edges.iter().enumerate() {
            for unit in [edge.caller, edge.callee] {
                edges[next[unit]] = number;
                next[unit] += 1;
            }
        }
        Self { first, edges }
    }

    pub(super) fn at(&self, unit: usize) -> &[usize] {
        &self.edges[self.first[unit]..self.first[unit + 1]]
    }
}

/// The other end of an edge.
pub(super) fn other(edge: &Edge, unit: usize) -> usize {
    if edge.caller == unit { edge.callee } else { edge.caller }
}

/// How far an edge is from telling everything.
fn length(edge: &Edge) -> u64 {
    // A day where only one side is bounded; few pairs count for less than many.
    let half_delay = if edge.half_delay.is_finite() { edge.half_delay } else { 86_400e9 };
    ((half_delay + 1_000.0) * (1.0 + PAIRS_ENOUGH as f64 / edge.len() as f64)) as u64
}

impl Placement {
    /// Places all units that have a neighbour. `right` is a service whose clock is the reference where it occurs.
    pub(super) fn of(pairs: &Pairs, neighbours: &Neighbours, right: Option<Text>) -> Self {
        let units = pairs.units.len();
        let mut placement =
            Self { clock: vec![NO_CLOCK; units], component: vec![usize::MAX; units], ..Self::default() };
        let typical = typical_delay(pairs);
        let end = pairs.end();
        let mut seen = vec![false; units];
        for first in 0..units {
            if placement.clock[first] != NO_CLOCK || neighbours.at(first).is_empty() {
                continue;
            }
            let members = members(pairs, neighbours, first, &mut seen);
            // Whose clock is said to be right, else where most traces begin; of several such the first.
            let is_right = |unit: usize| right == Some(pairs.units[unit].service);
            let rank = |unit: &usize| (is_right(*unit), pairs.roots[*unit], Reverse(*unit));
            let start = members.iter().copied().max_by_key(rank).unwrap_or(first);
            let clocks = placement.courses.len();
            placement.component(pairs, neighbours, start, typical);
            // Most clocks agree on another time than the start's: then the start is what is wrong.
            if let Some(majority) = placement.majority(&members, clocks, end).filter(|_| !is_right(start)) {
                let better = members.iter().copied().find(|unit| placement.clock[*unit] == majority).unwrap_or(start);
                placement.courses.truncate(clocks);
                placement.is_forced.truncate(clocks);
                placement.against.truncate(clocks);
                placement.starts.pop();
                members.iter().for_each(|unit| placement.clock[*unit] = NO_CLOCK);
                placement.component(pairs, neighbours, better, typical);
            }
        }
        placement
    }

    /// The clock that more than half of a component's units agree with, if that is not the first of its clocks: in offset
    /// and movement, else in movement alone. `None` also where the first is among those that agree.
    fn majority(&self, members: &[usize], first: usize, end: f64) -> Option<usize> {
        let count = self.courses.len() - first;
        let mut followers = vec![0; count];
        members.iter().for_each(|unit| followers[self.clock[*unit] - first] += 1);
        if 2 * followers[0] > members.len() {
            return None;
        }
        if let Some(clock) = followers.iter().position(|followers| 2 * followers > members.len()) {
            return Some(first + clock);
        }
        let alike = |one: usize| -> usize {
            let moves_alike = |two: &usize| self.courses[first + one].moves_like(&self.courses[first + *two], end);
            (0..count).filter(moves_alike).map(|two| followers[two]).sum()
        };
        if self.courses[first..].iter().all(Course::is_constant) || 2 * alike(0) > members.len() {
            return None;
        }
        let mut by_followers: Vec<usize> = (1..count).collect();
        by_followers.sort_by_key(|clock| (Reverse(followers[*clock]), *clock));
        // A clock that half of the units agree with is among the largest, or else there are many small ones.
        by_followers
            .into_iter()
            .take(TRIED_MAX)
            .find(|clock| 2 * alike(*clock) > members.len())
            .map(|clock| first + clock)
    }

    fn component(&mut self, pairs: &Pairs, neighbours: &Neighbours, start: usize, typical: f64) {
        let component = self.starts.len();
        self.starts.push(start);
        let mut by_host: HashMap<Text, Vec<usize>, RandomState> = HashMap::default();
        let mut queue = BinaryHeap::from([Reverse((0, start))]);
        while let Some(Reverse((_, unit))) = queue.pop() {
            if self.clock[unit] != NO_CLOCK {
                continue;
            }
            self.component[unit] = component;
            let host = pairs.units[unit].host;
            let on_host = by_host.entry(host).or_default();
            self.clock[unit] = if unit == start {
                self.add(Course::constant(0.0), false, None)
            } else {
                // A host may be unknown: then all that are unknown are no host.
                let on_host: &[usize] = if host.is_empty() { &[] } else { on_host };
                self.choose(pairs, neighbours, unit, (start, on_host), typical)
            };
            on_host.push(unit);
            for edge in neighbours.at(unit) {
                let edge = &pairs.edges[*edge];
                if self.clock[other(edge, unit)] == NO_CLOCK {
                    queue.push(Reverse((length(edge), other(edge, unit))));
                }
            }
        }
    }

    fn add(&mut self, course: Course, is_forced: bool, against: Option<usize>) -> usize {
        self.against.push(against.unwrap_or(self.courses.len()));
        self.courses.push(course);
        self.is_forced.push(is_forced);
        self.courses.len() - 1
    }

    /// The clock of a unit whose neighbours have some.
    fn choose(
        &mut self,
        pairs: &Pairs,
        neighbours: &Neighbours,
        unit: usize,
        (start, on_host): (usize, &[usize]),
        typical: f64,
    ) -> usize {
        let mut edges: Vec<&Edge> = neighbours.at(unit).iter().map(|edge| &pairs.edges[*edge]).collect();
        edges.retain(|edge| self.clock[other(edge, unit)] != NO_CLOCK);
        edges.sort_by_key(|edge| length(edge));
        let mut tried: Vec<usize> = Vec::with_capacity(TRIED_MAX);
        let near = edges.iter().map(|edge| other(edge, unit));
        for candidate in on_host.iter().copied().chain(near.clone()).chain([start]).map(|unit| self.clock[unit]) {
            if tried.len() < TRIED_MAX && !tried.contains(&candidate) {
                tried.push(candidate);
            }
        }
        let mut own: Option<(usize, Departure)> = None;
        for candidate in tried {
            let samples: Vec<Samples> = edges
                .iter()
                .map(|edge| self.samples(pairs, edge, other(edge, unit), &self.courses[candidate]))
                .collect();
            let Some(departure) = departure(&samples, typical) else { return candidate };
            // A neighbour that steps is not what its neighbours are best told by.
            if own.as_ref().is_none_or(|(_, own)| departure.course.complexity() < own.course.complexity()) {
                own = Some((candidate, departure));
            }
        }
        match own {
            Some((against, departure)) => {
                let course = self.courses[against].plus(&departure.course);
                self.add(course, departure.is_forced, Some(against))
            }
            // Not reached: a unit is placed because a neighbour was.
            None => self.add(Course::constant(0.0), false, None),
        }
    }

    /// What an edge between `known` and a unit says of the unit's offset, if the unit followed `course`.
    pub(super) fn samples(&self, pairs: &Pairs, edge: &Edge, known: usize, course: &Course) -> Samples {
        let theirs = &self.courses[self.clock[known]];
        let calls = edge.caller == known;
        let all = pairs.some_of_edge(edge).map(|pair| {
            let shift = course.at(pair.time) - theirs.at(pair.time);
            let (time, none) = (pair.time, f64::INFINITY);
            match calls {
                true => Sample {
                    time,
                    up: pair.up - shift,
                    down: pair.down - shift,
                    begun: pair.begun - shift,
                    begun_up: none,
                },
                false => Sample {
                    time,
                    up: -pair.down - shift,
                    down: -pair.up - shift,
                    begun: -none,
                    begun_up: -pair.begun - shift,
                },
            }
        });
        let (up_tolerance, down_tolerance) =
            if calls { (edge.callee_step, edge.caller_step) } else { (edge.caller_step, edge.callee_step) };
        // What was fitted is not known better than that.
        let error = if course == theirs { 0.0 } else { course.error(pairs.end()) + theirs.error(pairs.end()) };
        let (up_tolerance, down_tolerance) = (up_tolerance + error, down_tolerance + error);
        Samples { all: all.collect(), up_tolerance, down_tolerance, up_is_start: calls }
    }
}

fn members(pairs: &Pairs, neighbours: &Neighbours, first: usize, seen: &mut [bool]) -> Vec<usize> {
    let (mut members, mut next) = (vec![first], 0);
    seen[first] = true;
    while next < members.len() {
        let unit = members[next];
        next += 1;
        for edge in neighbours.at(unit) {
            let other = other(&pairs.edges[*edge], unit);
            if !std::mem::replace(&mut seen[other], true) {
                members.push(other);
            }
        }
    }
    members.sort_unstable();
    members
}

/// How far a unit departs from a clock.
struct Departure {
    course: Course,
    is_forced: bool,
}

/// Half the delay of a usual edge.
pub(super) fn typical_delay(pairs: &Pairs) -> f64 {
    let mut delays: Vec<f64> =
        pairs.edges.iter().map(|edge| edge.half_delay).filter(|half_delay| half_delay.is_finite()).collect();
    if delays.is_empty() {
        return f64::INFINITY;
    }
    let rank = delays.len() / 2;
    *delays.select_nth_unstable_by(rank, f64::total_cmp).1
}

/// Whether pairs depart from zero: by moving, or by an offset that causality asks for.
fn departure(edges: &[Samples], typical: f64) -> Option<Departure> {
    let mut both: Vec<Sample> = edges
        .iter()
        .flat_map(|samples| &samples.all)
        .filter(|sample| sample.up.is_finite() && sample.down.is_finite())
        .copied()
        .collect();
    if edges.len() > 1 {
        both.sort_by(|one, two| one.time.total_cmp(&two.time));
    }
    let none = Course::constant(0.0);
    let violations = |course: &Course| edges.iter().map(|samples| samples.violations(course)).sum::<usize>();
    let tolerance = edges.iter().map(Samples::tolerance).fold(0.0, f64::max);
    if let Some(mut course) = movement::find(&both, tolerance) {
        let rest: Vec<Samples> = edges.iter().map(|samples| samples.without(&course)).collect();
        let span = both.first().zip(both.last()).map_or((0.0, 0.0), |(first, last)| (first.time, last.time));
        let level = level(allowed(&rest), &course, span, typical);
        course.raise(level);
        if violations(&course) <= violations(&none) + both.len() / 500 {
            return Some(Departure { course, is_forced: false });
        }
    }
    let telling: Vec<&Samples> = edges.iter().filter(|samples| samples.rules_out_zero()).collect();
    if telling.is_empty() {
        return None;
    }
    let is_forced = telling.iter().map(|samples| samples.all.len()).sum::<usize>() < PAIRS_ENOUGH;
    let course = Course::constant(nearest(allowed(edges), if is_forced { 0.0 } else { typical }));
    // What one offset does not put right is not one clock: several instances without a name, work of another kind.
    (2 * violations(&course) <= violations(&none)).then_some(Departure { course, is_forced })
}

impl Samples {
    fn without(&self, course: &Course) -> Samples {
        let all = self.all.iter().map(|sample| {
            let offset = course.at(sample.time);
            Sample { up: sample.up - offset, down: sample.down - offset, ..*sample }
        });
        Samples { all: all.collect(), ..*self }
    }
}

fn allowed(edges: &[Samples]) -> Interval {
    edges.iter().map(Samples::allowed).fold(Interval::ALL, Interval::and)
}

/// Where in the interval of what is allowed an offset is put: zero if that is allowed; else in the middle, as requests
/// and answers are equally quick where nothing else is known, but no further from the bound next to zero than four times
/// what is usual: what is beyond that is congestion.
pub(super) fn nearest(allowed: Interval, typical: f64) -> f64 {
    // Where nobody waits nothing is usual, and there may be no other bound.
    let inset = (allowed.width() / 2.0).min(4.0 * typical);
    let inset = if inset.is_finite() { inset } else { 0.0 };
    match allowed {
        Interval { low, high } if low > high => (low + high) / 2.0,
        Interval { low, .. } if low > 0.0 => low + inset,
        Interval { high, .. } if high < 0.0 => high - inset,
        _ => 0.0,
    }
}

/// How high a course is whose movement is known: so that its longest piece shows no offset, if that is allowed.
fn level(allowed: Interval, course: &Course, (begin, end): (f64, f64), typical: f64) -> f64 {
    let pieces = course.pieces();
    let middles = pieces.iter().enumerate().map(|(place, piece)| {
        let until = pieces.get(place + 1).map_or(end, |next| next.from);
        let from = if place == 0 { begin } else { piece.from };
        (until - from, piece.at((from + until) / 2.0))
    });
    let mut middles: Vec<(f64, f64)> = middles.collect();
    middles.sort_by(|one, two| two.0.total_cmp(&one.0));
    let at_rest = middles.iter().map(|(_, offset)| -offset).find(|level| (allowed.low..=allowed.high).contains(level));
    let longest = middles.first().map_or(0.0, |(_, offset)| -offset);
    at_rest.unwrap_or_else(|| {
        let shifted = Interval { low: allowed.low - longest, high: allowed.high - longest };
        longest + nearest(shifted, typical)
    })
}
