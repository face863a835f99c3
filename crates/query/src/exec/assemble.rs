//! A whole trace in memory, for what its rows alone cannot decide: parents, structure, aggregates, groups.

use std::collections::HashMap;

use super::row::{since, visit_attributes, visit_events, visit_links};
use super::rows::read_spans;
use super::search::Engine;
use super::sources::Part;
use super::summary::SpanKey;
use super::trace::sort_and_unite;
use super::walk::Walk;
use super::{Stop, TraceFacts};
use crate::error::Halt;
use crate::plan::{Expr, ListTest, Program, Scalar, SpanView, Spans, Step, Val, satisfies};
use crate::traceql::{Aggregate, AttrScope, Field, Intrinsic, MathOp, Structural, StructuralForm};
use tracewell_model::{SpanRecord, TraceTree};

/// A trace with its tree.
pub(crate) struct Assembled {
    records: Vec<SpanRecord>,
    tree: TraceTree,
    /// The node of each span.
    nodes: Vec<usize>,
    children: Vec<u32>,
    facts: TraceFacts,
}

impl<'a> Engine<'a> {
    /// Reads a trace and builds its tree; a source that cannot be read is given up.
    pub fn assemble(
        &self,
        walks: &mut [Option<Walk<'a>>],
        parts: &[Part],
        facts: &TraceFacts,
    ) -> Result<Assembled, Stop> {
        let mut records = Vec::new();
        for part in parts.iter().filter(|part| !self.sources.is_broken(part.source)) {
            let columns = &mut self.walk(walks, part.source).scan.columns;
            match read_spans(columns, facts.trace_id, &part.rows) {
                Ok(spans) => records.extend(spans),
                Err(Halt::Source(error)) => self.sources.give_up(part.source, &error),
                Err(Halt::Stop(stop)) => return Err(stop),
            }
        }
        Ok(Assembled::new(records, facts.clone()))
    }
}

/// One span of an assembled trace.
struct SpanInTrace<'a> {
    trace: &'a Assembled,
    span: usize,
}

impl SpanView for SpanInTrace<'_> {
    fn field(&self, field: &Field, visit: &mut dyn FnMut(Val<'_>)) -> bool {
        let of_parent;
        let subject = if field.of_parent() {
            let node = &self.trace.tree.nodes[self.trace.nodes[self.span]];
            let Some(parent) = node.parent else { return false };
            of_parent = SpanInTrace { trace: self.trace, span: self.trace.tree.nodes[parent].span };
            &of_parent
        } else {
            self
        };
        match field {
            Field::Attr { attribute, .. } => subject.attribute(attribute.scope, &attribute.key, visit),
            Field::Intrinsic { intrinsic, .. } => subject.intrinsic(*intrinsic, visit),
        }
    }
}

impl SpanInTrace<'_> {
    fn attribute(&self, scope: AttrScope, key: &str, visit: &mut dyn FnMut(Val<'_>)) -> bool {
        let record = &self.trace.records[self.span];
        match scope {
            AttrScope::Span => visit_attributes(&record.span.attributes, key, visit),
            AttrScope::Resource => visit_attributes(&record.resource.attributes, key, visit),
            AttrScope::Any => {
                visit_attributes(&record.span.attributes, key, visit)
                    || visit_attributes(&record.resource.attributes, key, visit)
            }
            AttrScope::Instrumentation => visit_attributes(&record.scope.attributes, key, visit),
            AttrScope::Event => visit_events(&record.span.events, &ListTest::EventAttr(key.to_owned()), visit),
            AttrScope::Link => visit_links(&record.span.links, &ListTest::LinkAttr(key.to_owned()), visit),
        }
    }

    fn intrinsic(&self, intrinsic: Intrinsic, visit: &mut dyn FnMut(Val<'_>)) -> bool {
        use Intrinsic as I;
        let record = &self.trace.records[self.span];
        let span = &record.span;
        let at = self.trace.nodes[self.span];
        let node = &self.trace.tree.nodes[at];
        // Numbered as brackets: one for opening a span, one for closing it.
        let left = |node: usize| 2 * node as i64 - i64::from(self.trace.tree.nodes[node].depth) + 1;
        match intrinsic {
            I::Duration => visit(Val::Int(span.end_unix_nano.wrapping_sub(span.start_unix_nano) as i64)),
            I::Name => visit(Val::text(&span.name)),
            I::Kind => visit(Val::Kind(span.kind)),
            I::Status => visit(Val::Status(span.status.code)),
            I::StatusMessage => visit(Val::text(&span.status.message)),
            I::ChildCount => visit(Val::Int(i64::from(self.trace.children[at]))),
            I::SpanId => visit(Val::Str(span.span_id.to_string().into())),
            I::ParentId => match span.parent_span_id {
                Some(parent) => visit(Val::Str(parent.to_string().into())),
                None => return false,
            },
            I::Parent => return span.parent_span_id.is_some(),
            I::NestedSetLeft => visit(Val::Int(left(at))),
            I::NestedSetRight => visit(Val::Int(left(at) + 2 * node.descendants as i64 + 1)),
            I::NestedSetParent => visit(Val::Int(match node.parent {
                Some(parent) => left(parent),
                None if span.parent_span_id.is_some() => 0,
                None => -1,
            })),
            I::TraceDuration | I::RootName | I::RootService | I::TraceId => {
                return self.trace.facts.visit(intrinsic, visit);
            }
            I::EventName => return visit_events(&span.events, &ListTest::EventName, visit),
            I::EventTimeSinceStart => {
                span.events.iter().for_each(|event| visit(Val::Int(since(event, span.start_unix_nano))));
                return !span.events.is_empty();
            }
            I::LinkSpanId => return visit_links(&span.links, &ListTest::LinkSpanId, visit),
            I::LinkTraceId => return visit_links(&span.links, &ListTest::LinkTraceId, visit),
            I::InstrumentationName => visit(Val::text(&record.scope.name)),
            I::InstrumentationVersion => visit(Val::text(&record.scope.version)),
        }
        true
    }
}

/// Spans by number, ascending.
type Spanset = Vec<usize>;

impl Assembled {
    fn new(mut records: Vec<SpanRecord>, facts: TraceFacts) -> Self {
        sort_and_unite(&mut records);
        let tree = TraceTree::build(&records);
        let mut nodes = vec![0; records.len()];
        let mut children = vec![0; tree.nodes.len()];
        for (index, node) in tree.nodes.iter().enumerate() {
            nodes[node.span] = index;
            if let Some(parent) = node.parent {
                children[parent] += 1;
            }
        }
        Self { records, tree, nodes, children, facts }
    }

    /// What sets a span apart in a summary.
    pub fn key(&self, span: usize) -> SpanKey {
        let record = &self.records[span];
        SpanKey {
            start: record.span.start_unix_nano,
            span_id: record.span.span_id.to_u64(),
            duration: record.span.end_unix_nano.wrapping_sub(record.span.start_unix_nano) as i64,
            kind: record.span.kind,
            status: record.span.status.code,
            service: record.resource.service_name().to_owned(),
            name: record.span.name.clone(),
        }
    }

    /// Runs stages; the spans that are left in any spanset, or `None` if no spanset is.
    pub fn run(&self, program: &Program, steps: &[Step]) -> Option<Spanset> {
        let all = (0..self.records.len()).filter(|span| self.in_time(program, *span)).collect();
        let left = self.steps(program, steps, vec![all]);
        (!left.is_empty()).then(|| union(left))
    }

    fn view(&self, span: usize) -> SpanInTrace<'_> {
        SpanInTrace { trace: self, span }
    }

    fn in_time(&self, program: &Program, span: usize) -> bool {
        let span = &self.records[span].span;
        let (start, end) = (span.start_unix_nano, span.end_unix_nano);
        start < program.end && (start >= program.start || end >= program.start)
    }

    fn steps(&self, program: &Program, steps: &[Step], mut sets: Vec<Spanset>) -> Vec<Spanset> {
        for step in steps {
            sets = match step {
                Step::Spansets(spans) => sets.iter().map(|set| self.select(program, spans, set)).collect(),
                Step::Scalar { op, lhs, rhs } => sets
                    .into_iter()
                    .filter_map(|set| {
                        let (left, left_spans) = self.scalar(program, lhs, &set);
                        let (right, right_spans) = self.scalar(program, rhs, &set);
                        let holds = left?.partial_cmp(&right?).is_some_and(|order| satisfies(*op, order));
                        holds.then(|| match (left_spans, right_spans) {
                            (None, None) => set,
                            (left, right) => union([left.unwrap_or_default(), right.unwrap_or_default()]),
                        })
                    })
                    .collect(),
                Step::By(fields) => sets.iter().flat_map(|set| self.group(fields, set)).collect(),
                Step::Coalesce => vec![union(sets)],
            };
            sets.retain(|set| !set.is_empty());
        }
        sets
    }

    fn select(&self, program: &Program, spans: &Spans, set: &[usize]) -> Spanset {
        match spans {
            Spans::Filter(index) => match program.filters.get(*index) {
                Some(filter) => set.iter().copied().filter(|span| filter.expr.holds(&self.view(*span))).collect(),
                None => Vec::new(),
            },
            Spans::And(lhs, rhs) => {
                let (left, right) = (self.select(program, lhs, set), self.select(program, rhs, set));
                if left.is_empty() || right.is_empty() { Vec::new() } else { union([left, right]) }
            }
            Spans::Or(lhs, rhs) => union([self.select(program, lhs, set), self.select(program, rhs, set)]),
            Spans::Structural(relation, form, lhs, rhs) => {
                let (left, right) = (self.select(program, lhs, set), self.select(program, rhs, set));
                let related = self.related(*relation, &left);
                match form {
                    StructuralForm::Plain => right.into_iter().filter(|span| related[*span]).collect(),
                    StructuralForm::Not => right.into_iter().filter(|span| !related[*span]).collect(),
                    StructuralForm::Union => {
                        let inverse = match relation {
                            Structural::Child => Structural::Parent,
                            Structural::Parent => Structural::Child,
                            Structural::Descendant => Structural::Ancestor,
                            Structural::Ancestor => Structural::Descendant,
                            Structural::Sibling => Structural::Sibling,
                        };
                        let back = self.related(inverse, &right);
                        union([
                            right.into_iter().filter(|span| related[*span]).collect(),
                            left.into_iter().filter(|span| back[*span]).collect(),
                        ])
                    }
                }
            }
            Spans::Pipeline(steps) => union(self.steps(program, steps, vec![set.to_vec()])),
        }
    }

    /// For each span, whether it stands in the relation to some span of `from`: is its child, its parent, ….
    fn related(&self, relation: Structural, from: &[usize]) -> Vec<bool> {
        let nodes = &self.tree.nodes;
        let mut of_from = vec![false; nodes.len()];
        from.iter().for_each(|span| of_from[self.nodes[*span]] = true);
        let mut related = vec![false; nodes.len()];
        match relation {
            // Parents stand before their children, so one pass sees what it needs.
            Structural::Child | Structural::Descendant => {
                for (node, parent) in nodes.iter().enumerate().filter_map(|(node, found)| Some((node, found.parent?))) {
                    related[node] = of_from[parent] || (relation == Structural::Descendant && related[parent]);
                }
            }
            Structural::Parent | Structural::Ancestor => {
                for (node, found) in nodes.iter().enumerate().rev() {
                    let reached = of_from[node] || (relation == Structural::Ancestor && related[node]);
                    if let Some(parent) = found.parent
                        && reached
                    {
                        related[parent] = true;
                    }
                }
            }
            Structural::Sibling => {
                let mut of_parent: HashMap<usize, (u32, usize)> = HashMap::new();
                for (node, parent) in nodes.iter().enumerate().filter_map(|(node, found)| Some((node, found.parent?))) {
                    if of_from[node] {
                        let count = of_parent.entry(parent).or_insert((0, node));
                        count.0 += 1;
                    }
                }
                for (node, parent) in nodes.iter().enumerate().filter_map(|(node, found)| Some((node, found.parent?))) {
                    // A span is no sibling of itself.
                    related[node] = of_parent.get(&parent).is_some_and(|(count, only)| *count > 1 || *only != node);
                }
            }
        }
        let mut by_span = vec![false; self.records.len()];
        nodes.iter().zip(related).for_each(|(node, related)| by_span[node.span] = related);
        by_span
    }

    /// A number of a spanset; and, where it comes from a pipeline of its own, the spans that this left.
    fn scalar(&self, program: &Program, scalar: &Scalar, set: &[usize]) -> (Option<f64>, Option<Spanset>) {
        match scalar {
            Scalar::Const(value) => (Some(*value), None),
            Scalar::Aggregate(aggregate, expr) => (self.aggregate(*aggregate, expr.as_ref(), set), None),
            Scalar::Negate(inner) => {
                let (value, spans) = self.scalar(program, inner, set);
                (value.map(|value| -value), spans)
            }
            Scalar::Math(op, lhs, rhs) => {
                let (left, left_spans) = self.scalar(program, lhs, set);
                let (right, right_spans) = self.scalar(program, rhs, set);
                let spans = match (left_spans, right_spans) {
                    (None, None) => None,
                    (left, right) => Some(union([left.unwrap_or_default(), right.unwrap_or_default()])),
                };
                let value = left.zip(right).map(|(left, right)| match op {
                    MathOp::Add => left + right,
                    MathOp::Sub => left - right,
                    MathOp::Mul => left * right,
                    MathOp::Div => left / right,
                    MathOp::Mod => left % right,
                    MathOp::Pow => left.powf(right),
                });
                (value, spans)
            }
            Scalar::Pipeline(steps, last) => {
                let spans = union(self.steps(program, steps, vec![set.to_vec()]));
                (self.scalar(program, last, &spans).0, Some(spans))
            }
        }
    }

    /// An aggregate over the spans that have a number; `None` where none has (but nothing counts as 0 spans).
    fn aggregate(&self, aggregate: Aggregate, expr: Option<&Expr>, set: &[usize]) -> Option<f64> {
        let Some(expr) = expr else { return Some(set.len() as f64) };
        let values = || set.iter().filter_map(|span| expr.number(&self.view(*span))?.as_f64());
        match aggregate {
            Aggregate::Count => Some(set.len() as f64),
            Aggregate::Sum => values().next().map(|_| values().sum()),
            Aggregate::Avg => values().next().map(|_| values().sum::<f64>() / values().count() as f64),
            Aggregate::Max => values().reduce(f64::max),
            Aggregate::Min => values().reduce(f64::min),
        }
    }

    /// A spanset for each distinct combination of values, in order of their first span.
    fn group(&self, fields: &[Expr], set: &[usize]) -> Vec<Spanset> {
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut groups: Vec<Spanset> = Vec::new();
        for span in set {
            let mut key = String::new();
            for field in fields {
                field.visit(&self.view(*span), &mut |value| key.push_str(&format!("{value:?},")));
                key.push(';');
            }
            let next = groups.len();
            let number = *numbers.entry(key).or_insert(next);
            if number == next {
                groups.push(Vec::new());
            }
            groups[number].push(*span);
        }
        groups
    }
}

fn union(sets: impl IntoIterator<Item = Spanset>) -> Spanset {
    let mut all: Spanset = sets.into_iter().flatten().collect();
    all.sort_unstable();
    all.dedup();
    all
}
