//! Where failures of requests begin, before and now.

use std::collections::BTreeMap;

use crate::Traces;
use crate::critical_path::errors;
use crate::hops::rank;

use super::profile::depth;
use super::{Confidence, Evidence, Kind, Verdict, Weighed, one, words};

/// The chance of a difference as large as that by accident, below which it is told.
const P_MAX: f64 = 0.001;

/// More failures by less than this share of the requests are not worth a word.
const SHARE_MIN: f64 = 0.01;

/// Failed requests by where the failure began.
struct Origins {
    requests: u64,
    failed: u64,
    by_place: BTreeMap<(String, String), Vec<(usize, usize)>>,
}

fn origins(traces: &Traces) -> Origins {
    let mut origins = Origins { requests: 0, failed: 0, by_place: BTreeMap::new() };
    for (number, trace) in traces.traces().iter().enumerate() {
        let Some(root) = traces.main_root(trace).filter(|root| !traces.spans()[*root].is_orphan()) else { continue };
        origins.requests += 1;
        if !traces.spans()[root].is_error() {
            continue;
        }
        origins.failed += 1;
        if let Some(origin) = errors::of(traces, root).origin() {
            let span = &traces.spans()[origin];
            let place = (traces.text(span.service).to_owned(), traces.text(span.operation).to_owned());
            origins.by_place.entry(place).or_default().push((number, origin));
        }
    }
    origins
}

/// Failures that are new, or more: one verdict for each place where they begin.
pub(super) fn found(before: &Traces, now: &Traces, then: &str) -> Vec<Weighed> {
    let (earlier, current) = (origins(before), origins(now));
    let verdicts = current.by_place.iter().filter_map(|(place, failures)| {
        let hits = failures.len() as u64;
        let hits_before = earlier.by_place.get(place).map_or(0, Vec::len) as u64;
        let share = hits as f64 / current.requests.max(1) as f64;
        let share_before = hits_before as f64 / earlier.requests.max(1) as f64;
        let p = rank::proportion(hits_before, earlier.requests, hits, current.requests);
        if p > P_MAX || share - share_before < SHARE_MIN {
            return None;
        }
        let (service, operation) = place;
        let (number, span) = *failures.first()?;
        let deep = depth(now, span);
        let wherever = if deep < 3 { String::new() } else { format!(", {},", one::place_on_the_way(deep)) };
        let said = match now.text(now.spans()[span].status_message) {
            "" => String::new(),
            message => format!(" ({message})"),
        };
        let sentence = format!(
            "{} of requests fail because {service}{wherever} fails in {operation}{said}; {} did {then}.",
            words::share(share),
            if hits_before == 0 { "none".to_owned() } else { words::share(share_before) },
        );
        let confidence = if p < 1e-6 { Confidence::High } else { Confidence::Medium };
        let mut verdict = Verdict::new(Kind::Error, confidence, sentence);
        (verdict.service, verdict.operation, verdict.depth) =
            (Some(service.clone()), Some(operation.clone()), Some(deep));
        verdict.share = Some(share);
        verdict.evidence.push(Evidence {
            text: format!(
                "{} of {} began there, {} of {} {then}.",
                words::count(hits, "failed request"),
                words::grouped(current.requests),
                words::grouped(hits_before),
                words::grouped(earlier.requests)
            ),
            filter: Some(super::filter(service, Some(operation), Some("status = error"))),
            trace: Some(now.traces()[number].id.to_string()),
            spans: vec![now.spans()[span].id.to_string()],
        });
        Some((2.0 + share - share_before, verdict))
    });
    verdicts.collect()
}
