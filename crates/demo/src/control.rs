//! The control port: switches for faults, and what the shop is doing.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::faults::SlowDatabase;
use crate::service::World;

#[derive(Deserialize)]
struct Switch {
    on: bool,
    #[serde(default)]
    database: Option<String>,
}

/// `GET /`, `GET /faults`, `POST /faults/slow-database {"on":true,"database":"inventory-db"}`.
pub(crate) fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/", get(status))
        .route("/faults", get(faults))
        .route("/faults/slow-database", post(slow_database))
        .with_state(world)
}

async fn status(State(world): State<Arc<World>>) -> Json<Value> {
    let services: Vec<Value> =
        world.directory.all().map(|(name, socket)| json!({"service": name, "address": socket.to_string()})).collect();
    Json(json!({"services": services, "faults": shown(&world)}))
}

async fn faults(State(world): State<Arc<World>>) -> Json<Value> {
    Json(shown(&world))
}

fn shown(world: &World) -> Value {
    let slow = world.faults.slow_database();
    json!({"slow-database": {"on": slow.is_some(), "database": slow.map(|slow| slow.database)}})
}

async fn slow_database(State(world): State<Arc<World>>, body: Bytes) -> Result<Json<Value>, (StatusCode, Json<Value>)> {
    // Whatever the content type: `curl -d` says that it sends a form.
    let switch: Switch = serde_json::from_slice(&body).map_err(|error| {
        let message = format!("the body is not {{\"on\":true}} or {{\"on\":false}}: {error}");
        (StatusCode::BAD_REQUEST, Json(json!({"error": message})))
    })?;
    let slow = switch.on.then(|| match switch.database {
        Some(database) => SlowDatabase { database },
        None => SlowDatabase::default(),
    });
    match world.faults.set_slow_database(slow) {
        Ok(()) => Ok(Json(shown(&world))),
        Err(error) => Err((StatusCode::BAD_REQUEST, Json(json!({"error": error.to_string()})))),
    }
}
