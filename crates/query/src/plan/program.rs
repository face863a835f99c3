//! The whole query, ready to run.

use super::{Expr, Need, Pred};
use crate::traceql::{
    Aggregate, CompareOp, Pipeline, Query, SpansetExpr, SpansetOp, Stage, Structural, StructuralForm,
};

/// A compiled query.
#[derive(Debug)]
pub(crate) struct Program {
    /// At most 64, so that a mask has a bit for each.
    pub filters: Vec<Filter>,
    /// A condition that every matching trace satisfies: which filters must have matched some span.
    pub bound: Bound,
    pub shape: Shape,
    /// A filter that must match at least so many spans of a trace, where the query begins by counting its spans.
    pub least: Option<(usize, u64)>,
    /// How many leaves all filters have together.
    pub leaves: usize,
    /// Spans must overlap `[start, end)`, nanoseconds since the epoch.
    pub start: u64,
    /// See `start`.
    pub end: u64,
}

/// One `{ … }`, in both its forms.
#[derive(Debug)]
pub(crate) struct Filter {
    pub expr: Expr,
    pub pred: Pred,
}

/// A condition over the filters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Bound {
    Always,
    Filter(usize),
    And(Box<Bound>, Box<Bound>),
    Or(Box<Bound>, Box<Bound>),
}

/// How the answer is found.
#[derive(Debug)]
pub(crate) enum Shape {
    /// The bound is the condition, and the spans of the filters that count in it are the answer.
    Rows,
    /// Traces that pass the bound are assembled and the stages are run on them.
    Trace(Vec<Step>),
}

/// A stage over one assembled trace.
#[derive(Debug)]
pub(crate) enum Step {
    Spansets(Spans),
    Scalar { op: CompareOp, lhs: Scalar, rhs: Scalar },
    By(Vec<Expr>),
    Coalesce,
}

/// A selection of spans of one assembled trace.
#[derive(Debug)]
pub(crate) enum Spans {
    Filter(usize),
    And(Box<Spans>, Box<Spans>),
    Or(Box<Spans>, Box<Spans>),
    Structural(Structural, StructuralForm, Box<Spans>, Box<Spans>),
    Pipeline(Vec<Step>),
}

/// A number of one spanset.
#[derive(Debug)]
pub(crate) enum Scalar {
    Const(f64),
    Aggregate(Aggregate, Option<Expr>),
    Math(crate::traceql::MathOp, Box<Scalar>, Box<Scalar>),
    Negate(Box<Scalar>),
    /// Stages, then the number of what they leave.
    Pipeline(Vec<Step>, Box<Scalar>),
}

impl Bound {
    /// Is it satisfied when the filters in `mask` have matched?
    pub fn holds(&self, mask: u64) -> bool {
        match self {
            Bound::Always => true,
            Bound::Filter(index) => mask >> index & 1 == 1,
            Bound::And(lhs, rhs) => lhs.holds(mask) && rhs.holds(mask),
            Bound::Or(lhs, rhs) => lhs.holds(mask) || rhs.holds(mask),
        }
    }

    /// The filters whose spans are the answer, given those that have matched; 0 where the bound does not hold.
    pub fn selected(&self, mask: u64) -> u64 {
        match self {
            Bound::Always => mask,
            Bound::Filter(index) => mask & 1 << index,
            Bound::And(lhs, rhs) => match (lhs.selected(mask), rhs.selected(mask)) {
                (0, _) | (_, 0) => 0,
                (left, right) => left | right,
            },
            Bound::Or(lhs, rhs) => lhs.selected(mask) | rhs.selected(mask),
        }
    }
}

impl Program {
    /// Compiles a query for a range of time.
    pub fn new(query: &Query, start: u64, end: u64) -> Program {
        let mut builder = Builder::default();
        let mut stages = builder.steps(query.pipeline());
        // Selecting attributes changes what is shown, not what matches.
        let rows = match stages.as_slice() {
            [Step::Spansets(spans)] => builder.rows_bound(spans),
            _ => None,
        };
        let (bound, shape) = match rows {
            Some(bound) => (bound, Shape::Rows),
            None => (builder.bound_of_steps(&stages), Shape::Trace(std::mem::take(&mut stages))),
        };
        // A query that begins with an aggregate looks at every trace: as if it began with `{ }`.
        let bound = match bound {
            Bound::Always => builder.every_span(),
            bound => bound,
        };
        let least = match &shape {
            Shape::Trace(steps) => least(steps),
            Shape::Rows => None,
        };
        Program { filters: builder.filters, bound, shape, least, leaves: builder.leaves, start, end }
    }

    /// The most that any filter needs, for the shape `Rows`.
    pub fn need(&self) -> Need {
        self.filters.iter().map(|filter| filter.pred.need()).max().unwrap_or(Need::Row)
    }
}

#[derive(Default)]
struct Builder {
    filters: Vec<Filter>,
    leaves: usize,
}

impl Builder {
    fn every_span(&mut self) -> Bound {
        let expr = Expr::Const(Some(super::Val::Bool(true)));
        self.filters.push(Filter { pred: Pred::compile(&expr, &mut self.leaves), expr });
        Bound::Filter(self.filters.len() - 1)
    }

    fn steps(&mut self, pipeline: &Pipeline) -> Vec<Step> {
        pipeline.stages.iter().filter_map(|stage| self.step(stage)).collect()
    }

    fn step(&mut self, stage: &Stage) -> Option<Step> {
        Some(match stage {
            Stage::Spansets(expr) => Step::Spansets(self.spans(expr)),
            Stage::ScalarFilter { op, lhs, rhs, .. } => {
                Step::Scalar { op: *op, lhs: self.scalar(lhs), rhs: self.scalar(rhs) }
            }
            Stage::By(fields, _) => Step::By(fields.iter().map(Expr::compile).collect()),
            Stage::Coalesce(_) => Step::Coalesce,
            // Selecting attributes changes what is shown, not what matches; metrics do not pass the checker.
            Stage::Select(..)
            | Stage::Scalar(..)
            | Stage::Metrics(_)
            | Stage::TopK(..)
            | Stage::BottomK(..)
            | Stage::MetricsFilter(..) => return None,
        })
    }

    fn spans(&mut self, expr: &SpansetExpr) -> Spans {
        match expr {
            SpansetExpr::Filter(condition, _) => {
                let expr = match condition {
                    Some(condition) => Expr::compile(condition),
                    None => Expr::Const(Some(super::Val::Bool(true))),
                };
                let pred = Pred::compile(&expr, &mut self.leaves);
                self.filters.push(Filter { expr, pred });
                Spans::Filter(self.filters.len() - 1)
            }
            SpansetExpr::Binary { op, lhs, rhs, .. } => {
                let (lhs, rhs) = (Box::new(self.spans(lhs)), Box::new(self.spans(rhs)));
                match op {
                    SpansetOp::And => Spans::And(lhs, rhs),
                    SpansetOp::Or => Spans::Or(lhs, rhs),
                    SpansetOp::Structural(relation, form) => Spans::Structural(*relation, *form, lhs, rhs),
                }
            }
            SpansetExpr::Pipeline(pipeline) => Spans::Pipeline(self.steps(pipeline)),
        }
    }

    fn scalar(&mut self, scalar: &crate::traceql::ScalarExpr) -> Scalar {
        use crate::traceql::{ScalarExpr, Static};
        match scalar {
            ScalarExpr::Static(value, _) => Scalar::Const(match value {
                Static::Int(value) | Static::Duration(value) => *value as f64,
                Static::Float(value) => *value,
                _ => f64::NAN,
            }),
            ScalarExpr::Aggregate(aggregate, field, _) => {
                Scalar::Aggregate(*aggregate, field.as_ref().map(|field| Expr::compile(field)))
            }
            ScalarExpr::Binary(op, lhs, rhs) => {
                Scalar::Math(*op, Box::new(self.scalar(lhs)), Box::new(self.scalar(rhs)))
            }
            ScalarExpr::Negate(inner) => Scalar::Negate(Box::new(self.scalar(inner))),
            ScalarExpr::Pipeline(pipeline) => {
                let steps = self.steps(pipeline);
                let last = match pipeline.stages.last() {
                    Some(Stage::Scalar(last, _)) => self.scalar(last),
                    _ => Scalar::Const(f64::NAN),
                };
                Scalar::Pipeline(steps, Box::new(last))
            }
        }
    }

    /// The exact condition, where the rows of the filters alone decide.
    fn rows_bound(&self, spans: &Spans) -> Option<Bound> {
        match spans {
            Spans::Filter(index) => {
                let by_rows = self.filters.get(*index)?.pred.need() < Need::Tree;
                by_rows.then_some(Bound::Filter(*index))
            }
            Spans::And(lhs, rhs) => Some(Bound::And(Box::new(self.rows_bound(lhs)?), Box::new(self.rows_bound(rhs)?))),
            Spans::Or(lhs, rhs) => Some(Bound::Or(Box::new(self.rows_bound(lhs)?), Box::new(self.rows_bound(rhs)?))),
            Spans::Structural(..) | Spans::Pipeline(_) => None,
        }
    }

    fn bound_of_steps(&self, steps: &[Step]) -> Bound {
        // Only the first stage sees every span of the trace; later ones make less of it.
        match steps.first() {
            Some(Step::Spansets(spans)) => self.bound(spans),
            Some(Step::Scalar { lhs, rhs, .. }) => match (scalar_steps(lhs), scalar_steps(rhs)) {
                // A side without spans counts as none of them, which may be just what is asked for.
                (Some(lhs), Some(rhs)) => or(self.bound_of_steps(lhs), self.bound_of_steps(rhs)),
                (Some(steps), None) | (None, Some(steps)) => self.bound_of_steps(steps),
                (None, None) => Bound::Always,
            },
            _ => Bound::Always,
        }
    }

    fn bound(&self, spans: &Spans) -> Bound {
        match spans {
            Spans::Filter(index) => Bound::Filter(*index),
            Spans::And(lhs, rhs) => and(self.bound(lhs), self.bound(rhs)),
            Spans::Or(lhs, rhs) => or(self.bound(lhs), self.bound(rhs)),
            Spans::Structural(_, StructuralForm::Not, _, rhs) => self.bound(rhs),
            Spans::Structural(_, _, lhs, rhs) => and(self.bound(lhs), self.bound(rhs)),
            Spans::Pipeline(steps) => self.bound_of_steps(steps),
        }
    }
}

/// `{ … } | count() > 2` and its like: the filter, and how many spans it must match.
fn least(steps: &[Step]) -> Option<(usize, u64)> {
    let [Step::Spansets(Spans::Filter(filter)), Step::Scalar { op, lhs, rhs }, ..] = steps else { return None };
    let (Scalar::Aggregate(Aggregate::Count, None), Scalar::Const(number)) = (lhs, rhs) else { return None };
    match op {
        CompareOp::Gt => Some((*filter, number.max(0.0) as u64 + 1)),
        CompareOp::GtEq | CompareOp::Eq => Some((*filter, number.max(0.0).ceil() as u64)),
        _ => None,
    }
}

/// The stages within a number that has nothing without their spans.
fn scalar_steps(scalar: &Scalar) -> Option<&[Step]> {
    match scalar {
        Scalar::Pipeline(steps, _) => Some(steps),
        _ => None,
    }
}

fn and(lhs: Bound, rhs: Bound) -> Bound {
    match (lhs, rhs) {
        (Bound::Always, other) | (other, Bound::Always) => other,
        (lhs, rhs) => Bound::And(Box::new(lhs), Box::new(rhs)),
    }
}

fn or(lhs: Bound, rhs: Bound) -> Bound {
    match (lhs, rhs) {
        (Bound::Always, _) | (_, Bound::Always) => Bound::Always,
        (lhs, rhs) => Bound::Or(Box::new(lhs), Box::new(rhs)),
    }
}
