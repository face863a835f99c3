//! What operators mean between stages, spansets, numbers and metrics.

use super::Error;
use super::ast::*;
use super::parse::Operand;

/// How tightly an operator binds, and whether to the right.
pub(super) fn precedence(operator: &str) -> Option<(u8, bool)> {
    Some(match operator {
        "||" => (1, false),
        "&&" => (2, false),
        "=" | "!=" | "<=" | ">=" | ">" | "<" | ">>" | "<<" | "~" | "!>" | "!<" | "!>>" | "!<<" | "!~" | "&>" | "&<"
        | "&>>" | "&<<" | "&~" => (3, false),
        "+" | "-" => (4, false),
        "*" | "/" | "%" => (5, false),
        "^" => (6, true),
        _ => return None,
    })
}

fn spanset_op(operator: &str) -> Option<SpansetOp> {
    let (form, relation) = match operator.as_bytes().first()? {
        _ if operator == "&&" => return Some(SpansetOp::And),
        _ if operator == "||" => return Some(SpansetOp::Or),
        b'!' => (StructuralForm::Not, &operator[1..]),
        b'&' => (StructuralForm::Union, &operator[1..]),
        _ => (StructuralForm::Plain, operator),
    };
    let relation = match relation {
        ">" => Structural::Child,
        "<" => Structural::Parent,
        ">>" => Structural::Descendant,
        "<<" => Structural::Ancestor,
        "~" => Structural::Sibling,
        _ => return None,
    };
    Some(SpansetOp::Structural(relation, form))
}

pub(super) fn compare_op(operator: &str) -> Option<CompareOp> {
    Some(match operator {
        "=" => CompareOp::Eq,
        "!=" => CompareOp::NotEq,
        "<" => CompareOp::Lt,
        "<=" => CompareOp::LtEq,
        ">" => CompareOp::Gt,
        ">=" => CompareOp::GtEq,
        "=~" => CompareOp::Regex,
        "!~" => CompareOp::NotRegex,
        _ => return None,
    })
}

pub(super) fn math_op(operator: &str) -> Option<MathOp> {
    Some(match operator {
        "+" => MathOp::Add,
        "-" => MathOp::Sub,
        "*" => MathOp::Mul,
        "/" => MathOp::Div,
        "%" => MathOp::Mod,
        "^" => MathOp::Pow,
        _ => return None,
    })
}

/// Two operands joined by an operator, whose meaning depends on what they are.
pub(super) fn combine(
    operator: &str,
    operator_pos: Pos,
    lhs: Operand,
    rhs: Operand,
    pos: Pos,
) -> Result<Operand, Error> {
    match (lhs, rhs) {
        (Operand::Spansets(lhs), Operand::Spansets(rhs)) => match spanset_op(operator) {
            Some(op) => Ok(Operand::Spansets(SpansetExpr::Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs), pos })),
            None => Err(Error::new(operator_pos, format!("{operator} does not combine spansets"))
                .hint("spansets combine with && || > < >> << ~, and these with ! or & before them")),
        },
        (Operand::Scalar(lhs), Operand::Scalar(rhs)) => {
            if let Some(op) = math_op(operator) {
                return Ok(Operand::Scalar(ScalarExpr::Binary(op, Box::new(lhs), Box::new(rhs))));
            }
            match compare_op(operator).filter(|op| !matches!(op, CompareOp::Regex | CompareOp::NotRegex)) {
                Some(op) => Ok(Operand::Stage(Stage::ScalarFilter { op, lhs, rhs, pos })),
                None => Err(Error::new(operator_pos, format!("{operator} does not compare numbers"))),
            }
        }
        (Operand::Math(lhs), Operand::Math(rhs)) => {
            match math_op(operator).filter(|op| !matches!(op, MathOp::Mod | MathOp::Pow)) {
                Some(op) => Ok(Operand::Math(Math::Binary(op, Box::new(lhs), Box::new(rhs)))),
                None => Err(Error::new(operator_pos, format!("{operator} does not combine metrics"))
                    .hint("metrics combine with + - * and /")),
            }
        }
        (Operand::Stage(_), _) | (_, Operand::Stage(_)) => {
            Err(Error::new(operator_pos, format!("{operator} cannot stand beside a whole stage"))
                .hint("put the pipelines in parentheses: ({ … } | count() > 2) && ({ … })"))
        }
        _ => Err(Error::new(operator_pos, format!("the two sides of {operator} are not of one kind"))
            .hint("both sides must be spansets, numbers or metrics")),
    }
}
