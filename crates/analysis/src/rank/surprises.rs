//! How much the steps of now surprise who knows the steps of before.
//!
//! For each state (an operation, and the step it last took) the steps that follow have probabilities `p` before and `q`
//! now. The surprise of a span is the sum of `log2(q/p)` over its steps out of the state: the logarithm of the likelihood
//! ratio, whose mean is the Kullback–Leibler divergence, in bits for each span. `p` is smoothed by a Dirichlet prior of
//! weight one that spreads over what follows any step of the operation, and what never followed; so a state seen seven
//! times cannot surprise by more than some four bits, and one that was never seen cannot surprise at all.
//!
//! A symptom that is passed on is no cause: a step that comes after a child that itself did something surprising is that
//! child's. So spans are walked from the leaves up, and each surprise stays with the deepest span that shows it.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::flows::{Event, Flows, Steps};
use super::names::View;
use crate::traces::NO_SPAN;

/// Bits from which a single step counts as a surprise that callers inherit.
const INHERITED_BITS_MIN: f64 = 2.0;

/// Quantile of the normal distribution for the lower end of a one-sided interval.
const SURE: f64 = 1.645;

/// Variance of a span's surprise that is assumed with the weight of one span: few spans are no proof.
const USUAL_VARIANCE: f64 = 1.0;

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
    squares: f64,
}

/// All states whose steps changed for sure, in no particular order.
pub fn surprises(steps: &Steps, before: &Flows, now: &Flows, view: &View) -> Vec<Surprise> {
    let mut counts = vec![(0_u32, 0_u32); steps.len()];
    before.steps.iter().for_each(|(step, _)| counts[*step as usize].0 += 1);
    now.steps.iter().for_each(|(step, _)| counts[*step as usize].1 += 1);

    let (mut states, state_of) = states(steps, &counts);
    let bits = ratios(steps, &counts, &mut states);
    spans_in(before, &state_of, |state| states[state].spans_before += 1);
    spans_in(now, &state_of, |state| states[state].spans_now += 1);
    add_up(now, view, steps, &state_of, &bits, &mut states);
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

/// `log2(q/p)` of every step, weighed by whether its state changed for the worse.
fn ratios(steps: &Steps, counts: &[(u32, u32)], states: &mut [State]) -> Vec<f64> {
    // What follows any step of an operation.
    let mut any: HashMap<(u32, u32), f64, RandomState> = HashMap::default();
    let mut of_operation: HashMap<u32, (f64, f64), RandomState> = HashMap::default();
    for number in 0..steps.len() as u32 {
        let (step, count) = (steps.step(number), f64::from(counts[number as usize].0));
        let first = any.entry((step.operation, step.to)).or_insert(0.0);
        let all = of_operation.entry(step.operation).or_default();
        if *first == 0.0 {
            all.1 += 1.0;
        }
        *first += count;
        all.0 += count;
    }
    let mut bits = vec![0.0; steps.len()];
    for state in states.iter_mut() {
        if state.before == 0 || state.now == 0 {
            continue;
        }
        let (total, kinds) = of_operation.get(&state.operation).copied().unwrap_or_default();
        let mut worse = Worse::default();
        for number in &state.steps {
            let (step, (before, now)) = (steps.step(*number), counts[*number as usize]);
            let base = (any.get(&(step.operation, step.to)).copied().unwrap_or(0.0) + 1.0) / (total + kinds + 1.0);
            let p = (f64::from(before) + base) / (f64::from(state.before) + 1.0);
            let q = f64::from(now) / f64::from(state.now);
            bits[*number as usize] = if now > 0 { (q / p).log2() } else { 0.0 };
            worse.take(steps.event(step.to), q - f64::from(before) / f64::from(state.before));
        }
        state.weight = worse.weight();
    }
    bits
}

/// Whether what a state gained is worse than what it lost.
#[derive(Default)]
struct Worse {
    bad_gained: f64,
    bad_lost: f64,
    gained: f64,
}

impl Worse {
    fn take(&mut self, event: Event, change: f64) {
        let bad = match event {
            Event::End | Event::Failed => true,
            Event::Record { severity, .. } => severity > 12,
            Event::Start | Event::Work { .. } | Event::Call { .. } => false,
        };
        if change > 0.0 {
            self.gained += change;
            if bad {
                self.bad_gained += change;
            }
        } else if bad {
            self.bad_lost -= change;
        }
    }

    fn weight(&self) -> f64 {
        if self.gained <= 0.0 {
            return NEUTRAL;
        }
        let (gained, lost) = (self.bad_gained / self.gained, self.bad_lost / self.gained);
        NEUTRAL + (1.0 - NEUTRAL) * (gained - lost).max(0.0) - (NEUTRAL - BETTER) * (lost - gained).max(0.0)
    }
}

/// Calls with every state that a span goes through, once for each span.
fn spans_in(flows: &Flows, state_of: &[u32], mut found: impl FnMut(usize)) {
    let mut last = vec![u32::MAX; state_of.len()];
    for span in 0..flows.starts.len().saturating_sub(1) {
        for (step, _) in flows.of(span) {
            let state = state_of[*step as usize] as usize;
            if last[state] != span as u32 {
                last[state] = span as u32;
                found(state);
            }
        }
    }
}

/// Adds up each span's surprise by state, without what it inherits.
fn add_up(now: &Flows, view: &View, steps: &Steps, state_of: &[u32], bits: &[f64], states: &mut [State]) {
    let spans = view.traces.spans();
    let mut surprising = vec![false; spans.len()];
    let mut here: Vec<(u32, f64)> = Vec::new();
    for span in (0..spans.len()).rev() {
        here.clear();
        let mut inherited = false;
        for (step, child) in now.of(span) {
            let (state, bits) = (state_of[*step as usize], bits[*step as usize]);
            let child_surprises = *child != NO_SPAN && surprising[*child as usize];
            let missing = child_surprises && matches!(steps.event(steps.step(*step).to), Event::Call { callee: None, .. });
            let counted = if inherited || missing { 0.0 } else { bits };
            if bits >= INHERITED_BITS_MIN {
                surprising[span] = true;
            }
            if child_surprises {
                (inherited, surprising[span]) = (true, true);
            }
            match here.iter().position(|(at, _)| *at == state) {
                Some(at) => here[at].1 += counted,
                None if here.len() < STATES_MAX => here.push((state, counted)),
                None => {}
            }
        }
        for (state, sum) in &here {
            let state = &mut states[*state as usize];
            state.sum += sum;
            state.squares += sum * sum;
        }
    }
}

fn conclude(state: &State, steps: &Steps, counts: &[(u32, u32)]) -> Option<Surprise> {
    let spans = f64::from(state.spans_now);
    if state.before == 0 || spans == 0.0 {
        return None;
    }
    let mean = state.sum / spans;
    let variance = ((state.squares - spans * mean * mean).max(0.0) + USUAL_VARIANCE) / spans;
    // A distribution of k steps fits its own data better than the truth by (k - 1)/2 nats in all.
    let fitted = state.steps.iter().filter(|step| counts[**step as usize].1 > 0).count().saturating_sub(1) as f64;
    let error = (variance / spans + USUAL_VARIANCE / f64::from(state.spans_before)).sqrt();
    let sure = mean - fitted / (2.0 * spans * std::f64::consts::LN_2) - SURE * error;
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
