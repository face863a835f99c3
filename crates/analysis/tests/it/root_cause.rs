//! The ranking on recorded faults of two systems.

use crate::data;
use tracewell_analysis::{Builder, Traces, rank};

struct Label {
    case: String,
    service: String,
    fault: String,
    inject_ns: u64,
}

fn labels() -> Vec<Label> {
    let Some(bytes) = data::bytes("root-cause/labels.jsonl") else { return Vec::new() };
    let text = String::from_utf8(bytes).unwrap();
    text.lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let get = |key: &str| value[key].as_str().unwrap().to_owned();
            Label {
                case: get("case"),
                service: get("root_cause_service"),
                fault: get("fault"),
                inject_ns: value["inject_unix_nano"].as_u64().unwrap(),
            }
        })
        .collect()
}

/// The traces of some sets that begin within a time.
fn within(sets: &[(&Traces, std::ops::Range<u64>)]) -> Traces {
    let mut builder = Builder::new();
    for (traces, time) in sets {
        data::copy(&mut builder, traces, time.clone());
    }
    builder.finish()
}

#[test]
fn table() {
    let labels = labels();
    let full = std::env::var("FULL").is_ok();
    let verbose = std::env::var("VERBOSE").is_ok();
    let only = std::env::var("ONLY").unwrap_or_default();
    let mut normals: std::collections::HashMap<String, Traces> = std::collections::HashMap::new();
    let mut summary: std::collections::BTreeMap<String, (usize, usize, usize)> = std::collections::BTreeMap::new();
    for label in &labels {
        if !label.case.contains(&only) {
            continue;
        }
        let day = &label.case[..10];
        if !normals.contains_key(day) {
            let normal = match day {
                "2022-08-23" => data::root_cause("2022-08-23_1700_NORMAL").unwrap(),
                "2023-01-29" => data::root_cause("2023-01-29_0850_NORMAL").unwrap(),
                "2023-01-30" => data::root_cause("2023-01-30_1139_NORMAL").unwrap(),
                _ => {
                    let sets: Vec<_> = labels
                        .iter()
                        .filter(|label| label.case.starts_with(day))
                        .map(|label| (data::root_cause(&label.case).unwrap(), 0..label.inject_ns))
                        .collect();
                    within(&sets.iter().map(|(traces, time)| (traces, time.clone())).collect::<Vec<_>>())
                }
            };
            normals.insert(day.to_owned(), normal);
        }
        let now = data::root_cause(&label.case).unwrap();
        let now = if full { now } else { within(&[(&now, label.inject_ns..u64::MAX)]) };
        let ranking = rank::rank(&normals[day], &now);
        let place = ranking.iter().position(|suspect| suspect.service == label.service).map_or(99, |at| at + 1);
        let group = match (label.fault.as_str(), label.case.contains("_ts-")) {
            ("return" | "exception", true) => "TT code",
            ("return" | "exception", false) => "OB code",
            (_, true) => "TT load",
            (_, false) => "OB load",
        };
        let entry = summary.entry(group.to_owned()).or_default();
        entry.0 += 1;
        entry.1 += usize::from(place == 1);
        entry.2 += usize::from(place <= 3);
        println!("{place:>3} {group} {}", label.case);
        for (at, suspect) in ranking.iter().enumerate().take(if verbose { 6 } else { 3 }) {
            let parts: Vec<String> = suspect.parts.iter().map(|part| format!("{part:.1}")).collect();
            println!("        {} {:<28} {:.2} [{}]", at + 1, suspect.service, suspect.score, parts.join(" "));
            for evidence in suspect.evidence.iter().take(if verbose { 5 } else if at == 0 || suspect.service == label.service { 1 } else { 0 }) {
                println!("            {:.2} {} (n {}/{})", evidence.bits, evidence.text, evidence.calls_before, evidence.calls_now);
            }
        }
    }
    println!("{summary:?}");
}
