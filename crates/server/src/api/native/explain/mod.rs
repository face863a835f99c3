//! Explanations: of one trace, of a set of traces, and each analysis by itself.
//!
//! ```text
//! parameters ─▶ SetQuestion ─▶ gather (budget, cancelled with the client) ─▶ Traces ─▶ analysis ─▶ document
//! ```
//!
//! The documents are snake_case inside, as `docs/explain.md` describes them: the command line prints the same.

mod parts;
mod path;
mod question;
mod whole;

use axum::routing::get;

use super::Route;

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route { path: "/api/v1/traces/{id}/explain", handler: get(whole::of_trace) },
        Route { path: "/api/v1/traces/{id}/critical-path", handler: get(path::of_trace) },
        Route { path: "/api/v1/explain", handler: get(whole::of_set) },
        Route { path: "/api/v1/ranking", handler: get(parts::ranking) },
        Route { path: "/api/v1/blame", handler: get(parts::blame) },
        Route { path: "/api/v1/outliers", handler: get(parts::outliers) },
        Route { path: "/api/v1/patterns", handler: get(parts::patterns) },
        Route { path: "/api/v1/broken", handler: get(parts::broken) },
        Route { path: "/api/v1/clocks", handler: get(parts::clocks) },
    ]
}
