//! Tempo's HTTP API, as Grafana's Tempo data source calls it, on its own paths.
//!
//! Shapes and parameters follow Tempo's documentation ("Tempo HTTP API"). Errors are plain text, as there. Where Tempo
//! would answer with some traces, this answers with the newest ones, always the same.

mod search;
mod tags;
mod trace;
mod values;

use axum::Json;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::Route;
use crate::build;
use crate::http::error::ApiError;

/// The release of Tempo whose API this is; clients decide by it what they may ask.
const TEMPO_VERSION: &str = "2.9.0";

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route { path: "/api/traces/{id}", handler: get(trace::v1) },
        Route { path: "/api/v2/traces/{id}", handler: get(trace::v2) },
        Route { path: "/api/search", handler: get(search::search) },
        Route { path: "/api/search/tags", handler: get(values::tags_v1) },
        Route { path: "/api/v2/search/tags", handler: get(values::tags_v2) },
        Route { path: "/api/search/tag/{tag}/values", handler: get(values::values_v1) },
        Route { path: "/api/v2/search/tag/{tag}/values", handler: get(values::values_v2) },
        Route { path: "/api/echo", handler: get(echo) },
        Route { path: "/api/status/buildinfo", handler: get(build_info) },
        Route { path: "/ready", handler: get(ready) },
    ]
}

/// An error in Tempo's way: the status and a line of text.
pub(super) struct TempoError(ApiError);

impl From<ApiError> for TempoError {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for TempoError {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let hint = error.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        let place = error.at.map(|(position, _)| format!(" at column {}", position + 1)).unwrap_or_default();
        (error.status, format!("{}{place}{hint}\n", error.message)).into_response()
    }
}

async fn echo() -> &'static str {
    "echo"
}

async fn build_info() -> Json<Value> {
    Json(json!({
        "version": TEMPO_VERSION, "revision": format!("tracewell-{}", build::VERSION), "branch": "", "buildUser": "",
        "buildDate": "", "goVersion": "",
    }))
}

async fn ready() -> &'static str {
    "ready\n"
}
