//! Tokens to syntax tree: expressions over one span.

use super::ast::*;
use super::lex::{TokenKind, unknown_intrinsic};
use super::operators::{compare_op, math_op};
use super::parse::Parser;
use super::{Error, Field};

/// How tightly binary operators bind. A sign or `!` binds tighter than `+` and looser than `*` (as in Tempo).
fn precedence(operator: &str) -> Option<(u8, BinaryOp)> {
    if let Some(op) = compare_op(operator) {
        return Some((3, BinaryOp::Compare(op)));
    }
    if let Some(op) = math_op(operator) {
        let strength = match op {
            MathOp::Add | MathOp::Sub => 4,
            MathOp::Mul | MathOp::Div | MathOp::Mod => 5,
            MathOp::Pow => 6,
        };
        return Some((strength, BinaryOp::Math(op)));
    }
    match operator {
        "||" => Some((1, BinaryOp::Or)),
        "&&" => Some((2, BinaryOp::And)),
        _ => None,
    }
}

impl Parser {
    pub(super) fn field_expr(&mut self) -> Result<FieldExpr, Error> {
        self.field_level(1)
    }

    fn field_level(&mut self, least: u8) -> Result<FieldExpr, Error> {
        let start = self.pos();
        let mut lhs = self.field_prefix()?;
        while let TokenKind::Op(operator) = *self.peek() {
            let Some((strength, op)) = precedence(operator).filter(|(strength, _)| *strength >= least) else { break };
            self.count_operator()?;
            self.next();
            if operator == "=" && self.is_op("=") {
                let pos = self.last_pos().to(self.pos());
                return Err(Error::new(pos, "== is not an operator").hint("write ="));
            }
            let rhs = self.field_level(if op == BinaryOp::Math(MathOp::Pow) { strength } else { strength + 1 })?;
            let node = FieldNode::Binary(op, Box::new(lhs), Box::new(rhs));
            lhs = FieldExpr { node, pos: start.to(self.last_pos()) };
        }
        Ok(lhs)
    }

    fn field_prefix(&mut self) -> Result<FieldExpr, Error> {
        let start = self.pos();
        let op = match self.peek() {
            TokenKind::Op("-") => UnaryOp::Negate,
            TokenKind::Op("!") => UnaryOp::Not,
            _ => return self.field_primary(),
        };
        self.count_operator()?;
        self.next();
        let inner = self.field_level(5)?;
        Ok(FieldExpr { node: FieldNode::Unary(op, Box::new(inner)), pos: start.to(self.last_pos()) })
    }

    fn field_primary(&mut self) -> Result<FieldExpr, Error> {
        let start = self.pos();
        let node = match self.peek().clone() {
            TokenKind::Op("(") => {
                self.enter()?;
                self.next();
                let inner = self.field_expr()?;
                if !self.is_op(")") {
                    return Err(self.after_field_expr());
                }
                self.next();
                self.leave();
                return Ok(FieldExpr { node: inner.node, pos: start.to(self.last_pos()) });
            }
            TokenKind::Field(field) => FieldNode::Field(field),
            TokenKind::Str(text) => FieldNode::Static(Static::Str(text)),
            TokenKind::Int(value) => FieldNode::Static(Static::Int(value)),
            TokenKind::Float(value) => FieldNode::Static(Static::Float(value)),
            TokenKind::Duration(value) => FieldNode::Static(Static::Duration(value)),
            TokenKind::Word(word) => return self.field_word(&word),
            TokenKind::Op(_) | TokenKind::End => {
                return Err(self.unexpected("expected an attribute, an intrinsic or a value"));
            }
        };
        self.next();
        Ok(FieldExpr { node, pos: start })
    }

    fn field_word(&mut self, word: &str) -> Result<FieldExpr, Error> {
        let start = self.pos();
        self.next();
        let node = match word {
            "nil" => FieldNode::Static(Static::Nil),
            "true" => FieldNode::Static(Static::Bool(true)),
            "false" => FieldNode::Static(Static::Bool(false)),
            "cidr" if self.is_op("(") => self.cidr()?,
            _ => match (status(word), kind(word), Intrinsic::from_name(word)) {
                (Some(status), ..) => FieldNode::Static(Static::Status(status)),
                (_, Some(kind), _) => FieldNode::Static(Static::Kind(kind)),
                (_, _, Some(intrinsic)) => FieldNode::Field(Field::Intrinsic { parent: false, intrinsic }),
                _ => return Err(self.unknown_word(word, start)),
            },
        };
        Ok(FieldExpr { node, pos: start.to(self.last_pos()) })
    }

    fn unknown_word(&self, word: &str, pos: Pos) -> Error {
        match word.to_ascii_lowercase().as_str() {
            "null" | "none" => Error::new(pos, format!("unknown word {word:?}")).hint("write nil"),
            "and" => Error::new(pos, format!("unknown word {word:?}")).hint("write &&"),
            "or" => Error::new(pos, format!("unknown word {word:?}")).hint("write ||"),
            "not" => Error::new(pos, format!("unknown word {word:?}")).hint("write !"),
            _ => unknown_intrinsic(pos, word),
        }
    }

    fn cidr(&mut self) -> Result<FieldNode, Error> {
        self.next();
        self.enter()?;
        let field = self.field_expr()?;
        let mut networks = Vec::new();
        while self.take_op(",") {
            let TokenKind::Str(network) = self.peek().clone() else {
                return Err(self
                    .unexpected("cidr() takes networks as texts")
                    .hint("for example cidr(span.client.address, \"10.0.0.0/8\")"));
            };
            self.next();
            networks.push(network);
        }
        self.expect_op(")", "to close cidr(")?;
        self.leave();
        Ok(FieldNode::Cidr(Box::new(field), networks))
    }

    /// The error for what follows an expression and cannot.
    pub(super) fn after_field_expr(&self) -> Error {
        match self.peek() {
            TokenKind::Word(word) => match word.to_ascii_lowercase().as_str() {
                "and" => self.unexpected("expected an operator").hint("write &&"),
                "or" => self.unexpected("expected an operator").hint("write ||"),
                "in" => self.unexpected("TraceQL has no in").hint("write =~ \"a|b\" or = \"a\" || … = \"b\""),
                _ => self.unexpected("expected an operator or }"),
            },
            TokenKind::Op("&") => self.unexpected("expected an operator or }").hint("write &&"),
            TokenKind::Op("|") => self.unexpected("expected an operator or }").hint("write || for or"),
            TokenKind::End => self.unexpected("this { … } is not closed"),
            _ => self.unexpected("expected an operator or }"),
        }
    }
}

/// The status of a word.
pub(super) fn status(word: &str) -> Option<Status> {
    Some(match word {
        "ok" => Status::Ok,
        "error" => Status::Error,
        "unset" => Status::Unset,
        _ => return None,
    })
}

/// The kind of a word.
pub(super) fn kind(word: &str) -> Option<Kind> {
    Some(match word {
        "unspecified" => Kind::Unspecified,
        "internal" => Kind::Internal,
        "server" => Kind::Server,
        "client" => Kind::Client,
        "producer" => Kind::Producer,
        "consumer" => Kind::Consumer,
        _ => return None,
    })
}
