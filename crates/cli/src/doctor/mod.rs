//! `tracewell doctor`: looks at everything that has to be right, and says what to do where it is not.
//!
//! ```text
//! configuration → ports → disk → clock → server → receivers → problems that services report → a span sent through
//! ```
//!
//! Each step is one module that returns findings; this one prints them.

mod disk;
mod ports;
mod problems;
mod server;
mod span;

use std::process::ExitCode;

use anyhow::Result;
use tracewell_server::config::Config;

use crate::args::DoctorArgs;
use crate::client::Client;
use crate::{output, runtime, settings};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Good,
    /// Works, but look at it.
    Warning,
    /// Must be put right.
    Bad,
    /// Not tried.
    Skipped,
}

/// What a check found.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What was checked.
    pub subject: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen.
    pub seen: String,
    /// What to do, if anything.
    pub advice: Option<String>,
}

impl Finding {
    fn new(subject: &str, outcome: Outcome, seen: impl Into<String>) -> Self {
        Self { subject: subject.to_owned(), outcome, seen: seen.into(), advice: None }
    }

    fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// Runs the command.
pub fn run(args: DoctorArgs) -> Result<ExitCode> {
    let mut findings = Vec::new();
    let config = match settings::load(&args.config) {
        Ok(loaded) => {
            let file = loaded.file.map_or("no file".to_owned(), |file| file.display().to_string());
            findings.push(Finding::new("configuration", Outcome::Good, format!("valid ({file})")));
            loaded.config
        }
        Err(error) => {
            findings.push(Finding::new("configuration", Outcome::Bad, error.to_string()).advice(
                "correct it; `tracewell config default` prints a documented file. The checks go on with the defaults",
            ));
            Config::default()
        }
    };
    let local = args.server.is_none();
    let address = args.server.clone().unwrap_or_else(|| format!("http://{}", config.http.listen));
    let client = Client::new(&address, None)?;
    runtime()?.block_on(async {
        let status = server::status(&client).await;
        let running = status.is_ok();
        if local {
            findings.extend(ports::check(&config).await);
            findings.extend(disk::check(&config, running));
        }
        findings.push(server::clock(status.as_ref().ok()));
        findings.extend(server::check(&client, &status).await);
        if running {
            findings.extend(problems::check(&client).await);
        }
        let can_send = running && !args.no_span;
        findings.extend(match status.as_ref().ok().filter(|_| can_send) {
            Some(status) => span::check(&client, status).await,
            None if running => vec![Finding::new("test span", Outcome::Skipped, "not sent (--no-span)")],
            None => vec![Finding::new("test span", Outcome::Skipped, "not sent: no server to send it to")],
        });
    });
    output::print(&draw(&findings));
    let bad = findings.iter().any(|finding| finding.outcome == Outcome::Bad);
    Ok(ExitCode::from(u8::from(bad)))
}

fn draw(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.subject.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for finding in findings {
        let mark = match finding.outcome {
            Outcome::Good => "✓",
            Outcome::Warning => "!",
            Outcome::Bad => "✗",
            Outcome::Skipped => "–",
        };
        let mut lines = finding.seen.lines();
        let first = lines.next().unwrap_or_default();
        out.push_str(&format!("{mark} {:<width$}  {first}\n", finding.subject));
        lines.for_each(|line| out.push_str(&format!("  {:<width$}  {line}\n", "")));
        for advice in finding.advice.iter().flat_map(|advice| advice.lines()) {
            out.push_str(&format!("  {:<width$}  → {advice}\n", ""));
        }
    }
    let count = |outcome| findings.iter().filter(|finding| finding.outcome == outcome).count();
    let (bad, warnings) = (count(Outcome::Bad), count(Outcome::Warning));
    out.push_str(&match (bad, warnings) {
        (0, 0) => "\neverything that was checked is well\n".to_owned(),
        (0, _) => format!("\nit works; {warnings} to look at (!)\n"),
        _ => format!("\n{bad} to put right (✗), {warnings} to look at (!)\n"),
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_a_table_with_advice_below() {
        let findings = [
            Finding::new("port 4317", Outcome::Bad, "taken by another program").advice("end it"),
            Finding::new("disk", Outcome::Good, "12 GiB free"),
        ];
        let expected = "✗ port 4317  taken by another program\n             → end it\n✓ disk       12 GiB free\n\n\
                        1 to put right (✗), 0 to look at (!)\n";
        assert_eq!(draw(&findings), expected);
    }
}
