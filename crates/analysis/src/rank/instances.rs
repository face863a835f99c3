//! Whether a change is limited to one of a service's instances.

use std::collections::BTreeMap;

use super::flows::{Flows, Step, Steps};
use super::names::View;
use super::suspects::{Changes, What};
use super::times::{Place, Times};
use crate::traces::NO_SPAN;

/// Spans of an instance needed to compare it.
const SPANS_MIN: f64 = 5.0;

/// Standard errors between an instance's share of changed spans and that of the others.
const ERRORS_MIN: f64 = 3.0;

/// Which spans show a change.
#[derive(Debug, Clone)]
pub enum Spread {
    /// Spans of an operation that take longer than usual.
    Time { operation: u32, called: bool, usual_ns: f32 },
    /// Spans of an operation that take a step, by the numbers of such steps.
    Path { operation: u32, steps: Vec<u32> },
}

impl Spread {
    /// The spans that show a change.
    pub fn of(changes: &Changes, before: &Times, what: What) -> Self {
        match what {
            What::Time(place) => {
                let (operation, called) = match changes.places.get(place) {
                    Place::Visit { operation } | Place::Own { operation } => (operation, false),
                    Place::Hop { callee, .. } | Place::Reply { callee, .. } => (callee, true),
                };
                Self::Time { operation, called, usual_ns: before.quantile(place, 0, 0.95) }
            }
            What::Path(number) => {
                let surprise = &changes.surprises[number];
                let (operation, from, to) = (surprise.operation, surprise.from, surprise.gained.0);
                let wanted = Step { operation, from, to };
                Self::Path { operation, steps: numbers(changes.steps, wanted) }
            }
        }
    }

    /// The instance that the change is limited to, or the only one there is.
    pub fn instance(&self, now: &View, times: &Times, flows: &Flows) -> Option<String> {
        let spans = now.traces.spans();
        let mut counts: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
        for (number, span) in spans.iter().enumerate() {
            let (at, changed) = match self {
                Self::Time { operation, called: false, usual_ns } if now.operation[number] == *operation => {
                    (span, times.spans[number].1 > *usual_ns)
                }
                Self::Time { operation, called: true, usual_ns } if now.callee[number] != NO_SPAN => {
                    let callee = now.callee[number] as usize;
                    if now.operation[callee] != *operation {
                        continue;
                    }
                    (&spans[callee], times.spans[number].1 > *usual_ns)
                }
                Self::Path { operation, steps } if now.operation[number] == *operation => {
                    (span, flows.of(number).iter().any(|taken| steps.contains(&taken.step)))
                }
                _ => continue,
            };
            let count = counts.entry(at.instance.0).or_default();
            count.0 += 1.0;
            count.1 += f64::from(u8::from(changed));
        }
        let (all, changed) = counts.values().fold((0.0, 0.0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
        let name = |instance: u32| {
            let name = now.traces.text(crate::traces::Text(instance));
            (!name.is_empty()).then(|| name.to_owned())
        };
        if counts.len() == 1 {
            return counts.keys().next().copied().and_then(name);
        }
        let apart = |(instance, (spans, slow)): (u32, (f64, f64))| {
            let (others, others_slow) = (all - spans, changed - slow);
            let pooled = changed / all;
            let error = (pooled * (1.0 - pooled) * (1.0 / spans + 1.0 / others)).sqrt();
            let off = slow / spans - others_slow / others;
            (spans >= SPANS_MIN && others >= SPANS_MIN && off > ERRORS_MIN * error).then_some((off, instance))
        };
        let worst = counts.into_iter().filter_map(apart).max_by(|a, b| a.0.total_cmp(&b.0));
        worst.and_then(|(_, instance)| name(instance))
    }
}

fn numbers(steps: &Steps, wanted: Step) -> Vec<u32> {
    (0..steps.len() as u32).filter(|number| steps.step(*number) == wanted).collect()
}
