//! Spans for calls to databases (OpenTelemetry semantic conventions 1.44, "Database client spans"), for any
//! driver.
//!
//! It is: the text of a statement without its values ([`obfuscate`]), its operations and targets
//! ([`summarize`]), and a span around a call ([`Database`], [`Query`], [`Call`]). It is not a driver, and
//! does not touch the call itself. Ready-made wrappers stand on top of it: `tracewell_sdk::sqlx` and
//! `tracewell_sdk::redis`, by features of the same names.
//!
//! ```text
//! Database ──query(sql)──▶ Query ──start()──▶ Call ──succeeded/failed/drop──▶ span ends
//!  where      command(op)   what               the open span
//! ```
//!
//! With any driver, here one that is called `driver`:
//!
//! ```
//! use tracewell_sdk::db::{Database, Failure, obfuscate_command};
//! # mod driver {
//! #     #[derive(Debug)] pub struct Error;
//! #     impl std::fmt::Display for Error { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("no such table") } }
//! #     impl Error { pub fn code(&self) -> String { "1".to_owned() } }
//! #     pub fn query(_: &str, _: &[i64]) -> Result<Vec<i64>, Error> { Ok(vec![1, 2]) }
//! # }
//!
//! // Once for each connection or pool.
//! let shop = Database::new("sqlite").namespace("shop.db");
//!
//! // A closure: the span has the number of rows or the error, whichever comes.
//! let sql = "SELECT id FROM item WHERE stock < ?1";
//! let rows = shop.query(sql).parameterized().run(
//!     |call| {
//!         let rows = driver::query(sql, &[5])?;
//!         call.returned_rows(rows.len());
//!         Ok(rows)
//!     },
//!     |error: &driver::Error| Failure::of(error).code(error.code()),
//! );
//!
//! // The same in steps, where a closure is in the way.
//! let call = shop.query("DELETE FROM item WHERE id = 7").start();
//! match driver::query("…", &[]) {
//!     Ok(_) => call.succeeded(),
//!     Err(error) => call.failed(Failure::of(&error)),
//! }
//!
//! // A key-value store has commands instead of statements.
//! let cache = Database::new("redis").server("127.0.0.1", 6379);
//! let command = ["SET", "item:7", "secret"];
//! let call = cache.command("SET").text(obfuscate_command(command.map(str::as_bytes))).start();
//! drop(call); // SET item:7 ?; a call that is dropped without a word has succeeded
//! # drop(rows);
//! ```
//!
//! The attributes:
//!
//! | attribute | from |
//! |---|---|
//! | span name | the summary; else operation and collection (or procedure, namespace, server); else the system |
//! | `db.system.name`, `db.namespace`, `server.address`, `server.port` | [`Database`]; a port only where it is not the system's own |
//! | `db.query.text` | the statement: obfuscated, or as it is for [`Query::parameterized`] |
//! | `db.query.summary` | [`summarize`], or [`Query::summary`] |
//! | `db.operation.name`, `db.collection.name`, `db.stored_procedure.name` | [`Query`]; never guessed from a statement, as the convention asks |
//! | `db.operation.batch.size` | [`Query::batch_size`], [`Database::batch`] |
//! | `db.response.returned_rows` | [`Call::returned_rows`] |
//! | `db.response.status_code`, `error.type` | [`Failure`] |

mod command;
mod dialect;
mod lex;
mod obfuscate;
mod span;
mod summary;
mod words;

#[cfg(test)]
mod tests;

#[cfg(feature = "redis")]
pub(crate) use command::command_name;
pub use command::obfuscate_command;
pub use dialect::Dialect;
pub use obfuscate::{QUERY_TEXT_BYTES_MAX, obfuscate};
pub use span::{Call, Database, Failure, Query};
pub use summary::{QUERY_SUMMARY_CHARS_MAX, summarize};
