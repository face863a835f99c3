//! Assembly of a trace's spans into a forest, in the order in which it is drawn.
//!
//! It is: who is below whom, and in which order, for spans of any shape and in any order. It is not: a correction of times.
//!
//! ```text
//! spans ──▶ parents: by id, by plausibility where ids repeat ──▶ cycles cut ──▶ siblings by start ──▶ preorder
//! ```
//!
//! **Input.** The spans of one trace, in any order. **Algorithm.** Ids and parent ids are sorted and merged; spans are sorted
//! by start once and hung up in that order, so that siblings are in order without being sorted among themselves; the forest
//! is walked along child, sibling and parent, without recursion.
//!
//! **Output.** Every span exactly once. The same forest for every order of the input.
//!
//! **Edge cases.** A span whose parent is missing, or that names itself, is a root (an orphan). A cycle is cut at the
//! earliest span on it. Equal starts: by end, id, kind, then whatever else tells two spans apart ([`Placed::compare`]).
//!
//! *One id, several spans.* Zipkin's shared spans have one id for both sides of a call: an incoming one (server, consumer)
//! goes below the outgoing one (client, producer), unless it names a parent of its own that is there and is not the outgoing
//! one's. Of several outgoing ones that in another service is taken, then the one within which it began, then the one begun
//! last. A child goes below the holder of its parent's id in its own service (unless it is incoming, for which that says
//! nothing), then one within which it began, then an incoming one, then the one begun last before it. At most
//! 64 holders of an id are considered, the earliest.
//!
//! **Complexity.** O(n log n), and no allocation for each trace by an [`Assembler`] that is kept.

mod forest;
mod parents;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use crate::{SpanId, SpanKind, SpanRecord};

/// What the place of a span in its trace hangs on.
pub trait Placed {
    /// Its id.
    fn span_id(&self) -> SpanId;
    /// The id of its parent.
    fn parent_span_id(&self) -> Option<SpanId>;
    /// Its start, nanoseconds since the Unix epoch.
    fn start_unix_nano(&self) -> u64;
    /// Its end, nanoseconds since the Unix epoch.
    fn end_unix_nano(&self) -> u64;
    /// OTLP `SpanKind` as a number.
    fn kind(&self) -> i32;
    /// True when another span is of the same service.
    fn same_service(&self, other: &Self) -> bool;

    /// The order of spans that begin at the same time: equal only where it does not matter which comes first.
    fn compare(&self, other: &Self) -> Ordering {
        let key = |span: &Self| (span.end_unix_nano(), span.span_id(), span.kind(), span.parent_span_id());
        key(self).cmp(&key(other))
    }
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

    fn end_unix_nano(&self) -> u64 {
        self.span.end_unix_nano
    }

    fn kind(&self) -> i32 {
        self.span.kind
    }

    fn same_service(&self, other: &Self) -> bool {
        self.resource.service_name() == other.resource.service_name()
    }

    fn compare(&self, other: &Self) -> Ordering {
        let key = |record: &Self| {
            let span = &record.span;
            (span.end_unix_nano, span.span_id, span.kind, span.parent_span_id)
        };
        let services = || self.resource.service_name().cmp(other.resource.service_name());
        key(self).cmp(&key(other)).then_with(services).then_with(|| self.span.name.cmp(&other.span.name))
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
    /// Builds the forest: see the module's documentation.
    pub fn build<S: Placed>(spans: &[S]) -> Self {
        let mut assembler = Assembler::default();
        assembler.resolve(spans);
        assembler.arrange(spans);
        Self { nodes: std::mem::take(&mut assembler.nodes) }
    }
}

/// In place of an index: there is none. A trace has fewer spans than this: they would not fit in memory.
const NONE: u32 = u32::MAX;

/// Builds forests one after the other with the same memory, in two steps between which times may be corrected.
#[derive(Debug, Default)]
pub struct Assembler {
    /// Ids and the spans that have them, sorted.
    by_id: Vec<(u64, u32)>,
    /// Parent ids and the spans that name them, sorted.
    by_parent: Vec<(u64, u32)>,
    has_duplicates: bool,
    parents: Vec<u32>,
    /// Spans by start.
    order: Vec<(u64, u32)>,
    roots: Vec<u32>,
    first_child: Vec<u32>,
    next_sibling: Vec<u32>,
    /// The node of each span.
    places: Vec<u32>,
    nodes: Vec<Node>,
}

impl Assembler {
    /// True when several spans shared an id in the last [`Assembler::resolve`].
    pub fn has_duplicates(&self) -> bool {
        self.has_duplicates
    }

    /// The index of each span's parent. Parents may form cycles until [`Assembler::arrange`] has cut them.
    pub fn parent(&self, span: usize) -> Option<usize> {
        self.parents.get(span).filter(|parent| **parent != NONE).map(|parent| *parent as usize)
    }

    /// The indexes of the spans that have an id; with it sorted, several spans are in the order of [`Placed::compare`].
    pub fn holders(&self, id: SpanId) -> impl Iterator<Item = usize> + '_ {
        let id = id.to_u64();
        let first = self.by_id.partition_point(|(other, _)| *other < id);
        self.by_id[first..].iter().take_while(move |(other, _)| *other == id).map(|(_, span)| *span as usize)
    }

    /// The forest of the last [`Assembler::arrange`], in preorder.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node of a span.
    pub fn place(&self, span: usize) -> Option<usize> {
        self.places.get(span).filter(|place| **place != NONE).map(|place| *place as usize)
    }
}

fn is_incoming(span: &impl Placed) -> bool {
    span.kind() == SpanKind::Server as i32 || span.kind() == SpanKind::Consumer as i32
}

fn is_outgoing(span: &impl Placed) -> bool {
    span.kind() == SpanKind::Client as i32 || span.kind() == SpanKind::Producer as i32
}
