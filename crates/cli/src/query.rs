//! `tracewell query`: traces in the terminal.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tracewell_server::time::{format_rfc3339_ms, now_ns};

use crate::args::QueryArgs;
use crate::client::{Client, ServerError};
use crate::table::{Align, counted, duration, render};
use crate::waterfall::{Style, draw};
use crate::{output, runtime, times};

/// Runs the command.
pub fn run(args: QueryArgs) -> Result<ExitCode> {
    let client = Client::new(&args.server, args.tenant.clone())?;
    let words: Vec<&str> = args.query.iter().map(String::as_str).collect();
    let runtime = runtime()?;
    runtime.block_on(async {
        match words.as_slice() {
            ["trace", id] => trace(&client, id, args.json).await,
            ["trace"] => bail!("name the trace: tracewell query trace ID"),
            [] => search(&client, "{}", &args).await,
            [query] => search(&client, query, &args).await,
            [first, ..] => bail!("the query is `{first}` and more; put the whole query into single quotes"),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn search(client: &Client, query: &str, args: &QueryArgs) -> Result<()> {
    let mut parameters = form_urlencoded::Serializer::new(String::new());
    parameters.append_pair("q", query).append_pair("limit", &args.limit.to_string());
    let now_ns = now_ns();
    if let Some(start_ns) = times::since("--since", &args.since, now_ns)? {
        parameters.append_pair("start", &start_ns.to_string());
    }
    if let Some(until) = &args.until {
        parameters.append_pair("end", &times::moment("--until", until, now_ns)?.to_string());
    }
    let answer = client.get_json(&format!("/api/v1/search?{}", parameters.finish())).await;
    let answer = answer.map_err(|error| match error.downcast::<ServerError>() {
        Ok(server) => with_position(server, query),
        Err(error) => error,
    })?;
    if args.json {
        output::line(&serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    output::print(&table(&answer, args));
    Ok(())
}

/// Shows where in the query the error is.
pub fn with_position(error: ServerError, query: &str) -> anyhow::Error {
    let Some(position) = error.position.filter(|position| query.is_char_boundary(*position) && !query.contains('\n'))
    else {
        return error.into();
    };
    let before = query[..position].chars().count();
    let marked = query.get(position..position + error.length).map_or(1, |part| part.chars().count().max(1));
    let picture = format!("{}\n\n  {query}\n  {}{}\n", error.message, " ".repeat(before), "^".repeat(marked));
    anyhow::Error::from(ServerError { message: picture, ..error })
}

fn table(answer: &Value, args: &QueryArgs) -> String {
    let none = Vec::new();
    let traces = answer["traces"].as_array().unwrap_or(&none);
    let mut out = String::new();
    if traces.is_empty() {
        let range = match (args.since.as_str(), &args.until) {
            ("all", None) => String::new(),
            (_, Some(_)) => " in that time".to_owned(),
            (since, None) => format!(" since {since} ago"),
        };
        out.push_str(&format!("no trace matches{range}; look further back with --since 24h or --since all\n"));
    } else {
        let rows: Vec<Vec<String>> = traces.iter().map(row).collect();
        let header = [
            ("start", Align::Left),
            ("trace", Align::Left),
            ("duration", Align::Right),
            ("spans", Align::Right),
            ("errors", Align::Right),
            ("matched", Align::Right),
            ("root", Align::Left),
        ];
        out.push_str(&render(&header, &rows));
        out.push_str(&format!("\n{}", count(answer, traces.len())));
        if let Some(id) = traces[0]["traceId"].as_str() {
            out.push_str(&format!("; draw one: tracewell query trace {id}"));
        }
        out.push('\n');
    }
    for warning in answer["warnings"].as_array().unwrap_or(&none).iter().filter_map(Value::as_str) {
        out.push_str(&format!("warning: {warning}\n"));
    }
    out
}

fn row(trace: &Value) -> Vec<String> {
    let number = |name: &str| trace[name].as_u64().unwrap_or(0);
    let text = |name: &str| trace[name].as_str().unwrap_or_default();
    let missing = if trace["rootMissing"].as_bool() == Some(true) { " (root missing)" } else { "" };
    let start = text("startUnixNano").parse().unwrap_or(0);
    vec![
        format_rfc3339_ms(start).replace('T', " ").trim_end_matches('Z').to_owned(),
        text("traceId").to_owned(),
        duration(number("durationNs")),
        number("spanCount").to_string(),
        number("errorCount").to_string(),
        number("matchedSpans").to_string(),
        format!("{}: {}{missing}", text("rootService"), text("rootName")),
    ]
}

fn count(answer: &Value, shown: usize) -> String {
    let elapsed = answer["stats"]["elapsedMs"].as_f64().unwrap_or(0.0);
    match answer["total"].as_u64() {
        Some(total) => {
            let relation = if answer["totalRelation"] == "gte" { "at least " } else { "" };
            format!("{shown} of {relation}{}, {elapsed:.1} ms", counted(total as usize, "trace"))
        }
        None => format!("{}, {elapsed:.1} ms", counted(shown, "trace")),
    }
}

async fn trace(client: &Client, id: &str, json: bool) -> Result<()> {
    let id = id.trim();
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("`{id}` is not a trace id; it has up to 32 hexadecimal digits");
    }
    let path = format!("/api/v1/traces/{id}");
    if json {
        output::line(&serde_json::to_string_pretty(&client.get_json(&path).await?)?);
        return Ok(());
    }
    let answer = client.send("GET", &path, &[("accept", "application/protobuf")], Vec::new()).await?;
    if !answer.status.is_success() {
        // The error, in the server's words.
        client.get_json(&path).await?;
        bail!("{} answered {}", client.url(), answer.status);
    }
    let spans = tracewell_wire::otlp::decode_traces(&answer.body).context("the answer is not a trace")?;
    output::print(&draw(&spans, Style::of_stdout()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_point_into_the_query() {
        let error = ServerError { message: "unknown field".into(), position: Some(2), length: 4, hint: None };
        let text = with_position(error, "{ nmae = 1 }").to_string();
        assert_eq!(text, "unknown field\n\n  { nmae = 1 }\n    ^^^^\n");
    }
}
