//! The shop against a receiver in the same process: what it sends are whole traces over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod receiver;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use receiver::Receiver;
use tracewell_demo::{Demo, DemoConfig};
use tracewell_model::{SpanId, SpanKind, SpanRecord, StatusCode, TraceId, TraceTree, Value};
use tracewell_sdk::Signal;

/// How long to wait for something that happens several times a second.
const PATIENCE: Duration = Duration::from_secs(60);

async fn open(receiver: &Receiver, requests_per_second: f64) -> Demo {
    let mut config = DemoConfig::new(receiver.endpoint());
    config.requests_per_second = requests_per_second;
    config.export_delay = Duration::from_millis(100);
    tracewell_demo::run(config).await.unwrap()
}

fn service(record: &SpanRecord) -> &str {
    record.resource.service_name()
}

/// Traces that have a root of that name and whose every parent has arrived.
fn complete(spans: &[SpanRecord], root: &str) -> Vec<Vec<SpanRecord>> {
    let mut traces: HashMap<TraceId, Vec<SpanRecord>> = HashMap::new();
    for record in spans {
        traces.entry(record.span.trace_id).or_default().push(record.clone());
    }
    let whole = |trace: &&Vec<SpanRecord>| {
        let ids: BTreeSet<SpanId> = trace.iter().map(|record| record.span.span_id).collect();
        trace.iter().any(|record| record.span.parent_span_id.is_none() && record.span.name == root)
            && trace.iter().all(|record| record.span.parent_span_id.is_none_or(|parent| ids.contains(&parent)))
    };
    traces.values().filter(whole).cloned().collect()
}

/// `caller -> callee` for every span whose parent belongs to another service.
fn edges(trace: &[SpanRecord]) -> BTreeSet<String> {
    let by_id: HashMap<SpanId, &SpanRecord> = trace.iter().map(|record| (record.span.span_id, record)).collect();
    let parent = |record: &SpanRecord| record.span.parent_span_id.and_then(|id| by_id.get(&id).copied());
    trace
        .iter()
        .filter_map(|record| parent(record).map(|parent| (parent, record)))
        .filter(|(parent, record)| service(parent) != service(record))
        .map(|(parent, record)| {
            assert_eq!(parent.span.kind, SpanKind::Client as i32, "{} calls with a client span", parent.span.name);
            assert_eq!(record.span.kind, SpanKind::Server as i32, "{} is called", record.span.name);
            assert_eq!(record.span.flags & 0x300, 0x300, "the parent is remote");
            format!("{} -> {}", service(parent), service(record))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkout_is_one_connected_trace_across_the_shop() {
    let receiver = Receiver::start().await;
    let demo = open(&receiver, 20.0).await;
    let wanted = [
        "web-frontend -> api-gateway",
        "api-gateway -> authentication",
        "authentication -> session-cache",
        "api-gateway -> checkout",
        "checkout -> cart",
        "cart -> cart-store",
        "checkout -> pricing",
        "pricing -> pricing-cache",
        "pricing -> promotions",
        "promotions -> user-profile",
        "user-profile -> profile-db",
        "checkout -> inventory",
        "inventory -> inventory-db",
        "checkout -> payment",
        "payment -> payment-provider",
        "checkout -> orders-db",
        "checkout -> shipping",
        "shipping -> orders-db",
    ];
    // A price that is cached needs no promotions: wait for one that was not.
    let found = receiver
        .wait(PATIENCE, |spans, _| {
            complete(spans, "POST /checkout")
                .into_iter()
                .find(|trace| edges(trace) == wanted.iter().map(|edge| (*edge).to_owned()).collect())
        })
        .await;
    let trace = found.expect("a checkout with every service within the time");

    let tree = TraceTree::build(&trace);
    assert_eq!(tree.nodes.iter().filter(|node| node.parent.is_none()).count(), 1, "one root");
    assert!(tree.nodes.iter().map(|node| node.depth).max() >= Some(10), "deep");
    assert_eq!(trace.iter().map(service).collect::<BTreeSet<_>>().len(), 18);
    for node in &tree.nodes {
        let Some(parent) = node.parent else { continue };
        let (span, parent) = (&trace[node.span].span, &trace[tree.nodes[parent].span].span);
        assert!(span.start_unix_nano >= parent.start_unix_nano, "{} begins before {}", span.name, parent.name);
    }

    let root = &trace[tree.nodes[0].span];
    let text = |key: &str| root.span.attribute(key).and_then(Value::as_str);
    assert_eq!(service(root), "web-frontend");
    assert_eq!((text("http.request.method"), text("http.route")), (Some("POST"), Some("/checkout")));
    assert_eq!((text("url.scheme"), text("server.address")), (Some("http"), Some("web-frontend")));
    assert_eq!(root.span.attribute("http.response.status_code"), Some(&Value::Int(200)));
    assert!(text("user_agent.original").is_some() && root.span.status.code == StatusCode::Unset as i32);
    for key in
        ["service.version", "service.instance.id", "service.namespace", "deployment.environment.name", "host.name"]
    {
        assert!(root.resource.attributes.iter().any(|attribute| attribute.key == key), "{key}");
    }
    let query = trace.iter().find(|record| record.span.attribute("db.query.text").is_some()).unwrap();
    for key in ["db.system.name", "db.namespace", "db.operation.name", "db.query.summary"] {
        assert!(query.span.attribute(key).is_some(), "{key}");
    }

    // The mail is sent in a trace of its own, linked to the span that sent the message; its log knows the trace.
    let producer = trace.iter().find(|record| record.span.kind == SpanKind::Producer as i32).unwrap().span.clone();
    let consumed = receiver
        .wait(PATIENCE, |spans, logs| {
            let consumer = spans.iter().find(|record| {
                record.span.kind == SpanKind::Consumer as i32
                    && record.span.links.iter().any(|link| link.span_id == producer.span_id)
            })?;
            logs.iter().find(|entry| entry.record.trace_id == Some(consumer.span.trace_id)).cloned()
        })
        .await;
    let log = consumed.expect("a linked consumer with a log record");
    assert_eq!(log.record.body, Value::Str("confirmation sent".to_owned()));
    assert_eq!(log.resource.service_name(), "notifications");

    demo.stop().await;
    assert_eq!(receiver.broken(), 0, "every request could be decoded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsing_asks_three_services_side_by_side() {
    let receiver = Receiver::start().await;
    let demo = open(&receiver, 20.0).await;
    let found = receiver.wait(PATIENCE, |spans, _| complete(spans, "GET /products/{id}").into_iter().next()).await;
    let trace = found.expect("a page view within the time");
    let calls: BTreeMap<&str, (u64, u64)> = trace
        .iter()
        .filter(|record| service(record) == "api-gateway" && record.span.kind == SpanKind::Client as i32)
        .map(|record| (record.span.name.as_str(), (record.span.start_unix_nano, record.span.end_unix_nano)))
        .collect();
    let [stock, price, profile] =
        ["GET /products/{id}", "GET /prices/{id}", "GET /profiles/{user}"].map(|name| calls[name]);
    assert!(calls["GET /verify"].1 <= stock.0, "authentication comes first");
    assert!(stock.0 < price.1 && price.0 < stock.1 && profile.0 < stock.1, "the three overlap");

    // Closing brings what is under way to its end and sends it: nobody's parent is missing afterwards.
    demo.stop().await;
    let all = receiver.wait(PATIENCE, |spans, _| Some(spans.to_vec())).await.unwrap_or_default();
    let ids: BTreeSet<SpanId> = all.iter().map(|record| record.span.span_id).collect();
    let orphans: Vec<_> = all
        .iter()
        .filter(|record| record.span.parent_span_id.is_some_and(|parent| !ids.contains(&parent)))
        .map(|record| format!("{}: {}", service(record), record.span.name))
        .collect();
    assert!(all.len() > 20 && orphans.is_empty(), "{orphans:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_switch_makes_a_database_wait_for_a_lock() {
    let receiver = Receiver::start().await;
    let demo = open(&receiver, 10.0).await;
    let control = demo.control_addr();
    let answer = receiver::send_json(control, "/faults/slow-database", r#"{"on":true}"#).await;
    assert!(answer.contains("200 OK") && answer.contains("inventory-db"), "{answer}");
    let refused = receiver::send_json(control, "/faults/slow-database", r#"{"on":true,"setting":"mail-db"}"#).await;
    assert!(refused.contains("400 Bad Request") && refused.contains("has no setting"), "{refused}");

    let found = receiver
        .wait(PATIENCE, |spans, _| {
            complete(spans, "GET /products/{id}")
                .into_iter()
                .find(|trace| trace.iter().any(|record| record.span.name == "wait for lock"))
        })
        .await;
    let trace = found.expect("a slow page view within the time");
    let tree = TraceTree::build(&trace);
    let lock = tree.nodes.iter().find(|node| trace[node.span].span.name == "wait for lock").unwrap();
    assert_eq!(service(&trace[lock.span]), "inventory-db");
    let events: Vec<_> = trace[lock.span].span.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(events, ["db.lock.wait", "db.lock.acquired"]);
    let mut above = Some(lock);
    while let Some(node) = above {
        let span = &trace[node.span].span;
        assert!(span.duration_ns() >= 2_000_000_000, "{} is slow as well", span.name);
        above = node.parent.map(|parent| &tree.nodes[parent]);
    }

    let orders = "slow-database=orders-db".parse().unwrap();
    assert_eq!(demo.control().switch(orders, true).setting, Some("orders-db"));
    assert!(!demo.control().switch(orders, false).on);
    let stats = demo.stats(Signal::Traces);
    assert_eq!((stats.dropped, stats.failed, stats.rejected), (0, 0, 0));
    demo.stop().await;
}
