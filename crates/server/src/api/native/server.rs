//! The server itself: status, health, metrics, the description of the API.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::http::error::ApiError;
use crate::http::params::Params;
use crate::state::App;
use crate::{build, metrics, status};

/// The description of the native API.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

pub(super) async fn status(State(app): State<App>, params: Params) -> Result<Json<Value>, ApiError> {
    params.only(&[])?;
    Ok(Json(status::document(&app)))
}

pub(super) async fn openapi() -> Response {
    let text = OPENAPI.replacen("\"version\": \"0.0.0\"", &format!("\"version\": \"{}\"", build::VERSION), 1);
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], text).into_response()
}

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(app): State<App>) -> (StatusCode, String) {
    match status::not_ready(&app) {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

pub(super) async fn metrics(State(app): State<App>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], status::exposition(&app))
}
