//! Clocks: what they are off by, and that nothing else is taken for it.

mod real;
mod shop;

use std::sync::Arc;

use tracewell_analysis::skew::{self, ClockKind, ClockOffset, Clocks, Options};
use tracewell_analysis::{Builder, Span, Traces};
use tracewell_model::{KeyValue, Resource, SpanId, SpanKind, SpanRecord, TraceId};

use crate::story::{SERVER, Story};
use shop::{BASE_NS, MS, Shop};

fn estimate(traces: &Traces) -> Clocks {
    skew::estimate(traces, &Options::default())
}

fn row<'a>(clocks: &'a Clocks, service: &str) -> &'a ClockOffset {
    let of = |row: &&ClockOffset| row.services.iter().any(|one| one == service);
    clocks.offsets().iter().find(of).unwrap_or_else(|| panic!("no clock of {service}"))
}

/// The services whose clocks are off, or were.
fn skewed(clocks: &Clocks) -> Vec<&str> {
    clocks.skewed().flat_map(|row| row.services.iter().map(String::as_str)).collect()
}

/// Without a span of the call itself, only that nobody begins before he is asked bounds an offset, and only on one side.
#[test]
fn where_nobody_is_known_to_wait_an_offset_stays_next_to_its_bound() {
    let mut story = Story::new();
    for at in (0..4_000).step_by(100) {
        let root = story.span((None, SERVER, "web", "GET"), (at + 200, at + 300));
        // The clock of this one is behind.
        let price = story.span((root, SERVER, "price", "GET"), (at + 20, at + 70));
        story.span((price, SERVER, "cache", "GET"), (at + 30, at + 40));
        story.end();
    }
    let clocks = estimate(&story.traces());
    assert_eq!(clocks.violations_after, 0);
    for row in clocks.offsets() {
        assert!(row.offset_ns.unsigned_abs() <= 181_000_000, "{row:?}");
    }
    assert_eq!(row(&clocks, "price").offset_ns - row(&clocks, "web").offset_ns, -180_000_000);
}

#[test]
fn clocks_that_agree_are_left_alone() {
    let traces = Shop::default().open();
    let clocks = estimate(&traces);
    assert!(clocks.agree(), "{:?}", clocks.skewed().collect::<Vec<_>>());
    let hosts: Vec<_> = clocks.offsets().iter().map(|row| (row.kind, row.clock.as_str(), row.services.len())).collect();
    assert_eq!(hosts, [(ClockKind::Host, "node-0", 1), (ClockKind::Host, "node-1", 4), (ClockKind::Host, "node-2", 2)]);
    assert_eq!(skew::correct(&traces, &clocks).spans(), traces.spans());
}

#[test]
fn one_service_of_a_host_may_have_a_clock_of_its_own() {
    for ahead in [180.0, -180.0, 5.0, -5.0, 2.0] {
        let skew = move |service: &str, _: f64| if service == "pricing" { ahead * MS } else { 0.0 };
        let traces = Shop { skew: &skew, host: &|_| "node".into(), ..Shop::default() }.open();
        let clocks = estimate(&traces);
        assert_eq!(skewed(&clocks), ["pricing"], "{ahead} ms");
        let pricing = row(&clocks, "pricing");
        let error = pricing.offset_ns as f64 - ahead * MS;
        assert!(error.abs() < 0.15 * MS, "{ahead} ms: {}", pricing.offset_ns);
        assert!(error.abs() <= pricing.uncertainty_ns.unwrap() as f64);
        assert_eq!((pricing.kind, pricing.clock.as_str()), (ClockKind::Instance, "pricing-0"));
        assert_eq!((clocks.violations_after, pricing.is_forced), (0, false));
        assert!(clocks.violations_before >= 300);
    }
}

#[test]
fn the_reference_is_what_most_agree_with_else_where_traces_begin_else_what_is_told() {
    let first = |service: &str, _: f64| if service == "web" { 50.0 * MS } else { 0.0 };
    let traces = Shop { skew: &first, host: &|service| service.into(), ..Shop::default() }.open();
    assert_eq!(skewed(&estimate(&traces)), ["web"]);
    let told = skew::estimate(&traces, &Options { reference: Some("web".into()) });
    assert!(row(&told, "web").is_reference && row(&told, "gateway").offset_ns < -49_000_000);
    assert_eq!(row(&told, "mail").reference, "web");
}

#[test]
fn congestion_keeps_its_direction_whatever_the_clocks_do() {
    // Request, answer; from the beginning, and from the middle on.
    for (request, answer) in [(400.0, 0.0), (0.0, 400.0)] {
        for since in [0.0, 30e9] {
            for ahead in [0.0, 180.0] {
                let skew = move |service: &str, _: f64| if service == "pricing" { ahead * MS } else { 0.0 };
                let delay = move |caller: &str, _: &str, now: f64| {
                    let is_congested = caller == "stock" && now >= since;
                    if is_congested { (request * MS, answer * MS) } else { (0.0, 0.0) }
                };
                let clocks = estimate(&Shop { skew: &skew, delay: &delay, ..Shop::default() }.open());
                let expected: &[&str] = if ahead == 0.0 { &[] } else { &["pricing"] };
                assert_eq!(skewed(&clocks), expected, "{request} ms there, {answer} ms back, since {since}");
                // The same hop with a clock that is wrong as well: the congestion began later, so both can be told.
                let skew = move |service: &str, _: f64| if service == "stock-db" { 180.0 * MS } else { 0.0 };
                let host = |service: &str| service.to_owned();
                let traces = Shop { skew: &skew, delay: &delay, host: &host, ..Shop::default() }.open();
                let clocks = estimate(&traces);
                let found = row(&clocks, "stock-db");
                let error = (found.offset_ns as f64 / MS - 180.0).abs();
                // Where the answer always was slow by more than the clock is ahead, nothing shows that it is.
                let is_told = since > 0.0 || request > 0.0;
                let case = format!("{request} there, {answer} back, since {since}: {found:?}");
                assert!(error < if since > 0.0 { 0.15 } else { 1.0 } || !is_told, "{case}");
                assert!(error * MS <= found.uncertainty_ns.unwrap() as f64, "{case}");
            }
        }
    }
}

#[test]
fn drift_and_steps_are_found_where_and_when_they_are() {
    for sign in [1.0, -1.0] {
        for (ppm, since) in [(50.0, 0.0), (1000.0, 0.0), (1000.0, 20e9)] {
            let skew = move |service: &str, now: f64| match service {
                "pricing" => sign * ppm * 1e-6 * (now - since).max(0.0),
                _ => 0.0,
            };
            let clocks = estimate(&Shop { skew: &skew, traces: 400, ..Shop::default() }.open());
            let pricing = row(&clocks, "pricing");
            assert_eq!(skewed(&clocks), ["pricing"]);
            let error = pricing.drift_ppm - sign * ppm;
            assert!(error.abs() < (0.1 * ppm).min(10.0), "{ppm}: {} ± {}", pricing.drift_ppm, pricing.drift_error_ppm);
            assert!(pricing.steps.is_empty(), "{:?}", pricing.steps);
        }
        for (size, place) in [(20.0, 0.1), (20.0, 0.5), (20.0, 0.9), (3.0, 0.5), (180.0, 0.7)] {
            let at = place * 300.0 * 200.0 * MS;
            let skew = move |service: &str, now: f64| match service {
                "stock" if now >= at => sign * size * MS,
                _ => 0.0,
            };
            let clocks = estimate(&Shop { skew: &skew, ..Shop::default() }.open());
            assert_eq!(skewed(&clocks), ["stock"]);
            let stock = row(&clocks, "stock");
            let [step] = stock.steps.as_slice() else { panic!("{size} ms at {place}: {:?}", stock.steps) };
            assert!((step.by_ns as f64 - sign * size * MS).abs() < 0.2 * MS, "{step:?}");
            let error = step.at.abs_diff(BASE_NS + at as u64);
            assert!(error <= step.at_error_ns + 200_000_000 && step.at_error_ns < 1_000_000_000, "{error}: {step:?}");
            assert!(stock.drift_ppm == 0.0 && clocks.violations_after <= 1, "{clocks:?}");
        }
    }
}

#[test]
fn a_clock_that_drifts_and_is_set_right_now_and_then() {
    let sawtooth = |service: &str, now: f64| if service == "stock" { 200e-6 * (now % 40e9) } else { 0.0 };
    let clocks = estimate(&Shop { skew: &sawtooth, traces: 600, ..Shop::default() }.open());
    let stock = row(&clocks, "stock");
    assert!((stock.drift_ppm - 200.0).abs() < 15.0, "{stock:?}");
    assert_eq!(stock.steps.len(), 2, "{:?}", stock.steps);
    assert!(stock.steps.iter().all(|step| (step.by_ns as f64 + 8.0 * MS).abs() < 0.5 * MS), "{:?}", stock.steps);
    assert!(stock.course.len() == 3 && clocks.violations_after <= 2, "{clocks:?}");
}

/// A client span and the server span below it.
fn call(client: (i64, i64), server: (i64, i64)) -> Traces {
    let mut builder = Builder::new();
    for (id, parent, service, kind, (start, end)) in
        [(1, None, "shop", SpanKind::Client, client), (2, Some(1), "bank", SpanKind::Server, server)]
    {
        let service = builder.texts().number(service);
        builder.span(
            Span {
                id: SpanId::from_u64(id),
                parent_id: parent.map(SpanId::from_u64),
                start_ns: BASE_NS.saturating_add_signed(start * 1_000_000),
                end_ns: BASE_NS.saturating_add_signed(end * 1_000_000),
                kind: kind as u8,
                service,
                ..Span::default()
            },
            &[],
        );
    }
    builder.finish_trace(TraceId([1; 16]), 1.0);
    builder.finish()
}

#[test]
fn a_single_call_is_corrected_by_what_causality_forces_and_no_more() {
    for (case, client, server, offset_ms) in [
        ("as it should be", (0, 100), (10, 90), 0),
        ("slow there: no skew", (0, 500), (410, 490), 0),
        ("slow back: no skew", (0, 500), (10, 90), 0),
        ("flushes late: no skew", (0, 100), (5, 103), 0),
        ("goes on after its caller has left: no skew", (0, 10), (5, 500), 0),
        ("does not wait: no skew", (0, 10), (40, 500), 0),
        ("begins before it is asked", (0, 100), (-30, 40), -30),
        ("all of it before", (0, 100), (-300, -220), -300),
        ("begins after its caller has got the answer", (0, 100), (400, 480), 380),
        ("begins a little early: not worth a word", (0, 100), (-1, 90), 0),
    ] {
        let traces = call(client, server);
        let clocks = estimate(&traces);
        let bank = row(&clocks, "bank");
        assert_eq!(bank.offset_ns, offset_ms * 1_000_000, "{case}");
        assert_eq!(bank.is_forced, offset_ms != 0, "{case}");
        let corrected = skew::correct(&traces, &clocks);
        let (client, server) = (&corrected.spans()[0], &corrected.spans()[1]);
        if offset_ms != 0 {
            assert!(client.start_ns <= server.start_ns && server.end_ns <= client.end_ns, "{case}");
            assert_eq!(clocks.violations_after, 0, "{case}");
            // What else causality would allow is the uncertainty.
            let free = (client.duration_ns() - server.duration_ns()) as i64;
            assert_eq!(bank.uncertainty_ns, Some(free as u64), "{case}");
        }
    }
}

#[test]
fn one_trace_is_corrected_by_what_many_have_told() {
    let skew = |service: &str, _: f64| if service == "stock-db" { 0.8 * MS } else { 0.0 };
    let many = Shop { skew: &skew, ..Shop::default() }.open();
    let one = Shop { skew: &skew, traces: 1, seed: 99, ..Shop::default() }.open();
    assert!(estimate(&one).agree(), "an answer that is flushed late explains it as well");
    let clocks = skew::for_trace(&one, &many, &Options::default());
    for span in one.spans() {
        let expected = if one.text(span.service) == "stock-db" { 0.8 } else { 0.0 };
        assert!((clocks.correction_ns(span) as f64 / MS - expected).abs() < 0.2, "{}", clocks.correction_ns(span));
    }
    let other = call((0, 100), (10, 90));
    assert_eq!(clocks.bound_to(&other).correction_ns(&other.spans()[1]), 0, "an unknown service");
}

#[test]
fn records_are_corrected_in_their_order() {
    let resource = |service: &str| {
        let attributes = vec![KeyValue::new("service.name", service), KeyValue::new("service.instance.id", "0")];
        Arc::new(Resource { attributes, ..Resource::default() })
    };
    let record =
        |resource: &Arc<Resource>, id: u64, parent: u64, kind: SpanKind, start_ms: i64, end_ms: i64| SpanRecord {
            resource: Arc::clone(resource),
            scope: Arc::default(),
            span: tracewell_model::Span {
                trace_id: TraceId([1; 16]),
                span_id: SpanId::from_u64(id),
                parent_span_id: (parent > 0).then(|| SpanId::from_u64(parent)),
                kind: kind as i32,
                start_unix_nano: BASE_NS.saturating_add_signed(start_ms * 1_000_000),
                end_unix_nano: BASE_NS.saturating_add_signed(end_ms * 1_000_000),
                ..tracewell_model::Span::default()
            },
        };
    let (shop, bank) = (resource("shop"), resource("bank"));
    let records = |behind: i64| {
        [
            record(&bank, 3, 2, SpanKind::Internal, 20 - behind, 30 - behind),
            record(&bank, 2, 1, SpanKind::Server, 10 - behind, 40 - behind),
            record(&shop, 1, 0, SpanKind::Client, 0, 50),
        ]
    };
    assert_eq!(skew::corrections(&records(0), &Traces::default()), None);
    assert_eq!(skew::corrections(&records(110), &Traces::default()), Some(vec![-100_000_000, -100_000_000, 0]));
    assert_eq!(skew::corrections(&[], &Shop::default().open()), None);
}

#[test]
fn corrected_traces_stand_in_order() {
    let skew = |service: &str, _: f64| if service == "pricing" { -180.0 * MS } else { 0.0 };
    let traces = Shop { skew: &skew, traces: 40, ..Shop::default() }.open();
    let corrected = skew::correct(&traces, &estimate(&traces));
    assert_eq!(corrected.spans().len(), traces.spans().len());
    for trace in corrected.traces() {
        for span in trace.spans() {
            let children: Vec<_> = corrected.children(span).map(|child| corrected.spans()[child].start_ns).collect();
            assert!(children.is_sorted());
            assert!(corrected.children(span).all(|child| corrected.parent(child) == Some(span)));
            let before = traces.find(trace, corrected.spans()[span].id).unwrap();
            assert_eq!(corrected.spans()[span].duration_ns(), traces.spans()[before].duration_ns());
        }
    }
    assert!(estimate(&corrected).agree());
}

#[test]
fn rows_read_as_they_are_documented() {
    let skew = |service: &str, now: f64| if service == "stock" && now > 30e9 { 20.0 * MS } else { 0.0 };
    let clocks = estimate(&Shop { skew: &skew, host: &|_| String::new(), ..Shop::default() }.open());
    let rows = serde_json::to_value(clocks.offsets()).unwrap();
    let stock = &rows[0];
    assert_eq!(
        (&stock["clock"], &stock["kind"], &stock["service"]),
        (&"stock-0".into(), &"instance".into(), &"stock".into())
    );
    for key in [
        "offset_ns",
        "uncertainty_ns",
        "drift_ppm",
        "drift_error_ppm",
        "samples",
        "violations_before",
        "violations_after",
        "component",
    ] {
        assert!(stock[key].is_number(), "{key}: {stock}");
    }
    for key in ["at", "at_error_ns", "by_ns", "by_error_ns"] {
        assert!(stock["steps"][0][key].is_number(), "{key}: {stock}");
    }
    assert!(stock["course"][1]["from"].is_u64() && stock.get("host").is_none() && rows[1].get("course").is_none());
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    /// Whatever the spans say: no panic, every span kept with its duration, no pair broken that was not.
    #[test]
    fn any_spans_are_corrected_without_harm(
        shape in proptest::collection::vec((1u64..30, 0u64..30, 0u64..4, 0i64..4_000_000_000, 0i64..2_000_000_000, 0u8..6), 0..80),
    ) {
        let mut builder = Builder::new();
        for (number, (id, parent, service, start, length, kind)) in shape.iter().enumerate() {
            let service = builder.texts().number(&format!("s{service}"));
            let start_ns = if *start == 0 { 0 } else { BASE_NS.saturating_add_signed(*start) };
            builder.span(
                Span {
                    id: SpanId::from_u64(*id),
                    parent_id: (*parent > 0).then(|| SpanId::from_u64(*parent)),
                    start_ns,
                    end_ns: start_ns.saturating_add_signed(*length),
                    kind: *kind,
                    service,
                    ..Span::default()
                },
                &[],
            );
            if number % 20 == 19 {
                builder.finish_trace(TraceId((number as u128).to_be_bytes()), 1.0);
            }
        }
        builder.finish_trace(TraceId([9; 16]), 1.0);
        let traces = builder.finish();
        let clocks = estimate(&traces);
        proptest::prop_assert!(clocks.violations_after <= clocks.violations_before, "{clocks:?}");
        let corrected = skew::correct(&traces, &clocks);
        let lengths = |traces: &Traces| {
            let mut all: Vec<_> = traces.spans().iter().map(|span| (span.id, span.duration_ns())).collect();
            all.sort_unstable();
            all
        };
        proptest::prop_assert_eq!(lengths(&corrected), lengths(&traces));
        for span in 0..corrected.spans().len() {
            let starts: Vec<_> = corrected.children(span).map(|child| corrected.spans()[child].start_ns).collect();
            proptest::prop_assert!(starts.is_sorted());
        }
    }
}
