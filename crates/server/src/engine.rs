//! Questions to the store: the sources that can hold the answer, the query over them, errors as the API tells them.

use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::http::StatusCode;
use tracewell_analysis::hops::HopChanges;
use tracewell_model::{LogEntry, SpanRecord, TraceId};
use tracewell_query::traceql::{self, Query};
use tracewell_query::{
    AttributeKey, AttributeScope, AttributeValues, Budget, GatherRequest, Gathered, HopEdge, HopRequest, Listing,
    LogSearch, OneTrace, OperationSummary, QueryError, Red, SearchRequest, SearchResponse, ServiceSummary, SetQuestion,
    Trace, TwoSets, Which,
};
use tracewell_store::table::{Signal, Source};

use crate::http::error::ApiError;
use crate::http::params::Tenant;
use crate::state::App;

/// Start (inclusive) and end (exclusive), in nanoseconds since the epoch.
pub(crate) type Range = (u64, u64);

/// Reads and checks a query.
pub(crate) fn parse(text: &str) -> Result<Query, ApiError> {
    Query::parse(text).map_err(invalid_query)
}

fn invalid_query(error: traceql::Error) -> ApiError {
    let at = Some((error.position, error.length));
    ApiError { at, hint: error.hint, ..ApiError::new(StatusCode::BAD_REQUEST, "invalid_query", error.message) }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Query(error) => invalid_query(error),
            QueryError::Cursor(_) => ApiError::new(StatusCode::BAD_REQUEST, "invalid_cursor", error.to_string()),
            QueryError::Regex(_) => ApiError::new(StatusCode::BAD_REQUEST, "invalid_query", error.to_string()),
            // Nobody reads this: the client has gone.
            QueryError::Cancelled => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "cancelled", error.to_string()),
        }
    }
}

/// The answer where a trace is not stored.
pub(crate) fn trace_not_found(id: TraceId) -> ApiError {
    ApiError::not_found("trace_not_found", format!("there is no trace {id}"))
        .with_hint("it may not have arrived yet, have been deleted by retention, or belong to another tenant")
}

fn sources(app: &App, tenant: &Tenant, signal: Signal, range: Option<Range>) -> Vec<Arc<dyn Source>> {
    let range: Option<RangeInclusive<u64>> = range.map(|(start, end)| start..=end.saturating_sub(1).max(start));
    app.store.sources(&tenant.0, signal, range)
}

pub(crate) fn search(
    app: &App,
    tenant: &Tenant,
    request: &SearchRequest,
    budget: &Budget,
) -> Result<SearchResponse, ApiError> {
    // A trace that begins before the range has spans in sources outside it; its figures are of all of them.
    let sources = sources(app, tenant, Signal::Traces, None);
    Ok(tracewell_query::search(&sources, request, budget)?)
}

pub(crate) fn trace(app: &App, tenant: &Tenant, id: TraceId, budget: &Budget) -> Result<Option<Trace>, ApiError> {
    Ok(tracewell_query::trace(&sources(app, tenant, Signal::Traces, None), &id, budget)?)
}

pub(crate) fn trace_logs(
    app: &App,
    tenant: &Tenant,
    id: TraceId,
    budget: &Budget,
) -> Result<Listing<LogEntry>, ApiError> {
    Ok(tracewell_query::trace_logs(&sources(app, tenant, Signal::Logs, None), &id, budget)?)
}

/// What has to be subtracted from the times of a trace's spans, in their order, where clocks are known to be off.
pub(crate) fn corrections(
    app: &App,
    tenant: &Tenant,
    id: TraceId,
    spans: &[SpanRecord],
    budget: &Budget,
) -> Result<Option<Vec<i64>>, ApiError> {
    Ok(tracewell_query::corrections(&sources(app, tenant, Signal::Traces, None), id, spans, budget)?)
}

pub(crate) fn search_logs(
    app: &App,
    tenant: &Tenant,
    search: &LogSearch,
    budget: &Budget,
) -> Result<Listing<LogEntry>, ApiError> {
    let sources = sources(app, tenant, Signal::Logs, Some((search.start, search.end)));
    Ok(tracewell_query::search_logs(&sources, search, budget)?)
}

/// Sources of spans and of log records, of all time: a trace may reach beyond any range.
fn both(app: &App, tenant: &Tenant) -> [Vec<Arc<dyn Source>>; 2] {
    [Signal::Traces, Signal::Logs].map(|signal| sources(app, tenant, signal, None))
}

/// One trace for an analysis; none where it is not stored.
pub(crate) fn gather_trace(app: &App, tenant: &Tenant, id: TraceId, budget: &Budget) -> Result<Gathered, ApiError> {
    let [spans, logs] = both(app, tenant);
    Ok(tracewell_query::gather(&spans, &logs, &GatherRequest::new(Which::Ids(vec![id])), budget)?)
}

pub(crate) fn gather_with_like(
    app: &App,
    tenant: &Tenant,
    id: TraceId,
    budget: &Budget,
) -> Result<Option<OneTrace>, ApiError> {
    let [spans, logs] = both(app, tenant);
    Ok(tracewell_query::gather_with_like(&spans, &logs, &id, budget)?)
}

/// The set that a question is about, compared with nothing.
pub(crate) fn gather_one(
    app: &App,
    tenant: &Tenant,
    question: &SetQuestion,
    budget: &Budget,
) -> Result<TwoSets, ApiError> {
    let [spans, logs] = both(app, tenant);
    let of = tracewell_query::gather(&spans, &logs, &question.requests().0, budget)?;
    Ok(TwoSets { of, against: None })
}

/// Both sets that a question is about.
pub(crate) fn gather_two(
    app: &App,
    tenant: &Tenant,
    question: &SetQuestion,
    budget: &Budget,
) -> Result<TwoSets, ApiError> {
    let [spans, logs] = both(app, tenant);
    let (of, against) = question.requests();
    Ok(tracewell_query::gather_two(&spans, &logs, &of, against.as_ref(), budget)?)
}

pub(crate) fn services(
    app: &App,
    tenant: &Tenant,
    range: Range,
    budget: &Budget,
) -> Result<Listing<ServiceSummary>, ApiError> {
    Ok(tracewell_query::services(&sources(app, tenant, Signal::Traces, Some(range)), range.0, range.1, budget)?)
}

pub(crate) fn operations(
    app: &App,
    tenant: &Tenant,
    service: Option<&str>,
    range: Range,
    budget: &Budget,
) -> Result<Listing<OperationSummary>, ApiError> {
    Ok(tracewell_query::operations(
        &sources(app, tenant, Signal::Traces, Some(range)),
        service,
        range.0,
        range.1,
        budget,
    )?)
}

pub(crate) fn hops(
    app: &App,
    tenant: &Tenant,
    request: &HopRequest,
    budget: &Budget,
) -> Result<Listing<HopEdge>, ApiError> {
    let sources = sources(app, tenant, Signal::Traces, Some((request.start, request.end)));
    Ok(tracewell_query::hops(&sources, request, budget)?)
}

pub(crate) fn hop_changes(
    app: &App,
    tenant: &Tenant,
    before: Range,
    now: Range,
    budget: &Budget,
) -> Result<(HopChanges, Vec<String>), ApiError> {
    let sources = sources(app, tenant, Signal::Traces, Some((before.0.min(now.0), before.1.max(now.1))));
    Ok(tracewell_query::hop_changes(&sources, before, now, budget)?)
}

pub(crate) fn red(
    app: &App,
    tenant: &Tenant,
    service: &str,
    range: Range,
    step_minutes: u64,
    budget: &Budget,
) -> Result<Red, ApiError> {
    let sources = sources(app, tenant, Signal::Traces, Some(range));
    Ok(tracewell_query::red(&sources, service, range, step_minutes, budget)?)
}

pub(crate) fn attribute_keys(
    app: &App,
    tenant: &Tenant,
    scope: Option<AttributeScope>,
    range: Range,
    budget: &Budget,
) -> Result<Listing<AttributeKey>, ApiError> {
    let sources = sources(app, tenant, Signal::Traces, Some(range));
    Ok(tracewell_query::attribute_keys(&sources, scope, range.0, range.1, budget)?)
}

/// Which values of which attribute.
#[derive(Debug, Clone)]
pub(crate) struct ValuesOf {
    pub(crate) scope: AttributeScope,
    pub(crate) key: String,
    pub(crate) prefix: String,
    pub(crate) limit: usize,
    pub(crate) range: Range,
}

pub(crate) fn attribute_values(
    app: &App,
    tenant: &Tenant,
    of: &ValuesOf,
    budget: &Budget,
) -> Result<AttributeValues, ApiError> {
    let sources = sources(app, tenant, Signal::Traces, Some(of.range));
    let (start, end) = of.range;
    Ok(tracewell_query::attribute_values(&sources, of.scope, &of.key, start, end, &of.prefix, of.limit, budget)?)
}
