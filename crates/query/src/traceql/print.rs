//! Syntax tree to text that reads back as the same tree.

use std::fmt::{self, Display, Formatter, Write};

use super::Field;
use super::ast::*;

impl Display for Root {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.body {
            Body::Pipeline(pipeline) => write!(f, "{pipeline}")?,
            Body::Math(math, rest) => {
                write!(f, "{math}")?;
                for stage in rest {
                    write!(f, " | {stage}")?;
                }
            }
        }
        if !self.hints.is_empty() {
            f.write_str(" with(")?;
            list(f, self.hints.iter())?;
            f.write_str(")")?;
        }
        Ok(())
    }
}

fn list<T: Display>(f: &mut Formatter<'_>, items: impl Iterator<Item = T>) -> fmt::Result {
    for (index, item) in items.enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

impl Display for Hint {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.name, self.value)
    }
}

impl Display for Math {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Math::Metrics(pipeline) => write!(f, "({pipeline})"),
            Math::Binary(op, lhs, rhs) => {
                for (index, side) in [lhs, rhs].into_iter().enumerate() {
                    if index > 0 {
                        write!(f, " {op} ")?;
                    }
                    match &**side {
                        Math::Metrics(_) => write!(f, "{side}")?,
                        Math::Binary(..) => write!(f, "({side})")?,
                    }
                }
                Ok(())
            }
        }
    }
}

impl Display for Pipeline {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, stage) in self.stages.iter().enumerate() {
            if index > 0 {
                f.write_str(" | ")?;
            }
            write!(f, "{stage}")?;
        }
        Ok(())
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Stage::Spansets(expr) => write!(f, "{expr}"),
            Stage::ScalarFilter { op, lhs, rhs, .. } => write!(f, "{lhs} {op} {rhs}"),
            Stage::Scalar(scalar, _) => write!(f, "{scalar}"),
            Stage::By(fields, _) => call(f, "by", fields),
            Stage::Coalesce(_) => f.write_str("coalesce()"),
            Stage::Select(fields, _) => call(f, "select", fields),
            Stage::Metrics(stage) => {
                write!(f, "{}", stage.function)?;
                if stage.by.is_empty() {
                    return Ok(());
                }
                f.write_char(' ')?;
                call(f, "by", &stage.by)
            }
            Stage::TopK(count, _) => write!(f, "topk({count})"),
            Stage::BottomK(count, _) => write!(f, "bottomk({count})"),
            Stage::MetricsFilter(op, value, _) => write!(f, "{op} {value}"),
        }
    }
}

fn call(f: &mut Formatter<'_>, name: &str, arguments: &[FieldExpr]) -> fmt::Result {
    write!(f, "{name}(")?;
    list(f, arguments.iter())?;
    f.write_char(')')
}

impl Display for MetricsFunction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        use MetricsFunction as F;
        match self {
            F::Rate => f.write_str("rate()"),
            F::CountOverTime => f.write_str("count_over_time()"),
            F::MinOverTime(field) => write!(f, "min_over_time({field})"),
            F::MaxOverTime(field) => write!(f, "max_over_time({field})"),
            F::AvgOverTime(field) => write!(f, "avg_over_time({field})"),
            F::SumOverTime(field) => write!(f, "sum_over_time({field})"),
            F::HistogramOverTime(field) => write!(f, "histogram_over_time({field})"),
            F::QuantileOverTime(field, quantiles) => {
                write!(f, "quantile_over_time({field}")?;
                for quantile in quantiles {
                    write!(f, ", {}", Static::Float(*quantile))?;
                }
                f.write_char(')')
            }
            F::Compare { selection, top, window } => {
                write!(f, "compare({selection}")?;
                if let Some(top) = top {
                    write!(f, ", {top}")?;
                }
                if let Some((from, to)) = window {
                    write!(f, ", {from}, {to}")?;
                }
                f.write_char(')')
            }
        }
    }
}

impl Display for SpansetExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            SpansetExpr::Filter(None, _) => f.write_str("{ }"),
            SpansetExpr::Filter(Some(expr), _) => write!(f, "{{ {expr} }}"),
            SpansetExpr::Pipeline(pipeline) => write!(f, "({pipeline})"),
            SpansetExpr::Binary { op, lhs, rhs, .. } => {
                for (index, side) in [lhs, rhs].into_iter().enumerate() {
                    if index > 0 {
                        write!(f, " {op} ")?;
                    }
                    match &**side {
                        SpansetExpr::Binary { .. } => write!(f, "({side})")?,
                        _ => write!(f, "{side}")?,
                    }
                }
                Ok(())
            }
        }
    }
}

impl Display for SpansetOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (relation, form) = match self {
            SpansetOp::And => return f.write_str("&&"),
            SpansetOp::Or => return f.write_str("||"),
            SpansetOp::Structural(relation, form) => (relation, form),
        };
        f.write_str(match form {
            StructuralForm::Plain => "",
            StructuralForm::Not => "!",
            StructuralForm::Union => "&",
        })?;
        f.write_str(match relation {
            Structural::Child => ">",
            Structural::Parent => "<",
            Structural::Descendant => ">>",
            Structural::Ancestor => "<<",
            Structural::Sibling => "~",
        })
    }
}

impl Display for ScalarExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let nested = |f: &mut Formatter<'_>, inner: &ScalarExpr| match inner {
            ScalarExpr::Binary(..) => write!(f, "({inner})"),
            _ => write!(f, "{inner}"),
        };
        match self {
            ScalarExpr::Static(value, _) => write!(f, "{value}"),
            ScalarExpr::Aggregate(aggregate, argument, _) => {
                let name = match aggregate {
                    Aggregate::Count => "count",
                    Aggregate::Avg => "avg",
                    Aggregate::Max => "max",
                    Aggregate::Min => "min",
                    Aggregate::Sum => "sum",
                };
                match argument {
                    Some(argument) => write!(f, "{name}({argument})"),
                    None => write!(f, "{name}()"),
                }
            }
            ScalarExpr::Binary(op, lhs, rhs) => {
                nested(f, lhs)?;
                write!(f, " {op} ")?;
                nested(f, rhs)
            }
            ScalarExpr::Negate(inner) => {
                f.write_char('-')?;
                nested(f, inner)
            }
            ScalarExpr::Pipeline(pipeline) => write!(f, "({pipeline})"),
        }
    }
}

impl Display for MathOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MathOp::Add => "+",
            MathOp::Sub => "-",
            MathOp::Mul => "*",
            MathOp::Div => "/",
            MathOp::Mod => "%",
            MathOp::Pow => "^",
        })
    }
}

impl Display for CompareOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CompareOp::Eq => "=",
            CompareOp::NotEq => "!=",
            CompareOp::Lt => "<",
            CompareOp::LtEq => "<=",
            CompareOp::Gt => ">",
            CompareOp::GtEq => ">=",
            CompareOp::Regex => "=~",
            CompareOp::NotRegex => "!~",
        })
    }
}

impl Display for BinaryOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            BinaryOp::And => f.write_str("&&"),
            BinaryOp::Or => f.write_str("||"),
            BinaryOp::Compare(op) => write!(f, "{op}"),
            BinaryOp::Math(op) => write!(f, "{op}"),
        }
    }
}

impl Display for FieldExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let nested = |f: &mut Formatter<'_>, inner: &FieldExpr| match inner.node {
            FieldNode::Binary(..) | FieldNode::Unary(..) => write!(f, "({inner})"),
            _ => write!(f, "{inner}"),
        };
        match &self.node {
            FieldNode::Static(value) => write!(f, "{value}"),
            FieldNode::Field(field) => write!(f, "{field}"),
            FieldNode::Unary(op, inner) => {
                f.write_char(if *op == UnaryOp::Not { '!' } else { '-' })?;
                nested(f, inner)
            }
            FieldNode::Binary(op, lhs, rhs) => {
                nested(f, lhs)?;
                write!(f, " {op} ")?;
                nested(f, rhs)
            }
            FieldNode::Cidr(field, networks) => {
                write!(f, "cidr({field}")?;
                for network in networks {
                    f.write_str(", ")?;
                    quote(f, network)?;
                }
                f.write_char(')')
            }
        }
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.of_parent() {
            f.write_str("parent.")?;
        }
        match self {
            Field::Intrinsic { parent, intrinsic } => {
                // Behind `parent.` only the spellings with a scope are sure not to be read as attributes.
                match (parent, intrinsic.name()) {
                    (true, name) if !name.contains(':') => write!(f, "span:{name}"),
                    (_, name) => f.write_str(name),
                }
            }
            Field::Attr { attribute, parent } => write_attribute(f, attribute, *parent),
        }
    }
}

impl Display for Attribute {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_attribute(f, self, false)
    }
}

fn write_attribute(f: &mut Formatter<'_>, attribute: &Attribute, after_parent: bool) -> fmt::Result {
    match attribute.scope {
        AttrScope::Any if after_parent => {}
        scope => write!(f, "{}.", scope.name())?,
    }
    let plain = attribute.key.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-'));
    // Without a scope a name could be read as a number, or as a scope or intrinsic of the parent.
    let ambiguous =
        attribute.scope == AttrScope::Any && (after_parent || attribute.key.starts_with(|c: char| c.is_ascii_digit()));
    if plain && !ambiguous {
        return f.write_str(&attribute.key);
    }
    f.write_char('"')?;
    for c in attribute.key.chars() {
        if matches!(c, '"' | '\\') {
            f.write_char('\\')?;
        }
        f.write_char(c)?;
    }
    f.write_char('"')
}

impl Display for Static {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Static::Nil => f.write_str("nil"),
            Static::Bool(value) => write!(f, "{value}"),
            Static::Int(value) => write!(f, "{value}"),
            // The shortest text that reads back as the same number, always with a point or an exponent.
            Static::Float(value) => write!(f, "{value:?}"),
            Static::Str(text) => quote(f, text),
            Static::Duration(ns) => {
                const UNITS: [(i64, &str); 6] = [
                    (3_600_000_000_000, "h"),
                    (60_000_000_000, "m"),
                    (1_000_000_000, "s"),
                    (1_000_000, "ms"),
                    (1_000, "us"),
                    (1, "ns"),
                ];
                let (unit, name) = UNITS.into_iter().find(|(unit, _)| *ns != 0 && ns % unit == 0).unwrap_or((1, "ns"));
                write!(f, "{}{name}", ns / unit)
            }
            Static::Status(status) => f.write_str(match status {
                Status::Unset => "unset",
                Status::Ok => "ok",
                Status::Error => "error",
            }),
            Static::Kind(kind) => f.write_str(match kind {
                Kind::Unspecified => "unspecified",
                Kind::Internal => "internal",
                Kind::Server => "server",
                Kind::Client => "client",
                Kind::Producer => "producer",
                Kind::Consumer => "consumer",
            }),
        }
    }
}

fn quote(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}
