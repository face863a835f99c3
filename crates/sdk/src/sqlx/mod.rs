//! Spans for what goes through sqlx 0.9, whatever the driver: PostgreSQL, MySQL and MariaDB, SQLite.
//!
//! It is: [`Traced`], which stands where a pool, a connection or a transaction stood. It is not a driver and
//! brings none: the application's own features of `sqlx` decide. (The feature `macros` of `sqlx` is on, as it
//! is by default, because it decides what an executor has to offer.)
//!
//! ```text
//! sqlx::query(…).fetch(&traced) ──▶ Traced ──span──▶ the executor inside
//!                                     │                 │
//!                          Database (from the          rows, one by one: the span ends with the
//!                          options of the pool)        last, with an error, or when the stream goes
//! ```
//!
//! ```no_run
//! # async fn shop<DB: sqlx::Database>(pool: sqlx::Pool<DB>) -> sqlx::Result<()>
//! # where
//! #     for<'c> &'c mut DB::Connection: sqlx::Executor<'c, Database = DB>,
//! #     for<'q> DB::Arguments: sqlx::IntoArguments<DB>,
//! # {
//! use tracewell_sdk::sqlx::Traced;
//!
//! let pool = Traced::pool(pool);
//! sqlx::query("SELECT * FROM item WHERE stock < 5").fetch_all(&pool).await?;
//!
//! let mut transaction = pool.begin().await?; // BEGIN
//! sqlx::query("UPDATE item SET stock = stock - 1").execute(&mut transaction).await?;
//! transaction.commit().await?; // COMMIT; ROLLBACK where it is dropped
//! # Ok(())
//! # }
//! ```
//!
//! Attributes beyond those of [`db`](crate::db):
//!
//! - `db.query.text` is the statement as it is where arguments are bound, else without its literals.
//! - `db.response.returned_rows` counts what was fetched, also from a stream that was dropped early.
//! - `db.response.status_code` is the most specific code there is: SQLSTATE for PostgreSQL, the server's own
//!   number for MySQL and MariaDB, the extended result code for SQLite. It is `error.type` as well; errors
//!   without a code have the name of their variant, such as `sqlx::Error::PoolTimedOut`.
//! - `db.namespace` is the database that the connection was opened with; a later `USE` does not show.
//!   MariaDB goes by `mysql`, its protocol, unless [`Traced::with_database`] says otherwise.
//!
//! The time that a pool needs to find a connection is part of the span. `sqlx` itself logs statements with
//! their literals, as events of the target `sqlx::query` at level `DEBUG`: keep that target out of filters
//! where that matters.

mod execute;
mod options;
mod stream;

use std::fmt;

use ::sqlx::pool::PoolConnection;
use ::sqlx::{Connection, Database as Driver, Error, Pool, Transaction};
use tracing::Instrument;

use crate::db::{Database, Failure, Query};

pub use execute::{Link, Single};

/// A pool, a connection, a transaction or any executor, with a span for each statement that goes through it.
///
/// | made by | executes |
/// |---|---|
/// | [`Traced::pool`] | `&traced` |
/// | [`Traced::acquire`](Traced::<Pool<DB>>::acquire), [`Traced::connect`] | `&mut traced` |
/// | [`Traced::begin`](Traced::<Pool<DB>>::begin) | `&mut traced`, until `commit` or `rollback` |
/// | [`Traced::around`] | `traced`, once |
pub struct Traced<T> {
    inner: T,
    settings: Settings,
    transaction: Option<Unfinished>,
}

/// What the spans of one executor have in common.
#[derive(Debug, Clone)]
struct Settings {
    database: Database,
    comments: bool,
}

impl Settings {
    /// A statement of the transaction manager, which never comes through the executor.
    fn control(&self, operation: &'static str) -> Query<'static> {
        self.database.command(operation).summary(operation)
    }

    async fn controlled<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let call = self.control(operation).start().cancelled_if_dropped();
        let result = work.instrument(call.span()).await;
        match &result {
            Ok(_) => call.succeeded(),
            Err(error) => call.failed(failure(&self.database, error)),
        }
        result
    }
}

/// Tells of the rollback of a transaction that nobody finished.
#[derive(Debug)]
struct Unfinished {
    settings: Settings,
    /// A transaction within another: a savepoint.
    nested: bool,
}

impl Unfinished {
    fn operation(&self, whole: &'static str, nested: &'static str) -> &'static str {
        if self.nested { nested } else { whole }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let operation = self.operation("ROLLBACK", "ROLLBACK TO SAVEPOINT");
        self.settings.control(operation).start().succeeded();
    }
}

/// What an error of sqlx is called in a span.
fn failure(database: &Database, error: &Error) -> Failure {
    if let Error::Database(error) = error {
        let words = Failure::new("sqlx::Error::Database", error);
        // MySQL's own number comes first in the words: "1062 (23000): Duplicate entry …".
        let text = error.to_string();
        let number = text.split([' ', ':']).next().filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        return match (database.system(), number, error.code()) {
            ("mysql" | "mariadb", Some(number), _) => words.code(number),
            (_, _, Some(code)) => words.code(code),
            _ => words,
        };
    }
    let kind = match error {
        Error::Configuration(_) => "sqlx::Error::Configuration",
        Error::InvalidArgument(_) => "sqlx::Error::InvalidArgument",
        Error::Io(_) => "sqlx::Error::Io",
        Error::Tls(_) => "sqlx::Error::Tls",
        Error::Protocol(_) => "sqlx::Error::Protocol",
        Error::RowNotFound => "sqlx::Error::RowNotFound",
        Error::TypeNotFound { .. } => "sqlx::Error::TypeNotFound",
        Error::ColumnIndexOutOfBounds { .. } => "sqlx::Error::ColumnIndexOutOfBounds",
        Error::ColumnNotFound(_) => "sqlx::Error::ColumnNotFound",
        Error::ColumnDecode { .. } => "sqlx::Error::ColumnDecode",
        Error::Encode(_) => "sqlx::Error::Encode",
        Error::Decode(_) => "sqlx::Error::Decode",
        Error::AnyDriverError(_) => "sqlx::Error::AnyDriverError",
        Error::PoolTimedOut => "sqlx::Error::PoolTimedOut",
        Error::PoolClosed => "sqlx::Error::PoolClosed",
        Error::WorkerCrashed => "sqlx::Error::WorkerCrashed",
        Error::InvalidSavePointStatement => "sqlx::Error::InvalidSavePointStatement",
        Error::BeginFailed => "sqlx::Error::BeginFailed",
        _ => "sqlx::Error",
    };
    Failure::new(kind, error)
}

impl<T> Traced<T> {
    fn new(inner: T, database: Database) -> Self {
        Self { inner, settings: Settings { database, comments: false }, transaction: None }
    }

    /// Spans for one call through any executor, where there is no pool or connection of one's own to wrap:
    /// `sqlx::query(…).execute(Traced::around(&mut *connection, &database))`.
    pub fn around(executor: T, database: &Database) -> Self {
        Self::new(executor, database.clone())
    }

    /// Another description of the database, such as `mariadb` in place of `mysql`.
    #[must_use]
    pub fn with_database(mut self, database: Database) -> Self {
        self.settings.database = database;
        self
    }

    /// Writes the context of each span into its statement as a comment (SQLCommenter), so that the database's
    /// own log leads to the trace. Off by default: every statement becomes a text of its own, which is
    /// prepared anew each time.
    #[must_use]
    pub fn with_comments(mut self) -> Self {
        self.settings.comments = true;
        self
    }

    /// What the spans say about the database.
    pub fn database(&self) -> &Database {
        &self.settings.database
    }

    /// What is wrapped. Statements that go to it directly have no span.
    pub fn inner(&self) -> &T {
        &self.inner
    }

    /// As [`Traced::inner`], to be changed.
    pub fn inner_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// What is wrapped, and no more spans.
    pub fn into_inner(mut self) -> T {
        std::mem::forget(self.transaction.take());
        self.inner
    }

    /// The same settings for something that came out of this.
    fn wrap<U>(&self, inner: U) -> Traced<U> {
        Traced { inner, settings: self.settings.clone(), transaction: None }
    }

    fn wrap_transaction<U>(settings: &Settings, inner: U, nested: bool) -> Traced<U> {
        let unfinished = Unfinished { settings: settings.clone(), nested };
        Traced { inner, settings: settings.clone(), transaction: Some(unfinished) }
    }
}

impl<T> fmt::Debug for Traced<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traced").field("database", &self.settings.database).finish_non_exhaustive()
    }
}

impl<DB: Driver> Clone for Traced<Pool<DB>> {
    fn clone(&self) -> Self {
        self.wrap(self.inner.clone())
    }
}

impl<DB: Driver> Traced<Pool<DB>> {
    /// A pool; where it leads is read from its options.
    pub fn pool(pool: Pool<DB>) -> Self {
        let database = options::database_of::<DB>(&pool.connect_options());
        Self::new(pool, database)
    }

    /// A connection out of the pool.
    ///
    /// # Errors
    ///
    /// Those of [`Pool::acquire`].
    pub async fn acquire(&self) -> Result<Traced<PoolConnection<DB>>, Error> {
        Ok(self.wrap(self.inner.acquire().await?))
    }

    /// A connection out of the pool, with a transaction under way.
    ///
    /// # Errors
    ///
    /// Those of [`Pool::begin`].
    pub async fn begin(&self) -> Result<Traced<Transaction<'static, DB>>, Error> {
        let transaction = self.settings.controlled("BEGIN", self.inner.begin()).await?;
        Ok(Self::wrap_transaction(&self.settings, transaction, false))
    }
}

impl<DB: Driver> Traced<PoolConnection<DB>> {
    /// Begins a transaction.
    ///
    /// # Errors
    ///
    /// Those of [`Connection::begin`].
    pub async fn begin(&mut self) -> Result<Traced<Transaction<'_, DB>>, Error> {
        let transaction = self.settings.controlled("BEGIN", Connection::begin(&mut *self.inner)).await?;
        Ok(Self::wrap_transaction(&self.settings, transaction, false))
    }
}

impl<C: Connection> Traced<Single<C>> {
    /// Opens a connection that belongs to no pool.
    ///
    /// # Errors
    ///
    /// Those of [`Connection::connect_with`].
    pub async fn connect(options: &C::Options) -> Result<Self, Error> {
        let database = options::database_of::<C::Database>(options);
        Ok(Self::new(Single(C::connect_with(options).await?), database))
    }

    /// Begins a transaction.
    ///
    /// # Errors
    ///
    /// Those of [`Connection::begin`].
    pub async fn begin(&mut self) -> Result<Traced<Transaction<'_, C::Database>>, Error> {
        let transaction = self.settings.controlled("BEGIN", self.inner.0.begin()).await?;
        Ok(Self::wrap_transaction(&self.settings, transaction, false))
    }

    /// Closes the connection.
    ///
    /// # Errors
    ///
    /// Those of [`Connection::close`].
    pub async fn close(self) -> Result<(), Error> {
        self.inner.0.close().await
    }
}

impl<DB: Driver> Traced<Transaction<'_, DB>> {
    /// Begins a transaction within this one: a savepoint.
    ///
    /// # Errors
    ///
    /// Those of [`Connection::begin`].
    pub async fn begin(&mut self) -> Result<Traced<Transaction<'_, DB>>, Error> {
        let transaction = self.settings.controlled("SAVEPOINT", Connection::begin(&mut *self.inner)).await?;
        Ok(Self::wrap_transaction(&self.settings, transaction, true))
    }

    /// Takes leave of the transaction; the name of the statement that ends it.
    fn finish(&mut self, whole: &'static str, nested: &'static str) -> &'static str {
        let unfinished = self.transaction.take();
        let operation = unfinished.as_ref().map_or(whole, |unfinished| unfinished.operation(whole, nested));
        std::mem::forget(unfinished);
        operation
    }

    /// Makes what was done last.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::commit`].
    pub async fn commit(mut self) -> Result<(), Error> {
        let operation = self.finish("COMMIT", "RELEASE SAVEPOINT");
        self.settings.controlled(operation, self.inner.commit()).await
    }

    /// Undoes what was done.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::rollback`].
    pub async fn rollback(mut self) -> Result<(), Error> {
        let operation = self.finish("ROLLBACK", "ROLLBACK TO SAVEPOINT");
        self.settings.controlled(operation, self.inner.rollback()).await
    }
}
