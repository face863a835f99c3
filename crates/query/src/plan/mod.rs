//! A checked query made ready: tests with compiled expressions, what the index can say, how spansets combine.
//!
//! ```text
//! Query ─▶ Program ┬ filters: Expr (exact, one span at a time) and Pred (the same over columns, negations at the leaves)
//!                  ├ bound: which filters must have matched for a trace to be worth a closer look
//!                  └ shape: are the filters' rows the answer, or must the trace be assembled
//! Pred ─ index ─▶ which traces of a source can match
//! ```

mod expr;
mod index;
mod pred;
mod program;
mod test;
mod value;

pub(crate) use expr::{Expr, SpanView};
pub(crate) use index::{candidates, code, number, of_remainder, types_of};
pub(crate) use pred::{DictTest, Leaf, LeafKind, ListTest, Need, Pred};
pub(crate) use program::{Bound, Program, Scalar, Shape, Spans, Step};
pub(crate) use test::{Test, TestKind, Verdict, satisfies};
pub(crate) use value::{Val, each_value};
