//! Expressions over one span, compiled: regular expressions built, literals typed. This is the exact meaning of a filter;
//! the column-wise form in [`super::Pred`] must agree with it.

use super::test::satisfies;
use super::{Test, TestKind, Val, Verdict};
use crate::traceql::{
    BinaryOp, CompareOp, Field, FieldExpr, FieldNode, Intrinsic, MathOp, Static, Type, UnaryOp, anchored_regex,
};

/// A span that can be asked for its fields.
pub(crate) trait SpanView {
    /// Calls `visit` with each value of a field; returns whether the field is set at all.
    fn field(&self, field: &Field, visit: &mut dyn FnMut(Val<'_>)) -> bool;
}

/// A compiled expression.
#[derive(Debug, Clone)]
pub(crate) enum Expr {
    /// A literal; `None` is nil.
    Const(Option<Val<'static>>),
    Field(Field),
    Negate(Box<Expr>),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    /// Arithmetic; with `whole`, division of whole numbers gives a whole number (as in Tempo, where only durations do not).
    Math {
        op: MathOp,
        whole: bool,
        lhs: Box<Expr>,
        rhs: Box<Expr>,
    },
    /// A comparison with a literal.
    Test(Box<Expr>, Test),
    /// A comparison of two expressions.
    Compare {
        op: CompareOp,
        lhs: Box<Expr>,
        rhs: Box<Expr>,
    },
}

impl Expr {
    /// Compiles an expression that was checked.
    pub fn compile(expr: &FieldExpr) -> Expr {
        compile(expr).0
    }

    /// Calls `visit` for every field in the expression.
    pub fn fields<'a>(&'a self, visit: &mut dyn FnMut(&'a Field)) {
        match self {
            Expr::Const(_) => {}
            Expr::Field(field) => visit(field),
            Expr::Negate(inner) | Expr::Not(inner) | Expr::Test(inner, _) => inner.fields(visit),
            Expr::And(lhs, rhs) | Expr::Or(lhs, rhs) | Expr::Math { lhs, rhs, .. } | Expr::Compare { lhs, rhs, .. } => {
                lhs.fields(visit);
                rhs.fields(visit);
            }
        }
    }

    /// Is the expression true for the span?
    pub fn holds(&self, span: &dyn SpanView) -> bool {
        match self {
            Expr::And(lhs, rhs) => lhs.holds(span) && rhs.holds(span),
            Expr::Or(lhs, rhs) => lhs.holds(span) || rhs.holds(span),
            Expr::Not(inner) => !inner.holds(span) && inner.is_truth(span),
            Expr::Test(inner, test) => {
                let (mut comparable, mut passed) = (false, false);
                let exists = inner.visit(span, &mut |value| {
                    let verdict = test.verdict(&value);
                    comparable |= verdict != Verdict::Other;
                    passed |= verdict == Verdict::Yes;
                });
                if matches!(test.kind, TestKind::Exists) {
                    exists != test.none_of
                } else {
                    test.answer(comparable, passed)
                }
            }
            Expr::Compare { op, lhs, rhs } => compare(*op, lhs, rhs, span),
            Expr::Const(_) | Expr::Field(_) | Expr::Negate(_) | Expr::Math { .. } => {
                let mut truth = false;
                self.visit(span, &mut |value| truth |= value == Val::Bool(true));
                truth
            }
        }
    }

    /// `!` of an attribute needs a truth value to turn round: a missing attribute is neither true nor false.
    fn is_truth(&self, span: &dyn SpanView) -> bool {
        match self {
            Expr::Field(_) => {
                let mut truth = false;
                self.visit(span, &mut |value| truth |= matches!(value, Val::Bool(_)));
                truth
            }
            _ => true,
        }
    }

    /// Calls `visit` with each value of the expression; returns whether there is one.
    pub fn visit(&self, span: &dyn SpanView, visit: &mut dyn FnMut(Val<'_>)) -> bool {
        match self {
            Expr::Const(Some(value)) => {
                visit(value.clone());
                true
            }
            Expr::Const(None) => false,
            Expr::Field(field) => span.field(field, visit),
            Expr::Negate(inner) => match inner.number(span) {
                Some(Val::Int(value)) => {
                    visit(negated(value));
                    true
                }
                Some(Val::Float(value)) => {
                    visit(Val::Float(-value));
                    true
                }
                _ => false,
            },
            Expr::Math { op, whole, lhs, rhs } => {
                let result = match (lhs.number(span), rhs.number(span)) {
                    (Some(left), Some(right)) => calculate(*op, *whole, &left, &right),
                    _ => None,
                };
                result.map(visit).is_some()
            }
            Expr::Not(_) | Expr::And(..) | Expr::Or(..) | Expr::Test(..) | Expr::Compare { .. } => {
                visit(Val::Bool(self.holds(span)));
                true
            }
        }
    }

    /// The number that the expression is, if it is exactly one: arithmetic on arrays is undefined.
    pub fn number(&self, span: &dyn SpanView) -> Option<Val<'static>> {
        let (mut number, mut count) = (None, 0);
        self.visit(span, &mut |value| {
            count += 1;
            number = match value {
                Val::Int(value) => Some(Val::Int(value)),
                Val::Float(value) => Some(Val::Float(value)),
                _ => None,
            };
        });
        number.filter(|_| count == 1)
    }
}

fn compare(op: CompareOp, lhs: &Expr, rhs: &Expr, span: &dyn SpanView) -> bool {
    let (positive, none_of) = match op {
        CompareOp::NotEq => (CompareOp::Eq, true),
        op => (op, false),
    };
    let (mut comparable, mut passed) = (false, false);
    lhs.visit(span, &mut |left| {
        rhs.visit(span, &mut |right| {
            if let Some(order) = left.compare(&right) {
                comparable = true;
                passed |= satisfies(positive, order);
            }
        });
    });
    if none_of { comparable && !passed } else { passed }
}

/// Arithmetic; `None` where there is no result (division of whole numbers by zero).
pub(crate) fn calculate(op: MathOp, whole: bool, left: &Val<'_>, right: &Val<'_>) -> Option<Val<'static>> {
    if let (Val::Int(left), Val::Int(right)) = (left, right) {
        let result = match op {
            MathOp::Add => left.checked_add(*right),
            MathOp::Sub => left.checked_sub(*right),
            MathOp::Mul => left.checked_mul(*right),
            MathOp::Div if whole && *right == 0 => return None,
            MathOp::Div if whole => left.checked_div(*right),
            MathOp::Div => None,
            MathOp::Mod if *right == 0 => return None,
            MathOp::Mod => left.checked_rem(*right),
            MathOp::Pow => u32::try_from(*right).ok().and_then(|exponent| left.checked_pow(exponent)),
        };
        if let Some(result) = result {
            return Some(Val::Int(result));
        }
    }
    // Past 64 bits, and with decimals, as doubles.
    let (left, right) = (left.as_f64()?, right.as_f64()?);
    Some(Val::Float(match op {
        MathOp::Add => left + right,
        MathOp::Sub => left - right,
        MathOp::Mul => left * right,
        MathOp::Div => left / right,
        MathOp::Mod => left % right,
        MathOp::Pow => left.powf(right),
    }))
}

fn negated(value: i64) -> Val<'static> {
    value.checked_neg().map_or(Val::Float(-(value as f64)), Val::Int)
}

fn literal(value: &Static) -> Option<Val<'static>> {
    Some(match value {
        Static::Nil => return None,
        Static::Bool(truth) => Val::Bool(*truth),
        Static::Int(number) | Static::Duration(number) => Val::Int(*number),
        Static::Float(number) => Val::Float(*number),
        Static::Str(text) => Val::Str(text.clone().into()),
        Static::Status(status) => Val::Status(*status as i32),
        Static::Kind(kind) => Val::Kind(*kind as i32),
    })
}

fn compile(expr: &FieldExpr) -> (Expr, Type) {
    match &expr.node {
        FieldNode::Static(value) => (Expr::Const(literal(value)), Type::of_static(value)),
        FieldNode::Field(field) => (Expr::Field(field.clone()), Type::of_field(field)),
        FieldNode::Unary(UnaryOp::Negate, inner) => match compile(inner) {
            (Expr::Const(Some(Val::Int(value))), found) => (Expr::Const(Some(negated(value))), found),
            (Expr::Const(Some(Val::Float(value))), found) => (Expr::Const(Some(Val::Float(-value))), found),
            (inner, found) => (Expr::Negate(Box::new(inner)), found),
        },
        FieldNode::Unary(UnaryOp::Not, inner) => (Expr::Not(Box::new(compile(inner).0)), Type::Bool),
        FieldNode::Cidr(inner, networks) => {
            let networks = networks.iter().filter_map(|network| crate::traceql::parse_network(network)).collect();
            (Expr::Test(Box::new(compile(inner).0), Test::positive(TestKind::Cidr(networks))), Type::Bool)
        }
        FieldNode::Binary(op, lhs, rhs) => {
            let ((left, left_type), (right, right_type)) = (compile(lhs), compile(rhs));
            match op {
                BinaryOp::And => (Expr::And(Box::new(left), Box::new(right)), Type::Bool),
                BinaryOp::Or => (Expr::Or(Box::new(left), Box::new(right)), Type::Bool),
                BinaryOp::Math(op) => {
                    (math(*op, left, left_type, right, right_type), Type::of_math(left_type, right_type))
                }
                BinaryOp::Compare(op) => (comparison(*op, left, right), Type::Bool),
            }
        }
    }
}

fn math(op: MathOp, lhs: Expr, left: Type, rhs: Expr, right: Type) -> Expr {
    let whole = left != Type::Duration && right != Type::Duration;
    if let (Expr::Const(Some(left)), Expr::Const(Some(right))) = (&lhs, &rhs) {
        return Expr::Const(calculate(op, whole, left, right));
    }
    Expr::Math { op, whole, lhs: Box::new(lhs), rhs: Box::new(rhs) }
}

/// The operator with its sides exchanged.
fn mirrored(op: CompareOp) -> CompareOp {
    match op {
        CompareOp::Lt => CompareOp::Gt,
        CompareOp::LtEq => CompareOp::GtEq,
        CompareOp::Gt => CompareOp::Lt,
        CompareOp::GtEq => CompareOp::LtEq,
        op => op,
    }
}

fn comparison(op: CompareOp, lhs: Expr, rhs: Expr) -> Expr {
    let none_of = matches!(op, CompareOp::NotEq | CompareOp::NotRegex);
    let (op, subject, literal) = match (lhs, rhs) {
        (subject, Expr::Const(literal)) => (op, subject, literal),
        (Expr::Const(literal), subject) => (mirrored(op), subject, literal),
        (lhs, rhs) => return Expr::Compare { op, lhs: Box::new(lhs), rhs: Box::new(rhs) },
    };
    let positive = match op {
        CompareOp::NotEq => CompareOp::Eq,
        CompareOp::NotRegex => CompareOp::Regex,
        op => op,
    };
    let kind = match literal {
        // `= nil` asks for absence: the presence test, turned round.
        None => return Expr::Test(Box::new(subject), Test { kind: TestKind::Exists, none_of: !none_of }),
        Some(Val::Str(text)) if positive == CompareOp::Regex => match anchored_regex(&text) {
            Ok(regex) => TestKind::Regex(regex),
            // The checker has built it once; should it not build again, nothing matches.
            Err(_) => TestKind::Text(CompareOp::Regex, String::new()),
        },
        Some(Val::Str(text)) => TestKind::Text(positive, id_literal(&subject, &text).unwrap_or(text.into_owned())),
        Some(number @ (Val::Int(_) | Val::Float(_))) => TestKind::Number(positive, number),
        Some(Val::Bool(truth)) => TestKind::Bool(truth),
        Some(Val::Status(status)) => TestKind::Status(status),
        Some(Val::Kind(kind)) => TestKind::Kind(kind),
    };
    Expr::Test(Box::new(subject), Test { kind, none_of })
}

/// An id as it is stored: lower case, with the leading zeros that Tempo leaves out.
fn id_literal(subject: &Expr, text: &str) -> Option<String> {
    use Intrinsic as I;
    let Expr::Field(Field::Intrinsic { intrinsic, .. }) = subject else { return None };
    let digits = match intrinsic {
        I::SpanId | I::ParentId | I::LinkSpanId => 16,
        I::TraceId | I::LinkTraceId => 32,
        _ => return None,
    };
    let hex = !text.is_empty() && text.len() <= digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| format!("{:0>digits$}", text.to_ascii_lowercase()))
}
