//! The `tracewell` command.
fn main() {}
