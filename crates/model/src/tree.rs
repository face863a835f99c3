//! Assembly of a trace's spans into a forest, in the order in which it is drawn.

use std::collections::HashMap;

use crate::{SpanId, SpanKind, SpanRecord};

/// What the place of a span in its trace hangs on.
pub trait Placed {
    /// Its id.
    fn span_id(&self) -> SpanId;
    /// The id of its parent.
    fn parent_span_id(&self) -> Option<SpanId>;
    /// Its start, nanoseconds since the Unix epoch.
    fn start_unix_nano(&self) -> u64;
    /// OTLP `SpanKind` as a number.
    fn kind(&self) -> i32;
}

impl Placed for SpanRecord {
    fn span_id(&self) -> SpanId {
        self.span.span_id
    }

    fn parent_span_id(&self) -> Option<SpanId> {
        self.span.parent_span_id
    }

    fn start_unix_nano(&self) -> u64 {
        self.span.start_unix_nano
    }

    fn kind(&self) -> i32 {
        self.span.kind
    }
}

/// A span's place in the tree. Nodes stand in preorder: a node's descendants follow it directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Index of the span in the slice that the tree was made from.
    pub span: usize,
    /// Index of the parent's node; `None` for a root.
    pub parent: Option<usize>,
    /// Distance from the root, which has 0.
    pub depth: u32,
    /// Nodes below this one, at any depth.
    pub descendants: usize,
    /// True when the span names a parent that is not among the spans.
    pub orphan: bool,
}

/// The forest of a trace: usually one root, more where spans are missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TraceTree {
    /// Every span once, in preorder; siblings and roots in order of their start.
    pub nodes: Vec<Node>,
}

impl TraceTree {
    /// Builds the forest. Any input gives a forest with every span in it exactly once: a span whose
    /// parent is missing becomes an orphaned root, a cycle is cut at its earliest span.
    ///
    /// Where two spans share an id (Zipkin's shared spans: one id for the client and the server half)
    /// the server half becomes the child of the client half, and children go below the server half.
    pub fn build<S: Placed>(spans: &[S]) -> Self {
        let parents = resolve_parents(spans);
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); spans.len()];
        let mut roots = Vec::new();
        for (index, parent) in parents.iter().enumerate() {
            match parent {
                Some(parent) => children[*parent].push(index),
                None => roots.push(index),
            }
        }
        let by_start = |index: &usize| (spans[*index].start_unix_nano(), *index);
        roots.sort_by_key(by_start);
        for siblings in &mut children {
            siblings.sort_by_key(by_start);
        }

        let mut tree = Self { nodes: Vec::with_capacity(spans.len()) };
        let mut placed = vec![false; spans.len()];
        for root in roots {
            tree.place(root, spans, &children, &mut placed);
        }
        // What is not reachable from a root lies on or below a cycle.
        let mut rest: Vec<usize> = (0..spans.len()).filter(|index| !placed[*index]).collect();
        rest.sort_by_key(by_start);
        for index in rest {
            if !placed[index] {
                tree.place(index, spans, &children, &mut placed);
            }
        }
        tree
    }

    fn place<S: Placed>(&mut self, root: usize, spans: &[S], children: &[Vec<usize>], placed: &mut [bool]) {
        // An explicit stack: a chain may be as deep as a trace is long.
        let mut stack = vec![(root, None::<usize>, 0u32)];
        let first = self.nodes.len();
        while let Some((span, parent, depth)) = stack.pop() {
            if std::mem::replace(&mut placed[span], true) {
                continue;
            }
            let node = self.nodes.len();
            let orphan = parent.is_none() && spans[span].parent_span_id().is_some();
            self.nodes.push(Node { span, parent, depth, descendants: 0, orphan });
            stack.extend(children[span].iter().rev().map(|child| (*child, Some(node), depth + 1)));
        }
        for node in (first..self.nodes.len()).rev() {
            if let Some(parent) = self.nodes[node].parent {
                self.nodes[parent].descendants += self.nodes[node].descendants + 1;
            }
        }
    }
}

fn is_server(span: &impl Placed) -> bool {
    span.kind() == SpanKind::Server as i32 || span.kind() == SpanKind::Consumer as i32
}

/// The index of each span's parent.
fn resolve_parents<S: Placed>(spans: &[S]) -> Vec<Option<usize>> {
    // For each id: the outer (client) and the inner (server) holder; the same span where it is unique.
    let mut holders: HashMap<SpanId, (usize, usize)> = HashMap::with_capacity(spans.len());
    for (index, record) in spans.iter().enumerate() {
        holders
            .entry(record.span_id())
            .and_modify(|(outer, inner)| {
                if is_server(record) && !is_server(&spans[*inner]) {
                    *inner = index;
                } else if !is_server(record) && is_server(&spans[*outer]) {
                    *outer = index;
                }
            })
            .or_insert((index, index));
    }
    spans
        .iter()
        .enumerate()
        .map(|(index, record)| {
            let own = holders.get(&record.span_id());
            if let Some((outer, inner)) = own
                && outer != inner
                && is_server(record)
            {
                return Some(*outer);
            }
            let parent_id = record.parent_span_id()?;
            let (_, inner) = holders.get(&parent_id)?;
            (*inner != index && parent_id != record.span_id()).then_some(*inner)
        })
        .collect()
}

#[cfg(test)]
mod tests {
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
        let cases: [(&str, Vec<SpanRecord>, &str); 6] = [
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
        ];
        for (name, spans, expected) in cases {
            assert_eq!(draw(&spans), expected, "{name}");
        }
    }

    #[test]
    fn a_chain_as_deep_as_a_large_trace_does_not_overflow_the_stack() {
        let spans: Vec<_> = (1..=200_000).map(|id| span(id, id - 1, id, SpanKind::Internal)).collect();
        assert_eq!(TraceTree::build(&spans).nodes.last().map(|node| node.depth), Some(199_999));
    }
}
