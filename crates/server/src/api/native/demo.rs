//! The demo beside the server: what it is, and the switches of its faults.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;

use crate::demo::{DemoControl, DemoFault, DemoState, SwitchError};
use crate::http::error::ApiError;
use crate::http::guard::SameOrigin;
use crate::http::params::Params;
use crate::state::App;

/// The body of a switch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    on: bool,
    #[serde(default)]
    setting: Option<String>,
}

fn control(app: &App) -> Result<&Arc<dyn DemoControl>, ApiError> {
    app.demo.get().ok_or_else(|| {
        ApiError::not_found("no_demo", "no demo runs beside this server").with_hint("`tracewell demo` starts one")
    })
}

pub(super) async fn state(State(app): State<App>, params: Params) -> Result<Json<DemoState>, ApiError> {
    params.only(&[])?;
    Ok(Json(control(&app)?.state()))
}

/// Whatever the content type: `curl -d` says that it sends a form. Other people's pages are kept out by their origin.
pub(super) async fn switch(
    _: SameOrigin,
    State(app): State<App>,
    Path(name): Path<String>,
    params: Params,
    body: Bytes,
) -> Result<Json<DemoFault>, ApiError> {
    params.only(&[])?;
    let control = control(&app)?;
    let Switch { on, setting } = serde_json::from_slice(&body).map_err(|error| {
        ApiError::invalid_parameter(format!("the body is not a switch: {error}"))
            .with_hint("send {\"on\":true} or {\"on\":false}, with \"setting\" where the fault has some")
    })?;
    control.switch(&name, on, setting.as_deref()).map(Json).map_err(|error| match error {
        SwitchError::UnknownFault(message) => ApiError::new(StatusCode::NOT_FOUND, "unknown_fault", message),
        SwitchError::InvalidSetting(message) => ApiError::invalid_parameter(message),
    })
}
