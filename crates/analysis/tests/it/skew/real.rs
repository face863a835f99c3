//! Clocks of real systems: hotel-reservation traces whose hosts were really apart, and systems whose clocks were fine but
//! whose spans look as if they were not.

use tracewell_analysis::skew::{self, Options};
use tracewell_analysis::{Builder, Text, Traces};

use super::{estimate, row, shop::MS, skewed};
use crate::data;

/// Load, and the true offsets of the two hosts against the frontend's, as far as causality tells.
const HOTEL: &[(&str, f64, f64)] = &[("25", 1.25, 1.34), ("50", -3.0, -2.95), ("75", 1.0, 1.03)];

fn hotel(load: &str) -> Option<Traces> {
    data::records(&format!("clock-skew/hotel-load{load}.json.zst"))
}

/// The traces with spans of a service moved: start and end by `ahead` at the start, nanoseconds since the first span.
fn moved(traces: &Traces, service: &str, ahead: impl Fn(f64) -> f64) -> Traces {
    let mut builder = Builder::new();
    (0..traces.texts().len() as u32).for_each(|text| {
        builder.texts().number(traces.text(Text(text)));
    });
    let first = begin(traces);
    for trace in traces.traces() {
        for span in traces.spans_of(trace) {
            let mut span = *span;
            if traces.text(span.service) == service {
                let by = ahead((span.start_ns - first) as f64) as i64;
                (span.start_ns, span.end_ns) =
                    (span.start_ns.saturating_add_signed(by), span.end_ns.saturating_add_signed(by));
            }
            builder.span(span, &[]);
        }
        builder.finish_trace(trace.id, 1.0);
    }
    builder.finish()
}

fn begin(traces: &Traces) -> u64 {
    traces.spans().iter().map(|span| span.start_ns).min().unwrap()
}

fn length(traces: &Traces) -> f64 {
    (traces.spans().iter().map(|span| span.start_ns).max().unwrap() - begin(traces)) as f64
}

/// Time of requests and of answers between two services, in order of the traces.
fn ways(traces: &Traces, caller: &str, callee: &str) -> Vec<(f64, f64)> {
    let is = |span: usize, service: &str| traces.text(traces.spans()[span].service) == service;
    let pairs = (0..traces.spans().len()).filter_map(|span| Some((traces.parent(span)?, span)));
    let between =
        pairs.filter(|(client, server)| is(*client, caller) && is(*server, callee)).map(|(client, server)| {
            let (client, server) = (&traces.spans()[client], &traces.spans()[server]);
            let difference = |one: u64, two: u64| one as i64 as f64 - two as i64 as f64;
            (difference(server.start_ns, client.start_ns), difference(client.end_ns, server.end_ns))
        });
    between.collect()
}

#[test]
fn real_offsets_are_found_and_no_violation_is_left_but_one() {
    for (load, search, reservation) in HOTEL {
        let Some(traces) = hotel(load) else { return };
        let clocks = estimate(&traces);
        assert!(clocks.violations_after <= 1, "load {load}: {}", clocks.violations_after);
        assert!(clocks.violations_before > 300);
        for (service, expected) in [("search", search), ("reservation", reservation), ("profile", &0.0)] {
            let found = row(&clocks, service);
            let error = (found.offset_ns as f64 / MS - expected).abs();
            assert!(error < 0.2, "load {load}: {service} {} instead of {expected}", found.offset_ns);
            assert!(found.drift_ppm.abs() < 10.0 && found.steps.is_empty(), "{found:?}");
        }
        // What shares a host shares its clock.
        for below in ["geo", "rate"] {
            assert_eq!(row(&clocks, below).offset_ns, row(&clocks, "search").offset_ns, "load {load}");
        }
        assert!(row(&clocks, "frontend").is_reference);
        let corrected = skew::correct(&traces, &clocks);
        let quickest =
            |ways: &[(f64, f64)], one: fn(&(f64, f64)) -> f64| ways.iter().map(one).fold(f64::INFINITY, f64::min);
        let ways = ways(&corrected, "frontend", "reservation");
        let (there, back) = (quickest(&ways, |way| way.0), quickest(&ways, |way| way.1));
        assert!(there > 0.4 * MS && back > 0.4 * MS && (there - back).abs() < 0.3 * MS, "{there} there, {back} back");
    }
}

#[test]
fn congestion_is_not_explained_away() {
    for (load, ..) in HOTEL {
        let Some(traces) = hotel(load) else { return };
        let half = length(&traces) / 2.0;
        // From the middle on, frontend's requests to reservation take 30 ms longer: everything in reservation is later …
        let late = moved(&traces, "reservation", |now| if now > half { 30.0 * MS } else { 0.0 });
        // … and its callers wait for it.
        let mut builder = Builder::new();
        (0..late.texts().len() as u32).for_each(|text| {
            builder.texts().number(late.text(Text(text)));
        });
        for trace in late.traces() {
            for number in trace.spans() {
                let mut span = late.spans()[number];
                let is_caller =
                    late.children(number).any(|child| late.text(late.spans()[child].service) == "reservation");
                if (is_caller || late.parent(number).is_none()) && span.start_ns - begin(&traces) > half as u64 {
                    span.end_ns += 30_000_000;
                }
                builder.span(span, &[]);
            }
            builder.finish_trace(trace.id, 1.0);
        }
        let congested = builder.finish();
        let (before, clocks) = (estimate(&traces), estimate(&congested));
        let offset = |clocks: &skew::Clocks| row(clocks, "reservation").offset_ns as f64;
        assert!((offset(&clocks) - offset(&before)).abs() < 0.2 * MS, "load {load}: {}", offset(&clocks));
        assert!(row(&clocks, "reservation").steps.is_empty() && clocks.violations_after <= 1);
        let ways = ways(&skew::correct(&congested, &clocks), "frontend", "reservation");
        let slow = ways.iter().filter(|way| way.0 > 30.0 * MS).count();
        assert!(slow > ways.len() / 3, "load {load}: {slow}");
    }
}

#[test]
fn injected_drift_and_steps_are_found() {
    for (load, services) in [("25", ["frontend", "geo"]), ("50", ["search", "profile"]), ("75", ["frontend", "search"])]
    {
        let Some(traces) = hotel(load) else { return };
        let begin = begin(&traces);
        for service in services {
            let known = row(&estimate(&traces), service).drift_ppm;
            for sign in [1.0, -1.0] {
                let drifting = estimate(&moved(&traces, service, |now| sign * 50e-6 * now));
                let found = row(&drifting, service);
                let error = found.drift_ppm - known - sign * 50.0;
                assert!(error.abs() < 6.0, "load {load}: {service} {} ± {}", found.drift_ppm, found.drift_error_ppm);
                assert!(found.steps.is_empty() && drifting.violations_after <= 2, "{found:?}");
                for place in [0.06, 0.5, 0.95] {
                    let at = place * length(&traces);
                    let stepping =
                        estimate(&moved(&traces, service, |now| if now > at { sign * 20.0 * MS } else { 0.0 }));
                    let found = row(&stepping, service);
                    let [step] = found.steps.as_slice() else { panic!("load {load}: {service} at {place}: {found:?}") };
                    assert!(
                        (step.by_ns as f64 - sign * 20.0 * MS).abs() < 0.4 * MS,
                        "load {load}: {service} at {place}: {step:?}"
                    );
                    let error = step.at.abs_diff(begin + at as u64);
                    assert!(
                        error <= step.at_error_ns + 100_000_000,
                        "load {load}: {service} at {place}: off by {error}: {step:?}"
                    );
                    assert!(
                        stepping.violations_after <= 3,
                        "load {load}: {service} at {place}: {}",
                        stepping.violations_after
                    );
                }
            }
        }
    }
}

#[test]
fn a_skewed_trace_of_zipkins_that_is_not_once_its_halves_are_told_apart() {
    let Some(traces) = data::records("traces/otlp/skew.json") else { return };
    let clocks = estimate(&traces);
    assert_eq!((clocks.samples, clocks.violations_before), (1, 0));
    assert!(clocks.agree());
}

#[test]
fn a_server_that_begins_before_it_is_asked_is_behind() {
    let Some(traces) = data::records("traces/otlp/ascend.json") else { return };
    let clocks = estimate(&traces);
    assert_eq!((clocks.violations_before, clocks.violations_after), (1, 0));
    assert_eq!(skewed(&clocks).len(), 1);
    assert!(clocks.skewed().all(|row| row.is_forced));
}

#[test]
fn no_offset_is_invented_where_answers_are_flushed_late_and_clocks_are_coarse() {
    let Some(folder) = data::path("root-cause") else { return };
    let mut cases: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    cases.sort();
    for case in cases.iter().filter_map(|name| name.strip_suffix(".csv.zst")) {
        let Some(traces) = data::root_cause(case) else { return };
        let clocks = skew::estimate(&traces, &Options::default());
        assert!(clocks.agree(), "{case}: {:?}", clocks.skewed().collect::<Vec<_>>());
    }
}
