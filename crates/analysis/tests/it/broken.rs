//! Broken traces: whole traffic is broken in every way, and the hop and its cause must be named; healthy traffic,
//! generated and real, must be left alone.

mod damage;
mod system;

use std::collections::BTreeMap;

use tracewell_analysis::broken::{self, BrokenHop, Options};
use tracewell_analysis::{Builder, Traces};

use damage::{ALL, Damage, Edge};
use system::{Naming, RawTrace, System, build, name};

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

fn score(done: &damage::Done, found: &[BrokenHop], of_service: usize, name: &dyn Fn(usize) -> String) -> Score {
    let mut score = Score::default();
    let named = |edge: &Edge| (Some(name(edge.0)), Some(name(edge.1)));
    // A service that stands first has no caller, and one that nobody names has no name: what is around it counts.
    let is = |hop: &BrokenHop, lost: &Edge| {
        let edge = named(lost);
        (hop.caller.clone(), hop.callee.clone()) == edge || (hop.callee.is_none() && hop.caller == edge.0)
    };
    for hop in found {
        let around = hop.caller.is_none() && of_service == 0;
        if around || done.lost.keys().any(|lost| is(hop, lost)) {
            score.hit += 1;
            score.cause += usize::from(hop.cause == done.cause);
        } else {
            score.wrong += 1;
        }
    }
    let missed = |(lost, calls): &(&Edge, &usize)| **calls >= LOST_MIN && !found.iter().any(|hop| is(hop, lost));
    score.missed += done.lost.iter().filter(missed).count();
    score.missed += usize::from(of_service == 0 && done.lost.is_empty() && found.is_empty());
    score
}

/// Traffic that is whole, and what is known of who made it.
struct Whole<'a> {
    title: String,
    traces: Vec<RawTrace>,
    name: &'a dyn Fn(usize) -> String,
    /// Whether a service runs in several instances.
    several: &'a dyn Fn(usize) -> bool,
}

/// Breaks traffic in each of the ways, `targets` edges each, and tells how well that was seen.
fn measure(whole: &Whole<'_>, damages: &[Damage], targets: usize, table: &mut BTreeMap<String, Score>) {
    let (edges, answered) = (busiest(&whole.traces), damage::answered(&whole.traces));
    for (number, damage) in damages.iter().enumerate() {
        let may = |edge: &&Edge| {
            let side = if damage.is_of_edge() { edge.0 } else { edge.1 };
            !(damage.needs_instances() || *damage == Damage::HeaderInstance) || (whole.several)(side)
        };
        let edges: Vec<Edge> = edges.iter().filter(may).copied().collect();
        for pick in 0..targets.min(edges.len()) {
            let edge = edges[(pick * 7 + number * 3) % edges.len()];
            let done = damage.apply(&whole.traces, &answered, edge, 100 + number as u64);
            let found = find(&build(&done.traces, whole.name));
            let scored = score(&done, &found, edge.1, whole.name);
            if scored.wrong + scored.missed + (scored.hit - scored.cause) > 0 {
                let lost = done
                    .lost
                    .iter()
                    .map(|(edge, calls)| format!("{} -> {} {calls}", (whole.name)(edge.0), (whole.name)(edge.1)));
                let lost: Vec<String> = lost.collect();
                println!("{} {damage:?} {lost:?} {scored:?}{}", whole.title, shown(&found));
            }
            table.entry(format!("{number:02} {damage:?}")).or_default().add(scored);
        }
    }
}

/// Prints what was measured; the sum.
fn sum(table: &BTreeMap<String, Score>) -> Score {
    println!("{:<22}{:>6}{:>11}{:>8}{:>8}", "damage", "hops", "precision", "recall", "cause");
    let mut all = Score::default();
    table.values().for_each(|score| all.add(*score));
    for (damage, score) in table.iter().map(|(damage, score)| (damage.as_str(), *score)).chain([("all", all)]) {
        let (precision, recall, cause) = (score.precision(), score.recall(), score.causes());
        println!("{damage:<22}{:>6}{precision:>11.3}{recall:>8.3}{cause:>8.3}", score.hit + score.missed);
    }
    all
}

fn measure_system(seed: u64, naming: Naming, per_second: f64, damages: &[Damage], table: &mut BTreeMap<String, Score>) {
    let system = System::new(1000 + seed, naming);
    let whole = Whole {
        title: format!("{naming:?} {seed}"),
        traces: system.traffic(seed, 500, per_second),
        name: &name,
        several: &|service| system.instances[service] > 1,
    };
    measure(&whole, damages, 3, table);
}

#[test]
fn every_damage_is_named() {
    let mut table = BTreeMap::new();
    (0..4).for_each(|seed| measure_system(seed, Naming::Peer, 20.0, &ALL, &mut table));
    let all = sum(&table);
    assert!(all.precision() >= 0.95 && all.recall() >= 0.95 && all.causes() >= 0.95, "{all:?}");
}

#[test]
fn callers_need_not_say_whom_they_call() {
    // A service of which nothing is left and that nobody names has no name: only parts can be missed.
    let parts: Vec<Damage> =
        ALL.into_iter().filter(|damage| !matches!(damage, Damage::Removed | Damage::Dark)).collect();
    // Without any names, callees are told by the order of the calls, which is less sure.
    for (naming, least) in [(Naming::Operation, 0.95), (Naming::Nothing, 0.8)] {
        let mut table = BTreeMap::new();
        measure_system(5, naming, 20.0, &parts, &mut table);
        let all = sum(&table);
        assert!(all.precision() >= least && all.recall() >= least && all.causes() >= least, "{naming:?}: {all:?}");
    }
}

/// Of a call that nobody recorded and that leaves nothing behind, nobody can tell that it was made: a leaf that is gone,
/// or that a sampler leaves out at random. What leaves something behind, or is divided from the rest, is found.
#[test]
fn callers_need_not_record_that_they_call() {
    let mut table = BTreeMap::new();
    // Below a service that makes no spans and passes nothing on, it looks as if its caller lost the context.
    let told: Vec<Damage> =
        ALL.into_iter().filter(|damage| !matches!(damage, Damage::Dark | Damage::AtRandom(_))).collect();
    for seed in 0..4 {
        let system = System::new(1000 + seed, Naming::Peer);
        let whole = Whole {
            title: format!("no calls {seed}"),
            traces: system::without_calls(system.traffic(seed, 500, 20.0)),
            name: &name,
            several: &|service| system.instances[service] > 1,
        };
        measure(&whole, &told, 3, &mut table);
    }
    let all = sum(&table);
    assert!(all.precision() >= 0.95 && all.recall() >= 0.8 && all.causes() >= 0.95, "{all:?}");
    let mut divided = Score::default();
    for (_, score) in table.iter().filter(|(damage, _)| damage.contains("Header") || damage.contains("Ratio")) {
        divided.add(*score);
    }
    assert!(divided.recall() >= 0.95, "{divided:?}");
}

#[test]
fn much_at_once_does_not_hide_a_stripped_header() {
    let headers =
        [Damage::Header(1.0), Damage::Header(0.5), Damage::Header(0.1), Damage::HeaderInstance, Damage::Ratio(0.5)];
    for per_second in [200.0, 4000.0] {
        let mut table = BTreeMap::new();
        (0..2).for_each(|seed| measure_system(seed, Naming::Peer, per_second, &headers, &mut table));
        let all = sum(&table);
        assert!(all.precision() >= 0.95 && all.recall() >= 0.95 && all.causes() >= 0.9, "{per_second}: {all:?}");
    }
}

#[test]
fn real_traces_that_were_broken() {
    let names =
        ["root-cause/2022-08-23_1700_NORMAL", "root-cause/2023-01-30_1139_NORMAL", "clock-skew/hotel-load25.json.zst"];
    let mut table = BTreeMap::new();
    for file in names {
        let case = file.strip_prefix("root-cause/");
        let Some(traces) = case.map_or_else(|| data::records(file), data::root_cause) else { return };
        let (traces, names) = system::from(&traces);
        let name = |service: usize| names[service].clone();
        let whole = Whole { title: file.to_owned(), traces, name: &name, several: &|_| false };
        // A whole service that nobody names cannot be named.
        let parts: Vec<Damage> =
            ALL.into_iter().filter(|damage| !matches!(damage, Damage::Removed | Damage::Dark)).collect();
        measure(&whole, &parts, 2, &mut table);
    }
    let all = sum(&table);
    assert!(all.precision() >= 0.9 && all.recall() >= 0.9 && all.causes() >= 0.9, "{all:?}");
}

/// The edges of a system that are called often enough to tell, in order of numbers.
fn busiest(whole: &[RawTrace]) -> Vec<Edge> {
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
    for seed in 0..12u64 {
        let naming = [Naming::Peer, Naming::Operation, Naming::Nothing][seed as usize % 3];
        let system = System::new(2000 + seed, naming);
        let traffic = system.traffic(seed, 400, 40.0);
        let found = find(&build(&traffic, &name));
        assert!(found.is_empty(), "seed {seed}: {}", shown(&found));
        let found = find(&build(&system::without_calls(traffic), &name));
        assert!(found.is_empty(), "seed {seed}, without calls: {}", shown(&found));
    }
}

#[test]
fn a_sample_is_no_loss() {
    for seed in 0..6u64 {
        let system = System::new(2000 + seed, Naming::Peer);
        let mut traffic = system.traffic(seed, 1200, 40.0);
        let whole = traffic.len();
        // Every other trace: of a message and what follows it up, often only one.
        let mut random = system::Random(seed);
        traffic.retain(|_| random.unit() < 0.5);
        let found = find(&build(&traffic, &name));
        assert!(found.is_empty(), "seed {seed}, {} of {whole}: {}", traffic.len(), shown(&found));
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
