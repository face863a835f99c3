//! From the cart to the parcel: cart, checkout, payment and its third-party provider, shipping.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};
use tracewell_sdk::SpanExt;
use tracewell_sdk::http::Resends;
use tracing::{Instrument, Span};

use super::chain;
use crate::database::{INSERT_ORDER, INSERT_ORDER_ITEM, SELECT_SHIPMENTS};
use crate::faults::FaultId;
use crate::queue::ORDER_EVENTS;
use crate::rpc::Subject;
use crate::service::{Answer, CallError, Service};

/// The share of payments that the bank refuses.
const DECLINED_CHANCE: f64 = 0.02;

/// The share of requests that the provider does not answer properly, usually and while it is overloaded.
const PROVIDER_FAULT_CHANCE: f64 = 0.015;
const OVERLOADED_FAULT_CHANCE: f64 = 0.9;

/// Attempts to reach the provider and the time between them; what somebody has made of both who wanted no order to be
/// lost, and of the attempts that the checkout makes.
const PAYMENT_ATTEMPTS: u32 = 2;
const PAYMENT_PAUSE: Duration = Duration::from_millis(150);
const STORM_PAYMENT_ATTEMPTS: u32 = 5;
const STORM_CHECKOUT_ATTEMPTS: u32 = 3;

/// Where orders come from.
const COUNTRIES: [&str; 4] = ["AT", "CH", "DE", "FR"];

pub(super) fn cart(service: &Service) -> Router {
    Router::new()
        .route("/carts/{user}", get(contents))
        .route("/carts/{user}/items", post(add))
        .with_state(service.clone())
}

async fn contents(State(service): State<Service>, Path(user): Path<String>) -> Answer {
    service.cached("cart-store", "HGETALL", &format!("cart:{user}")).await?;
    service.think(0.7).await;
    let items: Vec<u64> =
        (0..1 + service.world.random.below(3)).map(|_| crate::load::product(&service.world.random)).collect();
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
    let country = COUNTRIES[service.world.random.below(COUNTRIES.len() as u64) as usize].to_owned();
    let subject = Subject { order: order.clone(), user: user.to_owned(), product: first, country, cents };
    let cents = chain::confirm(&service, subject).await?.cents;
    pay(&service, &json!({"order": order, "cents": cents, "currency": "EUR"})).await?;
    store_order(&service, &order, user, cents, first).await?;
    let shipment = service.post("shipping", "/shipments", "/shipments", json!({"order": order})).await?;
    service
        .publish(ORDER_EVENTS, json!({"type": "order-placed", "order": order, "user": user, "product": first}))
        .await?;
    tracing::info!(app.order.id = order, app.order.total_cents = cents, "order placed");
    Ok(Json(json!({"order": order, "shipment": shipment})))
}

async fn pay(service: &Service, payment: &Value) -> Result<(), CallError> {
    let attempts = if service.world.faults.is_on(FaultId::RetryStorm) { STORM_CHECKOUT_ATTEMPTS } else { 1 };
    let resends = Resends::default();
    for attempt in 1.. {
        match service.attempt("payment", "/charges", payment.clone(), &resends).await {
            Err(error) if error.status.is_server_error() && attempt < attempts => {
                tracing::warn!(attempt, "payment failed, trying again: {error}");
            }
            result => return result.map(|_| ()),
        }
    }
    Ok(())
}

async fn store_order(service: &Service, order: &str, user: &str, cents: u64, product: u64) -> Result<(), CallError> {
    let transaction = tracing::info_span!("transaction", db.system.name = "sqlite", db.namespace = "orders");
    async {
        service.query(&INSERT_ORDER, vec![json!(order), json!(user), json!(cents)]).await?;
        service.query(&INSERT_ORDER_ITEM, vec![json!(order), json!(product)]).await.map(|_| ())
    }
    .instrument(transaction)
    .await
}

pub(super) fn payment(service: &Service) -> Router {
    Router::new().route("/charges", post(charge)).with_state(service.clone())
}

async fn charge(State(service): State<Service>, Json(payment): Json<Value>) -> Answer {
    service.think(2.0).instrument(tracing::info_span!("assess risk", risk.model = "gbt-12")).await;
    let storm = service.world.faults.is_on(FaultId::RetryStorm);
    let (attempts, pause) =
        if storm { (STORM_PAYMENT_ATTEMPTS, Duration::ZERO) } else { (PAYMENT_ATTEMPTS, PAYMENT_PAUSE) };
    let resends = Resends::default();
    let mut attempt = 1;
    loop {
        match service.attempt("payment-provider", "/v1/charges", payment.clone(), &resends).await {
            Err(error) if error.status.is_server_error() && attempt < attempts => {
                tracing::warn!(attempt, "payment provider failed, trying again: {error}");
                service.pause(pause).await;
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
    let overloaded = service.world.faults.is_on(FaultId::RetryStorm);
    let failing = if overloaded { OVERLOADED_FAULT_CHANCE } else { PROVIDER_FAULT_CHANCE };
    let (status, message) = if service.world.random.chance(failing) {
        // Who is overloaded says so at once.
        service.think(if overloaded { 25.0 } else { 85.0 }).await;
        (StatusCode::SERVICE_UNAVAILABLE, "acquirer unavailable")
    } else {
        service.think(85.0).await;
        if !service.world.random.chance(DECLINED_CHANCE) {
            return Ok(Json(json!({"charge": format!("ch_{}", service.world.random.hex(14))})));
        }
        (StatusCode::PAYMENT_REQUIRED, "card declined")
    };
    tracing::error!(payment.provider.status = status.as_u16(), "{message}");
    Err(CallError::own(&service, status, message))
}

pub(super) fn shipping(service: &Service) -> Router {
    Router::new().route("/shipments", post(ship).get(shipments)).with_state(service.clone())
}

async fn ship(State(service): State<Service>, Json(request): Json<Value>) -> Answer {
    let warehouse = format!("w{}", service.world.random.below(4));
    service.query(&SELECT_SHIPMENTS, vec![json!(warehouse)]).await?;
    service.think(4.0).instrument(tracing::info_span!("choose carrier", shipping.candidates = 3)).await;
    Ok(Json(json!({"order": request["order"], "carrier": "acme-parcel"})))
}

async fn shipments(State(service): State<Service>) -> Answer {
    let warehouse = format!("w{}", service.world.random.below(4));
    let found = service.query(&SELECT_SHIPMENTS, vec![json!(warehouse)]).await?;
    Ok(Json(found["rows"].clone()))
}
