//! The convention's own cases, a table of what else people write, and the laws.

use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;

use super::{Dialect, QUERY_SUMMARY_CHARS_MAX, QUERY_TEXT_BYTES_MAX, obfuscate, summarize};

#[test]
fn the_cases_of_the_convention() {
    let path =
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/propagation/db-sql-test-cases.json"));
    let Ok(content) = std::fs::read_to_string(path) else {
        println!("skipped: {} is missing", path.display());
        return;
    };
    let cases: Vec<Value> = serde_json::from_str(&content).unwrap();
    assert!(cases.len() >= 24, "{}", cases.len());
    for case in &cases {
        let (name, statement) = (&case["name"], case["input"]["query"].as_str().unwrap());
        let dialect = Dialect::of(case["input"]["db.system.name"].as_str().unwrap());
        let texts = case["expected"]["db.query.text"].as_array().unwrap();
        let text = obfuscate(statement, dialect);
        assert!(texts.iter().any(|expected| expected == &text), "{name}: {text:?}, expected one of {texts:?}");
        let summary = summarize(statement, dialect);
        assert_eq!(summary.as_deref(), case["expected"]["db.query.summary"].as_str(), "{name}");
    }
}

fn check(system: &str, cases: &[(&str, &str)]) {
    for (statement, expected) in cases {
        let summary = summarize(statement, Dialect::of(system));
        assert_eq!(summary.as_deref().unwrap_or(""), *expected, "{system}: {statement}");
    }
}

#[test]
fn targets_are_found_wherever_tables_stand() {
    check(
        "postgresql",
        &[
            ("SELECT * FROM songs, artists WHERE songs.artist_id = artists.id", "SELECT songs artists"),
            ("SELECT * FROM \"song list\", 'artists'", "SELECT \"song list\" 'artists'"),
            ("SELECT * FROM public.\"Orders\" o LEFT JOIN db.s.t ON true, u", "SELECT public.\"Orders\" db.s.t u"),
            ("SELECT EXTRACT(YEAR FROM at), TRIM(' ' FROM a) FROM t ORDER BY a, b", "SELECT t"),
            ("SELECT a IS DISTINCT FROM b, c FROM ONLY parent", "SELECT parent"),
            ("SELECT (SELECT max(a) FROM x) FROM y WHERE b IN (SELECT c FROM z)", "SELECT SELECT x y SELECT z"),
            ("SELECT * FROM (SELECT 1) s, t JOIN LATERAL (SELECT * FROM u) v ON true", "SELECT SELECT t SELECT u"),
            ("SELECT * FROM (a JOIN b USING (id)), (VALUES (1)) v, c", "SELECT a b c"),
            ("SELECT * FROM generate_series(1, 10) g, t", "SELECT generate_series t"),
            ("SELECT * EXCEPT (a, b) FROM t", "SELECT t"),
            ("SELECT a INTO copy FROM t", "SELECT copy t"),
            ("(SELECT 1) UNION ALL (SELECT a FROM t) EXCEPT SELECT a FROM u", "SELECT SELECT t SELECT u"),
            ("SELECT * FROM t WHERE a = ANY($1) FOR UPDATE OF t SKIP LOCKED", "SELECT t"),
            ("SELECT * FROM table WHERE x = 1", "SELECT table"),
            ("SELECT * FROM insert", "SELECT insert"),
            ("SELECT insert, update FROM t", "SELECT t"),
            ("SELECT * FROM users@remote", "SELECT users@remote"),
            ("FROM t SELECT a", "FROM t SELECT"),
            ("TABLE t", "TABLE t"),
        ],
    );
    check(
        "microsoft.sql_server",
        &[("SELECT TOP 5 * FROM [my db].dbo.[t 1] WITH (NOLOCK) CROSS APPLY f(a)", "SELECT [my db].dbo.[t 1] f")],
    );
    check("mysql", &[("SELECT * FROM `a`.`b` STRAIGHT_JOIN c", "SELECT `a`.`b` c")]);
}

#[test]
fn common_table_expressions_are_no_targets() {
    check(
        "postgresql",
        &[
            ("WITH c AS (SELECT a FROM b) SELECT * FROM c JOIN d ON true", "SELECT b SELECT d"),
            (
                "WITH a AS (SELECT 1), \"B\" (x) AS NOT MATERIALIZED (SELECT * FROM a) SELECT * FROM b",
                "SELECT SELECT SELECT",
            ),
            (
                "WITH RECURSIVE c AS (SELECT 1 FROM t UNION ALL SELECT 2 FROM c) SELECT * FROM c",
                "SELECT t SELECT SELECT",
            ),
            (
                "WITH gone AS (DELETE FROM t RETURNING *) INSERT INTO old SELECT * FROM gone",
                "DELETE t INSERT old SELECT",
            ),
            ("INSERT INTO t WITH c AS (SELECT 1 FROM u) SELECT * FROM c", "INSERT t SELECT u SELECT"),
            ("CREATE VIEW v AS WITH c AS (SELECT 1 FROM u) SELECT * FROM c", "CREATE VIEW v SELECT u SELECT"),
            ("WITH c AS (VALUES (1)) UPDATE t SET a = 1 FROM c", "UPDATE t"),
            ("CREATE TABLE t (a int) WITH (fillfactor = 70)", "CREATE TABLE t"),
        ],
    );
}

#[test]
fn writes_name_what_they_write() {
    check(
        "mysql",
        &[
            ("insert into metrics.users (id) values (1) on duplicate key update id = 2", "insert metrics.users"),
            ("INSERT IGNORE INTO t SET a = 1", "INSERT t"),
            ("REPLACE t VALUES (1)", "REPLACE t"),
            ("UPDATE a, b SET a.x = b.x, a.y = 1 WHERE a.id = b.id", "UPDATE a b"),
            ("UPDATE LOW_PRIORITY a JOIN b ON a.id = b.id SET a.x = (SELECT 1 FROM c)", "UPDATE a b SELECT c"),
            ("UPDATE table SET a = 1", "UPDATE table"),
            ("DELETE o, i FROM orders o JOIN items i ON true", "DELETE orders items"),
            ("DELETE a.* FROM a", "DELETE a"),
            ("LOAD DATA LOCAL INFILE 'x' INTO TABLE t", "LOAD DATA t"),
        ],
    );
    check(
        "postgresql",
        &[
            ("INSERT INTO t(a) SELECT b FROM u ON CONFLICT DO UPDATE SET a = 1 RETURNING a, b", "INSERT t SELECT u"),
            ("DELETE FROM a USING b WHERE a.id = b.id", "DELETE a b"),
            (
                "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = 1 WHEN NOT MATCHED THEN INSERT VALUES (1)",
                "MERGE t s",
            ),
            ("UPDATE ONLY t SET a = 1 FROM u", "UPDATE t u"),
            ("COPY t (a, b) FROM STDIN", "COPY t"),
            ("DELETE t WHERE a = 1", "DELETE t"),
        ],
    );
    check(
        "sqlite",
        &[("INSERT OR REPLACE INTO t VALUES (1)", "INSERT t"), ("UPDATE OR IGNORE t SET a = 1", "UPDATE t")],
    );
}

#[test]
fn other_statements_have_a_summary_too() {
    check(
        "postgresql",
        &[
            ("CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX i"),
            ("CREATE INDEX ON t (a)", "CREATE INDEX t"),
            ("CREATE OR REPLACE VIEW v AS SELECT * FROM t", "CREATE VIEW v SELECT t"),
            ("CREATE TEMP TABLE IF NOT EXISTS t AS SELECT 1", "CREATE TABLE t SELECT"),
            ("CREATE KEYSPACE k", "CREATE KEYSPACE"),
            ("DROP TABLE IF EXISTS a, b CASCADE", "DROP TABLE a b"),
            ("REFRESH MATERIALIZED VIEW CONCURRENTLY v", "REFRESH MATERIALIZED VIEW v"),
            ("TRUNCATE a, b", "TRUNCATE a b"),
            ("LOCK TABLE t IN EXCLUSIVE MODE", "LOCK TABLE t"),
            ("EXPLAIN (ANALYZE, BUFFERS) UPDATE t SET a = 1", "EXPLAIN UPDATE t"),
            ("explain  analyze select * from t", "explain analyze select t"),
            ("EXPLAIN QUERY PLAN DELETE FROM t", "EXPLAIN DELETE t"),
            ("VACUUM FULL t", "VACUUM t"),
            ("BEGIN", "BEGIN"),
            ("start transaction isolation level serializable", "start transaction"),
            ("ROLLBACK TO SAVEPOINT s1", "ROLLBACK"),
            ("SET search_path = a, b", "SET"),
            ("SHOW CREATE TABLE t", "SHOW"),
            ("GRANT SELECT, INSERT ON t TO u", "GRANT"),
            ("CALL db.p(1, 2)", "CALL db.p"),
            ("VALUES (1), (2)", "VALUES"),
            ("LISTEN c", "LISTEN"),
        ],
    );
    check(
        "microsoft.sql_server",
        &[("EXEC @rc = dbo.p @a = 1", "EXEC dbo.p"), ("{? = call p(?)}", "call p"), ("USE [my db]", "USE [my db]")],
    );
    check("mysql", &[("CREATE DEFINER=`root`@`%` PROCEDURE p() SELECT 1", "CREATE PROCEDURE p SELECT")]);
    check("sqlite", &[("PRAGMA table_info(t)", "PRAGMA table_info"), ("ANALYZE", "ANALYZE")]);
}

#[test]
fn statements_in_one_text_are_told_apart() {
    check(
        "sqlite",
        &[
            ("SELECT * FROM a; INSERT INTO b VALUES (1);", "SELECT a; INSERT b"),
            (";;", ""),
            ("", ""),
            ("-- SELECT * FROM t", ""),
            ("and now for something completely different", ""),
            ("(((((", ""),
            (")))) SELECT 1 FROM t", "SELECT t"),
        ],
    );
}

#[test]
fn summaries_are_cut_between_targets() {
    let tables: Vec<String> = (0..50).map(|number| format!("very_long_table_name_{number}")).collect();
    let summary = summarize(&format!("SELECT * FROM {}", tables.join(", ")), Dialect::of("mysql")).unwrap();
    assert!(summary.len() <= QUERY_SUMMARY_CHARS_MAX && summary.ends_with("very_long_table_name_9"), "{summary}");
    assert_eq!(
        summarize(&format!("SELECT 1 FROM {}", "t".repeat(300)), Dialect::of("mysql")).as_deref(),
        Some("SELECT")
    );
}

const SYSTEMS: [&str; 7] =
    ["other_sql", "postgresql", "mysql", "sqlite", "microsoft.sql_server", "oracle.db", "clickhouse"];

/// Text that looks enough like SQL to reach every branch.
fn almost_sql() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "SELECT ",
            "FROM ",
            "IN",
            "(",
            ")",
            ",",
            "'",
            "\"",
            "`",
            "[",
            "]",
            "$$",
            "$a$",
            "--",
            "/*",
            "*/",
            "\n",
            "#",
            "\\",
            "E'",
            "q'[",
            "N'",
            "U&'",
            "0x",
            ".",
            "+",
            "-",
            "1",
            "e",
            "?",
            ":",
            "::",
            "@",
            "%s",
            ";",
            "WITH ",
            "AS ",
            "INSERT INTO ",
            "VALUES",
            "UNION ",
            "DELETE ",
            "EXPLAIN ",
            "IDENTIFIED BY ",
            "é",
            "…",
            "\0",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,4}",
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Any text gives a bounded answer, and no panic.
    #[test]
    fn any_text_is_read(text in almost_sql(), system in prop::sample::select(SYSTEMS.to_vec())) {
        let dialect = Dialect::of(system);
        let obfuscated = obfuscate(&text, dialect);
        prop_assert!(obfuscated.len() <= text.len().min(QUERY_TEXT_BYTES_MAX) + "…".len());
        if let Some(summary) = summarize(&text, dialect) {
            prop_assert!(summary.chars().count() <= QUERY_SUMMARY_CHARS_MAX);
        }
    }

    /// Two statements that differ in their values alone have the same text and summary.
    #[test]
    fn values_do_not_show(first in "[a-z' ]{0,12}", second in "[a-z' ]{0,12}", number in any::<u32>()) {
        for system in SYSTEMS {
            let dialect = Dialect::of(system);
            let statement = |value: &str, number: u32| {
                let value = value.replace('\'', "''");
                format!("SELECT a FROM t WHERE b = '{value}' AND c > {number} AND d IN ({number}, '{value}')")
            };
            let one = obfuscate(&statement(&first, number), dialect);
            prop_assert_eq!(&one, "SELECT a FROM t WHERE b = ? AND c > ? AND d IN (?)");
            prop_assert_eq!(one, obfuscate(&statement(&second, number / 2), dialect));
            let summary = summarize(&statement(&first, number), dialect);
            prop_assert_eq!(summary.as_deref(), Some("SELECT t"));
        }
    }

    /// What has no values any more stays as it is.
    #[test]
    fn obfuscation_settles(text in almost_sql()) {
        let dialect = Dialect::of("postgresql");
        let once = obfuscate(&text, dialect);
        prop_assert_eq!(obfuscate(&once, dialect), once);
    }
}
