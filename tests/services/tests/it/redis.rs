//! redis: commands, pipelines, errors, and a server that dies.

use redis::{AsyncCommands, Client, Commands};
use tracewell_model::StatusCode;
use tracewell_sdk::redis::Traced;

use crate::sink::{address, expect, number, recorded, text};

#[test]
fn commands_and_pipelines_have_spans() {
    let Some(address) = address("TRACEWELL_TEST_REDIS", "Redis") else { return };
    let ((), spans) = recorded(async {
        let client = Client::open(address).unwrap();
        let mut redis = Traced::new(client.get_multiplexed_async_connection().await.unwrap(), &client);
        let _: () = redis.set("item:1", "secret").await.unwrap();
        let value: String = redis.get("item:1").await.unwrap();
        assert_eq!(value, "secret");
        let wrong: redis::RedisResult<i64> = redis.lpush("item:1", "x").await;
        assert!(wrong.is_err());
        let (a, b): (i64, i64) = redis::pipe().incr("count", 1).incr("count", 1).query_async(&mut redis).await.unwrap();
        assert_eq!(b, a + 1);
        let mut transaction = redis::pipe();
        transaction.atomic().set("item:2", "secret").ignore().get("item:2");
        let (value,): (String,) = transaction.query_async(&mut redis).await.unwrap();
        assert_eq!(value, "secret");
        let single: (i64,) = redis::pipe().incr("count", 1).query_async(&mut redis).await.unwrap();
        assert!(single.0 > b);
        let broken: redis::RedisResult<(i64, i64)> =
            redis::pipe().incr("count", 1).incr("item:1", 1).query_async(&mut redis).await;
        assert!(broken.is_err());
    });
    let names = ["SET", "GET", "LPUSH", "PIPELINE INCRBY", "MULTI", "INCRBY", "PIPELINE INCRBY"];
    assert_eq!(spans.names(), names);
    let set = spans.one("SET");
    expect(
        set,
        &[
            ("db.system.name", "redis"),
            ("db.namespace", "1"),
            ("db.operation.name", "SET"),
            ("db.query.text", "SET item:1 ?"),
            ("server.address", "127.0.0.1"),
        ],
    );
    let push = spans.one("LPUSH");
    assert_eq!(push.status.code, StatusCode::Error as i32);
    expect(push, &[("db.response.status_code", "WRONGTYPE"), ("error.type", "WRONGTYPE")]);
    let pipeline = spans.named("PIPELINE INCRBY");
    assert_eq!(number(pipeline[0], "db.operation.batch.size"), Some(2));
    expect(pipeline[0], &[("db.query.text", "INCRBY count 1; INCRBY count 1")]);
    expect(pipeline[1], &[("db.response.status_code", "ERR")]);
    assert_eq!(number(spans.one("INCRBY"), "db.operation.batch.size"), None, "one command is no batch");
    expect(spans.one("MULTI"), &[("db.query.text", "SET item:2 ?; GET item:2")]);
}

#[test]
fn blocking_connections_have_spans_too() {
    let Some(address) = address("TRACEWELL_TEST_REDIS", "Redis") else { return };
    let ((), spans) = recorded(async {
        let client = Client::open(address).unwrap();
        let mut redis = Traced::new(client.get_connection().unwrap(), &client);
        let _: () = redis.set("item:3", "secret").unwrap();
        let mut pipeline = redis::pipe();
        let _: (i64, i64) = pipeline.atomic().incr("sync", 1).incr("sync", 1).query(&mut redis).unwrap();
        let wrong: redis::RedisResult<i64> = redis.lpush("item:3", "x");
        assert!(wrong.is_err());
    });
    assert_eq!(spans.names(), ["SET", "MULTI INCRBY", "LPUSH"]);
    expect(spans.one("LPUSH"), &[("db.response.status_code", "WRONGTYPE")]);
    assert_eq!(number(spans.one("MULTI INCRBY"), "db.operation.batch.size"), Some(2));
}

#[test]
fn a_server_that_dies_is_an_error_and_no_panic() {
    let Some(address) = address("TRACEWELL_TEST_REDIS_MORTAL", "Redis to be killed") else { return };
    let Some(pid) = std::env::var("TRACEWELL_TEST_REDIS_MORTAL_PID").ok() else { return };
    let ((), spans) = recorded(async {
        let client = Client::open(address).unwrap();
        let mut redis = Traced::new(client.get_multiplexed_async_connection().await.unwrap(), &client);
        let _: () = redis.set("a", 1).await.unwrap();
        // The answer never comes: the server dies while the command waits for it.
        let killer = async {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            let killed = std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
            assert!(killed.success());
        };
        let mut waiting = redis.clone();
        let command = redis::cmd("BLPOP").arg("empty").arg(0).to_owned();
        let (answer, ()) = tokio::join!(command.query_async::<redis::Value>(&mut waiting), killer);
        assert!(answer.is_err());
        let after: redis::RedisResult<i64> = redis.get("a").await;
        assert!(after.is_err());
    });
    for name in ["BLPOP", "GET"] {
        let span = spans.one(name);
        assert_eq!((span.status.code, text(span, "error.type")), (StatusCode::Error as i32, Some("Io")), "{name}");
        assert_eq!(text(span, "db.response.status_code"), None);
    }
}
