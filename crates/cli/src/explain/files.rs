//! Asking files: they are read into memory, and what a server does with its store is done with that.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use tracewell_query::traceql::Query;
use tracewell_query::{
    Budget, GatherRequest, SetQuestion, Which, explain_set, explain_trace, gather_two, gather_with_like,
};
use tracewell_store::table::{Signal, Source};

use super::args::Question;
use super::read::Loaded;
use crate::client::ServerError;
use crate::query::with_position;
use crate::table::counted;

/// The explanation.
pub fn explain(question: &Question) -> Result<Value> {
    let filter = question.filter.as_deref().map(parse).transpose()?;
    let against = question.against.as_deref().map(parse).transpose()?;
    let of = Loaded::of(&question.files)?;
    if of.span_count() == 0 {
        bail!("there is no span in these files{}", rejected(&of));
    }
    if of.rejected > 0 {
        eprintln!("left out: {} without valid ids", counted(of.rejected as usize, "span"));
    }
    let others = match question.against_files.is_empty() {
        true => None,
        false => Some(Loaded::of(&question.against_files)?),
    };
    let explained = match subject(question, &of, others.is_some()) {
        Some(id) => of_trace(id, &of, others.as_ref())?,
        None => of_set(question, filter, against, &of, others.as_ref())?,
    };
    serde_json::to_value(&explained).context("the explanation could not be written")
}

fn parse(text: &str) -> Result<Query> {
    Query::parse(text).map_err(|error| {
        let (position, length, hint) = (Some(error.position), error.length, error.hint);
        with_position(ServerError { message: error.message, position, length, hint }, text)
    })
}

fn rejected(of: &Loaded) -> String {
    match of.rejected {
        0 => String::new(),
        spans => format!(", only {} without valid ids", counted(spans as usize, "span")),
    }
}

/// The trace that is asked about: the one that is named, or the only one that there is.
fn subject(question: &Question, of: &Loaded, compared: bool) -> Option<tracewell_model::TraceId> {
    if question.trace.is_some() {
        return question.trace;
    }
    let selects = question.filter.is_some() || question.against.is_some() || question.against_start.is_some();
    if selects || compared {
        return None;
    }
    // A large trace fills several blocks.
    let mut only = None;
    for source in of.spans() {
        let block = (source.trace_count() == 1).then(|| source.trace_block(0).ok()).flatten()?;
        let id = block.entries.first()?.trace_id;
        if only.replace(id).is_some_and(|other| other != id) {
            return None;
        }
    }
    only
}

fn sources(of: &Loaded, others: Option<&Loaded>, signal: Signal) -> Vec<Arc<dyn Source>> {
    let held = |loaded: &Loaded| match signal {
        Signal::Traces => loaded.spans(),
        Signal::Logs => loaded.logs(),
    };
    std::iter::once(of).chain(others).flat_map(held).collect()
}

fn of_trace(id: tracewell_model::TraceId, of: &Loaded, others: Option<&Loaded>) -> Result<tracewell_query::Explained> {
    let [spans, logs] = [Signal::Traces, Signal::Logs].map(|signal| sources(of, others, signal));
    let one = gather_with_like(&spans, &logs, &id, &Budget::default())?;
    one.and_then(|one| explain_trace(&one)).ok_or_else(|| anyhow!("there is no trace {id} in these files"))
}

fn of_set(
    question: &Question,
    filter: Option<Query>,
    against: Option<Query>,
    of: &Loaded,
    others: Option<&Loaded>,
) -> Result<tracewell_query::Explained> {
    let budget = Budget::default();
    let every = || parse("{}");
    let asked = SetQuestion {
        filter: filter.map_or_else(every, Ok)?,
        start: question.start.unwrap_or(0),
        end: question.end.unwrap_or(u64::MAX),
        against,
        against_start: question.against_start,
        against_end: question.against_end,
        limit: question.limit,
    };
    let (request, follows) = asked.requests();
    let two = match others {
        None => gather_two(&of.spans(), &of.logs(), &request, follows.as_ref(), &budget)?,
        Some(others) => {
            // Other files are another time: what is said of the first says nothing of theirs.
            let query = asked.against.as_ref().unwrap_or(&asked.filter).clone();
            let elsewhere = GatherRequest {
                start: asked.against_start.unwrap_or(0),
                end: asked.against_end.unwrap_or(u64::MAX),
                limit: asked.limit,
                ..GatherRequest::new(Which::Query(query))
            };
            let mut two = gather_two(&of.spans(), &of.logs(), &request, None, &budget)?;
            two.against =
                gather_two(&others.spans(), &others.logs(), &elsewhere, None, &budget).map(|other| Some(other.of))?;
            two
        }
    };
    Ok(explain_set(&two))
}
