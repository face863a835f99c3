//! Who asks: sessions, profiles, and what was ordered before.

use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tracewell_sdk::SpanExt;
use tracing::{Instrument, Span};

use crate::database::{SELECT_CREDENTIALS, SELECT_ORDER_ITEMS, SELECT_ORDERS, SELECT_SEGMENTS, SELECT_USER};
use crate::service::{Answer, CallError, Service};

/// The share of requests whose session has run out.
const EXPIRED_CHANCE: f64 = 0.003;

/// The share of logins with a wrong password.
const WRONG_PASSWORD_CHANCE: f64 = 0.04;

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    user: String,
}

pub(super) fn authentication(service: &Service) -> Router {
    Router::new().route("/verify", get(verify)).route("/sessions", post(log_in)).with_state(service.clone())
}

async fn verify(State(service): State<Service>, Query(asked): Query<Asked>) -> Answer {
    let key = format!("session:{}", asked.user);
    let known = service.cached("session-cache", "GET", &key).await?;
    service.think(1.5).instrument(tracing::info_span!("verify token", jwt.algorithm = "EdDSA")).await;
    if service.world.random.chance(EXPIRED_CHANCE) {
        tracing::info!(user.id = asked.user, "session expired");
        return Err(CallError::own(&service, StatusCode::UNAUTHORIZED, "session expired"));
    }
    if !known {
        service.query(&SELECT_USER, vec![json!(asked.user)]).await?;
        service.cached("session-cache", "SETEX", &key).await?;
    }
    Ok(Json(json!({"user": asked.user, "roles": ["customer"]})))
}

async fn log_in(State(service): State<Service>, Query(asked): Query<Asked>) -> Answer {
    Span::current().set_attribute("user.id", asked.user.clone());
    service.query(&SELECT_CREDENTIALS, vec![json!(asked.user)]).await?;
    service.think(28.0).instrument(tracing::info_span!("hash password", crypto.algorithm = "argon2id")).await;
    if service.world.random.chance(WRONG_PASSWORD_CHANCE) {
        tracing::warn!(user.id = asked.user, "wrong password");
        return Err(CallError::own(&service, StatusCode::UNAUTHORIZED, "wrong user name or password"));
    }
    service.cached("session-cache", "SETEX", &format!("session:{}", asked.user)).await?;
    Ok(Json(json!({"user": asked.user, "token": service.world.random.hex(16)})))
}

pub(super) fn user_profile(service: &Service) -> Router {
    Router::new()
        .route("/profiles/{user}", get(profile))
        .route("/profiles/{user}/segments", get(segments))
        .with_state(service.clone())
}

async fn profile(State(service): State<Service>, Path(user): Path<String>) -> Answer {
    Span::current().set_attribute("user.id", user.clone());
    let found = service.query(&SELECT_USER, vec![json!(user)]).await?;
    service.think(0.8).await;
    let row = &found["rows"][0];
    Ok(Json(json!({"user": user, "language": row[1], "country": row[2]})))
}

async fn segments(State(service): State<Service>, Path(user): Path<String>) -> Answer {
    Span::current().set_attribute("user.id", user.clone());
    let found = service.query(&SELECT_SEGMENTS, vec![json!(user)]).await?;
    Ok(Json(found["rows"].clone()))
}

pub(super) fn order_history(service: &Service) -> Router {
    Router::new().route("/history/{user}", get(history)).with_state(service.clone())
}

async fn history(State(service): State<Service>, Path(user): Path<String>) -> Answer {
    Span::current().set_attribute("user.id", user.clone());
    let orders = service.query(&SELECT_ORDERS, vec![json!(user)]).await?;
    let (items, parcels): (Result<Value, CallError>, Result<Value, CallError>) = tokio::join!(
        service.query(&SELECT_ORDER_ITEMS, vec![json!(user)]),
        service.get("shipping", "/shipments", "/shipments"),
    );
    service.think(1.5).instrument(tracing::info_span!("assemble history")).await;
    Ok(Json(json!({"orders": orders["rows"], "items": items?["rows"], "parcels": parcels?})))
}
