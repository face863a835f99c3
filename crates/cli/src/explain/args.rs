//! What `tracewell explain` can be asked.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use tracewell_model::TraceId;
use tracewell_server::time::now_ns;

use crate::args::DEFAULT_SERVER;
use crate::times;

/// Traces of each set at most.
const LIMIT: u32 = 10_000;

/// `explain`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    tracewell explain 4bf92f3577b34da6a3ce929d0e0e4736          one trace, compared with others like it\n  \
    tracewell explain                                           the last hour against the hour before\n  \
    tracewell explain --where '{ resource.service.name = \"checkout\" && duration > 1s }' --against '{ }'\n  \
    tracewell explain --where '{ resource.service.version = \"3.2\" }' --against '{ resource.service.version = \"3.1\" }'\n  \
    tracewell explain --since 15m --against-since 24h --against-until 23h45m\n\n  \
    tracewell explain --file trace.json                         a file with one trace, without any server\n  \
    tracewell explain --file now.json.zst --against-file normal.json.zst\n  \
    tracewell explain --file all.json --where '{ duration > 1s }' --against '{ duration < 1s }'\n  \
    zcat spans.json.gz | tracewell explain --file - logs.json\n\n\
    Without --against, traces are compared with those that --where selects in the time of the same length before;\n\
    a trace is compared with others that begin with the same operation. Files may hold OTLP JSON (spans and logs, one\n\
    request a line, in one file or several), OTLP protobuf, Tempo JSON or Jaeger JSON; plain, zstd or gzip.\n\n\
    Ends with 0 when there is an answer, also when it is that nothing can be said; with 1 when something went wrong;\n\
    with 2 when the command line is not understood. The JSON is described in docs/explain.md.")]
pub struct ExplainArgs {
    /// The trace; many traces without it.
    #[arg(value_name = "TRACE_ID", conflicts_with_all = ["filter", "against", "until", "since", "against_since", "against_until"])]
    pub trace: Option<String>,
    /// The traces, as TraceQL; every trace without it.
    #[arg(long = "where", value_name = "TRACEQL")]
    pub filter: Option<String>,
    /// What to compare them with.
    #[arg(long, value_name = "TRACEQL")]
    pub against: Option<String>,
    /// From when on, or how far back; `all` for everything [default: 1h; of files all].
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Until when [default: now].
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// The same for what they are compared with [default: the time of the same length before].
    #[arg(long, value_name = "TIME")]
    pub against_since: Option<String>,
    /// See --against-since.
    #[arg(long, value_name = "TIME")]
    pub against_until: Option<String>,
    /// Read these files (`-` is standard input) and ask no server.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub file: Vec<PathBuf>,
    /// Compare with the traces of these files.
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "file")]
    pub against_file: Vec<PathBuf>,
    /// Traces of each kind at most; a fair sample where there are more.
    #[arg(long, value_name = "N", default_value_t = LIMIT, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub limit: u32,
    /// What to print.
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// The server.
    #[arg(long, value_name = "URL", env = "TRACEWELL_SERVER", default_value = DEFAULT_SERVER)]
    pub server: String,
    /// Tenant.
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
}

/// What to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// The document of docs/explain.md.
    Json,
}

/// The question, checked. Times are nanoseconds since the epoch.
#[derive(Debug, Clone)]
pub struct Question {
    pub trace: Option<TraceId>,
    pub filter: Option<String>,
    pub against: Option<String>,
    /// `Some(0)` for all of time.
    pub start: Option<u64>,
    pub end: Option<u64>,
    pub against_start: Option<u64>,
    pub against_end: Option<u64>,
    pub limit: usize,
    pub files: Vec<PathBuf>,
    pub against_files: Vec<PathBuf>,
    pub server: String,
    pub tenant: Option<String>,
}

impl ExplainArgs {
    /// Checks everything that can be checked before work begins.
    pub fn question(&self) -> Result<Question> {
        let now_ns = now_ns();
        let moment = |flag: &str, text: &Option<String>| match text.as_deref() {
            None => Ok(None),
            Some("all") => Ok(Some(0)),
            Some(text) => times::moment(flag, text, now_ns).map(Some),
        };
        let (mut files, mut against_files) = (self.file.clone(), self.against_file.clone());
        let mut trace = self.trace.as_deref().map(trace_id).transpose()?;
        // A list of files takes all words behind it, so also the trace.
        for list in [&mut files, &mut against_files] {
            if let Some(last) = list.last()
                && trace.is_none()
                && list.len() > 1
                && !last.exists()
                && let Some(id) = last.to_str().and_then(|text| trace_id(text).ok())
            {
                trace = Some(id);
                list.pop();
            }
        }
        if [&files, &against_files].into_iter().flatten().filter(|file| file.as_os_str() == "-").count() > 1 {
            bail!("standard input (-) can be read once");
        }
        let question = Question {
            trace,
            filter: self.filter.clone(),
            against: self.against.clone(),
            start: moment("--since", &self.since)?,
            end: moment("--until", &self.until)?,
            against_start: moment("--against-since", &self.against_since)?,
            against_end: moment("--against-until", &self.against_until)?,
            limit: self.limit as usize,
            files,
            against_files,
            server: self.server.clone(),
            tenant: self.tenant.clone(),
        };
        for (start, end, flags) in [
            (question.start, question.end, "--since is after --until"),
            (question.against_start, question.against_end, "--against-since is after --against-until"),
        ] {
            if start.unwrap_or(0) > end.unwrap_or(u64::MAX) {
                bail!("{flags}");
            }
        }
        if question.trace.is_some() && (question.filter.is_some() || question.against.is_some()) {
            bail!("name a trace, or select traces with --where and --against, not both");
        }
        Ok(question)
    }
}

/// Reads a trace id; leading zeros may be missing.
fn trace_id(text: &str) -> Result<TraceId> {
    let text = text.trim();
    let valid = (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match format!("{text:0>32}").parse() {
        Ok(id) if valid => Ok(id),
        _ => bail!("`{text}` is not a trace id; it has up to 32 hexadecimal digits"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: ExplainArgs,
    }

    fn question(words: &[&str]) -> Result<Question> {
        Command::try_parse_from([&["explain"], words].concat())?.args.question()
    }

    #[test]
    fn what_is_asked_is_understood() {
        let asked = question(&["4BF92F3577b34da6a3ce929d0e0e4736"]).unwrap();
        assert_eq!(asked.trace.unwrap().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let asked = question(&["--file", "a.json", "b.json", "abc", "--against-file", "c.json"]).unwrap();
        assert_eq!((asked.files.len(), asked.against_files.len()), (2, 1));
        assert!(asked.trace.unwrap().to_string().ends_with("0abc"));
        let asked = question(&["--where", "{}", "--since", "1795343880000000000", "--until", "1795343881"]).unwrap();
        assert_eq!((asked.start, asked.end), (Some(1_795_343_880_000_000_000), Some(1_795_343_881_000_000_000)));
        assert_eq!(question(&["--since", "all"]).unwrap().start, Some(0));
        assert_eq!(question(&["--file", "abc"]).unwrap().trace, None, "a file may be called so");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            &["xyz"][..],
            &["abc", "--where", "{}"],
            &["--file", "a.json", "abc", "--where", "{}"],
            &["--against-file", "a.json"],
            &["--file", "-", "--against-file", "-"],
            &["--since", "5m", "--until", "10m"],
            &["--since", "soon"],
            &["--limit", "0"],
            &["--format", "xml"],
        ] {
            assert!(question(words).is_err(), "{words:?}");
        }
    }
}
