//! A span around one call to a database.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::sync::Arc;

use tracing::Span;
use tracing::field::Empty;

use super::dialect::Dialect;
use super::obfuscate::{bounded, obfuscate};
use super::summary::summarize;
use crate::SpanExt;

/// Which database is called: what stays the same from call to call. Clones share it.
#[derive(Debug, Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

#[derive(Debug, Clone)]
struct Inner {
    system: Cow<'static, str>,
    dialect: Dialect,
    namespace: Option<Box<str>>,
    server_address: Option<Box<str>>,
    server_port: Option<u16>,
}

/// The port on which a system listens unless it is told otherwise.
fn default_port(system: &str) -> Option<u16> {
    Some(match system {
        "postgresql" => 5432,
        "mysql" | "mariadb" => 3306,
        "redis" => 6379,
        "microsoft.sql_server" => 1433,
        "mongodb" => 27017,
        "memcached" => 11211,
        "cassandra" => 9042,
        "clickhouse" => 9000,
        "elasticsearch" | "opensearch" => 9200,
        "oracle.db" => 1521,
        "cockroachdb" => 26257,
        _ => return None,
    })
}

impl Database {
    /// A database of this system, by its name in the convention: `postgresql`, `mysql`, `mariadb`, `sqlite`,
    /// `redis`, `microsoft.sql_server`, `oracle.db`, … (`db.system.name`; a system that is not listed there
    /// goes by its name in lower case). The name also decides how statements are read ([`Dialect::of`]).
    pub fn new(system: impl Into<Cow<'static, str>>) -> Self {
        let system = system.into();
        let dialect = Dialect::of(&system);
        let inner = Inner { system, dialect, namespace: None, server_address: None, server_port: None };
        Self { inner: Arc::new(inner) }
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.inner));
        self
    }

    /// The database within the server: its name, its index, its file; parts from the most general to the
    /// most specific separated by `|` (`db.namespace`).
    #[must_use]
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        let namespace = namespace.into();
        self.with(|inner| inner.namespace = Some(namespace.into()))
    }

    /// Host and port as they are configured (`server.address`, `server.port`).
    #[must_use]
    pub fn server(self, address: impl Into<String>, port: u16) -> Self {
        let address = address.into();
        self.with(|inner| {
            inner.server_address = Some(address.into());
            inner.server_port = Some(port);
        })
    }

    /// The path of a Unix domain socket (`server.address`).
    #[must_use]
    pub fn socket(self, path: impl Into<String>) -> Self {
        let path = path.into();
        self.with(|inner| {
            inner.server_address = Some(path.into());
            inner.server_port = None;
        })
    }

    /// How statements are written, where [`Dialect::of`] the system is not right.
    #[must_use]
    pub fn dialect(self, dialect: Dialect) -> Self {
        self.with(|inner| inner.dialect = dialect)
    }

    /// `db.system.name`.
    pub fn system(&self) -> &str {
        &self.inner.system
    }

    fn new_query<'a>(&self) -> Query<'a> {
        Query { database: self.clone(), ..Query::default() }
    }

    /// A statement in the system's query language. Its values are left out of the span unless
    /// [`Query::parameterized`] says that it has none.
    pub fn query<'a>(&self, statement: impl Into<Cow<'a, str>>) -> Query<'a> {
        Query { statement: Some(statement.into()), ..self.new_query() }
    }

    /// An operation that has no statement: a command of a key-value store, a method of a document store
    /// (`db.operation.name`, as the application writes it).
    pub fn command<'a>(&self, operation: impl Into<Cow<'a, str>>) -> Query<'a> {
        Query { operation: Some(operation.into()), ..self.new_query() }
    }

    /// Several statements that are sent at once. A batch of one is an ordinary query.
    ///
    /// Where all have the same summary, the span's is `BATCH` and that summary, else `BATCH`.
    pub fn batch<'a>(&self, statements: &[&'a str], parameterized: bool) -> Query<'a> {
        if let [statement] = statements {
            return Query { parameterized, ..self.query(*statement) };
        }
        let mut query = self.new_query();
        query.batch_size = Some(statements.len());
        query.summary = Some(Cow::Borrowed("BATCH"));
        let Some((first, rest)) = statements.split_first() else { return query };
        let text = |statement: &str| {
            if parameterized { bounded(statement) } else { obfuscate(statement, self.inner.dialect) }
        };
        let (first_text, first_summary) = (text(first), summarize(first, self.inner.dialect));
        let mut same = first_summary.is_some();
        let mut texts = first_text.clone();
        for statement in rest {
            same = same && (statement == first || summarize(statement, self.inner.dialect) == first_summary);
            let text = text(statement);
            let bytes_max = super::QUERY_TEXT_BYTES_MAX;
            if text != first_text && texts.len() < bytes_max {
                texts.push_str("; ");
                texts.push_str(&text);
            }
        }
        if let (true, Some(summary)) = (same, first_summary) {
            query.summary = Some(Cow::Owned(format!("BATCH {summary}")));
        }
        query.text = Some(Cow::Owned(bounded(&texts)));
        query
    }
}

/// One call that is about to be made.
#[derive(Debug, Clone)]
#[must_use = "nothing is recorded before `start` or `run`"]
pub struct Query<'a> {
    database: Database,
    statement: Option<Cow<'a, str>>,
    text: Option<Cow<'a, str>>,
    parameterized: bool,
    summary: Option<Cow<'a, str>>,
    operation: Option<Cow<'a, str>>,
    collection: Option<Cow<'a, str>>,
    procedure: Option<Cow<'a, str>>,
    batch_size: Option<usize>,
    name_without_server: bool,
}

impl Default for Query<'_> {
    fn default() -> Self {
        Self {
            database: Database::new("other_sql"),
            statement: None,
            text: None,
            parameterized: false,
            summary: None,
            operation: None,
            collection: None,
            procedure: None,
            batch_size: None,
            name_without_server: false,
        }
    }
}

impl<'a> Query<'a> {
    /// The statement's values are bound to placeholders: its text is recorded as it is, which the convention
    /// asks for. Without this, every literal is replaced by `?`.
    pub fn parameterized(mut self) -> Self {
        self.parameterized = true;
        self
    }

    /// A summary of one's own, such as the name of a prepared query: `get user by id`. Names the span.
    pub fn summary(mut self, summary: impl Into<Cow<'a, str>>) -> Self {
        self.summary = Some(summary.into());
        self
    }

    /// What is shown as the text of the call, already free of values (`db.query.text`).
    pub fn text(mut self, text: impl Into<Cow<'a, str>>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// The operation, where the API called stands for one (`db.operation.name`).
    pub fn operation(mut self, operation: impl Into<Cow<'a, str>>) -> Self {
        self.operation = Some(operation.into());
        self
    }

    /// The table, collection or container, where the API called takes one (`db.collection.name`).
    pub fn collection(mut self, collection: impl Into<Cow<'a, str>>) -> Self {
        self.collection = Some(collection.into());
        self
    }

    /// The stored procedure or script, where the API called takes one (`db.stored_procedure.name`).
    pub fn stored_procedure(mut self, procedure: impl Into<Cow<'a, str>>) -> Self {
        self.procedure = Some(procedure.into());
        self
    }

    /// Number of operations in one call (`db.operation.batch.size`); a batch of one is none.
    pub fn batch_size(mut self, operations: usize) -> Self {
        self.batch_size = Some(operations).filter(|operations| *operations != 1);
        self
    }

    /// Leaves namespace and server out of the span's name: the number of a database would confuse.
    #[cfg(feature = "redis")]
    pub(crate) fn name_without_server(mut self) -> Self {
        self.name_without_server = true;
        self
    }

    /// What the operation is performed against, for the span's name.
    fn target(&self) -> Option<Cow<'_, str>> {
        let database = &*self.database.inner;
        if let Some(target) = self.collection.as_deref().or(self.procedure.as_deref()) {
            return Some(Cow::Borrowed(target));
        }
        if self.name_without_server {
            return None;
        }
        if let Some(namespace) = database.namespace.as_deref() {
            return Some(Cow::Borrowed(namespace));
        }
        let address = database.server_address.as_deref()?;
        Some(match database.server_port {
            Some(port) => Cow::Owned(format!("{address}:{port}")),
            None => Cow::Borrowed(address),
        })
    }

    fn name(&self, summary: Option<&str>) -> String {
        if let Some(summary) = summary {
            return summary.to_owned();
        }
        match (self.operation.as_deref(), self.target()) {
            (Some(operation), Some(target)) => format!("{operation} {target}"),
            (Some(operation), None) => operation.to_owned(),
            (None, Some(target)) => target.into_owned(),
            (None, None) => self.database.system().to_owned(),
        }
    }

    /// Opens the span, below the current one.
    pub fn start(self) -> Call {
        let database = &*self.database.inner;
        // Statements are read only for those who will see them.
        let unsampled = crate::current_context().is_some_and(|context| !context.is_sampled());
        let (statement, dialect) = (self.statement.as_deref().filter(|_| !unsampled), database.dialect);
        let port = database.server_port.filter(|port| default_port(&database.system) != Some(*port));
        let make = || {
            let summary = match &self.summary {
                Some(summary) => Some(Cow::Borrowed(&**summary)),
                None => statement.and_then(|statement| summarize(statement, dialect)).map(Cow::Owned),
            };
            let text = match (&self.text, statement) {
                (Some(text), _) => Some(bounded(text)),
                (None, Some(statement)) if self.parameterized => Some(bounded(statement)),
                (None, statement) => statement.map(|statement| obfuscate(statement, dialect)),
            };
            let name = self.name(summary.as_deref());
            tracing::info_span!(
                target: "tracewell_sdk::db",
                "db",
                otel.name = name.as_str(),
                otel.kind = "client",
                otel.status_code = Empty,
                otel.status_message = Empty,
                db.system.name = &*database.system,
                db.namespace = database.namespace.as_deref(),
                db.query.summary = summary.as_deref(),
                db.query.text = text.as_deref(),
                db.operation.name = self.operation.as_deref(),
                db.operation.batch.size = self.batch_size,
                db.collection.name = self.collection.as_deref(),
                db.stored_procedure.name = self.procedure.as_deref(),
                db.response.returned_rows = Empty,
                db.response.status_code = Empty,
                server.address = database.server_address.as_deref(),
                server.port = port,
                error.type = Empty,
            )
        };
        let enabled = tracing::span_enabled!(target: "tracewell_sdk::db", tracing::Level::INFO);
        Call { span: if enabled { Some(make()) } else { None }, cancelled_if_dropped: false }
    }

    /// Makes the call within its span. `describe` says what an error is; [`Failure::of`] is enough where the
    /// driver has no codes.
    ///
    /// # Errors
    ///
    /// Those of `call`.
    pub fn run<T, E>(
        self,
        call: impl FnOnce(&Call) -> Result<T, E>,
        describe: impl FnOnce(&E) -> Failure,
    ) -> Result<T, E> {
        let open = self.start();
        let span = open.span();
        let result = span.in_scope(|| call(&open));
        match &result {
            Ok(_) => open.succeeded(),
            Err(error) => open.failed(describe(error)),
        }
        result
    }
}

/// What went wrong, as far as a span tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    kind: Cow<'static, str>,
    code: Option<String>,
    message: String,
}

impl Failure {
    /// The words of an error, with its Rust type as `error.type`.
    pub fn of<E: Display + ?Sized>(error: &E) -> Self {
        Self { kind: Cow::Borrowed(std::any::type_name::<E>()), code: None, message: shown(error) }
    }

    /// A failure of a kind that is known by name, such as `timeout`.
    pub fn new(kind: impl Into<Cow<'static, str>>, message: &dyn Display) -> Self {
        Self { kind: kind.into(), code: None, message: shown(message) }
    }

    /// The code that the database answered with: `db.response.status_code`, and `error.type` as well. An
    /// empty one is none.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into()).filter(|code| !code.is_empty());
        self
    }
}

/// `value` as text. Unlike `to_string`, a formatter that reports an error does not panic.
fn shown<T: Display + ?Sized>(value: &T) -> String {
    let mut text = String::new();
    // What was written before the error is the best there is.
    let _ = fmt::write(&mut text, format_args!("{value}"));
    text
}

/// A call under way. Its span ends with [`Call::succeeded`], [`Call::failed`], or when it is dropped, which
/// counts as success unless the thread panics.
#[derive(Debug)]
pub struct Call {
    span: Option<Span>,
    cancelled_if_dropped: bool,
}

impl Call {
    /// The span, for `in_scope`, for `instrument`, and for attributes of one's own.
    pub fn span(&self) -> Span {
        self.span.clone().unwrap_or_else(Span::none)
    }

    /// The number of rows that came back (`db.response.returned_rows`).
    pub fn returned_rows(&self, rows: usize) {
        if let Some(span) = &self.span {
            span.record("db.response.returned_rows", rows);
        }
    }

    /// From now on, being dropped means that whoever waited has gone away.
    #[cfg(any(feature = "sqlx", feature = "redis"))]
    pub(crate) fn cancelled_if_dropped(mut self) -> Self {
        self.cancelled_if_dropped = true;
        self
    }

    /// Ends the span.
    pub fn succeeded(mut self) {
        self.end();
    }

    /// Ends the span with an error.
    pub fn failed(mut self, failure: Failure) {
        self.fail(failure);
    }

    pub(crate) fn end(&mut self) {
        if let Some(span) = self.span.take() {
            span.end();
        }
    }

    pub(crate) fn fail(&mut self, failure: Failure) {
        let Some(span) = self.span.take() else { return };
        if let Some(code) = &failure.code {
            span.record("db.response.status_code", code.as_str());
        }
        span.record("error.type", failure.code.as_deref().unwrap_or(&failure.kind));
        span.record("otel.status_code", "error");
        span.record("otel.status_message", failure.message.as_str());
        span.end();
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.fail(Failure::new("panic", &"the caller panicked"));
        } else if self.cancelled_if_dropped {
            self.fail(Failure::new("cancelled", &"abandoned before it was complete"));
        }
        self.end();
    }
}
