//! Spans around calls to a database, for any driver.

use std::fmt;

use tracewell_model::{Span, SpanKind, StatusCode, Value};
use tracewell_sdk::db::{Database, Failure};
use tracewell_sdk::{Sampler, SpanExt};
use tracing::info_span;

use crate::receiver::{Receiver, recorded};

#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("database is locked")
    }
}

/// What one call left behind.
fn span_of(work: impl FnOnce()) -> Span {
    let receiver = Receiver::start(vec![]);
    let mut spans = recorded(receiver.traces_only(), &receiver, work);
    assert_eq!(spans.len(), 1, "{spans:#?}");
    spans.remove(0).span
}

fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    span.attribute(key).and_then(Value::as_str)
}

#[test]
fn a_statement_is_named_by_its_summary_and_has_no_values() {
    let span = span_of(|| {
        let shop = Database::new("postgresql").namespace("shop").server("db.example", 5433);
        let rows = shop.query("SELECT * FROM item WHERE name = 'secret'").run(
            |call| {
                call.returned_rows(3);
                Ok::<_, Refused>(3)
            },
            Failure::of,
        );
        assert_eq!(rows.unwrap(), 3);
    });
    assert_eq!(
        (span.name.as_str(), span.kind, span.status.code),
        ("SELECT item", SpanKind::Client as i32, StatusCode::Unset as i32)
    );
    let expected = [
        ("db.system.name", "postgresql"),
        ("db.namespace", "shop"),
        ("db.query.text", "SELECT * FROM item WHERE name = ?"),
        ("db.query.summary", "SELECT item"),
        ("server.address", "db.example"),
    ];
    for (key, value) in expected {
        assert_eq!(text(&span, key), Some(value), "{key}");
    }
    assert_eq!(span.attribute("server.port"), Some(&Value::Int(5433)));
    assert_eq!(span.attribute("db.response.returned_rows"), Some(&Value::Int(3)));
    for key in ["db.operation.name", "db.collection.name", "error.type", "db.response.status_code"] {
        assert_eq!(span.attribute(key), None, "{key}");
    }
}

#[test]
fn an_error_has_its_code_and_its_words() {
    let span = span_of(|| {
        let shop = Database::new("sqlite");
        let _ = shop
            .query("UPDATE item SET n = ?1")
            .parameterized()
            .run(|_| Err::<(), _>(Refused), |error| Failure::of(error).code("SQLITE_BUSY"));
    });
    assert_eq!((span.status.code, span.status.message.as_str()), (StatusCode::Error as i32, "database is locked"));
    assert_eq!(text(&span, "db.response.status_code"), Some("SQLITE_BUSY"));
    assert_eq!(text(&span, "error.type"), Some("SQLITE_BUSY"));

    let span = span_of(|| Database::new("sqlite").query("SELECT 1").start().failed(Failure::of(&Refused)));
    assert_eq!(text(&span, "error.type"), Some(std::any::type_name::<Refused>()));
    assert_eq!(text(&span, "db.response.status_code"), None);
}

#[test]
fn names_follow_the_convention() {
    let cache = || Database::new("redis").server("127.0.0.1", 6379);
    let store = || Database::new("mongodb").namespace("shop");
    type Case = (&'static str, Box<dyn FnOnce()>);
    let cases: [Case; 6] = [
        ("GET 127.0.0.1:6379", Box::new(move || drop(cache().command("GET").text("GET ?").start()))),
        ("find item", Box::new(move || drop(store().command("find").collection("item").start()))),
        ("insert shop", Box::new(move || drop(store().command("insert").start()))),
        (
            "get user by id",
            Box::new(|| drop(Database::new("mysql").query("SELECT 1").summary("get user by id").start())),
        ),
        ("mysql", Box::new(|| drop(Database::new("mysql").query("?").start()))),
        ("EXECUTE pay", Box::new(|| drop(Database::new("mysql").command("EXECUTE").stored_procedure("pay").start()))),
    ];
    for (name, work) in cases {
        assert_eq!(span_of(work).name, name);
    }
    // A port that goes without saying is left out.
    assert_eq!(span_of(move || drop(cache().command("GET").start())).attribute("server.port"), None);
}

#[test]
fn batches_have_one_span() {
    let shop = Database::new("mysql");
    let check = |statements: &[&str], name: &str, text_expected: &str, size: Option<i64>| {
        let span = span_of(|| drop(shop.batch(statements, false).start()));
        assert_eq!((span.name.as_str(), text(&span, "db.query.text")), (name, Some(text_expected)));
        assert_eq!(span.attribute("db.operation.batch.size").cloned(), size.map(Value::Int), "{name}");
    };
    check(
        &["DELETE FROM a WHERE b = 1", "DELETE FROM a WHERE b = 2"],
        "BATCH DELETE a",
        "DELETE FROM a WHERE b = ?",
        Some(2),
    );
    check(&["DELETE FROM a", "DELETE FROM b"], "BATCH", "DELETE FROM a; DELETE FROM b", Some(2));
    check(&["DELETE FROM a"], "DELETE a", "DELETE FROM a", None);
}

#[test]
fn a_panic_in_the_call_is_told() {
    let span = span_of(|| {
        let call = std::panic::AssertUnwindSafe(|| {
            let _call = Database::new("sqlite").query("SELECT 1").start();
            panic!("in the driver");
        });
        assert!(std::panic::catch_unwind(call).is_err());
    });
    assert_eq!((span.status.code, text(&span, "error.type")), (StatusCode::Error as i32, Some("panic")));
}

#[test]
fn what_is_not_sampled_costs_no_reading() {
    let receiver = Receiver::start(vec![]);
    let mut config = receiver.traces_only();
    config.sampler = Sampler::always_off();
    let spans = recorded(config, &receiver, || {
        info_span!("request").in_scope(|| {
            let call = Database::new("sqlite").query("SELECT 1").start();
            assert!(call.span().context().is_some_and(|context| !context.is_sampled()), "context still travels");
        });
    });
    assert_eq!(spans.len(), 0);
}
