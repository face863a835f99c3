//! What can be said of a set with no other time to compare it with: where its time goes.
//!
//! **Algorithm.** Time on the critical paths is summed by place ([`Place`]). A way between two services is to blame if it
//! takes many times as long as other ways do ([`ways`]) and a good part of the time. Work
//! that takes most of the time in a system of many services is named, and that it may be usual. **Complexity.** Linear in
//! spans, n log n in places.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::profile::{Place, Profile, Spent, depth};
use super::{Confidence, Evidence, Kind, Verdict, Weighed, one, ways, words};
use crate::Traces;
use crate::critical_path::Walker;

/// Work stands out if it takes this share of the time …
const WORK_SHARE: f64 = 0.6;

/// … in a system of at least so many services.
const SERVICES_MIN: usize = 5;

/// What requests spend at a place.
struct Sum {
    place: Place,
    ns: u64,
    /// Nanoseconds of each request that was there.
    each: Vec<u64>,
    /// Where most of it was, and in which trace.
    most: (Spent, usize),
}

impl Sum {
    /// The median of the requests that were there, nanoseconds.
    fn median_ns(&self) -> u64 {
        let mut each = self.each.clone();
        let middle = each.len() / 2;
        if each.is_empty() { 0 } else { *each.select_nth_unstable(middle).1 }
    }

    fn evidence(&self, traces: &Traces, text: String) -> Evidence {
        let (spent, trace) = self.most;
        let span = &traces.spans()[spent.span];
        Evidence {
            text,
            filter: Some(super::filter(traces.text(span.service), Some(traces.text(span.operation)), None)),
            trace: traces.traces().get(trace).map(|trace| trace.id.to_string()),
            spans: vec![span.id.to_string()],
        }
    }
}

/// Where the time goes: what stands out, and what is told if nothing does.
pub(super) fn found(traces: &Traces) -> Vec<Weighed> {
    let count = words::count(traces.traces().len() as u64, "request");
    let (sums, whole_ns) = sums(traces);
    let Some(first) = sums.first().filter(|_| whole_ns > 0.0) else {
        let sentence = format!("Too little to say: {count} without any duration.");
        return vec![(0.5, Verdict::new(Kind::NotEnough, Confidence::Low, sentence))];
    };
    let share = |sum: &Sum| sum.ns as f64 / whole_ns;
    let sentence = format!(
        "Nothing stands out among {count}, and there is no other time to compare them with; most of their time, {}, goes to {}.",
        words::share(share(first)),
        first.place.name(traces)
    );
    let mut calm = Verdict::new(Kind::Nothing, Confidence::Low, sentence);
    calm.evidence = sums
        .iter()
        .take(3)
        .map(|sum| {
            let requests = words::count(sum.each.len() as u64, "request");
            let text = format!("{}: {} of the time, in {requests}.", sum.place.name(traces), words::share(share(sum)));
            sum.evidence(traces, text)
        })
        .collect();
    let evidence = calm.evidence.clone();
    let blamed = |sum: &Sum, confidence, sentence| {
        let mut verdict = Verdict::new(Kind::SlowOperation, confidence, sentence);
        sum.place.blame(traces, sum.most.0.span, &mut verdict);
        verdict.share = Some(share(sum));
        verdict.evidence.clone_from(&evidence);
        (0.6 + share(sum) / 2.0, verdict)
    };
    let mut found = vec![(0.5, calm)];
    let long = ways::long(sums.iter().map(|sum| (sum.place, sum.median_ns())));
    let long = long.and_then(|(way, others_ns)| Some((sums.iter().find(|sum| sum.place == way)?, others_ns)));
    if let Some((way, others_ns)) = long.filter(|(way, _)| share(way) >= ways::SHARE_MIN) {
        let deep = depth(traces, way.most.0.span);
        let places = if deep > 1 { format!(", {}", one::hop_on_the_way(deep)) } else { String::new() };
        let sentence = format!(
            "{} of the time of {count} goes to {}{places}: {} in the median of {} that take it, where nine in ten other ways take {} at most.",
            words::share(share(way)),
            way.place.name(traces),
            words::duration(way.median_ns() as f64),
            words::grouped(way.each.len() as u64),
            words::duration(others_ns as f64),
        );
        found.push(blamed(way, Confidence::Medium, sentence));
    } else if share(first) >= WORK_SHARE && services(traces) >= SERVICES_MIN {
        let deep = depth(traces, first.most.0.span);
        let wherever = if deep < 3 { String::new() } else { format!(", in {}", one::place_on_the_way(deep)) };
        let sentence = format!(
            "Most of the time of {count}, {}, goes to {}{wherever}: {} in the median of {}; whether that is unusual cannot be told without another time to compare with.",
            words::share(share(first)),
            first.place.name(traces),
            words::duration(first.median_ns() as f64),
            words::grouped(first.each.len() as u64),
        );
        found.push(blamed(first, Confidence::Low, sentence));
    }
    found
}

/// Places with what all requests spend there, the most first; and what they spend in all, nanoseconds.
fn sums(traces: &Traces) -> (Vec<Sum>, f64) {
    let mut walker = Walker::new(traces);
    let mut known: HashMap<Place, usize, RandomState> = HashMap::default();
    let mut sums: Vec<Sum> = Vec::new();
    for (number, trace) in traces.traces().iter().enumerate() {
        let Some(root) = traces.main_root(trace) else { continue };
        for (place, spent) in Profile::of(&mut walker, traces, root).places {
            let at = *known.entry(place).or_insert_with(|| {
                sums.push(Sum { place, ns: 0, each: Vec::new(), most: (spent, number) });
                sums.len() - 1
            });
            let sum = &mut sums[at];
            sum.ns = sum.ns.saturating_add(spent.ns);
            sum.each.push(spent.ns);
            let (most, in_trace) = sum.most;
            if (spent.span_ns, in_trace) > (most.span_ns, number) {
                sum.most = (spent, number);
            }
        }
    }
    sums.sort_by(|a, b| b.ns.cmp(&a.ns).then(a.place.cmp(&b.place)));
    let whole_ns = sums.iter().map(|sum| sum.ns as f64).sum();
    (sums, whole_ns)
}

fn services(traces: &Traces) -> usize {
    let mut services: Vec<crate::Text> = traces.spans().iter().map(|span| span.service).collect();
    services.sort_unstable();
    services.dedup();
    services.len()
}
