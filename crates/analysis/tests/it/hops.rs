//! The hop split, and what it says of a window against another: on shops made up here, and on recorded faults.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tracewell_analysis::hops::{
    self, Direction, EdgeSamples, Grouping, HopChanges, Location, LocationKind, Options, Part, Sample, Seen, Verdict,
};
use tracewell_analysis::{Attribute, Builder, Scalar, Span, Traces};
use tracewell_model::{SpanId, SpanKind, TraceId};

use crate::data;

const MS: i64 = 1_000_000;

fn trace_id(number: usize) -> TraceId {
    TraceId((number as u128).to_be_bytes())
}

/// A shop: who calls whom, one after the other, and how long everything takes (milliseconds).
struct Shop {
    calls: Vec<(&'static str, &'static str)>,
    zones: BTreeMap<&'static str, &'static str>,
    /// Fault: changes (request, own, response) of a call before its trace is built.
    fault: fn(&str, &str, usize) -> (i64, i64, i64),
    /// How far a service's clock is ahead, in milliseconds.
    ahead: fn(&str) -> i64,
}

impl Shop {
    fn new(calls: &[(&'static str, &'static str)]) -> Self {
        Self { calls: calls.to_vec(), zones: BTreeMap::new(), fault: |_, _, _| (0, 0, 0), ahead: |_| 0 }
    }

    fn traces(&self, count: usize) -> Traces {
        let mut builder = Builder::new();
        let mut resources = BTreeMap::new();
        for (service, zone) in &self.zones {
            let texts = builder.texts();
            let (key, value) = (texts.number("cloud.availability_zone"), Scalar::Text(texts.number(zone)));
            resources.insert(*service, builder.resource(vec![Attribute { key, value }]));
        }
        for number in 0..count {
            let mut trace = Trace { shop: self, builder: &mut builder, resources: &resources, number, spans: 0 };
            let root = self.calls[0].0;
            trace.serve("", root, 1_000_000 * MS, None, 0);
            builder.finish_trace(trace_id(number + 1), 1.0);
        }
        builder.finish()
    }
}

struct Trace<'a> {
    shop: &'a Shop,
    builder: &'a mut Builder,
    resources: &'a BTreeMap<&'static str, u32>,
    number: usize,
    spans: u64,
}

impl Trace<'_> {
    /// A little noise that is the same in every run: up to 1.6 ms.
    fn noise(&mut self) -> i64 {
        let mut bits = (self.number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (self.spans << 17);
        bits ^= bits >> 31;
        bits = bits.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (bits >> 40) as i64 % (16 * MS / 10)
    }

    fn span(&mut self, service: &str, kind: SpanKind, parent: Option<SpanId>, start: i64, end: i64, id: u64) {
        let ahead = (self.shop.ahead)(service) * MS;
        let resource = self.resources.get(service).copied().unwrap_or(0);
        let texts = self.builder.texts();
        let (service, operation) = (texts.number(service), texts.number("work"));
        self.builder.span(
            Span {
                id: SpanId::from_u64(id),
                parent_id: parent,
                service,
                operation,
                kind: kind as u8,
                start_ns: (start + ahead) as u64,
                end_ns: (end + ahead) as u64,
                resource,
                ..Span::default()
            },
            &[],
        );
    }

    /// Serves a request from `start` on; returns when it is done.
    fn serve(&mut self, caller: &str, service: &'static str, start: i64, parent: Option<SpanId>, depth: usize) -> i64 {
        self.spans += 1;
        let id = self.spans;
        let (_, own, _) = (self.shop.fault)(caller, service, self.number);
        let mut now = start + 2 * MS + self.noise() + own * MS;
        let called: Vec<&'static str> =
            self.shop.calls.iter().filter(|(from, _)| *from == service).map(|(_, to)| *to).collect();
        for callee in called.into_iter().filter(|_| depth < 40) {
            self.spans += 1;
            let client = self.spans;
            let (request, _, response) = (self.shop.fault)(service, callee, self.number);
            let arrives = now + MS + self.noise() / 8 + request * MS;
            let done = self.serve(service, callee, arrives, Some(SpanId::from_u64(client)), depth + 1);
            let back = done + MS + self.noise() / 8 + response * MS;
            self.span(service, SpanKind::Client, Some(SpanId::from_u64(id)), now, back, client);
            now = back;
        }
        let end = now + MS;
        self.span(service, SpanKind::Server, parent, start, end, id);
        end
    }
}

const CHAIN: &[(&str, &str)] = &[
    ("gateway", "checkout"),
    ("gateway", "catalog"),
    ("checkout", "payment"),
    ("checkout", "logistics"),
    ("checkout", "catalog"),
    ("logistics", "warehouse"),
    ("logistics", "labels"),
    ("warehouse", "stock"),
];

fn against(shop: &Shop, fault: fn(&str, &str, usize) -> (i64, i64, i64)) -> HopChanges {
    let faulty = Shop { fault, calls: shop.calls.clone(), zones: shop.zones.clone(), ahead: shop.ahead };
    hops::changes(&shop.traces(60), &faulty.traces(60))
}

fn told(location: &Location) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    match location.kind {
        LocationKind::Link => format!("link {} → {}", text(&location.caller), text(&location.callee)),
        LocationKind::ServiceNetwork => format!("network of {}", text(&location.service)),
        LocationKind::Service => format!("service {}", text(&location.service)),
        LocationKind::Zone => {
            let zone = location.zone.as_ref().unwrap();
            format!("zone {} {} – {}", zone.attribute, zone.from, zone.to)
        }
    }
}

/// What is wrong, what is named for it, which way, and by how many milliseconds.
#[test]
fn each_kind_of_place_is_named() {
    type Case = (&'static str, fn(&str, &str, usize) -> (i64, i64, i64), &'static str, Option<Direction>, i64);
    let cases: &[Case] = &[
        (
            "congestion on the way there",
            |a, b, _| if (a, b) == ("logistics", "warehouse") { (400, 0, 0) } else { (0, 0, 0) },
            "link logistics → warehouse",
            Some(Direction::Request),
            400,
        ),
        (
            "congestion on the way back",
            |a, b, _| if (a, b) == ("logistics", "warehouse") { (0, 0, 400) } else { (0, 0, 0) },
            "link logistics → warehouse",
            Some(Direction::Response),
            400,
        ),
        (
            "congestion both ways",
            |a, b, _| if (a, b) == ("checkout", "payment") { (90, 0, 110) } else { (0, 0, 0) },
            "link checkout → payment",
            Some(Direction::Both),
            200,
        ),
        (
            "the network of a service that two others call",
            |_, b, _| if b == "catalog" { (0, 0, 100) } else { (0, 0, 0) },
            "network of catalog",
            Some(Direction::Response),
            100,
        ),
        (
            "the network of a service, its own calls included",
            |a, b, _| if a == "logistics" || b == "logistics" { (50, 0, 50) } else { (0, 0, 0) },
            "network of logistics",
            Some(Direction::Both),
            100,
        ),
        (
            "a slow service deep down: nobody above is blamed",
            |_, b, _| if b == "stock" { (0, 300, 0) } else { (0, 0, 0) },
            "service stock",
            None,
            300,
        ),
        (
            "a service that starves: its network is part of it",
            |_, b, _| if b == "catalog" { (40, 200, 0) } else { (0, 0, 0) },
            "service catalog",
            None,
            240,
        ),
        (
            "every tenth call loses a packet",
            |a, b, number| if (a, b) == ("checkout", "payment") && number % 5 == 0 { (200, 0, 0) } else { (0, 0, 0) },
            "link checkout → payment",
            Some(Direction::Request),
            40,
        ),
    ];
    let shop = Shop::new(CHAIN);
    for (name, fault, place, direction, milliseconds) in cases {
        let found = against(&shop, *fault);
        let told: Vec<String> = found.locations.iter().map(told).collect();
        assert_eq!(told, [*place], "{name}: {:#?}", found.locations);
        let location = &found.locations[0];
        assert_eq!(location.direction, *direction, "{name}");
        let off = (location.shift_ns - milliseconds * MS).abs();
        assert!(off < 3 * MS, "{name}: {} ms", location.shift_ns / MS);
    }
}

#[test]
fn a_zone_is_named_when_all_that_crosses_it_is_slow() {
    let mut shop = Shop::new(CHAIN);
    let zones = [
        ("gateway", "a"),
        ("checkout", "a"),
        ("payment", "b"),
        ("catalog", "a"),
        ("logistics", "b"),
        ("warehouse", "a"),
        ("labels", "b"),
        ("stock", "a"),
    ];
    shop.zones.extend(zones);
    let found = against(&shop, |a, b, _| {
        let in_b = |service: &str| matches!(service, "payment" | "logistics" | "labels");
        if a.is_empty() || in_b(a) == in_b(b) { (0, 0, 0) } else { (30, 0, 30) }
    });
    let told: Vec<String> = found.locations.iter().map(told).collect();
    assert_eq!(told, ["zone cloud.availability_zone a – b"], "{:#?}", found.locations);
    assert_eq!(found.locations[0].edges.len(), 3);
}

#[test]
fn equal_windows_and_small_shifts_name_nothing() {
    let shop = Shop::new(CHAIN);
    let same = hops::changes(&shop.traces(60), &shop.traces(60));
    assert!(same.changes.is_empty() && same.locations.is_empty(), "{:#?}", same.changes);
    assert_eq!((same.tested, same.not_enough), (9, 0));

    // 200 µs on every call: there is no doubt about it, and it does not matter.
    let edge = |shift: i64| {
        let values = |from: i64| Sample::from((0..2_000).map(|n| from + n * 100).collect::<Vec<i64>>());
        EdgeSamples {
            caller: "a".into(),
            callee: "b".into(),
            calls: 2_000,
            client: values(9 * MS),
            server: values(7 * MS),
            request: values(MS + shift),
            response: values(MS),
            network: values(2 * MS + shift),
            ..EdgeSamples::default()
        }
    };
    let found = hops::compare(&[edge(0)], &[edge(MS / 5)], &Options::default());
    assert!(found.changes.is_empty() && found.locations.is_empty());
    assert_eq!(found.small, 1);
}

#[test]
fn fewer_than_five_calls_are_not_enough() {
    let mut shop = Shop::new(&[("gateway", "catalog")]);
    let before = shop.traces(4);
    shop.fault = |_, _, _| (400, 0, 0);
    let found = hops::changes(&before, &shop.traces(4));
    assert!(found.changes.is_empty() && found.locations.is_empty());
    assert_eq!((found.tested, found.not_enough), (0, 2));
}

#[test]
fn a_rare_edge_is_compared_with_its_neighbours() {
    let usual = Shop::new(CHAIN).traces(40);
    let mut calls = CHAIN.to_vec();
    calls.push(("checkout", "vouchers"));
    let mut shop = Shop::new(&calls);
    shop.fault = |_, b, _| if b == "vouchers" { (0, 0, 700) } else { (0, 0, 0) };
    let found = hops::changes(&usual, &shop.traces(9));
    assert_eq!(found.locations.iter().map(told).collect::<Vec<_>>(), ["link checkout → vouchers"]);
    assert!(found.changes.iter().all(|change| change.change.borrowed == (change.callee == "vouchers")));
}

/// Clocks that are off do not hide a shift, and one that moves is not taken for the network.
#[test]
fn clocks_are_told_from_the_network() {
    let mut shop = Shop::new(CHAIN);
    shop.ahead = |service| if service == "warehouse" { 180 } else { 0 };
    let found = against(&shop, |a, b, _| if (a, b) == ("logistics", "warehouse") { (400, 0, 0) } else { (0, 0, 0) });
    assert_eq!(found.locations.iter().map(told).collect::<Vec<_>>(), ["link logistics → warehouse"]);
    assert_eq!(found.locations[0].direction, Some(Direction::Request));

    let before = Shop::new(CHAIN).traces(60);
    let found = hops::changes(&before, &shop.traces(60));
    assert!(found.locations.is_empty(), "{:#?}", found.locations);
    assert!(found.changes.iter().all(|change| change.change.verdict == Verdict::Clock));
    let edges: std::collections::BTreeSet<_> =
        found.changes.iter().map(|change| (change.caller.as_str(), change.callee.as_str())).collect();
    assert_eq!(edges.into_iter().collect::<Vec<_>>(), [("logistics", "warehouse"), ("warehouse", "stock")]);
}

#[test]
fn sketches_say_what_the_calls_say() {
    let shop = Shop::new(CHAIN);
    let mut faulty = Shop::new(CHAIN);
    faulty.fault = |a, b, _| if (a, b) == ("logistics", "warehouse") { (0, 0, 400) } else { (0, 0, 0) };
    let of = |traces: &Traces| -> Vec<EdgeSamples> {
        let edges = hops::edges(traces, &hops::split(traces), false);
        let sketched = edges.iter().map(|edge| {
            let sketches = hops::EdgeSketches {
                request: &edge.request,
                server: &edge.server,
                own: &edge.own,
                response: &edge.response,
                queue: &edge.queue,
            };
            let (caller, callee) = (edge.caller.clone(), edge.callee.clone());
            EdgeSamples { caller, callee, calls: edge.calls, ..EdgeSamples::of_sketches(&sketches) }
        });
        sketched.collect()
    };
    let found = hops::compare(&of(&shop.traces(60)), &of(&faulty.traces(60)), &Options::default());
    assert_eq!(found.locations.iter().map(told).collect::<Vec<_>>(), ["link logistics → warehouse"]);
    assert_eq!(found.locations[0].direction, Some(Direction::Response));
    assert!((found.locations[0].shift_ns - 400 * MS).abs() < 6 * MS, "{}", found.locations[0].shift_ns);
}

#[test]
fn waiting_for_a_connection_is_told_from_the_network() {
    let mut builder = Builder::new();
    let texts = builder.texts();
    let (a, b, wait) = (texts.number("a"), texts.number("b"), texts.number("http.getconn"));
    let span = |id: u64, parent: u64, service, kind: SpanKind, start: u64, end: u64| Span {
        id: SpanId::from_u64(id),
        parent_id: (parent > 0).then(|| SpanId::from_u64(parent)),
        service,
        kind: kind as u8,
        start_ns: 1_000 + start,
        end_ns: 1_000 + end,
        ..Span::default()
    };
    builder.span(span(1, 0, a, SpanKind::Client, 0, 100), &[]);
    builder.span(Span { operation: wait, ..span(2, 1, a, SpanKind::Internal, 0, 60) }, &[]);
    builder.span(span(3, 1, b, SpanKind::Server, 70, 95), &[]);
    builder.finish_trace(trace_id(1), 1.0);
    let traces = builder.finish();
    let calls = hops::split(&traces);
    assert_eq!((calls.len(), calls[0].client_queue_ns, calls[0].request_ns), (1, Some(60), Some(70)));
    let edges = hops::samples(&traces, &calls, Grouping::Services);
    assert_eq!((edges[0].request.quantile(0.5), edges[0].queue.quantile(0.5)), (Some(10), Some(60)));
}

#[test]
fn a_consumer_that_only_links_to_its_producer_has_waited_in_the_queue() {
    let mut builder = Builder::new();
    let texts = builder.texts();
    let (shop, mailer) = (texts.number("shop"), texts.number("mailer"));
    let sent =
        Span { id: SpanId::from_u64(7), service: shop, kind: 4, start_ns: 1_000, end_ns: 1_010, ..Span::default() };
    builder.span(sent, &[]);
    builder.finish_trace(trace_id(1), 1.0);
    let taken = Span { id: SpanId::from_u64(8), service: mailer, kind: 5, start_ns: 9_000, end_ns: 9_500, ..sent };
    builder.span(taken, &[]);
    builder.link(SpanId::from_u64(8), trace_id(1), SpanId::from_u64(7));
    builder.finish_trace(trace_id(2), 1.0);
    let traces = builder.finish();
    let call = hops::split(&traces).into_iter().find(|call| call.seen == Seen::Both).unwrap();
    assert_eq!((call.is_async, call.queue_ns, traces.text(call.caller)), (true, Some(8_000), "shop"));
}

proptest! {
    /// Wherever the clocks are, request + server + response is the client's duration, and the network does not
    /// know about clocks.
    #[test]
    fn parts_add_up_to_the_call(offset in -5_000i64..5_000, request in 0i64..90, own in 0i64..90, response in 0i64..90) {
        let mut builder = Builder::new();
        let texts = builder.texts();
        let (a, b) = (texts.number("a"), texts.number("b"));
        let start = 1_000_000u64;
        let server = start.wrapping_add_signed(request + offset);
        let client = Span {
            id: SpanId::from_u64(1), service: a, kind: 3, start_ns: start,
            end_ns: start.wrapping_add_signed(request + own + response), ..Span::default()
        };
        builder.span(client, &[]);
        let below = Span {
            id: SpanId::from_u64(2), parent_id: Some(client.id), service: b, kind: 2, start_ns: server,
            end_ns: server.wrapping_add_signed(own), ..Span::default()
        };
        builder.span(below, &[]);
        builder.finish_trace(trace_id(1), 1.0);
        let call = hops::split(&builder.finish())[0];
        prop_assert_eq!(call.request_ns, Some(request + offset));
        prop_assert_eq!(call.response_ns, Some(response - offset));
        prop_assert_eq!(call.network_ns(), Some(request + response));
        prop_assert_eq!(call.network_ns().unwrap() + call.server_ns.unwrap() as i64, call.client_ns.unwrap() as i64);
        prop_assert_eq!(call.is_skewed(), request + offset < 0 || response - offset < 0);
    }

    /// A window against itself in another order: nothing.
    #[test]
    fn nothing_changes_against_itself(values in prop::collection::vec(-1_000_000_000i64..1_000_000_000, 1..200)) {
        let edge = |values: Vec<i64>| EdgeSamples {
            caller: "a".into(), callee: "b".into(), calls: 9,
            request: values.clone().into(), response: values.clone().into(), network: values.into(),
            ..EdgeSamples::default()
        };
        let mut turned = values.clone();
        turned.reverse();
        let found = hops::compare(&[edge(values)], &[edge(turned)], &Options::default());
        prop_assert!(found.changes.is_empty());
    }
}

/// Traces, and the time before which one must begin to count.
type Until = (Traces, u64);

/// Fault-free traces of a day: the files that say so, else what of the day's cases began before the injection.
fn normal(day: &str, cases: &[serde_json::Value]) -> Vec<Until> {
    let names = std::fs::read_dir(data::path("root-cause").unwrap()).unwrap();
    let mut names: Vec<String> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let fault_free = names.iter().filter(|name| name.starts_with(day) && name.contains("NORMAL"));
    let load = |name: &str| data::root_cause(name.trim_end_matches(".csv.zst"));
    let found: Vec<Until> = fault_free.filter_map(|name| Some((load(name)?, u64::MAX))).collect();
    if !found.is_empty() {
        return found;
    }
    let of_day = cases.iter().filter(|case| case["case"].as_str().unwrap().starts_with(day));
    of_day.filter_map(|case| Some((load(case["case"].as_str()?)?, case["inject_unix_nano"].as_u64()?))).collect()
}

/// The edges of several sets of traces together.
fn gathered(sets: &[Until]) -> Vec<EdgeSamples> {
    let mut builder = Builder::new();
    for (traces, until) in sets {
        for trace in traces.traces() {
            let spans = traces.spans_of(trace);
            if spans.iter().any(|span| span.start_ns >= *until) {
                continue;
            }
            for span in spans {
                let texts = builder.texts();
                let mut number = |text| texts.number(traces.text(text));
                let (service, operation) = (number(span.service), number(span.operation));
                builder.span(Span { service, operation, resource: 0, ..*span }, &[]);
            }
            builder.finish_trace(trace.id, 1.0);
        }
    }
    let all = builder.finish();
    hops::samples(&all, &hops::split(&all), Grouping::Services)
}

#[test]
fn every_recorded_network_fault_names_an_edge_of_its_service() {
    let Some(labels) = data::bytes("root-cause/labels.jsonl") else { return };
    let cases: Vec<serde_json::Value> =
        String::from_utf8(labels).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut days: BTreeMap<String, Vec<EdgeSamples>> = BTreeMap::new();
    let (mut first, mut wrong) = (0, Vec::new());
    let network: Vec<_> = cases.iter().filter(|case| case["fault"] == "network_delay").collect();
    for case in &network {
        let name = case["case"].as_str().unwrap();
        let day = name[..10].to_owned();
        let before = days.entry(day.clone()).or_insert_with(|| gathered(&normal(&day, &cases)));
        let Some(now) = data::root_cause(name) else { return };
        let found = hops::compare(before, &gathered(&[(now, u64::MAX)]), &Options::default());
        let service = case["root_cause_service"].as_str().unwrap();
        let names_it = |location: &Location| {
            let edge = |edge: &hops::EdgeName| edge.caller == service || edge.callee == service;
            location.kind != LocationKind::Service && location.edges.iter().any(edge)
        };
        println!("{name}");
        for location in found.locations.iter().take(3) {
            println!(
                "    {:<58} {:>8} {:>7} ms  {:>3.0} %  q {:.0e}  {}+{}",
                told(location),
                location.direction.map_or("?".into(), |direction| format!("{direction:?}").to_lowercase()),
                location.shift_ns / MS,
                location.share * 100.0,
                location.q,
                location.samples.0,
                location.samples.1
            );
        }
        first += usize::from(found.locations.first().is_some_and(names_it));
        if !found.locations.first().is_some_and(names_it) {
            wrong.push(name.to_owned());
        }
    }
    println!("{first} of {} first", network.len());
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_real_trace_with_shared_spans_is_split() {
    let Some(traces) = data::records("traces/otlp/smartthings-mobile-web-install.json") else { return };
    let calls = hops::split(&traces);
    let both = calls.iter().filter(|call| call.seen == Seen::Both).count();
    assert!(both > 100, "{both} of {}", calls.len());
}

#[test]
fn parts_serialize_in_snake_case() {
    let shop = Shop::new(CHAIN);
    let found = against(&shop, |_, b, _| if b == "catalog" { (0, 0, 100) } else { (0, 0, 0) });
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["locations"][0]["kind"], "service_network");
    assert_eq!(json["changes"][0]["verdict"], "grew");
    assert!(
        [Part::Network, Part::Response]
            .iter()
            .any(|part| { json["changes"][0]["part"] == serde_json::to_value(part).unwrap() })
    );
}
