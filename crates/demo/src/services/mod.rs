//! What each service does with a request.
//!
//! ```text
//! web-frontend ─ api-gateway ─┬ authentication ─┬ session-cache
//!                             │                 └ profile-db
//!                             ├ inventory ─ inventory-db            ┐
//!                             ├ pricing ─┬ pricing-cache            │ side by side
//!                             │          └ promotions ─ user-profile│
//!                             ├ user-profile ─ profile-db           │
//!                             ├ recommendations ─ user-profile, inventory
//!                             ├ search ─ inventory                  ┘
//!                             ├ order-history ─ orders-db, shipping
//!                             ├ cart ─┬ cart-store
//!                             │       └ inventory ─ inventory-db
//!                             └ checkout ─┬ cart, pricing, inventory
//!                                         ├ order-management ─ … ─ ledger (the chain)
//!                                         ├ payment ─ payment-provider (third party)
//!                                         ├ orders-db
//!                                         ├ shipping ─ orders-db
//!                                         └ message-broker ┄ notifications, analytics
//! ```

mod account;
mod catalog;
mod chain;
mod checkout;
mod edge;
mod jobs;

use axum::Router;

#[cfg(test)]
pub(crate) use chain::entries as chain_entries;

use crate::service::Service;
use crate::{cache, database};

/// The routes of a service.
pub(crate) fn router(service: &Service) -> Router {
    let router = match service.spec.name {
        "web-frontend" => edge::frontend(service),
        "api-gateway" => edge::gateway(service),
        "authentication" => account::authentication(service),
        "user-profile" => account::user_profile(service),
        "order-history" => account::order_history(service),
        "inventory" => catalog::inventory(service),
        "pricing" => catalog::pricing(service),
        "promotions" => catalog::promotions(service),
        "search" => catalog::search(service),
        "recommendations" => return catalog::recommendations(service),
        "cart" => checkout::cart(service),
        "checkout" => checkout::checkout(service),
        "payment" => checkout::payment(service),
        "payment-provider" => checkout::payment_provider(service),
        "shipping" => checkout::shipping(service),
        // Databases and caches say what they do in their own words.
        "session-cache" | "pricing-cache" | "cart-store" => return cache::router(service),
        "inventory-db" | "orders-db" | "profile-db" => return database::router(service),
        _ => return chain::router(service).unwrap_or_default(),
    };
    service.traced(router)
}

/// What a service does without being asked: it consumes messages, and does its jobs.
pub(crate) async fn by_itself(service: Service) {
    tokio::join!(service.clone().consume(), jobs::run(service));
}
