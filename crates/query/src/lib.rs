//! TraceQL: parsing, planning, execution.

pub mod traceql;
