//! The statements about traces that are worth a test.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use super::column::{Column, Extent, Kind, Value, follows_time};
use super::shown::union;
use super::{Calls, Facts, NONE, Shown, Test, What};
use crate::traces::Text;

/// What fewer traces show is not tested.
const TRACES_MIN: usize = 3;
/// Longer texts are no values to filter by.
const TEXT_BYTES_MAX: usize = 1_024;
/// Places at which numbers are split, in each direction, at most.
const SPLITS_MAX: usize = 8;

/// A statement about a trace, and the traces of which it is true.
#[derive(Debug, Clone)]
pub(in crate::outliers) struct Candidate {
    pub(in crate::outliers) what: What,
    pub(in crate::outliers) shown: Vec<u32>,
    /// Statements of one family are splits of the same numbers, of which the best is taken.
    pub(in crate::outliers) family: Option<u32>,
}

/// Gathers them.
struct Gather<'a> {
    facts: &'a Facts,
    found: Vec<Candidate>,
    families: u32,
    /// How many traces each service is in.
    services: HashMap<Text, usize, RandomState>,
}

/// The name of an operation, and a column of it.
type OfOperation<'a> = (Text, &'a Column);

impl Facts {
    /// All statements worth a test, in order of first appearance. Left out are those that are true of nearly no trace or of
    /// all of them, attributes that have one value wherever their operation (or service) occurs, ids, clocks and counters.
    pub(in crate::outliers) fn candidates(&self) -> Vec<Candidate> {
        let mut by_service: BTreeMap<Text, Vec<&Shown>> = BTreeMap::new();
        for origin in &self.origins {
            by_service.entry(origin.service).or_default().push(&origin.shown);
        }
        let services =
            by_service.into_iter().map(|(service, shown)| (service, union(shown.into_iter()).len())).collect();
        let mut gather = Gather { facts: self, found: Vec::new(), families: 0, services };
        gather.roots();
        gather.resources();
        gather.attributes();
        gather.operations();
        gather.edges();
        gather.sites();
        gather.found
    }
}

impl Gather<'_> {
    fn push(&mut self, what: What, shown: Vec<u32>) {
        let value = match what {
            What::Resource { value, .. } | What::Attribute { test: Test::Is(value), .. } => Some(value),
            _ => None,
        };
        let is_long = value.is_some_and(|value| value.text(&self.facts.texts).len() > TEXT_BYTES_MAX);
        if !is_long && shown.len() >= TRACES_MIN && shown.len() < self.facts.members.len() {
            self.found.push(Candidate { what, shown, family: None });
        }
    }

    fn roots(&mut self) {
        let mut roots: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (number, member) in self.facts.members.iter().enumerate().filter(|(_, member)| member.root != NONE) {
            roots.entry(member.root).or_default().push(number as u32);
        }
        roots.into_iter().for_each(|(root, shown)| self.push(What::Root(root), shown));
    }

    fn resources(&mut self) {
        let facts = self.facts;
        let mut order: Vec<(Text, Text, Value)> = Vec::new();
        let mut lists: HashMap<(Text, Text, Value), Vec<&Shown>, RandomState> = HashMap::default();
        for origin in &facts.origins {
            for (key, value) in &origin.attributes {
                let of = (origin.service, *key, *value);
                lists.entry(of).or_insert_with(|| (order.push(of), Vec::new()).1).push(&origin.shown);
            }
        }
        for of in order {
            let shown = union(lists.remove(&of).unwrap_or_default().into_iter());
            if Some(&shown.len()) != self.services.get(&of.0) {
                self.push(What::Resource { service: of.0, key: of.1, value: of.2 }, shown);
            }
        }
    }

    fn attributes(&mut self) {
        let facts = self.facts;
        let mut columns: BTreeMap<(Text, Text, Kind), Vec<OfOperation<'_>>> = BTreeMap::new();
        for operation in &facts.operations {
            for column in &operation.columns {
                let column = &facts.columns[*column as usize];
                let of = (operation.service, column.key, column.kind);
                columns.entry(of).or_default().push((operation.name, column));
                self.values(operation.service, operation.name, operation.calls.len(), column);
                self.numbers(operation.service, operation.name, column);
            }
        }
        for ((service, key, _), columns) in columns {
            if columns.len() > 1 && !columns.iter().any(|(_, column)| column.is_id()) {
                self.in_any_operation(service, key, &columns);
            }
        }
    }

    /// One statement for each value of an attribute of an operation.
    fn values(&mut self, service: Text, operation: Text, traces: usize, column: &Column) {
        if column.is_id() {
            return;
        }
        for (value, shown) in column.values.iter().filter(|(_, shown)| shown.len() != traces) {
            let test = Test::Is(*value);
            self.push(What::Attribute { service, operation: Some(operation), key: column.key, test }, shown.to_vec());
        }
    }

    /// One statement for each value of an attribute that several operations of a service have.
    fn in_any_operation(&mut self, service: Text, key: Text, columns: &[OfOperation<'_>]) {
        let mut lists: HashMap<u64, Vec<&Shown>, RandomState> = HashMap::default();
        let mut order = Vec::new();
        for (value, shown) in columns.iter().flat_map(|(_, column)| &column.values) {
            lists.entry(value.bits).or_insert_with(|| (order.push(*value), Vec::new()).1).push(shown);
        }
        for value in order {
            let lists = lists.remove(&value.bits).unwrap_or_default();
            if lists.len() < 2 {
                continue;
            }
            let shown = union(lists.into_iter());
            if Some(&shown.len()) != self.services.get(&service) {
                self.push(What::Attribute { service, operation: None, key, test: Test::Is(value) }, shown);
            }
        }
    }

    fn numbers(&mut self, service: Text, operation: Text, column: &Column) {
        let extents = column.extents();
        let facts = self.facts;
        let on = |selected: bool| -> Vec<Extent> {
            let members = &facts.members;
            extents.iter().filter(|extent| members[extent.trace as usize].selected == selected).copied().collect()
        };
        let (selected, rest) = (on(true), on(false));
        let start = |trace: u32| facts.members[trace as usize].start_ns;
        if follows_time(&selected, start) || follows_time(&rest, start) {
            return;
        }
        let what = |test| What::Attribute { service, operation: Some(operation), key: column.key, test };
        self.splits(&extents, what);
    }

    /// One family of statements: at least so much, or less than so much, at several places.
    fn splits(&mut self, extents: &[Extent], what: impl Fn(Test) -> What) {
        let family = self.families;
        let mut any = false;
        let mut add = |cuts: Vec<Value>, test: fn(Value) -> Test, holds: &dyn Fn(&Extent, f64) -> bool| {
            for cut in cuts {
                let Some(number) = cut.number() else { continue };
                let shown: Vec<u32> =
                    extents.iter().filter(|extent| holds(extent, number)).map(|extent| extent.trace).collect();
                if shown.len() >= TRACES_MIN && shown.len() < self.facts.members.len() {
                    self.found.push(Candidate { what: what(test(cut)), shown, family: Some(family) });
                    any = true;
                }
            }
        };
        add(cuts(extents, |extent| extent.max), Test::AtLeast, &|extent, cut| {
            extent.max.number().is_some_and(|max| max >= cut)
        });
        add(cuts(extents, |extent| extent.min), Test::Below, &|extent, cut| {
            extent.min.number().is_some_and(|min| min < cut)
        });
        self.families += u32::from(any);
    }

    fn operations(&mut self) {
        for (number, operation) in (0..).zip(&self.facts.operations) {
            self.push(What::Failed(number), operation.failed.to_vec());
            self.push(What::Operation(number, true), traces(&operation.calls));
            self.splits(&counts(&operation.calls), |test| What::Calls(number, test));
        }
    }

    fn edges(&mut self) {
        for (number, edge) in (0..).zip(&self.facts.edges) {
            self.push(What::Edge(number, true), traces(&edge.calls));
            self.splits(&counts(&edge.calls), |test| What::EdgeCalls(number, test));
        }
    }

    fn sites(&mut self) {
        for (number, site) in (0..).zip(&self.facts.sites) {
            self.push(What::Site(number), site.shown.to_vec());
        }
    }
}

fn traces(calls: &[Calls]) -> Vec<u32> {
    calls.iter().map(|calls| calls.trace).collect()
}

/// How often something occurs in a trace, as numbers to split.
fn counts(calls: &[Calls]) -> Vec<Extent> {
    let value = |count: u32| Value { kind: Kind::Int, bits: u64::from(count) };
    let extent = |calls: &Calls| Extent { trace: calls.trace, min: value(calls.count), max: value(calls.count) };
    match calls.first() {
        Some(first) if calls.iter().any(|calls| calls.count != first.count) => calls.iter().map(extent).collect(),
        _ => Vec::new(),
    }
}

/// Places to split at: values at even steps through the traces, but for the smallest, which splits nothing off.
fn cuts(extents: &[Extent], of: impl Fn(&Extent) -> Value) -> Vec<Value> {
    let mut values: Vec<(f64, Value)> =
        extents.iter().map(&of).filter_map(|value| Some((value.number()?, value))).collect();
    values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let Some(smallest) = values.first().map(|(number, _)| *number) else { return Vec::new() };
    let mut distinct = values.clone();
    distinct.dedup_by(|a, b| a.0 == b.0);
    if distinct.len() <= SPLITS_MAX + 1 {
        return distinct.into_iter().skip(1).map(|(_, value)| value).collect();
    }
    let at = |step: usize| values[(values.len() - 1) * step / (SPLITS_MAX + 1)];
    let mut cuts: Vec<(f64, Value)> = (1..=SPLITS_MAX).map(at).filter(|(number, _)| *number > smallest).collect();
    cuts.dedup_by(|a, b| a.0 == b.0);
    cuts.into_iter().map(|(_, value)| value).collect()
}
