//! Asking a server.

use anyhow::{Result, bail};
use serde_json::Value;

use super::args::Question;
use crate::client::{Client, ServerError};
use crate::query::with_position;
use crate::runtime;

/// The server's answer.
pub fn explain(question: &Question) -> Result<Value> {
    let client = Client::new(&question.server, question.tenant.clone())?;
    let path = match &question.trace {
        Some(trace) => format!("/api/v1/traces/{trace}/explain"),
        None => format!("/api/v1/explain?{}", parameters(question)),
    };
    let answer = runtime()?.block_on(client.get_json(&path));
    let answer = answer.map_err(|error| match error.downcast::<ServerError>() {
        Ok(server) => located(server, question),
        Err(error) => error,
    })?;
    if !answer["verdict"].is_object() {
        bail!("{} is not a server that explains; update it", client.url());
    }
    Ok(answer)
}

/// Shows where in the query the error is; the server names the parameter that is wrong where there are two.
fn located(error: ServerError, question: &Question) -> anyhow::Error {
    let of = match (&question.filter, &question.against) {
        (_, Some(against)) if error.message.starts_with("`against`") => against,
        (Some(filter), _) => filter,
        (None, Some(against)) => against,
        (None, None) => return error.into(),
    };
    with_position(error, of)
}

fn parameters(question: &Question) -> String {
    let mut parameters = form_urlencoded::Serializer::new(String::new());
    for (name, text) in [("where", &question.filter), ("against", &question.against)] {
        if let Some(text) = text {
            parameters.append_pair(name, text);
        }
    }
    for (name, moment) in [
        ("start", question.start),
        ("end", question.end),
        ("againstStart", question.against_start),
        ("againstEnd", question.against_end),
    ] {
        if let Some(moment) = moment {
            parameters.append_pair(name, &moment.to_string());
        }
    }
    parameters.append_pair("limit", &question.limit.to_string());
    parameters.finish()
}
