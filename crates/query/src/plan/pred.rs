//! A filter over columns: negations pushed down to the leaves, each leaf one test of one kind of column.

use tracewell_model::SpanId;
use tracewell_store::table;

use super::{Expr, SpanView, Test, TestKind, Val};
use crate::traceql::{AttrScope, CompareOp, Field, Intrinsic};

/// What must be known to decide a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// The span's own row.
    Row,
    /// Start, end and root of its whole trace.
    Trace,
    /// Its place in the tree.
    Tree,
}

/// A filter in negation normal form.
#[derive(Debug, Clone)]
pub(crate) enum Pred {
    Const(bool),
    And(Vec<Pred>),
    Or(Vec<Pred>),
    Leaf(Leaf),
}

/// One test.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    /// Number of the leaf within its program, for what is remembered of it.
    pub id: usize,
    pub negated: bool,
    pub need: Need,
    pub kind: LeafKind,
}

#[derive(Debug, Clone)]
pub(crate) enum LeafKind {
    /// A number column: duration, kind, status.
    Number(table::Field, Test),
    /// A text column whose missing text is the empty one: name, status message.
    Text(table::Field, Test),
    /// The resource's `service.name`.
    Service(Test),
    /// Something of the resource or the instrumentation scope, decided once for each distinct one.
    Dict(DictTest, Test),
    /// An attribute of the span.
    Span(String, Test),
    /// An attribute of the span, or of the resource where the span has none of that name.
    Any(String, Test),
    /// Something of any event or link.
    List(ListTest, Test),
    /// The span has no parent.
    Root,
    /// The span's id.
    SpanId(u64),
    /// The trace's id.
    TraceId(Test),
    /// Anything else, row by row.
    Expr(Expr),
}

/// What is tested of a resource or scope.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DictTest {
    Resource(String),
    Scope(String),
    ScopeName,
    ScopeVersion,
}

/// What is tested of events or links.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ListTest {
    EventName,
    EventAttr(String),
    LinkSpanId,
    LinkTraceId,
    LinkAttr(String),
}

impl Pred {
    /// No span that takes less than this, in nanoseconds, passes.
    pub fn duration_min_ns(&self) -> u64 {
        match self {
            Pred::Const(_) => 0,
            Pred::And(parts) => parts.iter().map(Self::duration_min_ns).max().unwrap_or(0),
            Pred::Or(parts) => parts.iter().map(Self::duration_min_ns).min().unwrap_or(0),
            Pred::Leaf(Leaf {
                negated: false,
                kind:
                    LeafKind::Number(
                        table::Field::Duration,
                        Test {
                            kind: TestKind::Number(CompareOp::Eq | CompareOp::Gt | CompareOp::GtEq, Val::Int(least)),
                            none_of: false,
                        },
                    ),
                ..
            }) => u64::try_from(*least).unwrap_or(0),
            Pred::Leaf(_) => 0,
        }
    }

    /// The column-wise form of an expression. `leaves` counts leaves over all filters of a program.
    pub fn compile(expr: &Expr, leaves: &mut usize) -> Pred {
        compile(expr, false, leaves)
    }

    /// False when what all spans of the trace share already rules the filter out.
    pub fn possible(&self, trace: &dyn SpanView) -> bool {
        match self {
            Pred::Const(truth) => *truth,
            Pred::And(parts) => parts.iter().all(|part| part.possible(trace)),
            Pred::Or(parts) => parts.iter().any(|part| part.possible(trace)),
            Pred::Leaf(Leaf { need: Need::Trace, negated, kind: LeafKind::Expr(expr), .. }) => {
                let mut of_trace = true;
                expr.fields(&mut |field| of_trace &= need_of(field) == Need::Trace);
                !of_trace || expr.holds(trace) != *negated
            }
            Pred::Leaf(_) => true,
        }
    }

    /// The most that any leaf needs.
    pub fn need(&self) -> Need {
        match self {
            Pred::Const(_) => Need::Row,
            Pred::And(parts) | Pred::Or(parts) => parts.iter().map(Pred::need).max().unwrap_or(Need::Row),
            Pred::Leaf(leaf) => leaf.need,
        }
    }

    /// Rough cost for one row; cheap parts go first.
    fn cost(&self) -> u32 {
        match self {
            Pred::Const(_) => 0,
            Pred::And(parts) | Pred::Or(parts) => parts.iter().map(Pred::cost).sum(),
            Pred::Leaf(leaf) => match &leaf.kind {
                _ if leaf.need == Need::Tree => 100,
                LeafKind::TraceId(_) => 1,
                LeafKind::Number(..) | LeafKind::Root | LeafKind::SpanId(_) => 2,
                LeafKind::Service(test) | LeafKind::Text(_, test) => text_cost(test),
                LeafKind::Dict(..) => 4,
                LeafKind::Span(_, test) => 1 + text_cost(test),
                LeafKind::Any(_, test) => 4 + text_cost(test),
                LeafKind::List(..) => 40,
                LeafKind::Expr(_) => 50,
            },
        }
    }

    /// Every leaf.
    pub fn leaves<'a>(&'a self, visit: &mut dyn FnMut(&'a Leaf)) {
        match self {
            Pred::Const(_) => {}
            Pred::And(parts) | Pred::Or(parts) => parts.iter().for_each(|part| part.leaves(visit)),
            Pred::Leaf(leaf) => visit(leaf),
        }
    }
}

fn text_cost(test: &Test) -> u32 {
    match test.kind {
        TestKind::Regex(_) | TestKind::Cidr(_) => 10,
        _ => 3,
    }
}

fn compile(expr: &Expr, negated: bool, leaves: &mut usize) -> Pred {
    match expr {
        Expr::Const(value) => Pred::Const((*value == Some(Val::Bool(true))) != negated),
        // `!` of an attribute is more than the opposite of it: see `Expr::holds`.
        Expr::Not(inner) if !matches!(**inner, Expr::Field(_)) => compile(inner, !negated, leaves),
        Expr::And(lhs, rhs) | Expr::Or(lhs, rhs) => {
            let is_and = matches!(expr, Expr::And(..)) != negated;
            let mut parts = Vec::new();
            for side in [lhs, rhs] {
                match (compile(side, negated, leaves), is_and) {
                    (Pred::And(inner), true) | (Pred::Or(inner), false) => parts.extend(inner),
                    (Pred::Const(truth), is_and) if truth == is_and => {}
                    (Pred::Const(truth), _) => return Pred::Const(truth),
                    (part, _) => parts.push(part),
                }
            }
            parts.sort_by_key(Pred::cost);
            match (parts.pop(), parts.is_empty(), is_and) {
                (None, ..) => Pred::Const(is_and),
                (Some(only), true, _) => only,
                (Some(last), false, true) => Pred::And(parts.into_iter().chain([last]).collect()),
                (Some(last), false, false) => Pred::Or(parts.into_iter().chain([last]).collect()),
            }
        }
        expr => {
            let (kind, turned) = leaf(expr);
            let mut need = Need::Row;
            if !matches!(kind, LeafKind::Root) {
                expr.fields(&mut |field| need = need.max(need_of(field)));
            }
            *leaves += 1;
            Pred::Leaf(Leaf { id: *leaves - 1, negated: negated != turned, need, kind })
        }
    }
}

fn need_of(field: &Field) -> Need {
    use Intrinsic as I;
    match field {
        field if field.of_parent() => Need::Tree,
        Field::Intrinsic { intrinsic, .. } => match intrinsic {
            // The parent's id may stand rows away, or in another source.
            I::ChildCount | I::NestedSetLeft | I::NestedSetRight | I::NestedSetParent | I::ParentId => Need::Tree,
            intrinsic if intrinsic.of_trace() => Need::Trace,
            _ => Need::Row,
        },
        Field::Attr { .. } => Need::Row,
    }
}

/// The leaf for an expression, and whether it stands for the opposite.
fn leaf(expr: &Expr) -> (LeafKind, bool) {
    use Intrinsic as I;
    let (field, test) = match expr {
        Expr::Test(inner, test) => match &**inner {
            Expr::Field(field) => (field, test.clone()),
            _ => return (LeafKind::Expr(expr.clone()), false),
        },
        // An attribute alone is true when its value is true; `!` of it, when its value is false.
        Expr::Field(field) => (field, Test::positive(TestKind::Bool(true))),
        _ => return (LeafKind::Expr(expr.clone()), false),
    };
    let exists = matches!(test.kind, TestKind::Exists);
    let kind = match field {
        Field::Attr { parent: false, attribute } => {
            let key = attribute.key.clone();
            match attribute.scope {
                AttrScope::Any => LeafKind::Any(key, test),
                AttrScope::Span => LeafKind::Span(key, test),
                AttrScope::Resource if key == "service.name" && !exists => LeafKind::Service(test),
                AttrScope::Resource => LeafKind::Dict(DictTest::Resource(key), test),
                AttrScope::Instrumentation => LeafKind::Dict(DictTest::Scope(key), test),
                AttrScope::Event => LeafKind::List(ListTest::EventAttr(key), test),
                AttrScope::Link => LeafKind::List(ListTest::LinkAttr(key), test),
            }
        }
        Field::Intrinsic { parent: false, intrinsic } => match intrinsic {
            I::Duration => LeafKind::Number(table::Field::Duration, test),
            I::Kind => LeafKind::Number(table::Field::Kind, test),
            I::Status => LeafKind::Number(table::Field::StatusCode, test),
            I::Name => LeafKind::Text(table::Field::Name, test),
            I::StatusMessage => LeafKind::Text(table::Field::StatusMessage, test),
            // A span has a parent exactly when it is no root.
            I::Parent | I::ParentId if exists => return (LeafKind::Root, !test.none_of),
            I::NestedSetParent if is_root_test(&test) => return (LeafKind::Root, false),
            I::SpanId => match &test.kind {
                TestKind::Text(CompareOp::Eq, text) => match text.parse::<SpanId>() {
                    Ok(id) => return (LeafKind::SpanId(id.to_u64()), test.none_of),
                    Err(_) => LeafKind::Expr(expr.clone()),
                },
                _ => LeafKind::Expr(expr.clone()),
            },
            I::InstrumentationName => LeafKind::Dict(DictTest::ScopeName, test),
            I::InstrumentationVersion => LeafKind::Dict(DictTest::ScopeVersion, test),
            I::EventName => LeafKind::List(ListTest::EventName, test),
            I::LinkSpanId => LeafKind::List(ListTest::LinkSpanId, test),
            I::LinkTraceId => LeafKind::List(ListTest::LinkTraceId, test),
            I::TraceId => LeafKind::TraceId(test),
            _ => LeafKind::Expr(expr.clone()),
        },
        _ => LeafKind::Expr(expr.clone()),
    };
    (kind, false)
}

/// `nestedSetParent < 0` and `nestedSetParent = -1` are how clients of Tempo ask for root spans.
fn is_root_test(test: &Test) -> bool {
    !test.none_of
        && matches!(
            &test.kind,
            TestKind::Number(CompareOp::Lt, Val::Int(0)) | TestKind::Number(CompareOp::Eq, Val::Int(-1))
        )
}
