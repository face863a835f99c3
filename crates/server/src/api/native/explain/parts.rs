//! One analysis of a set of traces by itself.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tracewell_analysis::{Traces, blame, broken, outliers, patterns, rank, skew};
use tracewell_query::{Counted, SetQuestion, warnings};

use super::question::{self, ONE, TWO};
use crate::engine;
use crate::http::error::ApiError;
use crate::http::params::{Params, Tenant};
use crate::state::App;

pub(super) async fn patterns(state: State<App>, params: Params, tenant: Tenant) -> Result<Json<Value>, ApiError> {
    one(state, params, tenant, |traces| field("patterns", &patterns::find(traces))).await
}

pub(super) async fn ranking(state: State<App>, params: Params, tenant: Tenant) -> Result<Json<Value>, ApiError> {
    two(state, params, tenant, |now, normal| field("ranking", &rank::rank(normal, now))).await
}

pub(super) async fn broken(state: State<App>, params: Params, tenant: Tenant) -> Result<Json<Value>, ApiError> {
    one(state, params, tenant, |traces| field("broken", &broken::find(traces, &broken::Options::default()))).await
}

pub(super) async fn clocks(state: State<App>, params: Params, tenant: Tenant) -> Result<Json<Value>, ApiError> {
    one(state, params, tenant, |traces| {
        let clocks = skew::estimate(traces, &skew::Options::default());
        let mut document = field("clock_offsets", &clocks.offsets())?;
        document.insert("samples".to_owned(), json!(clocks.samples));
        document.insert("violations_before".to_owned(), json!(clocks.violations_before));
        document.insert("violations_after".to_owned(), json!(clocks.violations_after));
        Ok(document)
    })
    .await
}

/// Against another set, or, where no other is asked for, the slow of the set against its rest.
pub(super) async fn outliers(state: State<App>, params: Params, tenant: Tenant) -> Result<Json<Value>, ApiError> {
    params.only(&TWO)?;
    let compared = ["against", "againstStart", "againstEnd"].iter().any(|name| params.text(name).is_some());
    let question = question::read(&params)?;
    answer(state, tenant, question, compared, move |of, against| {
        let found = match compared {
            true => outliers::find(of, against, &outliers::Options::default()),
            false => outliers::find_slow(of),
        };
        field("outliers", &found)
    })
    .await
}

/// Where the time goes; and, compared with another set, what changed.
pub(super) async fn blame(state: State<App>, params: Params, tenant: Tenant) -> Result<Json<Value>, ApiError> {
    params.only(&TWO)?;
    let question = question::read(&params)?;
    answer(state, tenant, question, true, |of, against| {
        let mut document = field("blame", &blame::of(of))?;
        let diff = (!against.traces().is_empty()).then(|| blame::diff(against, of));
        document.insert("diff".to_owned(), serde_json::to_value(diff)?);
        Ok(document)
    })
    .await
}

/// A document with one field.
fn field(name: &str, value: &impl Serialize) -> Result<Map<String, Value>, serde_json::Error> {
    Ok(Map::from_iter([(name.to_owned(), serde_json::to_value(value)?)]))
}

type Found = Result<Map<String, Value>, serde_json::Error>;

/// An analysis of one set.
async fn one(
    state: State<App>,
    params: Params,
    tenant: Tenant,
    analyse: impl FnOnce(&Traces) -> Found + Send + 'static,
) -> Result<Json<Value>, ApiError> {
    params.only(&ONE)?;
    let question = question::read(&params)?;
    answer(state, tenant, question, false, move |of, _| analyse(of)).await
}

/// An analysis of a set against another. Where there is no other, it is empty.
async fn two(
    state: State<App>,
    params: Params,
    tenant: Tenant,
    analyse: impl FnOnce(&Traces, &Traces) -> Found + Send + 'static,
) -> Result<Json<Value>, ApiError> {
    params.only(&TWO)?;
    let question = question::read(&params)?;
    answer(state, tenant, question, true, analyse).await
}

async fn answer(
    State(app): State<App>,
    tenant: Tenant,
    question: SetQuestion,
    compared: bool,
    analyse: impl FnOnce(&Traces, &Traces) -> Found + Send + 'static,
) -> Result<Json<Value>, ApiError> {
    let work = app.clone();
    app.queries
        .run(move |budget| {
            let two = match compared {
                true => engine::gather_two(&work, &tenant, &question, budget)?,
                false => engine::gather_one(&work, &tenant, &question, budget)?,
            };
            let none = Traces::default();
            let against = two.against.as_ref().map_or(&none, |against| &against.traces);
            let mut document = analyse(&two.of.traces, against)
                .map_err(|error| ApiError::internal(format!("an analysis could not be written: {error}")))?;
            document.insert("gathered".to_owned(), json!(Counted::from(&two.of)));
            if compared {
                document.insert("against".to_owned(), json!(two.against.as_ref().map(Counted::from)));
            }
            document.insert("warnings".to_owned(), json!(warnings(&two.of, two.against.as_ref())));
            Ok(Json(Value::Object(document)))
        })
        .await
}
