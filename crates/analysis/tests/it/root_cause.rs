//! The ranking on recorded faults of two systems: who is named first, and how often rightly.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use tracewell_analysis::{Builder, Traces, rank};

use crate::data;

struct Label {
    case: String,
    service: String,
    fault: String,
    inject_ns: u64,
}

fn labels() -> Vec<Label> {
    let Some(bytes) = data::bytes("root-cause/labels.jsonl") else { return Vec::new() };
    let label = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| value[key].as_str().unwrap().to_owned();
        let inject_ns = value["inject_unix_nano"].as_u64().unwrap();
        Label { case: text("case"), service: text("root_cause_service"), fault: text("fault"), inject_ns }
    };
    String::from_utf8(bytes).unwrap().lines().map(label).collect()
}

/// The traces of a case that begin within a time.
fn within(sets: &[(Traces, Range<u64>)]) -> Traces {
    let mut builder = Builder::new();
    for (traces, time) in sets {
        data::copy(&mut builder, traces, time.clone());
    }
    builder.finish()
}

/// Fault-free traces of a day; where none were recorded, those of the day's cases before their faults.
fn normal(labels: &[Label], day: &str) -> Traces {
    let recorded = ["2022-08-23_1700_NORMAL", "2023-01-29_0850_NORMAL", "2023-01-30_1139_NORMAL"];
    if let Some(name) = recorded.iter().find(|name| name.starts_with(day)) {
        return data::root_cause(name).unwrap();
    }
    let cases = labels.iter().filter(|label| label.case.starts_with(day));
    let sets: Vec<_> = cases.map(|label| (data::root_cause(&label.case).unwrap(), 0..label.inject_ns)).collect();
    within(&sets)
}

/// Faults of one group: how many there are, and in how many the service at fault is first, or within three.
#[derive(Default)]
struct Row {
    cases: usize,
    first: usize,
    within_three: usize,
}

#[test]
fn the_service_at_fault_is_named() {
    table(|label| label.inject_ns..u64::MAX);
}

#[test]
fn the_service_at_fault_is_named_in_traces_that_begin_before_the_fault() {
    table(|_| 0..u64::MAX);
}

/// Prints where the service at fault stands in each case, and holds the figures to what is promised.
fn table(time: impl Fn(&Label) -> Range<u64>) {
    let labels = labels();
    let mut normals: HashMap<&str, Traces> = HashMap::new();
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for label in &labels {
        let day = &label.case[..10];
        let normal = normals.entry(day).or_insert_with(|| normal(&labels, day));
        let now = within(&[(data::root_cause(&label.case).unwrap(), time(label))]);
        let ranking = rank::rank(normal, &now);
        let place = ranking.iter().position(|suspect| suspect.service == label.service);
        let group = match (label.fault.as_str(), label.case.contains("_ts-")) {
            ("return" | "exception", true) => "TrainTicket, return and exception",
            ("return" | "exception", false) => "OnlineBoutique, return and exception",
            _ => "both, processor and network",
        };
        let row = rows.entry(group).or_default();
        row.cases += 1;
        row.first += usize::from(place == Some(0));
        row.within_three += usize::from(place.is_some_and(|place| place < 3));
        let shown = place.map_or("-".to_owned(), |place| (place + 1).to_string());
        let top = ranking.first().map_or(String::new(), |top| format!("{} {:.1} bits", top.service, top.score));
        println!("{shown:>3}  {:<62} {top}", label.case);
        if label.fault == "network_delay" {
            let at_fault = &ranking[place.unwrap()];
            let edge = at_fault.edge.as_ref().unwrap();
            assert!(edge.caller == label.service || edge.callee == label.service, "{}: {edge:?}", label.case);
        }
    }
    for (group, row) in rows {
        let part = |count: usize| count as f64 / row.cases as f64;
        println!(
            "{group:<40} {:>3} cases  first {:.2}  within three {:.2}",
            row.cases,
            part(row.first),
            part(row.within_three)
        );
        let (first, within_three) = match group {
            "TrainTicket, return and exception" => (0.85, 0.95),
            "OnlineBoutique, return and exception" => (0.6, 0.9),
            _ => (0.95, 1.0),
        };
        assert!(part(row.first) >= first && part(row.within_three) >= within_three, "{group}");
    }
}
