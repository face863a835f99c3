//! Which calls without an answer should have one, and whose.

use crate::traces::{NO_SPAN, Text, Traces};

use super::survey::{Map, Protocol, Survey, most};

/// What is expected behind the calls of a site.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Expected {
    /// The service answers: it does so for this site, or for others that name it the same way.
    Service(Text),
    /// Somebody with an address like a service of ours, of whom nothing was ever seen.
    Unseen(Text),
    /// Nothing can be said: a database, an external address, or no address at all.
    Nothing,
}

/// A call without an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gap {
    /// Number of the call in [`Survey::calls`].
    pub call: u32,
    pub expected: Expected,
}

/// Of those who answer to a name, the most frequent must make up this share: else the name is that of a gateway.
const DOMINATES: f64 = 0.8;

/// Answered calls from which the fastest of a site is known well enough.
const TIMED_MIN: usize = 20;

/// Every call without an answer, and what is expected of it, in order of traces.
pub(super) fn find(traces: &Traces, survey: &Survey) -> Vec<Gap> {
    let expected: Vec<Expected> = (0..survey.sites.len()).map(|site| expectation(traces, survey, site)).collect();
    let fastest = fastest(traces, survey);
    let mut gaps = Vec::new();
    for (index, call) in survey.calls.iter().enumerate() {
        let (span, site) = (&traces.spans()[call.span as usize], call.site as usize);
        let local = span.timed && span.duration_ns() < fastest[site] / 2;
        if call.child == NO_SPAN && !local {
            gaps.push(Gap { call: index as u32, expected: expected[site] });
        }
    }
    gaps
}

fn expectation(traces: &Traces, survey: &Survey, site: usize) -> Expected {
    let site = &survey.sites[site];
    if let Some((service, _)) = most(&site.callees) {
        return Expected::Service(service);
    }
    let elsewhere = survey.peers.get(&(site.peer, site.protocol)).and_then(|callees| most(callees));
    if let Some((service, share)) = elsewhere
        && share >= DOMINATES
    {
        return Expected::Service(service);
    }
    if site.protocol == Protocol::Database {
        return Expected::Nothing;
    }
    let called = |service: &Text| survey.services.get(service).is_some_and(|presence| presence.incoming > 0);
    let name = traces.text(site.peer);
    let own = |service: &Text| *service != site.service && called(service);
    let label = name.split('.').next().unwrap_or_default();
    if let Some(service) = traces.texts().find(name).filter(own).or_else(|| traces.texts().find(label).filter(own)) {
        return Expected::Service(service);
    }
    let operation = traces.text(site.operation).trim_start_matches('/');
    let specific = operation.contains(['/', '.']);
    let served = traces.texts().find(operation).and_then(|operation| survey.served.get(&operation));
    if let Some((service, share)) = served.and_then(|services| most(services))
        && specific
        && share == 1.0
        && service != site.service
    {
        return Expected::Service(service);
    }
    if site.protocol == Protocol::Request && is_internal(name) {
        return Expected::Unseen(site.peer);
    }
    Expected::Nothing
}

/// An address that only resolves inside: one label, or a suffix that is reserved for it (RFC 6762, RFC 9476, the DNS
/// specification of Kubernetes).
fn is_internal(name: &str) -> bool {
    let suffix = [".local", ".internal", ".svc", ".localdomain", ".consul"];
    let plain = !name.contains(['.', ':']) && name.contains(|letter: char| letter.is_ascii_alphabetic());
    !name.is_empty() && (plain || suffix.iter().any(|suffix| name.ends_with(suffix)))
}

/// For each site the time that the fastest answered call took, 0 where too few are known. A call that took less than
/// half of it never left the process: it was answered by a cache.
fn fastest(traces: &Traces, survey: &Survey) -> Vec<u64> {
    let mut fastest = vec![u64::MAX; survey.sites.len()];
    for call in survey.calls.iter().filter(|call| call.child != NO_SPAN) {
        let span = &traces.spans()[call.span as usize];
        let known = &mut fastest[call.site as usize];
        *known = (*known).min(if span.timed { span.duration_ns() } else { 0 });
    }
    for (known, site) in fastest.iter_mut().zip(&survey.sites) {
        if (site.answered as usize) < TIMED_MIN {
            *known = 0;
        }
    }
    fastest
}

/// How much longer than the answering span a call takes, at most, in all but a twentieth of cases, by service; 0 where
/// too few are known.
pub(super) fn overheads(traces: &Traces, survey: &Survey) -> Map<Text, u64> {
    let mut all: Map<Text, Vec<u64>> = Map::default();
    for call in survey.calls.iter().filter(|call| call.child != NO_SPAN) {
        let (span, child) = (&traces.spans()[call.span as usize], &traces.spans()[call.child as usize]);
        let known = all.entry(child.service).or_default();
        if span.is_outgoing() && !span.is_producer() {
            known.push(span.duration_ns().saturating_sub(child.duration_ns()));
        }
    }
    let upper = |mut known: Vec<u64>| {
        if known.len() < TIMED_MIN {
            return 0;
        }
        let place = known.len() * 19 / 20;
        *known.select_nth_unstable(place).1
    };
    all.into_iter().map(|(service, known)| (service, upper(known))).collect()
}
