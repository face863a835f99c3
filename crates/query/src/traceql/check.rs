//! Does a query make sense? Types, order of stages, regular expressions, networks.

use std::net::IpAddr;
use std::str::FromStr;

use super::ast::*;
use super::{Error, Field, Type, anchored_regex, parse};

/// A query that was checked and can be executed.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    root: Root,
    named: Vec<Field>,
    warnings: Vec<String>,
}

impl Query {
    /// Reads and checks a query. An empty text asks for every trace, as `{ }` does.
    ///
    /// # Errors
    /// The first place where the text is not TraceQL, does not make sense, or asks for what a search does not
    /// answer (metrics).
    pub fn parse(text: &str) -> Result<Query, Error> {
        if text.trim().is_empty() {
            return Query::check(parse("{ }")?);
        }
        Query::check(parse(text)?)
    }

    /// Checks a tree.
    ///
    /// # Errors
    /// As [`Query::parse`].
    pub fn check(root: Root) -> Result<Query, Error> {
        let mut checker = Checker::default();
        match &root.body {
            Body::Pipeline(pipeline) => checker.pipeline(pipeline)?,
            Body::Math(math, rest) => {
                checker.math(math)?;
                for stage in rest {
                    checker.second_stage(stage)?;
                }
            }
        }
        if let Some((pos, name)) = checker.metrics {
            return Err(Error::new(pos, format!("{name} makes a metrics query, and a search answers with traces"))
                .hint("remove the metrics function to see the matching traces"));
        }
        Ok(Query { root, named: checker.named, warnings: checker.warnings })
    }

    /// The syntax tree.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The stages of the query.
    pub fn pipeline(&self) -> &Pipeline {
        static NONE: Pipeline = Pipeline { stages: Vec::new() };
        match &self.root.body {
            Body::Pipeline(pipeline) => pipeline,
            Body::Math(..) => &NONE,
        }
    }

    /// Attributes and intrinsics that the query names, each once, in order of appearance: what an answer should show
    /// of a span.
    pub fn named_fields(&self) -> &[Field] {
        &self.named
    }

    /// What is allowed and probably not meant.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl FromStr for Query {
    type Err = Error;
    fn from_str(text: &str) -> Result<Query, Error> {
        Query::parse(text)
    }
}

/// Most filters in a query.
const FILTERS_MAX: usize = 60;

#[derive(Default)]
struct Checker {
    filters: usize,
    named: Vec<Field>,
    warnings: Vec<String>,
    metrics: Option<(Pos, &'static str)>,
}

impl Checker {
    fn pipeline(&mut self, pipeline: &Pipeline) -> Result<(), Error> {
        let mut after_metrics = false;
        for (index, stage) in pipeline.stages.iter().enumerate() {
            if after_metrics {
                self.second_stage(stage)?;
                continue;
            }
            match stage {
                Stage::Spansets(expr) => self.spansets(expr)?,
                Stage::ScalarFilter { lhs, rhs, op, pos } => self.scalar_filter(*op, lhs, rhs, *pos)?,
                Stage::Scalar(scalar, _) => {
                    self.scalar(scalar)?;
                }
                Stage::By(fields, _) | Stage::Select(fields, _) => {
                    for field in fields {
                        self.expr(field)?;
                        let by = matches!(stage, Stage::By(..));
                        if by && !references_span(field) {
                            return Err(Error::new(field.pos, "by() needs something of the span, not only literals"));
                        }
                        if !by && !matches!(field.node, FieldNode::Field(_)) {
                            return Err(Error::new(field.pos, "select() takes attributes and intrinsics")
                                .hint("for example select(span.http.route, status)"));
                        }
                    }
                }
                Stage::Coalesce(pos) if index == 0 => {
                    return Err(Error::new(*pos, "coalesce() cannot be the first stage")
                        .hint("for example { } | by(name) | coalesce()"));
                }
                Stage::Coalesce(_) => {}
                Stage::Metrics(metrics) => {
                    if index == 0 {
                        return Err(Error::new(metrics.pos, "a metrics function needs spans to work on")
                            .hint("write { } | before it"));
                    }
                    self.metrics(metrics)?;
                    after_metrics = true;
                }
                Stage::TopK(_, pos) | Stage::BottomK(_, pos) | Stage::MetricsFilter(_, _, pos) => {
                    return Err(Error::new(
                        *pos,
                        "this stage works on metrics, and there is no metrics function before it",
                    )
                    .hint("for example { } | rate() by (resource.service.name) | topk(5)"));
                }
            }
        }
        Ok(())
    }

    fn math(&mut self, math: &Math) -> Result<(), Error> {
        match math {
            Math::Metrics(pipeline) => self.pipeline(pipeline),
            Math::Binary(_, lhs, rhs) => self.math(lhs).and_then(|()| self.math(rhs)),
        }
    }

    fn second_stage(&mut self, stage: &Stage) -> Result<(), Error> {
        match stage {
            Stage::TopK(..) | Stage::BottomK(..) => Ok(()),
            Stage::MetricsFilter(CompareOp::Regex | CompareOp::NotRegex, _, pos) => {
                Err(Error::new(*pos, "metrics are numbers, and regular expressions are for texts"))
            }
            Stage::MetricsFilter(..) => Ok(()),
            other => Err(Error::new(
                stage_pos(other),
                "after a metrics function only topk(), bottomk() and a comparison can follow",
            )),
        }
    }

    fn metrics(&mut self, stage: &MetricsStage) -> Result<(), Error> {
        use MetricsFunction as F;
        let name = match &stage.function {
            F::Rate => "rate()",
            F::CountOverTime => "count_over_time()",
            F::MinOverTime(_) => "min_over_time()",
            F::MaxOverTime(_) => "max_over_time()",
            F::AvgOverTime(_) => "avg_over_time()",
            F::SumOverTime(_) => "sum_over_time()",
            F::QuantileOverTime(..) => "quantile_over_time()",
            F::HistogramOverTime(_) => "histogram_over_time()",
            F::Compare { .. } => "compare()",
        };
        match &stage.function {
            F::Rate | F::CountOverTime => {}
            F::Compare { selection, .. } => self.spansets(selection)?,
            F::MinOverTime(field)
            | F::MaxOverTime(field)
            | F::AvgOverTime(field)
            | F::SumOverTime(field)
            | F::QuantileOverTime(field, _)
            | F::HistogramOverTime(field) => self.number_of_span(field, name)?,
        }
        for field in &stage.by {
            self.expr(field)?;
        }
        self.metrics.get_or_insert((stage.pos, name));
        Ok(())
    }

    fn spansets(&mut self, expr: &SpansetExpr) -> Result<(), Error> {
        if let SpansetExpr::Filter(_, pos) = expr {
            self.filters += 1;
            if self.filters > FILTERS_MAX {
                return Err(Error::new(*pos, format!("the query has more than {FILTERS_MAX} filters in braces")));
            }
        }
        match expr {
            SpansetExpr::Filter(None, _) => Ok(()),
            SpansetExpr::Filter(Some(condition), _) => match self.expr(condition)? {
                Type::Bool | Type::Any => Ok(()),
                other => Err(Error::new(condition.pos, format!("a filter must be true or false, and this is {other}"))
                    .hint("compare it with something")),
            },
            SpansetExpr::Binary { lhs, rhs, .. } => {
                self.spansets(lhs)?;
                self.spansets(rhs)
            }
            SpansetExpr::Pipeline(pipeline) => self.pipeline(pipeline),
        }
    }

    fn scalar_filter(&mut self, op: CompareOp, lhs: &ScalarExpr, rhs: &ScalarExpr, pos: Pos) -> Result<(), Error> {
        self.scalar(lhs)?;
        self.scalar(rhs)?;
        if matches!(op, CompareOp::Regex | CompareOp::NotRegex) {
            return Err(Error::new(pos, "aggregates are numbers, and regular expressions are for texts"));
        }
        if is_static(lhs) && is_static(rhs) {
            return Err(Error::new(pos, "this comparison has no aggregate").hint("for example count() > 2"));
        }
        Ok(())
    }

    fn scalar(&mut self, scalar: &ScalarExpr) -> Result<Type, Error> {
        match scalar {
            ScalarExpr::Static(value, _) => Ok(Type::of_static(value)),
            ScalarExpr::Aggregate(_, None, _) => Ok(Type::Int),
            ScalarExpr::Aggregate(aggregate, Some(field), _) => {
                let name = match aggregate {
                    Aggregate::Count => "count()",
                    Aggregate::Avg => "avg()",
                    Aggregate::Max => "max()",
                    Aggregate::Min => "min()",
                    Aggregate::Sum => "sum()",
                };
                self.number_of_span(field, name)?;
                Ok(Type::Any)
            }
            ScalarExpr::Binary(_, lhs, rhs) => Ok(Type::of_math(self.scalar(lhs)?, self.scalar(rhs)?)),
            ScalarExpr::Negate(inner) => self.scalar(inner),
            ScalarExpr::Pipeline(pipeline) => {
                self.pipeline(pipeline)?;
                Ok(Type::Any)
            }
        }
    }

    fn number_of_span(&mut self, field: &FieldExpr, name: &str) -> Result<(), Error> {
        let found = self.expr(field)?;
        if !found.numeric() {
            return Err(Error::new(field.pos, format!("{name} needs numbers, and this is {found}")));
        }
        if !references_span(field) {
            return Err(Error::new(field.pos, format!("{name} needs something of the span, not only literals")));
        }
        Ok(())
    }

    fn expr(&mut self, expr: &FieldExpr) -> Result<Type, Error> {
        match &expr.node {
            FieldNode::Static(value) => Ok(Type::of_static(value)),
            FieldNode::Field(field) => {
                if !self.named.contains(field) {
                    self.named.push(field.clone());
                }
                Ok(Type::of_field(field))
            }
            FieldNode::Unary(op, inner) => {
                let found = self.expr(inner)?;
                match op {
                    UnaryOp::Not if matches!(found, Type::Bool | Type::Any) => Ok(Type::Bool),
                    UnaryOp::Not => Err(Error::new(inner.pos, format!("! needs a truth value, and this is {found}"))
                        .hint("put the comparison in parentheses: !(a = b)")),
                    UnaryOp::Negate if found.numeric() => Ok(found),
                    UnaryOp::Negate => Err(Error::new(inner.pos, format!("- needs a number, and this is {found}"))),
                }
            }
            FieldNode::Binary(op, lhs, rhs) => {
                let (left, right) = (self.expr(lhs)?, self.expr(rhs)?);
                match op {
                    BinaryOp::And | BinaryOp::Or => {
                        for (side, found) in [(lhs, left), (rhs, right)] {
                            if !matches!(found, Type::Bool | Type::Any) {
                                return Err(Error::new(
                                    side.pos,
                                    format!("{op} needs truth values, and this is {found}"),
                                ));
                            }
                        }
                        Ok(Type::Bool)
                    }
                    BinaryOp::Math(op) => {
                        for (side, found) in [(lhs, left), (rhs, right)] {
                            if !found.numeric() {
                                return Err(Error::new(side.pos, format!("{op} needs numbers, and this is {found}")));
                            }
                        }
                        Ok(Type::of_math(left, right))
                    }
                    BinaryOp::Compare(op) => self.compare(*op, lhs, rhs, left, right),
                }
            }
            FieldNode::Cidr(field, networks) => {
                let found = self.expr(field)?;
                if !matches!(found, Type::Str | Type::Any) {
                    return Err(Error::new(field.pos, format!("cidr() needs a text, and this is {found}")));
                }
                if networks.is_empty() {
                    return Err(
                        Error::new(expr.pos, "cidr() needs at least one network").hint("for example \"10.0.0.0/8\"")
                    );
                }
                match networks.iter().find(|network| parse_network(network).is_none()) {
                    Some(bad) => Err(Error::new(expr.pos, format!("{bad:?} is not a network"))
                        .hint("a network is an address, / and the bits that count: \"10.0.0.0/8\"")),
                    None => Ok(Type::Bool),
                }
            }
        }
    }

    fn compare(
        &mut self,
        op: CompareOp,
        lhs: &FieldExpr,
        rhs: &FieldExpr,
        left: Type,
        right: Type,
    ) -> Result<Type, Error> {
        if matches!(op, CompareOp::Regex | CompareOp::NotRegex) {
            let FieldNode::Static(Static::Str(pattern)) = &rhs.node else {
                return Err(Error::new(
                    rhs.pos,
                    format!("the right side of {op} must be a text with a regular expression"),
                ));
            };
            if !matches!(left, Type::Str | Type::Any) {
                return Err(Error::new(lhs.pos, format!("{op} works on texts, and this is {left}")));
            }
            return match anchored_regex(pattern) {
                Ok(_) => Ok(Type::Bool),
                Err(error) => {
                    Err(Error::new(rhs.pos, format!("this regular expression is not valid: {}", regex_reason(&error))))
                }
            };
        }
        let nil = left == Type::Nil || right == Type::Nil;
        let equality = matches!(op, CompareOp::Eq | CompareOp::NotEq);
        if nil && !equality {
            return Err(Error::new(lhs.pos.to(rhs.pos), format!("{op} cannot be applied to nil"))
                .hint("nil can be compared with = and !="));
        }
        if !nil && !left.comparable(right) {
            let error = Error::new(lhs.pos.to(rhs.pos), format!("{left} cannot be compared with {right}"));
            return Err(match mismatch_hint(lhs, rhs, left, right) {
                Some(hint) => error.hint(hint),
                None => error,
            });
        }
        let ordered = |found: Type| found.numeric() || found == Type::Str;
        if let Some(found) = [left, right].into_iter().find(|found| !equality && !ordered(*found)) {
            return Err(Error::new(lhs.pos.to(rhs.pos), format!("{op} cannot be applied to {found}"))
                .hint("only numbers, durations and texts have an order"));
        }
        for (one, other, side) in [(left, right, rhs), (right, left, lhs)] {
            if one == Type::Duration
                && matches!(other, Type::Int | Type::Float)
                && let FieldNode::Static(value) = &side.node
                && !matches!(value, Static::Int(0))
            {
                self.warnings.push(format!("{value} is taken as nanoseconds; write a unit, as in {value}ms"));
            }
        }
        Ok(Type::Bool)
    }
}

fn mismatch_hint(lhs: &FieldExpr, rhs: &FieldExpr, left: Type, right: Type) -> Option<String> {
    let texts = [lhs, rhs].into_iter().find_map(|side| match &side.node {
        FieldNode::Static(Static::Str(text)) => Some(text.as_str()),
        _ => None,
    });
    // The hint is about the field, whichever side it stands on.
    let (left, right) = if matches!(rhs.node, FieldNode::Field(_)) { (right, left) } else { (left, right) };
    match (left, right) {
        (Type::Duration, _) | (_, Type::Duration) => {
            Some("durations are written without quotes, as in 100ms or 1.5s".into())
        }
        (Type::Kind, _) => Some(kind_hint(texts)),
        (Type::Status, _) | (_, Type::Status) => Some(match texts.and_then(super::parse_field::status) {
            Some(_) => "a status is written without quotes".into(),
            None => "a status is one of ok, error and unset".into(),
        }),
        (_, Type::Kind) => Some(kind_hint(texts)),
        (Type::Str, Type::Int | Type::Float) => Some("put the value in quotes".into()),
        (Type::Int | Type::Float, Type::Str) => Some("write the number without quotes".into()),
        _ => None,
    }
}

fn kind_hint(text: Option<&str>) -> String {
    match text.and_then(super::parse_field::kind) {
        Some(_) => "a span kind is written without quotes".into(),
        None => "a span kind is one of server, client, producer, consumer, internal and unspecified".into(),
    }
}

/// The last line of the regex crate's message, which draws the pattern above it.
fn regex_reason(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned()
}

fn is_static(scalar: &ScalarExpr) -> bool {
    match scalar {
        ScalarExpr::Static(..) => true,
        ScalarExpr::Binary(_, lhs, rhs) => is_static(lhs) && is_static(rhs),
        ScalarExpr::Negate(inner) => is_static(inner),
        ScalarExpr::Aggregate(..) | ScalarExpr::Pipeline(_) => false,
    }
}

fn references_span(expr: &FieldExpr) -> bool {
    match &expr.node {
        FieldNode::Static(_) => false,
        FieldNode::Field(_) => true,
        FieldNode::Unary(_, inner) | FieldNode::Cidr(inner, _) => references_span(inner),
        FieldNode::Binary(_, lhs, rhs) => references_span(lhs) || references_span(rhs),
    }
}

fn stage_pos(stage: &Stage) -> Pos {
    match stage {
        Stage::Spansets(expr) => expr.pos(),
        Stage::ScalarFilter { pos, .. }
        | Stage::Scalar(_, pos)
        | Stage::By(_, pos)
        | Stage::Coalesce(pos)
        | Stage::Select(_, pos)
        | Stage::TopK(_, pos)
        | Stage::BottomK(_, pos)
        | Stage::MetricsFilter(_, _, pos) => *pos,
        Stage::Metrics(metrics) => metrics.pos,
    }
}

/// A network: its address and how many leading bits count.
pub(crate) fn parse_network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse::<u32>().ok()?);
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
}
