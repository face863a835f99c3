//! Databases: SQLite, behind a service of its own that executes statements, or within the service that uses it.
//!
//! ```text
//! inventory                          inventory-db
//! client span "SELECT products" ─HTTP─▶ server span "SELECT products"
//!                                       ├ wait for lock     (a fault)
//!                                       └ scan products ──▶ SQLite
//! ledger
//! client span "SELECT ledger_entries" ────────────────────▶ SQLite
//! ```
//!
//! SQLite does the work; how long the disks of a real database would take is added: so much for each statement, and so
//! much for each step of SQLite's virtual machine, so that a statement that reads a whole table takes long.

mod engine;
mod statements;

use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use tracewell_sdk::SpanExt;
use tracewell_sdk::db::{Call, Database, Failure};
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::faults::FaultId;
use crate::service::{Answer, CallError, Service};

use engine::Outcome;
use statements::ALL;

pub(crate) use engine::Databases;
pub(crate) use statements::*;

/// What the disks take for each step of SQLite's virtual machine.
const STEP: Duration = Duration::from_micros(15);

/// The longest that a statement takes by its steps.
const STEPS_MAX: Duration = Duration::from_secs(4);

/// The chance that a statement loses against another one.
const BUSY_CHANCE: f64 = 0.0007;

/// SQLite's result code and words for it.
const BUSY: (&str, &str) = ("SQLITE_BUSY", "database is locked");

/// A waiting statement says so in the log after this time.
const LOCK_LOG_AFTER: Duration = Duration::from_secs(1);

/// The caller's span around a statement.
fn open_call(statement: &'static Statement, server: Option<(&str, u16)>) -> Call {
    let mut database = Database::new("sqlite").namespace(namespace(statement));
    if let Some((name, port)) = server {
        database = database.server(name, port);
    }
    let query = database.query(statement.text).parameterized();
    query.operation(statement.operation).collection(statement.collection).start()
}

fn namespace(statement: &Statement) -> &'static str {
    statement.database.trim_end_matches("-db")
}

/// What a statement's error is to its caller's span.
fn failure(error: &CallError) -> Failure {
    let code = if error.message == BUSY.1 { BUSY.0.to_owned() } else { error.status.as_str().to_owned() };
    Failure::of(&error.message).code(code)
}

fn record_failure(span: &Span, code: &str, message: &str) {
    span.record("db.response.status_code", code);
    span.record("error.type", code);
    span.record("otel.status_code", "error");
    span.record("otel.status_message", message);
}

impl Service {
    /// Runs a statement on the database that is a service of its own, within a client span; answers its rows, or how
    /// many it changed.
    pub(crate) async fn query(
        &self,
        statement: &'static Statement,
        parameters: Vec<Value>,
    ) -> Result<Value, CallError> {
        let port = crate::topology::spec(statement.database).map_or(0, |spec| spec.port);
        let call = open_call(statement, Some((statement.database, port)));
        let mut headers = HeaderMap::new();
        tracewell_sdk::inject(&call.span(), &mut headers);
        let body = json!({"statement": statement.name, "parameters": parameters});
        let answer = self.plain_call(Method::POST, statement.database, "/query", headers, Some(body));
        match answer.instrument(call.span()).await {
            Ok(answer) => {
                if let Some(rows) = answer["rows"].as_array() {
                    call.returned_rows(rows.len());
                }
                call.succeeded();
                Ok(answer)
            }
            Err(error) => {
                call.failed(failure(&error));
                Err(error)
            }
        }
    }

    /// Runs a statement on the service's own database, within a client span.
    pub(crate) async fn query_own(
        &self,
        statement: &'static Statement,
        parameters: Vec<Value>,
    ) -> Result<Value, CallError> {
        let call = open_call(statement, None);
        match execute(self, statement, parameters).instrument(call.span()).await {
            Ok(outcome) => {
                call.span().set_attribute("app.db.plan", outcome.plan.clone());
                if statement.reads() {
                    call.returned_rows(outcome.rows.len());
                }
                call.succeeded();
                Ok(shown(statement, outcome))
            }
            Err(error) => {
                call.failed(failure(&error));
                Err(error)
            }
        }
    }
}

fn shown(statement: &Statement, outcome: Outcome) -> Value {
    if statement.reads() { json!({"rows": outcome.rows}) } else { json!({"changed": outcome.changed}) }
}

/// The database's own server.
pub(crate) fn router(service: &Service) -> Router {
    Router::new().route("/query", post(serve)).with_state(service.clone())
}

async fn serve(State(service): State<Service>, headers: HeaderMap, Json(mut body): Json<Value>) -> Answer {
    let name = body["statement"].as_str().unwrap_or_default();
    let known = ALL.iter().find(|known| known.database == service.spec.name && known.name == name);
    let Some(&statement) = known else {
        return Err(CallError::own(&service, StatusCode::BAD_REQUEST, format!("unknown statement {name:?}")));
    };
    let parameters = match body["parameters"].take() {
        Value::Array(parameters) => parameters,
        _ => Vec::new(),
    };
    let span = tracing::info_span!(
        parent: None,
        "execute",
        otel.name = statement.summary(),
        otel.kind = "server",
        otel.status_code = Empty,
        otel.status_message = Empty,
        db.system.name = "sqlite",
        db.namespace = namespace(statement),
        db.operation.name = statement.operation,
        db.collection.name = statement.collection,
        db.query.summary = statement.summary(),
        db.response.status_code = Empty,
        error.type = Empty,
    );
    span.set_remote(&tracewell_sdk::extract(&headers));
    let result = carry_out(&service, statement, parameters).instrument(span.clone()).await;
    if let Err(error) = &result {
        record_failure(&span, BUSY.0, &error.message);
    }
    result
}

async fn carry_out(service: &Service, statement: &'static Statement, parameters: Vec<Value>) -> Answer {
    if statement.locks && service.world.faults.setting(FaultId::SlowDatabase) == Some(service.spec.name) {
        wait_for_lock(service, statement).await;
    }
    let verb = if statement.reads() { "read" } else { "write" };
    let work = tracing::info_span!(
        "work",
        otel.name = format!("{verb} {}", statement.collection),
        app.db.plan = Empty,
        app.db.steps = Empty,
    );
    let outcome = execute(service, statement, parameters).instrument(work.clone()).await?;
    work.record("app.db.plan", outcome.plan.as_str());
    work.record("app.db.steps", outcome.steps);
    Ok(Json(shown(statement, outcome)))
}

/// Lets SQLite do it, and takes the time of its disks.
async fn execute(
    service: &Service,
    statement: &'static Statement,
    parameters: Vec<Value>,
) -> Result<Outcome, CallError> {
    let failed = |message: String| CallError::own(service, StatusCode::INTERNAL_SERVER_ERROR, message);
    if service.world.random.chance(BUSY_CHANCE) {
        tracing::error!("{} while writing to {}", BUSY.1, statement.collection);
        return Err(failed(BUSY.1.to_owned()));
    }
    let Some(engine) = service.world.databases.get(statement.database) else {
        return Err(failed(format!("there is no database {}", statement.database)));
    };
    let executed = tokio::task::spawn_blocking(move || engine.execute(statement, &parameters)).await;
    let outcome = executed.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    let disks = STEP.saturating_mul(outcome.steps).min(STEPS_MAX);
    service.think(statement.median_ms).await;
    service.pause(disks).await;
    Ok(outcome)
}

/// Someone else holds the table for two to four seconds.
async fn wait_for_lock(service: &Service, statement: &Statement) {
    let holder = 4_000 + service.world.random.below(900);
    let wait = Duration::from_millis(2_000 + service.world.random.below(2_000));
    let span = tracing::info_span!(
        "wait for lock",
        db.lock.mode = "exclusive",
        db.lock.relation = statement.collection,
        db.lock.holder.pid = holder,
        db.lock.wait_ms = wait.as_millis() as u64,
    );
    async {
        tracing::info!(
            event.name = "db.lock.wait",
            db.lock.relation = statement.collection,
            db.lock.holder.statement = "VACUUM",
            "waiting for a lock held by process {holder}"
        );
        service.pause(LOCK_LOG_AFTER).await;
        tracing::warn!(
            "still waiting for a lock on \"{}\" after {} ms; held by process {holder}",
            statement.collection,
            LOCK_LOG_AFTER.as_millis(),
        );
        service.pause(wait.saturating_sub(LOCK_LOG_AFTER)).await;
        tracing::info!(event.name = "db.lock.acquired", "lock acquired after {} ms", wait.as_millis());
    }
    .instrument(span)
    .await;
}
