//! Which traces of a source can hold a span that passes a filter, as far as its index knows.

use std::sync::Arc;

use roaring::RoaringBitmap;
use tracewell_model::{TraceId, UNKNOWN_SERVICE};
use tracewell_store::table::{AttrType, Field, Source, SourceError, TermPredicate, TraceSet};
use tracewell_wire::otlp::json;

use super::{DictTest, Leaf, LeafKind, ListTest, Need, Pred, Test, TestKind, Val, Verdict, each_value};
use crate::traceql::CompareOp;

/// Below this many candidates it is cheaper to look at the rows than at every value of a further field.
const FEW: u64 = 64;

/// The traces of `source` that can hold a span for which `pred` is true. Never leaves one out. It is exact when
/// every trace in it does hold one; then the rows need not be read to count.
pub(crate) fn candidates(source: &dyn Source, pred: &Pred) -> Result<TraceSet, SourceError> {
    match pred {
        Pred::Const(true) => Ok(TraceSet::All),
        Pred::Const(false) => Ok(none()),
        Pred::And(parts) => all_of(source, parts),
        Pred::Or(parts) => any_of(source, parts),
        Pred::Leaf(leaf) => of_leaf(source, leaf),
    }
}

fn none() -> TraceSet {
    TraceSet::Some { traces: RoaringBitmap::new(), exact: true }
}

/// How much work a look-up is: one term, a few, or every distinct value.
fn effort(pred: &Pred) -> u32 {
    match pred {
        Pred::Const(_) => 0,
        Pred::And(parts) | Pred::Or(parts) => parts.iter().map(effort).max().unwrap_or(0),
        Pred::Leaf(leaf) => match &leaf.kind {
            LeafKind::TraceId(_) => 0,
            LeafKind::Service(test) | LeafKind::Text(_, test) | LeafKind::Span(_, test) | LeafKind::Any(_, test) => {
                if matches!(test.kind, TestKind::Text(CompareOp::Eq, _) | TestKind::Exists) && !test.none_of {
                    1
                } else {
                    10
                }
            }
            LeafKind::Number(..) | LeafKind::Dict(..) | LeafKind::List(..) => 5,
            LeafKind::Root | LeafKind::SpanId(_) | LeafKind::Expr(_) => 0,
        },
    }
}

fn all_of(source: &dyn Source, parts: &[Pred]) -> Result<TraceSet, SourceError> {
    let mut parts: Vec<&Pred> = parts.iter().collect();
    parts.sort_by_key(|part| effort(part));
    let mut found: Option<RoaringBitmap> = None;
    for part in parts {
        if found.as_ref().is_some_and(|traces| traces.len() <= FEW && effort(part) > 1 || traces.is_empty()) {
            break;
        }
        if let TraceSet::Some { traces, .. } = candidates(source, part)? {
            found = Some(match found {
                Some(before) => before & traces,
                None => traces,
            });
        }
    }
    Ok(match found {
        // Two spans of a trace may satisfy one part each: never exact, unless nothing is left.
        Some(traces) => TraceSet::Some { exact: traces.is_empty(), traces },
        None => TraceSet::All,
    })
}

fn any_of(source: &dyn Source, parts: &[Pred]) -> Result<TraceSet, SourceError> {
    let (mut all, mut all_exact) = (RoaringBitmap::new(), true);
    for part in parts {
        match candidates(source, part)? {
            TraceSet::All => return Ok(TraceSet::All),
            TraceSet::Some { traces, exact } => {
                all |= traces;
                all_exact &= exact;
            }
        }
    }
    Ok(TraceSet::Some { traces: all, exact: all_exact })
}

fn of_leaf(source: &dyn Source, leaf: &Leaf) -> Result<TraceSet, SourceError> {
    match &leaf.kind {
        LeafKind::TraceId(test) if !leaf.negated => of_trace_id(source, test),
        _ if leaf.need != Need::Row => Ok(TraceSet::All),
        // What a negated test leaves out is a matter of spans, not of traces.
        _ if leaf.negated => Ok(TraceSet::All),
        // The index holds no durations and no ids.
        LeafKind::Number(Field::Duration, _)
        | LeafKind::Root
        | LeafKind::SpanId(_)
        | LeafKind::Expr(_)
        | LeafKind::TraceId(_) => Ok(TraceSet::All),
        LeafKind::Number(field, test) => of_code(source, field, test),
        LeafKind::Text(field, test) => of_text(source, field, test),
        LeafKind::Service(test) => of_service(source, test),
        LeafKind::Dict(what, test) => of_dict(source, what, test),
        LeafKind::Span(key, test) => of_attribute(source, key, test),
        LeafKind::Any(key, test) => {
            if test.none_of && matches!(test.kind, TestKind::Exists) {
                return Ok(TraceSet::All);
            }
            let resource = if key == "service.name" && !matches!(test.kind, TestKind::Exists) {
                of_service(source, test)?
            } else {
                of_dict(source, &DictTest::Resource(key.clone()), test)?
            };
            // Where the span has the attribute, the resource's does not count: not exact.
            match (of_attribute(source, key, test)?, resource) {
                (TraceSet::Some { traces: span, .. }, TraceSet::Some { traces: resource, .. }) => {
                    let traces = span | resource;
                    Ok(TraceSet::Some { exact: traces.is_empty(), traces })
                }
                _ => Ok(TraceSet::All),
            }
        }
        LeafKind::List(what, test) => {
            if matches!(test.kind, TestKind::Exists) && test.none_of {
                return Ok(TraceSet::All);
            }
            let field = match what {
                ListTest::EventName | ListTest::EventAttr(_) => Field::Events,
                ListTest::LinkSpanId | ListTest::LinkTraceId | ListTest::LinkAttr(_) => Field::Links,
            };
            Ok(inexact(source.postings(&field, &TermPredicate::Exists)?))
        }
    }
}

fn inexact(set: TraceSet) -> TraceSet {
    match set {
        TraceSet::All => TraceSet::All,
        TraceSet::Some { traces, .. } => TraceSet::Some { exact: traces.is_empty(), traces },
    }
}

fn of_trace_id(source: &dyn Source, test: &Test) -> Result<TraceSet, SourceError> {
    match &test.kind {
        TestKind::Text(CompareOp::Eq, text) if !test.none_of => {
            let ordinal = match text.parse::<TraceId>() {
                Ok(trace_id) => source.find_trace(&trace_id)?,
                Err(_) => None,
            };
            Ok(TraceSet::Some { traces: ordinal.into_iter().collect(), exact: true })
        }
        _ => Ok(TraceSet::All),
    }
}

/// Kind or status.
fn of_code(source: &dyn Source, field: &Field, test: &Test) -> Result<TraceSet, SourceError> {
    let holds = |bits: u64| test.holds(&code(field, bits));
    // A missing status is 0, which the index does not hold.
    if holds(0) {
        return Ok(TraceSet::All);
    }
    source.postings(field, &TermPredicate::BitsWhere(&holds))
}

/// A number of the kind or status column.
pub(crate) fn code(field: &Field, bits: u64) -> Val<'static> {
    match field {
        Field::Kind => Val::Kind(bits as i64 as i32),
        Field::StatusCode => Val::Status(bits as i64 as i32),
        _ => Val::Int(bits as i64),
    }
}

fn of_text(source: &dyn Source, field: &Field, test: &Test) -> Result<TraceSet, SourceError> {
    if test.holds(&Val::text("")) || matches!(test.kind, TestKind::Exists) {
        return Ok(TraceSet::All);
    }
    match &test.kind {
        TestKind::Text(CompareOp::Eq, text) if !test.none_of => source.postings(field, &TermPredicate::Text(text)),
        _ => source.postings(field, &TermPredicate::TextWhere(&|text| test.holds(&Val::text(text)))),
    }
}

fn of_service(source: &dyn Source, test: &Test) -> Result<TraceSet, SourceError> {
    match &test.kind {
        TestKind::Text(CompareOp::Eq, text) if !test.none_of && text != UNKNOWN_SERVICE && !text.is_empty() => {
            source.postings(&Field::Service, &TermPredicate::Text(text))
        }
        // The name for a missing service may stand for nothing or for itself: the rows will tell.
        _ => Ok(inexact(source.postings(
            &Field::Service,
            &TermPredicate::TextWhere(&|text| text == UNKNOWN_SERVICE || test.holds(&Val::text(text))),
        )?)),
    }
}

fn of_dict(source: &dyn Source, what: &DictTest, test: &Test) -> Result<TraceSet, SourceError> {
    let field = what.column();
    // A row without a resource or scope has an empty one.
    if what.holds(test, "") {
        return Ok(TraceSet::All);
    }
    source.postings(&field, &TermPredicate::TextWhere(&|json| what.holds(test, json)))
}

impl DictTest {
    /// The column that it is found in.
    pub fn column(&self) -> Field {
        match self {
            DictTest::Resource(_) => Field::Resource,
            DictTest::Scope(_) | DictTest::ScopeName | DictTest::ScopeVersion => Field::Scope,
        }
    }

    /// Does the test hold for a resource or scope, given as its JSON? The empty text is the empty one.
    pub fn holds(&self, test: &Test, json: &str) -> bool {
        let (mut comparable, mut passed, mut exists) = (false, false, false);
        let mut see = |value: Val<'_>| {
            let verdict = test.verdict(&value);
            comparable |= verdict != Verdict::Other;
            passed |= verdict == Verdict::Yes;
        };
        match self {
            DictTest::Resource(key) => {
                let resource = json::resource_from_json(json).unwrap_or_default();
                for attribute in resource.attributes.iter().filter(|attribute| attribute.key == *key) {
                    exists |= each_value(&attribute.value, &mut see);
                }
            }
            DictTest::Scope(key) => {
                let scope = json::scope_from_json(json).unwrap_or_default();
                for attribute in scope.attributes.iter().filter(|attribute| attribute.key == *key) {
                    exists |= each_value(&attribute.value, &mut see);
                }
            }
            DictTest::ScopeName | DictTest::ScopeVersion => {
                let scope = json::scope_from_json(json).unwrap_or_default();
                exists = true;
                see(Val::text(if *self == DictTest::ScopeName { &scope.name } else { &scope.version }));
            }
        }
        if matches!(test.kind, TestKind::Exists) { exists != test.none_of } else { test.answer(comparable, passed) }
    }
}

/// Types of column that a test can be about.
pub(crate) fn types_of(test: &Test) -> &'static [AttrType] {
    match test.kind {
        TestKind::Exists => &[AttrType::Str, AttrType::Int, AttrType::Double, AttrType::Bool],
        TestKind::Text(..) | TestKind::Regex(_) | TestKind::Cidr(_) => &[AttrType::Str],
        TestKind::Number(..) => &[AttrType::Int, AttrType::Double],
        TestKind::Bool(_) => &[AttrType::Bool],
        TestKind::Status(_) | TestKind::Kind(_) => &[],
    }
}

/// A number of an attribute column.
pub(crate) fn number(kind: AttrType, bits: u64) -> Val<'static> {
    match kind {
        AttrType::Double => Val::Float(f64::from_bits(bits)),
        AttrType::Bool => Val::Bool(bits != 0),
        AttrType::Int | AttrType::Str => Val::Int(bits as i64),
    }
}

fn of_attribute(source: &dyn Source, key: &str, test: &Test) -> Result<TraceSet, SourceError> {
    let exists = matches!(test.kind, TestKind::Exists);
    if exists && test.none_of {
        return Ok(TraceSet::All);
    }
    let (mut all, mut all_exact) = (RoaringBitmap::new(), true);
    let key: Arc<str> = Arc::from(key);
    for kind in types_of(test) {
        let field = Field::Attr { key: Arc::clone(&key), kind: *kind };
        let set = match (&test.kind, kind) {
            (TestKind::Exists, _) => source.postings(&field, &TermPredicate::Exists)?,
            (TestKind::Text(CompareOp::Eq, text), _) if !test.none_of => {
                source.postings(&field, &TermPredicate::Text(text))?
            }
            (_, AttrType::Str) => {
                source.postings(&field, &TermPredicate::TextWhere(&|text| test.holds(&Val::text(text))))?
            }
            (_, kind) => {
                source.postings(&field, &TermPredicate::BitsWhere(&|bits| test.holds(&number(*kind, bits))))?
            }
        };
        match set {
            TraceSet::All => return Ok(TraceSet::All),
            TraceSet::Some { traces, exact } => {
                all |= traces;
                // A second value of the key (of another type, or in the remainder) can turn a "none of them".
                all_exact &= exact && !test.none_of;
            }
        }
    }
    if source.has_remainder() {
        let with_key = match source.postings(&Field::Remainder, &TermPredicate::Key(&key))? {
            TraceSet::All => source.postings(&Field::Remainder, &TermPredicate::Exists)?,
            some => some,
        };
        match with_key {
            TraceSet::All => return Ok(TraceSet::All),
            TraceSet::Some { traces, .. } => {
                all_exact &= traces.is_empty();
                all |= traces;
            }
        }
    }
    Ok(TraceSet::Some { traces: all, exact: all_exact })
}

/// Traces with a row whose remainder may hold `key`. Inexact: an empty value counts as not set.
pub(crate) fn of_remainder(source: &dyn Source, key: &str) -> Result<TraceSet, SourceError> {
    match source.postings(&Field::Remainder, &TermPredicate::Key(key))? {
        TraceSet::All => Ok(inexact(source.postings(&Field::Remainder, &TermPredicate::Exists)?)),
        set => Ok(inexact(set)),
    }
}
