//! What Tracewell's tests share: arbitrary model values for property tests, and the real server process.
//!
//! It is: strategies and harnesses that several crates need. It is not: part of any binary; only tests depend on it.

pub mod model;
pub mod server;
