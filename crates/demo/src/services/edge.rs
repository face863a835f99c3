//! The way in: web frontend and API gateway.

use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tracewell_sdk::SpanExt;
use tracing::{Instrument, Span};

use super::catalog::RECOMMEND;
use crate::faults::FaultId;
use crate::rpc::Subject;
use crate::service::{Answer, CallError, Service};

/// Who asks, as every page carries it.
#[derive(Deserialize)]
struct Visitor {
    #[serde(default)]
    user: String,
    #[serde(default)]
    category: String,
    #[serde(default)]
    q: String,
}

pub(super) fn frontend(service: &Service) -> Router {
    Router::new()
        .route("/", get(products_page))
        .route("/products/{id}", get(product_page))
        .route("/search", get(search_page))
        .route("/login", post(login_page))
        .route("/orders", get(orders_page))
        .route("/cart", post(cart_page))
        .route("/checkout", post(checkout_page))
        .with_state(service.clone())
}

/// A page: asks the gateway, and renders what it answers.
async fn page(
    service: &Service,
    visitor: &Visitor,
    (template, path): (&str, &str),
    body: Option<Value>,
    (name, median_ms): (&'static str, f64),
) -> Answer {
    Span::current().set_attribute("user.id", visitor.user.clone());
    let content = match body {
        None => service.get("api-gateway", template, path).await?,
        Some(body) => service.post("api-gateway", template, path, body).await?,
    };
    service.think(median_ms).instrument(tracing::info_span!("render", template.name = name)).await;
    Ok(Json(content))
}

async fn products_page(State(service): State<Service>, Query(visitor): Query<Visitor>) -> Answer {
    let path = format!("/api/products?user={}&category={}", visitor.user, visitor.category);
    page(&service, &visitor, ("/api/products", &path), None, ("products", 4.0)).await
}

async fn product_page(State(service): State<Service>, Path(id): Path<u64>, Query(visitor): Query<Visitor>) -> Answer {
    let path = format!("/api/products/{id}?user={}", visitor.user);
    page(&service, &visitor, ("/api/products/{id}", &path), None, ("product", 3.0)).await
}

async fn search_page(State(service): State<Service>, Query(visitor): Query<Visitor>) -> Answer {
    let path = format!("/api/search?user={}&q={}", visitor.user, visitor.q);
    page(&service, &visitor, ("/api/search", &path), None, ("search", 3.0)).await
}

async fn login_page(State(service): State<Service>, Query(visitor): Query<Visitor>) -> Answer {
    let path = format!("/api/login?user={}", visitor.user);
    page(&service, &visitor, ("/api/login", &path), Some(json!({})), ("account", 2.0)).await
}

async fn orders_page(State(service): State<Service>, Query(visitor): Query<Visitor>) -> Answer {
    let path = format!("/api/orders?user={}", visitor.user);
    page(&service, &visitor, ("/api/orders", &path), None, ("orders", 3.0)).await
}

async fn cart_page(State(service): State<Service>, Query(visitor): Query<Visitor>, Json(item): Json<Value>) -> Answer {
    let path = format!("/api/cart/items?user={}", visitor.user);
    page(&service, &visitor, ("/api/cart/items", &path), Some(item), ("cart", 2.0)).await
}

async fn checkout_page(State(service): State<Service>, Query(visitor): Query<Visitor>) -> Answer {
    let path = format!("/api/checkout?user={}", visitor.user);
    page(&service, &visitor, ("/api/checkout", &path), Some(json!({})), ("order", 3.0)).await
}

pub(super) fn gateway(service: &Service) -> Router {
    Router::new()
        .route("/api/products", get(list_products))
        .route("/api/products/{id}", get(show_product))
        .route("/api/search", get(search))
        .route("/api/login", post(log_in))
        .route("/api/orders", get(orders))
        .route("/api/cart/items", post(add_to_cart))
        .route("/api/checkout", post(check_out))
        .with_state(service.clone())
}

async fn authenticate(service: &Service, user: &str) -> Result<(), CallError> {
    service.get("authentication", "/verify", &format!("/verify?user={user}")).await.map(|_| ())
}

/// Four calls that do not need each other: side by side, unless the fault makes them wait for each other.
async fn gathered<A, B, C, D>(
    service: &Service,
    (a, b, c, d): (impl Future<Output = A>, impl Future<Output = B>, impl Future<Output = C>, impl Future<Output = D>),
) -> (A, B, C, D) {
    if service.world.faults.is_on(FaultId::SerialCalls) {
        return (a.await, b.await, c.await, d.await);
    }
    tokio::join!(a, b, c, d)
}

async fn list_products(State(service): State<Service>, Query(visitor): Query<Visitor>) -> Answer {
    authenticate(&service, &visitor.user).await?;
    let inventory = format!("/products?category={}", visitor.category);
    let pricing = format!("/prices?user={}&category={}", visitor.user, visitor.category);
    let profile = format!("/profiles/{}", visitor.user);
    let calls = (
        service.get("inventory", "/products", &inventory),
        service.get("pricing", "/prices", &pricing),
        service.get("user-profile", "/profiles/{user}", &profile),
        std::future::ready(()),
    );
    let (products, prices, profile, ()) = gathered(&service, calls).await;
    Ok(Json(json!({"products": products?, "prices": prices?, "profile": shown(profile)})))
}

async fn show_product(State(service): State<Service>, Path(id): Path<u64>, Query(visitor): Query<Visitor>) -> Answer {
    authenticate(&service, &visitor.user).await?;
    let (stock, price) = (format!("/products/{id}"), format!("/prices/{id}?user={}", visitor.user));
    let profile = format!("/profiles/{}", visitor.user);
    let about = Subject { user: visitor.user.clone(), product: id, ..Subject::default() };
    let calls = (
        service.get("inventory", "/products/{id}", &stock),
        service.get("pricing", "/prices/{id}", &price),
        service.get("user-profile", "/profiles/{user}", &profile),
        service.rpc("recommendations", RECOMMEND, about),
    );
    let (stock, price, profile, recommended) = gathered(&service, calls).await;
    // Nobody misses what was not recommended: the page is shown without, and nobody is told.
    let recommended = recommended.map_or(Value::Null, |subject| json!([subject.product + 1]));
    Ok(Json(json!({"stock": stock?, "price": price?, "profile": shown(profile), "recommended": recommended})))
}

/// A page without its greeting is better than no page.
fn shown(profile: Result<Value, CallError>) -> Value {
    profile.unwrap_or_else(|error| {
        tracing::warn!("page shown without profile: {error}");
        Value::Null
    })
}

async fn search(State(service): State<Service>, Query(visitor): Query<Visitor>) -> Answer {
    authenticate(&service, &visitor.user).await?;
    service.get("search", "/search", &format!("/search?q={}", visitor.q)).await.map(Json)
}

async fn log_in(State(service): State<Service>, Query(visitor): Query<Visitor>) -> Answer {
    let path = format!("/sessions?user={}", visitor.user);
    service.post("authentication", "/sessions", &path, json!({})).await.map(Json)
}

async fn orders(State(service): State<Service>, Query(visitor): Query<Visitor>) -> Answer {
    authenticate(&service, &visitor.user).await?;
    service.get("order-history", "/history/{user}", &format!("/history/{}", visitor.user)).await.map(Json)
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
