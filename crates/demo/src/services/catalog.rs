//! What is sold, for how much, and to whom: inventory, pricing, promotions, user profile.

use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tracewell_sdk::SpanExt;
use tracing::{Instrument, Span};

use crate::database::{AGGREGATE_SEGMENTS, FIND_PROFILE, RESERVE_STOCK, SELECT_PRODUCTS, SELECT_STOCK};
use crate::service::{Answer, Service};

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    user: String,
    #[serde(default)]
    category: String,
}

pub(super) fn inventory(service: &Service) -> Router {
    Router::new()
        .route("/products", get(list))
        .route("/products/{id}", get(stock))
        .route("/reservations", post(reserve))
        .with_state(service.clone())
}

async fn list(State(service): State<Service>, Query(asked): Query<Asked>) -> Answer {
    Span::current().set_attribute("app.category", asked.category);
    let rows = service.query(&SELECT_PRODUCTS).await?;
    service.think(1.0).await;
    Ok(Json(json!({"products": rows})))
}

async fn stock(State(service): State<Service>, Path(id): Path<u64>) -> Answer {
    Span::current().set_attribute("app.product.id", id as i64);
    service.query(&SELECT_STOCK).await?;
    Ok(Json(json!({"product": id, "available": 3 + service.world.random.below(40)})))
}

async fn reserve(State(service): State<Service>, Json(order): Json<Value>) -> Answer {
    Span::current().set_attribute("app.order.id", order["order"].as_str().unwrap_or_default().to_owned());
    service.query(&SELECT_STOCK).await?;
    service.query(&RESERVE_STOCK).await?;
    tracing::info!("stock reserved");
    Ok(Json(json!({"reserved": true})))
}

pub(super) fn pricing(service: &Service) -> Router {
    Router::new().route("/prices", get(prices)).route("/prices/{id}", get(price)).with_state(service.clone())
}

async fn prices(State(service): State<Service>, Query(asked): Query<Asked>) -> Answer {
    quote(&service, &asked.user, &format!("prices:{}", asked.category)).await
}

async fn price(State(service): State<Service>, Path(id): Path<u64>, Query(asked): Query<Asked>) -> Answer {
    Span::current().set_attribute("app.product.id", id as i64);
    quote(&service, &asked.user, &format!("price:{id}")).await
}

/// A price from the cache, or calculated anew and remembered.
async fn quote(service: &Service, user: &str, key: &str) -> Answer {
    if service.cached("pricing-cache", "MGET", key).await? {
        return Ok(Json(json!({"cents": 100 + service.world.random.below(20_000), "cached": true})));
    }
    tracing::debug!("price is not cached");
    let path = format!("/discounts?user={user}");
    let discounts = service.get("promotions", "/discounts", &path).await?;
    service.think(6.0).instrument(tracing::info_span!("calculate price", pricing.rules = 14)).await;
    service.cached("pricing-cache", "SETEX", key).await?;
    Ok(Json(json!({"cents": 100 + service.world.random.below(20_000), "discounts": discounts})))
}

pub(super) fn promotions(service: &Service) -> Router {
    Router::new().route("/discounts", get(discounts)).with_state(service.clone())
}

async fn discounts(State(service): State<Service>, Query(asked): Query<Asked>) -> Answer {
    let path = format!("/profiles/{}/segments", asked.user);
    let segments = service.get("user-profile", "/profiles/{user}/segments", &path).await?;
    service.think(2.0).await;
    Ok(Json(json!({"percent": service.world.random.below(15), "segments": segments})))
}

pub(super) fn user_profile(service: &Service) -> Router {
    Router::new()
        .route("/profiles/{user}", get(profile))
        .route("/profiles/{user}/segments", get(segments))
        .with_state(service.clone())
}

async fn profile(State(service): State<Service>, Path(user): Path<String>) -> Answer {
    Span::current().set_attribute("user.id", user.clone());
    service.query(&FIND_PROFILE).await?;
    service.think(0.8).await;
    Ok(Json(json!({"user": user, "language": "en"})))
}

async fn segments(State(service): State<Service>, Path(user): Path<String>) -> Answer {
    Span::current().set_attribute("user.id", user);
    service.query(&AGGREGATE_SEGMENTS).await?;
    Ok(Json(json!(["returning", "newsletter"])))
}
