//! What is wrong with the traces themselves: hops that lose them, clocks that are off.
//!
//! It costs nobody time, but whoever reads the traces is led astray; so it is told after what requests suffer from.

use std::collections::{BTreeMap, HashMap};

use crate::broken::{BrokenHop, Cause};
use crate::skew::ClockOffset;
use crate::{Trace, Traces};

use super::profile::depth;
use super::set::Found;
use super::{Confidence, Edge, Evidence, Kind, Verdict, Weighed, words};

/// A clock that is off by less is told in `clock_offsets` only, nanoseconds.
const OFFSET_NS_MIN: u64 = 1_000_000;

/// What is new weighs this much, what was there before that much.
const NEW: f64 = 1.15;
const OLD: f64 = 0.2;

/// With nothing to compare with, a clock that is off by this many nanoseconds weighs so much.
const ALONE_NS_MIN: u64 = 10_000_000;
const ALONE: f64 = 0.55;

/// Hops that lose calls; one verdict for all that somebody loses for the same cause.
pub(super) fn broken(found: &Found<'_>) -> Vec<Weighed> {
    let mut groups: BTreeMap<(Cause, &str), Vec<&BrokenHop>> = BTreeMap::new();
    for hop in found.broken.iter().filter(|hop| hop.cause != Cause::Late) {
        groups.entry((hop.cause, to_blame(hop).unwrap_or_default())).or_default().push(hop);
    }
    let weighed = groups.into_values().filter_map(|hops| {
        let same =
            |other: &&BrokenHop| hops.iter().any(|hop| (&other.caller, &other.callee) == (&hop.caller, &hop.callee));
        let before = found.broken_before.iter().filter(same).map(|other| other.lost_share).fold(0.0, f64::max);
        let lost_share = hops.iter().map(|hop| hop.lost_share).fold(0.0, f64::max);
        let is_new = before < lost_share / 2.0;
        let mut verdict = of_hop(first_on_the_way(found.all, &hops)?);
        let others = hops.iter().filter(|hop| {
            let edge = verdict.edge.as_ref();
            edge.is_none_or(|edge| {
                Some(&edge.caller) != hop.caller.as_ref() || Some(&edge.callee) != hop.callee.as_ref()
            })
        });
        let others: Vec<Evidence> = others.map(|hop| Evidence { text: sentence(hop), ..Evidence::default() }).collect();
        verdict.evidence.extend(others);
        Some((if is_new { NEW } else { OLD } + 0.3 * lost_share, verdict))
    });
    weighed.collect()
}

/// Whose doing it is: the context is lost by who calls, everything else is the callee's.
fn to_blame(hop: &BrokenHop) -> Option<&str> {
    if hop.cause == Cause::HeaderStripped { hop.caller.as_deref() } else { hop.callee.as_deref() }
}

/// The hop that a request comes to first: nearest to the root, and of several calls of one span the earliest.
fn first_on_the_way<'a>(traces: &Traces, hops: &[&'a BrokenHop]) -> Option<&'a BrokenHop> {
    let by_id: HashMap<String, &Trace> = traces.traces().iter().map(|trace| (trace.id.to_string(), trace)).collect();
    let place = |hop: &BrokenHop| {
        let places = hop.examples.iter().filter_map(|example| {
            let trace = by_id.get(&example.trace_id)?;
            let span = traces.find(trace, example.span_id.parse().ok()?)?;
            let root = traces.main_root(trace)?;
            let offset_ns = traces.spans()[span].start_ns.saturating_sub(traces.spans()[root].start_ns);
            Some((depth(traces, span), offset_ns))
        });
        places.min().unwrap_or((u32::MAX, u64::MAX))
    };
    hops.iter().copied().min_by_key(|hop| place(hop))
}

/// What is said of a hop, as a sentence of its own.
fn sentence(hop: &BrokenHop) -> String {
    let mut letters = hop.sentence.trim_end_matches('.').chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    // Names of services are not capitalised.
    let is_name = [&hop.caller, &hop.callee].into_iter().flatten().any(|name| hop.sentence.starts_with(name.as_str()));
    if is_name { format!("{}.", hop.sentence.trim_end_matches('.')) } else { format!("{first}{}.", letters.as_str()) }
}

/// A hop that loses calls as a verdict.
pub(super) fn of_hop(hop: &BrokenHop) -> Verdict {
    let kind = match hop.cause {
        Cause::Sampled => Kind::MidSampling,
        Cause::HeaderStripped => Kind::LostContext,
        Cause::NotInstrumented => Kind::NotInstrumented,
        Cause::DroppedByExporter | Cause::Late | Cause::Unknown => Kind::DroppedSpans,
    };
    let confidence = match hop.confidence {
        0.8.. => Confidence::High,
        0.5.. => Confidence::Medium,
        _ => Confidence::Low,
    };
    let mut verdict = Verdict::new(kind, confidence, sentence(hop));
    verdict.service = to_blame(hop).map(ToOwned::to_owned);
    if let (Some(caller), Some(callee)) = (&hop.caller, &hop.callee) {
        verdict.edge = Some(Edge { caller: caller.clone(), callee: callee.clone() });
    }
    verdict.share = Some(hop.lost_share);
    verdict.evidence = hop.reasons.iter().map(|text| Evidence { text: text.clone(), ..Evidence::default() }).collect();
    verdict.evidence.extend(hop.examples.iter().take(3).map(|example| Evidence {
        text: "A call that was lost.".to_owned(),
        filter: None,
        trace: Some(example.trace_id.clone()),
        spans: vec![example.span_id.clone()],
    }));
    verdict
}

/// Clocks that are off.
pub(super) fn clocks(found: &Found<'_>) -> Vec<Weighed> {
    let rows = found.clocks.offsets().iter().filter(|row| !row.is_reference);
    let weighed = rows.filter_map(|row| {
        let was = found.clocks_before.and_then(|before| before.offsets().iter().find(|old| old.clock == row.clock));
        let moved_ns = row.offset_ns.abs_diff(was.map_or(0, |was| was.offset_ns));
        if row.offset_ns.unsigned_abs() < OFFSET_NS_MIN {
            return None;
        }
        let has_moved = moved_ns >= OFFSET_NS_MIN.max(row.uncertainty_ns.unwrap_or(0));
        let weight = match found.is_alone() {
            true if row.offset_ns.unsigned_abs() >= ALONE_NS_MIN => ALONE,
            true => OLD,
            false if has_moved => NEW,
            false => OLD,
        };
        Some((weight, of_clock(row)))
    });
    weighed.collect()
}

/// A clock as a verdict.
pub(super) fn of_clock(row: &ClockOffset) -> Verdict {
    let whose = if row.services.len() == 1 { &row.services[0] } else { &row.clock };
    let way = if row.offset_ns < 0 { "behind" } else { "ahead of" };
    let off = words::duration(row.offset_ns.unsigned_abs() as f64);
    let sure = row.uncertainty_ns.map_or(String::new(), |error| format!(" (± {})", words::duration(error as f64)));
    let drift = match row.drift_ppm {
        drift if drift > 0.0 => format!(", gaining {drift:.0} µs each second"),
        drift if drift < 0.0 => format!(", losing {:.0} µs each second", -drift),
        _ => String::new(),
    };
    let sentence = format!(
        "The clock of {whose} is {off} {way} its callers' and callees'{sure}{drift}; nothing takes longer, and times are corrected."
    );
    let confidence = if row.is_forced { Confidence::Medium } else { Confidence::High };
    let mut verdict = Verdict::new(Kind::ClockSkew, confidence, sentence);
    verdict.service = row.service.clone().or_else(|| row.services.first().cloned());
    verdict.evidence.push(Evidence {
        text: format!(
            "{} of {} break causality as the clocks show it, {} once corrected.",
            words::grouped(row.violations_before as u64),
            words::count(row.samples as u64, "call"),
            words::grouped(row.violations_after as u64)
        ),
        ..Evidence::default()
    });
    for step in &row.steps {
        let by = words::duration(step.by_ns.unsigned_abs() as f64);
        let way = if step.by_ns < 0 { "back" } else { "forwards" };
        verdict.evidence.push(Evidence { text: format!("It jumped {way} by {by}."), ..Evidence::default() });
    }
    verdict
}
