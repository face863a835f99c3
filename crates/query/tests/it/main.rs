//! What a search answers, whatever holds the spans.
//!
//! | module | proves | does not prove |
//! |---|---|---|
//! | `laws` | column-wise search over any split of spans equals a plain reading of the query over model spans; pages equal one list | speed |
//! | `semantics` | TraceQL's meaning, case by case with its source in Tempo's documentation | syntax (beside the parser) |
//! | `gather` | traces for analyses are those that a search finds, complete, whatever holds them; samples are fair and repeatable | speed |
//! | `findings` | the filter of every finding, whatever it is of, finds the traces that the finding counts | which findings there are (tracewell-analysis) |
//! | `hops` | calls between services are the same however spans are spread; a change is found in the rollups | the split itself (tracewell-model) |
//! | `segments` | blocks merged into real segment files answer as before | what else a segment must do (tracewell-store) |
//! | `unchanged` | any span and log record, and what real clients sent, comes back from head, segments and merged segments as it was | order of attributes |
//! | `answers` | traces, logs and listings come back whole, damage costs a warning | the file formats (tracewell-store) |

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod answers;
mod data;
mod findings;
mod gather;
mod hops;
mod laws;
mod memory;
mod naive;
mod segments;
mod semantics;
mod unchanged;
