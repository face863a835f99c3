//! Broken traces: whole traffic is broken in every way, and the hop and its cause must be named; healthy traffic,
//! generated and real, must be left alone.

mod damage;
mod system;

use std::collections::BTreeMap;

use tracewell_analysis::broken::{self, BrokenHop, Options};
use tracewell_analysis::{Builder, Traces};

use damage::{ALL, Damage, Edge};
use system::{System, build, name};

use super::data;

fn find(traces: &Traces) -> Vec<BrokenHop> {
    broken::find(traces, &Options::default())
}

fn shown(hops: &[BrokenHop]) -> String {
    hops.iter()
        .map(|hop| format!("\n    {} [{:?} {}] {:?}", hop.sentence, hop.cause, hop.confidence, hop.reasons))
        .collect()
}

/// Hits, false alarms, misses.
#[derive(Debug, Default, Clone, Copy)]
struct Score {
    hit: usize,
    wrong: usize,
    missed: usize,
    cause: usize,
}

impl Score {
    fn precision(self) -> f64 {
        self.hit as f64 / (self.hit + self.wrong).max(1) as f64
    }

    fn recall(self) -> f64 {
        self.hit as f64 / (self.hit + self.missed).max(1) as f64
    }

    /// Share of the hops found whose cause is right.
    fn causes(self) -> f64 {
        self.cause as f64 / self.hit.max(1) as f64
    }

    fn add(&mut self, other: Score) {
        self.hit += other.hit;
        self.wrong += other.wrong;
        self.missed += other.missed;
        self.cause += other.cause;
    }
}

/// Lost calls from which a hop must be found; those with fewer may be.
const LOST_MIN: usize = 8;

fn score(done: &damage::Done, found: &[BrokenHop], of_service: usize) -> Score {
    let mut score = Score::default();
    let edge = |hop: &BrokenHop| (hop.caller.clone().unwrap_or_default(), hop.callee.clone().unwrap_or_default());
    let named = |edge: &Edge| (name(edge.0), name(edge.1));
    for hop in found {
        let lost = done.lost.keys().any(|edge_lost| named(edge_lost) == edge(hop));
        // A service that stands first has no caller, and one that nobody names has no name: what is around it counts.
        let around = (hop.caller.is_none() && of_service == 0)
            || (hop.callee.is_none() && done.lost.keys().any(|lost| Some(name(lost.0)) == hop.caller));
        if lost || around {
            score.hit += 1;
            score.cause += usize::from(hop.cause == done.cause);
        } else {
            score.wrong += 1;
        }
    }
    for (lost, calls) in &done.lost {
        let found = found
            .iter()
            .any(|hop| edge(hop) == named(lost) || (hop.callee.is_none() && Some(name(lost.0)) == hop.caller));
        score.missed += usize::from(!found && *calls >= LOST_MIN);
    }
    if of_service == 0 && done.lost.is_empty() {
        score.missed += usize::from(found.is_empty());
    }
    score
}

#[test]
fn every_damage_is_named() {
    let mut table: BTreeMap<usize, Score> = BTreeMap::new();
    let mut misses = Vec::new();
    for seed in 0..4u64 {
        let system = System::new(1000 + seed, true);
        let whole = system.traffic(seed, 500, 20.0);
        let edges = busiest(&whole);
        for (number, damage) in ALL.into_iter().enumerate() {
            let several = |edge: &&Edge| {
                let side = if damage.is_of_edge() { edge.0 } else { edge.1 };
                !(damage.needs_instances() || damage == Damage::HeaderInstance) || system.instances[side] > 1
            };
            let targets: Vec<Edge> = edges.iter().filter(several).copied().collect();
            for pick in 0..4 {
                let edge = targets[(pick * 7 + number * 3 + seed as usize) % targets.len()];
                let done = damage.apply(&whole, edge, seed * 100 + number as u64);
                let found = find(&build(&done.traces));
                let scored = score(&done, &found, edge.1);
                if scored.wrong + scored.missed + (scored.hit - scored.cause) > 0 {
                    let lost: Vec<String> =
                        done.lost.iter().map(|((from, to), n)| format!("{}>{} {n}", name(*from), name(*to))).collect();
                    misses.push(format!("{damage:?} seed {seed} {lost:?} {scored:?}{}", shown(&found)));
                }
                table.entry(number).or_default().add(scored);
            }
        }
    }
    for miss in &misses {
        println!("{miss}");
    }
    println!("{:<22}{:>6}{:>11}{:>8}{:>8}", "damage", "hops", "precision", "recall", "cause");
    let mut all = Score::default();
    for (number, score) in &table {
        let hops = score.hit + score.missed;
        let damage = format!("{:?}", ALL[*number]);
        let (precision, recall, cause) = (score.precision(), score.recall(), score.causes());
        println!("{damage:<22}{hops:>6}{precision:>11.3}{recall:>8.3}{cause:>8.3}");
        all.add(*score);
    }
    println!(
        "{:<22}{:>6}{:>11.3}{:>8.3}{:>8.3}",
        "all",
        all.hit + all.missed,
        all.precision(),
        all.recall(),
        all.causes()
    );
    assert!(all.precision() >= 0.95 && all.recall() >= 0.95 && all.causes() >= 0.95, "{all:?}");
}

/// The edges of a system that are called often enough to tell, in order of numbers.
fn busiest(whole: &[system::RawTrace]) -> Vec<Edge> {
    let mut calls: BTreeMap<Edge, usize> = BTreeMap::new();
    for trace in whole {
        let by_id: BTreeMap<_, _> = trace.spans.iter().map(|span| (span.id, span)).collect();
        for span in &trace.spans {
            if let Some(outer) = span.parent.and_then(|parent| by_id.get(&parent))
                && span.kind == tracewell_model::SpanKind::Server
            {
                *calls.entry((outer.service, span.service)).or_default() += 1;
            }
        }
    }
    calls.into_iter().filter(|(_, calls)| *calls >= 100).map(|(edge, _)| edge).collect()
}

#[test]
fn healthy_traffic_is_left_alone() {
    for seed in 0..8u64 {
        let system = System::new(2000 + seed, seed % 2 == 0);
        let found = find(&build(&system.traffic(seed, 400, 40.0)));
        assert!(found.is_empty(), "seed {seed}: {}", shown(&found));
    }
}

#[test]
fn real_traffic_is_left_alone() {
    let mut names: Vec<String> =
        ["load25", "load50", "load75"].map(|load| format!("clock-skew/hotel-{load}.json.zst")).into();
    let others =
        ["smartthings-mobile-web-install", "smartthings-oauth-authorization", "yelp", "ascend", "messaging-kafka"];
    names.extend(others.map(|name| format!("traces/otlp/{name}.json")));
    for name in &names {
        let Some(traces) = data::records(name) else { continue };
        let found = find(&traces);
        assert!(found.is_empty(), "{name}: {}", shown(&found));
    }
    let Some(folder) = data::path("root-cause") else { return };
    let mut cases: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    cases.sort();
    for case in cases.iter().filter_map(|case| case.strip_suffix(".csv.zst")).filter(|case| case.contains("NORMAL")) {
        let Some(traces) = data::root_cause(case) else { continue };
        let found = find(&traces);
        assert!(found.is_empty(), "{case}: {}", shown(&found));
    }
}

#[test]
fn nothing_comes_from_nothing() {
    assert!(find(&Traces::default()).is_empty());
    assert!(find(&Builder::from_records(&[], &[])).is_empty());
}
