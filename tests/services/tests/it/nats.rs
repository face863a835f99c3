//! NATS: context through the server.

use async_nats::HeaderMap;
use futures_util::StreamExt;
use tracewell_sdk::messaging::Destination;
use tracewell_sdk::messaging::nats::{Received, Sent};
use tracewell_sdk::propagate::{Extract, Inject};

use crate::sink::{address, expect, parent, recorded};

#[test]
fn publish_and_subscribe_are_one_trace() {
    let Some(address) = address("TRACEWELL_TEST_NATS", "NATS server") else { return };
    let ((), spans) = recorded(async {
        let client = async_nats::connect(address).await.unwrap();
        let mut subscriber = client.subscribe("orders").await.unwrap();
        client.flush().await.unwrap();
        let orders = Destination::new("nats", "orders");
        let publish = orders.send().start();
        let mut headers = HeaderMap::new();
        publish.inject(&mut Sent(&mut headers));
        client.publish_with_headers("orders", headers, "order".into()).await.unwrap();
        publish.succeeded();
        let message = subscriber.next().await.unwrap();
        orders.process(&Received(message.headers.as_ref())).start().succeeded();
    });
    let (publish, process) = (spans.one("publish orders"), spans.one("process orders"));
    assert_eq!((process.trace_id, parent(process)), (publish.trace_id, publish.span_id));
    expect(process, &[("messaging.system", "nats")]);
}

#[test]
fn headers_are_replaced_and_never_refused() {
    let mut headers = HeaderMap::new();
    headers.insert("TraceParent", "stale");
    headers.insert("other", "kept");
    let mut sent = Sent(&mut headers);
    sent.set("traceparent", "fresh");
    sent.set_named("not a: name", "x");
    sent.set_named("two", "lines\r\nhere");
    let received = Received(Some(&headers));
    let mut found = Vec::new();
    received.values("TRACEPARENT", &mut |value| found.push(value.to_owned()));
    received.prefixed("oth", &mut |name, value| found.push(format!("{name}={value}")));
    assert_eq!((found, headers.len()), (vec!["fresh".to_owned(), "er=kept".to_owned()], 2));
}
