//! The way in: web frontend, API gateway, authentication.

use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tracewell_sdk::SpanExt;
use tracing::{Instrument, Span};

use crate::service::{Answer, CallError, Service};

/// The share of requests whose session has run out.
const EXPIRED_CHANCE: f64 = 0.003;

/// Who asks, as every page carries it.
#[derive(Deserialize)]
struct Visitor {
    #[serde(default)]
    user: String,
    #[serde(default)]
    category: String,
}

pub(super) fn frontend(service: &Service) -> Router {
    Router::new()
        .route("/", get(products_page))
        .route("/products/{id}", get(product_page))
        .route("/cart", post(cart_page))
        .route("/checkout", post(checkout_page))
        .with_state(service.clone())
}

async fn render(service: &Service, page: &'static str, median_ms: f64) {
    service.think(median_ms).instrument(tracing::info_span!("render", template.name = page)).await;
}

async fn products_page(State(service): State<Service>, Query(visitor): Query<Visitor>) -> Answer {
    Span::current().set_attribute("user.id", visitor.user.clone());
    let path = format!("/api/products?user={}&category={}", visitor.user, visitor.category);
    let products = service.get("api-gateway", "/api/products", &path).await?;
    render(&service, "products", 4.0).await;
    Ok(Json(products))
}

async fn product_page(State(service): State<Service>, Path(id): Path<u64>, Query(visitor): Query<Visitor>) -> Answer {
    Span::current().set_attribute("user.id", visitor.user.clone());
    let path = format!("/api/products/{id}?user={}", visitor.user);
    let product = service.get("api-gateway", "/api/products/{id}", &path).await?;
    render(&service, "product", 3.0).await;
    Ok(Json(product))
}

async fn cart_page(State(service): State<Service>, Query(visitor): Query<Visitor>, Json(item): Json<Value>) -> Answer {
    Span::current().set_attribute("user.id", visitor.user.clone());
    let path = format!("/api/cart/items?user={}", visitor.user);
    let cart = service.post("api-gateway", "/api/cart/items", &path, item).await?;
    render(&service, "cart", 2.0).await;
    Ok(Json(cart))
}

async fn checkout_page(State(service): State<Service>, Query(visitor): Query<Visitor>) -> Answer {
    Span::current().set_attribute("user.id", visitor.user.clone());
    let path = format!("/api/checkout?user={}", visitor.user);
    let order = service.post("api-gateway", "/api/checkout", &path, json!({})).await?;
    render(&service, "order", 3.0).await;
    Ok(Json(order))
}

pub(super) fn gateway(service: &Service) -> Router {
    Router::new()
        .route("/api/products", get(list_products))
        .route("/api/products/{id}", get(show_product))
        .route("/api/cart/items", post(add_to_cart))
        .route("/api/checkout", post(check_out))
        .with_state(service.clone())
}

async fn authenticate(service: &Service, user: &str) -> Result<(), CallError> {
    service.get("authentication", "/verify", &format!("/verify?user={user}")).await.map(|_| ())
}

async fn list_products(State(service): State<Service>, Query(visitor): Query<Visitor>) -> Answer {
    authenticate(&service, &visitor.user).await?;
    let inventory = format!("/products?category={}", visitor.category);
    let pricing = format!("/prices?user={}&category={}", visitor.user, visitor.category);
    let profile = format!("/profiles/{}", visitor.user);
    let (products, prices, profile) = tokio::join!(
        service.get("inventory", "/products", &inventory),
        service.get("pricing", "/prices", &pricing),
        service.get("user-profile", "/profiles/{user}", &profile),
    );
    Ok(Json(json!({"products": products?, "prices": prices?, "profile": shown(profile)})))
}

async fn show_product(State(service): State<Service>, Path(id): Path<u64>, Query(visitor): Query<Visitor>) -> Answer {
    authenticate(&service, &visitor.user).await?;
    let (stock, price) = (format!("/products/{id}"), format!("/prices/{id}?user={}", visitor.user));
    let profile = format!("/profiles/{}", visitor.user);
    let (stock, price, profile) = tokio::join!(
        service.get("inventory", "/products/{id}", &stock),
        service.get("pricing", "/prices/{id}", &price),
        service.get("user-profile", "/profiles/{user}", &profile),
    );
    Ok(Json(json!({"stock": stock?, "price": price?, "profile": shown(profile)})))
}

/// A page without its greeting is better than no page.
fn shown(profile: Result<Value, CallError>) -> Value {
    profile.unwrap_or_else(|error| {
        tracing::warn!("page shown without profile: {error}");
        Value::Null
    })
}

async fn add_to_cart(
    State(service): State<Service>,
    Query(visitor): Query<Visitor>,
    Json(item): Json<Value>,
) -> Answer {
    authenticate(&service, &visitor.user).await?;
    let path = format!("/carts/{}/items", visitor.user);
    service.post("cart", "/carts/{user}/items", &path, item).await.map(Json)
}

async fn check_out(State(service): State<Service>, Query(visitor): Query<Visitor>) -> Answer {
    authenticate(&service, &visitor.user).await?;
    service.post("checkout", "/orders", "/orders", json!({"user": visitor.user})).await.map(Json)
}

pub(super) fn authentication(service: &Service) -> Router {
    Router::new().route("/verify", get(verify)).with_state(service.clone())
}

async fn verify(State(service): State<Service>, Query(visitor): Query<Visitor>) -> Answer {
    service.cached("session-cache", "GET", &format!("session:{}", visitor.user)).await?;
    service.think(1.5).instrument(tracing::info_span!("verify token", jwt.algorithm = "EdDSA")).await;
    if service.world.random.chance(EXPIRED_CHANCE) {
        tracing::info!(user.id = visitor.user, "session expired");
        return Err(CallError::own(&service, StatusCode::UNAUTHORIZED, "session expired"));
    }
    Ok(Json(json!({"user": visitor.user, "roles": ["customer"]})))
}
