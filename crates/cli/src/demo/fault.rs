//! `tracewell demo fault`: the switches of a running demo, by the API of the server beside it.

use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::args::{FaultArgs, OnOff};
use crate::client::Client;
use crate::{output, runtime};

/// Runs the command.
pub fn run(args: &FaultArgs) -> Result<ExitCode> {
    let client = Client::new(&args.server, None)?;
    let name = args.name.as_str();
    let text = runtime()?.block_on(async {
        match (name, args.state) {
            ("list", None) => Ok(list(&client.get_json("/api/v1/demo").await?)),
            ("list", Some(_)) => bail!("`list` is not a fault; `tracewell demo fault list` shows those that there are"),
            (_, None) => {
                let demo = client.get_json("/api/v1/demo").await?;
                let wanted = name.split('=').next().unwrap_or_default();
                match demo["faults"].as_array().into_iter().flatten().find(|fault| fault["name"] == wanted) {
                    Some(fault) => Ok(described(fault)),
                    None => {
                        bail!("there is no fault `{wanted}`; `tracewell demo fault list` shows those that there are")
                    }
                }
            }
            (_, Some(state)) => {
                let (name, setting) = match name.split_once('=') {
                    Some((name, setting)) => (name, Some(setting)),
                    None => (name, None),
                };
                let body = json!({"on": state == OnOff::On, "setting": setting});
                let path = format!("/api/v1/demo/faults/{}", escaped(name));
                Ok(described(&client.post_json(&path, &body).await?))
            }
        }
    })?;
    output::print(&text);
    Ok(ExitCode::SUCCESS)
}

/// A name as a segment of a path.
fn escaped(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn switched(fault: &Value) -> String {
    match (fault["on"].as_bool(), fault["setting"].as_str()) {
        (Some(true), Some(setting)) => format!("on ({setting})"),
        (Some(true), None) => "on".to_owned(),
        _ => "off".to_owned(),
    }
}

fn list(demo: &Value) -> String {
    let mut lines = format!(
        "{} services in {} instances, {} requests per second\n\n",
        demo["services"], demo["instances"], demo["requestsPerSecond"]
    );
    for fault in demo["faults"].as_array().into_iter().flatten() {
        lines.push_str(&format!("  {:<20} {:<19} {}\n", text(fault, "name"), switched(fault), text(fault, "title")));
    }
    lines.push_str("\n  tracewell demo fault NAME on|off      switches one; without on or off it is described\n");
    lines
}

fn described(fault: &Value) -> String {
    let mut lines = format!("{}: {}\n  {}\n", text(fault, "name"), switched(fault), text(fault, "title"));
    let settings: Vec<&str> = fault["settings"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let rows = [
        ("changes", text(fault, "description").to_owned()),
        ("settings", settings.join(", ")),
        ("look for", text(fault, "look").to_owned()),
        ("query", format!("tracewell query '{}'", text(fault, "query"))),
        ("verdict", text(&fault["verdict"], "sentence").to_owned()),
    ];
    for (title, row) in rows.iter().filter(|(_, row)| !row.is_empty()) {
        lines.push_str(&format!("  {title:<10}{row}\n"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_described_in_lines_that_say_what_to_do() {
        let fault = json!({
            "name": "slow-query", "title": "A slow query", "on": true, "setting": null, "settings": [],
            "description": "an index is gone", "look": "one span", "query": "{ duration > 1s }",
            "verdict": {"sentence": "it is the query"},
        });
        assert_eq!(
            described(&fault),
            "slow-query: on\n  A slow query\n  changes   an index is gone\n  look for  one span\n  \
             query     tracewell query '{ duration > 1s }'\n  verdict   it is the query\n"
        );
        assert_eq!(escaped("a b/c"), "a%20b%2Fc");
    }
}
