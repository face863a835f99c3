//! Where the time goes, and what changed: figures that can be worked out by hand, and laws for all others.

use proptest::prelude::*;
use tracewell_analysis::blame::{self, BlameDiff, Change, Changes, Direction, Share, Shares, Standing, Subject};
use tracewell_analysis::{Span, Traces};

use crate::data;
use crate::story::{At, CLIENT, MS, SERVER, Story};

/// A request of `gateway` that makes `calls` calls of `takes` ms to `stock`, with 1 ms there and 2 ms back, each of which
/// runs a statement for the rest of its time; 5 ms of its own.
fn request(story: &mut Story, root: &str, calls: u64, takes: u64) {
    let root = story.span((None, SERVER, "gateway", root), (0, 5 + calls * takes));
    for call in 0..calls {
        let (start, end) = (5 + call * takes, 5 + (call + 1) * takes);
        let client = story.span((root, CLIENT, "gateway", "GET /stock"), (start, end));
        let server = story.span((client, SERVER, "stock", "GET /stock"), (start + 1, end - 2));
        story.told(server, CLIENT, "stock", "SELECT stock", (start + 2, end - 2), |builder, span| {
            span.statement = builder.texts().number("SELECT n FROM stock");
            span.peer = builder.texts().number("stock-db");
            Vec::new()
        });
    }
}

fn set(requests: &[(&str, u64, u64)]) -> Traces {
    let mut story = Story::new();
    for (root, calls, takes) in requests {
        request(&mut story, root, *calls, *takes);
        story.end();
    }
    story.traces()
}

fn operation(service: &str, operation: &str) -> Subject {
    Subject::Operation { service: service.into(), operation: operation.into() }
}

fn hop(direction: Option<Direction>) -> Subject {
    Subject::Edge { caller: "gateway".into(), callee: "stock".into(), direction }
}

fn figures(shares: &Shares) -> Vec<(Subject, f64, f64)> {
    shares.listed.iter().map(|share| (share.subject.clone(), share.mean_ns / 1e6, share.calls)).collect()
}

#[test]
fn every_millisecond_has_its_place() {
    let blame = blame::of(&set(&[("GET /page", 2, 10), ("GET /page", 2, 10)]));
    assert_eq!((blame.requests.traces, blame.requests.mean_ns, blame.requests.p99_ns), (2, 25e6, 25 * MS));
    assert_eq!(
        figures(&blame.places),
        [
            (operation("stock", "SELECT stock"), 12.0, 2.0),
            (operation("gateway", "GET /page"), 5.0, 1.0),
            (hop(Some(Direction::Response)), 4.0, 2.0),
            (hop(Some(Direction::Request)), 2.0, 2.0),
            (operation("stock", "GET /stock"), 2.0, 2.0),
        ]
    );
    let service = |name: &str| Subject::Service { service: name.into() };
    assert_eq!(figures(&blame.services), [(service("stock"), 14.0, 2.0), (service("gateway"), 5.0, 1.0)]);
    let database = Subject::Edge { caller: "stock".into(), callee: "stock-db".into(), direction: None };
    assert_eq!(figures(&blame.edges), [(database, 12.0, 2.0), (hop(None), 6.0, 2.0)]);
    let statement = Subject::Statement { service: "stock".into(), statement: "SELECT n FROM stock".into() };
    assert_eq!(figures(&blame.statements), [(statement, 12.0, 2.0)]);

    let paths: Vec<(Option<usize>, &str, &str, f64, f64)> = blame
        .flame
        .iter()
        .map(|node| {
            (node.parent, node.service.as_str(), node.operation.as_str(), node.self_ns / 1e6, node.total_ns / 1e6)
        })
        .collect();
    assert_eq!(
        paths,
        [
            (None, "gateway", "GET /page", 5.0, 25.0),
            (Some(0), "gateway", "GET /stock", 6.0, 20.0),
            (Some(1), "stock", "GET /stock", 2.0, 14.0),
            (Some(2), "stock", "SELECT stock", 12.0, 12.0),
        ]
    );
    assert_eq!(blame.flame[1].calls, 2.0);
}

#[test]
fn the_answer_is_json_as_it_is() {
    let blame = blame::of(&set(&[("GET /page", 1, 10), ("GET /page", 2, 10)]));
    let json = serde_json::to_value(&blame).unwrap();
    assert_eq!(json["places"]["listed"][0]["operation"], "SELECT stock");
    assert_eq!(json["places"]["listed"][0]["service"], "stock");
    assert_eq!(json["places"]["listed"][2]["direction"], "response");
    assert_eq!(json["edges"]["listed"][1]["caller"], "gateway");
    assert!(json["requests"]["interval"]["low_ns"].as_f64().unwrap() < 20e6);
    assert_eq!(json["flame"][0].get("parent"), None);
}

#[test]
fn a_sampled_trace_counts_as_often_as_it_stands_for() {
    let mut story = Story::new();
    request(&mut story, "GET /page", 1, 10);
    story.end_for(3.0);
    request(&mut story, "GET /page", 4, 10);
    story.end();
    let weighted = blame::of(&story.traces());
    let page = ("GET /page", 1, 10);
    let plain = blame::of(&set(&[page, page, page, ("GET /page", 4, 10)]));
    assert_eq!(figures(&weighted.places), figures(&plain.places));
    assert_eq!(weighted.requests.p50_ns, plain.requests.p50_ns);
    assert_eq!((weighted.requests.weight, weighted.requests.traces), (4.0, 2));
}

fn find<'a>(changes: &'a Changes, subject: &Subject) -> &'a Change {
    changes.listed.iter().find(|change| change.subject == *subject).unwrap()
}

fn parts(change: &Change) -> [f64; 3] {
    [change.mix_ns, change.calls_ns, change.per_call_ns].map(|part| (part / 1e3).round() / 1e3)
}

#[test]
fn a_change_is_calls_or_time_per_call_or_mix() {
    let select = operation("stock", "SELECT stock");
    let base = [("GET /page", 2, 10); 4];
    let of = |now: &[(&str, u64, u64)]| blame::diff(&set(&base), &set(now));

    let more_calls = of(&[("GET /page", 6, 10); 4]);
    assert_eq!(more_calls.change_ns, 40e6);
    assert_eq!(parts(find(&more_calls.places, &select)), [0.0, 24.0, 0.0]);
    assert_eq!(more_calls.places.listed[0].subject, select, "the largest first");

    let longer_calls = of(&[("GET /page", 2, 40); 4]);
    let change = find(&longer_calls.places, &select);
    assert_eq!(parts(change), [0.0, 0.0, 60.0]);
    assert_eq!(
        change.sentence,
        "SELECT stock in stock: +60 ms per request, 36 ms instead of 6.0 ms each (100 % of the change)"
    );
    assert_eq!(parts(find(&longer_calls.places, &hop(Some(Direction::Request)))), [0.0; 3]);

    let both = of(&[("GET /page", 4, 14); 4]);
    assert_eq!(parts(find(&both.places, &select)), [0.0, 16.0, 12.0], "(4-2)·(6+10)/2 and (10-6)·(2+4)/2");

    // The same kinds of requests as before, in other shares.
    let [light, heavy] = [("GET /light", 1, 10), ("GET /heavy", 8, 10)];
    let mixed = blame::diff(&set(&[light, light, light, heavy]), &set(&[light, heavy, heavy, heavy]));
    assert_eq!((mixed.change_ns, mixed.mix_ns), (35e6, 35e6));
    assert!(mixed.places.listed.iter().all(|change| change.beyond_mix_ns().abs() < 1.0));
    let names: Vec<&str> = mixed.roots.iter().map(|root| root.operation.as_str()).collect();
    assert_eq!(names, ["GET /heavy", "GET /light"]);
}

#[test]
fn what_is_new_or_gone_is_said() {
    let now = {
        let mut story = Story::new();
        for _ in 0..4 {
            let root = story.span((None, SERVER, "gateway", "GET /page"), (0, 50));
            story.span((root, 1, "gateway", "render"), (0, 45));
            story.end();
        }
        story.traces()
    };
    let diff = blame::diff(&set(&[("GET /page", 2, 10); 4]), &now);
    let render = find(&diff.places, &operation("gateway", "render"));
    assert_eq!((render.standing, parts(render)), (Standing::New, [0.0, 45.0, 0.0]));
    assert_eq!(render.sentence, "render in gateway is new: 45 ms per request (1 × 45 ms)");
    let select = find(&diff.places, &operation("stock", "SELECT stock"));
    assert_eq!((select.standing, parts(select)), (Standing::Gone, [0.0, -12.0, 0.0]));
}

#[test]
fn the_way_of_a_slow_hop_is_told() {
    let slow = |to: u64, back: u64| {
        let mut story = Story::new();
        for trace in 0..10 {
            let root = story.span((None, SERVER, "gateway", "GET /page"), (0, 20 + to + back));
            let client = story.span((root, CLIENT, "gateway", "GET /stock"), (2, 12 + to + back));
            story.span((client, SERVER, "stock", "GET /stock"), (3 + to, 11 + to - trace % 2));
            story.end();
        }
        story.traces()
    };
    for (direction, to, back) in [(Direction::Request, 400, 0), (Direction::Response, 0, 400)] {
        let diff = blame::diff(&slow(0, 0), &slow(to, back));
        let first = &diff.places.listed[0];
        assert_eq!(first.subject, hop(Some(direction)));
        assert!(first.significant && (first.per_call_ns - 400e6).abs() < 1e3, "{}", first.sentence);
    }
}

#[test]
fn few_traces_are_no_proof() {
    let one = blame::diff(&set(&[("GET /page", 2, 10)]), &set(&[("GET /page", 2, 40)]));
    assert!(one.interval.is_none() && one.places.listed.iter().all(|change| !change.significant));
    assert!(one.places.listed[0].sentence.ends_with("; it may be chance"));
    let nothing = blame::diff(&Story::new().traces(), &Story::new().traces());
    assert_eq!((nothing.change_ns, nothing.places.listed.len(), nothing.flame.len()), (0.0, 0, 0));
    // Against nothing everything is mix: there is nothing to compare with.
    let against_nothing = blame::diff(&Story::new().traces(), &set(&[("GET /page", 2, 10); 3]));
    assert_eq!(against_nothing.change_ns, against_nothing.mix_ns);
}

#[test]
fn intervals_cover_the_truth_as_often_as_they_say() {
    // xorshift64*, Vigna 2016.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut uniform = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut draw = |mean_ms: f64| {
        let mut story = Story::new();
        for _ in 0..40 {
            // Exponential times of two kinds of calls, of which there are none to three.
            let calls = (uniform() * 4.0) as u64;
            let takes = 4 + (-(1.0 - uniform()).ln() * mean_ms) as u64;
            request(&mut story, "GET /page", calls, takes);
            story.end();
        }
        story.traces()
    };
    let (mut covered, mut alarms, rounds) = (0, 0, 300);
    for _ in 0..rounds {
        let diff = blame::diff(&draw(50.0), &draw(50.0));
        covered += usize::from(!diff.interval.unwrap().excludes_zero());
        alarms += usize::from(find(&diff.places, &operation("stock", "SELECT stock")).significant);
    }
    assert!(
        covered * 100 >= rounds * 92 && alarms * 100 <= rounds * 8,
        "{covered} covered, {alarms} alarms of {rounds}"
    );
}

#[test]
fn the_graph_stays_readable() {
    let mut story = Story::new();
    let root = story.span((None, SERVER, "batch", "run"), (0, 30_000));
    story.span((root, 1, "batch", "large"), (20_000, 29_000));
    for item in 0..10_000 {
        story.span((root, 1, "batch", &format!("item {item}")), (2 * item, 2 * item + 1));
    }
    story.end();
    let blame = blame::of(&story.traces());
    let names: Vec<&str> = blame.flame.iter().map(|node| node.operation.as_str()).collect();
    assert_eq!(names, ["run", "large", "other"]);
    assert_eq!(blame.flame[2].total_ns, 1e4 * 1e6 - 0.0);
    assert_eq!((blame.places.listed.len(), blame.places.other), (200, 9_802));
    adds_up(&blame.places, blame.requests.mean_ns);
}

fn adds_up(shares: &Shares, mean_ns: f64) {
    let sum: f64 = shares.listed.iter().map(|share: &Share| share.mean_ns).sum::<f64>() + shares.other_ns;
    assert!((sum - mean_ns).abs() <= 1e-9 * mean_ns.max(1.0), "{sum} of {mean_ns}");
}

/// The parts of every change sum to it, and those of the places to that of the mean request.
fn diff_adds_up(diff: &BlameDiff) {
    let scale = diff.before.mean_ns + diff.now.mean_ns + 1.0;
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * scale;
    let sum = |of: fn(&Change) -> f64| diff.places.listed.iter().map(of).sum::<f64>();
    assert!(near(sum(|change| change.change_ns) + diff.places.other_ns, diff.change_ns));
    if diff.places.other == 0 {
        assert!(near(sum(|change| change.mix_ns), diff.mix_ns));
        let beyond = diff.change_ns - diff.mix_ns;
        assert!(near(sum(Change::beyond_mix_ns), beyond));
        if beyond.abs() > 1e-3 * scale {
            assert!((sum(|change| change.share) - 1.0).abs() < 1e-6);
        }
    }
    for change in &diff.places.listed {
        assert!(near(change.mix_ns + change.calls_ns + change.per_call_ns, change.change_ns));
        assert!(near(change.now.mean_ns - change.before.mean_ns, change.change_ns), "{change:?}");
    }
    let roots: f64 = diff.roots.iter().map(|root| root.mix_ns + root.within_ns).sum();
    assert!(near(roots, diff.change_ns));
}

#[test]
fn the_changes_of_recorded_faults_add_up() {
    for (normal, fault, service) in [
        ("2022-08-23_1700_NORMAL", "2022-08-23_1430_productcatalogservice_network_delay", "productcatalogservice"),
        ("2023-01-30_1139_NORMAL", "2023-01-30_1151_ts-contacts-service_network_delay", "ts-contacts-service"),
    ] {
        let (Some(normal), Some(now)) = (data::root_cause(normal), data::root_cause(fault)) else { return };
        let blame = blame::of(&now);
        adds_up(&blame.places, blame.requests.mean_ns);
        let roots: f64 = blame.flame.iter().filter(|node| node.parent.is_none()).map(|node| node.total_ns).sum();
        assert!((roots - blame.requests.mean_ns).abs() <= 1e-9 * roots);
        let diff = blame::diff(&normal, &now);
        diff_adds_up(&diff);
        let touches = |subject: &Subject| match subject {
            Subject::Edge { caller, callee, .. } => caller == service || callee == service,
            Subject::Service { service: of } | Subject::Operation { service: of, .. } => of == service,
            Subject::Statement { service: of, .. } => of == service,
        };
        let first = diff.edges.listed.iter().position(|change| touches(&change.subject) && change.significant);
        assert!(first.is_some_and(|place| place < 3), "{fault}: {:#?}", &diff.edges.listed[..3]);
    }
}

/// Sets of traces of any shape.
fn any_set() -> impl Strategy<Value = Traces> {
    let span = (any::<prop::sample::Index>(), 0..6_u8, 0..3_usize, 0..4_usize, 0..200_u64, 0..100_u64);
    let trace = (prop::collection::vec(span, 1..12), 1..4_u8);
    prop::collection::vec(trace, 0..8).prop_map(|traces| {
        let mut story = Story::new();
        for (spans, weight) in traces {
            let mut ids: Vec<At> = vec![None];
            for (parent, kind, service, operation, start, takes) in spans {
                let below = ids[parent.index(ids.len())];
                let (service, operation) = (["a", "b", "c"][service], ["w", "x", "y", "z"][operation]);
                let id = story.told(below, kind, service, operation, (start, start + takes), |builder, span| {
                    span.statement = builder.texts().number(["", "", "s"][span.kind as usize % 3]);
                    Vec::new()
                });
                ids.push(id);
            }
            story.end_for(f64::from(weight));
        }
        story.traces()
    })
}

proptest! {
    #[test]
    fn all_time_has_a_place(traces in any_set()) {
        let blame = blame::of(&traces);
        adds_up(&blame.places, blame.requests.mean_ns);
        let roots: f64 = blame.flame.iter().filter(|node| node.parent.is_none()).map(|node| node.total_ns).sum();
        prop_assert!((roots - blame.requests.mean_ns).abs() <= 1e-9 * roots.max(1.0));
        for (place, node) in blame.flame.iter().enumerate() {
            let below = blame.flame.iter().filter(|child| child.parent == Some(place)).map(|child| child.total_ns);
            prop_assert!((node.self_ns + below.sum::<f64>() - node.total_ns).abs() <= 1e-6);
            prop_assert!(node.parent.is_none_or(|parent| parent < place));
        }
        let longest = traces.spans().iter().map(Span::duration_ns).max().unwrap_or(0);
        prop_assert!(blame.places.listed.iter().all(|share| share.p99_ns <= longest));
    }

    #[test]
    fn parts_of_changes_add_up(before in any_set(), now in any_set()) {
        let diff = blame::diff(&before, &now);
        diff_adds_up(&diff);
        let back = blame::diff(&now, &before);
        prop_assert!((diff.mix_ns + back.mix_ns).abs() <= 1e-9 * (diff.before.mean_ns + diff.now.mean_ns + 1.0));
    }

    #[test]
    fn nothing_changes_between_a_set_and_itself(set in any_set()) {
        let diff = blame::diff(&set, &set);
        prop_assert_eq!(diff.change_ns, 0.0);
        prop_assert!(diff.places.listed.iter().all(|change| change.change_ns == 0.0 && !change.significant));
    }
}
