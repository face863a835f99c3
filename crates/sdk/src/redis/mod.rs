//! Spans for what goes through the `redis` crate 1.x: Redis, Valkey and whatever speaks their protocol.
//!
//! It is: [`Traced`], which stands where a connection stood, asynchronous or blocking. It is not a client and
//! opens no connection.
//!
//! ```no_run
//! # async fn cache(client: redis::Client, connection: impl redis::aio::ConnectionLike + Send) -> redis::RedisResult<()> {
//! use redis::AsyncCommands;
//! use tracewell_sdk::redis::Traced;
//!
//! let mut cache = Traced::new(connection, &client); // client.get_multiplexed_async_connection().await?
//! let _: () = redis::cmd("SET").arg("item:7").arg("secret").query_async(&mut cache).await?; // SET item:7 ?
//! # Ok(())
//! # }
//! ```
//!
//! A span is called by its command (`GET`); a pipeline has one span, `PIPELINE` or for a transaction `MULTI`,
//! with the command behind it where all are the same. Attributes beyond those of [`db`](crate::db):
//! `db.operation.name`; `db.namespace`, the index of the database that the connection was opened with (a later
//! `SELECT` does not show); `db.response.status_code`, the prefix of the server's error (`WRONGTYPE`), also
//! that of the first command of a pipeline that failed; `error.type`, that code or the kind of the client's error
//! (`Io`, `Parse`, …); `db.stored_procedure.name`, the digest or function of `EVALSHA` and `FCALL`.

mod wire;

use std::borrow::Cow;

use ::redis::aio::ConnectionLike as AsyncConnection;
use ::redis::{
    Arg, Client, Cmd, ConnectionAddr, ConnectionLike, Pipeline, RedisError, RedisFuture, RedisResult, Value,
};
use tracing::Instrument;

use crate::db::{Call, Database, Failure, Query, command_name, obfuscate_command};

/// A connection with a span for each command and each pipeline.
#[derive(Debug, Clone)]
pub struct Traced<C> {
    inner: C,
    database: Database,
}

impl<C> Traced<C> {
    /// A connection of this client, which says where it leads.
    pub fn new(connection: C, client: &Client) -> Self {
        let info = client.get_connection_info();
        let database = Database::new("redis").namespace(info.redis_settings().db().to_string());
        let database = match info.addr() {
            ConnectionAddr::Tcp(host, port) => database.server(host.as_str(), *port),
            ConnectionAddr::TcpTls { host, port, .. } => database.server(host.as_str(), *port),
            ConnectionAddr::Unix(path) => database.socket(path.to_string_lossy()),
            _ => database,
        };
        Self::with_database(connection, database)
    }

    /// A connection with a description of one's own: a cluster, a pool, another system than `redis`.
    pub fn with_database(connection: C, database: Database) -> Self {
        Self { inner: connection, database }
    }

    /// The connection. What goes to it directly has no span.
    pub fn inner(&self) -> &C {
        &self.inner
    }

    /// As [`Traced::inner`], to be changed.
    pub fn inner_mut(&mut self) -> &mut C {
        &mut self.inner
    }

    /// The connection, and no more spans.
    pub fn into_inner(self) -> C {
        self.inner
    }

    fn command(&self, arguments: &[&[u8]]) -> Query<'static> {
        let name = command_name(arguments.first().copied().unwrap_or_default());
        let scripts = ["EVALSHA", "EVALSHA_RO", "FCALL", "FCALL_RO"];
        let script = scripts.iter().any(|script| script.eq_ignore_ascii_case(&name));
        let query = self.database.command(name).name_without_server();
        let query = match arguments.get(1).filter(|_| script) {
            Some(script) => query.stored_procedure(command_name(script)),
            None => query,
        };
        query.text(obfuscate_command(arguments.iter().copied()))
    }

    /// Several commands at once. One alone is no batch.
    fn batch(&self, commands: &[Vec<&[u8]>], transaction: bool) -> Query<'static> {
        if let [command] = commands {
            return self.command(command);
        }
        let kind = if transaction { "MULTI" } else { "PIPELINE" };
        let names = || commands.iter().map(|command| command.first().copied().unwrap_or_default());
        let first = names().next().unwrap_or_default();
        let same = !commands.is_empty() && names().all(|name| name.eq_ignore_ascii_case(first));
        let operation: Cow<'static, str> =
            if same { format!("{kind} {}", command_name(first)).into() } else { kind.into() };
        let mut text = String::new();
        for command in commands {
            if text.len() >= crate::db::QUERY_TEXT_BYTES_MAX {
                break;
            }
            if !text.is_empty() {
                text.push_str("; ");
            }
            text.push_str(&obfuscate_command(command.iter().copied()));
        }
        let query = self.database.command(operation).name_without_server().batch_size(commands.len());
        if text.is_empty() { query } else { query.text(text) }
    }
}

/// The command and its arguments.
fn arguments(command: &Cmd) -> Vec<&[u8]> {
    let of = |argument| match argument {
        Arg::Simple(bytes) => bytes,
        // A cursor, which begins at nought.
        _ => &b"0"[..],
    };
    command.args_iter().map(of).collect()
}

fn failure(error: &RedisError) -> Failure {
    let kind: Cow<'static, str> = match error.is_timeout() {
        true => "timeout".into(),
        // `Io`, `Parse`, `ClusterConnectionNotFound`, …
        false => format!("{:?}", error.kind()).into(),
    };
    Failure::new(kind, error).code(error.code().unwrap_or_default())
}

/// Ends the span by what came back: an error of the server may be among the values.
fn finish(call: Call, result: Result<&[Value], &RedisError>) {
    let refused = |value: &Value| match value {
        Value::ServerError(error) => Some(error.clone()),
        Value::Array(values) => values.iter().find_map(|value| match value {
            Value::ServerError(error) => Some(error.clone()),
            _ => None,
        }),
        _ => None,
    };
    match result {
        Ok(values) => match values.iter().find_map(refused) {
            Some(error) => call.failed(failure(&RedisError::from(error))),
            None => call.succeeded(),
        },
        Err(error) => call.failed(failure(error)),
    }
}

impl<C: AsyncConnection + Send> AsyncConnection for Traced<C> {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        let call = self.command(&arguments(command)).start().cancelled_if_dropped();
        let answer = call.span().in_scope(|| self.inner.req_packed_command(command));
        Box::pin(async move {
            let result = answer.instrument(call.span()).await;
            finish(call, result.as_ref().map(std::slice::from_ref));
            result
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let commands: Vec<_> = pipeline.cmd_iter().map(arguments).collect();
        let call = self.batch(&commands, pipeline.is_transaction()).start().cancelled_if_dropped();
        let answers = call.span().in_scope(|| self.inner.req_packed_commands(pipeline, offset, count));
        Box::pin(async move {
            let result = answers.instrument(call.span()).await;
            finish(call, result.as_deref());
            result
        })
    }

    fn get_db(&self) -> i64 {
        self.inner.get_db()
    }
}

impl<C: ConnectionLike> ConnectionLike for Traced<C> {
    fn req_packed_command(&mut self, packed: &[u8]) -> RedisResult<Value> {
        let call = self.batch(&wire::commands(packed), false).start();
        let result = call.span().in_scope(|| self.inner.req_packed_command(packed));
        finish(call, result.as_ref().map(std::slice::from_ref));
        result
    }

    fn req_packed_commands(&mut self, packed: &[u8], offset: usize, count: usize) -> RedisResult<Vec<Value>> {
        let commands = wire::commands(packed);
        let is = |command: Option<&Vec<&[u8]>>, name: &[u8]| {
            command.and_then(|command| command.first()).is_some_and(|first| first.eq_ignore_ascii_case(name))
        };
        let transaction = commands.len() >= 2 && is(commands.first(), b"MULTI") && is(commands.last(), b"EXEC");
        let inner = if transaction { commands.get(1..commands.len() - 1).unwrap_or_default() } else { &commands };
        let call = self.batch(inner, transaction).start();
        let result = call.span().in_scope(|| self.inner.req_packed_commands(packed, offset, count));
        finish(call, result.as_deref());
        result
    }

    fn req_command(&mut self, command: &Cmd) -> RedisResult<Value> {
        let call = self.command(&arguments(command)).start();
        let result = call.span().in_scope(|| self.inner.req_command(command));
        finish(call, result.as_ref().map(std::slice::from_ref));
        result
    }

    fn get_db(&self) -> i64 {
        self.inner.get_db()
    }

    fn supports_pipelining(&self) -> bool {
        self.inner.supports_pipelining()
    }

    fn check_connection(&mut self) -> bool {
        self.inner.check_connection()
    }

    fn is_open(&self) -> bool {
        self.inner.is_open()
    }
}
