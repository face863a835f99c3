//! What kind of span it is, where nobody says.
//!
//! A span of unspecified kind may be taken for an internal one (OpenTelemetry protocol, `trace.proto`: "implementations MAY
//! assume SpanKind to be INTERNAL when receiving UNSPECIFIED"). Where spans of several services are in one trace, their
//! places say more: what another service stands above was called by it (a server), and what another service stands
//! below, or names whom it calls, called it (a client), unless its own service begins there.

use tracewell_model::SpanKind;

use super::{NO_SPAN, Span, Text};

/// Gives the spans of a trace that have no kind the one that their place shows. They stand in preorder; the number of the
/// first is `first`.
pub(super) fn conclude(spans: &mut [Span], first: usize) {
    let unspecified = SpanKind::Unspecified as u8;
    if spans.iter().all(|span| span.kind != unspecified) {
        return;
    }
    let mut calls: Vec<bool> = vec![false; spans.len()];
    let mut above: Vec<Option<Text>> = Vec::with_capacity(spans.len());
    for span in spans.iter() {
        let parent = (span.parent != NO_SPAN).then(|| span.parent as usize - first);
        above.push(parent.map(|parent| spans[parent].service));
        if let Some(parent) = parent {
            calls[parent] |= spans[parent].service != span.service;
        }
    }
    for ((span, above), calls) in
        spans.iter_mut().zip(above).zip(calls).filter(|((span, _), _)| span.kind == unspecified)
    {
        let begins = above != Some(span.service);
        let names = (!span.peer.is_empty() && span.peer != span.service) || !span.statement.is_empty();
        if begins {
            span.kind = SpanKind::Server as u8;
        } else if calls || names {
            span.kind = SpanKind::Client as u8;
        }
        span.kind_inferred = span.kind != unspecified;
    }
}
