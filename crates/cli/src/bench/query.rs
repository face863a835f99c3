//! `bench query`: asks the ten questions, warm and cold.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::QueryArgs;
use super::api::Api;
use super::cold::drop_page_cache;
use super::process::{self, Server};
use super::questions::{Question, Sample, questions};

/// Questions asked before the clock counts.
const WARM_UP: u32 = 2;

/// Times for one question.
struct Row {
    question: Question,
    results: u64,
    total: Option<u64>,
    warm: Times,
    counting: Option<Times>,
    cold: Option<Times>,
}

/// Times in milliseconds, ascending.
struct Times(Vec<f64>);

impl Times {
    fn new(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut times: Vec<f64> = times.into_iter().map(|time| time.as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    fn median(&self) -> f64 {
        self.0.get(self.0.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn json(&self) -> Value {
        json!({"median": self.median(), "min": self.0.first(), "max": self.0.last()})
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [min, max] = [self.0.first(), self.0.last()].map(|time| time.copied().unwrap_or(f64::NAN));
        write!(f, "{:.1} ({min:.1}–{max:.1})", self.median())
    }
}

/// Runs the command.
pub fn run(args: &QueryArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(args))
}

async fn measure(args: &QueryArgs) -> anyhow::Result<()> {
    let server = args.data_dir.as_deref().map(|folder| Server::start(folder, &args.serve_args)).transpose()?;
    let address =
        server.as_ref().map(|server| &server.addresses.api).or(args.server.as_ref()).context("no server to ask")?;
    let mut api = Api::connect(address).await?;
    let spans = api.spans_stored().await?;
    anyhow::ensure!(spans > 0, "the server holds no spans; fill it with `tracewell bench ingest --data-dir`");
    let sample = Sample::find(&mut api).await?;
    let mut rows = Vec::new();
    for question in questions(&sample) {
        eprintln!("warm: {}", question.name);
        rows.push(warm(&mut api, question, args.repeat).await?);
    }
    let memory = server.as_ref().map(|server| process::memory_peak_bytes(server.pid())).transpose()?;
    let mut startups = Vec::new();
    if let Some(mut running) = server {
        startups.push(running.startup);
        let folder = args.data_dir.as_deref().context("a started server has a data folder")?;
        if !args.warm_only {
            for row in &mut rows {
                eprintln!("cold: {}", row.question.name);
                let mut times = Vec::new();
                for _ in 0..args.repeat {
                    running = restart(running, folder, &args.serve_args)?;
                    startups.push(running.startup);
                    times.push(Api::connect(&running.addresses.api).await?.get(&row.question.path).await?.took);
                }
                row.cold = Some(Times::new(times));
            }
        }
        running.stop()?;
    }
    let startup = Times::new(startups);
    if args.json {
        println!("{:#}", as_json(spans, &rows, &startup, memory));
    } else {
        print_table(spans, &rows, &startup, memory, args.repeat);
    }
    let empty: Vec<_> = rows.iter().filter(|row| row.results == 0).map(|row| row.question.name).collect();
    anyhow::ensure!(empty.is_empty(), "without a result, so not to be trusted: {}", empty.join(", "));
    Ok(())
}

/// Ends the server, drops its files from the page cache and starts it again: nothing is in memory but what starting
/// reads.
fn restart(server: Server, folder: &Path, further: &[String]) -> anyhow::Result<Server> {
    server.stop()?;
    drop_page_cache(folder)?;
    Server::start(folder, further)
}

async fn warm(api: &mut Api, question: Question, repeat: u32) -> anyhow::Result<Row> {
    let (times, answer) = repeated(api, &question.path, repeat).await?;
    let results = question.results(&answer)?;
    let (mut counting, mut total) = (None, None);
    if let Some(path) = &question.counting_path {
        let (times, answer) = repeated(api, path, repeat).await?;
        total = answer["total"].as_u64();
        counting = Some(times);
    }
    Ok(Row { question, results, total, warm: times, counting, cold: None })
}

async fn repeated(api: &mut Api, path: &str, repeat: u32) -> anyhow::Result<(Times, Value)> {
    for _ in 0..WARM_UP {
        api.get(path).await?;
    }
    let mut times = Vec::new();
    let mut body = None;
    for _ in 0..repeat {
        let answer = api.get(path).await?;
        times.push(answer.took);
        body = Some(answer.body);
    }
    let answer = serde_json::from_slice(&body.unwrap_or_default()).with_context(|| format!("{path} is not JSON"))?;
    Ok((Times::new(times), answer))
}

fn as_json(spans: u64, rows: &[Row], startup: &Times, memory: Option<u64>) -> Value {
    let rows = rows.iter().map(|row| {
        json!({
            "name": row.question.name,
            "query": row.question.shown,
            "results": row.results,
            "total": row.total,
            "warmMs": row.warm.json(),
            "warmWithTotalMs": row.counting.as_ref().map(Times::json),
            "coldMs": row.cold.as_ref().map(Times::json),
        })
    });
    json!({"spans": spans, "startupMs": startup.json(), "memoryPeakBytes": memory, "questions": rows.collect::<Vec<_>>()})
}

fn print_table(spans: u64, rows: &[Row], startup: &Times, memory: Option<u64>, repeat: u32) {
    println!("{spans} spans; milliseconds, median of {repeat} (least–most), over HTTP with the whole answer read\n");
    println!("| | question | results | warm | warm, exact total | cold |");
    println!("|---|---|---|---|---|---|");
    for (number, row) in rows.iter().enumerate() {
        let times = |times: &Option<Times>| times.as_ref().map_or("–".to_owned(), Times::to_string);
        let total = row.total.map_or(String::new(), |total| format!(" of {total}"));
        let (counting, cold) = (times(&row.counting), times(&row.cold));
        let name = row.question.name;
        println!("| {} | {name} | {}{total} | {} | {counting} | {cold} |", number + 1, row.results, row.warm);
    }
    println!();
    for (number, row) in rows.iter().enumerate() {
        println!("{}. `{}`", number + 1, row.question.shown);
    }
    println!("\nstart-up {startup} ms");
    if let Some(memory) = memory {
        println!("memory {:.0} MiB at most during the warm questions", memory as f64 / f64::from(1 << 20));
    }
    if rows.iter().any(|row| row.cold.is_some()) {
        println!("cold: the server restarted and its files dropped from the page cache before every single question");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_an_odd_number_of_times() {
        let times = Times::new([9, 1, 5].map(Duration::from_millis));
        assert_eq!(times.median(), 5.0);
        assert_eq!(times.to_string(), "5.0 (1.0–9.0)");
    }
}
