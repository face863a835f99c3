//! Tokens to syntax tree: pipelines, stages, spansets and scalars.

use super::ast::*;
use super::lex::{Token, TokenKind, lex};
use super::operators::{combine, compare_op, precedence};
use super::{Error, suggest::nearest};

/// Longest query, in bytes.
pub const MAX_QUERY_BYTES: usize = 64 * 1024;

/// Most operators in a query, and so the deepest tree.
pub const MAX_DEPTH: usize = 1_000;

/// Most parentheses and braces within each other.
const MAX_NESTING: usize = 64;

/// Reads a query. The tree is as written; whether it makes sense is for the checker to say.
///
/// # Errors
/// The first place where the text is not TraceQL, or where it exceeds [`MAX_QUERY_BYTES`] or [`MAX_DEPTH`].
pub fn parse(text: &str) -> Result<Root, Error> {
    if text.len() > MAX_QUERY_BYTES {
        let pos = Pos { start: MAX_QUERY_BYTES, len: text.len() - MAX_QUERY_BYTES };
        return Err(Error::new(pos, format!("the query is longer than {MAX_QUERY_BYTES} bytes")));
    }
    let mut parser = Parser { tokens: lex(text)?, at: 0, operators: 0, nesting: 0 };
    let body = match parser.pipeline(false)? {
        Parsed::Pipeline(pipeline) => Body::Pipeline(pipeline),
        Parsed::Math(math, rest) => Body::Math(math, rest),
    };
    let hints = parser.hints()?;
    match parser.peek() {
        TokenKind::End => Ok(Root { body, hints }),
        TokenKind::Op(")") => Err(parser.unexpected("this parenthesis closes nothing")),
        TokenKind::Op("}") => Err(parser.unexpected("this brace closes nothing")),
        TokenKind::Op("=") => Err(parser.unexpected("spansets cannot be compared").hint("compare inside one { … }")),
        _ => Err(parser.unexpected("expected an operator, | and a further stage, or the end of the query")),
    }
}

pub(super) struct Parser {
    tokens: Vec<Token>,
    at: usize,
    operators: usize,
    nesting: usize,
}

/// What stands between two `|`, or in parentheses.
enum Parsed {
    Pipeline(Pipeline),
    Math(Math, Vec<Stage>),
}

/// A stage, or a part of one that an operator may extend.
pub(super) enum Operand {
    Stage(Stage),
    Spansets(SpansetExpr),
    Scalar(ScalarExpr),
    Math(Math),
}

/// Words that start a stage, for suggestions.
const STAGE_WORDS: [&str; 19] = [
    "by",
    "coalesce",
    "select",
    "count",
    "avg",
    "max",
    "min",
    "sum",
    "rate",
    "count_over_time",
    "min_over_time",
    "max_over_time",
    "avg_over_time",
    "sum_over_time",
    "quantile_over_time",
    "histogram_over_time",
    "compare",
    "topk",
    "bottomk",
];

impl Parser {
    pub(super) fn peek(&self) -> &TokenKind {
        self.tokens.get(self.at).map_or(&TokenKind::End, |token| &token.kind)
    }

    pub(super) fn pos(&self) -> Pos {
        self.tokens.get(self.at).map(|token| token.pos).unwrap_or_default()
    }

    /// The position of the token before this one.
    pub(super) fn last_pos(&self) -> Pos {
        self.tokens.get(self.at.saturating_sub(1)).map(|token| token.pos).unwrap_or_default()
    }

    pub(super) fn next(&mut self) -> TokenKind {
        let kind = self.peek().clone();
        if kind != TokenKind::End {
            self.at += 1;
        }
        kind
    }

    pub(super) fn is_op(&self, operator: &str) -> bool {
        matches!(self.peek(), TokenKind::Op(found) if *found == operator)
    }

    pub(super) fn take_op(&mut self, operator: &str) -> bool {
        let found = self.is_op(operator);
        if found {
            self.at += 1;
        }
        found
    }

    pub(super) fn expect_op(&mut self, operator: &str, context: &str) -> Result<(), Error> {
        if self.take_op(operator) {
            return Ok(());
        }
        Err(self.unexpected(&format!("expected {operator} {context}")))
    }

    pub(super) fn unexpected(&self, message: &str) -> Error {
        let end = if *self.peek() == TokenKind::End { ", but the query ends here" } else { "" };
        Error::new(self.pos(), format!("{message}{end}"))
    }

    pub(super) fn count_operator(&mut self) -> Result<(), Error> {
        self.operators += 1;
        if self.operators > MAX_DEPTH {
            return Err(Error::new(self.pos(), format!("the query has more than {MAX_DEPTH} operators")));
        }
        Ok(())
    }

    pub(super) fn enter(&mut self) -> Result<(), Error> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(Error::new(self.pos(), format!("more than {MAX_NESTING} brackets within each other")));
        }
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.nesting -= 1;
    }

    /// Stages up to the end or a closing parenthesis. In parentheses the last may be an aggregate alone.
    fn pipeline(&mut self, in_parentheses: bool) -> Result<Parsed, Error> {
        let mut stages = Vec::new();
        let mut math = None;
        loop {
            self.count_operator()?;
            let start = self.pos();
            let operand = self.stage()?;
            let pos = start.to(self.last_pos());
            let first = stages.is_empty() && math.is_none();
            match operand {
                Operand::Stage(stage) => stages.push(stage),
                Operand::Spansets(expr) => stages.push(Stage::Spansets(expr)),
                Operand::Scalar(scalar) if in_parentheses && self.is_op(")") => stages.push(Stage::Scalar(scalar, pos)),
                Operand::Scalar(_) => {
                    return Err(Error::new(pos, "an aggregate must be compared with something")
                        .hint("for example: | count() > 2"));
                }
                Operand::Math(Math::Metrics(inner)) if first => stages = inner.stages,
                Operand::Math(expr) if first => math = Some(expr),
                Operand::Math(_) => {
                    return Err(Error::new(pos, "metrics in parentheses can only stand at the start of a query"));
                }
            }
            if !self.take_op("|") {
                break;
            }
        }
        Ok(match math {
            Some(math) => Parsed::Math(math, stages),
            None => Parsed::Pipeline(Pipeline { stages }),
        })
    }

    fn stage(&mut self) -> Result<Operand, Error> {
        let start = self.pos();
        if let TokenKind::Word(word) = self.peek().clone() {
            let is_call = matches!(self.tokens.get(self.at + 1).map(|token| &token.kind), Some(TokenKind::Op("(")));
            if is_call && let Some(stage) = self.stage_call(&word)? {
                return Ok(Operand::Stage(stage));
            }
        }
        if let TokenKind::Op(operator) = *self.peek()
            && operator != "-"
            && let Some(op) = compare_op(operator)
        {
            self.at += 1;
            let value = self.signed_number()?;
            return Ok(Operand::Stage(Stage::MetricsFilter(op, value, start.to(self.last_pos()))));
        }
        self.expression(1)
    }

    /// Stages that are written as a call; `None` if `word` starts none.
    fn stage_call(&mut self, word: &str) -> Result<Option<Stage>, Error> {
        let start = self.pos();
        let stage = match word {
            "by" => {
                self.at += 1;
                let fields = self.field_list("by")?;
                Stage::By(fields, start.to(self.last_pos()))
            }
            "select" => {
                self.at += 1;
                let fields = self.field_list("select")?;
                Stage::Select(fields, start.to(self.last_pos()))
            }
            "coalesce" => {
                self.at += 1;
                self.no_arguments("coalesce")?;
                Stage::Coalesce(start.to(self.last_pos()))
            }
            "topk" | "bottomk" => {
                self.at += 1;
                self.expect_op("(", &format!("after {word}"))?;
                let TokenKind::Int(count @ 1..) = *self.peek() else {
                    return Err(self.unexpected(&format!("{word} takes a whole number above zero")));
                };
                self.at += 1;
                self.expect_op(")", &format!("to close {word}("))?;
                let (count, pos) = (count as u64, start.to(self.last_pos()));
                if word == "topk" { Stage::TopK(count, pos) } else { Stage::BottomK(count, pos) }
            }
            _ => match self.metrics_function(word)? {
                Some(function) => {
                    let by = if *self.peek() == TokenKind::Word("by".into()) {
                        self.at += 1;
                        self.field_list("by")?
                    } else {
                        Vec::new()
                    };
                    Stage::Metrics(MetricsStage { function, by, pos: start.to(self.last_pos()) })
                }
                None => return Ok(None),
            },
        };
        Ok(Some(stage))
    }

    pub(super) fn no_arguments(&mut self, word: &str) -> Result<(), Error> {
        self.expect_op("(", &format!("after {word}"))?;
        self.expect_op(")", &format!("directly after {word}(, which takes nothing"))
    }

    fn field_list(&mut self, word: &str) -> Result<Vec<FieldExpr>, Error> {
        self.expect_op("(", &format!("after {word}"))?;
        let mut fields = vec![self.field_expr()?];
        while self.take_op(",") {
            self.count_operator()?;
            fields.push(self.field_expr()?);
        }
        self.expect_op(")", &format!("to close {word}("))?;
        Ok(fields)
    }

    /// Precedence climbing over spansets, scalars and metrics alike: what an operator means depends on its sides.
    fn expression(&mut self, least: u8) -> Result<Operand, Error> {
        let start = self.pos();
        let mut lhs = self.primary()?;
        while let TokenKind::Op(operator) = *self.peek() {
            let Some((strength, to_the_right)) = precedence(operator).filter(|(strength, _)| *strength >= least) else {
                break;
            };
            self.count_operator()?;
            let operator_pos = self.pos();
            self.at += 1;
            let rhs = self.expression(if to_the_right { strength } else { strength + 1 })?;
            lhs = combine(operator, operator_pos, lhs, rhs, start.to(self.last_pos()))?;
        }
        Ok(lhs)
    }

    pub(super) fn primary(&mut self) -> Result<Operand, Error> {
        let start = self.pos();
        match self.peek().clone() {
            TokenKind::Op("{") => {
                self.enter()?;
                self.at += 1;
                let expr = if self.is_op("}") { None } else { Some(self.field_expr()?) };
                if !self.take_op("}") {
                    return Err(self.after_field_expr());
                }
                self.leave();
                Ok(Operand::Spansets(SpansetExpr::Filter(expr, start.to(self.last_pos()))))
            }
            TokenKind::Op("(") => {
                self.enter()?;
                self.at += 1;
                let inner = self.pipeline(true)?;
                self.expect_op(")", "to close a parenthesis")?;
                self.leave();
                in_parentheses(inner, start.to(self.last_pos()))
            }
            TokenKind::Op("-") => {
                self.count_operator()?;
                self.at += 1;
                let inner = match self.peek() {
                    TokenKind::Int(_) | TokenKind::Float(_) | TokenKind::Duration(_) => {
                        self.at -= 1;
                        return Ok(Operand::Scalar(ScalarExpr::Static(
                            self.signed_number()?,
                            start.to(self.last_pos()),
                        )));
                    }
                    _ => self.primary()?,
                };
                match inner {
                    Operand::Scalar(scalar) => Ok(Operand::Scalar(ScalarExpr::Negate(Box::new(scalar)))),
                    _ => Err(Error::new(start, "only a number can be negated")),
                }
            }
            TokenKind::Int(_) | TokenKind::Float(_) | TokenKind::Duration(_) => {
                Ok(Operand::Scalar(ScalarExpr::Static(self.signed_number()?, start)))
            }
            TokenKind::Word(word) => self.aggregate(&word).map(Operand::Scalar),
            TokenKind::End => Err(self.unexpected("expected a spanset { … } or a pipeline stage")),
            TokenKind::Field(_) | TokenKind::Str(_) => {
                Err(self.unexpected("conditions stand in braces").hint("for example { span.http.route = \"/\" }"))
            }
            TokenKind::Op(_) => Err(self.unexpected("expected a spanset { … } or a pipeline stage")),
        }
    }

    fn aggregate(&mut self, word: &str) -> Result<ScalarExpr, Error> {
        let start = self.pos();
        let aggregate = match word {
            "count" => Aggregate::Count,
            "avg" => Aggregate::Avg,
            "max" => Aggregate::Max,
            "min" => Aggregate::Min,
            "sum" => Aggregate::Sum,
            _ => {
                let error = Error::new(start, format!("unknown stage {word:?}"));
                return Err(match nearest(word, STAGE_WORDS) {
                    Some(near) if near != word => error.hint(format!("did you mean {near}()?")),
                    Some(near) => error.hint(format!("write {near}(…)")),
                    None => error.hint("conditions stand in braces: { … }"),
                });
            }
        };
        self.at += 1;
        let argument = if aggregate == Aggregate::Count {
            self.no_arguments(word)?;
            None
        } else {
            self.expect_op("(", &format!("after {word}"))?;
            if self.is_op(")") {
                return Err(self
                    .unexpected(&format!("{word}() needs what to compute it of"))
                    .hint(format!("for example {word}(duration)")));
            }
            let argument = self.field_expr()?;
            self.expect_op(")", &format!("to close {word}("))?;
            Some(Box::new(argument))
        };
        Ok(ScalarExpr::Aggregate(aggregate, argument, start.to(self.last_pos())))
    }

    fn signed_number(&mut self) -> Result<Static, Error> {
        let negative = self.take_op("-");
        let value = match self.next() {
            TokenKind::Int(value) => Static::Int(if negative { -value } else { value }),
            TokenKind::Float(value) => Static::Float(if negative { -value } else { value }),
            TokenKind::Duration(value) => Static::Duration(if negative { -value } else { value }),
            _ => {
                self.at = self.at.saturating_sub(1);
                return Err(self.unexpected("expected a number or a duration"));
            }
        };
        Ok(value)
    }

    fn hints(&mut self) -> Result<Vec<Hint>, Error> {
        let mut hints = Vec::new();
        if *self.peek() != TokenKind::Word("with".into()) {
            return Ok(hints);
        }
        self.at += 1;
        self.expect_op("(", "after with")?;
        loop {
            let pos = self.pos();
            let TokenKind::Word(name) = self.next() else {
                return Err(Error::new(pos, "expected the name of a hint").hint("for example with(most_recent = true)"));
            };
            self.expect_op("=", "after the name of the hint")?;
            let value = match self.peek().clone() {
                TokenKind::Word(word) if word == "true" || word == "false" => {
                    self.at += 1;
                    Static::Bool(word == "true")
                }
                TokenKind::Str(text) => {
                    self.at += 1;
                    Static::Str(text)
                }
                _ => self.signed_number()?,
            };
            hints.push(Hint { name, value, pos: pos.to(self.last_pos()) });
            if !self.take_op(",") {
                break;
            }
        }
        self.expect_op(")", "to close with(")?;
        Ok(hints)
    }
}

fn in_parentheses(inner: Parsed, pos: Pos) -> Result<Operand, Error> {
    let mut pipeline = match inner {
        Parsed::Math(math, rest) if rest.is_empty() => return Ok(Operand::Math(math)),
        Parsed::Math(..) => {
            return Err(Error::new(pos, "stages after arithmetic on metrics stand outside of the parentheses"));
        }
        Parsed::Pipeline(pipeline) => pipeline,
    };
    Ok(match pipeline.stages.last() {
        Some(Stage::Metrics(_) | Stage::TopK(..) | Stage::BottomK(..) | Stage::MetricsFilter(..)) => {
            Operand::Math(Math::Metrics(pipeline))
        }
        Some(Stage::Scalar(..)) if pipeline.stages.len() > 1 => Operand::Scalar(ScalarExpr::Pipeline(pipeline)),
        Some(Stage::Scalar(..) | Stage::Spansets(_)) if pipeline.stages.len() == 1 => match pipeline.stages.pop() {
            Some(Stage::Scalar(scalar, _)) => Operand::Scalar(scalar),
            Some(Stage::Spansets(expr)) => Operand::Spansets(expr),
            _ => return Err(Error::new(pos, "expected a spanset { … } or a pipeline")),
        },
        _ => Operand::Spansets(SpansetExpr::Pipeline(pipeline)),
    })
}
