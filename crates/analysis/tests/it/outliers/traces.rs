//! Traces: what the slow ones have in common, as filters.

use proptest::prelude::*;
use tracewell_analysis::outliers::{Finding, FindingKind, LimitBy, Options, find, find_among, find_slow, slow};
use tracewell_analysis::{Attribute, Builder, Scalar, Span, Traces};
use tracewell_model::{SpanId, TraceId};

use super::shop::{Dice, Order, Shop};

/// Kind, filter and shares of findings, one a line.
fn told(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|finding| finding.filter.clone()).collect()
}

const VERSION: &str = r#"{ resource.service.name = "inventory" && resource.service.version = "3.2.0" }"#;

/// Two instances of three run a version that takes 140 ms longer.
fn bad_deploy(_: u64, dice: &mut Dice) -> Order {
    let order = Order::any(dice);
    Order { delay_ms: if order.instance < 2 { 130 + dice.below(20) } else { 0 }, ..order }
}

#[test]
fn a_bad_deploy_is_told_by_its_version() {
    let traces = Shop::traces(1, 1_500, bad_deploy);
    let found = find_slow(&traces);
    assert_eq!(told(&found), [VERSION]);
    let version = &found[0];
    assert_eq!((version.kind, version.service.as_deref()), (FindingKind::Attribute, Some("inventory")));
    let attribute = version.attribute.as_ref().unwrap();
    assert_eq!((attribute.key.as_str(), attribute.value.as_str()), ("resource.service.version", "3.2.0"));
    assert!(version.slow_share > 0.99 && version.rest_share < 0.01 && version.q_value < 1e-100, "{version:?}");
    assert!(version.effect_ns.is_some_and(|effect| (130_000_000..150_000_000).contains(&effect)), "{version:?}");
    assert!(
        version.what.starts_with(
            "resource.service.version = \"3.2.0\" in inventory: in all of the slow traces and none of the rest"
        ),
        "{}",
        version.what
    );
    // The two instances are only where it runs.
    let implied = told(&version.implied);
    for instance in ["inventory-0", "inventory-1"] {
        assert!(implied.iter().any(|filter| filter.contains(instance)), "{implied:?}");
    }
}

#[test]
fn a_bad_deploy_is_told_by_comparing_with_the_time_before() {
    let before = Shop::traces(2, 800, |_, dice| Order { instance: 2 + dice.below(3), ..Order::any(dice) });
    let mut now = Shop::traces(3, 700, bad_deploy);
    now.append(Shop::traces(2, 100, |_, dice| Order { instance: 2 + dice.below(3), ..Order::any(dice) }));
    let options = Options { selected_name: "recent".into(), rest_name: "those before".into(), ..Options::default() };
    let found = find(&now, &before, &options);
    assert_eq!(told(&found)[0], VERSION);
    assert!(found[0].what.contains("of the recent traces and none of those before"), "{}", found[0].what);
}

/// Each case: what is said of the traces that are slow, with what chance it is true of the others, and the filter that must
/// come first.
#[test]
fn each_kind_of_thing_is_found() {
    type Mark = fn(Order) -> Order;
    let cases: [(&str, FindingKind, Mark, &str); 8] = [
        (
            "an operation that only slow traces have",
            FindingKind::Operation,
            |order| Order { locked: true, ..order },
            r#"{ resource.service.name = "inventory-db" && name = "wait for lock" }"#,
        ),
        (
            "many calls",
            FindingKind::CallCount,
            |order| Order { queries: 24, ..order },
            r#"{ resource.service.name = "inventory" && name = "SELECT stock" } | count() >= 24"#,
        ),
        (
            "a call that is missing",
            FindingKind::Edge,
            |order| Order { no_pricing: true, ..order },
            r#"({ resource.service.name = "gateway" } > { resource.service.name = "pricing" }) !<< { nestedSetParent < 0 }"#,
        ),
        (
            "a failure",
            FindingKind::Attribute,
            |order| Order { fails: true, ..order },
            r#"{ resource.service.name = "pricing" && name = "Price/Get" && span.rpc.grpc.status_code = 14 }"#,
        ),
        (
            "a value of an attribute",
            FindingKind::Attribute,
            |order| Order { region: "sa", ..order },
            r#"{ resource.service.name = "gateway" && span.region = "sa" }"#,
        ),
        (
            "a truth value",
            FindingKind::Attribute,
            |order| Order { premium: true, ..order },
            r#"{ resource.service.name = "gateway" && span.user.premium = true }"#,
        ),
        (
            "a number that is large",
            FindingKind::Attribute,
            |order| Order { payload: order.payload + 900, ..order },
            r#"{ resource.service.name = "inventory" && name = "GET /stock" && span.payload.bytes >= "#,
        ),
        ("a log record", FindingKind::LogSite, |order| Order { log: Some("cache is cold"), ..order }, "{ trace:id = "),
    ];
    for (number, (name, kind, mark, filter)) in cases.into_iter().enumerate() {
        let mut selected = Vec::new();
        let traces = Shop::traces(100 + number as u64, 1_000, |_, dice| {
            let is_slow = dice.chance(0.1);
            selected.push(is_slow);
            // Not every slow trace shows it, and few others do.
            let shows = if is_slow { dice.chance(0.9) } else { dice.chance(0.02) };
            let order = Order::any(dice);
            if shows { mark(order) } else { order }
        });
        let found = find_among(&traces, &selected, &Options::default());
        let first = found.first().unwrap_or_else(|| panic!("{name}: nothing found"));
        assert_eq!(first.kind, kind, "{name}: {}", first.filter);
        let names_it = |finding: &Finding| {
            finding.filter.starts_with(filter) || finding.aliases.iter().any(|alias| alias.starts_with(filter))
        };
        assert!(names_it(first), "{name}: {} {:?}", first.filter, first.aliases);
        assert_eq!(found.len(), 1, "{name}: {:#?}", told(&found));
    }
}

#[test]
fn two_things_that_matter_together_are_a_pair() {
    let mut selected = Vec::new();
    let traces = Shop::traces(7, 3_000, |_, dice| {
        let order = Order::any(dice);
        let both = order.region == "eu" && order.premium;
        selected.push(dice.chance(if both { 0.9 } else { 0.02 }));
        order
    });
    let found = find_among(&traces, &selected, &Options::default());
    let expected = r#"{ resource.service.name = "gateway" && span.region = "eu" } && { resource.service.name = "gateway" && span.user.premium = true }"#;
    let mirrored = r#"{ resource.service.name = "gateway" && span.user.premium = true } && { resource.service.name = "gateway" && span.region = "eu" }"#;
    assert_eq!(found[0].kind, FindingKind::Pair);
    assert!([expected, mirrored].contains(&found[0].filter.as_str()), "{:#?}", told(&found));
    assert_eq!(found.len(), 1, "the halves are implied: {:#?}", told(&found));
}

#[test]
fn two_reasons_are_two_findings() {
    let mut selected = Vec::new();
    let traces = Shop::traces(8, 3_000, |_, dice| {
        let mut order = Order::any(dice);
        order.locked = dice.chance(0.05);
        selected.push(order.locked || order.region == "ap" && dice.chance(0.3) || dice.chance(0.01));
        order
    });
    let found = told(&find_among(&traces, &selected, &Options::default()));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found.iter().any(|filter| filter.contains("wait for lock")), "{found:#?}");
    assert!(found.iter().any(|filter| filter.contains("\"ap\"")), "{found:#?}");
}

/// Where no attribute says why, the operation is told whose time jumps: the deepest, since its callers wait for it.
#[test]
fn what_takes_long_is_told_where_nothing_says_why() {
    let traces = Shop::traces(9, 1_000, |_, dice| {
        let delay_ms = if dice.chance(0.1) { 60 + dice.below(10) } else { 0 };
        Order { delay_ms, ..Order::any(dice) }
    });
    let found = find_slow(&traces);
    assert_eq!(found.len(), 1, "{:#?}", told(&found));
    let (first, prefix) =
        (&found[0], r#"{ resource.service.name = "inventory" && name = "GET /stock" } | sum(duration) >= "#);
    assert_eq!(first.kind, FindingKind::Duration);
    assert!(first.filter.starts_with(prefix) && first.filter.len() < prefix.len() + 6, "{}", first.filter);
    assert!(first.slow_share > 0.99 && first.rest_share < 0.01, "{first:?}");
    assert!(first.what.starts_with("GET /stock of inventory takes at least "), "{}", first.what);
}

/// Healthy traces that are split by the toss of a coin have nothing to tell apart. At q = 0.05 one split in twenty may say
/// something; the bound leaves room for chance (beyond it with a probability of less than one in a thousand).
#[test]
fn random_splits_say_nothing() {
    const SPLITS: u64 = 300;
    let mut loud = Vec::new();
    for (count, share) in [(200, 0.5), (1_000, 0.1), (1_000, 0.5)] {
        let traces = Shop::traces(count, count, |_, dice| Order::any(dice));
        for seed in 0..SPLITS / 3 {
            let mut dice = Dice(seed * 31 + count);
            let selected: Vec<bool> = (0..count).map(|_| dice.chance(share)).collect();
            let found = find_among(&traces, &selected, &Options::default());
            if !found.is_empty() {
                loud.push(told(&found));
            }
        }
    }
    println!("{} of {SPLITS} random splits say something", loud.len());
    assert!(loud.len() <= 28, "{} of {SPLITS}: {loud:#?}", loud.len());
}

/// Slower requests of one kind do not make everything suspicious that this kind of request does.
#[test]
fn the_mix_of_requests_is_one_finding() {
    let traces = Shop::traces(11, 1_000, |_, dice| Order::any(dice));
    let name = |number: usize| traces.text(traces.spans()[traces.traces()[number].first as usize].operation);
    let mut dice = Dice(5);
    let selected: Vec<bool> =
        (0..1_000).map(|number| dice.chance(if name(number) == "POST /checkout" { 0.5 } else { 0.05 })).collect();
    let found = find_among(&traces, &selected, &Options::default());
    assert_eq!(
        told(&found),
        [r#"{ trace:rootService = "gateway" && trace:rootName = "POST /checkout" }"#],
        "{found:#?}"
    );
    assert_eq!(find_among(&traces, &selected, &Options { by_root: true, ..Options::default() }), []);
}

/// Ids, ports and times differ between any two sets of traces, and say nothing.
#[test]
fn ids_and_clocks_are_left_out() {
    let before = Shop::traces(21, 1_000, |_, dice| Order::any(dice));
    let selected: Vec<bool> = (0..1_000).map(|number| number >= 500).collect();
    assert_eq!(told(&find_among(&before, &selected, &Options::default())), [] as [String; 0]);
}

#[test]
fn slow_traces_are_found_by_level_fence_or_rank() {
    let limit = |order: fn(u64, &mut Dice) -> Order| {
        let traces = Shop::traces(31, 1_000, order);
        let found = slow(&traces);
        assert_eq!(found.selected.len(), 1_000);
        found.limits.into_iter().find(|limit| limit.operation.starts_with("GET")).unwrap()
    };
    let level = limit(bad_deploy);
    assert_eq!(level.by, LimitBy::Level);
    assert!((30_000_000..150_000_000).contains(&level.from_ns), "{level:?}");
    let tail = |_: u64, dice: &mut Dice| {
        let order = Order::any(dice);
        let delay_ms = if dice.chance(0.03) { 8 + dice.below(200) } else { 0 };
        Order { delay_ms, ..order }
    };
    let fence = limit(tail);
    assert_eq!(fence.by, LimitBy::Fence, "{fence:?}");
    assert!((10..50).contains(&fence.slow), "{fence:?}");
    let none = limit(|_, dice| Order::any(dice));
    assert_eq!(none.by, LimitBy::TopTenth, "{none:?}");
    assert!((65..75).contains(&none.slow), "{none:?}");
}

#[test]
fn rows_are_plain_json() {
    let found = find_slow(&Shop::traces(1, 600, bad_deploy));
    let row = serde_json::to_value(&found[0]).unwrap();
    assert_eq!(row["kind"], "attribute");
    assert_eq!(row["attribute"]["test"], "is");
    for field in ["slow_share", "rest_share", "lift", "q_value", "mean_slow_ns", "traces"] {
        assert!(row[field].is_number(), "{field}: {row}");
    }
}

/// Few spans of few names with few values, in any tree.
fn any_traces() -> impl Strategy<Value = Traces> {
    let span = (0u64..6, 0u64..6, 0usize..3, 0usize..3, 0u64..50, proptest::option::of((0usize..2, 0i64..4)));
    let trace = proptest::collection::vec(span, 0..8);
    proptest::collection::vec(trace, 0..40).prop_map(|traces| {
        let mut builder = Builder::new();
        for (number, spans) in traces.into_iter().enumerate() {
            for (id, parent, service, operation, start, attribute) in spans {
                let texts = builder.texts();
                let (service, operation) =
                    (texts.number(["", "a", "b\"\n"][service]), texts.number(["x", "y z", ""][operation]));
                let attributes: Vec<Attribute> = attribute
                    .map(|(key, value)| Attribute {
                        key: texts.number(["k", "odd \"key\""][key]),
                        value: Scalar::Int(value),
                    })
                    .into_iter()
                    .collect();
                let span = Span {
                    id: SpanId::from_u64(id + 1),
                    parent_id: (parent > 0).then(|| SpanId::from_u64(parent)),
                    start_ns: start,
                    end_ns: start + id * 10,
                    service,
                    operation,
                    ..Span::default()
                };
                builder.span(span, &attributes);
            }
            builder.finish_trace(TraceId((number as u128 + 1).to_be_bytes()), 1.0);
        }
        builder.finish()
    })
}

proptest! {
    /// Whatever the traces: shares are shares, and numbers agree with each other.
    #[test]
    fn figures_agree(traces in any_traces(), seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let selected: Vec<bool> = traces.traces().iter().map(|_| dice.chance(0.5)).collect();
        let options = Options { q_max: 0.9, ..Options::default() };
        for finding in find_among(&traces, &selected, &options).iter().flat_map(|one| std::iter::once(one).chain(&one.implied)) {
            prop_assert!((0.0..=1.0).contains(&finding.slow_share) && (-1e-9..=1.0 + 1e-9).contains(&finding.rest_share));
            prop_assert!(finding.slow_share >= finding.rest_share && finding.lift.is_finite());
            prop_assert!((0.0..=1.0).contains(&finding.precision) && finding.slow_traces <= finding.traces);
            prop_assert!(finding.p_value <= finding.q_value + 1e-12 && finding.q_value <= 0.9);
        }
        prop_assert_eq!(slow(&traces).selected.len(), traces.traces().len());
        find_slow(&traces);
    }
}
