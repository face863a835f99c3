//! TraceQL: text to a checked query.
//!
//! The language is that of Grafana Tempo (its documentation, "Construct a TraceQL query" and "TraceQL
//! metrics functions"), with one deliberate difference: `&&` binds tighter than `||`, as everywhere else,
//! where Tempo reads both from left to right with one precedence.
//!
//! ```text
//! text ─ lex ─▶ tokens ─ parse ─▶ Root (syntax tree with positions) ─ check ─▶ Query (typed, executable)
//!                                   │
//!                                   └ print ─▶ text (parse(print(tree)) = tree)
//! ```
//!
//! Every error names the bytes that it is about, what was expected, and, where one is likely, the remedy.

mod ast;
mod check;
mod error;
mod field;
mod lex;
mod operators;
mod parse;
mod parse_field;
mod parse_metrics;
mod print;
mod suggest;
#[cfg(test)]
mod tests;
mod types;

pub use ast::{
    Aggregate, AttrScope, Attribute, BinaryOp, Body, CompareOp, FieldExpr, FieldNode, Hint, Intrinsic, Kind, Math,
    MathOp, MetricsFunction, MetricsStage, Pipeline, Pos, Root, ScalarExpr, SpansetExpr, SpansetOp, Stage, Static,
    Status, Structural, StructuralForm, UnaryOp,
};
pub use check::Query;
pub(crate) use check::parse_network;
pub use error::Error;
pub use field::Field;
pub use parse::{MAX_DEPTH, MAX_QUERY_BYTES, parse};
pub use types::Type;

/// Compiles a fully anchored regular expression, as TraceQL's `=~` and `!~` mean it.
///
/// Tempo: "All regular expressions are treated as fully anchored" (Construct a TraceQL query, Comparison
/// operators). The compiled size is bounded, so that a query cannot claim memory by nesting repetitions.
pub fn anchored_regex(pattern: &str) -> Result<regex::Regex, regex::Error> {
    const SIZE_BYTES_MAX: usize = 1 << 20;
    let build = |pattern: &str| regex::RegexBuilder::new(pattern).size_limit(SIZE_BYTES_MAX).build();
    // Alone first: `a)(b` must not become valid by what is put around it.
    build(pattern)?;
    // The second form is for a pattern in verbose mode whose comment would swallow the closing parenthesis.
    build(&format!("^(?:{pattern})$")).or_else(|_| build(&format!("^(?:{pattern}\n)$")))
}
