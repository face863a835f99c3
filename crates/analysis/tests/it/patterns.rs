//! Ways of calling: each kind is found where it is, and nothing where it is not.

use proptest::prelude::*;
use tracewell_analysis::patterns::{self, Kind, Pattern, Severity};
use tracewell_analysis::{Attribute, Scalar, Span, Status, Traces};

use crate::data;
use crate::story::{At, CLIENT, CONSUMER, MS, SERVER, Story};

/// Ten traces of the same shape.
fn ten(tell: impl Fn(&mut Story)) -> Vec<Pattern> {
    let mut story = Story::new();
    for _ in 0..10 {
        tell(&mut story);
        story.end();
    }
    patterns::find(&story.traces())
}

fn only(found: Vec<Pattern>) -> Pattern {
    assert_eq!(found.len(), 1, "{:#?}", found.iter().map(|pattern| &pattern.sentence).collect::<Vec<_>>());
    found.into_iter().next().unwrap()
}

fn edge(pattern: &Pattern) -> (&str, &str) {
    pattern.edge.as_ref().map_or(("", ""), |edge| (&edge.caller, &edge.callee))
}

#[test]
fn one_query_for_each_row() {
    let found = ten(|story| {
        let root = story.span((None, SERVER, "inventory", "GET /products"), (0, 60));
        story.call(root, ("inventory", "inventory-db"), "SELECT products", (0, 8));
        let list = story.span((root, 1, "inventory", "list"), (8, 60));
        for row in 0..10 {
            let times = (10 + 5 * row, 14 + 5 * row);
            let client = story.told(list, CLIENT, "inventory", "SELECT stock", times, |builder, span| {
                span.statement = builder.texts().number(&format!("SELECT n FROM stock WHERE id = {row}"));
                Vec::new()
            });
            story.span((client, SERVER, "inventory-db", "SELECT stock"), times);
        }
    });
    let pattern = only(found);
    assert_eq!((pattern.kind, pattern.severity), (Kind::NPlusOne, Severity::Major));
    assert_eq!((pattern.service.as_str(), pattern.operation.as_str()), ("inventory", "SELECT stock"));
    assert_eq!(edge(&pattern), ("inventory", "inventory-db"));
    assert_eq!(pattern.statement.as_deref(), Some("SELECT n FROM stock WHERE id = ?"));
    assert_eq!((pattern.traces, pattern.of_traces, pattern.count_max), (10, 10, 10));
    // Nine of ten calls of 4 ms; what happens between them stays.
    assert_eq!(pattern.win.max_ns, 36 * MS);
    assert_eq!(
        pattern.sentence,
        "GET /products in inventory calls SELECT stock on inventory-db 10 times, one after the other, in all 10 traces; \
         one call for all, or all side by side, would save up to 36 ms of each, 60 % of its time"
    );
    assert_eq!((pattern.examples.len(), pattern.examples[0].span_ids.len()), (3, 8));
}

#[test]
fn a_handler_beside_the_call_does_not_hide_it() {
    let gateway = |handled: (u64, u64)| {
        let pattern = only(ten(|story| {
            let root = story.span((None, SERVER, "gateway", "/*"), (0, 100));
            story.span((root, 1, "gateway", "handle"), handled);
            let travel = story.call(root, ("gateway", "travel"), "POST /trips", (5, 99));
            for trip in 0..9 {
                story.call(travel, ("travel", "seats"), "GET /left", (5 + 10 * trip, 15 + 10 * trip));
            }
        }));
        (pattern.kind, pattern.win.max_ns / MS)
    };
    assert_eq!(gateway((1, 99)), (Kind::NPlusOne, 80), "it ends with the call: it waits for it");
    assert_eq!(gateway((1, 90)), (Kind::NPlusOne, 9), "it does something else meanwhile");
}

#[test]
fn a_trace_where_everything_is_a_finding_takes_no_longer() {
    let mut story = Story::new();
    let root = story.span((None, SERVER, "batch", "run"), (0, 1_000_000));
    for call in 0..40_000 {
        // Every call fails; there are two hundred kinds.
        let operation = format!("Load{}", ["a", "b", "c"].map(|part| part.repeat(1 + call % 199)).concat());
        story.failing(root, ("batch", "store"), &operation, (call as u64, call as u64 + 1));
    }
    story.end();
    let found = patterns::find(&story.traces());
    assert_eq!(found.len(), 200, "the gravest");
    assert!(patterns::find(&deep(20_000)).iter().any(|pattern| pattern.kind == Kind::Recursion));
}

/// Two services that call each other, so many deep.
fn deep(levels: u64) -> Traces {
    let mut story = Story::new();
    let mut at = story.span((None, SERVER, "a", "GET /a"), (0, 3 * levels));
    for level in 0..levels {
        let (caller, callee) = if level % 2 == 0 { ("a", "b") } else { ("b", "a") };
        at = story.call(at, (caller, callee), "GET /next", (level, 3 * levels - level));
    }
    story.end();
    story.traces()
}

#[test]
fn what_only_looks_like_a_loop_is_none() {
    let polling = ten(|story| {
        let root = story.span((None, SERVER, "jobs", "POST /run"), (0, 10_000));
        for second in 0..9 {
            story.call(root, ("jobs", "worker"), "GET /state", (1_000 * second + 900, 1_000 * second + 905));
        }
    });
    assert!(polling.is_empty(), "{polling:#?}");
    let side_by_side = ten(|story| {
        let root = story.span((None, SERVER, "feed", "GET /feed"), (0, 20));
        for post in 0..6 {
            story.call(root, ("feed", "posts"), "GET /posts/{id}", (1, 10 + post));
        }
    });
    assert!(side_by_side.is_empty(), "{side_by_side:#?}");
}

/// Four reads; side by side or one after the other.
fn page(story: &mut Story, serial: bool) {
    let root = story.span((None, SERVER, "gateway", "GET /page"), (0, 100));
    story.call(root, ("gateway", "authentication"), "GET /verify", (0, 5));
    let calls = [("stock", 10), ("prices", 20), ("profile", 15), ("recommendations", 40)];
    let mut start = 5;
    for (callee, takes) in calls {
        story.call(root, ("gateway", callee), &format!("GET /{callee}"), (start, start + takes));
        start += if serial { takes } else { 0 };
    }
}

#[test]
fn calls_that_wait_for_each_other() {
    let pattern = only(ten(|story| page(story, true)));
    assert_eq!((pattern.kind, pattern.severity), (Kind::SerialCalls, Severity::Major));
    assert_eq!((pattern.service.as_str(), pattern.operation.as_str()), ("gateway", "GET /page"));
    let operations: Vec<&str> = pattern.parts.iter().map(|part| part.operation.as_str()).collect();
    assert_eq!(
        operations,
        ["GET /stock", "GET /prices", "GET /profile", "GET /recommendations"],
        "not the access check"
    );
    // 85 ms one after the other, 40 ms side by side.
    assert_eq!(pattern.win.max_ns, 45 * MS);
    assert!(ten(|story| page(story, false)).is_empty());
}

#[test]
fn calls_with_effects_keep_their_order() {
    let found = ten(|story| {
        let root = story.span((None, SERVER, "checkout", "POST /orders"), (0, 100));
        let calls = ["GET /cart", "POST /reservations", "POST /charges", "shop.Orders/Confirm", "POST /shipments"];
        for (place, operation) in (0..).zip(calls) {
            story.call(root, ("checkout", "other"), operation, (20 * place, 20 * place + 20));
        }
    });
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_call_after_whose_failure_nothing_follows_guards_the_rest() {
    let mut story = Story::new();
    for trace in 0..20 {
        let fails = trace == 7;
        let root = match fails {
            true => story.failed(None, SERVER, "gateway", "GET /page", (0, 10)),
            false => story.span((None, SERVER, "gateway", "GET /page"), (0, 40)),
        };
        if fails {
            story.failing(root, ("gateway", "tenants"), "GET /tenant", (0, 10));
        } else {
            for (place, callee) in (0..).zip(["tenants", "stock", "prices", "texts"]) {
                let operation = if place == 0 { "GET /tenant".to_owned() } else { format!("GET /{callee}") };
                story.call(root, ("gateway", callee), &operation, (10 * place, 10 * place + 10));
            }
        }
        story.end();
    }
    let pattern = only(patterns::find(&story.traces()));
    assert_eq!((pattern.kind, pattern.parts.len()), (Kind::SerialCalls, 3));
    assert_eq!((pattern.traces, pattern.of_traces), (19, 20));
}

/// A shop's payment that repeats on two levels, as often as asked.
fn storm(story: &mut Story, outer: u64, inner: u64) {
    let root = story.failed(None, SERVER, "checkout", "POST /orders", (0, 1_000));
    for attempt in 0..outer {
        let start = 100 * attempt;
        let payment = story.failing(root, ("checkout", "payment"), "POST /charges", (start, start + 100));
        for again in 0..inner {
            let times = (start + 10 * again, start + 10 * again + 10);
            story.failing(payment, ("payment", "provider"), "POST /v1/charges", times);
        }
    }
}

#[test]
fn repetition_of_repetition() {
    let pattern = only(ten(|story| storm(story, 3, 5)));
    assert_eq!((pattern.kind, pattern.severity), (Kind::RetryStorm, Severity::Major));
    assert_eq!((edge(&pattern), pattern.operation.as_str()), (("payment", "provider"), "POST /v1/charges"));
    assert_eq!(pattern.count_max, 15);
    let levels: Vec<(&str, usize)> = pattern.parts.iter().map(|part| (part.callee.as_str(), part.calls_max)).collect();
    assert_eq!(levels, [("payment", 3), ("provider", 5)]);
    // Two of three attempts of 100 ms, and four of five of 10 ms below the first.
    assert_eq!(pattern.win.max_ns, 240 * MS);
    // One level, three attempts, and rare: that is what repetition is for.
    let mut story = Story::new();
    for trace in 0..100 {
        storm(&mut story, 1, if trace == 0 { 3 } else { 1 });
        story.end();
    }
    let found = patterns::find(&story.traces());
    assert!(found.iter().all(|pattern| pattern.kind != Kind::RetryStorm), "{found:#?}");
}

#[test]
fn attempts_may_be_numbered() {
    let pattern = only(ten(|story| {
        let root = story.failed(None, SERVER, "checkout", "POST /orders", (0, 100));
        story.told(root, CLIENT, "checkout", "POST", (0, 90), |builder, span| {
            span.status = Status::Error;
            span.peer = builder.texts().number("payment");
            let key = builder.texts().number("http.request.resend_count");
            vec![Attribute { key, value: Scalar::Int(6) }]
        });
    }));
    assert_eq!((pattern.kind, pattern.count_max, edge(&pattern)), (Kind::RetryStorm, 7, ("checkout", "payment")));
}

#[test]
fn failures_that_nobody_is_told() {
    let pattern = only(ten(|story| {
        let root = story.span((None, SERVER, "gateway", "GET /page"), (0, 50));
        story.failing(root, ("gateway", "recommendations"), "shop.Recommendations/ForProduct", (10, 40));
    }));
    assert_eq!((pattern.kind, pattern.severity), (Kind::SwallowedError, Severity::Major));
    assert_eq!(pattern.service, "recommendations");
    assert_eq!(edge(&pattern), ("gateway", "recommendations"));
    assert_eq!(pattern.operation, "shop.Recommendations/ForProduct");
    assert_eq!(pattern.win.max_ns, 30 * MS);

    // Not found is an answer; a failure that is told is not swallowed; one made good by another attempt neither.
    let fine = ten(|story| {
        let root = story.span((None, SERVER, "gateway", "GET /page"), (0, 50));
        let client = story.told(root, CLIENT, "gateway", "GET /banner", (0, 10), |builder, span| {
            span.status = Status::Error;
            let key = builder.texts().number("http.response.status_code");
            vec![Attribute { key, value: Scalar::Int(404) }]
        });
        story.span((client, SERVER, "banners", "GET /banner"), (0, 10));
        story.failing(root, ("gateway", "prices"), "GET /prices", (10, 20));
        story.call(root, ("gateway", "prices"), "GET /prices", (20, 30));
    });
    assert!(fine.iter().all(|pattern| pattern.kind != Kind::SwallowedError), "{fine:#?}");
}

#[test]
fn one_failure_in_hundreds_is_minor() {
    let mut story = Story::new();
    for trace in 0..250 {
        let root = story.span((None, SERVER, "gateway", "GET /page"), (0, 50));
        match trace {
            3 => story.failing(root, ("gateway", "profile"), "GET /profile", (10, 40)),
            _ => story.call(root, ("gateway", "profile"), "GET /profile", (10, 40)),
        };
        story.end();
    }
    assert_eq!(only(patterns::find(&story.traces())).severity, Severity::Minor);
}

#[test]
fn too_many_round_trips() {
    let pattern = only(ten(|story| {
        let root = story.span((None, SERVER, "page", "GET /home"), (0, 200));
        for part in 0..12 {
            let client =
                story.span((root, CLIENT, "page", &format!("shop.Texts/Part{}", ["A", "B", "C"][part % 3])), (1, 60));
            story.span((client, SERVER, "texts", "part"), (11, 60 - 10));
        }
    }));
    assert_eq!((pattern.kind, edge(&pattern), pattern.count_max), (Kind::ChattyEdge, ("page", "texts"), 12));
    assert_eq!(pattern.parts.len(), 3);
}

#[test]
fn callers_that_give_up_first() {
    let pattern = only(ten(|story| {
        let root = story.failed(None, SERVER, "gateway", "GET /report", (0, 110));
        let client = story.failed(root, CLIENT, "gateway", "GET /report", (5, 105));
        let server = story.span((client, SERVER, "reports", "GET /report"), (5, 3_000));
        story.call(server, ("reports", "warehouse"), "SELECT sales", (10, 2_900));
    }));
    assert_eq!((pattern.kind, edge(&pattern)), (Kind::TimeoutInversion, ("gateway", "reports")));
    assert_eq!(pattern.wasted_ns, 2_895e6);
    assert_eq!(pattern.parts[1].operation, "SELECT sales");
    // An answer that takes its time to be sent off is none, and neither is one that came too late but was waited for.
    let flushed = ten(|story| {
        let root = story.span((None, SERVER, "gateway", "GET /report"), (0, 110));
        let client = story.span((root, CLIENT, "gateway", "GET /report"), (5, 105));
        story.span((client, SERVER, "reports", "GET /report"), (5, 108));
    });
    assert!(flushed.is_empty(), "{flushed:#?}");
}

#[test]
fn services_that_call_themselves_through_others() {
    let pattern = only(ten(|story| {
        let root = story.span((None, SERVER, "orders", "GET /orders"), (0, 100));
        let users = story.call(root, ("orders", "users"), "GET /users", (10, 90));
        story.call(users, ("users", "orders"), "GET /orders/last", (20, 80));
    }));
    assert_eq!((pattern.kind, pattern.service.as_str()), (Kind::Recursion, "orders"));
    assert_eq!((pattern.operation.as_str(), edge(&pattern)), ("GET /orders/last", ("users", "orders")));
    assert!(pattern.sentence.contains("orders → users → orders"), "{}", pattern.sentence);
    // A message back is no call.
    let by_message = ten(|story| {
        let root = story.span((None, SERVER, "orders", "POST /orders"), (0, 10));
        let sent = story.span((root, 4, "orders", "send placed"), (5, 6));
        let taken = story.span((sent, CONSUMER, "mail", "process placed"), (20, 40));
        story.call(taken, ("mail", "orders"), "GET /orders/{id}", (21, 39));
    });
    assert!(by_message.iter().all(|pattern| pattern.kind != Kind::Recursion), "{by_message:#?}");
}

#[test]
fn work_that_waits_for_a_lock() {
    let wait = |story: &mut Story, said: bool| {
        let root = story.span((None, SERVER, "inventory", "POST /reservations"), (0, 3_100));
        let database = story.call(root, ("inventory", "inventory-db"), "UPDATE stock", (50, 3_050));
        let name = if said { "execute" } else { "wait for lock" };
        story.told(database, 1, "inventory-db", name, (60, 3_000), |builder, _| {
            let key = builder.texts().number("db.lock.wait_ms");
            if said { vec![Attribute { key, value: Scalar::Int(2_940) }] } else { Vec::new() }
        });
    };
    for said in [false, true] {
        let pattern = only(ten(|story| wait(story, said)));
        assert_eq!((pattern.kind, pattern.severity), (Kind::LockWait, Severity::Major));
        assert_eq!(pattern.service, "inventory-db");
        assert_eq!((pattern.operation == "wait for lock", pattern.win.max_ns), (!said, 2_940 * MS));
    }
}

#[test]
fn one_trace_is_judged_by_itself() {
    let mut story = Story::new();
    page(&mut story, false);
    story.end();
    page(&mut story, true);
    story.end();
    let traces = story.traces();
    assert!(patterns::in_trace(&traces, 0).is_empty());
    let pattern = only(patterns::in_trace(&traces, 1));
    assert_eq!((pattern.kind, pattern.traces, pattern.of_traces), (Kind::SerialCalls, 1, 1));
    assert!(patterns::in_trace(&traces, 2).is_empty(), "there is no third");
}

#[test]
fn work_that_nobody_waits_for_is_minor() {
    let pattern = only(ten(|story| {
        let root = story.span((None, CONSUMER, "analytics", "process orders"), (0, 100));
        for row in 0..10 {
            story.call(root, ("analytics", "sales-db"), "INSERT sales", (10 * row, 10 * row + 9));
        }
    }));
    assert_eq!((pattern.kind, pattern.severity, pattern.background), (Kind::NPlusOne, Severity::Minor, true));
}

#[test]
fn the_look_ups_of_a_recorded_shop_are_found() {
    for case in ["2022-08-23_1700_NORMAL", "2022-08-22_0717_shippingservice_network_delay"] {
        let Some(traces) = data::root_cause(case) else { return };
        let found = patterns::find(&traces);
        let grave: Vec<&Pattern> = found.iter().filter(|pattern| pattern.severity > Severity::Minor).collect();
        for (callee, operation) in [
            ("productcatalogservice", "hipstershop.ProductCatalogService/GetProduct"),
            ("currencyservice", "hipstershop.CurrencyService/Convert"),
        ] {
            let of = |pattern: &&&Pattern| pattern.kind == Kind::NPlusOne && pattern.operation == operation;
            let pattern = grave.iter().find(of).unwrap_or_else(|| panic!("{operation} in {case}"));
            assert_eq!(edge(pattern), ("frontend", callee), "{case}");
            assert!(pattern.traces > 50 && pattern.win.share > 0.05, "{case}: {}", pattern.sentence);
        }
        assert!(
            grave.iter().any(|pattern| pattern.kind == Kind::SerialCalls && pattern.service == "frontend"),
            "{case}"
        );
    }
}

/// Spans of any shape: parent by place, kind, service, operation, start, duration, failure.
fn any_traces() -> impl Strategy<Value = Traces> {
    let span = (any::<prop::sample::Index>(), 0..6_u8, 0..4_usize, 0..5_usize, 0..200_u64, 0..100_u64, any::<bool>());
    prop::collection::vec(span, 1..60).prop_map(|spans| {
        let mut story = Story::new();
        let mut ids: Vec<At> = vec![None];
        for (parent, kind, service, operation, start, takes, fails) in spans {
            let below = ids[parent.index(ids.len())];
            let operation = ["GET /a", "SELECT b", "wait for lock", "GET", "x.Y/GetZ"][operation];
            let id =
                story.told(below, kind, ["a", "b", "c", ""][service], operation, (start, start + takes), |_, span| {
                    span.status = if fails { Status::Error } else { Status::Unset };
                    Vec::new()
                });
            ids.push(id);
        }
        story.end();
        story.traces()
    })
}

proptest! {
    /// Nothing is won that was not there, whatever the trace is like, and the same trace gives the same answer.
    #[test]
    fn no_more_is_won_than_there_was(traces in any_traces()) {
        let longest = traces.spans().iter().map(Span::duration_ns).max().unwrap();
        let found = patterns::find(&traces);
        for pattern in &found {
            prop_assert!(pattern.win.max_ns <= longest, "{pattern:#?}");
            prop_assert!(pattern.win.share <= 1.0 && pattern.share <= 1.0);
            prop_assert!(!pattern.sentence.is_empty() && pattern.traces <= pattern.of_traces);
        }
        prop_assert_eq!(&found, &patterns::find(&traces));
    }
}
