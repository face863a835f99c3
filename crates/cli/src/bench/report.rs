//! The figures of `bench ingest`, for people and for programs.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::Protocol;
use super::disk::{KINDS, Usage};

/// Everything that was measured.
pub struct Report {
    /// How it was sent.
    pub protocol: Protocol,
    /// Connections.
    pub connections: u32,
    /// Requests at a time on each.
    pub in_flight: u32,
    /// Spans a second, if limited.
    pub rate: Option<u64>,
    /// Spans acknowledged.
    pub spans: u64,
    /// Requests acknowledged.
    pub requests: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Spans that the server rejected for good.
    pub rejected: u64,
    /// Requests sent again because the server was busy.
    pub retries: u64,
    /// The server's words about rejected spans.
    pub remarks: Vec<String>,
    /// From the first request to the last acknowledgement.
    pub seconds: f64,
    /// CPU time of the server in that time; NaN where its process is not known.
    pub cpu_seconds: f64,
    /// Time until acknowledgement.
    pub acknowledgements: Acknowledgements,
    /// When all of it was counted.
    pub visibility: Option<Visibility>,
    /// Work after the load.
    pub background: Option<Background>,
    /// Largest resident memory while loading.
    pub memory_loading_bytes: Option<u64>,
    /// The same with the work after it.
    pub memory_peak_bytes: Option<u64>,
    /// What lies on the disk.
    pub usage: Option<Usage>,
    /// How long the server took to end.
    pub shutdown: Option<Duration>,
}

/// When the listing by service counted everything.
pub struct Visibility {
    /// Spans acknowledged and stored before.
    pub expected: u64,
    /// Spans counted at last.
    pub counted: u64,
    /// Time after the last acknowledgement.
    pub after: Duration,
}

/// What the server did after the load.
pub struct Background {
    /// Until it was quiet.
    pub seconds: f64,
    /// CPU time it used.
    pub cpu_seconds: f64,
    /// False when it was still at work when the patience ended.
    pub ended: bool,
}

/// Time until acknowledgement, exactly: all values, sorted.
pub struct Acknowledgements {
    sorted_us: Vec<u32>,
}

impl Acknowledgements {
    /// From times in microseconds, in any order.
    pub fn new(mut latencies_us: Vec<u32>) -> Self {
        latencies_us.sort_unstable();
        Self { sorted_us: latencies_us }
    }

    /// The time, in milliseconds, that the given share of requests did not exceed (nearest rank).
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let rank = (share * self.sorted_us.len() as f64).ceil() as usize;
        self.sorted_us.get(rank.saturating_sub(1)).map_or(0.0, |us| f64::from(*us) / 1000.0)
    }
}

/// Acknowledged spans must be counted within this time.
const VISIBLE_WITHIN: Duration = Duration::from_secs(1);

impl Report {
    fn spans_per_second(&self) -> f64 {
        self.spans as f64 / self.seconds
    }

    /// While loading, and with the work after it.
    fn spans_per_cpu_second(&self) -> (f64, Option<f64>) {
        let loading = self.spans as f64 / self.cpu_seconds;
        let all = self.background.as_ref().map(|work| self.spans as f64 / (self.cpu_seconds + work.cpu_seconds));
        (loading, all)
    }

    /// An error if what was acknowledged was not counted exactly and in time.
    pub fn verdict(&self) -> anyhow::Result<()> {
        if let Some(seen) = &self.visibility {
            let (expected, counted) = (seen.expected, seen.counted);
            anyhow::ensure!(expected == counted, "{expected} spans were acknowledged, {counted} are counted");
            let after = seen.after.as_secs_f64();
            anyhow::ensure!(
                seen.after <= VISIBLE_WITHIN,
                "all spans were counted only {after:.2} s after the last acknowledgement"
            );
        }
        Ok(())
    }

    /// The report as JSON. Units are in the names.
    pub fn json(&self) -> Value {
        let (loading, all) = self.spans_per_cpu_second();
        let per_span = |bytes: u64, spans: u64| bytes as f64 / spans.max(1) as f64;
        json!({
            "protocol": format!("{:?}", self.protocol).to_lowercase(),
            "connections": self.connections,
            "inFlightPerConnection": self.in_flight,
            "rateSpansPerSecond": self.rate,
            "spans": self.spans,
            "requests": self.requests,
            "otlpBytesPerSpan": per_span(self.bytes, self.spans),
            "rejectedSpans": self.rejected,
            "retries": self.retries,
            "seconds": self.seconds,
            "spansPerSecond": self.spans_per_second(),
            "serverCpuSeconds": self.cpu_seconds,
            "spansPerCpuSecond": loading,
            "spansPerCpuSecondWithBackground": all,
            "acknowledgementMs": {
                "p50": self.acknowledgements.quantile_ms(0.5),
                "p99": self.acknowledgements.quantile_ms(0.99),
                "max": self.acknowledgements.quantile_ms(1.0),
            },
            "background": self.background.as_ref().map(|work| json!({
                "seconds": work.seconds, "serverCpuSeconds": work.cpu_seconds, "ended": work.ended,
            })),
            "visibility": self.visibility.as_ref().map(|seen| json!({
                "expectedSpans": seen.expected, "countedSpans": seen.counted, "afterMs": seen.after.as_secs_f64() * 1e3,
            })),
            "memoryLoadingBytes": self.memory_loading_bytes,
            "memoryPeakBytes": self.memory_peak_bytes,
            "shutdownMs": self.shutdown.map(|took| took.as_secs_f64() * 1e3),
            "disk": self.usage.as_ref().map(|usage| json!({
                "bytesByKind": usage.by_kind,
                "segments": usage.segments,
                "rowsInSegments": usage.rows,
                "bytesPerSpan": per_span(usage.stored(), usage.rows),
                "bytesPerSpanByColumn": usage.columns().into_iter()
                    .map(|(name, bytes)| (name.to_owned(), json!(per_span(bytes, usage.rows))))
                    .collect::<serde_json::Map<_, _>>(),
            })),
        })
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, in_flight, spans, requests, seconds, .. } = self;
        let protocol = format!("{:?}", self.protocol).to_lowercase();
        let weight = self.bytes as f64 / (*spans).max(1) as f64;
        writeln!(f, "load             {spans} spans in {requests} requests over {protocol}, {weight:.1} B/span")?;
        writeln!(f, "clients          {connections} connections × {in_flight} requests in flight")?;
        if let Some(rate) = self.rate {
            writeln!(f, "rate             {rate} spans/s asked for")?;
        }
        writeln!(f, "ingest           {:.0} spans/s over {seconds:.1} s", self.spans_per_second())?;
        if self.cpu_seconds.is_finite() {
            let (loading, all) = self.spans_per_cpu_second();
            writeln!(f, "per core         {loading:.0} spans/s ({:.1} CPU seconds while loading)", self.cpu_seconds)?;
            if let (Some(all), Some(work)) = (all, &self.background) {
                let cpu = work.cpu_seconds;
                writeln!(
                    f,
                    "  to quiet       {all:.0} spans/s ({cpu:.1} further CPU seconds in {:.1} s)",
                    work.seconds
                )?;
                if !work.ended {
                    writeln!(f, "  note           the server was still at work when the wait ended")?;
                }
            }
        }
        let times = &self.acknowledgements;
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| times.quantile_ms(share));
        writeln!(f, "acknowledged     p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms")?;
        writeln!(f, "rejected         {} spans; {} requests sent again", self.rejected, self.retries)?;
        for remark in &self.remarks {
            writeln!(f, "  server said    {remark}")?;
        }
        if let Some(seen) = &self.visibility {
            let after = seen.after.as_secs_f64() * 1e3;
            writeln!(
                f,
                "counted          {} of {} spans, {after:.0} ms after the last acknowledgement",
                seen.counted, seen.expected
            )?;
        }
        if let (Some(loading), Some(peak)) = (self.memory_loading_bytes, self.memory_peak_bytes) {
            writeln!(f, "memory           {:.0} MiB at most while loading, {:.0} MiB in all", mib(loading), mib(peak))?;
        }
        if let Some(took) = self.shutdown {
            writeln!(f, "shutdown         {:.2} s", took.as_secs_f64())?;
        }
        match &self.usage {
            Some(usage) => write_usage(f, usage),
            None => Ok(()),
        }
    }
}

fn write_usage(f: &mut fmt::Formatter<'_>, usage: &Usage) -> fmt::Result {
    let Usage { rows, segments, .. } = usage;
    let per_span = |bytes: u64| bytes as f64 / (*rows).max(1) as f64;
    let stored = per_span(usage.stored());
    writeln!(f, "disk             {rows} spans in {segments} segments, {stored:.2} B/span with index")?;
    for kind in KINDS {
        let bytes = usage.by_kind.get(kind).copied().unwrap_or_default();
        write!(f, "  {kind:<14} {:9.1} MiB", mib(bytes))?;
        match kind.starts_with("segment") && *rows > 0 {
            true => writeln!(f, "  {:6.2} B/span", per_span(bytes))?,
            false => writeln!(f)?,
        }
    }
    if *rows > 0 {
        writeln!(f, "bytes per span by column")?;
    }
    for (name, bytes) in usage.columns() {
        writeln!(f, "  {:6.3}  {name}", per_span(bytes))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let times = Acknowledgements::new((1..=1000).rev().map(|ms| ms * 1000).collect());
        for (share, expected) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0), (0.0, 1.0)] {
            assert_eq!(times.quantile_ms(share), expected);
        }
        assert_eq!(Acknowledgements::new(Vec::new()).quantile_ms(0.99), 0.0);
    }
}
