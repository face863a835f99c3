//! What whole processes do: how they end, what they hand to the programs that they start.
//!
//! Each case starts this binary again as a program of its own, against a receiver in this process, and
//! ends it in one of the ways in which programs end. No span that had ended may be missing then.
//!
//! ```text
//! main ─ TRACEWELL_TEST_PROGRAM set? ─ yes ─▶ program(name)
//!                                      no ──▶ cases: start, signal, wait, count
//! ```

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod cases;
mod programs;
#[allow(dead_code, reason = "shared with the other tests, which use more of it")]
#[path = "../it/receiver.rs"]
mod receiver;

/// Names the program that this process is to be.
const PROGRAM: &str = "TRACEWELL_TEST_PROGRAM";

fn main() {
    if let Ok(name) = std::env::var(PROGRAM) {
        programs::run(&name);
        return;
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let mut failed = Vec::new();
    for (name, case) in cases::ALL {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let outcome = std::panic::catch_unwind(case);
        println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        if outcome.is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "failed: {failed:?}");
}
