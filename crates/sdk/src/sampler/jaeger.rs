//! Sampling as a Jaeger-compatible server says: `GET /sampling?service=…` (Jaeger 2, "Remote sampling").
//!
//! ```text
//! exporter thread ──GET──▶ server          new root ──choose──▶ Strategy
//!        └────── parse ──▶ Strategy ──replace──▶ ┘
//! ```
//!
//! An application never waits for the server: what it said last holds until it says something else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{NEVER, Sampler};
use crate::clock;
use crate::queue::lock;

/// Where Jaeger's collector and agent answer.
const DEFAULT_ENDPOINT: &str = "http://localhost:5778/sampling";

/// How often the server is asked where nothing else is said.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// It is not asked more often than this.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// The share of traces until the server has answered, where nothing else is said.
const DEFAULT_RATIO: f64 = 0.001;

/// The longest pause after failures, unless the interval is longer.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Operations with a strategy of their own; the rest are sampled by the default.
const OPERATIONS_MAX: usize = 2_000;

/// What to do about one root.
pub(crate) enum Choice {
    /// All of them.
    Always,
    /// By a threshold for the trace id.
    Ratio(u64),
    /// By a threshold, and at least so many a second.
    Limited { threshold: u64, limiter: Arc<Limiter> },
    /// So many a second.
    PerSecond(Arc<Limiter>),
}

/// Lets a number of things per second pass, and as many at once as pass in a second (at least one).
#[derive(Debug)]
pub(crate) struct Limiter {
    per_second: f64,
    /// How many may pass now, and when that was.
    balance: Mutex<(f64, u64)>,
}

impl Limiter {
    fn new(per_second: f64) -> Self {
        let per_second = if per_second.is_finite() { per_second.max(0.0) } else { 0.0 };
        let full = if per_second > 0.0 { per_second.max(1.0) } else { 0.0 };
        Self { per_second, balance: Mutex::new((full, clock::monotonic_ns())) }
    }

    pub(crate) fn allows(&self) -> bool {
        self.allows_at(clock::monotonic_ns())
    }

    fn allows_at(&self, now_ns: u64) -> bool {
        if self.per_second <= 0.0 {
            return false;
        }
        let mut balance = lock(&self.balance);
        let (left, at) = *balance;
        let earned = now_ns.saturating_sub(at) as f64 / 1e9 * self.per_second;
        let left = (left + earned).min(self.per_second.max(1.0));
        let allowed = left >= 1.0;
        *balance = (if allowed { left - 1.0 } else { left }, now_ns.max(at));
        allowed
    }
}

/// What the server said.
#[derive(Debug)]
enum Strategy {
    Ratio(u64),
    PerSecond(Arc<Limiter>),
    PerOperation { operations: HashMap<String, (u64, Arc<Limiter>)>, default: (u64, Arc<Limiter>) },
}

/// What was configured, and for a service what the server said.
#[derive(Debug)]
pub(crate) struct Remote {
    endpoint: String,
    interval: Duration,
    initial: u64,
    service: String,
    strategy: RwLock<Strategy>,
    asked: Mutex<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    /// When to ask next; at once where it is not set.
    due: Option<Instant>,
    /// Failures since the last answer.
    failures: u32,
    answered: bool,
}

impl PartialEq for Remote {
    fn eq(&self, other: &Self) -> bool {
        (&self.endpoint, self.interval, self.initial) == (&other.endpoint, other.interval, other.initial)
    }
}

fn threshold(ratio: f64) -> u64 {
    match Sampler::ratio(ratio).kind {
        super::Kind::Ratio { threshold } => threshold,
        _ => NEVER,
    }
}

impl Remote {
    pub(crate) fn new(endpoint: &str, interval: Duration, initial_ratio: f64) -> Self {
        let initial = threshold(initial_ratio);
        Self {
            endpoint: with_path(endpoint.trim()),
            interval: interval.max(INTERVAL_MIN),
            initial,
            service: String::new(),
            strategy: RwLock::new(Strategy::Ratio(initial)),
            asked: Mutex::default(),
        }
    }

    /// From `OTEL_TRACES_SAMPLER_ARG`: `endpoint=…,pollingIntervalMs=…,initialSamplingRate=…`, each optional.
    pub(crate) fn from_argument(argument: &str) -> Option<Self> {
        let (mut endpoint, mut interval, mut ratio) = (DEFAULT_ENDPOINT.to_owned(), DEFAULT_INTERVAL, DEFAULT_RATIO);
        for pair in argument.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=')?;
            match (key.trim(), value.trim()) {
                ("endpoint", url) => endpoint = url.to_owned(),
                ("pollingIntervalMs", number) => interval = Duration::from_millis(number.parse().ok()?),
                ("initialSamplingRate", number) => ratio = number.parse().ok().filter(|r| (0.0..=1.0).contains(r))?,
                // Later versions may know more.
                _ => {}
            }
        }
        Some(Self::new(&endpoint, interval, ratio))
    }

    pub(crate) fn for_service(&self, service: &str) -> Self {
        Self {
            endpoint: self.endpoint.clone(),
            interval: self.interval,
            initial: self.initial,
            service: service.to_owned(),
            strategy: RwLock::new(Strategy::Ratio(self.initial)),
            asked: Mutex::default(),
        }
    }

    /// What to do about a root of that name.
    pub(crate) fn choose(&self, operation: &str) -> Choice {
        let limited = |(threshold, limiter): &(u64, Arc<Limiter>)| match *threshold {
            0 => Choice::Always,
            threshold => Choice::Limited { threshold, limiter: Arc::clone(limiter) },
        };
        match &*self.strategy.read().unwrap_or_else(PoisonError::into_inner) {
            Strategy::Ratio(threshold) => Choice::Ratio(*threshold),
            Strategy::PerSecond(limiter) => Choice::PerSecond(Arc::clone(limiter)),
            Strategy::PerOperation { operations, default } => limited(operations.get(operation).unwrap_or(default)),
        }
    }

    /// When [`Remote::refresh`] has something to do.
    pub(crate) fn due(&self) -> Instant {
        lock(&self.asked).due.unwrap_or_else(Instant::now)
    }

    /// Asks the server if it is time to. `get` performs a GET and returns the body.
    ///
    /// # Errors
    ///
    /// Why there is no new strategy; the former holds, and the next attempt is later each time.
    pub(crate) fn refresh(&self, get: impl FnOnce(&str) -> Result<Vec<u8>, String>) -> Result<(), String> {
        if self.due() > Instant::now() {
            return Ok(());
        }
        let separator = if self.endpoint.contains('?') { '&' } else { '?' };
        let url = format!("{}{separator}service={}", self.endpoint, encode(&self.service));
        let strategy = get(&url).and_then(|body| self.parse(&body));
        let mut asked = lock(&self.asked);
        let outcome = match strategy {
            Ok(strategy) => {
                *self.strategy.write().unwrap_or_else(PoisonError::into_inner) = strategy;
                *asked = Asked { due: Some(Instant::now() + self.interval), failures: 0, answered: true };
                return Ok(());
            }
            Err(why) => Err(format!("no sampling strategy from {url}: {why}")),
        };
        let first = if asked.answered { self.interval } else { INTERVAL_MIN };
        let pause = first.saturating_mul(1 << asked.failures.min(16)).min(PAUSE_MAX.max(self.interval));
        asked.failures = asked.failures.saturating_add(1);
        asked.due = Some(Instant::now() + pause);
        outcome
    }

    fn parse(&self, body: &[u8]) -> Result<Strategy, String> {
        let answer: Value = serde_json::from_slice(body).map_err(|error| format!("not JSON: {error}"))?;
        let known = self.strategy.read().unwrap_or_else(PoisonError::into_inner);
        // A limiter that is still wanted keeps its balance.
        let limiter = |per_second: f64, known: Option<&Arc<Limiter>>| match known {
            Some(known) if known.per_second == per_second => Arc::clone(known),
            _ => Arc::new(Limiter::new(per_second)),
        };
        if let Some(per_operation) = field(&answer, "operationSampling", "operation_sampling") {
            let bound =
                number(per_operation, "defaultLowerBoundTracesPerSecond", "default_lower_bound_traces_per_second");
            let bound = bound.unwrap_or_default();
            let share = number(per_operation, "defaultSamplingProbability", "default_sampling_probability");
            let (before, before_default) = match &*known {
                Strategy::PerOperation { operations, default } => (Some(operations), Some(&default.1)),
                _ => (None, None),
            };
            let listed = field(per_operation, "perOperationStrategies", "per_operation_strategies");
            let mut operations = HashMap::new();
            for entry in listed.and_then(Value::as_array).into_iter().flatten().take(OPERATIONS_MAX) {
                let share = field(entry, "probabilisticSampling", "probabilistic_sampling").and_then(rate);
                let (Some(name), Some(share)) = (entry.get("operation").and_then(Value::as_str), share) else {
                    continue;
                };
                let before = before.and_then(|before| before.get(name)).map(|(_, limiter)| limiter);
                operations.insert(name.to_owned(), (threshold(share), limiter(bound, before)));
            }
            let share = share.map_or(self.initial, threshold);
            return Ok(Strategy::PerOperation { operations, default: (share, limiter(bound, before_default)) });
        }
        let limited = field(&answer, "rateLimitingSampling", "rate_limiting_sampling");
        if let Some(rate) = limited.and_then(|limited| number(limited, "maxTracesPerSecond", "max_traces_per_second")) {
            let before = match &*known {
                Strategy::PerSecond(limiter) => Some(limiter),
                _ => None,
            };
            return Ok(Strategy::PerSecond(limiter(rate, before)));
        }
        match field(&answer, "probabilisticSampling", "probabilistic_sampling").and_then(rate) {
            Some(share) => Ok(Strategy::Ratio(threshold(share))),
            None => Err("it names no probabilistic, rate limiting or per-operation sampling".to_owned()),
        }
    }
}

/// Servers write names as the JSON mapping of protobuf does, or as they stand in the definition.
fn field<'a>(value: &'a Value, camel: &str, snake: &str) -> Option<&'a Value> {
    value.get(camel).or_else(|| value.get(snake)).filter(|value| !value.is_null())
}

fn number(value: &Value, camel: &str, snake: &str) -> Option<f64> {
    field(value, camel, snake).and_then(Value::as_f64)
}

fn rate(probabilistic: &Value) -> Option<f64> {
    // The mapping leaves out zeros.
    Some(number(probabilistic, "samplingRate", "sampling_rate").unwrap_or_default())
}

fn with_path(endpoint: &str) -> String {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    match rest.trim_end_matches('/').contains(['/', '?']) {
        true => endpoint.to_owned(),
        false => format!("{}/sampling", endpoint.trim_end_matches('/')),
    }
}

/// Percent-encodes all but unreserved characters (RFC 3986 §2.3).
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte as char),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: u64 = NEVER / 2;

    fn told(answer: &str) -> Result<Remote, String> {
        let remote = Remote::new("http://h", Duration::from_secs(60), 0.5).for_service("cart & co");
        remote.refresh(|url| {
            assert_eq!(url, "http://h/sampling?service=cart%20%26%20co");
            Ok(answer.as_bytes().to_vec())
        })?;
        Ok(remote)
    }

    #[test]
    fn strategies_are_read_in_every_spelling() {
        let ratios = [
            (r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.5}}"#, HALF),
            (r#"{"strategyType":0,"probabilisticSampling":{"samplingRate":1}}"#, 0),
            (r#"{"probabilistic_sampling":{"sampling_rate":0.5},"operationSampling":null}"#, HALF),
            (r#"{"probabilisticSampling":{}}"#, NEVER),
        ];
        for (answer, expected) in ratios {
            assert!(matches!(told(answer).unwrap().choose("x"), Choice::Ratio(found) if found == expected), "{answer}");
        }
        let limited = told(r#"{"strategyType":"RATE_LIMITING","rateLimitingSampling":{"maxTracesPerSecond":2}}"#);
        assert!(matches!(limited.unwrap().choose("x"), Choice::PerSecond(limiter) if limiter.per_second == 2.0));
        for bad in ["", "{}", "[]", "null", r#"{"probabilisticSampling":7}"#.trim_end_matches('}')] {
            assert!(told(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn operations_have_a_share_and_a_guaranteed_minimum() {
        let remote = told(
            r#"{"operationSampling":{"defaultSamplingProbability":0.5,"defaultLowerBoundTracesPerSecond":3,
                "perOperationStrategies":[{"operation":"GET /","probabilisticSampling":{"samplingRate":0.25}},
                {"operation":"all","probabilisticSampling":{"samplingRate":1}},{"operation":7}]}}"#,
        )
        .unwrap();
        let share = |name| match remote.choose(name) {
            Choice::Limited { threshold, limiter } => Some((threshold, limiter.per_second)),
            _ => None,
        };
        assert_eq!((share("GET /"), share("other")), (Some((HALF / 2 * 3, 3.0)), Some((HALF, 3.0))));
        assert!(matches!(remote.choose("all"), Choice::Always));
    }

    #[test]
    fn a_limiter_lets_a_seconds_worth_pass_at_once_and_then_its_rate() {
        let limiter = Limiter::new(2.0);
        let start = limiter.balance.lock().unwrap().1;
        let passed = |after_ms: u64| (0..10).filter(|_| limiter.allows_at(start + after_ms * 1_000_000)).count();
        assert_eq!([0, 499, 500, 1_000, 60_000].map(passed), [2, 0, 1, 1, 2]);
        let slow = Limiter::new(0.1);
        assert_eq!((0..3).filter(|_| slow.allows()).count(), 1);
        assert!(!Limiter::new(0.0).allows() && !Limiter::new(f64::NAN).allows());
    }

    #[test]
    fn a_server_that_is_away_is_asked_less_and_less() {
        let remote = Remote::from_argument("endpoint=http://h:1/x?a=b, pollingIntervalMs=5000").unwrap();
        let fail = || {
            lock(&remote.asked).due = None;
            let begin = Instant::now();
            assert!(remote.refresh(|_| Err("away".to_owned())).unwrap_err().contains("http://h:1/x?a=b&service="));
            (remote.due() - begin).as_secs()
        };
        assert_eq!([fail(), fail(), fail(), fail()], [1, 2, 4, 8]);
        assert_eq!((0..20).map(|_| fail()).max(), Some(300));
        assert!(remote.refresh(|_| panic!("asked too early")).is_ok());
        assert!(matches!(remote.choose("x"), Choice::Ratio(threshold) if threshold == super::threshold(0.001)));
    }
}
