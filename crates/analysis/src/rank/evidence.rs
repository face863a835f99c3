//! Sentences with figures.

use serde::Serialize;

use super::flows::Event;
use super::suspects::{Changes, What};
use super::times::{Place, Times};
use super::{Edge, Kind};

/// What speaks against a suspect.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// What kind of change it is.
    pub kind: Kind,
    /// One sentence with figures.
    pub text: String,
    /// How much of the change is sure, bits: 3 is a factor of eight.
    pub bits: f64,
    /// The operation it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The edge it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<Edge>,
    /// The figure before: a median in nanoseconds, or a share between 0 and 1.
    pub before: f64,
    /// The figure now, in the same unit.
    pub now: f64,
    /// Calls looked at before.
    pub calls_before: usize,
    /// Calls looked at now.
    pub calls_now: usize,
}

/// The sentence for a change.
pub fn evidence(changes: &Changes, before: &Times, now: (&Times, usize), what: What, bits: f64) -> Evidence {
    match what {
        What::Time(place) => time(changes, before, now, place, bits),
        What::Path(number) => path(changes, number, bits),
    }
}

fn time(changes: &Changes, before: &Times, now: (&Times, usize), place: usize, bits: f64) -> Evidence {
    let usual = before.quantile(place, 0, 0.95);
    let (was, is) = (f64::from(before.quantile(place, 0, 0.5)), f64::from(now.0.quantile(place, now.1, 0.5)));
    let (before, now) = (before.since(place, 0), now.0.since(place, now.1));
    let names = changes.names;
    let above = now.iter().filter(|time| **time > usual).count();
    let part = 100.0 * above as f64 / now.len().max(1) as f64;
    let figures = format!(
        "{} → {} at the median, {part:.0} % of calls above the 95th percentile before",
        duration(was),
        duration(is)
    );
    let (kind, text, operation, edge) = match changes.places.get(place) {
        Place::Visit { operation } | Place::Own { operation } => {
            let name = names.text(names.operation(operation).name);
            let text = match changes.places.get(place) {
                Place::Visit { .. } => {
                    let service = names.text(names.operation(operation).service);
                    format!("own time of {service} in requests for {name} {figures}")
                }
                _ => format!("own time of {name} {figures}"),
            };
            (Kind::Latency, text, Some(name.to_owned()), None)
        }
        Place::Hop { caller, callee } | Place::Reply { caller, callee } => {
            let (caller, callee) = (names.operation(caller), names.operation(callee));
            let edge =
                Edge { caller: names.text(caller.service).to_owned(), callee: names.text(callee.service).to_owned() };
            let reply = matches!(changes.places.get(place), Place::Reply { .. });
            let operation = names.text(callee.name);
            let text = if reply {
                format!("time that {} takes for {operation}, with the way from {}, {figures}", edge.callee, edge.caller)
            } else {
                format!("time between {} and {} for {operation} {figures}", edge.caller, edge.callee)
            };
            (
                if reply { Kind::Latency } else { Kind::Network },
                text,
                Some(names.text(callee.name).to_owned()),
                Some(edge),
            )
        }
    };
    let (calls_before, calls_now) = (before.len(), now.len());
    Evidence { kind, text, bits, operation, edge, before: was, now: is, calls_before, calls_now }
}

fn path(changes: &Changes, number: usize, bits: f64) -> Evidence {
    let (names, steps, surprise) = (changes.names, changes.steps, &changes.surprises[number]);
    let operation = names.operation(surprise.operation);
    let name = names.text(operation.name);
    let say = |event: u32| match steps.event(event) {
        Event::Start => "its start".to_owned(),
        Event::End => "its end".to_owned(),
        Event::Failed => "an error".to_owned(),
        Event::Silence => "its first record".to_owned(),
        Event::Quiet => "no further record".to_owned(),
        Event::Arrived => "the other side".to_owned(),
        Event::Work { operation } => names.text(names.operation(operation).name).to_owned(),
        Event::Call { operation, callee } => {
            let callee = callee.filter(|callee| *callee != operation).map(|callee| names.operation(callee));
            let at = names.text(names.operation(operation).name);
            match callee {
                Some(callee) => format!("the call of {} {}", names.text(callee.service), names.text(callee.name)),
                None => format!("the call {at}"),
            }
        }
        Event::Record { site, .. } => format!("the record \"{}\"", names.text(site)),
    };
    let (gained, gained_before, gained_now) = surprise.gained;
    let (lost, lost_before, lost_now) = surprise.lost;
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let text = format!(
        "after {}, {name} goes on to {} in {} of its steps (before: {}) and to {} in {} (before: {})",
        say(surprise.from),
        say(gained),
        percent(gained_now),
        percent(gained_before),
        say(lost),
        percent(lost_now),
        percent(lost_before),
    );
    let kind = match (steps.event(gained), steps.event(lost)) {
        (Event::Failed, _) => Kind::Errors,
        (Event::Record { .. } | Event::Quiet, _) | (_, Event::Record { .. } | Event::Quiet) => Kind::Logs,
        _ => Kind::Structure,
    };
    let edge = match steps.event(surprise.from) {
        Event::Call { callee: Some(callee), .. } => Some(Edge {
            caller: names.text(operation.service).to_owned(),
            callee: names.text(names.operation(callee).service).to_owned(),
        }),
        _ => None,
    };
    Evidence {
        kind,
        text,
        bits,
        operation: Some(name.to_owned()),
        edge,
        before: lost_before,
        now: lost_now,
        calls_before: surprise.before,
        calls_now: surprise.now,
    }
}

/// A duration for people.
fn duration(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} µs", ns / 1e3),
        ns if ns < 1e9 => format!("{:.1} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}
