//! The shape of one trace: which spans, below which, when, and which of them fail.

use super::rng::Rng;
use super::template;
use super::world::{Call, InstanceId, OperationId, RARE_ENTRIES, TemplateId, World};

/// The largest trace.
pub const SPANS_MAX: usize = 2000;

/// A span before it is encoded. Parents stand before their children.
#[derive(Clone, Copy)]
pub struct Planned {
    /// Kind of span.
    pub template: TemplateId,
    /// Who emits it.
    pub instance: InstanceId,
    /// The instance at the other end; its own where there is none.
    pub peer: InstanceId,
    /// Index of the parent in the trace; `None` for the root.
    pub parent: Option<u32>,
    /// Did it fail, and was the fault its own?
    pub failure: Failure,
    /// Random bits that a client span and the server span below it share.
    pub salt: u32,
    /// Start and end in nanoseconds after the start of the trace.
    pub start: u64,
    /// See `start`.
    pub end: u64,
    concurrent: bool,
}

/// How a span ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Well.
    None,
    /// The error arose here.
    Origin,
    /// It passed on an error from below.
    Passed,
}

/// Makes traces. Keeps its buffers from one to the next.
pub struct Shaper {
    spans: Vec<Planned>,
    totals: Vec<Total>,
}

/// What is known of a span's children while times are laid out.
#[derive(Clone, Copy, Default)]
struct Total {
    children: u32,
    sum: f64,
    longest: f64,
    duration: f64,
    gap: f64,
    cursor: f64,
}

/// Share of traces in which something fails; about two spans of such a trace carry the error.
const FAILING_TRACES: f64 = 0.112;

impl Shaper {
    /// A shaper with empty buffers.
    pub fn new() -> Self {
        Self { spans: Vec::with_capacity(SPANS_MAX), totals: Vec::with_capacity(SPANS_MAX) }
    }

    /// The next trace, of at most `spans_max` spans (at least one).
    pub fn trace(&mut self, world: &World, rng: &mut Rng, spans_max: usize) -> &[Planned] {
        // Log-normal with a mean near 20, and a few giants: batch jobs, loops over everything in a basket.
        let size = if rng.chance(0.002) { rng.log_uniform(200.0, 2000.0) } else { rng.log_normal(12.0, 1.0) };
        let budget = (size as usize).clamp(1, spans_max.min(SPANS_MAX));
        let (frequent, rare) = world.entries.split_at(world.entries.len() - template::VERBS.len());
        let entry = if rng.chance(RARE_ENTRIES) {
            rare[rng.index(rare.len())]
        } else {
            frequent[rng.skewed(frequent.len() as u64) as usize]
        };
        self.spans.clear();
        let service = world.operations[entry as usize].service;
        let instance = world.pick_instance(service, rng);
        let salt = rng.bits() as u32;
        self.serve(world, rng, entry, Place { instance, peer: instance, parent: None, salt }, budget);
        self.lay_out(world, rng);
        if rng.chance(FAILING_TRACES) {
            self.fail(rng);
        }
        &self.spans
    }

    fn push(&mut self, template: TemplateId, place: Place, concurrent: bool) -> u32 {
        let Place { instance, peer, parent, salt } = place;
        let failure = Failure::None;
        let span = Planned { template, instance, peer, parent, failure, salt, start: 0, end: 0, concurrent };
        self.spans.push(span);
        self.spans.len() as u32 - 1
    }

    /// An operation and what it calls, `budget` spans together; returns how many there are.
    fn serve(&mut self, world: &World, rng: &mut Rng, operation: OperationId, place: Place, budget: usize) -> usize {
        let operation = &world.operations[operation as usize];
        let server = self.push(operation.server, place, operation.concurrent);
        let own = place.instance;
        let mut left = budget - 1;
        let mut step = 0;
        // Goes round again while there is budget: that is the loop over many items that makes traces large.
        while left > 0 && step < 64 * operation.calls.len() {
            let call = operation.calls[step % operation.calls.len()];
            step += 1;
            let salt = rng.bits() as u32;
            let below = Place { instance: own, peer: own, parent: Some(server), salt };
            match call {
                Call::Leaf(template) => {
                    self.push(template, below, false);
                    left -= 1;
                }
                Call::Message(producer, consumer) if left >= 2 => {
                    let producer = self.push(producer, below, true);
                    let service = world.templates[consumer as usize].service;
                    let instance = world.pick_instance(service, rng);
                    self.push(consumer, Place { instance, peer: own, parent: Some(producer), salt }, false);
                    left -= 2;
                }
                Call::Remote(client, target) if left >= 2 => {
                    let share = 2 + ((left - 2) as f64 * (0.15 + 0.45 * rng.unit())) as usize;
                    let service = world.operations[target as usize].service;
                    let peer = world.pick_instance(service, rng);
                    let client = self.push(client, Place { peer, ..below }, false);
                    let inner = Place { instance: peer, peer: own, parent: Some(client), salt };
                    left -= 1 + self.serve(world, rng, target, inner, share - 1);
                }
                Call::Message(..) | Call::Remote(..) => {
                    if left < 2 && operation.calls.iter().all(|call| !matches!(call, Call::Leaf(_))) {
                        break;
                    }
                }
            }
        }
        budget - left
    }

    /// Durations from the leaves up, then starts from the root down, so that children lie inside their parents.
    fn lay_out(&mut self, world: &World, rng: &mut Rng) {
        self.totals.clear();
        self.totals.resize(self.spans.len(), Total::default());
        // One slow moment for the whole trace: what makes requests, not only spans, differ.
        let pace = rng.log_normal(1.0, 0.5);
        for index in (0..self.spans.len()).rev() {
            let span = &self.spans[index];
            let template = &world.templates[span.template as usize];
            let own = pace * rng.log_normal(template.own_ns, template.sigma);
            let total = &mut self.totals[index];
            total.duration = own + if span.concurrent { total.longest } else { total.sum };
            total.gap = own / f64::from(total.children + 1);
            let duration = total.duration;
            if let Some(parent) = span.parent {
                let parent = &mut self.totals[parent as usize];
                parent.children += 1;
                parent.sum += duration;
                parent.longest = parent.longest.max(duration);
            }
        }
        for index in 0..self.spans.len() {
            let duration = self.totals[index].duration;
            let start = match self.spans[index].parent {
                None => 0.0,
                Some(parent) => {
                    let concurrent = self.spans[parent as usize].concurrent;
                    let parent = &mut self.totals[parent as usize];
                    let start = parent.cursor + parent.gap;
                    parent.cursor = if concurrent { start } else { start + duration };
                    start
                }
            };
            self.totals[index].cursor = start;
            self.spans[index].start = start as u64;
            self.spans[index].end = (start + duration) as u64;
        }
    }

    /// Lets one span fail, and its callers with it until one of them copes.
    fn fail(&mut self, rng: &mut Rng) {
        let mut index = rng.index(self.spans.len());
        self.spans[index].failure = Failure::Origin;
        while let Some(parent) = self.spans[index].parent
            && rng.chance(0.72)
        {
            index = parent as usize;
            self.spans[index].failure = Failure::Passed;
        }
    }
}

/// Where a span stands.
#[derive(Clone, Copy)]
struct Place {
    instance: InstanceId,
    peer: InstanceId,
    parent: Option<u32>,
    salt: u32,
}

/// True for spans that a message started: they point back to its sender by a link.
pub fn is_consumer(world: &World, span: &Planned) -> bool {
    world.templates[span.template as usize].kind == template::CONSUMER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_trees_in_time_and_heavy_tailed() {
        let world = World::new(1);
        let mut rng = Rng::new(1);
        let mut shaper = Shaper::new();
        let (mut spans, mut failed, mut largest) = (0, 0, 0);
        const TRACES: usize = 20_000;
        for _ in 0..TRACES {
            let trace = shaper.trace(&world, &mut rng, SPANS_MAX);
            for (index, span) in trace.iter().enumerate() {
                assert!(span.start <= span.end);
                match span.parent {
                    None => assert_eq!(index, 0, "only the first span is a root"),
                    Some(parent) => {
                        let parent = &trace[parent as usize];
                        assert!(parent.start <= span.start && span.end <= parent.end, "children lie inside parents");
                    }
                }
                let template = &world.templates[span.template as usize];
                assert_eq!(template.service, world.instances[usize::from(span.instance)].service);
            }
            spans += trace.len();
            largest = largest.max(trace.len());
            failed += trace.iter().filter(|span| span.failure != Failure::None).count();
        }
        let mean = spans as f64 / TRACES as f64;
        assert!((18.0..26.0).contains(&mean), "mean {mean}");
        assert!(largest > 1000, "largest {largest}");
        let errors = failed as f64 / spans as f64;
        assert!((0.008..0.012).contains(&errors), "errors {errors}");
    }

    #[test]
    fn a_trace_never_exceeds_its_budget() {
        let world = World::new(1);
        let mut rng = Rng::new(3);
        let mut shaper = Shaper::new();
        for limit in [1, 2, 3, 7] {
            assert!((0..500).all(|_| (1..=limit).contains(&shaper.trace(&world, &mut rng, limit).len())));
        }
    }
}
