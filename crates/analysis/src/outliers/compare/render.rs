//! From numbers to words.

use super::{Compared, Held};
use crate::outliers::facts::{Test, Value, What};
use crate::outliers::filter::Filters;
use crate::outliers::finding::{AttributeTest, Call, Comparison, Finding, FindingKind};
use crate::traces::Text;
use tracewell_model::TraceId;

impl Compared<'_> {
    pub(super) fn finding(&self, held: &Held) -> Finding {
        let filters = Filters { facts: self.facts };
        let (told, ids) = (held.whats.first(), self.ids(held));
        let filter = |what: &What| filters.of(what, &ids);
        let shown = |selected: bool| {
            let places = self
                .strata
                .iter()
                .flat_map(move |places| if selected { places.selected.clone() } else { places.rest.clone() });
            places.filter(|place| held.bits.contains(*place))
        };
        let (slow_traces, rest_traces) = (shown(true).count(), shown(false).count());
        let traces = slow_traces + rest_traces;
        let mut finding = Finding {
            filter: told.map(filter).unwrap_or_default(),
            kind: told.map_or(FindingKind::Operation, kind),
            what: String::new(),
            service: None,
            operation: None,
            attribute: None,
            edge: None,
            site: None,
            slow_share: held.shares.selected,
            rest_share: held.shares.rest,
            lift: held.shares.lift,
            precision: slow_traces as f64 / traces.max(1) as f64,
            p_value: held.ln_p.exp(),
            q_value: held.q_value,
            mean_slow_ns: self.mean_ns(shown(true)).unwrap_or(0.0) as u64,
            mean_rest_ns: self.mean_ns(shown(false)).map(|mean| mean as u64),
            effect_ns: self.effect_ns(held).map(|effect| effect as i64),
            traces,
            slow_traces,
            aliases: held.whats.iter().skip(1).map(filter).collect(),
            implied: Vec::new(),
        };
        if let Some(what) = told {
            self.place(what, &mut finding);
            finding.what = self.sentence(what, &finding);
        }
        finding
    }

    pub(super) fn duration_ns(&self, place: usize) -> f64 {
        self.facts.members[self.members[place] as usize].duration_ns as f64
    }

    fn mean_ns(&self, places: impl Iterator<Item = usize>) -> Option<f64> {
        let (sum, count) = places.fold((0.0, 0.0), |(sum, count), place| (sum + self.duration_ns(place), count + 1.0));
        (count > 0.0).then(|| sum / count)
    }

    /// The mean difference within strata, weighted by the traces that show it.
    fn effect_ns(&self, held: &Held) -> Option<f64> {
        let (mut sum, mut weight) = (0.0, 0.0);
        for places in &self.strata {
            let all = places.selected.start..places.rest.end;
            let with = self.mean_ns(all.clone().filter(|place| held.bits.contains(*place)));
            let without = self.mean_ns(all.clone().filter(|place| !held.bits.contains(*place)));
            if let (Some(with), Some(without)) = (with, without) {
                let count = held.bits.count(&all) as f64;
                sum += count * (with - without);
                weight += count;
            }
        }
        (weight > 0.0).then(|| sum / weight)
    }

    /// Traces that show it, the selected first.
    fn ids(&self, held: &Held) -> Vec<TraceId> {
        let selected = self.strata.iter().flat_map(|places| places.selected.clone());
        let rest = self.strata.iter().flat_map(|places| places.rest.clone());
        let shown = selected.chain(rest).filter(|place| held.bits.contains(*place));
        shown.take(20).map(|place| self.facts.members[self.members[place] as usize].id).collect()
    }

    fn text(&self, text: Text) -> String {
        self.facts.texts.get(text).to_owned()
    }

    /// Says what a finding is about, field by field; of a pair, what its first half is about.
    fn place(&self, what: &What, finding: &mut Finding) {
        let filters = Filters { facts: self.facts };
        let operation = |number: u32, finding: &mut Finding| {
            let operation = self.facts.operations.get(number as usize);
            finding.service = operation.map(|operation| self.text(operation.service));
            finding.operation = operation.map(|operation| self.text(operation.name));
        };
        let edge = |number: u32, finding: &mut Finding| {
            let edge = self.facts.edges.get(number as usize);
            finding.edge = edge.map(|edge| Call { caller: self.text(edge.caller), callee: self.text(edge.callee) });
        };
        let test = |key: String, test: Comparison, value: Value| {
            Some(AttributeTest { key, test, value: value.text(&self.facts.texts) })
        };
        match what {
            What::Root(number) | What::Failed(number) | What::Operation(number, _) | What::Calls(number, _) => {
                operation(*number, finding);
            }
            What::Edge(number, _) | What::EdgeCalls(number, _) => edge(*number, finding),
            What::Resource { service, key, value } => {
                finding.service = Some(self.text(*service));
                finding.attribute = test(filters.key("resource", *key), Comparison::Is, *value);
            }
            What::Attribute { service, operation, key, test: how } => {
                let name = if key.is_empty() { "statusMessage".to_owned() } else { filters.key("span", *key) };
                finding.service = Some(self.text(*service));
                finding.operation = operation.map(|operation| self.text(operation));
                finding.attribute = match how {
                    Test::Is(value) => test(name, Comparison::Is, *value),
                    Test::AtLeast(value) => test(name, Comparison::AtLeast, *value),
                    Test::Below(value) => test(name, Comparison::Below, *value),
                };
            }
            What::Site(number) => {
                let site = self.facts.sites.get(*number as usize);
                finding.service = site.map(|site| self.text(site.service)).filter(|service| !service.is_empty());
                finding.site = site.map(|site| self.text(site.site));
            }
            What::Takes { operation: number, .. } => operation(*number, finding),
            What::Pair(first, _) => self.place(first, finding),
        }
    }

    fn sentence(&self, what: &What, finding: &Finding) -> String {
        let Finding { slow_share, rest_share, lift, effect_ns, .. } = finding;
        let (selected, rest) = (&self.options.selected_name, &self.options.rest_name);
        let mut text = format!(
            "{}: in {} of the {selected} traces and {} of {rest} ({} times as often)",
            self.words(what),
            percent(*slow_share),
            percent(*rest_share),
            if *lift >= 10.0 { format!("{lift:.0}") } else { format!("{lift:.1}") },
        );
        if let Some(effect_ns) = effect_ns {
            let way = if *effect_ns < 0 { "shorter" } else { "longer" };
            text.push_str(&format!("; these take {} {way} than others", duration(effect_ns.unsigned_abs())));
        }
        text
    }

    fn words(&self, what: &What) -> String {
        let operation = |number: u32| match self.facts.operations.get(number as usize) {
            Some(operation) => format!("{} of {}", self.text(operation.name), self.text(operation.service)),
            None => String::new(),
        };
        let edge = |number: u32| match self.facts.edges.get(number as usize) {
            Some(edge) => format!("{} to {}", self.text(edge.caller), self.text(edge.callee)),
            None => String::new(),
        };
        let test = |test: Test| match test {
            Test::Is(value) => format!("= {}", value.scalar().traceql(&self.facts.texts)),
            Test::AtLeast(value) => format!("≥ {}", value.scalar().traceql(&self.facts.texts)),
            Test::Below(value) => format!("< {}", value.scalar().traceql(&self.facts.texts)),
        };
        match what {
            What::Root(number) => format!("the request is {}", operation(*number)),
            What::Resource { service, key, value } => {
                let key = Filters { facts: self.facts }.key("resource", *key);
                format!("{key} {} in {}", test(Test::Is(*value)), self.text(*service))
            }
            What::Attribute { service, operation, key, test: how } => {
                let key = match key.is_empty() {
                    true => "statusMessage".to_owned(),
                    false => Filters { facts: self.facts }.key("span", *key),
                };
                let place = match operation {
                    Some(operation) => format!("{} of {}", self.text(*operation), self.text(*service)),
                    None => self.text(*service),
                };
                format!("{key} {} in {place}", test(*how))
            }
            What::Failed(number) => format!("{} fails", operation(*number)),
            What::Operation(number, true) => format!("{} is called", operation(*number)),
            What::Operation(number, false) => format!("{} is missing", operation(*number)),
            What::Edge(number, true) => format!("a call from {}", edge(*number)),
            What::Edge(number, false) => format!("no call from {}", edge(*number)),
            What::Calls(number, how) => format!("the number of calls of {} is {}", operation(*number), test(*how)),
            What::EdgeCalls(number, how) => format!("the number of calls from {} is {}", edge(*number), test(*how)),
            What::Site(number) => match self.facts.sites.get(*number as usize) {
                Some(site) => format!("{} logs {:?}", self.text(site.service), self.text(site.site)),
                None => String::new(),
            },
            What::Takes { operation: number, from_ns, to_ns } => match (from_ns, to_ns) {
                (Some(from), Some(to)) => {
                    format!("{} takes {} to {}", operation(*number), duration(*from), duration(*to))
                }
                (Some(from), None) => format!("{} takes at least {}", operation(*number), duration(*from)),
                (None, Some(to)) => format!("{} takes less than {}", operation(*number), duration(*to)),
                (None, None) => format!("{} is called", operation(*number)),
            },
            What::Pair(one, other) => format!("{} and {} together", self.words(one), self.words(other)),
        }
    }
}

fn kind(what: &What) -> FindingKind {
    match what {
        What::Resource { .. } | What::Attribute { .. } | What::Failed(_) => FindingKind::Attribute,
        What::Root(_) | What::Operation(..) => FindingKind::Operation,
        What::Edge(..) => FindingKind::Edge,
        What::Calls(..) | What::EdgeCalls(..) => FindingKind::CallCount,
        What::Site(_) => FindingKind::LogSite,
        What::Takes { .. } => FindingKind::Duration,
        What::Pair(one, _) if matches!(**one, What::Takes { .. }) => FindingKind::Duration,
        What::Pair(..) => FindingKind::Pair,
    }
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        0.0 => "none".to_owned(),
        percent if percent >= 99.95 => "all".to_owned(),
        percent if percent < 10.0 => format!("{percent:.1} %"),
        percent => format!("{percent:.0} %"),
    }
}

fn duration(ns: u64) -> String {
    let ns = ns as f64;
    match ns {
        ns if ns >= 1e9 => format!("{:.2} s", ns / 1e9),
        ns if ns >= 1e6 => format!("{:.1} ms", ns / 1e6),
        ns => format!("{:.0} µs", ns / 1e3),
    }
}
