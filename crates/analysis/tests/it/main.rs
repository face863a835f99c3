//! What the analyses promise, on generated traces and on real ones.
//!
//! The real ones lie beside the project in `../shared/data`; tests that need them say so and pass where they are missing.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod blame;
mod broken;
mod critical_path;
mod data;
mod hops;
mod outliers;
mod patterns;
mod rank_injected;
mod root_cause;
mod skew;
mod story;
mod traces;
mod verdict;
