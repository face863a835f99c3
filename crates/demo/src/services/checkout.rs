//! From the cart to the parcel: cart, checkout, payment and its third-party provider, shipping.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};
use tracewell_sdk::SpanExt;
use tracing::{Instrument, Span};

use crate::database::{INSERT_ORDER, INSERT_ORDER_ITEMS, SELECT_SHIPMENTS};
use crate::service::{Answer, CallError, Service};

/// The share of payments that the bank refuses.
const DECLINED_CHANCE: f64 = 0.01;

/// The share of requests that the provider does not answer properly.
const PROVIDER_FAULT_CHANCE: f64 = 0.015;

/// Attempts to reach the provider.
const PAYMENT_ATTEMPTS: u32 = 2;

pub(super) fn cart(service: &Service) -> Router {
    Router::new()
        .route("/carts/{user}", get(contents))
        .route("/carts/{user}/items", post(add))
        .with_state(service.clone())
}

async fn contents(State(service): State<Service>, Path(user): Path<String>) -> Answer {
    service.cached("cart-store", "HGETALL", &format!("cart:{user}")).await?;
    service.think(0.7).await;
    let items: Vec<u64> = (0..1 + service.world.random.below(3)).map(|_| 1 + service.world.random.below(400)).collect();
    Ok(Json(json!({"user": user, "items": items})))
}

async fn add(State(service): State<Service>, Path(user): Path<String>, Json(item): Json<Value>) -> Answer {
    let product = item["product"].as_u64().unwrap_or(1);
    Span::current().set_attribute("app.product.id", product as i64);
    service.get("inventory", "/products/{id}", &format!("/products/{product}")).await?;
    service.cached("cart-store", "HSET", &format!("cart:{user}")).await?;
    tracing::info!(app.product.id = product, "added to cart");
    Ok(Json(json!({"user": user, "added": product})))
}

pub(super) fn checkout(service: &Service) -> Router {
    Router::new().route("/orders", post(place)).with_state(service.clone())
}

async fn place(State(service): State<Service>, Json(request): Json<Value>) -> Answer {
    let user = request["user"].as_str().unwrap_or_default();
    let order = format!("ord-{}", service.world.random.hex(10));
    Span::current().set_attribute("app.order.id", order.clone());
    let cart = service.get("cart", "/carts/{user}", &format!("/carts/{user}")).await?;
    let first = cart["items"][0].as_u64().unwrap_or(1);
    let price_path = format!("/prices/{first}?user={user}");
    let (price, reserved) = tokio::join!(
        service.get("pricing", "/prices/{id}", &price_path),
        service.post("inventory", "/reservations", "/reservations", json!({"order": order, "items": cart["items"]})),
    );
    let cents = price?["cents"].as_u64().unwrap_or_default();
    reserved?;
    let payment = json!({"order": order, "cents": cents, "currency": "EUR"});
    service.post("payment", "/charges", "/charges", payment).await?;
    store_order(&service).await?;
    let shipment = service.post("shipping", "/shipments", "/shipments", json!({"order": order})).await?;
    service.publish(json!({"type": "order-placed", "order": order, "user": user})).await?;
    tracing::info!(app.order.id = order, app.order.total_cents = cents, "order placed");
    Ok(Json(json!({"order": order, "shipment": shipment})))
}

async fn store_order(service: &Service) -> Result<(), CallError> {
    let transaction = tracing::info_span!("transaction", db.system.name = "postgresql", db.namespace = "orders");
    async {
        service.query(&INSERT_ORDER).await?;
        service.query(&INSERT_ORDER_ITEMS).await.map(|_| ())
    }
    .instrument(transaction)
    .await
}

pub(super) fn payment(service: &Service) -> Router {
    Router::new().route("/charges", post(charge)).with_state(service.clone())
}

async fn charge(State(service): State<Service>, Json(payment): Json<Value>) -> Answer {
    service.think(2.0).instrument(tracing::info_span!("assess risk", risk.model = "gbt-12")).await;
    let mut attempt = 1;
    loop {
        match service.post("payment-provider", "/v1/charges", "/v1/charges", payment.clone()).await {
            Err(error) if error.status.is_server_error() && attempt < PAYMENT_ATTEMPTS => {
                tracing::warn!(attempt, "payment provider failed, trying again: {error}");
                service.pause(Duration::from_millis(150)).await;
                attempt += 1;
            }
            result => return result.map(Json),
        }
    }
}

pub(super) fn payment_provider(service: &Service) -> Router {
    Router::new().route("/v1/charges", post(provider_charge)).with_state(service.clone())
}

async fn provider_charge(State(service): State<Service>) -> Answer {
    service.think(85.0).await;
    let (status, message) = if service.world.random.chance(PROVIDER_FAULT_CHANCE) {
        (StatusCode::SERVICE_UNAVAILABLE, "acquirer unavailable")
    } else if service.world.random.chance(DECLINED_CHANCE) {
        (StatusCode::PAYMENT_REQUIRED, "card declined")
    } else {
        return Ok(Json(json!({"charge": format!("ch_{}", service.world.random.hex(14))})));
    };
    tracing::error!(payment.provider.status = status.as_u16(), "{message}");
    Err(CallError::own(&service, status, message))
}

pub(super) fn shipping(service: &Service) -> Router {
    Router::new().route("/shipments", post(ship)).with_state(service.clone())
}

async fn ship(State(service): State<Service>, Json(request): Json<Value>) -> Answer {
    service.query(&SELECT_SHIPMENTS).await?;
    service.think(4.0).instrument(tracing::info_span!("choose carrier", shipping.candidates = 5)).await;
    Ok(Json(json!({"order": request["order"], "carrier": "acme-parcel"})))
}
