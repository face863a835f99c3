//! What sets the slow requests apart from the rest.
//!
//! It is: two searches for a common cause. [`table`] works on nothing but numbers, the time that each request spent in each
//! remote procedure. It is not: a blame of time (a slow request that shares nothing with other slow ones has no answer here).
//!
//! ```text
//! Table: requests × calls, ms ──▶ levels of each column ──▶ patterns: calls that take long together
//! ```

pub mod density;
pub mod effect;
pub mod table;
