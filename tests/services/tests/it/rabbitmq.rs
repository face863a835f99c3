//! RabbitMQ: context through the broker, one message at a time and in batches.

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tracewell_model::SpanKind;
use tracewell_sdk::messaging::Destination;
use tracewell_sdk::messaging::amqp::{Received, with_context};
use tracing::{Instrument, info_span};

use crate::sink::{address, expect, number, parent, recorded, text};

async fn queue(address: &str, name: &str) -> (Connection, Channel) {
    let connection = Connection::connect(address, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.into(), options, FieldTable::default()).await.unwrap();
    (connection, channel)
}

async fn publish(channel: &Channel, queue: &str) {
    let publish = Destination::rabbitmq("", queue).send().start();
    let properties = with_context(BasicProperties::default(), &publish);
    let sent = channel.basic_publish("".into(), queue.into(), BasicPublishOptions::default(), b"order", properties);
    sent.instrument(publish.span()).await.unwrap().await.unwrap();
    publish.succeeded();
}

#[test]
fn publish_and_consume_are_one_trace() {
    let Some(address) = address("TRACEWELL_TEST_RABBITMQ", "RabbitMQ") else { return };
    let ((), spans) = recorded(async {
        let (_connection, channel) = queue(&address, "orders").await;
        publish(&channel, "orders").instrument(info_span!("request")).await;
        let options = BasicConsumeOptions::default();
        let mut consumer =
            channel.basic_consume("orders".into(), "".into(), options, FieldTable::default()).await.unwrap();
        let delivery = consumer.next().await.unwrap().unwrap();
        let orders = Destination::rabbitmq_queue("", "orders", "orders");
        let process = orders.process(&Received(delivery.properties.headers().as_ref())).start();
        let settle = process.span().in_scope(|| orders.settle("ack").start());
        delivery.ack(BasicAckOptions::default()).await.unwrap();
        settle.succeeded();
        process.succeeded();
    });
    let (request, publish) = (spans.one("request"), spans.one("publish orders"));
    let (process, ack) = (spans.one("process orders"), spans.one("ack orders"));
    assert_eq!((publish.kind, process.kind), (SpanKind::Producer as i32, SpanKind::Consumer as i32));
    assert_eq!(parent(publish), request.span_id);
    assert_eq!((process.trace_id, parent(process)), (request.trace_id, publish.span_id));
    assert_eq!((process.links.len(), process.links[0].span_id), (1, publish.span_id));
    assert_eq!((ack.trace_id, parent(ack)), (request.trace_id, process.span_id));
    expect(
        publish,
        &[
            ("messaging.system", "rabbitmq"),
            ("messaging.destination.name", "orders"),
            ("messaging.operation.name", "publish"),
            ("messaging.operation.type", "send"),
        ],
    );
    expect(ack, &[("messaging.operation.type", "settle")]);
}

#[test]
fn a_batch_links_to_every_producer() {
    let Some(address) = address("TRACEWELL_TEST_RABBITMQ", "RabbitMQ") else { return };
    let ((), spans) = recorded(async {
        let (_connection, channel) = queue(&address, "batch").await;
        for _ in 0..3 {
            publish(&channel, "batch").await;
        }
        let batch = Destination::rabbitmq_queue("", "batch", "batch");
        let work = async {
            let mut receive = batch.receive().batch().start();
            let mut deliveries = Vec::new();
            let options = BasicGetOptions { no_ack: true };
            while let Some(message) = channel.basic_get("batch".into(), options).await.unwrap() {
                receive.received(&Received(message.delivery.properties.headers().as_ref()));
                deliveries.push(message.delivery);
            }
            receive.succeeded();
            for delivery in &deliveries {
                batch.process(&Received(delivery.properties.headers().as_ref())).start().succeeded();
            }
        };
        work.instrument(info_span!("worker")).await;
    });
    let (worker, receive) = (spans.one("worker"), spans.one("receive batch"));
    let mut producers: Vec<_> = spans.named("publish batch").iter().map(|span| (span.trace_id, span.span_id)).collect();
    let mut linked: Vec<_> = receive.links.iter().map(|link| (link.trace_id, link.span_id)).collect();
    producers.sort_unstable();
    linked.sort_unstable();
    assert_eq!((linked.len(), &linked), (3, &producers));
    assert_eq!((receive.kind, number(receive, "messaging.batch.message_count")), (SpanKind::Client as i32, Some(3)));
    // Within another span, each message is processed below it and linked to its producer.
    for process in spans.named("process batch") {
        assert_eq!((process.trace_id, parent(process)), (worker.trace_id, worker.span_id));
        assert!(producers.contains(&(process.links[0].trace_id, process.links[0].span_id)));
        assert_eq!(text(process, "messaging.operation.type"), Some("process"));
    }
}
