//! Time to read and to write the headers of a request, for each format and carrier.
//!
//! `cargo bench -p tracewell-propagate --features http`. Each figure is the best of several rounds: what
//! the code takes, not what else the machine does.

use std::hint::black_box;
use std::time::Instant;

use tracewell_propagate::{Composite, Context, Propagated};

const ROUNDS: usize = 15;
const CALLS: usize = 20_000;

/// Nanoseconds for one call.
fn measure(mut call: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / CALLS as f64);
    }
    best
}

fn request(trace_state: &str, members: usize) -> Propagated {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut context: Context = parent.parse().unwrap_or_default();
    context.trace_state = trace_state.parse().unwrap_or_default();
    let mut propagated = Propagated { context: Some(context), ..Propagated::default() };
    for member in 0..members {
        // Short names and values are always accepted.
        let _ = propagated.baggage.set(&format!("key{member}"), "some value");
    }
    propagated
}

fn main() {
    let cases = [
        ("tracecontext", "", 0),
        ("tracecontext", "rojo=00f067aa0ba902b7,ot=th:c", 0),
        ("tracecontext,baggage", "", 0),
        ("tracecontext,baggage", "", 3),
        ("b3", "", 0),
        ("b3multi", "", 0),
        ("jaeger", "", 0),
        ("xray", "", 0),
        ("datadog", "dd=s:1;t.dm:-1", 0),
        ("ottrace", "", 0),
        ("gcp", "", 0),
        ("grpc-trace-bin", "", 0),
    ];
    println!("{:<24}{:>10}{:>10}{:>14}{:>14}", "ns per request", "extract", "inject", "extract http", "inject http");
    for (names, trace_state, members) in cases {
        let Ok(composite) = Composite::from_names(names) else { continue };
        let propagated = request(trace_state, members);
        let mut pairs: Vec<(String, String)> =
            ["host", "user-agent", "accept", "content-type"].map(|name| (name.to_owned(), "value".to_owned())).to_vec();
        composite.inject(&propagated, &mut pairs);
        let label = format!(
            "{names}{}{}",
            if trace_state.is_empty() { "" } else { " +state" },
            if members > 0 { " 3" } else { "" }
        );
        let extract = measure(|| drop(black_box(composite.extract(black_box(&pairs)))));
        let mut sent: Vec<(String, String)> = Vec::new();
        let inject = measure(|| composite.inject(black_box(&propagated), black_box(&mut sent)));
        let (extract_http, inject_http) = http(&composite, &propagated);
        println!("{label:<24}{extract:>10.0}{inject:>10.0}{extract_http:>14.0}{inject_http:>14.0}");
    }
}

#[cfg(feature = "http")]
fn http(composite: &Composite, propagated: &Propagated) -> (f64, f64) {
    let mut headers = http::HeaderMap::new();
    for name in [http::header::HOST, http::header::USER_AGENT, http::header::ACCEPT, http::header::CONTENT_TYPE] {
        headers.insert(name, http::HeaderValue::from_static("value"));
    }
    composite.inject(propagated, &mut headers);
    let extract = measure(|| drop(black_box(composite.extract(black_box(&headers)))));
    (extract, measure(|| composite.inject(black_box(propagated), black_box(&mut headers))))
}

#[cfg(not(feature = "http"))]
fn http(_: &Composite, _: &Propagated) -> (f64, f64) {
    (f64::NAN, f64::NAN)
}
