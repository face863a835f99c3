//! The control port: the switches for those who run the shop without a server beside it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::faults::{FaultState, Switch};
use crate::world::World;

#[derive(Deserialize)]
struct Body {
    on: bool,
    #[serde(default)]
    setting: Option<String>,
}

/// `GET /`, `GET /faults`, `POST /faults/slow-database {"on":true,"setting":"inventory-db"}`.
pub(crate) fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/", get(status))
        .route("/faults", get(faults))
        .route("/faults/{name}", post(switch))
        .with_state(world)
}

async fn status(State(world): State<Arc<World>>) -> Json<Value> {
    let services: Vec<Value> =
        world.directory.all().map(|(name, socket)| json!({"service": name, "address": socket.to_string()})).collect();
    let faults = world.faults.states();
    Json(json!({"services": services, "faults": faults.iter().map(shown).collect::<Vec<_>>()}))
}

async fn faults(State(world): State<Arc<World>>) -> Json<Vec<Value>> {
    Json(world.faults.states().iter().map(shown).collect())
}

fn shown(state: &FaultState) -> Value {
    json!({"name": state.fault.name, "title": state.fault.title, "on": state.on, "setting": state.setting})
}

type Refusal = (StatusCode, Json<Value>);

/// Whatever the content type: `curl -d` says that it sends a form.
async fn switch(
    State(world): State<Arc<World>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let refuse = |status, message: String| (status, Json(json!({"error": message})));
    let body: Body = serde_json::from_slice(&body).map_err(|error| {
        refuse(StatusCode::BAD_REQUEST, format!("the body is not {{\"on\":true}} or {{\"on\":false}}: {error}"))
    })?;
    let switch = Switch::new(&name, body.setting.as_deref())
        .map_err(|error| refuse(StatusCode::BAD_REQUEST, error.to_string()))?;
    Ok(Json(shown(&world.switch(switch, body.on))))
}
