//! `tracewell explain`: what happened in a trace or in many, and who is to blame.
//!
//! ```text
//! --server  ─▶ client ─▶ /api/v1/…/explain ─────────────┐
//! --file F… ─▶ read ─▶ heads in memory ─▶ query, analysis ┴─▶ the document ─▶ json, or text for people
//! ```

mod args;
mod files;
mod layout;
mod progress;
mod read;
mod remote;
mod text;

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

pub use args::{ExplainArgs, Format};

use crate::output;
use crate::waterfall::Style;

/// Runs the command.
pub fn run(args: ExplainArgs) -> Result<ExitCode> {
    let question = args.question()?;
    let document: Value = match question.files.is_empty() {
        true => remote::explain(&question)?,
        false => files::explain(&question)?,
    };
    match args.format {
        Format::Json => output::line(&serde_json::to_string_pretty(&document)?),
        Format::Text => output::print(&text::render(&document, Style::of_stdout())),
    }
    Ok(ExitCode::SUCCESS)
}
