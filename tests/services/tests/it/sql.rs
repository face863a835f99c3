//! sqlx: the same course on every database, then what is particular to one.

use futures_util::TryStreamExt;
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::SqlitePoolOptions;
use tracewell_model::{SpanKind, StatusCode};
use tracewell_sdk::sqlx::Traced;
use tracing::{Instrument, info_span};

use crate::sink::{address, expect, number, parent, recorded, text};

/// How one database differs from the others.
struct Database {
    system: &'static str,
    namespace: &'static str,
    /// A placeholder for the first and the second argument.
    insert: &'static str,
    /// `db.response.status_code` of a second row with the same key, and of a table that is not there.
    codes: [&'static str; 2],
}

macro_rules! course {
    ($name:ident, $options:ty, $address:expr, $database:expr) => {
        mod $name {
            use super::*;

            /// A pool and an empty table.
            async fn pool(address: &str, table: &str) -> Traced<sqlx::Pool<<$options as PoolOf>::Driver>> {
                let pool = <$options>::new().max_connections(4).connect(address).await.unwrap();
                let create = format!("CREATE TABLE {table} (id BIGINT PRIMARY KEY, name VARCHAR(40))");
                sqlx::raw_sql(sqlx::AssertSqlSafe(format!("DROP TABLE IF EXISTS {table}")))
                    .execute(&pool)
                    .await
                    .unwrap();
                sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&pool).await.unwrap();
                Traced::pool(pool)
            }

            #[test]
            fn statements_have_spans() {
                let (database, Some(address)) = ($database, $address) else { return };
                let ((), spans) = recorded(async {
                    let work = async {
                        let pool = pool(&address, "statements").await;
                        let insert = database.insert.replace("TABLE", "statements");
                        for id in 0..3_i64 {
                            let query = sqlx::query(sqlx::AssertSqlSafe(insert.clone()));
                            query.bind(id).bind("bound").execute(&pool).await.unwrap();
                        }
                        let rows = sqlx::query("SELECT id FROM statements WHERE name = 'bound' AND id IN (0, 1)");
                        assert_eq!(rows.fetch_all(&pool).await.unwrap().len(), 2);
                        let none = sqlx::query("SELECT id FROM statements WHERE id > 99").fetch_optional(&pool).await;
                        assert!(none.unwrap().is_none());
                        let mut connection = pool.acquire().await.unwrap();
                        let one: (i64,) = sqlx::query_as("SELECT id FROM statements WHERE id = 1 LIMIT 1")
                            .fetch_one(&mut connection)
                            .await
                            .unwrap();
                        assert_eq!(one.0, 1);
                    };
                    work.instrument(info_span!("request")).await;
                });
                let request = spans.one("request");
                let inserts = spans.named("INSERT statements");
                assert_eq!(inserts.len(), 3, "{:?}", spans.names());
                let insert = inserts[0];
                assert_eq!((insert.kind, insert.status.code), (SpanKind::Client as i32, StatusCode::Unset as i32));
                assert_eq!((insert.trace_id, parent(insert)), (request.trace_id, request.span_id));
                expect(
                    insert,
                    &[
                        ("db.system.name", database.system),
                        ("db.namespace", database.namespace),
                        ("db.query.summary", "INSERT statements"),
                        ("db.query.text", &database.insert.replace("TABLE", "statements")),
                    ],
                );
                assert_eq!(number(insert, "db.response.returned_rows"), None, "an INSERT is not asked for rows");
                let selects = spans.named("SELECT statements");
                let seen: Vec<_> = selects
                    .iter()
                    .map(|span| (text(span, "db.query.text").unwrap(), number(span, "db.response.returned_rows")))
                    .collect();
                let expected = [
                    ("SELECT id FROM statements WHERE name = ? AND id IN (?)", Some(2)),
                    ("SELECT id FROM statements WHERE id > ?", Some(0)),
                    ("SELECT id FROM statements WHERE id = ? LIMIT ?", Some(1)),
                ];
                assert_eq!(seen, expected);
                if database.system != "sqlite" {
                    expect(insert, &[("server.address", "127.0.0.1")]);
                    assert!(number(insert, "server.port").is_some());
                }
            }

            #[test]
            fn errors_have_codes() {
                let (database, Some(address)) = ($database, $address) else { return };
                let ((), spans) = recorded(async {
                    let pool = pool(&address, "errors").await;
                    let insert = database.insert.replace("TABLE", "errors");
                    for _ in 0..2 {
                        let query = sqlx::query(sqlx::AssertSqlSafe(insert.clone()));
                        let _ = query.bind(1_i64).bind("twice").execute(&pool).await;
                    }
                    assert!(sqlx::query("SELECT * FROM missing").fetch_all(&pool).await.is_err());
                    pool.inner().close().await;
                    assert!(sqlx::query("SELECT 1").fetch_all(&pool).await.is_err());
                });
                let failed = [
                    (spans.named("INSERT errors")[1], Some(database.codes[0]), database.codes[0]),
                    (spans.one("SELECT missing"), Some(database.codes[1]), database.codes[1]),
                    (spans.one("SELECT"), None, "sqlx::Error::PoolClosed"),
                ];
                for (span, code, kind) in failed {
                    assert_eq!((text(span, "db.response.status_code"), text(span, "error.type")), (code, Some(kind)));
                    assert_eq!(span.status.code, StatusCode::Error as i32);
                    assert!(!span.status.message.is_empty());
                }
            }

            #[test]
            fn a_stream_ends_its_span_when_it_goes() {
                let (database, Some(address)) = ($database, $address) else { return };
                let ((), spans) = recorded(async {
                    let pool = pool(&address, "streams").await;
                    for id in 0..5_i64 {
                        let query = sqlx::query(sqlx::AssertSqlSafe(database.insert.replace("TABLE", "streams")));
                        query.bind(id).bind("row").execute(&pool).await.unwrap();
                    }
                    let mut rows = sqlx::query("SELECT id FROM streams ORDER BY id").fetch(&pool);
                    assert!(rows.try_next().await.unwrap().is_some());
                    assert!(rows.try_next().await.unwrap().is_some());
                    drop(rows);
                    let mut rows = sqlx::query("SELECT name FROM streams").fetch(&pool);
                    while rows.try_next().await.unwrap().is_some() {}
                });
                let rows: Vec<_> = spans
                    .named("SELECT streams")
                    .iter()
                    .map(|span| (number(span, "db.response.returned_rows"), span.status.code))
                    .collect();
                assert_eq!(rows, [(Some(2), StatusCode::Unset as i32), (Some(5), StatusCode::Unset as i32)]);
            }

            #[test]
            fn transactions_have_a_beginning_and_an_end() {
                let (database, Some(address)) = ($database, $address) else { return };
                let ((), spans) = recorded(async {
                    let pool = pool(&address, "transactions").await;
                    let insert = || {
                        let sql = database.insert.replace("TABLE", "transactions");
                        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(1_i64).bind("once")
                    };
                    let mut transaction = pool.begin().await.unwrap();
                    insert().execute(&mut transaction).await.unwrap();
                    let mut nested = transaction.begin().await.unwrap();
                    sqlx::query("DELETE FROM transactions").execute(&mut nested).await.unwrap();
                    nested.rollback().await.unwrap();
                    transaction.commit().await.unwrap();
                    // Dropped without a word.
                    let mut transaction = pool.begin().await.unwrap();
                    sqlx::query("DELETE FROM transactions").execute(&mut transaction).await.unwrap();
                    drop(transaction);
                    let left: Vec<_> = sqlx::query("SELECT id FROM transactions").fetch_all(&pool).await.unwrap();
                    assert_eq!(left.len(), 1);
                });
                let expected = [
                    "BEGIN",
                    "INSERT transactions",
                    "SAVEPOINT",
                    "DELETE transactions",
                    "ROLLBACK TO SAVEPOINT",
                    "COMMIT",
                    "BEGIN",
                    "DELETE transactions",
                    "ROLLBACK",
                    "SELECT transactions",
                ];
                assert_eq!(spans.names(), expected);
                expect(spans.one("COMMIT"), &[("db.operation.name", "COMMIT"), ("db.namespace", database.namespace)]);
            }

            #[test]
            fn tasks_do_not_mix_their_spans() {
                let (database, Some(address)) = ($database, $address) else { return };
                let ((), spans) = recorded(async {
                    let pool = pool(&address, "tasks").await;
                    let tasks = (0..16_i64).map(|id| {
                        let (pool, sql) = (pool.clone(), database.insert.replace("TABLE", "tasks"));
                        let work = async move {
                            let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).bind("task");
                            query.execute(&pool).await.unwrap();
                        };
                        work.instrument(info_span!("task", task.id = id))
                    });
                    futures_util::future::join_all(tasks).await;
                });
                let mut parents: Vec<_> = spans
                    .named("INSERT tasks")
                    .iter()
                    .map(|span| number(spans.by_id(parent(span)), "task.id").unwrap())
                    .collect();
                parents.sort_unstable();
                assert_eq!(parents, (0..16).collect::<Vec<_>>());
            }
        }
    };
}

/// The driver of a kind of options.
trait PoolOf {
    type Driver: sqlx::Database;
}

impl PoolOf for PgPoolOptions {
    type Driver = sqlx::Postgres;
}

impl PoolOf for MySqlPoolOptions {
    type Driver = sqlx::MySql;
}

impl PoolOf for SqlitePoolOptions {
    type Driver = sqlx::Sqlite;
}

const POSTGRESQL: Database = Database {
    system: "postgresql",
    namespace: "postgres",
    insert: "INSERT INTO TABLE (id, name) VALUES ($1, $2)",
    codes: ["23505", "42P01"],
};

const MARIADB: Database = Database {
    system: "mysql",
    namespace: "test",
    insert: "INSERT INTO TABLE (id, name) VALUES (?, ?)",
    codes: ["1062", "1146"],
};

const SQLITE: Database = Database {
    system: "sqlite",
    namespace: ":memory:",
    insert: "INSERT INTO TABLE (id, name) VALUES (?1, ?2)",
    codes: ["1555", "1"],
};

course!(postgresql, PgPoolOptions, address("TRACEWELL_TEST_POSTGRESQL", "PostgreSQL"), POSTGRESQL);
course!(mariadb, MySqlPoolOptions, address("TRACEWELL_TEST_MARIADB", "MariaDB"), MARIADB);
course!(sqlite, SqlitePoolOptions, Some("sqlite::memory:".to_owned()), SQLITE);

#[test]
fn comments_lead_from_the_database_to_the_trace() {
    let Some(address) = address("TRACEWELL_TEST_POSTGRESQL", "PostgreSQL") else { return };
    let (seen, spans) = recorded(async {
        let pool = Traced::pool(PgPoolOptions::new().connect(&address).await.unwrap()).with_comments();
        let query = sqlx::query_scalar::<_, String>("SELECT current_query() WHERE $1 = 1").bind(1);
        query.fetch_one(&pool).await.unwrap()
    });
    let span = spans.one("SELECT");
    assert!(seen.contains(&format!("traceparent='00-{}-{}-", span.trace_id, span.span_id)), "{seen}");
    expect(span, &[("db.query.text", "SELECT current_query() WHERE $1 = 1")]);
}

#[test]
fn any_executor_can_be_wrapped_for_once() {
    let ((), spans) = recorded(async {
        let pool = SqlitePoolOptions::new().connect("sqlite::memory:").await.unwrap();
        let database = tracewell_sdk::db::Database::new("sqlite").namespace("mine");
        let mut connection = pool.acquire().await.unwrap();
        sqlx::query("SELECT 1").fetch_all(Traced::around(&mut *connection, &database)).await.unwrap();
        sqlx::query("SELECT 2").fetch_all(Traced::around(&pool, &database)).await.ok();
    });
    assert_eq!(spans.named("SELECT").len(), 2);
    expect(spans.all().first().unwrap(), &[("db.namespace", "mine")]);
}
