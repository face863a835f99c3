//! Each fault has its effect while it is on, and only then.

use std::time::{SystemTime, UNIX_EPOCH};

use tracewell_demo::Demo;
use tracewell_demo::faults::FAULTS;
use tracewell_model::{SpanKind, SpanRecord, Value};

use crate::receiver::Receiver;
use crate::shop::{PATIENCE, open};
use crate::trace::{Trace, failed, resource, service, settled, text};

const MS: i64 = 1_000_000;

/// A fault, the requests that it changes, and whether a trace shows its effect.
struct Case {
    fault: &'static str,
    root: &'static str,
    /// `None` where the trace says nothing about it.
    shows: fn(&Trace) -> Option<bool>,
    /// Whether each of them shows it.
    always: bool,
}

const CASES: &[Case] = &[
    Case { fault: "slow-query", root: "POST /checkout", shows: slow_query, always: true },
    Case { fault: "congestion-request", root: "POST /checkout", shows: congested_request, always: true },
    Case { fault: "congestion-response", root: "POST /checkout", shows: congested_response, always: true },
    Case { fault: "slow-database", root: "GET /products/{id}", shows: waits_for_lock, always: true },
    Case { fault: "retry-storm", root: "POST /checkout", shows: retries, always: false },
    Case { fault: "n-plus-one", root: "GET /", shows: one_by_one, always: true },
    Case { fault: "serial-calls", root: "GET /products/{id}", shows: serial, always: true },
    Case { fault: "lost-context", root: "GET /products/{id}", shows: loses_context, always: true },
    Case { fault: "clock-skew", root: "GET /products/{id}", shows: skewed, always: true },
    Case { fault: "clock-skew=behind", root: "GET /products/{id}", shows: skewed, always: true },
    Case { fault: "swallowed-error", root: "GET /products/{id}", shows: swallows, always: true },
    Case { fault: "bad-deploy", root: "GET /products/{id}", shows: next_version, always: false },
    Case { fault: "caller-sampling", root: "POST /cart", shows: not_recorded, always: false },
];

fn slow_query(trace: &Trace) -> Option<bool> {
    let query = trace.of("ledger", SpanKind::Client).into_iter().next()?;
    assert_eq!(query.span.name, "SELECT ledger_entries");
    let scans = text(query, "app.db.plan").contains("SCAN");
    // All of the time is in the statement, and its time is what SQLite had to do.
    assert_eq!(scans, query.span.duration_ns() >= 1_000_000_000, "{} ns", query.span.duration_ns());
    Some(scans)
}

fn congested_request(trace: &Trace) -> Option<bool> {
    let (there, back) = trace.hop("logistics-gateway", "warehouse-hub")?;
    Some(there >= 350 * MS && there > back)
}

fn congested_response(trace: &Trace) -> Option<bool> {
    let (there, back) = trace.hop("logistics-gateway", "warehouse-hub")?;
    Some(back >= 350 * MS && back > there)
}

fn waits_for_lock(trace: &Trace) -> Option<bool> {
    let Some(lock) = trace.spans.iter().find(|record| record.span.name == "wait for lock") else {
        return Some(false);
    };
    assert_eq!(service(lock), "inventory-db");
    let events: Vec<_> = lock.span.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(events, ["db.lock.wait", "db.lock.acquired"]);
    let mut above = Some(lock);
    while let Some(record) = above {
        assert!(record.span.duration_ns() >= 2_000_000_000, "{} is slow as well", record.span.name);
        above = trace.parent(record);
    }
    Some(true)
}

fn retries(trace: &Trace) -> Option<bool> {
    let charges = trace.named("payment", SpanKind::Client, "POST /v1/charges");
    let again = charges.iter().filter(|record| record.span.attribute("http.request.resend_count").is_some()).count();
    assert_eq!(charges.len() - again, trace.of("payment", SpanKind::Server).len(), "each charge has a first attempt");
    assert!(charges.len() <= 15);
    // What is not paid for has not come so far.
    (!charges.is_empty()).then_some(charges.len() > 2)
}

fn one_by_one(trace: &Trace) -> Option<bool> {
    trace.of("inventory", SpanKind::Server).first()?;
    let single = trace.named("inventory", SpanKind::Client, "SELECT stock_levels");
    let one_after_the_other = single.windows(2).all(|pair| pair[0].span.end_unix_nano <= pair[1].span.start_unix_nano);
    assert!(matches!(single.len(), 0 | 24) && one_after_the_other, "{} statements", single.len());
    Some(single.len() == 24)
}

fn serial(trace: &Trace) -> Option<bool> {
    let mut calls = trace.of("api-gateway", SpanKind::Client);
    calls.retain(|record| record.span.name != "GET /verify");
    if calls.len() != 4 {
        return None;
    }
    Some(calls.windows(2).all(|pair| pair[0].span.end_unix_nano <= pair[1].span.start_unix_nano))
}

fn loses_context(trace: &Trace) -> Option<bool> {
    let calls = trace.of("recommendations", SpanKind::Client);
    if calls.len() != 2 {
        return None;
    }
    let alone = calls.iter().filter(|call| trace.child(call).is_none()).count();
    assert!(alone == 0 || alone == 2, "{alone} of 2 calls lead nowhere");
    Some(alone == 2)
}

fn skewed(trace: &Trace) -> Option<bool> {
    let (there, back) = trace.hop("pricing", "pricing-cache")?;
    let offset = |hop: (i64, i64)| (hop.0 - hop.1) / 2;
    let (to, from) = (offset(trace.hop("api-gateway", "pricing")?), offset((there, back)));
    // Whatever is not pricing's stays where it is.
    let (there, back) = trace.hop("inventory", "inventory-db")?;
    assert!(there >= 0 && back >= 0);
    let is_skewed = to.abs() > 90 * MS;
    assert_eq!(is_skewed, to.signum() == -from.signum() && from.abs() > 90 * MS, "{to} ns and {from} ns");
    Some(is_skewed)
}

fn swallows(trace: &Trace) -> Option<bool> {
    let failing = trace.of("recommendations", SpanKind::Server).into_iter().next()?;
    let call = trace.parent(failing)?;
    let (gateway, root) = (trace.parent(call)?, trace.root()?);
    assert_eq!(failed(failing), failed(call), "the caller learns of it");
    assert!(!failed(failing) || !failed(gateway) || failed_elsewhere(trace, gateway, call), "and tells nobody");
    Some(failed(failing) && !failed(gateway) && !failed(root))
}

/// Whether another call of the same span failed too.
fn failed_elsewhere(trace: &Trace, caller: &SpanRecord, call: &SpanRecord) -> bool {
    let mut others = trace.spans.iter().filter(|record| record.span.parent_span_id == Some(caller.span.span_id));
    others.any(|other| other.span.span_id != call.span.span_id && failed(other))
}

fn next_version(trace: &Trace) -> Option<bool> {
    let requests = trace.of("inventory", SpanKind::Server);
    for request in &requests {
        let is_next = resource(request, "service.version") == "3.2.0";
        let bundles = trace.spans.iter().find(|record| {
            record.span.name == "resolve bundles" && record.span.parent_span_id == Some(request.span.span_id)
        });
        assert_eq!(bundles.is_some(), is_next, "only the next version is slower");
    }
    let next = requests.iter().filter(|request| resource(request, "service.version") == "3.2.0").count();
    (!requests.is_empty()).then_some(next > 0)
}

fn not_recorded(trace: &Trace) -> Option<bool> {
    let call = trace.named("api-gateway", SpanKind::Client, "POST /carts/{user}/items").into_iter().next()?;
    assert_eq!(
        call.span.attribute("http.response.status_code").is_some_and(|status| *status == Value::Int(502)),
        failed(call)
    );
    let recorded = trace.child(call).is_some();
    assert_eq!(recorded, trace.services().contains("cart"));
    Some(!recorded)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// What the traces that began after `since` show: at least two that say something, and where it is on, one that shows it.
async fn shown(receiver: &Receiver, case: &Case, since: u64, on: bool) -> Vec<bool> {
    let enough = receiver.wait(PATIENCE, |spans, _| {
        let traces = settled(spans, case.root, since);
        let shown: Vec<bool> = traces.iter().filter_map(case.shows).collect();
        (shown.len() >= 2 && (!on || shown.contains(&true))).then_some(shown)
    });
    enough.await.unwrap_or_else(|| panic!("no {} for {} within the time, on: {on}", case.root, case.fault))
}

async fn check(receiver: &Receiver, demo: &Demo, case: &Case) {
    let control = demo.control();
    let switch = case.fault.parse().unwrap();
    control.switch(switch, true);
    let on = shown(receiver, case, now(), true).await;
    assert!(!case.always || !on.contains(&false), "{} shows in every {}: {on:?}", case.fault, case.root);
    control.switch(switch, false);
    let off = shown(receiver, case, now(), false).await;
    assert!(!off.contains(&true), "{} is over: {off:?}", case.fault);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_has_its_effect_while_it_is_on_and_only_then() {
    let receiver = Receiver::start().await;
    let demo = open(&receiver, 15.0).await;
    for fault in FAULTS {
        let tested = CASES.iter().any(|case| case.fault.split('=').next() == Some(fault.name));
        assert!(tested, "{} has a case", fault.name);
    }
    for case in CASES {
        // Nothing of it before.
        let off = shown(&receiver, case, 0, false).await;
        assert!(!off.contains(&true), "{} has not begun: {off:?}", case.fault);
        check(&receiver, &demo, case).await;
        receiver.forget();
    }
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lost_its_context_begins_a_trace_of_its_own() {
    let receiver = Receiver::start().await;
    let demo = open(&receiver, 15.0).await;
    demo.control().switch("lost-context".parse().unwrap(), true);
    let found = receiver
        .wait(PATIENCE, |spans, _| {
            let begins = settled(spans, "GET /profiles/{user}/segments", 0).into_iter();
            begins.into_iter().find(|trace| trace.services().contains("profile-db"))
        })
        .await;
    let trace = found.expect("a trace that begins in the middle of the shop");
    let root = trace.root().unwrap();
    assert_eq!((service(root), root.span.kind), ("user-profile", SpanKind::Server as i32));
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_faults_show_at_once() {
    let receiver = Receiver::start().await;
    let demo = open(&receiver, 15.0).await;
    for fault in ["slow-query", "congestion-response", "clock-skew"] {
        demo.control().switch(fault.parse().unwrap(), true);
    }
    let since = now();
    let found = receiver.wait(PATIENCE, |spans, _| {
        let all = settled(spans, "POST /checkout", since);
        all.into_iter().find(|trace| slow_query(trace) == Some(true) && congested_response(trace) == Some(true))
    });
    let trace = found.await.expect("a checkout with both");
    assert!(trace.hop("checkout", "pricing").is_none_or(|(there, back)| (there - back).abs() / 2 > 90 * MS));
    demo.stop().await;
}
