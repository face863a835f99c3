//! Databases: services of their own that execute statements, and the callers' side of a query.
//!
//! ```text
//! inventory                         inventory-db
//! client span "SELECT stock" ─HTTP─▶ server span "SELECT stock"
//!                                      ├ wait for lock     (the fault)
//!                                      └ execute
//! ```

use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use tracewell_sdk::SpanExt;
use tracing::Instrument;
use tracing::field::Empty;

use crate::faults::FaultId;
use crate::service::{Answer, CallError, Service};

/// The chance that a statement loses against another one.
const DEADLOCK_CHANCE: f64 = 0.001;

/// PostgreSQL's `SQLSTATE` for it.
const DEADLOCK_CODE: &str = "40P01";

/// PostgreSQL says in its log when a lock is waited for longer than this.
const LOCK_LOG_AFTER: Duration = Duration::from_secs(1);

/// A statement that the shop uses.
pub(crate) struct Statement {
    pub(crate) database: &'static str,
    pub(crate) system: &'static str,
    pub(crate) namespace: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) collection: &'static str,
    pub(crate) text: &'static str,
    /// Median time of its execution.
    pub(crate) median_ms: f64,
    /// Whether it waits when the table is locked.
    pub(crate) locks: bool,
}

macro_rules! statements {
    ($($name:ident: $database:literal, $system:literal, $namespace:literal, $operation:literal $collection:literal, $median:literal, $locks:literal, $text:literal;)*) => {
        $(pub(crate) const $name: Statement = Statement {
            database: $database,
            system: $system,
            namespace: $namespace,
            operation: $operation,
            collection: $collection,
            text: $text,
            median_ms: $median,
            locks: $locks,
        };)*
        const ALL: &[&Statement] = &[$(&$name),*];
    };
}

statements! {
    SELECT_PRODUCTS: "inventory-db", "postgresql", "inventory", "SELECT" "products", 4.0, false,
        "SELECT id, name, category, stock FROM products JOIN stock_levels USING (id) WHERE category = $1 ORDER BY rank LIMIT $2";
    SELECT_STOCK: "inventory-db", "postgresql", "inventory", "SELECT" "stock_levels", 2.5, true,
        "SELECT available, reserved FROM stock_levels WHERE product_id = $1 FOR SHARE";
    RESERVE_STOCK: "inventory-db", "postgresql", "inventory", "UPDATE" "stock_levels", 5.0, false,
        "UPDATE stock_levels SET reserved = reserved + $2 WHERE product_id = $1 AND available - reserved >= $2 RETURNING reserved";
    INSERT_ORDER: "orders-db", "postgresql", "orders", "INSERT" "orders", 6.0, true,
        "INSERT INTO orders (id, user_id, total_cents, currency, placed_at) VALUES ($1, $2, $3, $4, now())";
    INSERT_ORDER_ITEMS: "orders-db", "postgresql", "orders", "INSERT" "order_items", 5.0, false,
        "INSERT INTO order_items (order_id, product_id, quantity, price_cents) SELECT $1, * FROM unnest($2, $3, $4)";
    SELECT_SHIPMENTS: "orders-db", "postgresql", "orders", "SELECT" "shipments", 3.0, false,
        "SELECT carrier, count(*) FROM shipments WHERE warehouse = $1 AND ready_at > now() GROUP BY carrier";
    FIND_PROFILE: "profile-db", "mongodb", "profiles", "find" "users", 3.0, false,
        "{\"find\":\"users\",\"filter\":{\"_id\":\"?\"},\"limit\":1}";
    AGGREGATE_SEGMENTS: "profile-db", "mongodb", "profiles", "aggregate" "visits", 7.0, false,
        "{\"aggregate\":\"visits\",\"pipeline\":[{\"$match\":{\"user\":\"?\"}},{\"$group\":{\"_id\":\"$segment\",\"n\":{\"$sum\":1}}}]}";
}

impl Statement {
    fn reads(&self) -> bool {
        matches!(self.operation, "SELECT" | "find" | "aggregate")
    }

    fn summary(&self) -> String {
        format!("{} {}", self.operation, self.collection)
    }
}

impl Service {
    /// Runs a statement within a client span; the answer is what the database says, `{"rows": n}`.
    pub(crate) async fn query(&self, statement: &'static Statement) -> Result<Value, CallError> {
        let port = crate::topology::spec(statement.database).map_or(0, |spec| spec.port);
        let span = tracing::info_span!(
            "query",
            otel.name = statement.summary(),
            otel.kind = "client",
            otel.status_code = Empty,
            otel.status_message = Empty,
            db.system.name = statement.system,
            db.namespace = statement.namespace,
            db.operation.name = statement.operation,
            db.collection.name = statement.collection,
            db.query.text = statement.text,
            db.query.summary = statement.summary(),
            db.response.returned_rows = Empty,
            db.response.status_code = Empty,
            server.address = statement.database,
            server.port = port,
            error.type = Empty,
        );
        let mut headers = HeaderMap::new();
        tracewell_sdk::inject(&span, &mut headers);
        let body = json!({"statement": statement.summary()});
        let result = self
            .plain_call(Method::POST, statement.database, "/query", headers, Some(body))
            .instrument(span.clone())
            .await;
        match &result {
            Ok(answer) => {
                if let Some(rows) = answer.get("rows").and_then(Value::as_i64) {
                    span.record("db.response.returned_rows", rows);
                }
            }
            Err(error) => {
                let code = if error.message.contains("deadlock") { DEADLOCK_CODE } else { error.status.as_str() };
                span.record("db.response.status_code", code);
                span.record("error.type", code);
                span.record("otel.status_code", "error");
                span.record("otel.status_message", error.message.as_str());
            }
        }
        result
    }
}

/// The database's own server.
pub(crate) fn router(service: &Service) -> Router {
    Router::new().route("/query", post(execute)).with_state(service.clone())
}

async fn execute(State(service): State<Service>, headers: HeaderMap, Json(body): Json<Value>) -> Answer {
    let name = body.get("statement").and_then(Value::as_str).unwrap_or_default();
    let here = ALL.iter().filter(|statement| statement.database == service.spec.name);
    let Some(statement) = here.into_iter().find(|statement| statement.summary() == name) else {
        return Err(CallError::own(&service, StatusCode::BAD_REQUEST, format!("unknown statement {name:?}")));
    };
    let span = tracing::info_span!(
        parent: None,
        "execute",
        otel.name = name,
        otel.kind = "server",
        otel.status_code = Empty,
        db.system.name = statement.system,
        db.namespace = statement.namespace,
        db.operation.name = statement.operation,
        db.collection.name = statement.collection,
        db.query.summary = name,
        db.response.status_code = Empty,
        error.type = Empty,
    );
    span.set_remote(&tracewell_sdk::extract(&headers));
    let result = carry_out(&service, statement).instrument(span.clone()).await;
    if result.is_err() {
        span.record("db.response.status_code", DEADLOCK_CODE);
        span.record("error.type", DEADLOCK_CODE);
        span.record("otel.status_code", "error");
    }
    result
}

async fn carry_out(service: &Service, statement: &Statement) -> Answer {
    if statement.locks && service.world.faults.setting(FaultId::SlowDatabase) == Some(service.spec.name) {
        wait_for_lock(service, statement).await;
    }
    if service.world.random.chance(DEADLOCK_CHANCE) {
        tracing::error!("deadlock detected while locking {}", statement.collection);
        return Err(CallError::own(service, StatusCode::INTERNAL_SERVER_ERROR, "deadlock detected"));
    }
    let rows = if statement.reads() { 1 + service.world.random.below(20) } else { 1 };
    let verb = if statement.reads() { "scan" } else { "write" };
    let work = tracing::info_span!("work", otel.name = format!("{verb} {}", statement.collection), db.rows = rows);
    service.think(statement.median_ms).instrument(work).await;
    Ok(Json(if statement.reads() { json!({"rows": rows}) } else { json!({}) }))
}

/// Someone else holds the table for two to four seconds.
async fn wait_for_lock(service: &Service, statement: &Statement) {
    let holder = 4_000 + service.world.random.below(900);
    let wait = Duration::from_millis(2_000 + service.world.random.below(2_000));
    let span = tracing::info_span!(
        "wait for lock",
        db.lock.mode = "RowExclusiveLock",
        db.lock.relation = statement.collection,
        db.lock.holder.pid = holder,
        db.lock.wait_ms = wait.as_millis() as u64,
    );
    async {
        tracing::info!(
            event.name = "db.lock.wait",
            db.lock.relation = statement.collection,
            db.lock.holder.statement = "VACUUM FULL",
            "waiting for a lock held by process {holder}"
        );
        service.pause(LOCK_LOG_AFTER).await;
        tracing::warn!(
            "process 7{} still waiting for RowExclusiveLock on relation \"{}\" after {} ms; held by process {holder}",
            service.world.random.below(999),
            statement.collection,
            LOCK_LOG_AFTER.as_millis(),
        );
        service.pause(wait.saturating_sub(LOCK_LOG_AFTER)).await;
        tracing::info!(event.name = "db.lock.acquired", "lock acquired after {} ms", wait.as_millis());
    }
    .instrument(span)
    .await;
}
