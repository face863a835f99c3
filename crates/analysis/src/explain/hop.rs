//! Hops as the document tells them: of a set what changed, of one trace every call.

use serde::Serialize;

use crate::Traces;
use crate::hops::{Hop, HopChange};

/// What is told of hops.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Hops {
    /// What changed between services.
    Changes(Vec<HopChange>),
    /// The calls of one trace.
    Calls(Vec<HopOfTrace>),
}

/// A call of a trace, split into its parts, with the ids of its spans.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HopOfTrace {
    /// Id of the caller's span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_span: Option<String>,
    /// Id of the callee's span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callee_span: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub hop: Hop,
}

impl HopOfTrace {
    /// A call with ids in place of numbers.
    pub(super) fn new(traces: &Traces, mut hop: Hop) -> Self {
        let id = |span: Option<usize>| span.map(|span| traces.spans()[span].id.to_string());
        Self { caller_span: id(hop.caller_span.take()), callee_span: id(hop.callee_span.take()), hop }
    }
}
