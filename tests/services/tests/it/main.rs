//! The wrappers for databases and brokers against real servers, as their spans arrive at an OTLP receiver.
//!
//! `tests/services/run` starts the servers and says in environment variables where they are; without the
//! variable a test says so and is skipped. SQLite and Kafka (a broker inside its client) always run.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![allow(missing_docs, reason = "tests")]

mod kafka;
mod nats;
mod rabbitmq;
mod redis;
mod sink;
mod sql;
