//! The shop, its faults, and what is said of each: the promise that everything else serves.
//!
//! One shop runs. A healthy window comes first; then every fault is on for a while, and `tracewell explain` compares its
//! window with the healthy one. The verdict must name what the table of faults names.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tracewell_demo::faults::{Expected, FAULTS, Fault};

use crate::BINARY;
use crate::commands::{Serving, run, stdout};

/// Visitors per second: enough for some thirty checkouts in a window.
const RATE: &str = "20";

/// How long the shop is watched while nothing is wrong, and with each fault.
const HEALTHY: Duration = Duration::from_secs(20);
const FAULTY: Duration = Duration::from_secs(12);

/// Until requests that began before a switch have ended and their spans have arrived.
const SETTLE: Duration = Duration::from_secs(4);

/// From a moment to another, in nanoseconds since the epoch.
type Window = (u128, u128);

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_nanos()
}

fn watch(time: Duration) -> Window {
    let start = now();
    std::thread::sleep(time);
    let window = (start, now());
    std::thread::sleep(SETTLE);
    window
}

fn explain(url: &str, window: Window, against: Window) -> Value {
    let [since, until, against_since, against_until] =
        [window.0, window.1, against.0, against.1].map(|moment| moment.to_string());
    let arguments = ["explain", "--server", url, "--format", "json", "--since", &since, "--until", &until];
    let against = ["--against-since", &against_since, "--against-until", &against_until];
    serde_json::from_str(&stdout(&run(&[&arguments[..], &against[..]].concat()))).expect("an explanation is JSON")
}

/// What differs between a verdict and the expected one; nothing if it says all of it.
fn differences(verdict: &Value, expected: &Expected) -> Vec<String> {
    let mut differences = Vec::new();
    let mut check = |what: &str, found: &Value, expected: Option<&str>| {
        if let Some(expected) = expected
            && found != expected
        {
            differences.push(format!("{what} is {found}, expected {expected:?}"));
        }
    };
    check("kind", &verdict["kind"], Some(expected.kind.as_str()));
    check("service", &verdict["service"], expected.service);
    check("operation", &verdict["operation"], expected.operation);
    check("statement", &verdict["statement"], expected.statement);
    check("direction", &verdict["direction"], expected.direction.map(|direction| direction.as_str()));
    check("caller", &verdict["edge"]["caller"], expected.edge.map(|edge| edge.caller));
    check("callee", &verdict["edge"]["callee"], expected.edge.map(|edge| edge.callee));
    check("attribute", &verdict["attribute"]["key"], expected.attribute.map(|(key, _)| key));
    check("value", &verdict["attribute"]["value"], expected.attribute.map(|(_, value)| value));
    differences
}

/// The verdicts of single traces that the fault's own query finds.
fn of_single_traces(url: &str, fault: &Fault, window: Window) -> Vec<Value> {
    let [since, until] = [window.0, window.1].map(|moment| moment.to_string());
    let found = ["query", fault.query, "--server", url, "--json", "--since", &since, "--until", &until, "--limit", "5"];
    let found: Value = serde_json::from_str(&stdout(&run(&found))).expect("an answer is JSON");
    let ids = found["traces"].as_array().expect("traces are a list").iter().map(|trace| trace["traceId"].as_str());
    ids.map(|id| {
        let answer = run(&["explain", id.expect("a trace has an id"), "--server", url, "--format", "json"]);
        serde_json::from_str::<Value>(&stdout(&answer)).expect("an explanation is JSON")["verdict"].clone()
    })
    .collect()
}

/// One shop, and these faults one after the other.
fn each_leads_to_its_verdict(faults: &[Fault]) {
    let demo = Serving::start(&["demo", "--http-listen", "127.0.0.1:0", "--rate", RATE]);
    let url = format!("http://{}", demo.address);
    let switch = |fault: &Fault, on: &str| {
        let done = Command::new(BINARY).args(["demo", "fault", fault.name, on, "--server", &url]).output();
        assert!(done.expect("the binary runs").status.success(), "{} {on}", fault.name);
    };
    std::thread::sleep(SETTLE);
    let healthy = watch(HEALTHY);
    let mut wrong = Vec::new();
    let mut say = |name: &str, verdict: &Value, differences: Vec<String>| {
        println!("{name:<34} {} {}", verdict["confidence"], verdict["sentence"]);
        wrong.extend(differences.into_iter().map(|difference| format!("{name}: {difference}\n  in {verdict}")));
    };
    for fault in faults {
        switch(fault, "on");
        std::thread::sleep(Duration::from_secs(1));
        let window = watch(FAULTY);
        switch(fault, "off");
        let verdict = explain(&url, window, healthy)["verdict"].clone();
        say(fault.name, &verdict, differences(&verdict, &fault.expected));
        if matches!(fault.name, "slow-query" | "congestion-request" | "congestion-response") {
            // One request may be slow for another reason as well, such as a payment that took long that time.
            let verdicts = of_single_traces(&url, fault, window);
            let (right, wrong): (Vec<&Value>, Vec<&Value>) =
                verdicts.iter().partition(|verdict| differences(verdict, &fault.expected).is_empty());
            let (verdict, found) = match (right.first(), wrong.first()) {
                (Some(verdict), _) if right.len() > wrong.len() => (*verdict, Vec::new()),
                (_, Some(verdict)) => (*verdict, differences(verdict, &fault.expected)),
                _ => panic!("{}: the fault shows in no trace", fault.name),
            };
            say(&format!("{}, {} of {} traces", fault.name, right.len(), verdicts.len()), verdict, found);
        }
    }
    std::thread::sleep(SETTLE);
    let later = watch(HEALTHY);
    let verdict = explain(&url, later, healthy)["verdict"].clone();
    let calm = if verdict["kind"] == "nothing" { Vec::new() } else { vec!["expected nothing".to_owned()] };
    say("no fault", &verdict, calm);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// Two shops, so that they can be watched at the same time.

#[test]
fn slow_and_repeated_calls_of_the_demo_lead_to_their_verdicts() {
    each_leads_to_its_verdict(&FAULTS[..6]);
}

#[test]
fn lost_wrong_and_new_things_of_the_demo_lead_to_their_verdicts() {
    each_leads_to_its_verdict(&FAULTS[6..]);
}
