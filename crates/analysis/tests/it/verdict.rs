//! What is said of a trace and of a set: one thing goes wrong in a shop of five services, and it is named.

use proptest::prelude::*;
use tracewell_analysis::explain::{self, Explanation, Hops};
use tracewell_analysis::verdict::{Confidence, Direction, Kind, Verdict};
use tracewell_analysis::{Builder, Traces};

use crate::data;
use crate::story::{CLIENT, MS, SERVER, Story};

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// The statement of the last service takes 300 ms.
    Statement,
    /// Requests from checkout to payment are 300 ms on their way.
    WayThere,
    /// Answers from payment to checkout are 300 ms on their way.
    WayBack,
}

/// A request through gateway, checkout, payment and its database, a few milliseconds each; `jitter` is 0 to 3.
fn request(story: &mut Story, wrong: Wrong, jitter: u64) {
    let there = if wrong == Wrong::WayThere { 300 } else { 1 };
    let back = if wrong == Wrong::WayBack { 300 } else { 1 };
    let query = if wrong == Wrong::Statement { 300 } else { 4 + jitter };
    let served = there + 20;
    let answered = served + query + 4;
    let end = answered + back;
    let root = story.span((None, SERVER, "gateway", "GET /buy"), (0, end + 20));
    let call = story.span((root, CLIENT, "gateway", "POST /orders"), (5, end + 14));
    let checkout = story.span((call, SERVER, "checkout", "POST /orders"), (6, end + 12));
    let pay = story.span((checkout, CLIENT, "checkout", "POST /charges"), (19, end));
    let payment = story.span((pay, SERVER, "payment", "POST /charges"), (served, answered));
    story.told(payment, CLIENT, "payment", "SELECT cards", (served + 1, served + 1 + query), |builder, span| {
        span.statement = builder.texts().number("SELECT * FROM cards WHERE id = ?");
        span.peer = builder.texts().number("cards-db");
        Vec::new()
    });
    story.end();
}

fn requests(count: u64, wrong: Wrong) -> Traces {
    let mut story = Story::new();
    (0..count).for_each(|number| request(&mut story, wrong, number % 4));
    story.traces()
}

fn one(wrong: Wrong, like: u64) -> Explanation {
    explain::trace(&requests(1, wrong), 0, Some(&requests(like, Wrong::Nothing))).unwrap()
}

fn edge(verdict: &Verdict) -> Option<(&str, &str)> {
    verdict.edge.as_ref().map(|edge| (edge.caller.as_str(), edge.callee.as_str()))
}

#[test]
fn one_slow_trace_names_the_place_that_its_like_do_not_have() {
    let said = one(Wrong::Statement, 30);
    let verdict = &said.verdict;
    assert_eq!((verdict.kind, verdict.confidence), (Kind::SlowOperation, Confidence::High));
    assert_eq!((verdict.service.as_deref(), verdict.operation.as_deref()), (Some("payment"), Some("SELECT cards")));
    assert_eq!((verdict.statement.as_deref(), verdict.depth), (Some("SELECT * FROM cards WHERE id = ?"), Some(3)));
    assert!(verdict.sentence.contains("300 ms") && verdict.sentence.contains("is usual"), "{}", verdict.sentence);
    assert_eq!(said.ranking[0].service, "payment");
    let Hops::Calls(calls) = &said.hops else { panic!("one trace has calls") };
    let hop = calls.iter().find(|call| call.hop.caller == "checkout").expect("checkout calls payment");
    assert_eq!((hop.hop.request_ns, hop.hop.response_ns), (Some(2 * MS as i64), Some(MS as i64)));
    assert!(hop.caller_span.is_some() && hop.callee_span.is_some());
    let sum: u64 = said.critical_path.iter().map(|step| step.duration).sum();
    assert_eq!(sum, 346 * MS, "the path is as long as the root");

    for (wrong, direction) in [(Wrong::WayThere, Direction::Request), (Wrong::WayBack, Direction::Response)] {
        let said = one(wrong, 30);
        assert_eq!((said.verdict.kind, said.verdict.direction), (Kind::Network, Some(direction)), "{wrong:?}");
        assert_eq!(edge(&said.verdict), Some(("checkout", "payment")));
    }
}

#[test]
fn what_is_usual_is_not_called_slow_and_what_has_no_like_is_said_to_have_none() {
    let usual = one(Wrong::Nothing, 30).verdict;
    assert_eq!(usual.kind, Kind::Nothing, "{}", usual.sentence);
    // One of the three has the id of the trace in question, and counts as the same.
    let alone = one(Wrong::Statement, 3).verdict;
    assert_eq!((alone.kind, alone.confidence), (Kind::NotEnough, Confidence::Low));
    assert!(
        alone.sentence.contains("only 2 other requests") && alone.sentence.contains("SELECT cards"),
        "{}",
        alone.sentence
    );
    assert!(explain::trace(&requests(1, Wrong::Nothing), 1, None).is_none(), "there is no second trace");
}

#[test]
fn while_most_are_slow_the_fast_ones_tell_what_is_usual() {
    let mut like = requests(40, Wrong::Nothing);
    let mut story = Story::new();
    (0..80).for_each(|number| request(&mut story, Wrong::WayThere, number % 4));
    like.append(story.traces().subset(|number| number >= 40));
    let verdict = explain::trace(&requests(1, Wrong::WayThere), 0, Some(&like)).unwrap().verdict;
    assert_eq!((verdict.kind, verdict.direction), (Kind::Network, Some(Direction::Request)), "{}", verdict.sentence);
    assert!(verdict.sentence.ends_with("51 % of its like are about as slow."), "{}", verdict.sentence);
}

#[test]
fn one_trouble_among_several_is_named_by_its_place() {
    // The answers of the statement vary as much as the troubles take, and every third request suffers from another one.
    let mut story = Story::new();
    for number in 0..120 {
        let wrong = match number % 6 {
            0 => Wrong::WayThere,
            1 => Wrong::WayBack,
            _ => Wrong::Nothing,
        };
        request(&mut story, wrong, number * 37 % 300);
    }
    let traces = story.traces();
    for (number, direction) in [(30, Direction::Request), (31, Direction::Response)] {
        let verdict = explain::trace(&traces, number, None).unwrap().verdict;
        assert_eq!((verdict.kind, verdict.direction), (Kind::Network, Some(direction)), "{}", verdict.sentence);
        assert_eq!(edge(&verdict), Some(("checkout", "payment")));
        assert!(verdict.sentence.ends_with("of its like spend about as long there."), "{}", verdict.sentence);
    }
}

#[test]
fn a_set_against_another_names_what_changed() {
    let before = requests(40, Wrong::Nothing);
    let said = explain::set(&requests(40, Wrong::Statement), Some(&before));
    let verdict = &said.verdict;
    assert_eq!(verdict.kind, Kind::SlowOperation, "{}", verdict.sentence);
    assert_eq!(verdict.operation.as_deref(), Some("SELECT cards"));
    assert_eq!(verdict.statement.as_deref(), Some("SELECT * FROM cards WHERE id = ?"));
    let diff = said.diff.expect("two sets");
    let parts: f64 = diff.places.listed.iter().map(|change| change.change_ns).sum();
    assert!((parts + diff.places.other_ns - diff.change_ns).abs() < 1.0, "parts sum to the change");

    for (wrong, direction) in [(Wrong::WayThere, Direction::Request), (Wrong::WayBack, Direction::Response)] {
        let verdict = explain::set(&requests(40, wrong), Some(&before)).verdict;
        assert_eq!((verdict.kind, verdict.direction), (Kind::Network, Some(direction)), "{}", verdict.sentence);
        assert_eq!(edge(&verdict), Some(("checkout", "payment")));
    }
    assert_eq!(explain::set(&before, Some(&before)).verdict.kind, Kind::Nothing);
    assert_eq!(explain::set(&requests(3, Wrong::Statement), Some(&before)).verdict.kind, Kind::NotEnough);
    assert_eq!(explain::set(&Traces::default(), None).verdict.kind, Kind::NotEnough);
}

/// Requests to a list of products, of which some ask for the stock of each by itself. Products are told by their numbers.
fn lists(requests: u64, one_by_one: u64) -> Traces {
    let mut story = Story::new();
    for number in 0..requests {
        let root =
            story.span((None, SERVER, "inventory", &format!("GET /shops/{}/products", number + requests)), (0, 60));
        for row in 0..if number < one_by_one { 10 } else { 1 } {
            story.call(root, ("inventory", "stock"), "GET /stock", (5 + 5 * row, 9 + 5 * row));
        }
        story.end();
    }
    story.traces()
}

#[test]
fn only_what_did_not_occur_before_is_called_new() {
    let said = |before: (u64, u64), now: (u64, u64)| {
        explain::set(&lists(now.0, now.1), Some(&lists(before.0, before.1))).verdict
    };
    for (before, now) in [((30, 0), (40, 36)), ((6, 0), (6, 6)), ((400, 40), (400, 120))] {
        let verdict = said(before, now);
        assert_eq!(verdict.kind, Kind::NPlusOne, "{before:?}, {now:?}: {}", verdict.sentence);
        assert!(verdict.sentence.ends_with("it was not so before."), "{}", verdict.sentence);
    }
    // More than twice as often, but by accident; as often, under other names; seldom.
    for (before, now) in [((30, 4), (40, 12)), ((30, 29), (1, 1)), ((300, 0), (300, 2))] {
        let verdict = said(before, now);
        assert!(!verdict.sentence.contains("not so before"), "{before:?}, {now:?}: {}", verdict.sentence);
    }
}

/// A request that passes from each of eight services to the next, a millisecond each way; one of the ways may take long,
/// or the work of the last.
fn chain(story: &mut Story, (way_there, way_back, work): (u64, u64, u64)) {
    let names = ["edge", "shop", "cart", "stock", "price", "tax", "rates", "ledger"];
    let (mut below, mut start, mut end) = (None, 0, 100 + way_there + way_back + work);
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            let client = story.span((below, CLIENT, names[at - 1], "GET"), (start, end));
            let (there, back) = if at == 5 { (1 + way_there, 1 + way_back) } else { (1, 1) };
            (below, start, end) = (client, start + there, end - back);
        }
        below = story.span((below, SERVER, name, &format!("GET /{name}")), (start, end));
        (start, end) = (start + 2, end - 2);
    }
    story.end();
}

#[test]
fn with_nothing_to_compare_with_a_long_way_and_most_of_the_work_are_named() {
    let (price, tax) = ("price", "tax");
    for count in [1, 40] {
        let said = |what: (u64, u64, u64)| {
            let mut story = Story::new();
            (0..count).for_each(|_| chain(&mut story, what));
            let traces = story.traces();
            if count == 1 {
                explain::trace(&traces, 0, None).unwrap().verdict
            } else {
                explain::set(&traces, None).verdict
            }
        };
        for (what, direction) in [((300, 0, 0), Direction::Request), ((0, 300, 0), Direction::Response)] {
            let verdict = said(what);
            assert_eq!((verdict.kind, verdict.direction), (Kind::Network, Some(direction)), "{}", verdict.sentence);
            assert_eq!(edge(&verdict), Some((price, tax)));
            assert!(verdict.confidence < Confidence::High, "there is nothing to compare with");
        }
        let (slow, calm) = (said((0, 0, 900)), said((0, 0, 0)));
        if count == 1 {
            assert_eq!((slow.kind, calm.kind), (Kind::NotEnough, Kind::NotEnough), "{}", slow.sentence);
        } else {
            assert_eq!((slow.kind, slow.confidence), (Kind::SlowOperation, Confidence::Low), "{}", slow.sentence);
            assert!(slow.sentence.contains("cannot be told"), "{}", slow.sentence);
            assert_eq!(calm.kind, Kind::Nothing, "{}", calm.sentence);
        }
        assert!(slow.sentence.contains("ledger"), "{}", slow.sentence);
    }
}

/// Two halves of the same fault-free time.
#[test]
fn a_fault_free_time_has_nothing_that_stands_out_for_sure() {
    for name in ["2022-08-23_1700_NORMAL", "2023-01-29_0850_NORMAL", "2023-01-30_1139_NORMAL"] {
        let Some(all) = data::root_cause(name) else { return };
        let (before, now) = (all.subset(|number| number % 2 == 0), all.subset(|number| number % 2 == 1));
        let verdict = explain::set(&now, Some(&before)).verdict;
        assert!(verdict.confidence < Confidence::High, "{name}: {:?} {}", verdict.kind, verdict.sentence);
    }
}

proptest! {
    /// Whatever arrives is explained, twice in the same way, and the document can be written.
    #[test]
    fn any_spans_are_explained_without_fail(
        records in proptest::collection::vec(tracewell_testkit::model::span_records(), 1..4),
        logs in tracewell_testkit::model::log_entries(),
    ) {
        let records = records.concat();
        let traces = Builder::from_records(&records, &logs);
        let written = |said: &Explanation| serde_json::to_string(said).unwrap();
        for number in 0..traces.traces().len().min(3) {
            let said = explain::trace(&traces, number, None).map(|said| written(&said));
            prop_assert_eq!(said, explain::trace(&traces, number, None).map(|said| written(&said)));
        }
        prop_assert_eq!(written(&explain::set(&traces, None)), written(&explain::set(&traces, None)));
        explain::set(&traces, Some(&traces));
    }
}
