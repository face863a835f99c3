//! What is sold, and for how much: inventory, search, recommendations, pricing, promotions.

use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tracewell_sdk::SpanExt;
use tracing::{Instrument, Span};

use crate::database::{RESERVE_STOCK, SEARCH_PRODUCTS, SELECT_CATEGORY, SELECT_PRODUCTS, SELECT_STOCK};
use crate::faults::FaultId;
use crate::rpc::{self, Subject};
use crate::service::{Answer, CallError, Service};

/// What the next version of the inventory takes longer for each request.
const NEXT_VERSION_MEDIAN_MS: f64 = 140.0;

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    user: String,
    #[serde(default)]
    category: String,
    #[serde(default)]
    q: String,
}

pub(super) fn inventory(service: &Service) -> Router {
    Router::new()
        .route("/products", get(list))
        .route("/products/{id}", get(stock))
        .route("/reservations", post(reserve))
        .with_state(service.clone())
}

/// What the next version does and the current one does not.
async fn check_bundles(service: &Service) {
    if service.is_next {
        service.think(NEXT_VERSION_MEDIAN_MS).instrument(tracing::info_span!("resolve bundles")).await;
    }
}

async fn list(State(service): State<Service>, Query(asked): Query<Asked>) -> Answer {
    Span::current().set_attribute("app.category", asked.category.clone());
    check_bundles(&service).await;
    let products = if service.world.faults.is_on(FaultId::NPlusOne) {
        one_by_one(&service, &asked.category).await?
    } else {
        service.query(&SELECT_PRODUCTS, vec![json!(asked.category)]).await?["rows"].take()
    };
    service.think(1.0).await;
    Ok(Json(json!({"products": products})))
}

/// The products of a category, and then the stock of each: what an object-relational mapper does when nobody looks.
async fn one_by_one(service: &Service, category: &str) -> Result<Value, CallError> {
    let found = service.query(&SELECT_CATEGORY, vec![json!(category)]).await?;
    let mut products = Vec::new();
    for row in found["rows"].as_array().into_iter().flatten() {
        let stock = service.query(&SELECT_STOCK, vec![row[0].clone()]).await?;
        products.push(json!([row[0], row[1], stock["rows"][0][0]]));
    }
    Ok(products.into())
}

async fn stock(State(service): State<Service>, Path(id): Path<u64>) -> Answer {
    Span::current().set_attribute("app.product.id", id as i64);
    check_bundles(&service).await;
    let found = service.query(&SELECT_STOCK, vec![json!(id)]).await?;
    let row = &found["rows"][0];
    let free = row[0].as_i64().unwrap_or_default() - row[1].as_i64().unwrap_or_default();
    Ok(Json(json!({"product": id, "available": free})))
}

async fn reserve(State(service): State<Service>, Json(order): Json<Value>) -> Answer {
    Span::current().set_attribute("app.order.id", order["order"].as_str().unwrap_or_default().to_owned());
    check_bundles(&service).await;
    let product = order["items"][0].clone();
    service.query(&SELECT_STOCK, vec![product.clone()]).await?;
    let reserved = service.query(&RESERVE_STOCK, vec![product.clone()]).await?;
    if reserved["changed"] == 0 {
        tracing::warn!(app.product.id = product.as_u64(), "out of stock");
        return Err(CallError::own(&service, StatusCode::CONFLICT, "out of stock"));
    }
    tracing::info!("stock reserved");
    Ok(Json(json!({"reserved": true})))
}

pub(super) fn search(service: &Service) -> Router {
    Router::new().route("/search", get(find)).with_state(service.clone())
}

async fn find(State(service): State<Service>, Query(asked): Query<Asked>) -> Answer {
    Span::current().set_attribute("app.search.query", asked.q.clone());
    service.think(1.0).instrument(tracing::info_span!("parse query", search.language = "en")).await;
    let found = service.query_own(&SEARCH_PRODUCTS, vec![json!(asked.q)]).await?;
    let hits = found["rows"].as_array().map_or(0, Vec::len);
    Span::current().set_attribute("app.search.hits", hits as i64);
    if hits == 0 {
        tracing::info!("nothing found");
        return Ok(Json(json!({"products": []})));
    }
    // Only what can be had is shown.
    let first = found["rows"][0][0].as_u64().unwrap_or(1);
    service.get("inventory", "/products/{id}", &format!("/products/{first}")).await?;
    service.think(1.5).instrument(tracing::info_span!("rank hits", search.hits = hits)).await;
    Ok(Json(json!({"products": found["rows"]})))
}

/// The method of the recommendations.
pub(super) const RECOMMEND: rpc::Method = "shop.recommendations.v1.Recommendations/ForProduct";

pub(super) fn recommendations(service: &Service) -> Router {
    rpc::method(service, RECOMMEND, recommend)
}

async fn recommend(service: Service, subject: Subject) -> Result<Subject, CallError> {
    Span::current().set_attribute("app.product.id", subject.product as i64);
    let segments = format!("/profiles/{}/segments", subject.user);
    let similar = format!("/products?category={}", crate::load::category(subject.product));
    let (segments, similar) = tokio::join!(
        service.get("user-profile", "/profiles/{user}/segments", &segments),
        service.get("inventory", "/products", &similar),
    );
    segments?;
    similar?;
    if service.world.faults.is_on(FaultId::SwallowedError) {
        tracing::error!("model `als-2026-11` cannot be loaded: checksum does not match");
        return Err(CallError::own(&service, StatusCode::INTERNAL_SERVER_ERROR, "no model"));
    }
    service.think(5.0).instrument(tracing::info_span!("score candidates", model.name = "als-2026-10")).await;
    Ok(subject)
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
    let cents = 100 + service.world.random.below(20_000);
    if service.cached("pricing-cache", "MGET", key).await? {
        return Ok(Json(json!({"cents": cents, "cached": true})));
    }
    let path = format!("/discounts?user={user}");
    let discounts = service.get("promotions", "/discounts", &path).await?;
    service.think(6.0).instrument(tracing::info_span!("calculate price", pricing.rules = 14)).await;
    service.cached("pricing-cache", "SETEX", key).await?;
    Ok(Json(json!({"cents": cents, "discounts": discounts})))
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
