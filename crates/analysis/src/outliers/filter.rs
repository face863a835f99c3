//! Statements about traces as TraceQL.

// Writing to a text cannot fail: results of `write!` are left alone.
use std::fmt::Write;

use tracewell_model::{TraceId, UNKNOWN_SERVICE};

use super::facts::{Facts, Test, Value, What};
use crate::traces::{LogSource, Text, quoted};

/// Trace ids in a filter for what TraceQL cannot ask, at most.
const IDS_MAX: usize = 20;

/// Writes filters.
pub(super) struct Filters<'a> {
    pub(super) facts: &'a Facts,
}

/// A filter for spans, or one that ends in an aggregate.
enum Filter {
    /// One pair of braces.
    Spans(String),
    /// Anything else, which goes into parentheses where it is a part.
    Whole(String),
}

impl Filters<'_> {
    /// A TraceQL query that finds the traces of which a statement is true; `ids` are such traces, for what TraceQL cannot ask.
    pub(super) fn of(&self, what: &What, ids: &[TraceId]) -> String {
        match self.filter(what, ids) {
            Filter::Spans(text) | Filter::Whole(text) => text,
        }
    }

    fn filter(&self, what: &What, ids: &[TraceId]) -> Filter {
        Filter::Spans(match what {
            What::Root(root) => self.root(*root),
            What::Resource { service, key, value } => {
                self.spans(*service, None, &[format!("{} = {}", self.key("resource", *key), self.value(*value))])
            }
            What::Attribute { service, operation, key, test } => {
                let name = if key.is_empty() { "statusMessage".to_owned() } else { self.key("span", *key) };
                self.spans(*service, *operation, &[format!("{name} {}", self.test(*test))])
            }
            What::Failed(operation) => self.operation(*operation, &["status = error".to_owned()]),
            What::Operation(operation, true) => self.operation(*operation, &[]),
            What::Operation(operation, false) => return Filter::Whole(absent(&self.operation(*operation, &[]))),
            What::Edge(edge, true) => return Filter::Whole(self.edge(*edge)),
            What::Edge(edge, false) => return Filter::Whole(absent(&format!("({})", self.edge(*edge)))),
            What::Calls(operation, test) => {
                let spans = self.operation(*operation, &[]);
                return Filter::Whole(format!("{spans} | count() {}", self.test(*test)));
            }
            What::EdgeCalls(edge, test) => {
                return Filter::Whole(format!("{} | count() {}", self.edge(*edge), self.test(*test)));
            }
            What::Takes { operation, from_ns, to_ns } => {
                let mut text = self.operation(*operation, &[]);
                for (compared, bound) in [(">=", from_ns), ("<", to_ns)] {
                    if let Some(bound) = bound {
                        let _ = write!(text, " | sum(duration) {compared} {}", nanoseconds(*bound));
                    }
                }
                return Filter::Whole(text);
            }
            What::Site(site) => self.site(*site, ids),
            What::Pair(one, other) => {
                let part = |what: &What| match self.filter(what, ids) {
                    Filter::Spans(text) => text,
                    Filter::Whole(text) => format!("({text})"),
                };
                return Filter::Whole(format!("{} && {}", part(one), part(other)));
            }
        })
    }

    fn root(&self, root: u32) -> String {
        let Some(operation) = self.facts.operations.get(root as usize) else { return "{ }".to_owned() };
        let name = format!("trace:rootName = {}", self.text(operation.name));
        match self.is_named(operation.service) {
            true => format!("{{ trace:rootService = {} && {name} }}", self.text(operation.service)),
            false => format!("{{ {name} }}"),
        }
    }

    fn operation(&self, operation: u32, more: &[String]) -> String {
        let Some(operation) = self.facts.operations.get(operation as usize) else { return "{ }".to_owned() };
        self.spans(operation.service, Some(operation.name), more)
    }

    fn edge(&self, edge: u32) -> String {
        let Some(edge) = self.facts.edges.get(edge as usize) else { return "{ }".to_owned() };
        format!("{} > {}", self.spans(edge.caller, None, &[]), self.spans(edge.callee, None, &[]))
    }

    fn site(&self, site: u32, ids: &[TraceId]) -> String {
        let Some(site) = self.facts.sites.get(site as usize) else { return "{ }".to_owned() };
        let text = self.facts.texts.get(site.site);
        if site.source == LogSource::Event {
            // The builder names an exception's site by its type.
            let conditions = match text.strip_prefix("exception ") {
                Some(kind) => {
                    vec!["event:name = \"exception\"".to_owned(), format!("event.exception.type = {}", quoted(kind))]
                }
                None => vec![format!("event:name = {}", quoted(text))],
            };
            return self.spans(site.service, None, &conditions);
        }
        // TraceQL knows spans, not log records.
        let ids: Vec<String> = ids.iter().take(IDS_MAX).map(|id| format!("trace:id = \"{id}\"")).collect();
        format!("{{ {} }}", ids.join(" || "))
    }

    fn spans(&self, service: Text, operation: Option<Text>, more: &[String]) -> String {
        let mut conditions = Vec::new();
        if self.is_named(service) {
            conditions.push(format!("resource.service.name = {}", self.text(service)));
        }
        if let Some(operation) = operation {
            conditions.push(format!("name = {}", self.text(operation)));
        }
        conditions.extend_from_slice(more);
        match conditions.is_empty() {
            true => "{ }".to_owned(),
            false => format!("{{ {} }}", conditions.join(" && ")),
        }
    }

    /// False for the service of spans whose resource has no name.
    fn is_named(&self, service: Text) -> bool {
        !service.is_empty() && self.facts.texts.get(service) != UNKNOWN_SERVICE
    }

    fn text(&self, text: Text) -> String {
        quoted(self.facts.texts.get(text)).to_string()
    }

    fn value(&self, value: Value) -> String {
        value.scalar().traceql(&self.facts.texts).to_string()
    }

    fn test(&self, test: Test) -> String {
        match test {
            Test::Is(value) => format!("= {}", self.value(value)),
            Test::AtLeast(value) => format!(">= {}", self.value(value)),
            Test::Below(value) => format!("< {}", self.value(value)),
        }
    }

    /// An attribute's name with its scope, quoted where it holds what is not part of a plain name.
    pub(super) fn key(&self, scope: &str, key: Text) -> String {
        let key = self.facts.texts.get(key);
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '/' | '@' | '#' | '$');
        if !key.is_empty() && key.chars().all(is_plain) {
            return format!("{scope}.{key}");
        }
        let mut name = format!("{scope}.\"");
        for c in key.chars() {
            let escape = if matches!(c, '"' | '\\') { "\\" } else { "" };
            let _ = write!(name, "{escape}{c}");
        }
        name + "\""
    }
}

/// A duration in the largest unit that holds it whole.
fn nanoseconds(ns: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")];
    let whole = UNITS.into_iter().find(|(unit, _)| ns > 0 && ns.is_multiple_of(*unit));
    let (unit, name) = whole.unwrap_or((1, "ns"));
    format!("{}{name}", ns / unit)
}

/// The traces that have no such span: their root is no ancestor of one.
fn absent(spans: &str) -> String {
    format!("{spans} !<< {{ nestedSetParent < 0 }}")
}
