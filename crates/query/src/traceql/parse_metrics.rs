//! Tokens to syntax tree: metrics functions.

use super::Error;
use super::ast::*;
use super::lex::TokenKind;
use super::parse::{Operand, Parser};

impl Parser {
    /// The metrics function that `word` begins, if it begins one.
    pub(super) fn metrics_function(&mut self, word: &str) -> Result<Option<MetricsFunction>, Error> {
        use MetricsFunction as F;
        let of_one_field: fn(FieldExpr) -> F = match word {
            "rate" | "count_over_time" => {
                self.next();
                self.no_arguments(word)?;
                return Ok(Some(if word == "rate" { F::Rate } else { F::CountOverTime }));
            }
            "min_over_time" => F::MinOverTime,
            "max_over_time" => F::MaxOverTime,
            "avg_over_time" => F::AvgOverTime,
            "sum_over_time" => F::SumOverTime,
            "histogram_over_time" => F::HistogramOverTime,
            "quantile_over_time" => return self.quantiles().map(Some),
            "compare" => return self.compare().map(Some),
            _ => return Ok(None),
        };
        self.next();
        self.expect_op("(", &format!("after {word}"))?;
        let field = self.field_expr()?;
        self.expect_op(")", &format!("to close {word}("))?;
        Ok(Some(of_one_field(field)))
    }

    fn quantiles(&mut self) -> Result<MetricsFunction, Error> {
        self.next();
        self.expect_op("(", "after quantile_over_time")?;
        let field = self.field_expr()?;
        let mut quantiles = Vec::new();
        while self.take_op(",") {
            let quantile = match *self.peek() {
                TokenKind::Float(value) if (0.0..=1.0).contains(&value) => value,
                TokenKind::Int(value @ 0..=1) => value as f64,
                _ => return Err(self.unexpected("a quantile is a number from 0 to 1").hint("for example .99")),
            };
            self.next();
            quantiles.push(quantile);
        }
        if quantiles.is_empty() {
            return Err(self
                .unexpected("quantile_over_time needs at least one quantile")
                .hint("for example quantile_over_time(duration, .99, .5)"));
        }
        self.expect_op(")", "to close quantile_over_time(")?;
        Ok(MetricsFunction::QuantileOverTime(field, quantiles))
    }

    fn compare(&mut self) -> Result<MetricsFunction, Error> {
        self.next();
        self.expect_op("(", "after compare")?;
        let start = self.pos();
        if !self.is_op("{") {
            return Err(self
                .unexpected("compare takes a spanset filter first")
                .hint("for example compare({status = error})"));
        }
        let Operand::Spansets(selection) = self.primary()? else {
            return Err(Error::new(start, "compare takes a spanset filter first"));
        };
        let mut numbers = Vec::new();
        while self.take_op(",") {
            let TokenKind::Int(value @ 0..) = *self.peek() else {
                return Err(self
                    .unexpected("compare takes whole numbers after the filter: how many values, then start and end"));
            };
            self.next();
            numbers.push(value as u64);
        }
        let (top, window) = match numbers.as_slice() {
            [] => (None, None),
            [top] => (Some(*top), None),
            [top, from, to] => (Some(*top), Some((*from, *to))),
            _ => {
                return Err(Error::new(start.to(self.last_pos()), "compare takes both a start and an end, or neither"));
            }
        };
        self.expect_op(")", "to close compare(")?;
        Ok(MetricsFunction::Compare { selection: Box::new(selection), top, window })
    }
}
