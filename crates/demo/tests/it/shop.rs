//! The shop as it is without faults.

use std::collections::BTreeSet;
use std::time::Duration;

use tracewell_demo::{Demo, DemoConfig};
use tracewell_model::{SpanId, SpanKind, TraceTree, Value};
use tracewell_sdk::Signal;

use crate::receiver::{self, Receiver};
use crate::trace::{failed, resource, service, settled, text};

/// How long to wait for something that happens several times a second.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub async fn open(receiver: &Receiver, requests_per_second: f64) -> Demo {
    let mut config = DemoConfig::new(receiver.endpoint());
    config.requests_per_second = requests_per_second;
    config.export_delay = Duration::from_millis(100);
    tracewell_demo::run(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_services_send_and_a_checkout_crosses_thirty_of_them_one_below_the_other() {
    let receiver = Receiver::start().await;
    let demo = open(&receiver, 15.0).await;
    let chain = demo.control().chain();
    assert_eq!((demo.control().services(), chain.len()), (50, 30));

    let found = receiver
        .wait(PATIENCE, |spans, _| {
            // One that was paid and sent; a price that is cached needs no promotions.
            settled(spans, "POST /checkout", 0).into_iter().find(|trace| {
                let services = trace.services();
                services.contains("shipping") && services.contains("promotions") && !trace.spans.iter().any(failed)
            })
        })
        .await;
    let trace = found.expect("a checkout with every service within the time");
    let ledger = trace.of("ledger", SpanKind::Server)[0];
    assert_eq!(trace.path(ledger), chain, "thirty services, from the first to the last");
    let edges = trace.edges();
    for edge in [
        "web-frontend -> api-gateway",
        "api-gateway -> authentication",
        "authentication -> session-cache",
        "cart -> cart-store",
        "checkout -> pricing",
        "pricing -> pricing-cache",
        "pricing -> promotions",
        "promotions -> user-profile",
        "user-profile -> profile-db",
        "checkout -> inventory",
        "inventory -> inventory-db",
        "checkout -> order-management",
        "logistics-gateway -> warehouse-hub",
        "accounting -> ledger",
        "payment -> payment-provider",
        "checkout -> orders-db",
        "shipping -> orders-db",
    ] {
        assert!(edges.contains(edge), "{edge} is missing among {edges:?}");
    }

    let tree = TraceTree::build(&trace.spans);
    assert_eq!(tree.nodes.iter().filter(|node| node.parent.is_none()).count(), 1, "one root");
    assert!(tree.nodes.iter().map(|node| node.depth).max() >= Some(58), "each service is called and calls");
    for node in &tree.nodes {
        let Some(parent) = node.parent else { continue };
        let (span, parent) = (&trace.spans[node.span].span, &trace.spans[tree.nodes[parent].span].span);
        assert!(span.start_unix_nano >= parent.start_unix_nano, "{} begins before {}", span.name, parent.name);
    }

    let root = trace.root().unwrap();
    assert_eq!(service(root), "web-frontend");
    assert_eq!((text(root, "http.request.method"), text(root, "http.route")), ("POST", "/checkout"));
    assert_eq!((text(root, "url.scheme"), text(root, "server.address")), ("http", "web-frontend"));
    assert_eq!(root.span.attribute("http.response.status_code"), Some(&Value::Int(200)));
    for key in [
        "service.version",
        "service.instance.id",
        "service.namespace",
        "deployment.environment.name",
        "host.name",
        "k8s.pod.name",
        "cloud.region",
    ] {
        assert!(!resource(root, key).is_empty(), "{key}");
    }
    let provider = trace.of("payment-provider", SpanKind::Server)[0];
    assert_eq!((resource(provider, "service.namespace"), resource(provider, "k8s.pod.name")), ("acme-pay", ""));
    let query = trace.of("ledger", SpanKind::Client)[0];
    assert_eq!((query.span.name.as_str(), text(query, "db.system.name")), ("SELECT ledger_entries", "sqlite"));
    assert!(
        text(query, "db.query.text").starts_with("SELECT currency") && text(query, "app.db.plan").contains("SEARCH")
    );
    let rpc = trace.of("tax", SpanKind::Server)[0];
    assert_eq!((rpc.span.name.as_str(), text(rpc, "rpc.system.name")), ("finance.tax.v1.Tax/Quote", "grpc"));

    // Two groups consume what was sent, each in a trace of its own that is linked to the producer's span.
    let producer =
        trace.spans.iter().find(|record| record.span.kind == SpanKind::Producer as i32).unwrap().span.clone();
    let consumers = receiver.wait(PATIENCE, |spans, logs| {
        let linked = spans.iter().filter(|record| {
            record.span.kind == SpanKind::Consumer as i32
                && record.span.links.iter().any(|link| link.span_id == producer.span_id)
        });
        let mail = linked.clone().find(|record| service(record) == "notifications")?;
        let sums = linked.clone().find(|record| service(record) == "analytics")?;
        let log = logs.iter().find(|entry| entry.record.trace_id == Some(mail.span.trace_id))?;
        Some((sums.clone(), log.clone()))
    });
    let (sums, log) = consumers.await.expect("both groups, one with a log record");
    assert_eq!(log.record.body, Value::Str("confirmation sent".to_owned()));
    assert_eq!(sums.span.attribute("messaging.batch.message_count"), Some(&Value::Int(sums.span.links.len() as i64)));
    assert_ne!(sums.span.trace_id, producer.trace_id);

    let all = receiver.wait(PATIENCE, |spans, _| {
        let names: BTreeSet<String> = spans.iter().map(|record| service(record).to_owned()).collect();
        (names.len() >= 50).then_some(names)
    });
    assert_eq!(all.await.expect("all fifty within the time").len(), 50);
    let stats = demo.stats(Signal::Traces);
    assert_eq!((stats.dropped, stats.failed, stats.rejected), (0, 0, 0));
    demo.stop().await;
    assert_eq!(receiver.broken(), 0, "every request could be decoded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_brings_what_is_under_way_to_its_end() {
    let receiver = Receiver::start().await;
    let demo = open(&receiver, 15.0).await;
    let enough = receiver.wait(PATIENCE, |spans, _| (spans.len() > 200).then_some(())).await;
    demo.stop().await;
    let all = receiver.wait(PATIENCE, |spans, _| Some(spans.to_vec())).await.unwrap_or_default();
    let ids: BTreeSet<SpanId> = all.iter().map(|record| record.span.span_id).collect();
    let orphans: Vec<_> = all
        .iter()
        .filter(|record| record.span.parent_span_id.is_some_and(|parent| !ids.contains(&parent)))
        .map(|record| format!("{}: {}", service(record), record.span.name))
        .collect();
    assert!(enough.is_some() && orphans.is_empty(), "{orphans:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_are_switched_at_the_control_port() {
    let receiver = Receiver::start().await;
    let demo = open(&receiver, 0.0).await;
    let send = |path: &'static str, body: &'static str| receiver::send_json(demo.control_addr(), path, body);
    let answer = send("/faults/slow-database", r#"{"on":true}"#).await;
    assert!(answer.contains("200 OK") && answer.contains("inventory-db"), "{answer}");
    let refused = send("/faults/slow-database", r#"{"on":true,"setting":"mail-db"}"#).await;
    assert!(refused.contains("400 Bad Request") && refused.contains("has no setting"), "{refused}");
    let unknown = send("/faults/fire", r#"{"on":true}"#).await;
    assert!(unknown.contains("400 Bad Request") && unknown.contains("there is no fault"), "{unknown}");
    let on: Vec<&str> = demo.control().faults().iter().filter(|state| state.on).map(|state| state.fault.name).collect();
    assert_eq!(on, ["slow-database"]);
    demo.stop().await;
}
