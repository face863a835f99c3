//! Brings calls, orphans and fragments together, hop by hop.

use crate::traces::{NO_SPAN, Text, Traces};

use super::evidence::Seen;
use super::fitting::{Certainty, Fitting};
use super::gaps::{Expected, Gap};
use super::orphans::Missing;
use super::survey::{Map, Piece, Survey, most};

/// Who should have answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Callee {
    Service(Text),
    /// A name that no service has of which anything was seen.
    Unseen(Text),
    Unknown,
}

/// All calls from one service to another.
#[derive(Debug)]
pub(super) struct Hop {
    /// Empty where it is outside, or not known.
    pub caller: Text,
    pub callee: Callee,
    /// In order of their end.
    pub calls: Vec<Seen>,
    /// What the lost calls are called, the most frequent first.
    pub operations: Vec<(Text, u32)>,
    /// Lost calls that have a trace of their own elsewhere, beyond chance.
    pub fragments: f64,
    pub by_number: bool,
    /// Nothing but that there is no answer speaks for its being lost: nobody recorded the calls, and they may not always be
    /// made.
    pub doubtful: bool,
}

/// What was found out about each gap.
pub(super) struct Known {
    pub callee: Vec<Option<Callee>>,
    /// A span that hangs below the missing answer, or [`NO_SPAN`].
    pub orphan: Vec<u32>,
    /// A trace that belongs into it, or [`NO_SPAN`].
    pub fragment: Vec<u32>,
    /// Traces that belong into work without recorded calls, which may have any number of them.
    pub within: Vec<Within>,
}

/// A trace that belongs into work without recorded calls.
pub(super) struct Within {
    /// Number of the gap that stands for all calls of the work.
    pub gap: u32,
    pub callee: Callee,
    /// The trace.
    pub fragment: u32,
}

/// A site of which nothing was expected is taken up when this share of its calls has something below.
const TAKEN_UP: f64 = 0.2;

/// The hops with at least `lost_min` lost calls, in order of first appearance.
pub(super) fn gather(traces: &Traces, survey: &Survey, gaps: &[Gap], missing: &[Missing], lost_min: usize) -> Vec<Hop> {
    let callee = gaps.iter().map(|gap| match gap.expected {
        Expected::Service(service) => Some(Callee::Service(service)),
        Expected::Unseen(peer) => Some(Callee::Unseen(peer)),
        Expected::Nothing => None,
    });
    let mut known = Known {
        callee: callee.collect(),
        orphan: vec![NO_SPAN; gaps.len()],
        fragment: vec![NO_SPAN; gaps.len()],
        within: Vec::new(),
    };
    for missing in missing {
        if let Some(gap) = missing.gap {
            known.orphan[gap as usize] = missing.orphan.span;
        }
    }
    take_up_orphaned(survey, gaps, &mut known, lost_min);
    let certain = Fitting::new(traces, survey, gaps, lost_min).fit(&mut known);
    let mut hops = collect(traces, survey, gaps, &known, &certain, lost_min);
    unmatched(traces, survey, missing, &mut hops, lost_min);
    for hop in &mut hops {
        hop.calls.sort_by_key(|call| (call.end_ns, call.span));
        hop.operations.sort_by_key(|(operation, count)| (u32::MAX - count, operation.0));
    }
    hops
}

/// A site that names nobody, below whose calls orphans hang: somebody is there.
fn take_up_orphaned(survey: &Survey, gaps: &[Gap], known: &mut Known, lost_min: usize) {
    let mut with_orphans: Map<u32, usize> = Map::default();
    for (gap, orphan) in gaps.iter().zip(&known.orphan) {
        *with_orphans.entry(survey.calls[gap.call as usize].site).or_default() += usize::from(*orphan != NO_SPAN);
    }
    for (number, gap) in gaps.iter().enumerate() {
        let number_of_site = survey.calls[gap.call as usize].site;
        let orphans = with_orphans.get(&number_of_site).copied().unwrap_or(0);
        let site = &survey.sites[number_of_site as usize];
        // Work without recorded calls may have many: what hangs below one of them says nothing of the others.
        let speaks = if site.unrecorded {
            known.orphan[number] != NO_SPAN
        } else {
            orphans as f64 >= TAKEN_UP * f64::from(site.calls)
        };
        if known.callee[number].is_none() && orphans >= lost_min && speaks {
            let peer = site.peer;
            known.callee[number] = Some(if peer.is_empty() { Callee::Unknown } else { Callee::Unseen(peer) });
        }
    }
}

fn collect(
    traces: &Traces,
    survey: &Survey,
    gaps: &[Gap],
    known: &Known,
    certain: &Map<Callee, Certainty>,
    lost_min: usize,
) -> Vec<Hop> {
    let caller = |gap: &Gap| survey.sites[survey.calls[gap.call as usize].site as usize].service;
    let mut lost: Map<(Text, Callee), usize> = Map::default();
    for (gap, callee) in gaps.iter().zip(&known.callee) {
        if let Some(callee) = callee {
            *lost.entry((caller(gap), *callee)).or_default() += 1;
        }
    }
    let mut hops: Vec<Hop> = Vec::new();
    let mut numbers: Map<(Text, Callee), usize> = Map::default();
    let mut next = 0;
    for (index, call) in survey.calls.iter().enumerate() {
        let gap = gaps.get(next).filter(|gap| gap.call as usize == index).map(|_| next);
        next += usize::from(gap.is_some());
        let callee = match gap {
            Some(gap) => known.callee[gap],
            None if call.child == NO_SPAN => None,
            None => Some(Callee::Service(traces.spans()[call.child as usize].service)),
        };
        let Some(callee) = callee else { continue };
        let key = (survey.sites[call.site as usize].service, callee);
        if lost.get(&key).is_none_or(|lost| *lost < lost_min) {
            continue;
        }
        let number = *numbers.entry(key).or_insert_with(|| {
            hops.push(Hop::new(key.0, key.1));
            hops.len() - 1
        });
        let (hop, span) = (&mut hops[number], &traces.spans()[call.span as usize]);
        let of = |what: &[u32]| gap.map_or(NO_SPAN, |gap| what[gap]);
        hop.doubtful |= gap.is_some() && survey.sites[call.site as usize].unrecorded;
        hop.calls.push(Seen {
            end_ns: span.end_ns,
            trace: call.trace,
            span: call.span,
            child: call.child,
            lost: gap.is_some(),
            orphan: of(&known.orphan),
            fragment: of(&known.fragment),
        });
        if gap.is_some() {
            super::survey::count(&mut hop.operations, span.operation);
        }
    }
    within(traces, survey, gaps, &known.within, (&mut hops, &mut numbers), lost_min);
    for hop in hops.iter_mut().filter(|hop| hop.doubtful) {
        let speaks = |call: &Seen| !call.lost || call.orphan != NO_SPAN || call.fragment != NO_SPAN;
        if hop.calls.iter().filter(|call| call.lost && speaks(call)).count() >= lost_min {
            hop.calls.retain(speaks);
            hop.doubtful = false;
        }
    }
    for hop in &mut hops {
        let certainty = certain.get(&hop.callee).copied().unwrap_or_default();
        let pairs = hop.calls.iter().filter(|call| call.fragment != NO_SPAN).count();
        hop.fragments = pairs as f64 * certainty.share;
        hop.by_number = certainty.by_number;
    }
    hops
}

/// Adds the calls that are only known by the traces that lie within some work.
fn within(
    traces: &Traces,
    survey: &Survey,
    gaps: &[Gap],
    known: &[Within],
    (hops, numbers): (&mut Vec<Hop>, &mut Map<(Text, Callee), usize>),
    lost_min: usize,
) {
    let call = |within: &Within| &survey.calls[gaps[within.gap as usize].call as usize];
    let key = |within: &Within| (survey.sites[call(within).site as usize].service, within.callee);
    let mut lost: Map<(Text, Callee), usize> = Map::default();
    known.iter().for_each(|within| *lost.entry(key(within)).or_default() += 1);
    for within in known.iter().filter(|within| lost[&key(within)] >= lost_min) {
        let (call, key) = (call(within), key(within));
        let number = *numbers.entry(key).or_insert_with(|| {
            hops.push(Hop::new(key.0, key.1));
            hops.len() - 1
        });
        let span = &traces.spans()[call.span as usize];
        hops[number].calls.push(Seen {
            end_ns: span.end_ns,
            trace: call.trace,
            span: call.span,
            child: NO_SPAN,
            lost: true,
            orphan: NO_SPAN,
            fragment: within.fragment,
        });
        super::survey::count(&mut hops[number].operations, span.operation);
    }
}

impl Hop {
    fn new(caller: Text, callee: Callee) -> Self {
        Self {
            caller,
            callee,
            calls: Vec::new(),
            operations: Vec::new(),
            fragments: 0.0,
            by_number: false,
            doubtful: false,
        }
    }

    /// The callee, where orphans say that its spans are missing.
    fn orphaned(&self, lost_min: usize) -> Option<Text> {
        let Callee::Service(service) = self.callee else { return None };
        let orphans = self.calls.iter().filter(|call| call.orphan != NO_SPAN).count();
        (orphans >= lost_min).then_some(service)
    }

    pub(super) fn lost(&self) -> usize {
        self.calls.iter().filter(|call| call.lost).count()
    }
}

/// Spans that are missing and that no call is known for: the first service of all, or one whose callers are missing
/// too.
fn unmatched(traces: &Traces, survey: &Survey, missing: &[Missing], hops: &mut Vec<Hop>, lost_min: usize) {
    let mut groups: Map<(Text, bool), Vec<Piece>> = Map::default();
    // What one broken service explains needs no second.
    let broken: Vec<Text> = hops.iter().filter_map(|hop| hop.orphaned(lost_min)).collect();
    for missing in missing.iter().filter(|missing| missing.gap.is_none()) {
        let orphan = &traces.spans()[missing.orphan.span as usize];
        let callers = survey.callers.get(&(orphan.service, orphan.operation));
        let usually =
            |service: &Text| callers.is_some_and(|callers| callers.iter().any(|(caller, _)| caller == service));
        if orphan.is_incoming() && broken.iter().any(usually) {
            continue;
        }
        // Who is above is not known: then it is the orphan's own service that is called by nobody.
        let key = missing.service.map_or((orphan.service, false), |service| (service, true));
        let group = groups.entry(key).or_default();
        // A trace has one beginning.
        if group.last().is_none_or(|last| last.trace != missing.orphan.trace) {
            group.push(missing.orphan);
        }
    }
    groups.retain(|(service, named), pieces| {
        let broken = hops.iter().any(|hop| *named && hop.callee == Callee::Service(*service));
        let called = survey.services.get(service.0 as usize).map_or(0, |presence| presence.incoming) as usize;
        pieces.len() >= lost_min && !broken && (*named || 10 * pieces.len() >= 9 * called)
    });
    let mut keys: Vec<(Text, bool)> = groups.keys().copied().collect();
    keys.sort_unstable();
    let mut numbers: Map<Text, usize> = Map::default();
    for (service, named) in keys {
        let caller = if named { usual_caller(survey, service) } else { Text::EMPTY };
        let mut hop = Hop::new(caller, Callee::Service(service));
        for orphan in &groups[&(service, named)] {
            let end_ns = traces.spans()[orphan.span as usize].end_ns;
            let (span, child, lost, fragment) = (NO_SPAN, NO_SPAN, true, NO_SPAN);
            hop.calls.push(Seen { end_ns, trace: orphan.trace, span, child, lost, orphan: orphan.span, fragment });
        }
        if named {
            numbers.insert(service, hops.len());
        }
        hops.push(hop);
    }
    if numbers.is_empty() {
        return;
    }
    for (number, trace) in traces.traces().iter().enumerate() {
        for index in trace.spans() {
            let span = &traces.spans()[index];
            if let Some(hop) = numbers.get(&span.service).filter(|_| span.is_incoming() && span.descendants > 0) {
                let (trace, child) = (number as u32, index as u32);
                let (span, end_ns) = (NO_SPAN, span.end_ns);
                let seen = Seen { end_ns, trace, span, child, lost: false, orphan: NO_SPAN, fragment: NO_SPAN };
                hops[*hop].calls.push(seen);
            }
        }
    }
}

/// Who calls a service most; empty where it mostly begins traces.
fn usual_caller(survey: &Survey, service: Text) -> Text {
    let mut counts: Vec<(Text, u32)> = Vec::new();
    for ((callee, _), callers) in &survey.callers {
        for (caller, calls) in callers.iter().filter(|(caller, _)| *callee == service && *caller != service) {
            match counts.iter_mut().find(|(known, _)| known == caller) {
                Some((_, count)) => *count += calls,
                None => counts.push((*caller, *calls)),
            }
        }
    }
    let calls: u32 = counts.iter().map(|(_, calls)| calls).sum();
    let roots = survey.services.get(service.0 as usize).map_or(0, |presence| presence.roots);
    most(&counts).filter(|_| calls >= roots).map_or(Text::EMPTY, |(caller, _)| caller)
}
