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
    let mut gaps = Vec::new();
    for (index, call) in survey.calls.iter().enumerate() {
        let (span, site) = (&traces.spans()[call.span as usize], call.site as usize);
        if call.child != NO_SPAN {
            continue;
        }
        // Whoever followed up a message in a trace of its own may not be among these.
        if survey.partial && span.is_producer() && (survey.sites[site].linked > 0 || survey.sites[site].answered == 0) {
            continue;
        }
        // Much faster than any that was answered: it never left the process, a cache answered it.
        let known = &survey.sites[site];
        let local = known.answered as usize >= TIMED_MIN && span.timed && span.duration_ns() < known.fastest_ns / 2;
        if !local {
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
    let called = |service: &Text| survey.services.get(service.0 as usize).is_some_and(|presence| presence.incoming > 0);
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

/// How much longer than the answering span a call takes, at most, in all but a twentieth of cases, by service; 0 where
/// too few are known.
pub(super) fn overheads(survey: &Survey) -> Map<Text, u64> {
    let upper = |mut known: Vec<u64>| {
        if known.len() < TIMED_MIN {
            return 0;
        }
        let place = known.len() * 19 / 20;
        *known.select_nth_unstable(place).1
    };
    survey.overheads_ns.iter().map(|(service, known)| (*service, upper(known.clone()))).collect()
}
