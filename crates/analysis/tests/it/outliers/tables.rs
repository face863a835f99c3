//! Tables of requests: which calls make them slow.

use std::collections::BTreeMap;

use tracewell_analysis::outliers::table::{Column, Table, TableExplanation, explain};

use crate::data;

/// A table and the label of each request: 0 for a healthy one, else which of the injected delays it suffers from.
struct Labelled {
    name: String,
    table: Table,
    labels: Vec<u32>,
}

/// The files of a tar archive (POSIX ustar: blocks of 512 bytes, a header before each file).
fn files(archive: &[u8]) -> Vec<(String, &[u8])> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches(['\0', ' ']).to_owned();
    let (mut files, mut at) = (Vec::new(), 0);
    while let Some(header) = archive.get(at..at + 512).filter(|header| header[0] != 0) {
        let size = usize::from_str_radix(text(&header[124..136]).trim(), 8).unwrap();
        let kind = header[156];
        if kind == b'0' || kind == 0 {
            files.push((text(&header[..100]), &archive[at + 512..at + 512 + size]));
        }
        at += 512 + size.div_ceil(512) * 512;
    }
    files
}

fn labelled(name: &str, csv: &[u8]) -> Labelled {
    let csv = std::str::from_utf8(csv).unwrap();
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let rows: Vec<Vec<f64>> = lines.map(|line| line.split(',').map(|value| value.parse().unwrap()).collect()).collect();
    let column = |name: &str| {
        let place = names.iter().position(|other| *other == name).unwrap();
        rows.iter().map(|row| row[place]).collect::<Vec<f64>>()
    };
    let calls = names.iter().filter(|name| !["Latency", "anomaly"].contains(name));
    let columns = calls.map(|name| Column { name: (*name).to_owned(), values_ms: column(name) }).collect();
    let labels = column("anomaly").into_iter().map(|label| label as u32).collect();
    Labelled { name: name.to_owned(), table: Table { latencies_ms: column("Latency"), columns }, labels }
}

/// True and false positives and false negatives.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    hits: f64,
    false_alarms: f64,
    missed: f64,
}

impl Counts {
    fn of(pairs: impl Iterator<Item = (bool, bool)>) -> Self {
        pairs.fold(Self::default(), |counts, pair| match pair {
            (true, true) => Self { hits: counts.hits + 1.0, ..counts },
            (true, false) => Self { false_alarms: counts.false_alarms + 1.0, ..counts },
            (false, true) => Self { missed: counts.missed + 1.0, ..counts },
            (false, false) => counts,
        })
    }

    fn add(&mut self, other: Self) {
        self.hits += other.hits;
        self.false_alarms += other.false_alarms;
        self.missed += other.missed;
    }

    fn f1(self) -> f64 {
        2.0 * self.hits / (2.0 * self.hits + self.false_alarms + self.missed).max(1.0)
    }
}

/// How well a pattern names a label: the F1 of the best pattern for it.
fn best_for(label: u32, found: &TableExplanation, labels: &[u32]) -> f64 {
    let of = |number: u32| {
        let pairs = found.anomalous.iter().zip(labels);
        Counts::of(pairs.map(|(pattern, is)| (*pattern == Some(number), *is == label))).f1()
    };
    (0..found.patterns.len() as u32).map(of).fold(0.0, f64::max)
}

/// The tables of Traini and Cortellessa's evaluation of DeLag: two systems, two different delays injected into one to three
/// procedures each in every table.
#[test]
fn injected_delays_are_found_in_tables_of_requests() {
    let Some(archive) = data::bytes("outliers/delag-even-tables.tar.zst") else { return };
    let mut systems: BTreeMap<String, Vec<(f64, f64, Counts, String)>> = BTreeMap::new();
    let mut healthy_patterns = 0;
    for (name, csv) in files(&archive).into_iter().filter(|(name, _)| name.ends_with(".csv")) {
        let case = labelled(&name, csv);
        let found = explain(&case.table);
        assert_eq!(found.anomalous.len(), case.labels.len());
        let counts = Counts::of(found.anomalous.iter().zip(&case.labels).map(|(found, is)| (found.is_some(), *is > 0)));
        let causes = (best_for(1, &found, &case.labels) + best_for(2, &found, &case.labels)) / 2.0;
        let system = case.name.rsplit('/').nth(1).unwrap_or_default().to_owned();
        let patterns = found.patterns.len();
        systems.entry(system).or_default().push((counts.f1(), causes, counts, format!("{name}, {patterns} patterns")));
        healthy_patterns += explain(&healthy(&case)).patterns.len();
    }
    println!("{:<14}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}", "system", "tables", "mean", "pooled", "median", "worst", "causes");
    for (system, mut results) in systems {
        results.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mean =
            |of: fn(&(f64, f64, Counts, String)) -> f64| results.iter().map(of).sum::<f64>() / results.len() as f64;
        let mut pooled = Counts::default();
        results.iter().for_each(|result| pooled.add(result.2));
        let (mean, causes) = (mean(|result| result.0), mean(|result| result.1));
        let (median, worst) = (results[results.len() / 2].0, results[0].0);
        let tables = results.len();
        println!("{system:<14}{tables:>8}{mean:>8.4}{:>8.4}{median:>8.4}{worst:>8.4}{causes:>8.4}", pooled.f1());
        results.iter().take(5).for_each(|result| println!("    {:.4} {:.4} {}", result.0, result.1, result.3));
        assert!(mean >= 0.99 && pooled.f1() >= 0.99, "{system}: mean {mean}, pooled {}", pooled.f1());
        assert!(worst >= 0.93 && causes >= 0.98, "{system}: worst {worst}, causes {causes}");
    }
    assert_eq!(healthy_patterns, 0, "nothing is to be found among the healthy requests alone");
}

/// The healthy requests of a table.
fn healthy(case: &Labelled) -> Table {
    let keep = |values: &[f64]| {
        values.iter().zip(&case.labels).filter(|(_, label)| **label == 0).map(|(value, _)| *value).collect()
    };
    let columns = case.table.columns.iter();
    Table {
        latencies_ms: keep(&case.table.latencies_ms),
        columns: columns
            .map(|column| Column { name: column.name.clone(), values_ms: keep(&column.values_ms) })
            .collect(),
    }
}

#[test]
fn odd_tables_are_answered() {
    let column = |values_ms: Vec<f64>| Column { name: "a".into(), values_ms };
    for (latencies_ms, columns) in [
        (vec![], vec![]),
        (vec![1.0; 100], vec![]),
        (vec![1.0; 100], vec![column(vec![])]),
        (vec![f64::NAN; 100], vec![column(vec![f64::NAN; 100])]),
        (vec![1.0; 100], vec![column(vec![f64::INFINITY; 50])]),
    ] {
        assert_eq!(explain(&Table { latencies_ms, columns }).patterns, []);
    }
}

#[test]
fn a_call_that_is_not_always_made_can_be_the_reason() {
    let slow = |request: usize| request.is_multiple_of(10);
    let noise = |request: usize| (request * 7919 % 101) as f64 / 10.0;
    let latencies_ms = (0..1000).map(|request| 100.0 + noise(request) + if slow(request) { 50.0 } else { 0.0 });
    let made = |request: usize| request.is_multiple_of(5);
    let lookup = (0..1000).map(|request| match (made(request), slow(request)) {
        (false, _) => f64::NAN,
        (true, false) => 2.0 + noise(request + 3) / 10.0,
        (true, true) => 52.0 + noise(request + 5) / 10.0,
    });
    let columns = vec![Column { name: "lookup".into(), values_ms: lookup.collect() }];
    let found = explain(&Table { latencies_ms: latencies_ms.collect(), columns });
    assert_eq!(found.patterns.len(), 1);
    let pattern = &found.patterns[0];
    assert_eq!((pattern.requests, pattern.precision, pattern.recall), (100, 1.0, 1.0));
    assert_eq!(pattern.conditions[0].column, "lookup");
    assert!(pattern.conditions[0].from_ms.is_some_and(|from| (3.0..52.0).contains(&from)));
    assert!(found.anomalous.iter().enumerate().all(|(request, pattern)| pattern.is_some() == slow(request)));
    assert!(pattern.what.starts_with("100 requests (10.0 %) in which lookup takes at least"), "{}", pattern.what);
}
