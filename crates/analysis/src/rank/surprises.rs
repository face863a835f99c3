//! How much the steps of now surprise who knows the steps of before.
//!
//! For each state (an operation, and the step it last took) the steps that follow have probabilities `p` before and `q`
//! now. The surprise of a span is the sum of `log2(q/p)` over its steps out of the state: the logarithm of the likelihood
//! ratio, whose mean is the Kullback–Leibler divergence, in bits for each span. What never followed the
//! state in `n` times has `p = 1/(n + 2)` (the rule of succession), however many kinds of it there are now; so a state seen
//! six times surprises by three bits at most, and one that was never seen not at all.
//!
//! A symptom that is passed on is no cause: a step that comes after a child that itself did something surprising is that
//! child's. So spans are walked from the leaves up, and each surprise stays with the deepest span that shows it.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::flows::{Event, Flows, Steps};
use super::names::{Names, View};
use crate::traces::NO_SPAN;

/// Bits from which a single step counts as a surprise that callers inherit.
const INHERITED_BITS_MIN: f64 = 2.0;

/// Bits that a state must surprise by for sure, to pass its surprise on.
const PASSED_ON_BITS_MIN: f64 = 0.5;

/// 95th percentile of the normal distribution.
const SURE: f64 = 1.645;

/// What counts of a change that is not for the worse: a record that is new but no warning, a path that goes further.
const NEUTRAL: f64 = 0.5;

/// What counts of a change for the better: errors that vanish, work that no longer ends early.
const BETTER: f64 = 0.2;

/// A state whose following steps changed.
#[derive(Debug, Clone)]
pub struct Surprise {
    /// The operation …
    pub operation: u32,
    /// … and the event after which its spans now go on differently.
    pub from: u32,
    /// What is sure, bits for each span.
    pub bits: f64,
    /// The step whose share grew most, with its share before and now.
    pub gained: (u32, f64, f64),
    /// The step whose share fell most, with its share before and now.
    pub lost: (u32, f64, f64),
    /// Spans in this state before.
    pub before: u32,
    /// Spans in this state now.
    pub now: u32,
}

/// What operations that handle errors are called.
const ERROR_WORDS: [&str; 4] = ["error", "exception", "fail", "fallback"];

/// States of one span that are told apart; what follows further ones is not counted.
const STATES_MAX: usize = 256;

#[derive(Debug, Clone, Default)]
struct State {
    operation: u32,
    from: u32,
    before: u32,
    now: u32,
    steps: Vec<u32>,
    weight: f64,
    spans_before: u32,
    spans_now: u32,
    sum: f64,
}

/// All states whose steps changed for sure, in no particular order.
pub fn surprises(names: &Names, steps: &Steps, before: &Flows, now: &Flows, view: &View) -> Vec<Surprise> {
    let mut counts = vec![(0_u32, 0_u32); steps.len()];
    before.steps.iter().for_each(|taken| counts[taken.step as usize].0 += 1);
    now.steps.iter().for_each(|taken| counts[taken.step as usize].1 += 1);

    let (mut states, state_of) = states(steps, &counts);
    let bits = ratios(steps, names, &counts, &mut states);
    spans_in(before, &state_of, |state| states[state].spans_before += 1);
    spans_in(now, &state_of, |state| states[state].spans_now += 1);
    // Only states that changed for sure pass their surprise on: first look at all, then again without what is inherited.
    let passes_on = vec![false; states.len()];
    add_up(now, view, steps, &state_of, &bits, &passes_on, &mut states);
    let passes_on: Vec<bool> = states
        .iter()
        .map(|state| conclude(state, steps, &counts).is_some_and(|found| found.bits >= PASSED_ON_BITS_MIN))
        .collect();
    states.iter_mut().for_each(|state| state.sum = 0.0);
    add_up(now, view, steps, &state_of, &bits, &passes_on, &mut states);
    states.iter().filter_map(|state| conclude(state, steps, &counts)).collect()
}

fn states(steps: &Steps, counts: &[(u32, u32)]) -> (Vec<State>, Vec<u32>) {
    let mut numbers: HashMap<(u32, u32), u32, RandomState> = HashMap::default();
    let (mut states, mut state_of): (Vec<State>, Vec<u32>) = (Vec::new(), Vec::with_capacity(steps.len()));
    for number in 0..steps.len() as u32 {
        let step = steps.step(number);
        let next = states.len() as u32;
        let state = *numbers.entry((step.operation, step.from)).or_insert(next);
        if state == next {
            states.push(State { operation: step.operation, from: step.from, ..State::default() });
        }
        let (before, now) = counts[number as usize];
        let at = &mut states[state as usize];
        at.before += before;
        at.now += now;
        at.steps.push(number);
        state_of.push(state);
    }
    (states, state_of)
}

/// `log2(q/p)` of every step. What never followed a state counts as one, however many kinds of it there are.
fn ratios(steps: &Steps, names: &Names, counts: &[(u32, u32)], states: &mut [State]) -> Vec<f64> {
    let mut bits = vec![0.0; steps.len()];
    for state in states.iter_mut() {
        if state.before == 0 || state.now == 0 {
            continue;
        }
        let (before, now) = (f64::from(state.before), f64::from(state.now));
        let of = |step: &u32| (f64::from(counts[*step as usize].0), f64::from(counts[*step as usize].1));
        let new: f64 = state.steps.iter().map(of).filter(|(before, _)| *before == 0.0).map(|(_, now)| now).sum();
        let unseen = 1.0 / (before + 2.0);
        let mut worse = Worse::default();
        for number in &state.steps {
            let (was, is) = of(number);
            let ratio = if was == 0.0 { new / now / unseen } else { is / now / (was / before * (1.0 - unseen)) };
            bits[*number as usize] = if is > 0.0 { ratio.log2() } else { 0.0 };
            worse.take(badness(steps.event(steps.step(*number).to), names), is / now - was / before);
        }
        state.weight = worse.weight();
    }
    bits
}

/// Whether what a state gained is worse than what it lost.
#[derive(Default)]
struct Worse {
    gained: f64,
    worse: f64,
}

impl Worse {
    fn take(&mut self, badness: f64, change: f64) {
        self.gained += change.max(0.0);
        self.worse += change * badness;
    }

    fn weight(&self) -> f64 {
        let worse = if self.gained > 0.0 { (self.worse / self.gained).clamp(-1.0, 1.0) } else { 0.0 };
        NEUTRAL + if worse > 0.0 { (1.0 - NEUTRAL) * worse } else { (NEUTRAL - BETTER) * worse }
    }
}

/// How bad an event is: 2 for errors, 1 for ends (what else would have come has not), 0 for all else.
fn badness(event: Event, names: &Names) -> f64 {
    let speaks_of_errors = |operation: u32| {
        let name = names.text(names.operation(operation).name).to_ascii_lowercase();
        ERROR_WORDS.iter().any(|word| name.contains(word))
    };
    match event {
        Event::Failed => 2.0,
        Event::Record { severity, .. } if severity > 12 => 2.0,
        Event::Work { operation } if speaks_of_errors(operation) => 2.0,
        Event::End | Event::Quiet => 1.0,
        _ => 0.0,
    }
}

/// Calls with every state that a span goes through, once for each span.
fn spans_in(flows: &Flows, state_of: &[u32], mut found: impl FnMut(usize)) {
    let mut last = vec![u32::MAX; state_of.len()];
    for span in 0..flows.starts.len().saturating_sub(1) {
        for taken in flows.of(span) {
            let state = state_of[taken.step as usize] as usize;
            if last[state] != span as u32 {
                last[state] = span as u32;
                found(state);
            }
        }
    }
}

/// Adds up each span's surprise by state, without what it inherits.
fn add_up(
    now: &Flows,
    view: &View,
    steps: &Steps,
    state_of: &[u32],
    bits: &[f64],
    passes_on: &[bool],
    states: &mut [State],
) {
    let spans = view.traces.spans();
    let mut surprising = vec![false; spans.len()];
    let mut here: Vec<(u32, f64)> = Vec::new();
    for span in (0..spans.len()).rev() {
        here.clear();
        // The first child that surprises; what comes later in this span may follow from it.
        let mut first = NO_SPAN;
        let mut surprises = false;
        for taken in now.of(span) {
            let (state, bits) = (state_of[taken.step as usize], bits[taken.step as usize]);
            if taken.child != NO_SPAN && surprising[taken.child as usize] && first == NO_SPAN {
                first = taken.child;
            }
            // The step to a call that did not arrive is the call's own surprise; any other step to a child is not.
            let lost = || matches!(steps.event(steps.step(taken.step).to), Event::Call { callee: None, .. });
            let inherited = first != NO_SPAN
                && taken.after != NO_SPAN
                && (taken.after > first || (taken.after == first && (taken.child == NO_SPAN || lost())));
            if bits >= INHERITED_BITS_MIN && passes_on[state as usize] {
                surprises = true;
            }
            let counted = if inherited { 0.0 } else { bits };
            match here.iter().position(|(at, _)| *at == state) {
                Some(at) => here[at].1 += counted,
                None if here.len() < STATES_MAX => here.push((state, counted)),
                None => {}
            }
        }
        surprising[span] = surprises || first != NO_SPAN;
        for (state, sum) in &here {
            let state = &mut states[*state as usize];
            state.sum += sum;
        }
    }
}

/// How much of a state's change is more than chance, 0 to 1: a positive-part shrinkage of the likelihood ratio statistic G
/// of both distributions, each counted with as many observations as there are spans, by its 95th percentile without change.
fn proven(state: &State, counts: &[(u32, u32)]) -> f64 {
    let (before, now) = (f64::from(state.before), f64::from(state.now));
    let (spans_before, spans_now) = (f64::from(state.spans_before), f64::from(state.spans_now));
    let mut statistic = 0.0;
    let term = |count: f64, share: f64, mean: f64| if share > 0.0 { count * share * (share / mean).ln() } else { 0.0 };
    for step in &state.steps {
        let (was, is) = counts[*step as usize];
        let (p, q) = (f64::from(was) / before, f64::from(is) / now);
        let mean = (spans_before * p + spans_now * q) / (spans_before + spans_now);
        statistic += 2.0 * (term(spans_before, p, mean) + term(spans_now, q, mean));
    }
    let freedom = (state.steps.len() as f64 - 1.0).max(1.0);
    // Wilson and Hilferty's approximation of the chi-squared distribution.
    let ninth = 2.0 / (9.0 * freedom);
    let chance = freedom * (1.0 - ninth + SURE * ninth.sqrt()).powi(3);
    if statistic > chance { 1.0 - chance / statistic } else { 0.0 }
}

fn conclude(state: &State, steps: &Steps, counts: &[(u32, u32)]) -> Option<Surprise> {
    if state.spans_before == 0 || state.spans_now == 0 {
        return None;
    }
    let sure = state.sum / f64::from(state.spans_now) * proven(state, counts);
    if sure <= 0.0 {
        return None;
    }
    let share = |step: &u32| {
        let (before, now) = counts[*step as usize];
        (f64::from(before) / f64::from(state.before), f64::from(now) / f64::from(state.now))
    };
    let mut changes: Vec<(u32, f64, f64)> =
        state.steps.iter().map(|step| (steps.step(*step).to, share(step).0, share(step).1)).collect();
    changes.sort_by(|a, b| (b.2 - b.1).total_cmp(&(a.2 - a.1)).then(a.0.cmp(&b.0)));
    Some(Surprise {
        operation: state.operation,
        from: state.from,
        bits: sure * state.weight,
        gained: *changes.first()?,
        lost: *changes.last()?,
        before: state.spans_before,
        now: state.spans_now,
    })
}
