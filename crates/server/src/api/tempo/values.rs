//! Names of tags, and their values.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use tracewell_query::{AttributeScope, Budget};

use super::TempoError;
use super::tags::{INTRINSICS, SCOPES, Tag};
use crate::api::native::{scope, scope_name};
use crate::engine::{self, ValuesOf};
use crate::http::error::ApiError;
use crate::http::params::{Params, Tenant};
use crate::state::App;

/// Values at most where the client does not say.
const VALUES_DEFAULT: usize = 1000;

/// What the client wants of names or values.
struct Wanted {
    range: (u64, u64),
    limit: usize,
}

fn wanted(params: &Params) -> Result<Wanted, ApiError> {
    let limit = params.number("limit", VALUES_DEFAULT, 0..=1_000_000)?;
    Ok(Wanted { range: params.time_range()?, limit: if limit == 0 { VALUES_DEFAULT } else { limit } })
}

fn metrics() -> Value {
    json!({"completedJobs": 1, "totalJobs": 1})
}

/// Which scopes a client asks for: `None` for all, `intrinsic` among them.
fn wanted_scope(params: &Params) -> Result<Option<String>, ApiError> {
    match params.text("scope") {
        None | Some("none" | "all") => Ok(None),
        Some(name) if SCOPES.contains(&name) || name == "intrinsic" => Ok(Some(name.to_owned())),
        Some(name) => Err(ApiError::invalid_parameter(format!("invalid scope: {name}"))),
    }
}

/// Keys by the name of their scope, each sorted.
fn keys(
    app: &App,
    tenant: &Tenant,
    wanted: &Wanted,
    budget: &Budget,
) -> Result<BTreeMap<&'static str, BTreeSet<String>>, ApiError> {
    let mut keys: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
    for key in engine::attribute_keys(app, tenant, None, wanted.range, budget)?.items {
        let of_scope = keys.entry(scope_name(key.scope)).or_default();
        if of_scope.len() < wanted.limit {
            of_scope.insert(key.key);
        }
    }
    Ok(keys)
}

/// `GET /api/search/tags`
pub(super) async fn tags_v1(State(app): State<App>, params: Params, tenant: Tenant) -> Result<Json<Value>, TempoError> {
    let (wanted, only) = (wanted(&params)?, wanted_scope(&params)?);
    let work = app.clone();
    let names = app.queries.run(move |budget| {
        let mut names: BTreeSet<String> = BTreeSet::new();
        for (scope, keys) in keys(&work, &tenant, &wanted, budget)? {
            if only.as_deref().is_none_or(|only| only == scope) {
                names.extend(keys);
            }
        }
        if only.as_deref() == Some("intrinsic") {
            names.extend(INTRINSICS.iter().map(|name| (*name).to_owned()));
        }
        Ok(Json(json!({"tagNames": names, "metrics": metrics()})))
    });
    Ok(names.await?)
}

/// `GET /api/v2/search/tags`
pub(super) async fn tags_v2(State(app): State<App>, params: Params, tenant: Tenant) -> Result<Json<Value>, TempoError> {
    let (wanted, only) = (wanted(&params)?, wanted_scope(&params)?);
    let work = app.clone();
    let scopes = app.queries.run(move |budget| {
        let mut keys = keys(&work, &tenant, &wanted, budget)?;
        keys.insert("intrinsic", INTRINSICS.iter().map(|name| (*name).to_owned()).collect());
        let scopes = keys.into_iter().filter(|(scope, _)| only.as_deref().is_none_or(|only| only == *scope));
        let scopes: Vec<Value> = scopes.map(|(scope, tags)| json!({"name": scope, "tags": tags})).collect();
        Ok(Json(json!({"scopes": scopes, "metrics": metrics()})))
    });
    Ok(scopes.await?)
}

/// `GET /api/search/tag/{tag}/values`
pub(super) async fn values_v1(
    State(app): State<App>,
    Path(tag): Path<String>,
    params: Params,
    tenant: Tenant,
) -> Result<Json<Value>, TempoError> {
    let wanted = wanted(&params)?;
    let work = app.clone();
    let values = app.queries.run(move |budget| {
        let values = values(&work, &tenant, &Tag::parse(&tag), &wanted, budget)?;
        let texts: BTreeSet<String> = values.into_iter().map(|(_, value)| value).collect();
        Ok(Json(json!({"tagValues": texts, "metrics": metrics()})))
    });
    Ok(values.await?)
}

/// `GET /api/v2/search/tag/{tag}/values`
pub(super) async fn values_v2(
    State(app): State<App>,
    Path(tag): Path<String>,
    params: Params,
    tenant: Tenant,
) -> Result<Json<Value>, TempoError> {
    let wanted = wanted(&params)?;
    let work = app.clone();
    let values = app.queries.run(move |budget| {
        let values = values(&work, &tenant, &Tag::parse(&tag), &wanted, budget)?;
        let values: Vec<Value> =
            values.into_iter().map(|(kind, value)| json!({"type": kind, "value": value})).collect();
        Ok(Json(json!({"tagValues": values, "metrics": metrics()})))
    });
    Ok(values.await?)
}

/// Type (as Tempo names it) and text of each value, sorted.
fn values(
    app: &App,
    tenant: &Tenant,
    tag: &Tag,
    wanted: &Wanted,
    budget: &Budget,
) -> Result<BTreeSet<(&'static str, String)>, ApiError> {
    let keywords = |words: &[&str]| words.iter().map(|word| ("keyword", (*word).to_owned())).collect();
    let mut found = BTreeSet::new();
    let scopes = match tag {
        Tag::Status => return Ok(keywords(&["error", "ok", "unset"])),
        Tag::Kind => return Ok(keywords(&["client", "consumer", "internal", "producer", "server", "unspecified"])),
        Tag::Name | Tag::RootName => {
            let operations = engine::operations(app, tenant, None, wanted.range, budget)?.items;
            // Every root's name is a span's name; a few more are no harm where values are offered for choice.
            found.extend(operations.into_iter().map(|operation| ("string", operation.name)));
            return Ok(first(found, wanted.limit));
        }
        Tag::RootService => {
            let services = engine::services(app, tenant, wanted.range, budget)?.items;
            found.extend(services.into_iter().map(|service| ("string", service.name)));
            return Ok(first(found, wanted.limit));
        }
        Tag::Unlisted => return Ok(found),
        Tag::Attribute(name, _) => scope(name).into_iter().collect(),
        Tag::Anywhere(_) => vec![AttributeScope::Span, AttributeScope::Resource],
    };
    let (Tag::Attribute(_, key) | Tag::Anywhere(key)) = tag else { return Ok(found) };
    for scope in scopes {
        let (key, prefix) = (key.clone(), String::new());
        let of = ValuesOf { scope, key, prefix, limit: wanted.limit, range: wanted.range };
        let values = engine::attribute_values(app, tenant, &of, budget)?;
        found.extend(values.items.into_iter().map(|value| (tempo_type(value.kind), value.value)));
    }
    Ok(first(found, wanted.limit))
}

fn first(values: BTreeSet<(&'static str, String)>, limit: usize) -> BTreeSet<(&'static str, String)> {
    values.into_iter().take(limit).collect()
}

/// Tempo calls a double `float`; the other names agree.
fn tempo_type(kind: &'static str) -> &'static str {
    if kind == "double" { "float" } else { kind }
}
