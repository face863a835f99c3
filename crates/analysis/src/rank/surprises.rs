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
    pub before: usize,
    /// Spans in this state now.
    pub now: usize,
}

/// What operations that handle errors are called.
const ERROR_WORDS: [&str; 4] = ["error", "exception", "fail", "fallback"];

/// States of one span that are told apart; what follows further ones is not counted.
const STATES_MAX: usize = 256;

/// A state, as far as it does not depend on when a fault began.
#[derive(Debug, Clone, Default)]
struct State {
    operation: u32,
    from: u32,
    steps: Vec<u32>,
    /// How often it was left before, and now by part.
    before: u32,
    now: Vec<u32>,
    /// How many spans went through it before, and now by part.
    spans_before: u32,
    spans_now: Vec<u32>,
}

/// A state's counts since a part.
#[derive(Debug, Clone, Copy, Default)]
struct Since {
    before: f64,
    now: f64,
    spans_before: f64,
    spans_now: f64,
    weight: f64,
    /// Sum of the surprise of its spans.
    sum: f64,
}

/// The steps of both sides, counted.
pub struct Surprises<'a> {
    names: &'a Names,
    steps: &'a Steps,
    now: &'a Flows,
    view: &'a View<'a>,
    states: Vec<State>,
    state_of: Vec<u32>,
    /// Of each step: how often before, and now by part.
    before: Vec<u32>,
    parts: Vec<Vec<u32>>,
}

impl<'a> Surprises<'a> {
    /// Counts the steps of both sides.
    pub fn count(names: &'a Names, steps: &'a Steps, before: &Flows, now: &'a Flows, view: &'a View<'a>) -> Self {
        let mut counts = vec![0_u32; steps.len()];
        before.steps.iter().for_each(|taken| counts[taken.step as usize] += 1);
        let mut parts = vec![vec![0_u32; steps.len()]; view.parts];
        for span in 0..view.traces.spans().len() {
            let part = &mut parts[view.part(span) as usize];
            now.of(span).iter().for_each(|taken| part[taken.step as usize] += 1);
        }
        let mut numbers: HashMap<(u32, u32), u32, RandomState> = HashMap::default();
        let (mut states, mut state_of): (Vec<State>, Vec<u32>) = (Vec::new(), Vec::with_capacity(steps.len()));
        for number in 0..steps.len() as u32 {
            let step = steps.step(number);
            let next = states.len() as u32;
            let state = *numbers.entry((step.operation, step.from)).or_insert(next);
            if state == next {
                let none = vec![0; view.parts];
                let (operation, from) = (step.operation, step.from);
                states.push(State { operation, from, now: none.clone(), spans_now: none, ..State::default() });
            }
            let at = &mut states[state as usize];
            at.steps.push(number);
            at.before += counts[number as usize];
            at.now.iter_mut().zip(&parts).for_each(|(now, part)| *now += part[number as usize]);
            state_of.push(state);
        }
        spans_in(before, &state_of, |state, _| states[state].spans_before += 1);
        spans_in(now, &state_of, |state, span| states[state].spans_now[view.part(span) as usize] += 1);
        Self { names, steps, now, view, states, state_of, before: counts, parts }
    }

    /// All states whose steps changed for sure since a part of time, in no particular order.
    /// What a span does after a child that is `slow` now is that child's surprise too: a timeout, a retry.
    pub fn since(&self, part: usize, slow: Option<&dyn Fn(usize) -> bool>) -> Vec<Surprise> {
        let counts: Vec<(u32, u32)> = (0..self.steps.len())
            .map(|step| (self.before[step], self.parts[part..].iter().map(|part| part[step]).sum()))
            .collect();
        let mut since: Vec<Since> = self
            .states
            .iter()
            .map(|state| Since {
                before: f64::from(state.before),
                now: f64::from(state.now[part..].iter().sum::<u32>()),
                spans_before: f64::from(state.spans_before),
                spans_now: f64::from(state.spans_now[part..].iter().sum::<u32>()),
                ..Since::default()
            })
            .collect();
        let bits = self.ratios(&counts, &mut since);
        // Only states that changed for sure pass their surprise on: first look at all, then again without what is inherited.
        let passes_on: Vec<bool> = (0..self.states.len())
            .map(|state| {
                self.conclude(state, &since[state], &counts).is_some_and(|found| found.bits >= PASSED_ON_BITS_MIN)
            })
            .collect();
        let inherits = |step: usize| bits[step] >= INHERITED_BITS_MIN && passes_on[self.state_of[step] as usize];
        if slow.is_some() || (0..self.steps.len()).any(inherits) {
            since.iter_mut().for_each(|state| state.sum = 0.0);
            self.add_up(part, &bits, &passes_on, slow, &mut since);
        }
        (0..self.states.len()).filter_map(|state| self.conclude(state, &since[state], &counts)).collect()
    }

    /// `log2(q/p)` of every step. What never followed a state counts as one, however many kinds of it there are.
    fn ratios(&self, counts: &[(u32, u32)], since: &mut [Since]) -> Vec<f64> {
        let mut bits = vec![0.0; counts.len()];
        for (state, at) in self.states.iter().zip(since) {
            if at.before == 0.0 || at.now == 0.0 {
                continue;
            }
            let of = |step: &u32| (f64::from(counts[*step as usize].0), f64::from(counts[*step as usize].1));
            let new: f64 = state.steps.iter().map(of).filter(|(before, _)| *before == 0.0).map(|(_, now)| now).sum();
            let unseen = 1.0 / (at.before + 2.0);
            let mut worse = Worse::default();
            for number in &state.steps {
                let (was, is) = of(number);
                let (p, q) = (was / at.before, is / at.now);
                if is > 0.0 {
                    let ratio = if was == 0.0 { new / at.now / unseen } else { q / (p * (1.0 - unseen)) };
                    bits[*number as usize] = ratio.log2();
                    at.sum += is * ratio.log2();
                }
                worse.take(badness(self.steps.event(self.steps.step(*number).to), self.names), q - p);
            }
            at.weight = worse.weight();
        }
        bits
    }

    /// Adds up each span's surprise by state, without what it inherits.
    fn add_up(
        &self,
        part: usize,
        bits: &[f64],
        passes_on: &[bool],
        slow: Option<&dyn Fn(usize) -> bool>,
        since: &mut [Since],
    ) {
        let mut surprising = vec![false; self.view.traces.spans().len()];
        let mut here: Vec<(u32, f64)> = Vec::new();
        for span in (0..surprising.len()).rev().filter(|span| self.view.part(*span) as usize >= part) {
            here.clear();
            // The first child that surprises; what comes later in this span may follow from it.
            let mut first = NO_SPAN;
            let mut surprises = false;
            for taken in self.now.of(span) {
                let (state, bits) = (self.state_of[taken.step as usize], bits[taken.step as usize]);
                if taken.child != NO_SPAN && surprising[taken.child as usize] && first == NO_SPAN {
                    first = taken.child;
                }
                // The step to a call that did not arrive is the call's own surprise; any other step to a child is not.
                let lost =
                    || matches!(self.steps.event(self.steps.step(taken.step).to), Event::Call { callee: None, .. });
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
            surprising[span] = surprises || first != NO_SPAN || slow.is_some_and(|slow| slow(span));
            here.iter().for_each(|(state, sum)| since[*state as usize].sum += sum);
        }
    }

    fn conclude(&self, state: usize, since: &Since, counts: &[(u32, u32)]) -> Option<Surprise> {
        if since.spans_before == 0.0 || since.spans_now == 0.0 {
            return None;
        }
        let state = &self.states[state];
        let sure = since.sum / since.spans_now * proven(state, since, counts);
        if sure <= 0.0 {
            return None;
        }
        let change = |step: &u32| {
            let (before, now) = counts[*step as usize];
            (self.steps.step(*step).to, f64::from(before) / since.before, f64::from(now) / since.now)
        };
        let mut changes: Vec<(u32, f64, f64)> = state.steps.iter().map(change).collect();
        changes.sort_by(|a, b| (b.2 - b.1).total_cmp(&(a.2 - a.1)).then(a.0.cmp(&b.0)));
        Some(Surprise {
            operation: state.operation,
            from: state.from,
            bits: sure * since.weight,
            gained: *changes.first()?,
            lost: *changes.last()?,
            before: since.spans_before as usize,
            now: since.spans_now as usize,
        })
    }
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
fn spans_in(flows: &Flows, state_of: &[u32], mut found: impl FnMut(usize, usize)) {
    let mut last = vec![u32::MAX; state_of.len()];
    for span in 0..flows.starts.len().saturating_sub(1) {
        for taken in flows.of(span) {
            let state = state_of[taken.step as usize] as usize;
            if last[state] != span as u32 {
                last[state] = span as u32;
                found(state, span);
            }
        }
    }
}

/// How much of a state's change is more than chance, 0 to 1: a positive-part shrinkage of the likelihood ratio statistic G
/// of both distributions, each counted with as many observations as there are spans, by its 95th percentile without change.
fn proven(state: &State, since: &Since, counts: &[(u32, u32)]) -> f64 {
    let Since { before, now, spans_before, spans_now, .. } = *since;
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
