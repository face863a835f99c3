//! What sets the slow requests apart from the rest.
//!
//! It is: two searches for a common cause. [`find`] compares traces: which attributes, operations, edges, numbers of calls and
//! log records the slow (failed, recent, any selected) ones have and the rest have not. [`table`] has nothing but numbers, the
//! time that each request spent in each remote procedure. It is not: a blame of time (a slow request that shares nothing with
//! other slow ones has no answer here), nor a proof: what goes together need not be cause and effect.
//!
//! ```text
//! selected ─┐                                                     ┌ alone ┐
//!           ├▶ facts: what each trace shows ─▶ tests in strata ───┤       ├─▶ findings, each a TraceQL filter,
//! rest ─────┘                                                     └ pairs ┘   with what it implies below it
//!
//! Table: requests × calls, ms ──▶ levels of each column ──▶ patterns: calls that take long together
//! ```
//!
//! **Input** of [`find`]: two sets of traces (or one and a mark for each trace; [`slow`] marks the slow ones).
//!
//! **Algorithm:**
//! 1. *Facts* ([`facts`]): one walk over the spans collects statements that are true or false of a trace: an attribute of a
//!    service's resource or of an operation's spans has this value, or is at least or below this number; an operation fails;
//!    an operation or an edge occurs, at least or less than so often; something is logged. Left out: attributes that never
//!    vary, ids (more than half of the values differ, or the entropy says that fewer than three traces share a value), clocks
//!    and counters (rank correlation with time beyond 0.9).
//! 2. *Tests* ([`compare`]): traces of one root operation are compared with traces of the same only, so that "checkouts are
//!    slower" does not make everything that a checkout does suspicious; that the mix of root operations differs is a finding
//!    of its own. Exact conditional test over these strata, false discoveries controlled after Benjamini and Hochberg; splits
//!    of a number are one family, corrected by Bonferroni. A finding also has to be large: ten points of difference, or twice
//!    as often.
//! 3. *Pairs* of the 64 most telling statements: both have to matter where the other is.
//! 4. *Durations*: operations whose time jumps, by [`table`] over the traces of each root operation; told last.
//! 5. *Told once*: statements about the same traces are aliases; a finding of which hardly anything is left among traces that
//!    agree in a clearer one is implied by that.
//!
//! **Output:** [`Finding`]s, clearest first. **Edge cases:** fewer than three traces on either side, or no root operation on
//! both sides, gives nothing (but the mix of root operations); a trace on both sides counts as selected; weights of sampled
//! traces are not used, since significance is about what was seen. **Complexity:** O(spans + attributes) for the walk,
//! O(facts shown) for the tests, O(64² × traces / 64) for the pairs.

mod compare;
pub mod density;
pub mod effect;
mod facts;
mod filter;
mod finding;
pub mod table;
mod tail;

use std::collections::HashSet;

use foldhash::fast::RandomState;
use tracewell_model::TraceId;

pub use finding::{AttributeTest, Call, Comparison, Finding, FindingKind};
pub use tail::{Limit, LimitBy, Slow, slow};

use crate::traces::Traces;
use compare::Compared;
use facts::Facts;

/// Fewer traces on a side cannot be compared.
const SIDE_MIN: usize = 3;

/// How traces are compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The share of false findings that is accepted.
    pub q_max: f64,
    /// Findings that are told, at most.
    pub findings_max: usize,
    /// What the selected traces are called in sentences: "slow", "failed", "recent".
    pub selected_name: String,
    /// What the others are called in sentences: "the rest", "those before".
    pub rest_name: String,
    /// True when traces were selected among those of the same root operation: then it means nothing that the selected have
    /// another mix of root operations than the rest.
    pub by_root: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            q_max: 0.05,
            findings_max: 20,
            selected_name: "slow".to_owned(),
            rest_name: "the rest".to_owned(),
            by_root: false,
        }
    }
}

/// Compares selected traces with the rest.
pub fn find(selected: &Traces, rest: &Traces, options: &Options) -> Vec<Finding> {
    let ids: HashSet<TraceId, RandomState> = selected.traces().iter().map(|trace| trace.id).collect();
    let (mut facts, mut known) = (Facts::default(), facts::Known::default());
    facts.add(selected, &mut known, |_| Some(true));
    facts.add(rest, &mut known, |number| (!ids.contains(&rest.traces()[number].id)).then_some(false));
    findings(&facts, options)
}

/// Compares the traces that are marked with those that are not; a trace without a mark is not.
pub fn find_among(traces: &Traces, selected: &[bool], options: &Options) -> Vec<Finding> {
    let (mut facts, mut known) = (Facts::default(), facts::Known::default());
    facts.add(traces, &mut known, |number| Some(selected.get(number).copied().unwrap_or(false)));
    findings(&facts, options)
}

/// Compares the slow traces with the rest; [`slow`] says which these are.
pub fn find_slow(traces: &Traces) -> Vec<Finding> {
    find_among(traces, &slow(traces).selected, &Options { by_root: true, ..Options::default() })
}

fn findings(facts: &Facts, options: &Options) -> Vec<Finding> {
    let selected = facts.members.iter().filter(|member| member.selected).count();
    if selected < SIDE_MIN || facts.members.len() - selected < SIDE_MIN {
        return Vec::new();
    }
    Compared::new(facts, options).findings()
}
