//! What the calls of one hop say about why some have no answer.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use tracewell_model::TraceId;

use crate::traces::{NO_SPAN, Scalar, Text, Traces};

use super::stats::{self, STRICT_Z};
use super::survey::{Map, count};

/// One call of a hop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub end_ns: u64,
    pub trace: u32,
    /// The call; [`NO_SPAN`] where it is missing too.
    pub span: u32,
    /// What answers it, or [`NO_SPAN`].
    pub child: u32,
    pub lost: bool,
    /// What hangs below the missing answer.
    pub orphan: u32,
    /// Trace that fits into the call.
    pub fragment: u32,
}

/// When something changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Change {
    pub time_ns: u64,
    /// Share of lost calls before and after.
    pub before: f64,
    pub after: f64,
}

/// Which side an instance is on.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Culprit {
    Caller(String),
    Callee(String),
}

/// All there is to be judged by.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    pub lost: usize,
    pub calls: usize,
    /// Lost calls below which something hangs in the air, and how many that would be if only the callee's own spans
    /// were missing.
    pub orphans: usize,
    pub orphans_expected: f64,
    /// Lost calls of which something of the callee itself would be left, if single spans were lost at random.
    pub remains_expected: f64,
    /// Instances of the callee that answer.
    pub instances: usize,
    /// Lost calls that a trace of its own belongs into, beyond chance.
    pub fragments: f64,
    /// Whether times could not tell, and only the numbers of both agree.
    pub by_number: bool,
    /// Bits of the trace id that divide what was kept from what was lost.
    pub divided_by: Option<&'static str>,
    /// The callee's `tracestate` names a higher threshold than the caller's.
    pub threshold_rises: bool,
    pub change: Option<Change>,
    pub bursts_z: f64,
    /// Traces with several calls: how many there are, how many hold kept and lost calls, how many would by chance.
    pub several: usize,
    pub mixed: usize,
    pub mixed_by_chance: f64,
    pub culprit: Option<Culprit>,
}

/// Change points below this are chance (twice the logarithm of the likelihood ratio; the largest of thousands of
/// places rarely exceeds it).
const CHANGE_MIN: f64 = 25.0;

/// Gathers what the calls of a hop say. `calls` are in order of their end; `of_callee` holds trace and "lost" of every
/// call to the callee, whoever made it, in order of traces.
pub(super) fn gather(traces: &Traces, foreign_below: &[bool], calls: &[Seen], of_callee: &[(u32, bool)]) -> Evidence {
    let lost: Vec<&Seen> = calls.iter().filter(|call| call.lost).collect();
    let kept: Vec<&Seen> = calls.iter().filter(|call| !call.lost).collect();
    let with_more = kept.iter().filter(|call| call.child != NO_SPAN && foreign_below[call.child as usize]).count();
    let share = if kept.is_empty() { 0.0 } else { with_more as f64 / kept.len() as f64 };
    let answers = || kept.iter().filter(|call| call.child != NO_SPAN).map(|call| &traces.spans()[call.child as usize]);
    let with_any = answers().filter(|answer| answer.descendants > 0).count() as f64 / kept.len().max(1) as f64;
    let left = 1.0 - lost.len() as f64 / calls.len().max(1) as f64;
    let instances: HashSet<Text, RandomState> =
        answers().map(|answer| answer.instance).filter(|instance| !instance.is_empty()).collect();
    let (several, mixed, mixed_by_chance) = mixture(of_callee);
    let change = change(calls);
    Evidence {
        lost: lost.len(),
        calls: calls.len(),
        orphans: lost.iter().filter(|call| call.orphan != NO_SPAN).count(),
        orphans_expected: share * lost.len() as f64,
        remains_expected: with_any * left * lost.len() as f64,
        instances: instances.len(),
        divided_by: divided(traces, calls),
        threshold_rises: threshold_rises(traces, &kept),
        change,
        bursts_z: stats::bursts(&one_per_trace(calls)),
        several,
        mixed,
        mixed_by_chance,
        culprit: culprit(traces, calls, change),
        ..Evidence::default()
    }
}

fn one_per_trace(calls: &[Seen]) -> Vec<bool> {
    let mut seen: HashSet<u32, RandomState> = HashSet::default();
    calls.iter().filter(|call| seen.insert(call.trace)).map(|call| call.lost).collect()
}

/// Traces with several calls of the callee: sampling takes all or none of a trace.
fn mixture(of_callee: &[(u32, bool)]) -> (usize, usize, f64) {
    let lost = of_callee.iter().filter(|(_, lost)| *lost).count() as f64;
    let share = lost / of_callee.len().max(1) as f64;
    let (mut several, mut mixed, mut by_chance) = (0, 0, 0.0);
    for group in of_callee.chunk_by(|left, right| left.0 == right.0).filter(|group| group.len() > 1) {
        let size = group.len() as i32;
        several += 1;
        mixed += usize::from(group.iter().any(|(_, lost)| *lost) && group.iter().any(|(_, lost)| !*lost));
        by_chance += 1.0 - share.powi(size) - (1.0 - share).powi(size);
    }
    (several, mixed, by_chance)
}

pub(super) fn change(calls: &[Seen]) -> Option<Change> {
    let sequence: Vec<bool> = calls.iter().map(|call| call.lost).collect();
    let (at, ratio) = stats::change(&sequence)?;
    if ratio < CHANGE_MIN {
        return None;
    }
    let share = |part: &[bool]| part.iter().filter(|lost| **lost).count() as f64 / part.len().max(1) as f64;
    Some(Change { time_ns: calls[at].end_ns, before: share(&sequence[..at]), after: share(&sequence[at..]) })
}

/// What a sampler reads from a trace id, and its name.
pub(super) type Randomness = (&'static str, fn(&TraceId) -> u64);

/// The randomness that samplers of the field compare with a threshold.
pub(super) const SAMPLERS: [Randomness; 4] = [
    ("the last 56 bits of the trace id (W3C Trace Context level 2, OpenTelemetry)", |id| low(id) & ((1 << 56) - 1)),
    ("the last 63 bits of the trace id (Jaeger, OpenTelemetry SDKs)", |id| low(id) & (u64::MAX >> 1)),
    ("the first 64 bits of the trace id", |id| high(id)),
    ("the hash of the trace id that Datadog's agents take", |id| low(id).wrapping_mul(1_111_111_111_111_111_111)),
];

fn low(id: &TraceId) -> u64 {
    id.0[8..].iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

fn high(id: &TraceId) -> u64 {
    id.0[..8].iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

/// Whether the traces that were kept lie on one side of a threshold and those that were lost on the other.
fn divided(traces: &Traces, calls: &[Seen]) -> Option<&'static str> {
    let mut seen: HashSet<u32, RandomState> = HashSet::default();
    let calls: Vec<&Seen> = calls.iter().filter(|call| seen.insert(call.trace)).collect();
    SAMPLERS.iter().find_map(|(name, randomness)| {
        let value = |call: &&Seen| (randomness(&traces.traces()[call.trace as usize].id), call.lost);
        let (above, z) = stats::ranks(&mut calls.iter().map(value).collect::<Vec<_>>())?;
        (!(0.03..=0.97).contains(&above) && z.abs() > STRICT_Z).then_some(*name)
    })
}

/// `ot=th:…` of a `tracestate` as a number of 56 bits (OpenTelemetry, "TraceState: Probability Sampling").
fn threshold(state: &str) -> Option<u64> {
    let member = state.split(',').find_map(|member| member.trim().strip_prefix("ot="))?;
    let digits = member.split(';').find_map(|field| field.strip_prefix("th:"))?;
    let value = u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() <= 14)?;
    Some(value << (4 * (14 - digits.len())))
}

pub(super) fn threshold_rises(traces: &Traces, kept: &[&Seen]) -> bool {
    let state = |span: u32| threshold(traces.text(traces.spans()[span as usize].trace_state));
    let answered = kept.iter().filter(|call| call.span != NO_SPAN && call.child != NO_SPAN);
    let pairs = answered.filter_map(|call| Some((state(call.span).unwrap_or(0), state(call.child)?)));
    let (rises, all) = pairs.fold((0, 0), |(rises, all), (outer, inner)| (rises + usize::from(inner > outer), all + 1));
    all >= 3 && rises * 10 >= all * 9
}

/// The one instance, of caller or callee, that all or nearly all losses belong to.
fn culprit(traces: &Traces, calls: &[Seen], change: Option<Change>) -> Option<Culprit> {
    let name = |text: Text| traces.text(text).to_owned();
    let instance = |span: u32| if span == NO_SPAN { Text::EMPTY } else { traces.spans()[span as usize].instance };
    let of_caller = concentrated(calls.iter().map(|call| (instance(call.span), call.lost)));
    if let Some(instance) = of_caller {
        return Some(Culprit::Caller(name(instance)));
    }
    // Where the missing answer left something of the same service, its instance is known.
    let mut known: Vec<(Text, u32)> = Vec::new();
    calls
        .iter()
        .map(|call| instance(call.child))
        .filter(|known| !known.is_empty())
        .for_each(|it| count(&mut known, it));
    let callee =
        calls.iter().find(|call| call.child != NO_SPAN).map(|call| traces.spans()[call.child as usize].service);
    let mut orphaned: Vec<(Text, u32)> = Vec::new();
    for call in calls.iter().filter(|call| call.orphan != NO_SPAN) {
        let orphan = &traces.spans()[call.orphan as usize];
        if Some(orphan.service) == callee && !orphan.is_incoming() && !orphan.instance.is_empty() {
            count(&mut orphaned, orphan.instance);
        }
    }
    let others = |instance: Text| known.iter().any(|(known, _)| *known != instance);
    if let [(instance, 3..)] = orphaned.as_slice()
        && others(*instance)
    {
        return Some(Culprit::Callee(name(*instance)));
    }
    // Where the caller says which address it spoke to, that tells instances apart.
    let addresses: Vec<Text> = calls.iter().map(|call| address(traces, call.span)).collect();
    if let Some(found) = concentrated(addresses.iter().copied().zip(calls.iter().map(|call| call.lost))) {
        let answered = calls.iter().zip(&addresses).find(|(call, address)| !call.lost && **address == found);
        let instance = answered.map(|(call, _)| instance(call.child)).filter(|instance| !instance.is_empty());
        return Some(Culprit::Callee(name(instance.unwrap_or(found))));
    }
    fell_silent(traces, calls, change?)
}

/// The one instance of the callee that answers no more since a moment at which others still do.
fn fell_silent(traces: &Traces, calls: &[Seen], change: Change) -> Option<Culprit> {
    let mut before: Vec<(Text, u32)> = Vec::new();
    let mut after = Vec::new();
    for call in calls.iter().filter(|call| call.child != NO_SPAN) {
        let instance = traces.spans()[call.child as usize].instance;
        count(if call.end_ns < change.time_ns { &mut before } else { &mut after }, instance);
    }
    let mut silent = before.iter().filter(|(instance, count)| {
        *count >= 5 && !instance.is_empty() && !after.iter().any(|(other, _)| other == instance)
    });
    let first = silent.next()?;
    (silent.next().is_none() && !after.is_empty()).then(|| Culprit::Callee(traces.text(first.0).to_owned()))
}

fn address(traces: &Traces, span: u32) -> Text {
    if span == NO_SPAN {
        return Text::EMPTY;
    }
    let keys = ["network.peer.address", "net.peer.ip", "net.sock.peer.addr", "peer.ipv4", "peer.address"];
    let attributes = traces.attributes(span as usize);
    let found = attributes.iter().find(|attribute| keys.contains(&traces.text(attribute.key)));
    match found.map(|attribute| attribute.value) {
        Some(Scalar::Text(text)) => text,
        _ => Text::EMPTY,
    }
}

/// The group that holds nine tenths of the losses, where it holds much less of the calls and the others are fine.
fn concentrated(calls: impl Iterator<Item = (Text, bool)>) -> Option<Text> {
    let mut groups: HashMap<Text, (usize, usize), RandomState> = HashMap::default();
    for (key, lost) in calls {
        let group = groups.entry(key).or_default();
        group.0 += usize::from(lost);
        group.1 += 1;
    }
    let (lost, all) = groups.values().fold((0, 0), |sum, group| (sum.0 + group.0, sum.1 + group.1));
    let (key, group) = groups.iter().max_by_key(|(key, group)| (group.0, u32::MAX - key.0))?;
    let others = (lost - group.0, all - group.1);
    let apart = stats::wilson(group.0, group.1, 3.0).low > 2.0 * stats::wilson(others.0, others.1, 0.0).high;
    (!key.is_empty() && groups.len() > 1 && others.1 >= 5 && 10 * group.0 >= 9 * lost && apart).then_some(*key)
}

/// The services of what hangs below missing answers, the most frequent first.
pub(super) fn below(traces: &Traces, calls: &[Seen]) -> Vec<String> {
    let mut services: Map<Text, u32> = Map::default();
    for call in calls.iter().filter(|call| call.orphan != NO_SPAN) {
        *services.entry(traces.spans()[call.orphan as usize].service).or_default() += 1;
    }
    let mut services: Vec<(u32, &str)> = services.iter().map(|(text, count)| (*count, traces.text(*text))).collect();
    services.sort_by(|left, right| right.0.cmp(&left.0).then(left.1.cmp(right.1)));
    services.into_iter().map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_read_from_a_trace_state() {
        assert_eq!(threshold("rojo=1,ot=th:8;rv:6e6d1a75832a2f"), Some(0x80_0000_0000_0000));
        assert_eq!(threshold("ot=rv:6e6d1a75832a2f"), None);
        assert_eq!(threshold("ot=th:zz"), None);
        assert_eq!(threshold(""), None);
    }

    #[test]
    fn a_loss_is_laid_to_one_of_several_only_if_the_others_are_fine() {
        let calls = |lost: fn(u32) -> bool| (0..90u32).map(move |call| (Text(1 + call % 3), lost(call)));
        assert_eq!(concentrated(calls(|call| call % 3 == 1)), Some(Text(2)));
        assert_eq!(concentrated(calls(|call| call % 2 == 1)), None);
        assert_eq!(concentrated(calls(|_| false)), None);
    }
}
