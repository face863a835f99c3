//! TraceQL read off the syntax tree, one span at a time, with no thought for speed: what search must agree with.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use tracewell_model::{KeyValue, SpanRecord, TraceId, Value};
use tracewell_query::traceql::*;

/// A trace as the tests compare it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub trace_id: TraceId,
    pub start: u64,
    pub duration_ns: u64,
    pub root: Option<(String, String)>,
    pub spans: u64,
    pub errors: u64,
    /// Ids of the matched spans, by start.
    pub matched: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq)]
enum V {
    Bool(bool),
    Num(f64),
    Str(String),
    Status(i32),
    Kind(i32),
}

struct Trace<'a> {
    spans: Vec<&'a SpanRecord>,
    from: u64,
    to: u64,
}

/// Every matching trace, the newest first.
pub fn search(query: &Query, spans: &[SpanRecord], from: u64, to: u64) -> Vec<Answer> {
    let mut traces: BTreeMap<TraceId, Vec<&SpanRecord>> = BTreeMap::new();
    for record in spans {
        let trace = traces.entry(record.span.trace_id).or_default();
        if !trace.contains(&record) {
            trace.push(record);
        }
    }
    let mut answers = Vec::new();
    for (trace_id, mut spans) in traces {
        spans.sort_by_key(|record| (record.span.start_unix_nano, record.span.span_id));
        let trace = Trace { spans, from, to };
        let all = (0..trace.spans.len()).filter(|span| trace.in_time(*span)).collect();
        let left = trace.stages(&query.pipeline().stages, vec![all]);
        let matched: BTreeSet<usize> = left.into_iter().flatten().collect();
        if !matched.is_empty() {
            let (start, end) = trace.extent();
            answers.push(Answer {
                trace_id,
                start,
                duration_ns: end - start,
                root: trace.root().map(|root| (root.resource.service_name().to_owned(), root.span.name.clone())),
                spans: trace.spans.len() as u64,
                errors: trace.spans.iter().filter(|record| record.span.status.code == 2).count() as u64,
                matched: matched.into_iter().map(|span| trace.spans[span].span.span_id.to_u64()).collect(),
            });
        }
    }
    answers.sort_by(|left, right| right.start.cmp(&left.start).then(left.trace_id.cmp(&right.trace_id)));
    answers
}

impl Trace<'_> {
    fn in_time(&self, span: usize) -> bool {
        let span = &self.spans[span].span;
        span.start_unix_nano < self.to && span.end_unix_nano >= self.from
    }

    fn extent(&self) -> (u64, u64) {
        let start = self.spans.iter().map(|record| record.span.start_unix_nano).min().unwrap();
        (start, self.spans.iter().map(|record| record.span.end_unix_nano).max().unwrap())
    }

    fn root(&self) -> Option<&SpanRecord> {
        self.spans.iter().copied().find(|record| record.span.parent_span_id.is_none())
    }

    fn parent(&self, span: usize) -> Option<usize> {
        let parent = self.spans[span].span.parent_span_id?;
        self.spans.iter().position(|record| record.span.span_id == parent)
    }

    fn ancestors(&self, span: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let mut at = span;
        while let Some(parent) = self.parent(at) {
            found.push(parent);
            at = parent;
        }
        found
    }

    fn stages(&self, stages: &[Stage], mut sets: Vec<Vec<usize>>) -> Vec<Vec<usize>> {
        for stage in stages {
            sets = match stage {
                Stage::Spansets(expr) => sets.iter().map(|set| self.select(expr, set)).collect(),
                Stage::ScalarFilter { op, lhs, rhs, .. } => sets
                    .into_iter()
                    .filter(|set| match (self.scalar(lhs, set), self.scalar(rhs, set)) {
                        (Some(left), Some(right)) => holds(*op, left.partial_cmp(&right).unwrap()),
                        _ => false,
                    })
                    .collect(),
                Stage::By(fields, _) => {
                    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
                    for set in &sets {
                        groups.clear();
                        for span in set {
                            let key = fields.iter().map(|field| format!("{:?}", self.values(field, *span))).collect();
                            groups.entry(key).or_default().push(*span);
                        }
                    }
                    groups.into_values().collect()
                }
                Stage::Coalesce(_) => vec![sets.into_iter().flatten().collect()],
                Stage::Select(..) => sets,
                other => panic!("not for search: {other:?}"),
            };
            sets.retain(|set| !set.is_empty());
        }
        sets
    }

    fn scalar(&self, scalar: &ScalarExpr, set: &[usize]) -> Option<f64> {
        match scalar {
            ScalarExpr::Static(Static::Int(value) | Static::Duration(value), _) => Some(*value as f64),
            ScalarExpr::Static(Static::Float(value), _) => Some(*value),
            ScalarExpr::Aggregate(Aggregate::Count, ..) => Some(set.len() as f64),
            ScalarExpr::Aggregate(aggregate, Some(field), _) => {
                let values: Vec<f64> = set.iter().filter_map(|span| self.number(field, *span)).collect();
                if values.is_empty() {
                    return None;
                }
                let sum: f64 = values.iter().sum();
                Some(match aggregate {
                    Aggregate::Sum => sum,
                    Aggregate::Avg => sum / values.len() as f64,
                    Aggregate::Max => values.iter().copied().fold(f64::MIN, f64::max),
                    _ => values.iter().copied().fold(f64::MAX, f64::min),
                })
            }
            other => panic!("not generated: {other:?}"),
        }
    }

    fn select(&self, expr: &SpansetExpr, set: &[usize]) -> Vec<usize> {
        match expr {
            SpansetExpr::Filter(None, _) => set.to_vec(),
            SpansetExpr::Filter(Some(condition), _) => {
                set.iter().copied().filter(|span| self.truth(condition, *span)).collect()
            }
            SpansetExpr::Pipeline(pipeline) => {
                self.stages(&pipeline.stages, vec![set.to_vec()]).into_iter().flatten().collect()
            }
            SpansetExpr::Binary { op, lhs, rhs, .. } => {
                let (left, right) = (self.select(lhs, set), self.select(rhs, set));
                let both = || left.iter().chain(&right).copied().collect::<BTreeSet<_>>().into_iter().collect();
                match op {
                    SpansetOp::And if left.is_empty() || right.is_empty() => Vec::new(),
                    SpansetOp::And | SpansetOp::Or => both(),
                    SpansetOp::Structural(relation, form) => {
                        let related = |right: usize, left: usize| match relation {
                            Structural::Child => self.parent(right) == Some(left),
                            Structural::Parent => self.parent(left) == Some(right),
                            Structural::Descendant => self.ancestors(right).contains(&left),
                            Structural::Ancestor => self.ancestors(left).contains(&right),
                            Structural::Sibling => {
                                left != right && self.parent(left).is_some() && self.parent(left) == self.parent(right)
                            }
                        };
                        let is_related = |span: usize| left.iter().any(|other| related(span, *other));
                        let mut found: BTreeSet<usize> = match form {
                            StructuralForm::Not => right.iter().copied().filter(|span| !is_related(*span)).collect(),
                            _ => right.iter().copied().filter(|span| is_related(*span)).collect(),
                        };
                        if *form == StructuralForm::Union {
                            found.extend(
                                left.iter().copied().filter(|span| right.iter().any(|other| related(*other, *span))),
                            );
                        }
                        found.into_iter().collect()
                    }
                }
            }
        }
    }

    fn truth(&self, expr: &FieldExpr, span: usize) -> bool {
        match &expr.node {
            FieldNode::Binary(BinaryOp::And, lhs, rhs) => self.truth(lhs, span) && self.truth(rhs, span),
            FieldNode::Binary(BinaryOp::Or, lhs, rhs) => self.truth(lhs, span) || self.truth(rhs, span),
            FieldNode::Unary(UnaryOp::Not, inner) => match inner.node {
                // A missing attribute is neither true nor false.
                FieldNode::Field(_) => {
                    let values = self.values(inner, span).unwrap_or_default();
                    values.iter().any(|value| matches!(value, V::Bool(_))) && !values.contains(&V::Bool(true))
                }
                _ => !self.truth(inner, span),
            },
            FieldNode::Binary(BinaryOp::Compare(op), lhs, rhs) => self.compare(*op, lhs, rhs, span),
            FieldNode::Cidr(..) => panic!("not generated"),
            _ => self.values(expr, span).unwrap_or_default().contains(&V::Bool(true)),
        }
    }

    fn compare(&self, op: CompareOp, lhs: &FieldExpr, rhs: &FieldExpr, span: usize) -> bool {
        let nil = |side: &FieldExpr| side.node == FieldNode::Static(Static::Nil);
        if nil(lhs) || nil(rhs) {
            let subject = if nil(rhs) { lhs } else { rhs };
            return self.values(subject, span).is_some() == (op == CompareOp::NotEq);
        }
        let (left, right) = (self.values(lhs, span).unwrap_or_default(), self.values(rhs, span).unwrap_or_default());
        // Ids may be written without their leading zeros.
        let is_id = |side: &FieldExpr| {
            use Intrinsic as I;
            matches!(
                side.node,
                FieldNode::Field(Field::Intrinsic {
                    intrinsic: I::SpanId | I::ParentId | I::TraceId | I::LinkSpanId | I::LinkTraceId,
                    ..
                })
            )
        };
        let short = |values: Vec<V>| -> Vec<V> {
            values
                .into_iter()
                .map(|value| match value {
                    V::Str(text) => V::Str(text.trim_start_matches('0').to_owned()),
                    value => value,
                })
                .collect()
        };
        let by_id = (is_id(lhs) || is_id(rhs)) && matches!(op, CompareOp::Eq | CompareOp::NotEq);
        let (left, right) = if by_id { (short(left), short(right)) } else { (left, right) };
        let mut said = Vec::new();
        for one in &left {
            for other in &right {
                let order = match (one, other) {
                    (V::Str(text), V::Str(pattern)) if matches!(op, CompareOp::Regex | CompareOp::NotRegex) => {
                        let regex = regex::Regex::new(&format!("^(?:{pattern})$")).unwrap();
                        said.push(regex.is_match(text));
                        continue;
                    }
                    (V::Str(one), V::Str(other)) => Some(one.cmp(other)),
                    (V::Num(one), V::Num(other)) => one.partial_cmp(other),
                    (V::Bool(one), V::Bool(other)) => Some(one.cmp(other)),
                    (V::Status(one), V::Status(other)) | (V::Kind(one), V::Kind(other)) => Some(one.cmp(other)),
                    _ => None,
                };
                if let Some(order) = order {
                    said.push(holds(if op == CompareOp::NotEq { CompareOp::Eq } else { op }, order));
                }
            }
        }
        match op {
            CompareOp::NotEq | CompareOp::NotRegex => !said.is_empty() && said.iter().all(|said| !said),
            _ => said.contains(&true),
        }
    }

    fn number(&self, expr: &FieldExpr, span: usize) -> Option<f64> {
        match self.values(expr, span)?.as_slice() {
            [V::Num(number)] => Some(*number),
            _ => None,
        }
    }

    /// The values of an expression; `None` where it is nil.
    fn values(&self, expr: &FieldExpr, span: usize) -> Option<Vec<V>> {
        match &expr.node {
            FieldNode::Static(value) => Some(vec![match value {
                Static::Nil => return None,
                Static::Bool(value) => V::Bool(*value),
                Static::Int(value) | Static::Duration(value) => V::Num(*value as f64),
                Static::Float(value) => V::Num(*value),
                Static::Str(value) => V::Str(value.clone()),
                Static::Status(value) => V::Status(*value as i32),
                Static::Kind(value) => V::Kind(*value as i32),
            }]),
            FieldNode::Field(field) => self.field(field, span),
            FieldNode::Unary(UnaryOp::Negate, inner) => Some(vec![V::Num(-self.number(inner, span)?)]),
            FieldNode::Binary(BinaryOp::Math(op), lhs, rhs) => {
                let (left, right) = (self.number(lhs, span)?, self.number(rhs, span)?);
                Some(vec![V::Num(match op {
                    MathOp::Add => left + right,
                    MathOp::Sub => left - right,
                    MathOp::Mul => left * right,
                    other => panic!("not generated: {other:?}"),
                })])
            }
            _ => Some(vec![V::Bool(self.truth(expr, span))]),
        }
    }

    fn field(&self, field: &Field, span: usize) -> Option<Vec<V>> {
        let span = if field.of_parent() { self.parent(span)? } else { span };
        let record = self.spans[span];
        match field {
            Field::Attr { attribute: Attribute { scope, key }, .. } => match scope {
                AttrScope::Span => attributes(&record.span.attributes, key),
                AttrScope::Resource => attributes(&record.resource.attributes, key),
                AttrScope::Any => {
                    attributes(&record.span.attributes, key).or_else(|| attributes(&record.resource.attributes, key))
                }
                AttrScope::Instrumentation => attributes(&record.scope.attributes, key),
                AttrScope::Event => {
                    let all: Vec<KeyValue> =
                        record.span.events.iter().flat_map(|event| event.attributes.clone()).collect();
                    attributes(&all, key)
                }
                AttrScope::Link => {
                    let all: Vec<KeyValue> =
                        record.span.links.iter().flat_map(|link| link.attributes.clone()).collect();
                    attributes(&all, key)
                }
            },
            Field::Intrinsic { intrinsic, .. } => self.intrinsic(*intrinsic, span),
        }
    }

    fn intrinsic(&self, intrinsic: Intrinsic, at: usize) -> Option<Vec<V>> {
        use Intrinsic as I;
        let record = self.spans[at];
        let span = &record.span;
        let text = |text: String| Some(vec![V::Str(text)]);
        let some = |values: Vec<V>| (!values.is_empty()).then_some(values);
        match intrinsic {
            I::Duration => Some(vec![V::Num((span.end_unix_nano as i64 - span.start_unix_nano as i64) as f64)]),
            I::Name => text(span.name.clone()),
            I::Kind => Some(vec![V::Kind(span.kind)]),
            I::Status => Some(vec![V::Status(span.status.code)]),
            I::StatusMessage => text(span.status.message.clone()),
            I::ChildCount => {
                let children = (0..self.spans.len()).filter(|other| self.parent(*other) == Some(at)).count();
                Some(vec![V::Num(children as f64)])
            }
            I::SpanId => text(span.span_id.to_string()),
            I::ParentId => text(span.parent_span_id?.to_string()),
            I::Parent => span.parent_span_id.map(|_| Vec::new()),
            // The generated queries only ask whether it is below zero: for roots.
            I::NestedSetParent => Some(vec![V::Num(if span.parent_span_id.is_none() { -1.0 } else { 1.0 })]),
            I::TraceDuration => {
                let (start, end) = self.extent();
                Some(vec![V::Num((end - start) as f64)])
            }
            I::RootName => text(self.root()?.span.name.clone()),
            I::RootService => text(self.root()?.resource.service_name().to_owned()),
            I::TraceId => text(span.trace_id.to_string()),
            I::EventName => some(span.events.iter().map(|event| V::Str(event.name.clone())).collect()),
            I::EventTimeSinceStart => some(
                span.events
                    .iter()
                    .map(|event| V::Num(event.time_unix_nano as f64 - span.start_unix_nano as f64))
                    .collect(),
            ),
            I::LinkSpanId => some(span.links.iter().map(|link| V::Str(link.span_id.to_string())).collect()),
            I::LinkTraceId => some(span.links.iter().map(|link| V::Str(link.trace_id.to_string())).collect()),
            I::InstrumentationName => text(record.scope.name.clone()),
            I::InstrumentationVersion => text(record.scope.version.clone()),
            I::NestedSetLeft | I::NestedSetRight => panic!("not generated"),
        }
    }
}

fn holds(op: CompareOp, order: Ordering) -> bool {
    match op {
        CompareOp::Eq => order == Ordering::Equal,
        CompareOp::NotEq => order != Ordering::Equal,
        CompareOp::Lt => order == Ordering::Less,
        CompareOp::LtEq => order != Ordering::Greater,
        CompareOp::Gt => order == Ordering::Greater,
        CompareOp::GtEq => order != Ordering::Less,
        CompareOp::Regex | CompareOp::NotRegex => false,
    }
}

fn attributes(attributes: &[KeyValue], key: &str) -> Option<Vec<V>> {
    let of_key: Vec<&Value> = attributes
        .iter()
        .filter(|attribute| attribute.key == key && attribute.value != Value::Empty)
        .map(|attribute| &attribute.value)
        .collect();
    (!of_key.is_empty()).then(|| of_key.into_iter().flat_map(flat).collect())
}

fn flat(value: &Value) -> Vec<V> {
    match value {
        Value::Str(text) => vec![V::Str(text.clone())],
        Value::Int(number) => vec![V::Num(*number as f64)],
        Value::Double(number) => vec![V::Num(*number)],
        Value::Bool(truth) => vec![V::Bool(*truth)],
        Value::Array(values) => values.iter().flat_map(flat).collect(),
        Value::Empty | Value::Bytes(_) | Value::Map(_) => Vec::new(),
    }
}
