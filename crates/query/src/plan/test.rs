//! A comparison with a literal, and what it says of one value.

use std::cmp::Ordering;
use std::net::IpAddr;

use regex::Regex;

use super::Val;
use crate::traceql::CompareOp;

/// A comparison with a literal.
///
/// A field may have several values: elements of an array, attributes of several events. A positive test (`=`, `<`,
/// `=~`, …) holds when any value passes; `!=` and `!~` hold when there is a value of a type that can be compared
/// and none passes the positive test. So a missing attribute passes neither (as in Tempo, where a
/// comparison with what is not there is false), and `!= nil` asks for presence.
#[derive(Debug, Clone)]
pub(crate) struct Test {
    pub kind: TestKind,
    /// `!=` and `!~`: true when no value passes.
    pub none_of: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum TestKind {
    /// `!= nil`.
    Exists,
    Text(CompareOp, String),
    Regex(Regex),
    /// Compared exactly, whole or decimal.
    Number(CompareOp, Val<'static>),
    Bool(bool),
    Status(i32),
    Kind(i32),
    Cidr(Vec<(IpAddr, u32)>),
}

/// What a test says of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The value is of another type.
    Other,
    /// It does not pass the positive test.
    No,
    /// It does.
    Yes,
}

/// Does an order satisfy an operator?
pub(crate) fn satisfies(op: CompareOp, order: Ordering) -> bool {
    match op {
        CompareOp::Eq => order.is_eq(),
        CompareOp::NotEq => order.is_ne(),
        CompareOp::Lt => order.is_lt(),
        CompareOp::LtEq => order.is_le(),
        CompareOp::Gt => order.is_gt(),
        CompareOp::GtEq => order.is_ge(),
        CompareOp::Regex | CompareOp::NotRegex => false,
    }
}

impl Test {
    pub fn positive(kind: TestKind) -> Self {
        Self { kind, none_of: false }
    }

    /// What the positive test says of `value`.
    pub fn verdict(&self, value: &Val<'_>) -> Verdict {
        let passes = match (&self.kind, value) {
            (TestKind::Exists, _) => true,
            (TestKind::Text(..) | TestKind::Regex(_) | TestKind::Cidr(_), Val::Str(text)) => self.text_passes(text),
            (TestKind::Number(op, literal), Val::Int(_) | Val::Float(_)) => {
                value.compare(literal).is_some_and(|order| satisfies(*op, order))
            }
            (TestKind::Bool(literal), Val::Bool(truth)) => literal == truth,
            (TestKind::Status(literal), Val::Status(status)) => literal == status,
            (TestKind::Kind(literal), Val::Kind(kind)) => literal == kind,
            _ => return Verdict::Other,
        };
        if passes { Verdict::Yes } else { Verdict::No }
    }

    /// The positive test of a text; false where the test is not about texts.
    pub fn text_passes(&self, text: &str) -> bool {
        match &self.kind {
            TestKind::Exists => true,
            TestKind::Text(CompareOp::Eq, literal) => text == literal,
            TestKind::Text(op, literal) => satisfies(*op, text.as_bytes().cmp(literal.as_bytes())),
            TestKind::Regex(regex) => regex.is_match(text),
            TestKind::Cidr(networks) => match text.parse::<IpAddr>() {
                Ok(address) => networks.iter().any(|(network, bits)| contains(*network, *bits, address.to_canonical())),
                Err(_) => false,
            },
            _ => false,
        }
    }

    /// True when texts can be compared with the literal.
    pub fn about_texts(&self) -> bool {
        matches!(self.kind, TestKind::Exists | TestKind::Text(..) | TestKind::Regex(_) | TestKind::Cidr(_))
    }

    /// The answer for a field, from what its values said.
    pub fn answer(&self, comparable: bool, passed: bool) -> bool {
        if self.none_of { comparable && !passed } else { passed }
    }

    /// The answer for a field with this one value.
    pub fn holds(&self, value: &Val<'_>) -> bool {
        let verdict = self.verdict(value);
        self.answer(verdict != Verdict::Other, verdict == Verdict::Yes)
    }

    /// The whole numbers that pass, as an inclusive range, where the literal is a whole number.
    pub fn int_range(&self) -> Option<(i64, i64)> {
        let TestKind::Number(op, Val::Int(literal)) = &self.kind else { return None };
        // No number passes: a range that holds none.
        const NONE: (i64, i64) = (1, 0);
        Some(match op {
            CompareOp::Eq => (*literal, *literal),
            CompareOp::Lt => literal.checked_sub(1).map_or(NONE, |end| (i64::MIN, end)),
            CompareOp::LtEq => (i64::MIN, *literal),
            CompareOp::Gt => literal.checked_add(1).map_or(NONE, |start| (start, i64::MAX)),
            CompareOp::GtEq => (*literal, i64::MAX),
            _ => return None,
        })
    }
}

fn contains(network: IpAddr, bits: u32, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}
