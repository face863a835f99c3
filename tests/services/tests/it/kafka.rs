//! Kafka: context through a broker that lives inside the client library, and the headers themselves.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tracewell_sdk::messaging::Destination;
use tracewell_sdk::messaging::kafka::{Received, Sent};
use tracewell_sdk::propagate::{Extract, Inject};

use crate::sink::{expect, number, parent, recorded};

#[test]
fn produce_and_consume_are_linked() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("orders", 1, 1).unwrap();
    let ((), spans) = recorded(async {
        let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
        let orders = Destination::new("kafka", "orders").consumer_group("workers");
        for key in ["a", "b"] {
            let send = orders.send().start();
            let mut headers = OwnedHeaders::new();
            send.inject(&mut Sent(&mut headers));
            let record = FutureRecord::to("orders").key(key).payload("order").headers(headers);
            let delivery = producer.send(record, Duration::from_secs(30)).await.unwrap();
            send.partition(delivery.partition);
            send.succeeded();
        }
        let consumer: StreamConsumer = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .set("group.id", "workers")
            .set("auto.offset.reset", "earliest")
            .create()
            .unwrap();
        consumer.subscribe(&["orders"]).unwrap();
        let mut poll = orders.receive().batch().start();
        let mut messages = Vec::new();
        for _ in 0..2 {
            let message = consumer.recv().await.unwrap();
            poll.received(&Received(message.headers()));
            messages.push(message.detach());
        }
        poll.succeeded();
        for message in &messages {
            let process = orders.process(&Received(message.headers())).partition(message.partition()).start();
            process.succeeded();
        }
    });
    let (sent, poll) = (spans.named("send orders"), spans.one("poll orders"));
    assert_eq!((sent.len(), number(poll, "messaging.batch.message_count")), (2, Some(2)));
    for (index, process) in spans.named("process orders").iter().enumerate() {
        assert_eq!((process.trace_id, parent(process)), (sent[index].trace_id, sent[index].span_id));
        assert_eq!(poll.links[index].span_id, sent[index].span_id);
        expect(process, &[("messaging.consumer.group.name", "workers"), ("messaging.destination.partition.id", "0")]);
    }
}

#[test]
fn headers_are_replaced_and_may_hold_any_bytes() {
    let bytes = |key, value| Header { key, value: Some(value) };
    let mut headers = OwnedHeaders::new()
        .insert(bytes("TraceParent", &b"stale"[..]))
        .insert(bytes("binary", &b"\xff"[..]))
        .insert(Header { key: "none", value: None::<&[u8]> });
    Sent(&mut headers).set("traceparent", "fresh");
    let received = Received(Some(&headers));
    let all = |name: &str| {
        let mut found = Vec::new();
        received.values(name, &mut |value| found.push(value.to_owned()));
        found
    };
    assert_eq!(
        (all("TRACEPARENT"), all("binary"), all("none")),
        (vec!["fresh".to_owned()], vec!["\u{fffd}".to_owned()], vec![String::new()])
    );
    assert_eq!(headers.count(), 3);
}
