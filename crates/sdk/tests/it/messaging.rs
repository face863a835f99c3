//! Spans for messages, with maps in place of a broker.

use std::collections::BTreeMap;

use tracewell_model::{Span, SpanKind, StatusCode, Value};
use tracewell_sdk::messaging::Destination;
use tracewell_sdk::propagate::Extract;
use tracing::info_span;

use crate::receiver::{Receiver, recorded};

type Headers = BTreeMap<String, String>;

fn spans_of(work: impl FnOnce()) -> Vec<Span> {
    let receiver = Receiver::start(vec![]);
    recorded(receiver.traces_only(), &receiver, work).into_iter().map(|record| record.span).collect()
}

fn one<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} among {:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
    found[0]
}

fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    span.attribute(key).and_then(Value::as_str)
}

fn sent(destination: &Destination) -> Headers {
    let send = destination.send().start();
    let mut headers = Headers::new();
    send.inject(&mut headers);
    headers
}

#[test]
fn a_message_handled_outside_any_span_continues_its_trace() {
    let spans = spans_of(|| {
        let orders = Destination::new("kafka", "orders").server("broker", 9092).consumer_group("workers");
        let headers = info_span!("request").in_scope(|| sent(&orders));
        orders.process(&headers).message_id(7).partition(3).start().failed("Refused", &"no stock");
    });
    let (send, process) = (one(&spans, "send orders"), one(&spans, "process orders"));
    assert_eq!((send.kind, process.kind), (SpanKind::Producer as i32, SpanKind::Consumer as i32));
    assert_eq!((process.trace_id, process.parent_span_id), (send.trace_id, Some(send.span_id)));
    assert_eq!((process.links.len(), process.links[0].span_id), (1, send.span_id));
    assert_eq!((process.status.code, process.status.message.as_str()), (StatusCode::Error as i32, "no stock"));
    let expected = [
        ("messaging.system", "kafka"),
        ("messaging.destination.name", "orders"),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.consumer.group.name", "workers"),
        ("messaging.message.id", "7"),
        ("messaging.destination.partition.id", "3"),
        ("server.address", "broker"),
        ("error.type", "Refused"),
    ];
    for (key, value) in expected {
        assert_eq!(text(process, key), Some(value), "{key}");
    }
}

#[test]
fn within_another_span_a_message_is_linked_unless_asked_otherwise() {
    let spans = spans_of(|| {
        let (plain, below) = (Destination::new("nats", "plain"), Destination::new("nats", "below"));
        let (first, second) = (sent(&plain), sent(&below));
        info_span!("ambient").in_scope(|| {
            plain.process(&first).start().succeeded();
            below.process(&second).below_message().start().succeeded();
        });
    });
    let ambient = one(&spans, "ambient");
    let (publish, process) = (one(&spans, "publish plain"), one(&spans, "process plain"));
    assert_eq!((process.parent_span_id, process.links[0].span_id), (Some(ambient.span_id), publish.span_id));
    let (publish, process) = (one(&spans, "publish below"), one(&spans, "process below"));
    assert_eq!((process.trace_id, process.parent_span_id), (publish.trace_id, Some(publish.span_id)));
    let mut linked: Vec<_> = process.links.iter().map(|link| link.span_id).collect();
    linked.sort_unstable();
    let mut expected = vec![ambient.span_id, publish.span_id];
    expected.sort_unstable();
    assert_eq!(linked, expected);
}

#[test]
fn batches_link_to_every_message_and_count_them() {
    let spans = spans_of(|| {
        let orders = Destination::new("kafka", "orders");
        let messages: Vec<Headers> = (0..3)
            .map(|_| {
                let create = orders.create().start();
                let mut headers = Headers::new();
                create.inject(&mut headers);
                headers
            })
            .collect();
        let send = messages.iter().fold(orders.send().batch(), |send, message| send.message(message));
        send.start().succeeded();
        let mut poll = orders.receive().start();
        poll.received_all(messages.iter());
        poll.succeeded();
        let all = messages.iter().map(|message| message as &dyn Extract);
        orders.process_batch(all).start().succeeded();
        let mut nothing = Destination::new("kafka", "quiet").receive().start();
        nothing.received_all(std::iter::empty::<&Headers>());
    });
    let count = |span: &Span| span.attribute("messaging.batch.message_count").cloned();
    for (name, kind) in
        [("send orders", SpanKind::Client), ("poll orders", SpanKind::Client), ("process orders", SpanKind::Consumer)]
    {
        let span = one(&spans, name);
        assert_eq!((span.kind, span.links.len(), count(span)), (kind as i32, 3, Some(Value::Int(3))), "{name}");
    }
    assert_eq!(count(one(&spans, "poll quiet")), Some(Value::Int(0)));
    assert_eq!(spans.iter().filter(|span| span.name == "create orders").count(), 3);
}

#[test]
fn links_stay_within_the_limit() {
    let receiver = Receiver::start(vec![]);
    let mut config = receiver.traces_only();
    config.limits.links_max = 2;
    let spans = recorded(config, &receiver, || {
        let orders = Destination::new("kafka", "orders");
        let messages: Vec<Headers> = (0..5).map(|_| sent(&orders)).collect();
        let mut poll = orders.receive().start();
        poll.received_all(messages.iter());
    });
    let poll = spans.iter().map(|record| &record.span).find(|span| span.name == "poll orders").unwrap();
    assert_eq!((poll.links.len(), poll.dropped_links_count), (2, 3));
}

#[test]
fn names_are_few() {
    let queue = |name: &'static str| Destination::new("rabbitmq", name);
    let cases = [
        (queue("orders.eu").template("orders.{region}"), "publish orders.{region}"),
        (queue("amq.gen-7x").anonymous(), "publish"),
        (queue("answers-7").temporary(), "publish"),
        (Destination::rabbitmq("shop", "orders"), "publish shop:orders"),
        (Destination::rabbitmq("", "orders"), "publish orders"),
        (Destination::rabbitmq("", ""), "publish amq.default"),
        (Destination::rabbitmq_queue("shop", "orders", "work"), "publish shop:orders:work"),
        (Destination::rabbitmq_queue("", "work", "work"), "publish work"),
    ];
    for (destination, name) in cases {
        let spans = spans_of(|| destination.send().start().succeeded());
        assert_eq!(spans[0].name, name);
    }
}

#[test]
fn headers_that_mean_nothing_make_a_trace_of_their_own() {
    let spans = spans_of(|| {
        let orders = Destination::new("kafka", "orders");
        let headers = Headers::from([("traceparent".to_owned(), "nonsense".to_owned())]);
        orders.process(&headers).start().succeeded();
    });
    assert_eq!((spans[0].parent_span_id, spans[0].links.len()), (None, 0));
}
