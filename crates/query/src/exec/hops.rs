//! Calls between services by edge and minute, from the rollups of every source.
//!
//! Each source has counted the calls that it holds both sides of. Calls of traces that lie in several sources are taken
//! out again and counted once, over the whole trace (`join`), so that the answer does not depend on where spans lie:
//! not on how far a service is behind with its exports, nor on what is sealed and compacted.

mod join;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use foldhash::fast::RandomState;
use tracewell_analysis::hops::{EdgeSamples, EdgeSketches, HopChanges, Options, compare};
use tracewell_store::table::{HopCount, Signal, Source};

use super::listing::{minutes, over};
use super::{Budget, Listing};
use crate::QueryError;

/// Distributions that are held at the same time at most: edges times points.
const ENTRIES_MAX: usize = 120_000;

/// Which calls, and how finely.
#[derive(Debug, Clone, Default)]
pub struct HopRequest {
    /// Start in nanoseconds since the epoch; the whole minute counts.
    pub start: u64,
    /// End, exclusive; the whole minute counts.
    pub end: u64,
    /// Only calls from or to this service.
    pub service: Option<String>,
    /// Minutes that are told together; 0 tells only of the whole range.
    pub step_minutes: u64,
}

/// The calls of one edge.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HopEdge {
    /// All of them. `minute` is the first one's.
    pub total: HopCount,
    /// The same by step, in order; each begins with the minute that is a multiple of the step. Empty without one.
    pub steps: Vec<HopCount>,
}

/// Caller, callee, asynchronous.
type Edge = (Arc<str>, Arc<str>, bool);

/// What is gathered over all sources.
#[derive(Default)]
struct Gathered {
    edges: HashMap<Edge, HopEdge, RandomState>,
    entries: usize,
    step: u64,
    full: bool,
}

impl Gathered {
    fn edge(&mut self, count: &HopCount) -> Option<&mut HopEdge> {
        let key = (Arc::clone(&count.caller), Arc::clone(&count.callee), count.is_async);
        if !self.edges.contains_key(&key) {
            if self.entries >= ENTRIES_MAX {
                self.full = true;
                return None;
            }
            self.entries += 1;
            let total = HopCount { minute: count.minute, ..named(count) };
            self.edges.insert(key.clone(), HopEdge { total, steps: Vec::new() });
        }
        self.edges.get_mut(&key)
    }

    fn add(&mut self, count: &HopCount) {
        let (step, has_room) = (self.step, self.entries < ENTRIES_MAX);
        let Some(edge) = self.edge(count) else { return };
        edge.total.minute = edge.total.minute.min(count.minute);
        edge.total.merge(count);
        let Some(minute) = count.minute.checked_div(step).map(|number| number * step) else { return };
        match edge.steps.binary_search_by_key(&minute, |at| at.minute) {
            Ok(at) => edge.steps[at].merge(count),
            Err(at) if has_room => {
                edge.steps.insert(at, HopCount { minute, ..count.clone() });
                self.entries += 1;
            }
            Err(_) => self.full = true,
        }
    }

    fn remove(&mut self, count: &HopCount) {
        let step = self.step;
        let Some(edge) = self.edge(count) else { return };
        edge.total.remove(count);
        if let Some(minute) = count.minute.checked_div(step).map(|number| number * step)
            && let Ok(at) = edge.steps.binary_search_by_key(&minute, |at| at.minute)
        {
            edge.steps[at].remove(count);
        }
    }
}

/// A count without calls, of the same edge.
fn named(count: &HopCount) -> HopCount {
    let (caller, callee) = (Arc::clone(&count.caller), Arc::clone(&count.callee));
    HopCount { minute: count.minute, caller, callee, is_async: count.is_async, ..HopCount::default() }
}

/// Calls between services that began in a minute that the range touches, the edges with most calls first. Edges from
/// nowhere (an empty caller) are requests from outside and calls whose caller's span is missing
/// ([`HopCount::unpaired`]).
///
/// # Errors
/// [`QueryError::Cancelled`] when the budget's flag was raised.
pub fn hops(
    sources: &[Arc<dyn Source>],
    request: &HopRequest,
    budget: &Budget,
) -> Result<Listing<HopEdge>, QueryError> {
    let Some(wanted) = minutes(request.start, request.end) else {
        return Ok(Listing { complete: true, ..Listing::default() });
    };
    let service = request.service.as_deref();
    let mut gathered = Gathered { step: request.step_minutes, ..Gathered::default() };
    let ended = over(sources, Signal::Traces, request.start, request.end, budget, |source, _| {
        source.hops(wanted.clone(), service, &mut |count| gathered.add(count))?;
        Ok(())
    })?;
    let mut listing = ended.listing(Vec::new());
    // A call may lack its other side, a callee the calls that it made itself, and a span may be in two sources.
    if sources.len() > 1 {
        let joined = join::join(sources, (request.start, request.end), budget)?;
        let is_wanted = |count: &&HopCount| is_wanted(count, &wanted, service);
        joined.apart.iter().filter(is_wanted).for_each(|count| gathered.remove(count));
        joined.whole.iter().filter(is_wanted).for_each(|count| gathered.add(count));
        listing.complete &= joined.warnings.is_empty();
        listing.warnings.extend(joined.warnings);
    }
    if gathered.full {
        listing.complete = false;
        listing
            .warnings
            .push("there are more edges and steps than are counted at once; the answer is without some".to_owned());
    }
    let mut edges: Vec<HopEdge> = gathered.edges.into_values().filter(|edge| edge.total.calls > 0).collect();
    for edge in &mut edges {
        edge.steps.retain(|step| step.calls > 0);
    }
    edges.sort_by(|a, b| {
        let names = |of: &HopEdge| (Arc::clone(&of.total.caller), Arc::clone(&of.total.callee), of.total.is_async);
        b.total.calls.cmp(&a.total.calls).then_with(|| names(a).cmp(&names(b)))
    });
    Ok(Listing { items: edges, ..listing })
}

fn is_wanted(count: &HopCount, wanted: &RangeInclusive<u64>, service: Option<&str>) -> bool {
    wanted.contains(&count.minute)
        && service.is_none_or(|service| *count.caller == *service || *count.callee == *service)
}

/// What changed between two ranges of time, as `(start, end)` in nanoseconds since the epoch, end exclusive.
///
/// # Errors
/// [`QueryError::Cancelled`] when the budget's flag was raised.
pub fn hop_changes(
    sources: &[Arc<dyn Source>],
    before: (u64, u64),
    now: (u64, u64),
    budget: &Budget,
) -> Result<(HopChanges, Vec<String>), QueryError> {
    let mut warnings = Vec::new();
    let mut gather = |(start, end): (u64, u64)| -> Result<Vec<EdgeSamples>, QueryError> {
        let request = HopRequest { start, end, ..HopRequest::default() };
        let found = hops(sources, &request, budget)?;
        warnings.extend(found.warnings);
        Ok(found.items.iter().map(samples).collect())
    };
    let (before, now) = (gather(before)?, gather(now)?);
    warnings.dedup();
    Ok((compare(&before, &now, &Options::default()), warnings))
}

fn samples(edge: &HopEdge) -> EdgeSamples {
    let HopCount { request, server, own, response, queue, .. } = &edge.total;
    EdgeSamples {
        caller: edge.total.caller.to_string(),
        callee: edge.total.callee.to_string(),
        is_async: edge.total.is_async,
        calls: edge.total.calls,
        errors: edge.total.errors,
        ..EdgeSamples::of_sketches(&EdgeSketches { request, server, own, response, queue })
    }
}
