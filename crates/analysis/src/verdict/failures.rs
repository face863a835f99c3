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

/// With nothing to compare with, failures of this share of the requests are what there is to say.
const SHARE_PRESENT: f64 = 0.02;

/// Failed requests by where the failure began.
struct Origins {
    requests: u64,
    by_place: BTreeMap<(String, String), Vec<(usize, usize)>>,
}

fn origins(traces: &Traces) -> Origins {
    let search = errors::Search::new(traces);
    let mut origins = Origins { requests: 0, by_place: BTreeMap::new() };
    for (number, trace) in traces.traces().iter().enumerate() {
        let Some(root) = traces.main_root(trace).filter(|root| !traces.spans()[*root].is_orphan()) else { continue };
        origins.requests += 1;
        if let Some(origin) = search.of(root).origin() {
            let span = &traces.spans()[origin];
            let place = (traces.text(span.service).to_owned(), traces.text(span.operation).to_owned());
            origins.by_place.entry(place).or_default().push((number, origin));
        }
    }
    origins
}

/// Failures that are new, or more: one verdict for each place where they begin.
pub(super) fn found(before: &Traces, now: &Traces) -> Vec<Weighed> {
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
        let compared = match hits_before {
            0 => "; none did before".to_owned(),
            _ => format!("; {} did before", words::share(share_before)),
        };
        let mut verdict = told(now, place, failures, current.requests, &compared)?;
        verdict.confidence = if p < 1e-6 { Confidence::High } else { Confidence::Medium };
        Some((2.0 + share - share_before, verdict))
    });
    verdicts.collect()
}

/// Failures that there are, with nothing to compare them with.
pub(super) fn present(traces: &Traces) -> Vec<Weighed> {
    let origins = origins(traces);
    let verdicts = origins.by_place.iter().filter_map(|(place, failures)| {
        let share = failures.len() as f64 / origins.requests.max(1) as f64;
        let verdict = told(traces, place, failures, origins.requests, "")?;
        Some((if share < SHARE_PRESENT { share } else { 1.0 + share }, verdict))
    });
    verdicts.collect()
}

fn told(
    traces: &Traces,
    (service, operation): &(String, String),
    failures: &[(usize, usize)],
    requests: u64,
    compared: &str,
) -> Option<Verdict> {
    let (number, span) = *failures.first()?;
    let share = failures.len() as f64 / requests.max(1) as f64;
    let deep = depth(traces, span);
    let wherever = if deep < 3 { String::new() } else { format!(", {},", one::place_on_the_way(deep)) };
    let said = match traces.text(traces.spans()[span].status_message) {
        "" => String::new(),
        message => format!(" ({message})"),
    };
    let of = words::share(share);
    let sentence = format!("{of} of requests fail because {service}{wherever} fails in {operation}{said}{compared}.");
    let confidence = if failures.len() >= 5 { Confidence::Medium } else { Confidence::Low };
    let mut verdict = Verdict::new(Kind::Error, confidence, sentence);
    (verdict.service, verdict.operation, verdict.depth) = (Some(service.clone()), Some(operation.clone()), Some(deep));
    verdict.share = Some(share);
    let failed = words::count(failures.len() as u64, "failed request");
    verdict.evidence.push(Evidence {
        text: format!("{failed} of {} began there.", words::grouped(requests)),
        filter: Some(super::filter(service, Some(operation), Some("status = error"))),
        trace: Some(traces.traces()[number].id.to_string()),
        spans: vec![traces.spans()[span].id.to_string()],
    });
    Some(verdict)
}
