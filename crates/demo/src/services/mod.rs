//! What each service does with a request.
//!
//! ```text
//! web-frontend ─ api-gateway ─┬ authentication ─ session-cache
//!                             ├ inventory ─ inventory-db            ┐
//!                             ├ pricing ─┬ pricing-cache            │ side by side
//!                             │          └ promotions ─ user-profile│
//!                             ├ user-profile ─ profile-db           ┘
//!                             ├ cart ─┬ cart-store
//!                             │       └ inventory ─ inventory-db
//!                             └ checkout ─┬ cart, pricing, inventory
//!                                         ├ payment ─ payment-provider (third party)
//!                                         ├ shipping ─ orders-db
//!                                         ├ orders-db
//!                                         └ message-broker ┄ notifications
//! ```

mod catalog;
mod checkout;
mod edge;

use axum::Router;
use axum::routing::get;
use tracewell_sdk::http::ServerLayer;

use crate::service::Service;
use crate::{broker, cache, database};

/// The routes of a service.
pub(crate) fn router(service: &Service) -> Router {
    let router = match service.spec.name {
        "web-frontend" => edge::frontend(service),
        "api-gateway" => edge::gateway(service),
        "authentication" => edge::authentication(service),
        "inventory" => catalog::inventory(service),
        "pricing" => catalog::pricing(service),
        "promotions" => catalog::promotions(service),
        "user-profile" => catalog::user_profile(service),
        "cart" => checkout::cart(service),
        "checkout" => checkout::checkout(service),
        "payment" => checkout::payment(service),
        "payment-provider" => checkout::payment_provider(service),
        "shipping" => checkout::shipping(service),
        // Databases and caches say what they do in their own words.
        "session-cache" | "pricing-cache" | "cart-store" => return cache::router(service),
        "inventory-db" | "orders-db" | "profile-db" => return database::router(service),
        "notifications" => Router::new().route("/status", get(broker::status)),
        _ => Router::new(),
    };
    router.layer(ServerLayer::new())
}
