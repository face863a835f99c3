//! Which of the hops are broken enough to speak of, and what is said about them.

use std::collections::{BTreeMap, HashSet};

use foldhash::fast::RandomState;

use crate::traces::{NO_SPAN, Text, Traces};

use super::cause::{self, Setting};
use super::doubt;
use super::evidence::{self, Culprit, Seen};
use super::hops::{Callee, Hop};
use super::stats::{STRICT_Z, wilson};
use super::survey::{Map, Survey, foreign_below};
use super::{BrokenHop, Cause, Example, Options};

/// Services whose newest spans must be missing before it is the window that ends there.
const ENDING_MIN: usize = 3;

/// One hop that is broken, and what of it counts.
struct Broken {
    hop: Hop,
    late: bool,
}

pub(super) fn write(traces: &Traces, survey: &Survey, mut hops: Vec<Hop>, options: &Options) -> Vec<BrokenHop> {
    doubt::resolve(traces, survey, &mut hops);
    let broken = select(survey, hops, options);
    if broken.is_empty() {
        return Vec::new();
    }
    let foreign_below = foreign_below(traces);
    let mut of_callee: Map<Callee, Vec<(u32, bool)>> = Map::default();
    for Broken { hop, .. } in &broken {
        let calls = hop.calls.iter().map(|call| (call.trace, call.lost));
        of_callee.entry(hop.callee).or_default().extend(calls);
    }
    of_callee.values_mut().for_each(|calls| calls.sort_by_key(|(trace, _)| *trace));
    let tell = |Broken { hop, late }: &Broken| {
        let lost = hop.calls.iter().filter(|call| call.lost);
        let depth = |call: &Seen| traces.spans().get(call.span as usize).map_or(0, |span| span.depth);
        Told {
            earliest_ns: lost.clone().map(|call| begins(traces, call)).min().unwrap_or(0),
            depth: lost.map(depth).min().unwrap_or(0),
            hop: tell(traces, &foreign_below, hop, *late, &of_callee[&hop.callee], options),
        }
    };
    let mut told: Vec<Told> = broken.iter().map(tell).collect();
    agree(&mut told);
    arrange(told)
}

/// Causes less sure than this give way to a surer one of the same callee.
const UNSURE: f64 = 0.7;

/// What goes wrong at a callee does so for all who call it: where one hop says clearly why, the others follow.
fn agree(told: &mut [Told]) {
    let at_callee = |hop: &BrokenHop| hop.cause != Cause::HeaderStripped && hop.callee.is_some();
    let mut surest: BTreeMap<Option<String>, (f64, Cause, Option<String>)> = BTreeMap::new();
    for it in told.iter().filter(|it| at_callee(&it.hop)) {
        let known = surest.entry(it.hop.callee.clone()).or_insert((0.0, it.hop.cause, None));
        if it.hop.confidence > known.0 {
            *known = (it.hop.confidence, it.hop.cause, it.hop.caller.clone());
        }
    }
    for it in told.iter_mut().filter(|it| at_callee(&it.hop) && it.hop.confidence < UNSURE) {
        if let Some((confidence, cause, caller)) = surest.get(&it.hop.callee)
            && *confidence > it.hop.confidence
            && *cause != it.hop.cause
        {
            let caller = caller.as_deref().unwrap_or("others");
            it.hop.reasons = vec![format!("the calls of {caller} to the same service say so, these alone are too few")];
            it.hop.cause = *cause;
            it.hop.confidence = (100.0 * UNSURE * confidence).round() / 100.0;
            it.hop.sentence = sentence(&it.hop);
        }
    }
}

/// A hop in words, and what it is ordered by.
struct Told {
    earliest_ns: u64,
    /// Distance of the outermost lost call from its root.
    depth: u32,
    hop: BrokenHop,
}

fn begins(traces: &Traces, call: &Seen) -> u64 {
    let span = [call.span, call.orphan].into_iter().find(|span| *span != NO_SPAN);
    span.map_or(call.end_ns, |span| traces.spans()[span as usize].start_ns)
}

/// The hops that lose more than is tolerated, without what the ends of the window explain.
fn select(survey: &Survey, hops: Vec<Hop>, options: &Options) -> Vec<Broken> {
    let window = survey.last_ns.saturating_sub(survey.first_ns);
    let edge = options.late_ns.min(window / 4);
    let (early, late) = (survey.first_ns + edge, survey.last_ns - edge.min(survey.last_ns));
    let many = |calls: &mut dyn Iterator<Item = &Seen>| {
        let mut traces: HashSet<u32, RandomState> = HashSet::default();
        let (mut lost, mut all) = (0, 0);
        for call in calls {
            all += 1;
            if call.lost {
                lost += 1;
                traces.insert(call.trace);
            }
        }
        lost >= options.lost_calls_min
            && traces.len() >= options.traces_min
            && wilson(lost, all, STRICT_Z).low > options.tolerated_share
    };
    let mut found: Vec<Broken> = Vec::new();
    for hop in hops {
        if !many(&mut hop.calls.iter()) {
            continue;
        }
        let only_late = concentrated(&hop, |call| call.end_ns >= late);
        if !concentrated(&hop, |call| call.end_ns < early) {
            found.push(Broken { hop, late: only_late });
        }
    }
    let ending: HashSet<Callee, RandomState> = found.iter().filter(|it| it.late).map(|it| it.hop.callee).collect();
    if ending.len() >= ENDING_MIN {
        found.retain(|it| !it.late);
        for it in &mut found {
            it.hop.calls.retain(|call| call.end_ns < late);
        }
    }
    found
}

/// Whether nearly all losses lie in one part, more than the calls there explain.
fn concentrated(hop: &Hop, within: impl Fn(&Seen) -> bool) -> bool {
    let tally = |inside: bool| {
        let part = hop.calls.iter().filter(|call| within(call) == inside);
        part.fold((0, 0), |(lost, all), call| (lost + usize::from(call.lost), all + 1))
    };
    let ((lost, all), (lost_elsewhere, elsewhere)) = (tally(true), tally(false));
    let apart = wilson(lost, all, 3.0).low > wilson(lost_elsewhere, elsewhere, 3.0).high;
    elsewhere > 0 && 10 * lost_elsewhere <= lost + lost_elsewhere && apart
}

fn tell(
    traces: &Traces,
    foreign_below: &[bool],
    hop: &Hop,
    late: bool,
    of_callee: &[(u32, bool)],
    options: &Options,
) -> BrokenHop {
    let mut evidence = evidence::gather(traces, foreign_below, &hop.calls, of_callee);
    evidence.fragments = hop.fragments;
    evidence.by_number = hop.by_number;
    let below = evidence::below(traces, &hop.calls);
    let text = |text: Text| (!text.is_empty()).then(|| traces.text(text).to_owned());
    let caller = text(hop.caller);
    let (callee, seen) = match hop.callee {
        Callee::Service(service) => (text(service), true),
        Callee::Unseen(peer) => (text(peer), false),
        Callee::Unknown => (None, false),
    };
    // Nothing above an orphan was ever seen: it is the one above that is not there.
    let above_unseen = caller.is_none() && seen && evidence.calls == evidence.lost;
    let name = callee.clone().unwrap_or_else(|| "the service below".to_owned());
    let subject = if above_unseen { format!("what calls {name}") } else { name };
    let setting = Setting { callee: &subject, unseen: !seen || above_unseen, late, below: &below };
    let verdict = cause::judge(&evidence, setting);
    let instance = evidence.culprit.as_ref().map(|culprit| match culprit {
        Culprit::Caller(instance) | Culprit::Callee(instance) => instance.clone(),
    });
    let (lost, calls) = (hop.lost(), hop.calls.len());
    let mut told = BrokenHop {
        caller,
        callee,
        operation: hop.operations.first().and_then(|(operation, _)| text(*operation)),
        instance,
        also: Vec::new(),
        lost_share: lost as f64 / calls.max(1) as f64,
        lost_calls: lost,
        calls,
        interval: wilson(lost, calls, 1.96),
        since_unix_nano: evidence.change.filter(|change| change.after > change.before).map(|change| change.time_ns),
        cause: verdict.cause,
        confidence: verdict.confidence,
        reasons: verdict.reasons,
        examples: examples(traces, hop, options.examples_max),
        sentence: String::new(),
    };
    told.sentence = sentence(&told);
    told
}

fn examples(traces: &Traces, hop: &Hop, most: usize) -> Vec<Example> {
    let shown = |call: &Seen| {
        let span = if call.span == NO_SPAN { call.orphan } else { call.span };
        let id = |trace: u32| traces.traces()[trace as usize].id.to_string();
        Some(Example {
            trace_id: id(call.trace),
            span_id: traces.spans().get(span as usize)?.id.to_string(),
            fragment_trace_id: (call.fragment != NO_SPAN).then(|| id(call.fragment)),
        })
    };
    hop.calls.iter().filter(|call| call.lost).filter_map(shown).take(most).collect()
}

/// What belongs together stands together: where the context is stripped, the callees of one caller in the order of the
/// calls; else the callers of one callee, the outermost first. Most calls lost first.
fn arrange(told: Vec<Told>) -> Vec<BrokenHop> {
    let mut groups: BTreeMap<(Cause, Option<String>, bool), Vec<Told>> = BTreeMap::new();
    for it in told {
        let at_caller = it.hop.cause == Cause::HeaderStripped;
        let key = if at_caller { it.hop.caller.clone() } else { it.hop.callee.clone() };
        groups.entry((it.hop.cause, key, at_caller)).or_default().push(it);
    }
    let mut arranged: Vec<Vec<Told>> = Vec::new();
    for ((_, _, at_caller), mut group) in groups {
        let order = |it: &Told| (if at_caller { 0 } else { it.depth }, it.earliest_ns);
        group.sort_by(|left, right| {
            order(left)
                .cmp(&order(right))
                .then_with(|| left.hop.caller.cmp(&right.hop.caller))
                .then_with(|| left.hop.callee.cmp(&right.hop.callee))
        });
        let other = |hop: &BrokenHop| if at_caller { hop.callee.clone() } else { hop.caller.clone() };
        let others: Vec<Option<String>> = group.iter().map(|it| other(&it.hop)).collect();
        for (number, it) in group.iter_mut().enumerate() {
            let others = others.iter().enumerate().filter(|(other, _)| *other != number);
            it.hop.also = others.filter_map(|(_, name)| name.clone()).collect();
            it.hop.also.sort_unstable();
        }
        arranged.push(group);
    }
    let lost = |group: &[Told]| group.iter().map(|it| it.hop.lost_calls).sum::<usize>();
    // Stable: groups that lose as much stay in order of names.
    arranged.sort_by_key(|group| usize::MAX - lost(group));
    arranged.into_iter().flatten().map(|it| it.hop).collect()
}

fn sentence(hop: &BrokenHop) -> String {
    let caller = hop.caller.as_deref().unwrap_or("whoever calls it");
    let callee = hop.callee.as_deref().unwrap_or("a service without a name");
    let (lost, calls) = (hop.lost_calls, hop.calls);
    let percent = |share: f64| {
        let value = 100.0 * share;
        if value < 9.95 { format!("{value:.1} %") } else { format!("{value:.0} %") }
    };
    let share = percent(hop.lost_share);
    let at = hop.instance.as_deref().map(|instance| format!(", all at {instance}")).unwrap_or_default();
    match hop.cause {
        Cause::Sampled => {
            let kept = percent(1.0 - hop.lost_share);
            format!(
                "{callee} records only about {kept} of what {caller} calls ({lost} of {calls} calls lost{at}): it samples by itself, and those below follow it"
            )
        }
        Cause::DroppedByExporter => format!(
            "spans of {callee} do not arrive for {share} of the calls of {caller} ({lost} of {calls}{at}): they were made and lost on the way"
        ),
        Cause::HeaderStripped => format!(
            "the context is lost between {caller} and {callee} in {share} of the calls ({lost} of {calls}{at}): {callee} begins traces of its own"
        ),
        Cause::NotInstrumented if hop.caller.is_none() => {
            format!(
                "traces begin at {callee} with a parent that nobody recorded ({lost} of {calls}): whoever calls it reports nothing"
            )
        }
        Cause::NotInstrumented => {
            format!(
                "{callee}, which {caller} calls, never reports anything ({lost} calls{at}): it is not instrumented, or exports nothing to here"
            )
        }
        Cause::Late => {
            format!("the newest spans of {callee} are not there yet ({lost} of {calls} calls of {caller}{at})")
        }
        Cause::Unknown => format!(
            "{callee} leaves no span for {share} of the calls of {caller} ({lost} of {calls}{at}), and nothing says why"
        ),
    }
}
