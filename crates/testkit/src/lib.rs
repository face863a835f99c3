//! What Tracewell's tests share: arbitrary model values for property tests.
//!
//! It is: strategies that several crates need. It is not: part of any binary; only tests depend on it.

pub mod model;
