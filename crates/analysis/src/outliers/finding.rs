//! What a comparison says.

use serde::Serialize;

/// Something that tells the selected traces from the rest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// A TraceQL query that finds the traces that show it.
    pub filter: String,
    /// What kind of thing it is.
    pub kind: FindingKind,
    /// All of it in a sentence.
    pub what: String,
    /// The service that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The operation that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The attribute that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribute: Option<AttributeTest>,
    /// The edge that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<Call>,
    /// The log site that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Share of the selected traces that show it, 0 to 1.
    pub slow_share: f64,
    /// Share of the rest that would show it if the rest had as many traces of each root operation as the selected, 0 to 1.
    pub rest_share: f64,
    /// How many times as often the selected show it, with half a trace added to each side, so that it is finite.
    pub lift: f64,
    /// Share of the traces that show it that are selected, 0 to 1.
    pub precision: f64,
    /// Probability of such a difference or a larger one by chance, before so many were looked at.
    pub p_value: f64,
    /// Share of false findings among all that are at least as clear as this one.
    pub q_value: f64,
    /// Mean duration of the selected traces that show it, nanoseconds.
    pub mean_slow_ns: u64,
    /// Mean duration of the other traces that show it, nanoseconds; none where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_rest_ns: Option<u64>,
    /// How much longer traces take that show it than traces of the same root operation that do not, nanoseconds; none where
    /// there are no such traces to compare.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect_ns: Option<i64>,
    /// How many traces show it, selected or not.
    pub traces: usize,
    /// How many of the selected show it.
    pub slow_traces: usize,
    /// Filters that find the same traces: they always occur together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// What differs as well, but hardly any more once this is taken into account.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub implied: Vec<Finding>,
}

/// Kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// An attribute, a status or a status message.
    Attribute,
    /// An operation that occurs, or does not.
    Operation,
    /// A call between two services that occurs, or does not.
    Edge,
    /// How often something is called.
    CallCount,
    /// A log record or an event.
    LogSite,
    /// How long the spans of an operation take together: what is slow, where nothing says why.
    Duration,
    /// Two of these together.
    Pair,
}

/// A test of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttributeTest {
    /// Its name with its scope, as in TraceQL.
    pub key: String,
    /// How it is compared.
    pub test: Comparison,
    /// With what.
    pub value: String,
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// Equal.
    Is,
    /// Equal or larger.
    AtLeast,
    /// Smaller.
    Below,
}

/// An edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    /// The service that calls.
    pub caller: String,
    /// The service that is called.
    pub callee: String,
}
