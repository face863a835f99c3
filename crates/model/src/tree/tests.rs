//! Traces of every shape.

use super::*;
use crate::Span;

fn span(id: u64, parent: u64, start: u64, kind: SpanKind) -> SpanRecord {
    SpanRecord {
        span: Span {
            span_id: SpanId::from_u64(id),
            parent_span_id: (parent != 0).then(|| SpanId::from_u64(parent)),
            start_unix_nano: start,
            kind: kind as i32,
            ..Span::default()
        },
        ..SpanRecord::default()
    }
}

fn timed(id: u64, parent: u64, start: u64, end: u64, kind: SpanKind) -> SpanRecord {
    let mut record = span(id, parent, start, kind);
    record.span.end_unix_nano = end;
    record
}

fn service(name: &str, mut record: SpanRecord) -> SpanRecord {
    let attributes = vec![crate::KeyValue::new(crate::SERVICE_NAME, name)];
    record.resource = std::sync::Arc::new(crate::Resource { attributes, ..crate::Resource::default() });
    record
}

/// Draws the forest as `id` indented by depth, `!` for orphans.
fn draw(spans: &[SpanRecord]) -> String {
    TraceTree::build(spans)
        .nodes
        .iter()
        .map(|node| {
            let mark = if node.orphan { "!" } else { "" };
            let id = spans[node.span].span.span_id.to_u64();
            format!("{}{id}{mark}+{}", ".".repeat(node.depth as usize), node.descendants)
        })
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn every_shape_of_input_becomes_a_forest() {
    use SpanKind::{Client, Internal, Server};
    let cases: [(&str, Vec<SpanRecord>, &str); 12] = [
        ("empty", vec![], ""),
        (
            "siblings in order of start",
            vec![span(3, 1, 30, Internal), span(2, 1, 20, Internal), span(1, 0, 10, Internal)],
            "1+2 .2+0 .3+0",
        ),
        ("missing parent", vec![span(2, 9, 20, Internal), span(1, 0, 10, Internal)], "1+0 2!+0"),
        ("own parent", vec![span(1, 1, 10, Internal)], "1!+0"),
        (
            "cycle cut at its earliest span",
            vec![span(1, 2, 20, Internal), span(2, 1, 10, Internal), span(3, 2, 30, Internal)],
            "2!+2 .1+0 .3+0",
        ),
        (
            "shared span: server below client, children below server",
            vec![span(1, 0, 10, Server), span(2, 1, 21, Server), span(2, 1, 20, Client), span(3, 2, 22, Internal)],
            "1+3 .2+2 ..2+1 ...3+0",
        ),
        (
            "shared span: the client's own children stay with the client",
            vec![
                service("a", timed(2, 1, 20, 90, Client)),
                service("b", timed(2, 1, 30, 80, Server)),
                service("a", timed(3, 2, 22, 25, Internal)),
                service("b", timed(4, 2, 40, 50, Internal)),
            ],
            "2!+3 .3+0 .2+1 ..4+0",
        ),
        (
            "shared span without the parent's id on the server's side",
            vec![span(1, 0, 10, Server), span(2, 0, 21, Server), span(2, 1, 20, Client)],
            "1+2 .2+1 ..2+0",
        ),
        (
            "two attempts with one id: children by time",
            vec![
                timed(1, 0, 0, 100, Server),
                timed(2, 1, 10, 40, Client),
                timed(2, 1, 50, 90, Client),
                timed(3, 2, 15, 30, Server),
                timed(4, 2, 55, 80, Server),
            ],
            "1+4 .2+1 ..3+0 .2+1 ..4+0",
        ),
        (
            "one id by chance: each keeps its parent",
            vec![
                timed(1, 0, 0, 100, Server),
                timed(5, 1, 5, 50, Internal),
                timed(2, 1, 10, 40, Client),
                timed(2, 5, 20, 30, Server),
            ],
            "1+3 .5+1 ..2+0 .2+0",
        ),
        (
            "equal starts: by end, then by id",
            vec![
                timed(4, 1, 20, 30, Internal),
                timed(3, 1, 20, 30, Internal),
                timed(2, 1, 20, 25, Internal),
                span(1, 0, 10, Internal),
            ],
            "1+3 .2+0 .3+0 .4+0",
        ),
        (
            "a cycle, what is below it, and a root after it",
            vec![span(1, 2, 20, Internal), span(2, 1, 15, Internal), span(3, 2, 5, Internal), span(4, 0, 17, Internal)],
            "2!+2 .3+0 .1+0 4+0",
        ),
    ];
    for (name, spans, expected) in cases {
        assert_eq!(draw(&spans), expected, "{name}");
    }
}

#[test]
fn a_chain_as_deep_as_a_large_trace_does_not_overflow_the_stack() {
    let spans: Vec<_> = (1..=1_000_000).map(|id| span(id, id - 1, id, SpanKind::Internal)).collect();
    assert_eq!(TraceTree::build(&spans).nodes.last().map(|node| node.depth), Some(999_999));
}

/// A trace of few ids, so that they repeat, name each other and themselves.
fn tangled(seed: u64) -> Vec<SpanRecord> {
    // SplitMix64, to shake things up.
    let mut state = seed;
    let mut next = move |below: u64| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    };
    use SpanKind::{Client, Internal, Server};
    let count = next(12);
    let make = |_| {
        let kind = [Internal, Server, Client][next(3) as usize];
        let mut record = span(1 + next(8), next(9), 10 + next(6), kind);
        record.span.end_unix_nano = record.span.start_unix_nano + next(4);
        record.span.name = format!("operation {}", next(2));
        record
    };
    (0..count).map(make).collect()
}

/// Every span once, below its parent, before its next sibling; the same for every order of the input.
#[test]
fn tangled_traces_become_the_same_forest_in_any_order() {
    for seed in 0..2_000 {
        let spans = tangled(seed);
        let tree = TraceTree::build(&spans);
        let mut seen: Vec<usize> = tree.nodes.iter().map(|node| node.span).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..spans.len()).collect::<Vec<_>>(), "every span once: {seed}");
        for (place, node) in tree.nodes.iter().enumerate() {
            let Some(parent) = node.parent else { continue };
            let above = &tree.nodes[parent];
            assert_eq!(node.depth, above.depth + 1, "{seed}");
            assert!(parent < place && place <= parent + above.descendants, "within its parent: {seed}");
        }
        let siblings = |parent: Option<usize>| tree.nodes.iter().filter(move |node| node.parent == parent);
        for parent in (0..tree.nodes.len()).map(Some).chain([None]) {
            let starts: Vec<u64> = siblings(parent).map(|node| spans[node.span].span.start_unix_nano).collect();
            assert!(starts.is_sorted(), "siblings by start: {seed}");
        }
        let mut other = spans.clone();
        other.reverse();
        let half = other.len() / 2;
        other.rotate_left(half);
        let picture = |spans: &[SpanRecord], tree: &TraceTree| -> Vec<_> {
            tree.nodes.iter().map(|node| (node.depth, node.orphan, spans[node.span].clone())).collect()
        };
        assert_eq!(picture(&spans, &tree), picture(&other, &TraceTree::build(&other)), "{seed}");
    }
}
