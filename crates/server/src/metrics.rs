//! The server's own counters in the Prometheus text format (exposition format 0.0.4).

use std::fmt::Write;
use std::sync::atomic::Ordering;

use tracewell_ingest::Snapshot;
use tracewell_ingest::tail::LineSnapshot;

use crate::queries::{LATENCY_BOUNDS_MS, QueryStats};

/// Content type of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Collects metrics, each family once.
#[derive(Default)]
pub(crate) struct Exposition {
    text: String,
}

impl Exposition {
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.text.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{}{label}=\"{value}\"", if index == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    pub(crate) fn single(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }
}

/// What the receivers took and refused.
pub(crate) fn receivers(out: &mut Exposition, snapshot: &Snapshot) {
    type Read = fn(&tracewell_ingest::SignalSnapshot) -> u64;
    let counters: [(&str, &str, Read); 4] = [
        ("tracewell_receiver_requests_total", "Requests that arrived, refused ones included.", |signal| {
            signal.requests
        }),
        ("tracewell_receiver_items_accepted_total", "Spans or log records that were stored.", |signal| {
            signal.items_accepted
        }),
        ("tracewell_receiver_received_bytes_total", "Body bytes as they came over the wire.", |signal| {
            signal.bytes_received
        }),
        ("tracewell_receiver_decoded_bytes_total", "Body bytes after decompression.", |signal| signal.bytes_decoded),
    ];
    let signals = || {
        snapshot
            .receivers
            .iter()
            .flat_map(|receiver| receiver.signals.iter().map(move |signal| (receiver.name, signal)))
    };
    for (name, help, read) in counters {
        out.family(name, "counter", help);
        for (receiver, signal) in signals() {
            out.sample(name, &[("receiver", receiver), ("signal", signal.signal)], read(signal));
        }
    }
    let name = "tracewell_receiver_items_rejected_total";
    out.family(name, "counter", "Spans or log records that were left out of accepted requests.");
    for (receiver, signal) in signals() {
        for (reason, count) in &signal.items_rejected {
            out.sample(name, &[("receiver", receiver), ("signal", signal.signal), ("reason", reason)], count);
        }
    }
    let name = "tracewell_receiver_requests_refused_total";
    out.family(name, "counter", "Requests or connections that were refused as a whole.");
    for (receiver, signal) in signals() {
        for (reason, refused) in &signal.refused {
            out.sample(name, &[("receiver", receiver), ("signal", signal.signal), ("reason", reason)], refused.count);
        }
    }
    let name = "tracewell_receiver_connections_open";
    out.family(name, "gauge", "Open connections.");
    for receiver in &snapshot.receivers {
        out.sample(name, &[("receiver", receiver.name)], receiver.connections_open);
    }
}

/// What became of the lines of log files.
pub(crate) fn log_files(out: &mut Exposition, lines: &LineSnapshot, files: usize) {
    out.single("tracewell_logfiles_files", "gauge", "Log files that are followed or cannot be.", files);
    let name = "tracewell_logfiles_lines_total";
    out.family(name, "counter", "Lines of log files by what became of them.");
    for (outcome, count) in [
        ("spans", lines.span_lines - lines.inferred_lines.min(lines.span_lines)),
        ("spans_inferred", lines.inferred_lines),
        ("log_of_trace", lines.joined_lines),
        ("log", lines.unjoined_lines),
        ("blank", lines.blank_lines),
    ] {
        out.sample(name, &[("outcome", outcome)], count);
    }
    let name = "tracewell_logfiles_lines_unreadable_total";
    out.family(name, "counter", "Lines that could not be read, which are kept as text.");
    for (reason, count) in &lines.unreadable {
        out.sample(name, &[("reason", reason)], count);
    }
    out.single("tracewell_logfiles_read_bytes_total", "counter", "Bytes of log files read.", lines.bytes);
    out.single("tracewell_logfiles_retries_total", "counter", "Requests that had to be repeated.", lines.retries);
}

/// What the queries did.
pub(crate) fn queries(out: &mut Exposition, stats: &QueryStats) {
    let name = "tracewell_queries_total";
    out.family(name, "counter", "Queries by how they ended.");
    for (outcome, counter) in [
        ("finished", &stats.finished),
        ("failed", &stats.failed),
        ("cancelled", &stats.cancelled),
        ("refused", &stats.refused),
    ] {
        out.sample(name, &[("outcome", outcome)], counter.load(Ordering::Relaxed));
    }
    let gauge = |counter: &std::sync::atomic::AtomicUsize| counter.load(Ordering::Relaxed);
    out.single("tracewell_queries_running", "gauge", "Queries that are running.", gauge(&stats.running));
    out.single("tracewell_queries_waiting", "gauge", "Queries that wait for their turn.", gauge(&stats.waiting));
    let name = "tracewell_query_duration_seconds";
    out.family(name, "histogram", "How long queries took.");
    let mut below = 0;
    for (bound, counter) in LATENCY_BOUNDS_MS.iter().zip(&stats.latency) {
        below += counter.load(Ordering::Relaxed);
        out.sample(&format!("{name}_bucket"), &[("le", &(*bound as f64 / 1e3).to_string())], below);
    }
    below += stats.latency[LATENCY_BOUNDS_MS.len()].load(Ordering::Relaxed);
    out.sample(&format!("{name}_bucket"), &[("le", "+Inf")], below);
    out.sample(&format!("{name}_sum"), &[], stats.time_us.load(Ordering::Relaxed) as f64 / 1e6);
    out.sample(&format!("{name}_count"), &[], below);
}

/// What the operating system says of this process, as far as `/proc` tells.
pub(crate) fn process(out: &mut Exposition, uptime_s: f64) {
    out.single("tracewell_uptime_seconds", "gauge", "Seconds since the start.", uptime_s);
    if let Some(bytes) = resident_bytes() {
        out.single("process_resident_memory_bytes", "gauge", "Resident memory.", bytes);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        out.single("process_open_fds", "gauge", "Open file descriptors.", files.count());
    }
}

/// Resident memory of this process.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_as_the_format_wants_them() {
        let mut out = Exposition::default();
        out.family("tracewell_x_total", "counter", "Xs.");
        out.sample("tracewell_x_total", &[("reason", "a \"b\"\n"), ("kind", "c")], 3);
        out.single("tracewell_y", "gauge", "Ys.", 1.5);
        assert_eq!(
            out.finish(),
            "# HELP tracewell_x_total Xs.\n# TYPE tracewell_x_total counter\n\
             tracewell_x_total{reason=\"a \\\"b\\\"\\n\",kind=\"c\"} 3\n\
             # HELP tracewell_y Ys.\n# TYPE tracewell_y gauge\ntracewell_y 1.5\n"
        );
    }

    #[test]
    fn the_latency_histogram_is_cumulative() {
        let stats = QueryStats::default();
        stats.latency[0].store(2, Ordering::Relaxed);
        stats.latency[LATENCY_BOUNDS_MS.len()].store(1, Ordering::Relaxed);
        let mut out = Exposition::default();
        queries(&mut out, &stats);
        let text = out.finish();
        for line in ["_bucket{le=\"0.001\"} 2", "_bucket{le=\"30\"} 2", "_bucket{le=\"+Inf\"} 3", "_count 3"] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
