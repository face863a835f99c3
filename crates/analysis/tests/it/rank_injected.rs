//! The ranking on faults that are put into fault-free traces: a second system of tests beside the recorded faults.

use std::collections::HashSet;

use proptest::test_runner::{Config, TestRunner};
use tracewell_analysis::{Builder, Log, NO_SPAN, Span, Traces, rank};

use crate::data;

/// A fault to put into traces.
#[derive(Debug, Clone)]
enum Fault {
    /// A service works longer in every span of an operation.
    Slow { operation: (String, String), extra_ns: u64 },
    /// The way to a service takes longer.
    Network { callee: String, extra_ns: u64 },
    /// Spans of an operation end before their later children: an early return.
    Return { operation: (String, String) },
    /// Spans of an operation write a record that they never wrote.
    Record { operation: (String, String) },
    /// The calls of a service no longer arrive.
    Down { callee: String },
}

/// Copies traces, every second one to each side, with a fault in those of the second side.
fn halves(traces: &Traces, fault: Option<&Fault>) -> (Traces, Traces) {
    let (mut normal, mut now) = (Builder::new(), Builder::new());
    for (number, trace) in traces.traces().iter().enumerate() {
        let faulty = number % 2 == 1;
        let builder = if faulty { &mut now } else { &mut normal };
        let mut delay_of = vec![0_u64; trace.spans().len()];
        let mut gone: HashSet<usize> = HashSet::new();
        let first = trace.first as usize;
        if let Some(fault) = fault.filter(|_| faulty) {
            for span in trace.spans() {
                if span > first && traces.parent(span).is_some_and(|parent| gone.contains(&parent)) {
                    gone.insert(span);
                    continue;
                }
                apply(traces, span, fault, first, &mut delay_of, &mut gone);
            }
        }
        // What a span takes longer, those above it take longer too, and what came after comes later.
        for span in trace.spans().rev() {
            if let Some(parent) = traces.parent(span) {
                delay_of[parent - first] += delay_of[span - first];
            }
        }
        let mut later_by = vec![0_u64; trace.spans().len()];
        for span in trace.spans() {
            let mut later = later_by[span - first];
            for child in traces.children(span) {
                later_by[child - first] = later;
                later += delay_of[child - first];
            }
        }
        for span in trace.spans().filter(|span| !gone.contains(span)) {
            let from = &traces.spans()[span];
            let texts = builder.texts();
            let copy = Span {
                service: texts.number(traces.text(from.service)),
                operation: texts.number(traces.text(from.operation)),
                start_ns: from.start_ns + later_by[span - first],
                end_ns: from.end_ns + later_by[span - first] + delay_of[span - first],
                ..*from
            };
            builder.span(Span { instance: copy.service, ..copy }, &[]);
            if let Some(Fault::Record { operation }) = fault.filter(|_| faulty)
                && is(traces, span, operation)
            {
                let (service, site) = (copy.service, builder.site("ERROR a.b.Injected#7 it went wrong"));
                let source = tracewell_analysis::LogSource::Record;
                builder.log(
                    Some(from.id),
                    Log { span: NO_SPAN, time_ns: copy.end_ns, service, severity: 0, site, source },
                );
            }
        }
        for log in
            traces.logs_of(trace).iter().filter(|log| log.span != NO_SPAN && !gone.contains(&(log.span as usize)))
        {
            let (service, site) = (traces.text(log.service), traces.text(log.site));
            let (service, site) = (builder.texts().number(service), builder.texts().number(site));
            let time_ns = log.time_ns + later_by[log.span as usize - first];
            builder.log(Some(traces.spans()[log.span as usize].id), Log { service, site, time_ns, ..*log });
        }
        builder.finish_trace(trace.id, 1.0);
    }
    (normal.finish(), now.finish())
}

fn is(traces: &Traces, span: usize, operation: &(String, String)) -> bool {
    let span = &traces.spans()[span];
    traces.text(span.service) == operation.0 && traces.text(span.operation) == operation.1
}

fn apply(traces: &Traces, span: usize, fault: &Fault, first: usize, delay_of: &mut [u64], gone: &mut HashSet<usize>) {
    let at = &traces.spans()[span];
    let remote = || {
        let child = traces.children(span).next()?;
        let service = traces.spans()[child].service;
        (at.is_outgoing() && service != at.service).then(|| (child, traces.text(service)))
    };
    match fault {
        Fault::Slow { operation, extra_ns } if is(traces, span, operation) => delay_of[span - first] += extra_ns,
        Fault::Network { callee, extra_ns } if remote().is_some_and(|(_, service)| service == callee) => {
            delay_of[span - first] += extra_ns;
        }
        Fault::Return { operation } if is(traces, span, operation) => gone.extend(traces.children(span).skip(1)),
        Fault::Down { callee } => {
            if let Some((child, _)) = remote().filter(|(_, service)| service == callee) {
                gone.insert(child);
            }
        }
        _ => {}
    }
}

/// Operations with enough spans to be judged, and whether their spans usually have several children.
fn operations(traces: &Traces) -> Vec<((String, String), bool)> {
    let mut counts: std::collections::BTreeMap<(String, String), (usize, usize)> = std::collections::BTreeMap::new();
    for (number, span) in traces.spans().iter().enumerate() {
        let key = (traces.text(span.service).to_owned(), traces.text(span.operation).to_owned());
        let count = counts.entry(key).or_default();
        count.0 += 1;
        count.1 += usize::from(traces.children(number).count() > 1);
    }
    let many = counts.into_iter().filter(|(_, (spans, _))| *spans >= 60);
    many.map(|(key, (spans, branching))| (key, branching * 10 > spans * 9)).collect()
}

/// The service whose fault it is, as far as traces can tell.
fn blamed(fault: &Fault) -> &str {
    match fault {
        Fault::Slow { operation, .. } | Fault::Return { operation } | Fault::Record { operation } => &operation.0,
        Fault::Network { callee, .. } | Fault::Down { callee } => callee,
    }
}

fn faults(traces: &Traces) -> Vec<Fault> {
    let mut callees: Vec<String> = Vec::new();
    let mut faults = Vec::new();
    for (operation, branching) in operations(traces) {
        let calls_only = traces.spans().iter().enumerate().any(|(number, span)| {
            let remote = traces.children(number).any(|child| traces.spans()[child].service != span.service);
            span.is_outgoing() && remote && is(traces, number, &operation)
        });
        // A way's own spans are the network's.
        if calls_only {
            continue;
        }
        faults.push(Fault::Slow { operation: operation.clone(), extra_ns: 50_000_000 });
        if !traces.logs().is_empty() {
            faults.push(Fault::Record { operation: operation.clone() });
        }
        if branching {
            faults.push(Fault::Return { operation: operation.clone() });
        }
        let called = traces.spans().iter().enumerate().any(|(number, span)| {
            let caller = traces.parent(number).map(|parent| traces.spans()[parent]);
            caller.is_some_and(|caller| caller.service != span.service && caller.is_outgoing())
                && is(traces, number, &operation)
        });
        if called && !callees.contains(&operation.0) {
            callees.push(operation.0);
        }
    }
    for callee in callees {
        faults.push(Fault::Network { callee: callee.clone(), extra_ns: 100_000_000 });
        faults.push(Fault::Down { callee });
    }
    faults
}

#[test]
fn injected_faults_are_found_and_their_absence_is_too() {
    for name in ["2022-08-23_1700_NORMAL", "2023-01-29_0850_NORMAL"] {
        let Some(traces) = data::root_cause(name) else { return };
        let (normal, now) = halves(&traces, None);
        let top = rank::rank(&normal, &now).first().map_or(0.0, |suspect| suspect.score);
        println!("{name}: nothing changed, {top:.2} bits");
        assert!(top < rank::SCORE_MIN, "{name}: {top}");

        let faults = faults(&traces);
        let (mut found, mut missed) = (0, Vec::new());
        for fault in &faults {
            let (normal, now) = halves(&traces, Some(fault));
            let ranking = rank::rank(&normal, &now);
            let first = ranking.first().map_or("", |suspect| suspect.service.as_str());
            if first == blamed(fault) {
                found += 1;
            } else {
                let score = |service: &str| {
                    ranking.iter().find(|suspect| suspect.service == service).map_or(0.0, |at| at.score)
                };
                missed.push(format!("{fault:?}: {first} {:.1}, true {:.1}", score(first), score(blamed(fault))));
            }
        }
        println!("{name}: {found} of {} injected faults named first; missed:\n  {}", faults.len(), missed.join("\n  "));
        assert!(found * 10 >= faults.len() * 9, "{found} of {}", faults.len());
    }
}

#[test]
fn odd_input_is_ranked_without_panic() {
    let empty = Builder::new().finish();
    assert!(rank::rank(&empty, &empty).is_empty());
    let Some(traces) = data::root_cause("2023-01-29_0850_NORMAL") else { return };
    assert!(rank::rank(&empty, &traces).is_empty(), "nothing is known of what was before");
    assert!(rank::rank(&traces, &empty).is_empty());
    let mut runner = TestRunner::new(Config { cases: 16, ..Config::default() });
    let any = proptest::collection::vec(
        (0_u64..8, proptest::option::of(0_u64..12), 0_u8..6, 0_u64..1_000, 0_u64..1_000),
        0..40,
    );
    let law = runner.run(&any, |spans| {
        let mut builder = Builder::new();
        for (number, (trace, parent, kind, start_ns, duration_ns)) in spans.into_iter().enumerate() {
            let service = builder.texts().number(&format!("s{}", trace % 3));
            let id = tracewell_model::SpanId::from_u64(number as u64 + 1);
            let parent_id = parent.map(|parent| tracewell_model::SpanId::from_u64(parent + 1));
            let span = Span {
                id,
                parent_id,
                service,
                operation: service,
                kind,
                start_ns,
                end_ns: start_ns + duration_ns,
                ..Span::default()
            };
            builder.span(span, &[]);
            if number % 4 == 3 {
                builder.finish_trace(tracewell_model::TraceId((number as u128 + 1).to_be_bytes()), 1.0);
            }
        }
        builder.finish_trace(tracewell_model::TraceId(u128::MAX.to_be_bytes()), 1.0);
        let some = builder.finish();
        for ranking in [rank::rank(&some, &some), rank::rank(&some, &traces), rank::rank(&traces, &some)] {
            proptest::prop_assert!(ranking.iter().all(|suspect| suspect.score.is_finite() && suspect.score >= 0.0));
            proptest::prop_assert!(ranking.is_sorted_by(|a, b| a.score >= b.score));
        }
        Ok(())
    });
    law.unwrap();
}
