//! The shop against a receiver in the same process: what it sends are whole traces over real sockets, and each fault
//! shows in them as it is written.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod faults;
mod receiver;
mod shop;
mod trace;
