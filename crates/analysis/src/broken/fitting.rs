//! Which traces that begin in the middle are tried for which calls without an answer.

use std::collections::HashSet;

use foldhash::fast::RandomState;

use crate::traces::{NO_SPAN, Span, Text, Traces};

use super::fragments::{self, Hole, MESSAGE_LAG_NS, Stray};
use super::gaps::{self, Expected, Gap};
use super::hops::{Callee, Known, Within};
use super::survey::{Map, Piece, Protocol, Survey};

/// How sure pairs of one callee are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Certainty {
    /// Pairs that belong together among those found.
    pub share: f64,
    /// Times cannot tell, but there are as many calls as traces.
    pub by_number: bool,
}

/// Everything that pairs are made from.
pub(super) struct Fitting<'a> {
    traces: &'a Traces,
    survey: &'a Survey,
    gaps: &'a [Gap],
    overheads_ns: Map<Text, u64>,
    lost_min: usize,
}

/// Traces that begin with a service, sorted by start.
#[derive(Clone)]
struct Strays {
    service: Text,
    /// They take messages.
    consume: bool,
    pieces: Vec<Piece>,
}

/// Sites that are tried for the fragments of one service.
const SITES_MAX: usize = 6;

/// Of a site that never has an answer, this share of calls must have a fragment: nothing else speaks for it.
const ALL_OF: f64 = 0.6;

/// Work without recorded calls may have many: this share of the traces must lie within it.
const SOME_OF: f64 = 0.2;

/// Work fits as many traces as any other if it fits this share of what that fits.
const NEARLY_ALL: f64 = 0.98;

/// What a call may always take longer than what answers it.
const SLACK_MIN_NS: u64 = 5_000_000;

/// Where times cannot tell: how many more calls than traces there may be, or the other way round.
const BALANCED: std::ops::Range<f64> = 0.6..1.67;

impl<'a> Fitting<'a> {
    pub(super) fn new(traces: &'a Traces, survey: &'a Survey, gaps: &'a [Gap], lost_min: usize) -> Self {
        Self { traces, survey, gaps, overheads_ns: gaps::overheads(survey), lost_min }
    }

    /// Lays fragments into gaps, first into those where their service is expected, then into those that say nothing.
    pub(super) fn fit(&self, known: &mut Known) -> Map<Callee, Certainty> {
        let mut certain = Map::default();
        let mut expecting: Map<(Text, bool), Vec<usize>> = Map::default();
        let mut open: Vec<usize> = Vec::new();
        for (number, callee) in known.callee.iter().enumerate() {
            match callee {
                Some(Callee::Service(service)) => {
                    expecting.entry((*service, self.call(number).is_producer())).or_default().push(number);
                }
                _ if self.survey.sites[self.site(number) as usize].protocol != Protocol::Database => open.push(number),
                _ => {}
            }
        }
        let unrecorded = |gap: &usize| self.survey.sites[self.site(*gap) as usize].unrecorded;
        let open_work: Vec<usize> = open.iter().copied().filter(unrecorded).collect();
        for mut strays in self.strays() {
            let expecting = expecting.get(&(strays.service, strays.consume));
            let Some(gaps) = expecting.filter(|gaps| gaps.len() >= self.lost_min) else {
                self.fit_open(known, &open, &strays, &mut certain);
                continue;
            };
            if let Some(certainty) = self.lay(known, gaps, &strays) {
                certain.insert(Callee::Service(strays.service), certainty);
                let laid: HashSet<u32, RandomState> = gaps.iter().map(|gap| known.fragment[*gap]).collect();
                strays.pieces.retain(|piece| !laid.contains(&piece.trace));
            }
            // Somebody else may call it, and never with the context.
            if strays.pieces.len() >= self.lost_min {
                self.fit_open(known, &open_work, &strays, &mut certain);
            }
        }
        certain
    }

    fn strays(&self) -> Vec<Strays> {
        let mut groups: Map<(Text, bool), Vec<Piece>> = Map::default();
        for piece in &self.survey.fragments {
            let span = self.span(piece);
            groups.entry((span.service, span.is_consumer())).or_default().push(*piece);
        }
        groups.retain(|_, pieces| pieces.len() >= self.lost_min);
        let strays = groups.into_iter().map(|((service, consume), mut pieces)| {
            pieces.sort_by_key(|piece| (self.span(piece).start_ns, piece.span));
            Strays { service, consume, pieces }
        });
        let mut strays: Vec<Strays> = strays.collect();
        strays.sort_by_key(|strays| (strays.service, strays.consume));
        strays
    }

    /// Tries gaps of which nothing is known but that they are there.
    fn fit_open(&self, known: &mut Known, open: &[usize], strays: &Strays, certain: &mut Map<Callee, Certainty>) {
        if open.is_empty() {
            return;
        }
        let first = self.span(&strays.pieces[0]);
        let may = |gap: &&usize| {
            let call = self.call(**gap);
            let same_way = call.is_producer() == strays.consume && call.service != strays.service;
            same_way && (!strays.consume || call.peer == first.peer)
        };
        let candidates: Vec<usize> = open.iter().filter(may).copied().collect();
        let (order, holes, times) = self.laid_out(&candidates, strays);
        let pairs = fragments::pair(&holes, &times, self.survey.clocks_ns);
        // One site after the other, those with most pairs first: what fits one by chance does not fit it often.
        let mut pairs_of: Map<u32, usize> = Map::default();
        for (hole, _) in &pairs {
            *pairs_of.entry(self.site(order[*hole])).or_default() += 1;
        }
        let mut sites: Vec<(usize, u32)> = pairs_of
            .into_iter()
            .filter(|(site, pairs)| *pairs >= self.lost_min || self.survey.sites[*site as usize].unrecorded)
            .map(|(site, pairs)| (pairs, site))
            .collect();
        sites.sort_by_key(|(pairs, site)| (usize::MAX - pairs, *site));
        sites.truncate(SITES_MAX);
        self.innermost_first(&mut sites, &candidates, strays);
        let mut left = strays.clone();
        for (_, site) in sites {
            let gaps: Vec<usize> = candidates.iter().filter(|gap| self.site(**gap) == site).copied().collect();
            let Some(certainty) = self.lay(known, &gaps, &left) else { continue };
            let laid: Vec<u32> =
                gaps.iter().map(|gap| known.fragment[*gap]).filter(|fragment| *fragment != NO_SPAN).collect();
            let unrecorded = self.survey.sites[site as usize].unrecorded;
            let least = if unrecorded { SOME_OF * strays.pieces.len() as f64 } else { ALL_OF * gaps.len() as f64 };
            if certainty.by_number && (!strays.consume || unrecorded) || laid.len() as f64 * certainty.share < least {
                gaps.iter().for_each(|gap| known.fragment[*gap] = NO_SPAN);
                continue;
            }
            // The same operation on both sides: the name is another one for the same service.
            let same = self.call(gaps[0]).operation == first.operation;
            let callee = match self.gaps[gaps[0]].expected {
                Expected::Unseen(peer) if !same => Callee::Unseen(peer),
                _ => Callee::Service(strays.service),
            };
            if unrecorded {
                for gap in gaps {
                    let fragment = std::mem::replace(&mut known.fragment[gap], NO_SPAN);
                    if fragment != NO_SPAN {
                        known.within.push(Within { gap: gap as u32, callee, fragment });
                    }
                }
                // What lies within some work lies within all work above that: it belongs to one of them.
                let laid: HashSet<u32, RandomState> = laid.into_iter().collect();
                left.pieces.retain(|piece| !laid.contains(&piece.trace));
            } else {
                gaps.iter().for_each(|gap| known.callee[*gap] = Some(callee));
            }
            certain.entry(callee).or_insert(certainty);
        }
    }

    /// Of work without recorded calls that all traces fit into, the innermost comes first; work that some of them fit into
    /// comes after it, though it be shorter: it merely runs at the same time.
    fn innermost_first(&self, sites: &mut [(usize, u32)], candidates: &[usize], strays: &Strays) {
        let is_work = |site: u32| self.survey.sites[site as usize].unrecorded;
        if sites.iter().filter(|(_, site)| is_work(*site)).count() < 2 {
            return;
        }
        let mut alone: Map<u32, (usize, u64)> = Map::default();
        for (_, site) in sites.iter().filter(|(_, site)| is_work(*site)) {
            let gaps: Vec<usize> = candidates.iter().filter(|gap| self.site(**gap) == *site).copied().collect();
            let (_, holes, times) = self.laid_out(&gaps, strays);
            let pairs = fragments::pair(&holes, &times, self.survey.clocks_ns);
            let mut lengths: Vec<u64> =
                pairs.iter().map(|(hole, _)| holes[*hole].end_ns - holes[*hole].start_ns).collect();
            let middle = lengths.len() / 2;
            let length = if lengths.is_empty() { u64::MAX } else { *lengths.select_nth_unstable(middle).1 };
            alone.insert(*site, (pairs.len(), length));
        }
        let most = alone.values().map(|(pairs, _)| *pairs).max().unwrap_or(0);
        sites.sort_by_key(|(pairs, site)| match alone.get(site) {
            Some((alone, length)) if *alone as f64 >= NEARLY_ALL * most as f64 => (0, *length, *site),
            Some((alone, _)) => (1, (most - alone) as u64, *site),
            None => (2, (usize::MAX - pairs) as u64, *site),
        });
    }

    /// Lays traces into gaps, if more fit than by chance.
    fn lay(&self, known: &mut Known, gaps: &[usize], strays: &Strays) -> Option<Certainty> {
        let (order, holes, times) = self.laid_out(gaps, strays);
        let fit = fragments::fit(&holes, &times, self.survey.clocks_ns);
        let balance = gaps.len() as f64 / strays.pieces.len() as f64;
        let by_number = fit.crowded && fit.true_pairs == 0.0 && BALANCED.contains(&balance);
        let true_pairs = if by_number { fit.pairs.len() as f64 } else { fit.true_pairs };
        if fit.pairs.is_empty() || true_pairs == 0.0 {
            return None;
        }
        for (hole, stray) in &fit.pairs {
            known.fragment[order[*hole]] = strays.pieces[*stray].trace;
        }
        Some(Certainty { share: true_pairs / fit.pairs.len() as f64, by_number })
    }

    /// Gaps in order of their start, with their times, and those of the traces.
    fn laid_out(&self, gaps: &[usize], strays: &Strays) -> (Vec<usize>, Vec<Hole>, Vec<Stray>) {
        let mut order = gaps.to_vec();
        order.sort_by_key(|gap| (self.call(*gap).start_ns, *gap));
        let overhead_ns = self.overheads_ns.get(&strays.service).copied().unwrap_or(0);
        let hole = |gap: &usize| {
            let (call, span) = (self.call(*gap), self.survey.calls[self.gaps[*gap].call as usize].span);
            if call.is_producer() {
                let end_ns = call.start_ns.saturating_add(MESSAGE_LAG_NS);
                return Hole { start_ns: call.start_ns, end_ns, slack_ns: None, span };
            }
            // Work takes longer than any one of its calls.
            if self.survey.sites[self.site(*gap) as usize].unrecorded {
                return Hole { start_ns: call.start_ns, end_ns: call.end_ns, slack_ns: None, span };
            }
            let usual = if overhead_ns > 0 { 2 * overhead_ns } else { call.duration_ns() / 2 };
            Hole { start_ns: call.start_ns, end_ns: call.end_ns, slack_ns: Some(usual.max(SLACK_MIN_NS)), span }
        };
        let stray = |piece: &Piece| {
            let span = self.span(piece);
            let end_ns = if strays.consume { span.start_ns } else { span.end_ns };
            Stray { start_ns: span.start_ns, end_ns, spans: (piece.span, piece.span + 1 + span.descendants) }
        };
        let holes: Vec<Hole> = order.iter().map(hole).collect();
        let strays: Vec<Stray> = strays.pieces.iter().map(stray).collect();
        (order, holes, strays)
    }

    fn span(&self, piece: &Piece) -> &Span {
        &self.traces.spans()[piece.span as usize]
    }

    fn call(&self, gap: usize) -> &Span {
        &self.traces.spans()[self.survey.calls[self.gaps[gap].call as usize].span as usize]
    }

    fn site(&self, gap: usize) -> u32 {
        self.survey.calls[self.gaps[gap].call as usize].site
    }
}
