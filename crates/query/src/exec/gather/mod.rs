//! Whole traces for analyses: the columns that these need, from every source, without a span record in between.
//!
//! It is: which traces (all that match, or a fair sample of them), and their rows turned into [`Traces`]. It is not: an
//! analysis.
//!
//! ```text
//! Which ─ select ─▶ parts of ≤ limit traces ─ in order of start, cut into tasks ─▶ read, read, …  ─ append ─▶ Traces
//!           │ every match counted                                               one thread each
//! ```
//!
//! **Sample.** Where more traces match than may be gathered, those with the lowest hash of their id are taken: a uniform
//! sample (bottom-k sampling, Cohen 1997, with a fixed hash), the same one for the same question, whatever the sources
//! look like and whoever asks. Each then stands for `matched / gathered` traces ([`tracewell_analysis::Trace::weight`]).
//!
//! **Cost.** Selecting is what counting all matches costs. Reading is linear in the rows: values come chunk by chunk, each
//! text of a dictionary is numbered once.

mod columns;
mod like;
mod logs;
mod question;
mod read;
mod select;
mod spans;

pub use like::{OneTrace, TwoSets, gather_two, gather_with_like};
pub use question::SetQuestion;

use std::collections::HashSet;
use std::sync::Arc;

use tracewell_analysis::Traces;
use tracewell_model::TraceId;
use tracewell_store::table::{Signal, Source};

use super::search::Engine;
use super::{Budget, Meter, Sources, Stats, Stop, Total};
use crate::QueryError;
use crate::plan::Program;
use crate::traceql::Query;

/// Spans that are gathered at most if nobody says otherwise: about a gigabyte with their attributes.
const SPANS_MAX: u64 = 2_000_000;

/// Which traces.
#[derive(Debug, Clone)]
pub enum Which {
    /// Those that match a query, as [`super::search`] decides.
    Query(Query),
    /// Those that begin in the time range with a root span of this service and name.
    Root {
        /// Service of the root span.
        service: String,
        /// Its name.
        name: String,
    },
    /// These.
    Ids(Vec<TraceId>),
}

/// What is to be gathered. Times are nanoseconds since the epoch.
#[derive(Debug, Clone)]
pub struct GatherRequest {
    /// Which traces.
    pub which: Which,
    /// Of a query, spans count when they end at or after this …
    pub start: u64,
    /// … and start before this. [`Which::Ids`] knows no time.
    pub end: u64,
    /// Most traces.
    pub limit: usize,
    /// Most spans; one trace is gathered whatever its size.
    pub spans_max: u64,
    /// Leave these traces out.
    pub except: HashSet<TraceId>,
    /// Whether the spans' attributes are wanted. What [`tracewell_analysis::Span`] says is there without them.
    pub attributes: bool,
}

impl GatherRequest {
    /// At most ten thousand traces of all time, with their attributes.
    pub fn new(which: Which) -> Self {
        let (start, end, limit) = (0, u64::MAX, 10_000);
        Self { which, start, end, limit, spans_max: SPANS_MAX, except: HashSet::new(), attributes: true }
    }
}

/// Traces, ready to be analysed.
#[derive(Debug, Clone, Default)]
pub struct Gathered {
    /// The traces, the earliest first.
    pub traces: Traces,
    /// How many match.
    pub matched: Option<Total>,
    /// True where not all that match are here, but a uniform sample of them.
    pub sampled: bool,
    /// What it cost.
    pub stats: Stats,
    /// What the reader should know: damaged files, an exhausted budget, doubts about the query.
    pub warnings: Vec<String>,
}

/// Gathers traces from sources of spans, each with all its spans from all sources, and their log records from sources of
/// logs (none where there are none). A damaged source is left out with a warning. When the budget ends, what was gathered
/// until then is returned with a warning.
///
/// # Errors
/// [`QueryError::Cancelled`] when the budget's flag was raised.
pub fn gather(
    spans: &[Arc<dyn Source>],
    logs: &[Arc<dyn Source>],
    request: &GatherRequest,
    budget: &Budget,
) -> Result<Gathered, QueryError> {
    let meter = Meter::new(budget);
    let logs = Sources::new(logs, Signal::Logs);
    let sources = Sources::new(spans, Signal::Traces);
    let mut warnings = Vec::new();
    let program;
    let (selected, sources) = match &request.which {
        Which::Query(query) => {
            warnings.extend(query.warnings().iter().cloned());
            program = Program::new(query, request.start, request.end);
            let engine = Engine::new(sources, &program, &meter);
            let selected = select::by_query(&engine, request);
            (selected, engine.sources)
        }
        Which::Root { service, name } => (select::by_root(&sources, service, name, request, &meter), sources),
        Which::Ids(ids) => (select::by_id(&sources, ids, request), sources),
    };
    let (traces, stopped) = match selected.stopped {
        Some(Stop::Cancelled) => return Err(QueryError::Cancelled),
        _ => read::read(&sources, &logs, &selected, request.attributes, &meter),
    };
    match stopped.or(selected.stopped) {
        Some(Stop::Cancelled) => return Err(QueryError::Cancelled),
        Some(stop) => warnings.push(stop.warning()),
        None => {}
    }
    warnings.extend(sources.take_warnings());
    warnings.extend(logs.take_warnings());
    let matched = Some(Total { value: selected.matched, exact: selected.stopped.is_none() });
    Ok(Gathered { traces, matched, sampled: selected.weight > 1.0, stats: meter.stats(), warnings })
}
