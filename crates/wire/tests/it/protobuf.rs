//! The protobuf side, byte by byte: orders, pieces, unknown fields, invalid ids, broken input.

use tracewell_model::{KeyValue, Value};
use tracewell_wire::otlp::view::{InvalidSpan, LogsRequest, SpanView, TracesRequest, ValueView};
use tracewell_wire::otlp::{self, check_logs, check_traces, decode_traces};

/// A length-delimited field.
fn field(number: u8, payload: &[u8]) -> Vec<u8> {
    assert!(number < 16 && payload.len() < 128 * 128);
    let mut out = vec![number << 3 | 2];
    if payload.len() < 128 {
        out.push(payload.len() as u8);
    } else {
        out.extend([payload.len() as u8 | 0x80, (payload.len() >> 7) as u8]);
    }
    out.extend_from_slice(payload);
    out
}

fn varint_field(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn fixed64_field(number: u8, value: u64) -> Vec<u8> {
    [&[number << 3 | 1][..], &value.to_le_bytes()].concat()
}

fn attribute(key: &str, value: &[u8]) -> Vec<u8> {
    [field(1, key.as_bytes()), field(2, value)].concat()
}

fn ids() -> Vec<u8> {
    [field(1, &[1; 16]), field(2, &[2; 8])].concat()
}

/// A request with one span.
fn request(span: &[u8]) -> Vec<u8> {
    field(1, &field(2, &field(2, span)))
}

#[test]
fn fields_come_in_any_order_and_repeated_ones_need_not_be_neighbours() {
    let span = [
        vec![0x85, 0x01, 1, 3, 0, 0], // flags, a header of two bytes
        field(15, &[varint_field(3, 2), field(2, b"boom")].concat()),
        field(9, &attribute("a", &varint_field(3, 1))),
        field(11, &field(2, b"first")),
        varint_field(14, 4),
        field(9, &[field(2, &varint_field(2, 1)), field(1, b"b")].concat()),
        fixed64_field(8, 20),
        field(13, &[field(1, &[7; 16]), field(2, &[8; 8])].concat()),
        fixed64_field(7, 10),
        varint_field(12, 3),
        field(11, &field(2, b"second")),
        varint_field(6, 3),
        field(5, b"name"),
        varint_field(10, 2),
        field(4, &[3; 8]),
        field(3, b"k=v"),
        ids(),
        field(9, &attribute("a", &field(1, b"again"))),
    ]
    .concat();
    let records = decode_traces(&request(&span)).unwrap();
    let span = &records[0].span;
    assert_eq!(span.trace_id.0, [1; 16]);
    assert_eq!(span.span_id.0, [2; 8]);
    assert_eq!(span.parent_span_id.map(|id| id.0), Some([3; 8]));
    assert_eq!((span.trace_state.as_str(), span.flags, span.name.as_str()), ("k=v", 0x301, "name"));
    assert_eq!((span.kind, span.start_unix_nano, span.end_unix_nano), (3, 10, 20));
    let dropped = [span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count];
    assert_eq!(dropped, [2, 3, 4]);
    assert_eq!((span.status.code, span.status.message.as_str()), (2, "boom"));
    let expected = [KeyValue::new("a", 1i64), KeyValue::new("b", true), KeyValue::new("a", "again")];
    assert_eq!(span.attributes, expected);
    let names: Vec<_> = span.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["first", "second"]);
    assert_eq!(span.links[0].trace_id.0, [7; 16]);
}

#[test]
fn unknown_fields_are_passed_over() {
    let unknown = [
        vec![0xa0, 0x06, 0xff, 0xff, 0x7f],                            // field 100, varint
        vec![0xa1, 0x06, 1, 2, 3, 4, 5, 6, 7, 8],                      // field 100, 64 bit
        vec![0xa2, 0x06, 3, 1, 2, 3],                                  // field 100, bytes
        vec![0xa5, 0x06, 1, 2, 3, 4],                                  // field 100, 32 bit
        vec![0xa3, 0x06, 0x08, 1, 0xab, 0x06, 0xac, 0x06, 0xa4, 0x06], // field 100, a group with a group in it
    ]
    .concat();
    let value = [unknown.clone(), field(1, b"v"), unknown.clone()].concat();
    let key_value = [unknown.clone(), attribute("k", &value), unknown.clone()].concat();
    let event = [unknown.clone(), field(3, &key_value), field(2, b"e")].concat();
    let link = [unknown.clone(), field(4, &key_value)].concat();
    let status = [unknown.clone(), varint_field(3, 1)].concat();
    let span = [ids(), unknown.clone(), field(9, &key_value), field(11, &event), field(13, &link), field(15, &status)];
    let resource = [unknown.clone(), field(1, &key_value)].concat();
    let scope = [unknown.clone(), field(3, &key_value), field(1, b"lib")].concat();
    let scope_spans = [unknown.clone(), field(2, &span.concat()), field(1, &scope), unknown.clone()].concat();
    let request =
        [unknown.clone(), field(1, &[unknown, field(2, &scope_spans), field(1, &resource)].concat())].concat();
    let records = decode_traces(&request).unwrap();
    let expected = [KeyValue::new("k", "v")];
    assert_eq!(records[0].resource.attributes, expected);
    assert_eq!((records[0].scope.name.as_str(), &records[0].scope.attributes[..]), ("lib", &expected[..]));
    let span = &records[0].span;
    assert_eq!(span.attributes, expected);
    assert_eq!((span.events[0].name.as_str(), &span.events[0].attributes[..]), ("e", &expected[..]));
    assert_eq!(span.links[0].attributes, expected);
    assert_eq!(span.status.code, 1);
}

#[test]
fn the_last_of_several_scalars_and_of_several_values_wins() {
    let value = [field(1, b"text"), varint_field(3, 5), vec![]].concat();
    let span = [ids(), field(5, b"one"), field(5, b"two"), field(9, &attribute("k", &value))].concat();
    let span = &decode_traces(&request(&span)).unwrap()[0].span;
    assert_eq!(span.name, "two");
    assert_eq!(span.attributes, [KeyValue::new("k", 5i64)]);
}

#[test]
fn messages_in_pieces_are_merged() {
    let list = |text: &[u8]| field(5, &field(1, &field(1, text)));
    let map = |key: &str| field(6, &field(1, &attribute(key, &varint_field(3, 1))));
    let span = [
        ids(),
        field(15, &field(2, b"why")),
        field(15, &varint_field(3, 2)),
        // A value in two pieces, which continue one list.
        field(9, &[field(1, b"list"), field(2, &list(b"a")), field(2, &list(b"b"))].concat()),
        // Two lists in one piece, then a map that takes their place, then more of the map.
        field(9, &attribute("map", &[list(b"a"), list(b"b"), map("x"), map("y")].concat())),
        // A piece without a value takes nothing away.
        field(9, &[field(1, b"kept"), field(2, &field(1, b"text")), field(2, &[])].concat()),
    ]
    .concat();
    let scope_spans = [field(1, &field(1, b"lib")), field(2, &span), field(1, &field(2, b"1.0"))].concat();
    let resource_spans = [
        field(1, &field(1, &attribute("a", &varint_field(3, 1)))),
        field(2, &scope_spans),
        field(1, &field(1, &attribute("b", &varint_field(3, 2)))),
    ]
    .concat();
    let bytes = field(1, &resource_spans);
    let records = decode_traces(&bytes).unwrap();
    assert_eq!(records[0].resource.attributes, [KeyValue::new("a", 1i64), KeyValue::new("b", 2i64)]);
    assert_eq!((records[0].scope.name.as_str(), records[0].scope.version.as_str()), ("lib", "1.0"));
    let span = &records[0].span;
    assert_eq!((span.status.code, span.status.message.as_str()), (2, "why"));
    let expected = [
        KeyValue::new("list", Value::Array(vec!["a".into(), "b".into()])),
        KeyValue::new("map", Value::Map(vec![KeyValue::new("x", 1i64), KeyValue::new("y", 1i64)])),
        KeyValue::new("kept", "text"),
    ];
    assert_eq!(span.attributes, expected);

    // The check hands back the merged request, which is in order.
    let merged = check_traces(&bytes).unwrap().normalized.expect("a request in pieces is rewritten");
    let again = check_traces(&merged).unwrap();
    assert_eq!((again.items, again.normalized), (1, None));
    assert_eq!(decode_traces(&merged).unwrap(), records);
    assert_eq!(otlp::encode_traces(&records).len(), merged.len());

    // What only a piece that is not the last holds is checked as well.
    let broken = field(1, &[field(1, &field(1, b"\xff")), field(1, &[])].concat());
    assert!(check_traces(&broken).is_err());
}

#[test]
fn spans_without_valid_ids_are_rejected_alone() {
    let ids = |trace: &[u8], span: &[u8]| [field(1, trace), field(2, span)].concat();
    let cases: [(Vec<u8>, Option<InvalidSpan>); 8] = [
        (ids(&[1; 16], &[1; 8]), None),
        (ids(&[0; 16], &[1; 8]), Some(InvalidSpan::TraceId)),
        (ids(&[1; 15], &[1; 8]), Some(InvalidSpan::TraceId)),
        (ids(&[1; 32], &[1; 8]), Some(InvalidSpan::TraceId)),
        (ids(&[], &[1; 8]), Some(InvalidSpan::TraceId)),
        (ids(&[1; 16], &[0; 8]), Some(InvalidSpan::SpanId)),
        (ids(&[1; 16], &[1; 9]), Some(InvalidSpan::SpanId)),
        (vec![], Some(InvalidSpan::TraceId)),
    ];
    for (span, expected) in &cases {
        assert_eq!(SpanView::new(span).unwrap().invalid(), *expected, "{span:?}");
    }
    let spans: Vec<u8> = cases.iter().flat_map(|(span, _)| field(2, span)).collect();
    let bytes = field(1, &field(2, &spans));
    let checked = check_traces(&bytes).unwrap();
    assert_eq!((checked.items, checked.rejected), (1, 7));
    assert_eq!(
        checked.reason.as_deref(),
        Some(
            "5 spans without a valid trace id (16 bytes, not all zero), \
             2 spans without a valid span id (8 bytes, not all zero)"
        )
    );
    assert_eq!(decode_traces(&bytes).unwrap().len(), 1);
}

#[test]
fn a_parent_of_a_wrong_length_or_zero_is_no_parent() {
    for (parent, expected) in
        [(&[5; 8][..], Some([5; 8])), (&[0; 8], None), (&[5; 7], None), (&[5; 16], None), (&[], None)]
    {
        let span = [ids(), field(4, parent)].concat();
        let records = decode_traces(&request(&span)).unwrap();
        assert_eq!(records[0].span.parent_span_id.map(|id| id.0), expected, "{parent:?}");
    }
}

#[test]
fn log_records_are_never_rejected() {
    let record = [
        field(5, &field(6, &field(1, &attribute("k", &field(1, b"v"))))),
        field(9, &[1; 3]),
        field(10, &[0; 8]),
        field(12, b"login"),
        varint_field(2, 17),
        fixed64_field(11, 7),
    ]
    .concat();
    let bytes = field(1, &field(2, &field(2, &record)));
    let checked = check_logs(&bytes).unwrap();
    assert_eq!((checked.items, checked.rejected, checked.reason), (1, 0, None));
    let entries = otlp::decode_logs(&bytes).unwrap();
    let record = &entries[0].record;
    assert_eq!((record.trace_id, record.span_id, record.event_name.as_str()), (None, None, "login"));
    assert_eq!(record.body, Value::Map(vec![KeyValue::new("k", "v")]));
    assert_eq!(record.effective_time_unix_nano(), 7);
    assert_eq!(LogsRequest::new(&bytes).resource_logs().count(), 1);

    let body_in_pieces = [field(5, &field(1, b"text")), field(5, &[])].concat();
    let entries = otlp::decode_logs(&field(1, &field(2, &field(2, &body_in_pieces)))).unwrap();
    assert_eq!(entries[0].record.body, "text".into());
}

#[test]
fn text_that_is_not_utf8_is_taken_and_made_valid() {
    let bad = b"ok\xff\xed\xa0\x80";
    let span = [ids(), field(5, bad), field(9, &attribute("k", &field(1, bad)))].concat();
    let span = &decode_traces(&request(&span)).unwrap()[0].span;
    assert!(span.name.starts_with("ok\u{fffd}"));
    assert!(span.attributes[0].value.as_str().unwrap().starts_with("ok\u{fffd}"));
}

#[test]
fn numbers_of_every_width_are_read() {
    let negative_enum = [&[6 << 3][..], &[0xff; 9], &[1]].concat();
    let span = [ids(), negative_enum].concat();
    assert_eq!(decode_traces(&request(&span)).unwrap()[0].span.kind, -1);

    let cases: [(&[u8], Result<ValueView<'_>, &str>); 6] = [
        (&[0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], Ok(ValueView::Int(-1))),
        (&[0x18, 0x80, 0x00], Ok(ValueView::Int(0))),
        (&[0x18, 0xac, 0x02], Ok(ValueView::Int(300))),
        (&[0x10, 0x80, 0x01], Ok(ValueView::Bool(true))),
        (
            &[0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            Err("malformed protobuf: AnyValue: a number has more than 64 bits"),
        ),
        (&[0x18, 0x80], Err("malformed protobuf: AnyValue: it ends within a field")),
    ];
    for (bytes, expected) in cases {
        let read = ValueView::new(bytes).map_err(|error| error.to_string());
        assert_eq!(read, expected.map_err(str::to_owned), "{bytes:?}");
    }
}

#[test]
fn errors_say_where_and_what() {
    let in_span = |bytes: &[u8]| request(&[ids(), bytes.to_vec()].concat());
    let at_span = "malformed protobuf: at resource_spans[0].scope_spans[0].spans[0]";
    let cases = [
        (
            field(1, b"\x0a"),
            "malformed protobuf: at resource_spans[0]: ResourceSpans: it ends within a field".to_owned(),
        ),
        (in_span(&[5 << 3 | 2, 9]), format!("{at_span}: Span: it ends within a field")),
        (in_span(&[5 << 3, 9]), format!("{at_span}: Span: field 5 has wire type 0, which this field cannot have")),
        (in_span(&[0]), format!("{at_span}: Span: a field header is invalid")),
        (in_span(&[0xa6, 0x06]), format!("{at_span}: Span: a field header is invalid")),
        (in_span(&[0xa4, 0x06]), format!("{at_span}: Span: a group is not closed")),
        (in_span(&[0xa3, 0x06]), format!("{at_span}: Span: a group is not closed")),
        (
            in_span(&[field(9, &attribute("a", b"")), field(9, b"\x0a\x05")].concat()),
            format!("{at_span}.attributes[1]: KeyValue: it ends within a field"),
        ),
        (
            in_span(&field(11, &field(3, b"\xff"))),
            format!("{at_span}.events[0].attributes[0]: KeyValue: it ends within a field"),
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(check_traces(&bytes).unwrap_err().to_string(), expected);
        assert!(decode_traces(&bytes).is_err());
    }
    // Iterators end after an error.
    let broken = [field(1, &[]), vec![0x0a, 0x7f]].concat();
    let groups: Vec<_> = TracesRequest::new(&broken).resource_spans().map(|group| group.is_ok()).collect();
    assert_eq!(groups, [true, false]);
}
