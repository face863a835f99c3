//! Random programs of spans over several threads, against a plain model of what a trace is.
//!
//! Each step runs on one of three threads, one step after the other, so that the model is exact; spans
//! are made on one thread, entered on others and closed on a third all the same. Both ways to record
//! are held to it. They agree but for one thing: the registry does not count a span that is
//! entered again as the current one.

use std::collections::HashMap;
use std::sync::mpsc;

use proptest::prelude::*;
use tracewell_model::{SpanId as Id, Value};
use tracewell_sdk::propagate::{Context, SpanId, TraceId};
use tracewell_sdk::{Pipeline, Resource, SpanExt};
use tracing::span::EnteredSpan;
use tracing::{Dispatch, Level, Span, dispatcher, info_span};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt;

use crate::receiver::Receiver;

const THREADS: usize = 3;

/// A step; numbers choose among what there is, modulo how much that is.
#[derive(Debug, Clone)]
enum Step {
    /// A span below the current one of the thread, or a root.
    New,
    /// A root, whatever is current.
    Root,
    /// A child of that span.
    Child(usize),
    /// A root with a remote parent, recorded there or not.
    Remote(bool),
    Enter(usize),
    /// Leaves one of the spans that the thread has entered, not always the innermost.
    Exit(usize),
    Record(usize, i64),
    Follow(usize, usize),
    /// One more handle.
    Clone(usize),
    /// One handle less.
    Drop(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::New),
        1 => Just(Step::Root),
        2 => any::<usize>().prop_map(Step::Child),
        1 => any::<bool>().prop_map(Step::Remote),
        5 => any::<usize>().prop_map(Step::Enter),
        3 => prop_oneof![Just(usize::MAX), any::<usize>()].prop_map(Step::Exit),
        1 => (any::<usize>(), any::<i64>()).prop_map(|(span, value)| Step::Record(span, value)),
        1 => any::<(usize, usize)>().prop_map(|(span, cause)| Step::Follow(span, cause)),
        1 => any::<usize>().prop_map(Step::Clone),
        3 => any::<usize>().prop_map(Step::Drop),
    ]
}

/// What the model knows of a span.
struct Expected {
    parent: Option<usize>,
    remote: bool,
    sampled: bool,
    late: Option<i64>,
    causes: Vec<usize>,
}

/// Work for a thread, with the spans that it has entered.
type Job = Box<dyn FnOnce(&mut Vec<EnteredSpan>) + Send>;

struct Machine {
    dispatch: Dispatch,
    threads: Vec<mpsc::Sender<Job>>,
    /// The registry's way: what is entered again is not current.
    registry: bool,
    spans: Vec<Expected>,
    /// Live handles with the number of their span.
    handles: Vec<(usize, Span)>,
    /// Of each thread: entered spans, and whether they were in the list already.
    entered: Vec<Vec<(usize, bool)>>,
}

impl Machine {
    fn run<T: Send + 'static>(
        &self,
        thread: usize,
        work: impl FnOnce(&mut Vec<EnteredSpan>) -> T + Send + 'static,
    ) -> T {
        let (done, result) = mpsc::channel();
        let dispatch = self.dispatch.clone();
        let job: Job = Box::new(move |entered| {
            let outcome = dispatcher::with_default(&dispatch, || work(entered));
            done.send(outcome).expect("the test waits");
        });
        self.threads[thread].send(job).expect("the thread runs");
        result.recv().expect("the thread answers")
    }

    fn current(&self, thread: usize) -> Option<usize> {
        let counts = |(_, again): &&(usize, bool)| !(self.registry && *again);
        self.entered[thread].iter().rev().find(counts).map(|(number, _)| *number)
    }

    fn add(&mut self, span: Span, parent: Option<usize>, remote: Option<bool>) {
        let sampled = remote.or(parent.map(|parent| self.spans[parent].sampled)).unwrap_or(true);
        self.handles.push((self.spans.len(), span));
        self.spans.push(Expected { parent, remote: remote.is_some(), sampled, late: None, causes: Vec::new() });
    }

    fn step(&mut self, thread: usize, step: &Step) {
        let number = self.spans.len() as u64;
        match *step {
            Step::New => {
                let span = self.run(thread, move |_| info_span!("span", number, late = tracing::field::Empty));
                self.add(span, self.current(thread), None);
            }
            Step::Root => {
                let span =
                    self.run(thread, move |_| info_span!(parent: None, "span", number, late = tracing::field::Empty));
                self.add(span, None, None);
            }
            Step::Remote(sampled) => {
                let span = self.run(thread, move |_| {
                    let span = info_span!(parent: None, "span", number, late = tracing::field::Empty);
                    span.set_parent(&remote(sampled));
                    span
                });
                self.add(span, None, Some(sampled));
            }
            _ if self.handles.is_empty() => {}
            Step::Child(of) => {
                let (parent, above) = self.handles[of % self.handles.len()].clone();
                let span =
                    self.run(thread, move |_| info_span!(parent: &above, "span", number, late = tracing::field::Empty));
                self.add(span, Some(parent), None);
            }
            Step::Enter(which) => {
                let (number, span) = self.handles[which % self.handles.len()].clone();
                self.run(thread, move |entered| entered.push(span.entered()));
                let again = self.entered[thread].iter().any(|(known, _)| *known == number);
                self.entered[thread].push((number, again));
            }
            Step::Exit(which) => {
                let count = self.entered[thread].len();
                if count > 0 {
                    let (left, _) = self.entered[thread][which % count];
                    // Guards of the same span are alike: the last one is left.
                    let at = self.entered[thread].iter().rposition(|(number, _)| *number == left).expect("it is there");
                    self.entered[thread].remove(at);
                    self.run(thread, move |entered| drop(entered.remove(at)));
                }
            }
            Step::Record(which, value) => {
                let (number, span) = self.handles[which % self.handles.len()].clone();
                self.run(thread, move |_| {
                    span.record("late", value);
                });
                self.spans[number].late = Some(value);
            }
            Step::Follow(which, cause) => {
                let (number, span) = self.handles[which % self.handles.len()].clone();
                let (before, cause) = self.handles[cause % self.handles.len()].clone();
                self.run(thread, move |_| {
                    span.follows_from(&cause);
                });
                self.spans[number].causes.push(before);
            }
            Step::Clone(which) => {
                let handle = self.handles[which % self.handles.len()].clone();
                self.handles.push(handle);
            }
            Step::Drop(which) => {
                let (_, span) = self.handles.swap_remove(which % self.handles.len());
                self.run(thread, move |_| drop(span));
            }
        }
    }
}

fn remote(sampled: bool) -> Context {
    let trace_id = TraceId(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes());
    Context { trace_id, span_id: SpanId::from_u64(7), flags: u8::from(sampled), ..Context::default() }
}

fn check(steps: &[(usize, Step)], registry: bool) {
    let receiver = Receiver::start(vec![]);
    let pipeline = Pipeline::start_with(receiver.traces_only(), |_| {}).expect("a thread");
    let tracer = pipeline.tracer(&Resource::new("programs"));
    let dispatch = match registry {
        true => Dispatch::new(Registry::default().with(tracer.layer())),
        false => tracer.dispatch(Level::TRACE),
    };
    let mut threads = Vec::new();
    let mut joins = Vec::new();
    for _ in 0..THREADS {
        let (sender, jobs) = mpsc::channel::<Job>();
        threads.push(sender);
        let dispatch = dispatch.clone();
        joins.push(std::thread::spawn(move || {
            let mut entered = Vec::new();
            jobs.into_iter().for_each(|job| job(&mut entered));
            // Parents in the registry are closed through the subscriber that is current.
            dispatcher::with_default(&dispatch, || drop(entered));
        }));
    }
    let entered = vec![Vec::new(); THREADS];
    let mut machine = Machine { dispatch, threads, registry, spans: Vec::new(), handles: Vec::new(), entered };
    for (thread, step) in steps {
        machine.step(*thread, step);
    }
    let Machine { dispatch, threads, spans, handles, .. } = machine;
    dispatcher::with_default(&dispatch, || drop(handles));
    drop(threads);
    joins.into_iter().for_each(|thread| thread.join().expect("no panic in a thread"));
    assert!(pipeline.flush(std::time::Duration::from_secs(30)));

    let arrived = receiver.spans();
    let mut found = HashMap::new();
    for record in &arrived {
        let Some(Value::Int(number)) = record.span.attribute("number") else { panic!("no number: {record:?}") };
        assert!(found.insert(*number as usize, &record.span).is_none(), "span {number} was handed over twice");
    }
    let expected = spans.iter().filter(|span| span.sampled).count();
    assert_eq!(found.len(), expected, "each recorded span is handed over");
    for (number, expected) in spans.iter().enumerate().filter(|(_, span)| span.sampled) {
        let span = found[&number];
        match expected.parent {
            Some(parent) => {
                assert_eq!(span.parent_span_id, Some(found[&parent].span_id), "parent of {number}");
                assert_eq!(span.trace_id, found[&parent].trace_id, "trace of {number}");
            }
            None => assert_eq!(span.parent_span_id, expected.remote.then(|| Id::from_u64(7)), "root {number}"),
        }
        assert_eq!(span.attribute("late"), expected.late.map(Value::Int).as_ref(), "what {number} recorded late");
        let causes: Vec<_> = span.links.iter().map(|link| link.span_id).collect();
        assert_eq!(causes.len(), expected.causes.len(), "links of {number}");
        for (cause, link) in expected.causes.iter().zip(causes) {
            assert!(found.get(cause).is_none_or(|cause| cause.span_id == link), "links of {number}");
        }
        assert!(span.end_unix_nano >= span.start_unix_nano);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_subscriber_records_the_tree_of_any_program(
        steps in prop::collection::vec((0..THREADS, step()), 1..120)
    ) {
        check(&steps, false);
    }

    #[test]
    fn the_layer_records_the_tree_of_any_program(
        steps in prop::collection::vec((0..THREADS, step()), 1..120)
    ) {
        check(&steps, true);
    }
}

#[test]
fn a_thousand_spans_within_each_other_are_closed_from_the_outside_in() {
    for registry in [false, true] {
        let mut steps: Vec<_> = (0..1_000).flat_map(|depth| [(0, Step::New), (0, Step::Enter(depth))]).collect();
        steps.extend((0..1_000).map(|_| (1, Step::Drop(0))));
        check(&steps, registry);
    }
}
