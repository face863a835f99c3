//! Whose child an outbound request is.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use tracewell_propagate::{Decision, Propagated};
use tracewell_sdk::SpanExt;
use tracing::Span;

use crate::config::Infer;
use crate::hub::Hub;
use crate::table::{self, Found, Served};

/// Other candidates that a span links to.
const LINKS_MAX: usize = 8;

/// Told on the span where the only request in flight was taken.
const ONLY: &str = "only request in flight";

/// The parent of an outbound request, and how it is known.
pub(crate) enum Parent {
    /// The request says so itself, or nobody knows.
    Carried(Propagated),
    /// By what it shares with inbound requests.
    Inferred { by: String, from: Arc<Served>, others: Vec<Arc<Served>> },
    /// It shares something with requests of several traces, so that any choice might be wrong.
    Refused { candidates: Vec<Arc<Served>> },
}

impl Parent {
    /// Where the request carries no context, the inbound request that it belongs to is looked for.
    pub(crate) fn find(hub: &Hub, carried: Propagated, headers: &HeaderMap) -> Self {
        let says = carried.context.is_some() || carried.decision != Decision::AsFlagged;
        if says || hub.config.infer == Infer::Off {
            return Self::Carried(carried);
        }
        let ids = table::ids(headers, &hub.config.request_id_headers);
        let now = Instant::now();
        for (name, _, id) in &ids {
            match hub.table.find(id, now) {
                Found::Nobody => {}
                Found::One(from) => return Self::Inferred { by: name.to_string(), from, others: Vec::new() },
                Found::OneTrace(mut all) => {
                    let from = all.remove(0);
                    return Self::Inferred { by: name.to_string(), from, others: all };
                }
                Found::ManyTraces(candidates) => return Self::Refused { candidates },
            }
        }
        if hub.config.infer == Infer::Single
            && let Some(from) = hub.table.only()
        {
            return Self::Inferred { by: ONLY.to_owned(), from, others: Vec::new() };
        }
        let reason =
            if ids.is_empty() { "neither context nor request id" } else { "no inbound request has this request id" };
        hub.stats.not_inferred(reason);
        Self::Carried(carried)
    }

    /// Makes `span` a child of it, with a mark where that was inferred.
    pub(crate) fn adopt(&self, hub: &Hub, span: &Span) {
        match self {
            Parent::Carried(propagated) => span.set_remote(propagated),
            Parent::Inferred { by, from, others } => {
                span.set_remote(&from.propagated);
                span.record("tracewell.inferred", true);
                span.record("tracewell.inferred.by", by.as_str());
                hub.stats.inferred(by);
                if !others.is_empty() {
                    span.record("tracewell.inferred.candidates", others.len() + 1);
                    link(span, others);
                }
            }
            Parent::Refused { candidates } => {
                let reason = "requests of several traces have this request id";
                span.record("tracewell.inferred", false);
                span.record("tracewell.inferred.refused", reason);
                span.record("tracewell.inferred.candidates", candidates.len());
                link(span, candidates);
                hub.stats.not_inferred(reason);
                tracewell_sdk::diagnostics::count("proxy correlation", reason);
            }
        }
    }

    /// The inbound request that it belongs to.
    pub(crate) fn served(&self) -> Option<&Served> {
        match self {
            Parent::Inferred { from, .. } => Some(from),
            _ => None,
        }
    }
}

fn link(span: &Span, to: &[Arc<Served>]) {
    for context in to.iter().take(LINKS_MAX).filter_map(|served| served.propagated.context.as_ref()) {
        span.add_link(context, &[]);
    }
}
