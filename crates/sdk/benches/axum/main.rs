//! What tracing every request costs an axum service: requests per second, processor time and latency, beside
//! no tracing at all and the usual stack of `axum-tracing-opentelemetry` over `tracing-opentelemetry`.
//!
//! ```text
//! cargo bench -p tracewell-sdk --bench axum [-- ROUNDS]
//!
//! this process: load over kept connections ──▶ one server process for each stack (one thread, global subscriber)
//!               sink for OTLP/HTTP         ◀── spans of this crate; those of the other stack are thrown away
//! ```
//!
//! All servers run at once and take turns within each round, so that what else the machine does hits all of them.
//! A ratio is that of two turns of one round; the table has the median of the rounds and the middle half.

use std::time::Duration;

mod alone;
mod load;
mod server;
mod sink;

use load::Target;
use server::{STACKS, Served};

/// How long one stack is under load before the next one has its turn.
const TURN: Duration = Duration::from_millis(250);

/// Connections of the load.
const CONNECTIONS: usize = 16;

const ROUNDS: usize = 40;

/// A request, and what to call it.
const CASES: [(&str, &str); 3] = [
    ("GET /items/{id}, five bytes", "GET /items/42?color=blue HTTP/1.1\r\n"),
    ("POST /orders, JSON both ways", "POST /orders HTTP/1.1\r\ncontent-type: application/json\r\n"),
    ("GET /catalog/{page}, a hundred items", "GET /catalog/3 HTTP/1.1\r\n"),
];

/// What callers usually send.
const HEADERS: &str = "host: shop.example:8080\r\nuser-agent: bench/1.0\r\naccept: */*\r\naccept-encoding: gzip\r\n\
                       traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03\r\n";

fn request(head: &str) -> Vec<u8> {
    let order = server::order_json();
    let body = if head.starts_with("POST") { order.as_str() } else { "" };
    format!("{head}{HEADERS}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// What one stack did in one turn.
#[derive(Clone, Copy)]
struct Turn {
    requests_per_s: f64,
    cpu_ns_per_request: f64,
}

/// First quartile, median and third quartile.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values.get(values.len() * quarter / 4).or(values.last()).copied().unwrap_or(f64::NAN))
}

fn percentile(values: &mut [Duration], percent: usize) -> f64 {
    values.sort_unstable();
    values.get(values.len() * percent / 100).map_or(f64::NAN, |value| value.as_nanos() as f64 / 1000.0)
}

fn throughput(servers: &[Served], rounds: usize, bytes: &[u8]) {
    let mut turns: Vec<Vec<Turn>> = vec![Vec::new(); servers.len()];
    let target = |server: &Served| Target::new(server.address, bytes);
    let targets: Vec<Target> = servers.iter().map(target).collect();
    for target in &targets {
        target.run(CONNECTIONS, TURN);
    }
    for round in 0..rounds {
        for offset in 0..servers.len() {
            let index = (round + offset) % servers.len();
            let (Some(server), Some(target), Some(turns)) =
                (servers.get(index), targets.get(index), turns.get_mut(index))
            else {
                continue;
            };
            let cpu = server.cpu_ns();
            let done = target.run(CONNECTIONS, TURN);
            let requests = done.latencies.len() as f64;
            turns.push(Turn {
                requests_per_s: requests / done.took.as_secs_f64(),
                cpu_ns_per_request: (server.cpu_ns() - cpu) as f64 / requests,
            });
        }
    }
    println!("  {:<26} {:>11} {:>26} {:>12} {:>12}", "stack", "requests/s", "of no tracing", "CPU/request", "more CPU");
    let bare = turns.first().cloned().unwrap_or_default();
    let cpu = |turns: &[Turn]| quartiles(turns.iter().map(|turn| turn.cpu_ns_per_request).collect())[1] / 1000.0;
    for (server, turns) in servers.iter().zip(&turns) {
        let rate = quartiles(turns.iter().map(|turn| turn.requests_per_s).collect());
        let pairs = turns.iter().zip(&bare);
        let ratio = quartiles(pairs.map(|(turn, bare)| 100.0 * turn.requests_per_s / bare.requests_per_s).collect());
        println!(
            "  {:<26} {:>11.0} {:>8.1} % ({:>5.1} – {:>5.1}) {:>9.2} µs {:>9.2} µs",
            server.stack,
            rate[1],
            ratio[1],
            ratio[0],
            ratio[2],
            cpu(turns),
            cpu(turns) - cpu(&bare),
        );
    }
}

fn latency(servers: &[Served], rounds: usize, bytes: &[u8]) {
    let targets: Vec<Target> = servers.iter().map(|server| Target::new(server.address, bytes)).collect();
    let mut all: Vec<Vec<Duration>> = vec![Vec::new(); servers.len()];
    for _ in 0..rounds {
        for (target, all) in targets.iter().zip(&mut all) {
            all.extend(target.run(1, TURN / 5).latencies);
        }
    }
    println!("  {:<26} {:>11} {:>11} {:>11}", "one connection", "p50", "p99", "p99.9");
    for (server, latencies) in servers.iter().zip(&mut all) {
        let [p50, p99] = [50, 99].map(|percent| percentile(latencies, percent));
        let p999 =
            latencies.get(latencies.len() * 999 / 1000).map_or(f64::NAN, |value| value.as_nanos() as f64 / 1000.0);
        println!("  {:<26} {p50:>8.1} µs {p99:>8.1} µs {p999:>8.1} µs", server.stack);
    }
}

fn main() {
    if let Ok(stack) = std::env::var(server::STACK_VARIABLE) {
        return server::serve(&stack);
    }
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(ROUNDS);
    // `cargo test --benches` only wants to know that it runs.
    let rounds = if std::env::args().any(|argument| argument == "--test") { 1 } else { rounds };
    let sink = sink::start();
    alone::report(sink);
    for (name, head) in CASES {
        let servers: Vec<Served> = STACKS.iter().map(|stack| Served::start(stack, sink)).collect();
        println!("{name}: {rounds} rounds of {} ms, {CONNECTIONS} connections", TURN.as_millis());
        throughput(&servers, rounds, &request(head));
        latency(&servers, rounds, &request(head));
        for server in servers {
            println!("  {}", server.stop());
        }
    }
}
