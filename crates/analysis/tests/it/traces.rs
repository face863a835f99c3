//! The input: traces in preorder, whatever order and shape they arrive in.

use proptest::prelude::*;
use tracewell_analysis::{Attribute, Builder, Log, LogSource, NO_SPAN, Scalar, Span, Status, Traces};
use tracewell_model::{SpanId, SpanKind, TraceId};

use crate::data;

#[test]
fn a_real_trace_stands_in_preorder() {
    let Some(traces) = data::records("traces/jaeger-genai-57-spans.json") else { return };
    assert_eq!((traces.traces().len(), traces.spans().len()), (1, 57));
    let trace = &traces.traces()[0];
    for span in trace.spans() {
        for child in traces.children(span) {
            assert_eq!(traces.parent(child), Some(span));
            assert_eq!(traces.spans()[child].depth, traces.spans()[span].depth + 1);
        }
    }
}

#[test]
fn a_recorded_case_has_its_logs_below_its_spans() {
    let Some(traces) = data::root_cause("2023-01-29_0850_NORMAL") else { return };
    let below = traces.logs().iter().filter(|log| log.span != NO_SPAN).count();
    assert!(traces.traces().len() > 50 && below > 1_000, "{} traces, {below} logs", traces.traces().len());
}

#[test]
fn what_no_kind_is_told_of_has_the_one_that_its_place_shows() {
    use crate::story::{CLIENT, SERVER, Story};
    let mut story = Story::new();
    let root = story.span((None, 0, "shop", "GET /"), (0, 90));
    let work = story.span((root, 0, "shop", "render"), (1, 89));
    let call = story.span((work, 0, "shop", "GET"), (2, 40));
    let stock = story.span((call, 0, "stock", "GET /stock"), (3, 39));
    story.told(stock, 0, "stock", "SELECT", (4, 38), |builder, span| {
        span.peer = builder.texts().number("stock-db");
        Vec::new()
    });
    let internal = story.span((work, 1, "shop", "GET"), (41, 80));
    story.span((internal, SERVER, "price", "GET /price"), (42, 79));
    story.end();
    let traces = story.traces();
    let told: Vec<_> =
        traces.spans().iter().map(|span| (traces.text(span.operation), span.kind, span.kind_inferred)).collect();
    assert_eq!(
        told,
        [
            ("GET /", SERVER, true),
            ("render", 0, false),
            ("GET", CLIENT, true),
            ("GET /stock", SERVER, true),
            ("SELECT", CLIENT, true),
            ("GET", 1, false),
            ("GET /price", SERVER, false),
        ]
    );
}

/// A moment of a real clock, to which the times of the tables are added.
const CLOCK_NS: u64 = 1_700_000_000_000_000_000;

/// A span as it was sent: id, id of the parent, kind, service, start and end since [`CLOCK_NS`] (none: not sent, 0).
type Sent = (u64, u64, SpanKind, &'static str, Option<u64>, Option<u64>);

/// A trace of what was sent; `events` are spans and the times of their events.
fn build(sent: &[Sent], events: &[(u64, u64)]) -> Traces {
    let mut builder = Builder::new();
    for (id, parent, kind, service, start_ns, end_ns) in sent {
        let time = |time_ns: &Option<u64>| time_ns.map_or(0, |time_ns| CLOCK_NS + time_ns);
        let span = Span {
            id: SpanId::from_u64(*id),
            parent_id: (*parent != 0).then(|| SpanId::from_u64(*parent)),
            kind: *kind as u8,
            service: builder.texts().number(service),
            start_ns: time(start_ns),
            end_ns: time(end_ns),
            ..Span::default()
        };
        builder.span(span, &[]);
    }
    for (span, time_ns) in events {
        let service = builder.texts().number(sent.iter().find(|sent| sent.0 == *span).unwrap().3);
        let (time_ns, site) = (CLOCK_NS + time_ns, builder.texts().number("event"));
        let log = Log { span: NO_SPAN, time_ns, service, severity: 0, site, source: LogSource::Event };
        builder.log(Some(SpanId::from_u64(*span)), log);
    }
    builder.finish_trace(TraceId([7; 16]), 1.0);
    builder.finish()
}

/// Spans as `id:start-end`, below each other by dots, `?` where a time is concluded, `!` for orphans.
fn draw(traces: &Traces) -> String {
    let draw = |span: &Span| {
        let (start_ns, end_ns) = (span.start_ns.saturating_sub(CLOCK_NS), span.end_ns.saturating_sub(CLOCK_NS));
        let (orphan, concluded) = (if span.is_orphan() { "!" } else { "" }, if span.timed { "" } else { "?" });
        format!("{}{}{orphan}:{start_ns}-{end_ns}{concluded}", ".".repeat(span.depth as usize), span.id.to_u64())
    };
    traces.spans().iter().map(draw).collect::<Vec<_>>().join(" ")
}

/// Shapes that real senders send. The sources of the shapes: Zipkin's recorded traces (shared spans, no times, no
/// durations), Kong's (no durations, ids that repeat), OpenTelemetry's batch exporters (anything may be missing).
#[test]
fn every_shape_that_real_senders_send_has_a_place_and_a_time() {
    use SpanKind::{Client, Consumer, Internal, Producer, Server};
    let (at, no) = (Some::<u64>, None::<u64>);
    let root = (1, 0, Server, "a", at(0), at(100));
    // What it shows, the spans, the events, what becomes of them.
    type Case = (&'static str, Vec<Sent>, Vec<(u64, u64)>, &'static str);
    let cases: Vec<Case> = vec![
        ("nothing", vec![], vec![], ""),
        (
            "an orphan and two roots",
            vec![(4, 9, Server, "b", at(30), at(40)), (2, 0, Server, "a", at(50), at(60)), root],
            vec![],
            "1:0-100 4!:30-40 2:50-60",
        ),
        (
            "a cycle",
            vec![(2, 3, Internal, "a", at(20), at(30)), (3, 2, Internal, "a", at(10), at(40))],
            vec![],
            "3!:10-40 .2:20-30",
        ),
        ("the same span twice", vec![root, root], vec![], "1:0-100"),
        (
            "one id, two spans that are not two sides of a call",
            vec![
                root,
                (2, 1, Internal, "a", at(10), at(30)),
                (2, 1, Internal, "a", at(40), at(90)),
                (3, 2, Internal, "a", at(50), at(60)),
            ],
            vec![],
            "1:0-100 .2:10-30 .2:40-90 ..3:50-60",
        ),
        (
            "a shared span: its server half says nothing of its times",
            vec![
                root,
                (2, 1, Client, "a", at(10), at(50)),
                (2, 1, Server, "b", no, no),
                (3, 2, Client, "b", at(20), at(30)),
            ],
            vec![],
            "1:0-100 .2:10-50 ..2:20-30? ...3:20-30",
        ),
        (
            "a server half without times and without anything below it is as long as the call",
            vec![root, (2, 1, Client, "a", at(10), at(50)), (2, 1, Server, "b", no, no)],
            vec![],
            "1:0-100 .2:10-50 ..2:10-50?",
        ),
        (
            "times from children, then upward to a parent without any",
            vec![
                (1, 0, Internal, "a", no, no),
                (2, 1, Internal, "a", no, no),
                (3, 2, Internal, "a", at(10), at(20)),
                (4, 2, Internal, "a", at(30), at(60)),
            ],
            vec![],
            "1:10-60? .2:10-60? ..3:10-20 ..4:30-60",
        ),
        (
            "times from the parent: it began then, and nothing says how long it took",
            vec![root, (2, 1, Internal, "a", no, no)],
            vec![],
            "1:0-100 .2:0-0?",
        ),
        (
            "times from events, as long as the parent ran",
            vec![root, (2, 1, Client, "a", no, no), (3, 1, Client, "a", at(20), no)],
            vec![(2, 40), (2, 70), (3, 30), (3, 900)],
            "1:0-100 .3:20-100? .2:40-70?",
        ),
        ("an end and no start", vec![root, (2, 1, Internal, "a", no, at(60))], vec![], "1:0-100 .2:0-60?"),
        ("an end before the start", vec![root, (2, 1, Internal, "a", at(50), at(40))], vec![], "1:0-100 .2:50-50?"),
        (
            "no duration although what it waited for took time",
            vec![root, (2, 1, Internal, "a", at(10), at(10)), (3, 2, Server, "b", at(20), at(40))],
            vec![],
            "1:0-100 .2:10-40? ..3:20-40",
        ),
        (
            "no duration, and nobody waited for what came later",
            vec![root, (2, 1, Producer, "a", at(10), at(10)), (3, 2, Consumer, "b", at(20), at(40))],
            vec![],
            "1:0-100 .2:10-10 ..3:20-40",
        ),
        (
            "a redirect: what is below it begins after its parent's end",
            vec![root, (2, 1, Client, "a", at(110), at(110)), (3, 2, Server, "b", at(200), at(240))],
            vec![],
            "1:0-100 .2:110-110 ..3:200-240",
        ),
        (
            "children outside their parent stay where they were",
            vec![(1, 0, Client, "a", at(50), at(100)), (2, 1, Server, "b", at(20), at(120))],
            vec![],
            "1:50-100 .2:20-120",
        ),
        (
            "equal times: by id",
            vec![(3, 1, Internal, "a", at(0), at(100)), (2, 1, Internal, "a", at(0), at(100)), root],
            vec![],
            "1:0-100 .2:0-100 .3:0-100",
        ),
    ];
    for (name, sent, events, expected) in cases {
        assert_eq!(draw(&build(&sent, &events)), expected, "{name}");
        let backwards: Vec<Sent> = sent.iter().rev().copied().collect();
        assert_eq!(draw(&build(&backwards, &events)), expected, "{name}, sent backwards");
    }
}

#[test]
fn a_trace_may_begin_at_the_epoch() {
    let mut builder = Builder::new();
    for (id, parent, start_ns, end_ns) in [(1, 0, 0, 100), (2, 1, 0, 0), (3, 1, 10, 20)] {
        let (id, parent_id) = (SpanId::from_u64(id), (parent != 0).then(|| SpanId::from_u64(parent)));
        builder.span(Span { id, parent_id, start_ns, end_ns, ..Span::default() }, &[]);
    }
    builder.finish_trace(TraceId([7; 16]), 1.0);
    let traces = builder.finish();
    let times: Vec<_> = traces.spans().iter().map(|span| (span.start_ns, span.end_ns, span.timed)).collect();
    assert_eq!(times, [(0, 100, true), (0, 0, true), (10, 20, true)]);
}

#[test]
fn recorded_traces_stand_in_one_tree_with_sound_times() {
    // Name, spans, roots, spans with a concluded time.
    let files = [
        ("ascend", 8, 1),
        ("messaging-kafka", 28, 1),
        ("skew", 4, 1),
        ("smartthings-mobile-web-install", 957, 1),
        ("smartthings-oauth-authorization", 172, 1),
        ("yelp", 16, 1),
    ];
    for (name, spans, roots) in files {
        let Some(traces) = data::records(&format!("traces/otlp/{name}.json")) else { continue };
        let trace = &traces.traces()[0];
        assert_eq!((traces.spans().len(), traces.roots(trace).count()), (spans, roots), "{name}");
        for span in traces.spans() {
            assert!(span.start_ns > 0 && span.end_ns >= span.start_ns, "{name}");
        }
    }
}

/// What a span is, without numbers that depend on the order in which texts came.
fn told(traces: &Traces) -> Vec<String> {
    let text = |text| traces.text(text);
    let span = |(number, span): (usize, &Span)| {
        let attributes: Vec<_> = traces
            .attributes(number)
            .iter()
            .map(|one| (text(one.key), one.value.traceql(traces.texts()).to_string()))
            .collect();
        let place = (span.parent, span.depth, span.descendants, span.start_ns, span.end_ns, span.timed);
        let names = (text(span.service), text(span.operation));
        format!("{:?} {:?} {place:?} {} {names:?} {:?} {attributes:?}", span.id, span.parent_id, span.kind, span.status)
    };
    let spans = traces.spans().iter().enumerate().map(span);
    let log = |log: &Log| format!("{} {} {} {}", log.span, log.time_ns, text(log.service), text(log.site));
    spans.chain(traces.logs().iter().map(log)).chain(traces.links().iter().map(|link| format!("{link:?}"))).collect()
}

/// What a builder is given: spans with attributes, logs, links, in any order.
#[derive(Debug, Clone)]
enum Given {
    Span { id: u64, parent: u64, kind: u8, service: u8, start_ns: u64, end_ns: u64, failed: bool, attributes: u8 },
    Log { span: u64, time_ns: u64, service: u8, site: u8 },
    Link { from: u64, to: u64 },
}

fn given() -> impl Strategy<Value = Given> {
    // Few ids and few times, so that they repeat, are missing, and lie in the wrong order.
    let time = || prop_oneof![2 => Just(0), 8 => CLOCK_NS..CLOCK_NS + 12];
    let span = ((1..9u64, 0..10u64, 0..6u8, 0..3u8), (time(), time()), (any::<bool>(), 0..3u8));
    let span = span.prop_map(|((id, parent, kind, service), (start_ns, end_ns), (failed, attributes))| Given::Span {
        id,
        parent,
        kind,
        service,
        start_ns,
        end_ns,
        failed,
        attributes,
    });
    let log = (0..9u64, time(), 0..3u8, 0..3u8);
    let log = log.prop_map(|(span, time_ns, service, site)| Given::Log { span, time_ns, service, site });
    let link = (1..9u64, 0..9u64).prop_map(|(from, to)| Given::Link { from, to });
    prop_oneof![8 => span, 2 => log, 1 => link]
}

fn build_given(given: &[Given]) -> Traces {
    let mut builder = Builder::new();
    for given in given {
        match given {
            Given::Span { id, parent, kind, service, start_ns, end_ns, failed, attributes } => {
                let texts = builder.texts();
                let value = texts.number(if *failed { "yes" } else { "no" });
                let attributes: Vec<_> = (0..*attributes)
                    .map(|key| Attribute { key: texts.number(&format!("key {key}")), value: Scalar::Text(value) })
                    .collect();
                let span = Span {
                    id: SpanId::from_u64(*id),
                    parent_id: (*parent != 0).then(|| SpanId::from_u64(*parent)),
                    kind: *kind,
                    service: texts.number(&format!("service {service}")),
                    operation: texts.number(&format!("operation {kind}")),
                    start_ns: *start_ns,
                    end_ns: *end_ns,
                    status: if *failed { Status::Error } else { Status::Unset },
                    ..Span::default()
                };
                builder.span(span, &attributes);
            }
            Given::Log { span, time_ns, service, site } => {
                let texts = builder.texts();
                let (service, site) =
                    (texts.number(&format!("service {service}")), texts.number(&format!("site {site}")));
                let log =
                    Log { span: NO_SPAN, time_ns: *time_ns, service, severity: 0, site, source: LogSource::Record };
                builder.log((*span != 0).then(|| SpanId::from_u64(*span)), log);
            }
            Given::Link { from, to } => {
                builder.link(SpanId::from_u64(*from), TraceId([7; 16]), SpanId::from_u64(*to));
            }
        }
    }
    builder.finish_trace(TraceId([7; 16]), 1.0);
    builder.finish()
}

proptest! {
    #[test]
    fn any_order_gives_the_same_traces(
        (sent, shuffled) in prop::collection::vec(given(), 0..24)
            .prop_flat_map(|given| (Just(given.clone()), Just(given).prop_shuffle())),
    ) {
        let traces = build_given(&sent);
        prop_assert_eq!(told(&traces), told(&build_given(&shuffled)));
        for (number, span) in traces.spans().iter().enumerate() {
            prop_assert!(span.end_ns >= span.start_ns, "ends after it began");
            prop_assert!(traces.parent(number).is_none_or(|parent| parent < number), "in preorder");
            let starts: Vec<_> = traces.children(number).map(|child| traces.spans()[child].start_ns).collect();
            prop_assert!(starts.is_sorted(), "siblings by start");
        }
    }
}

#[test]
fn some_of_many_traces_are_as_they_were() {
    let Some(all) = data::root_cause("2023-01-29_0850_NORMAL") else { return };
    let kept = all.subset(|number| number % 3 == 1);
    let originals: Vec<_> = all.traces().iter().skip(1).step_by(3).collect();
    assert_eq!(kept.traces().len(), originals.len());
    for (kept_trace, trace) in kept.traces().iter().zip(originals) {
        assert_eq!((kept_trace.id, kept_trace.spans().len()), (trace.id, trace.spans().len()));
        assert_eq!(kept.logs_of(kept_trace).len(), all.logs_of(trace).len());
        let parent = |traces: &tracewell_analysis::Traces, first: u32, span: usize| {
            traces.parent(span).map(|parent| parent - first as usize)
        };
        for (mine, original) in kept_trace.spans().zip(trace.spans()) {
            assert_eq!(kept.spans()[mine].id, all.spans()[original].id);
            assert_eq!(parent(&kept, kept_trace.first, mine), parent(&all, trace.first, original));
            assert_eq!(kept.attributes(mine), all.attributes(original));
        }
    }
}
