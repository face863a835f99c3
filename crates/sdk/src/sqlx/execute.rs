//! [`Traced`] as an executor.
//!
//! sqlx implements `Executor` for `&Pool` and for the `&mut` of each driver's connection, and leaves out
//! transactions and pooled connections: an implementation for `&mut Wrapper<DB>` that asks for
//! `&mut DB::Connection: Executor` makes the compiler go round in circles wherever `DB` is not known. Here the
//! question goes through [`Link`], which the compiler does not ask of a type that it does not know yet.

use std::fmt;

use ::sqlx::error::BoxDynError;
use ::sqlx::pool::PoolConnection;
use ::sqlx::{
    Arguments, Connection, Database as Driver, Describe, Either, Error, Execute, Executor, Pool, SqlStr, Transaction,
};
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use tracewell_propagate::SqlComment;

use super::stream::{Rows, complete};
use super::{Settings, Traced};
use crate::db::Call;

/// What a query leads to: rows, and what became of it.
type Step<DB> = Either<<DB as Driver>::QueryResult, <DB as Driver>::Row>;

/// Something that holds a connection: [`PoolConnection`], [`Transaction`], [`Single`]. Not for general use;
/// the methods are those of [`Executor`].
#[allow(missing_docs, reason = "the methods are those of `Executor`")]
pub trait Link: Send + fmt::Debug {
    type Database: Driver;

    fn fetch_many<'e, 'q: 'e, Q>(&'e mut self, query: Q) -> BoxStream<'e, Result<Step<Self::Database>, Error>>
    where
        Q: 'q + Execute<'q, Self::Database>;

    fn fetch_optional<'e, 'q: 'e, Q>(
        &'e mut self,
        query: Q,
    ) -> BoxFuture<'e, Result<Option<<Self::Database as Driver>::Row>, Error>>
    where
        Q: 'q + Execute<'q, Self::Database>;

    fn prepare_with<'e>(
        &'e mut self,
        sql: SqlStr,
        parameters: &'e [<Self::Database as Driver>::TypeInfo],
    ) -> BoxFuture<'e, Result<<Self::Database as Driver>::Statement, Error>>;

    fn describe<'e>(&'e mut self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Self::Database>, Error>>;
}

/// A connection that belongs to no pool.
#[derive(Debug)]
pub struct Single<C>(pub(super) C);

macro_rules! link {
    ([$($generics:tt)*] $holder:ty, $driver:ty, $connection:ty, |$this:ident| $reach:expr) => {
        impl<$($generics)*> Link for $holder
        where
            for<'x> &'x mut $connection: Executor<'x, Database = $driver>,
            $connection: fmt::Debug,
        {
            type Database = $driver;

            fn fetch_many<'e, 'q: 'e, Q>(&'e mut self, query: Q) -> BoxStream<'e, Result<Step<$driver>, Error>>
            where
                Q: 'q + Execute<'q, $driver>,
            {
                let $this = self;
                ($reach).fetch_many(query)
            }

            fn fetch_optional<'e, 'q: 'e, Q>(
                &'e mut self,
                query: Q,
            ) -> BoxFuture<'e, Result<Option<<$driver as Driver>::Row>, Error>>
            where
                Q: 'q + Execute<'q, $driver>,
            {
                let $this = self;
                ($reach).fetch_optional(query)
            }

            fn prepare_with<'e>(
                &'e mut self,
                sql: SqlStr,
                parameters: &'e [<$driver as Driver>::TypeInfo],
            ) -> BoxFuture<'e, Result<<$driver as Driver>::Statement, Error>> {
                let $this = self;
                ($reach).prepare_with(sql, parameters)
            }

            fn describe<'e>(&'e mut self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<$driver>, Error>> {
                let $this = self;
                ($reach).describe(sql)
            }
        }
    };
}

link!([DB: Driver] PoolConnection<DB>, DB, DB::Connection, |this| &mut **this);
link!([DB: Driver] Transaction<'_, DB>, DB, DB::Connection, |this| &mut **this);
link!([C: Connection] Single<C>, C::Database, C, |this| &mut this.0);

/// A query whose parts have been looked at.
struct Seen<DB: Driver> {
    sql: SqlStr,
    statement: Option<DB::Statement>,
    arguments: Result<Option<DB::Arguments>, Option<BoxDynError>>,
    persistent: bool,
}

impl<DB: Driver> Execute<'_, DB> for Seen<DB> {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&DB::Statement> {
        self.statement.as_ref()
    }

    fn take_arguments(&mut self) -> Result<Option<DB::Arguments>, BoxDynError> {
        match &mut self.arguments {
            Ok(arguments) => Ok(arguments.take()),
            Err(error) => Err(error.take().unwrap_or_else(|| "the arguments cannot be encoded".into())),
        }
    }

    fn persistent(&self) -> bool {
        self.persistent
    }
}

impl Settings {
    /// Opens the span of a query.
    fn start<'q, DB: Driver, Q: Execute<'q, DB>>(&self, mut query: Q) -> (Call, Seen<DB>) {
        let persistent = query.persistent();
        let statement = query.statement().cloned();
        let arguments: Result<Option<DB::Arguments>, _> = query.take_arguments().map_err(Some);
        let mut seen = Seen::<DB> { statement, arguments, persistent, sql: query.sql() };
        let bound = matches!(&seen.arguments, Ok(Some(arguments)) if arguments.len() > 0);
        let call = self.database.query(seen.sql.as_str());
        let call = if bound { call.parameterized() } else { call }.start();
        if self.comments && seen.statement.is_none() {
            let mut comment = SqlComment::default();
            crate::inject(&call.span(), &mut comment);
            if let std::borrow::Cow::Owned(sql) = comment.append_to(seen.sql.as_str()) {
                // A text that never comes again has no place in the cache of prepared statements.
                seen.persistent = false;
                seen.sql = ::sqlx::SqlSafeStr::into_sql_str(::sqlx::AssertSqlSafe(sql));
            }
        }
        (call, seen)
    }
}

macro_rules! executor {
    ([$($generics:tt)*] $executor:ty, $driver:ty, [$($bounds:tt)*], |$this:ident| $reach:expr) => {
        impl<'c, $($generics)*> Executor<'c> for $executor
        where
            $($bounds)*
        {
            type Database = $driver;

            fn execute_many<'e, 'q: 'e, Q>(
                self,
                query: Q,
            ) -> BoxStream<'e, Result<<$driver as Driver>::QueryResult, Error>>
            where
                'c: 'e,
                Q: 'q + Execute<'q, $driver>,
            {
                let (call, query) = self.settings.start::<$driver, Q>(query);
                let database = self.settings.database.clone();
                let $this = self;
                let steps = call.span().in_scope(|| ($reach).fetch_many(query));
                Rows::results(steps, call, database)
            }

            fn fetch_many<'e, 'q: 'e, Q>(self, query: Q) -> BoxStream<'e, Result<Step<$driver>, Error>>
            where
                'c: 'e,
                Q: 'q + Execute<'q, $driver>,
            {
                let (call, query) = self.settings.start::<$driver, Q>(query);
                let database = self.settings.database.clone();
                let $this = self;
                let steps = call.span().in_scope(|| ($reach).fetch_many(query));
                Rows::steps(steps, call, database)
            }

            fn fetch_optional<'e, 'q: 'e, Q>(
                self,
                query: Q,
            ) -> BoxFuture<'e, Result<Option<<$driver as Driver>::Row>, Error>>
            where
                'c: 'e,
                Q: 'q + Execute<'q, $driver>,
            {
                let (call, query) = self.settings.start::<$driver, Q>(query);
                let database = self.settings.database.clone();
                let $this = self;
                let row = call.span().in_scope(|| ($reach).fetch_optional(query));
                complete(row, call, database, |row| Some(usize::from(row.is_some())))
            }

            fn prepare_with<'e>(
                self,
                sql: SqlStr,
                parameters: &'e [<$driver as Driver>::TypeInfo],
            ) -> BoxFuture<'e, Result<<$driver as Driver>::Statement, Error>>
            where
                'c: 'e,
            {
                let database = self.settings.database.clone();
                let call = database.query(sql.as_str()).operation("PREPARE").start();
                let $this = self;
                let statement = call.span().in_scope(|| ($reach).prepare_with(sql, parameters));
                complete(statement, call, database, |_| None)
            }

            #[doc(hidden)]
            fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<$driver>, Error>>
            where
                'c: 'e,
            {
                let $this = self;
                ($reach).describe(sql)
            }
        }
    };
}

executor!([DB: Driver] &'c Traced<Pool<DB>>, DB,
    [for<'x> &'x mut DB::Connection: Executor<'x, Database = DB>], |this| &this.inner);
executor!([T: Link] &'c mut Traced<T>, T::Database, [], |this| this.inner);
executor!([X: Executor<'c>] Traced<X>, X::Database, [], |this| this.inner);
