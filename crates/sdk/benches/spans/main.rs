//! What a span costs the thread that makes it, beside `tracing-opentelemetry`:
//!
//! ```text
//! cargo bench -p tracewell-sdk --bench spans
//! ```
//!
//! Each figure is CPU time of the calling thread (`CLOCK_THREAD_CPUTIME_ID`) per span, measured in bursts
//! with other work between them, as a service at some fifty thousand spans a second would make them. The
//! exporter runs all the while: ours encodes OTLP and sends it over loopback to a receiver that
//! answers at once, the one of `tracing-opentelemetry` hands its batches to an exporter that throws them away.
//! What a queue dropped is printed: a figure with drops would be a lie. A span is made, entered, left and
//! closed; everything is subtracted that the loop itself costs.
//!
//! Each stack is measured in processes of its own, as the global default that it is in an application, and the
//! stacks take turns. The median is told, with the best beside it: other programs on the machine only ever add.

mod sink;
mod stacks;

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tracing::{Span, info, info_span};

use stacks::{Sampling, Stack};

/// Bursts of one process.
const ROUNDS: usize = 150;

/// Processes of one figure.
const TURNS: usize = 5;

/// In the environment of a process that measures one cell of the table.
const CELL: &str = "TRACEWELL_BENCH_CELL";

/// Spans in a burst.
const BURST: u32 = 256;

/// How long the application does something else between two bursts.
const BETWEEN: Duration = Duration::from_millis(4);

/// Memory that it goes through meanwhile.
const OTHER_WORK_BYTES: usize = 48 << 10;

/// CPU nanoseconds of this thread.
fn thread_cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// What the application does between two bursts: it goes through memory of its own, as large as the first cache.
/// A thread that slept instead would be measured waking up.
fn elsewhere(memory: &mut [u64]) {
    let begin = Instant::now();
    while begin.elapsed() < BETWEEN {
        for word in memory.iter_mut() {
            *word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }
    std::hint::black_box(memory);
}

/// Median and best nanoseconds per span.
struct Figure {
    median: f64,
    best: f64,
}

/// Runs `work` in bursts; `spans` is how many spans one call makes.
fn measure(spans: u32, work: &dyn Fn(u32)) -> Figure {
    let mut memory = vec![1u64; OTHER_WORK_BYTES / 8];
    (0..BURST * 20).for_each(work);
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begin = thread_cpu_ns();
            (0..BURST).for_each(work);
            let taken = thread_cpu_ns() - begin;
            elsewhere(&mut memory);
            taken as f64 / f64::from(BURST * spans)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    Figure { median: rounds[rounds.len() / 2], best: rounds[0] }
}

/// The span of every figure: five attributes as an HTTP client sets them.
fn five(number: u32) -> Span {
    info_span!(
        "GET /cart/{id}",
        http.request.method = "GET",
        server.address = "cart.shop.internal",
        server.port = 8080,
        cart.items = number,
        cache.hit = true,
    )
}

/// One line of the table: the work under a stack with that sampling.
struct Case {
    name: &'static str,
    sampling: Sampling,
    /// Spans that one call of `work` makes.
    spans: u32,
    /// Whether a root is open around all of it.
    inside: bool,
    threads: usize,
    work: fn(u32),
}

fn single(number: u32) {
    five(number).in_scope(|| ());
}

fn pair(number: u32) {
    five(number).in_scope(|| five(number).in_scope(|| ()));
}

fn with_event(number: u32) {
    five(number).in_scope(|| info!(number, "loaded"));
}

const CASES: &[Case] = &[
    Case { name: "sampled root", sampling: Sampling::On, spans: 1, inside: false, threads: 1, work: single },
    Case { name: "sampled child", sampling: Sampling::On, spans: 1, inside: true, threads: 1, work: single },
    Case { name: "sampled root and child", sampling: Sampling::On, spans: 2, inside: false, threads: 1, work: pair },
    Case {
        name: "sampled root, one event",
        sampling: Sampling::On,
        spans: 1,
        inside: false,
        threads: 1,
        work: with_event,
    },
    Case { name: "sampled root, 2 threads", sampling: Sampling::On, spans: 1, inside: false, threads: 2, work: single },
    Case { name: "unsampled root", sampling: Sampling::Off, spans: 1, inside: false, threads: 1, work: single },
    Case { name: "unsampled child", sampling: Sampling::Off, spans: 1, inside: true, threads: 1, work: single },
    Case {
        name: "below an unsampled remote parent",
        sampling: Sampling::RemoteOff,
        spans: 1,
        inside: true,
        threads: 1,
        work: single,
    },
    Case {
        name: "unsampled root, 2 threads",
        sampling: Sampling::Off,
        spans: 1,
        inside: false,
        threads: 2,
        work: single,
    },
];

fn run(case: &Case, stack: &Stack) -> Figure {
    let thread = || {
        let around = case.inside.then(|| {
            let span = info_span!("around");
            stack.claim(&span);
            span.entered()
        });
        let figure = measure(case.spans, &case.work);
        drop(around);
        figure
    };
    if case.threads == 1 {
        return thread();
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..case.threads).map(|_| scope.spawn(thread)).collect();
        let figures: Vec<Figure> = threads.into_iter().filter_map(|thread| thread.join().ok()).collect();
        let worst = |pick: fn(&Figure) -> f64| figures.iter().map(pick).fold(0.0, f64::max);
        Figure { median: worst(|figure| figure.median), best: worst(|figure| figure.best) }
    })
}

/// The process of one cell: `CELL` names the line, the column and the sink.
fn measure_cell(cell: &str) -> Option<()> {
    let mut parts = cell.split(' ');
    let case = CASES.get(parts.next()?.parse::<usize>().ok()?)?;
    let (_, make) = stacks::ALL.get(parts.next()?.parse::<usize>().ok()?)?;
    let stack = make(case.sampling, parts.next()?.parse().ok()?);
    // As an application has it: for the whole process, not for one thread.
    tracing::dispatcher::set_global_default(stack.dispatch.clone()).ok()?;
    let figure = run(case, &stack);
    println!("{} {} {}", figure.median, figure.best, stack.lost().unwrap_or_default());
    Some(())
}

/// Starts the process of a cell: its figure, and how many spans did not get into the queue.
fn cell(case: usize, stack: usize, sink: SocketAddr) -> Option<(Figure, u64)> {
    let mut command = Command::new(std::env::current_exe().ok()?);
    let output = command.env(CELL, format!("{case} {stack} {sink}")).stderr(Stdio::inherit()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.lines().last()?.split(' ').map(str::parse::<f64>);
    let (median, best) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some((Figure { median, best }, numbers.next()?.ok()? as u64))
}

fn main() {
    if let Ok(cell) = std::env::var(CELL) {
        measure_cell(&cell).expect("a line, a column and an address");
        return;
    }
    // `cargo bench … -- 'unsampled root / TraceL'` runs the cells whose "line / column" holds that.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let sink = sink::Sink::start();
    println!("CPU nanoseconds of the calling thread per span: median (best) of {TURNS} × {ROUNDS} bursts of {BURST}\n");
    print!("| {:<34} |", "");
    let columns = stacks::ALL;
    columns.iter().for_each(|(name, _)| print!(" {name:>24} |"));
    println!("\n|{}|{}", "-".repeat(36), format!("{}:|", "-".repeat(25)).repeat(columns.len()));
    let mut notes = Vec::new();
    for (line, case) in CASES.iter().enumerate() {
        let chosen: Vec<bool> = columns.iter().map(|(name, _)| chosen(&format!("{} / {name}", case.name))).collect();
        if !chosen.contains(&true) {
            continue;
        }
        // The columns take turns, so that what else the machine does hits all of them.
        let mut figures: Vec<Vec<Figure>> = columns.iter().map(|_| Vec::new()).collect();
        for _ in 0..TURNS {
            for (column, figures) in figures.iter_mut().enumerate().filter(|(column, _)| chosen[*column]) {
                let (figure, lost) = cell(line, column, sink.address).expect("a process that measures");
                figures.push(figure);
                if lost > 0 {
                    notes
                        .push(format!("{}, {}: {lost} spans did not get into the queue", columns[column].0, case.name));
                }
            }
        }
        print!("| {:<34} |", case.name);
        for mut figures in figures {
            figures.sort_by(|one, other| one.median.total_cmp(&other.median));
            let best = figures.iter().map(|figure| figure.best).fold(f64::INFINITY, f64::min);
            match figures.get(figures.len() / 2) {
                Some(middle) => print!(" {:>24} |", format!("{:.0} ({best:.0})", middle.median)),
                None => print!(" {:>24} |", ""),
            }
        }
        println!();
    }
    println!("\nreceived by the sink: {} requests, {} bytes", sink.requests(), sink.bytes());
    if notes.is_empty() {
        println!("no queue dropped a span");
    }
    notes.iter().for_each(|note| println!("{note}"));
}
