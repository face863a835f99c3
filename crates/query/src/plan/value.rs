//! Values as expressions see them.

use std::borrow::Cow;
use std::cmp::Ordering;

use tracewell_model::Value;

/// One value of one span.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Val<'a> {
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Cow<'a, str>),
    Status(i32),
    Kind(i32),
}

impl<'a> Val<'a> {
    pub fn text(text: &'a str) -> Self {
        Val::Str(Cow::Borrowed(text))
    }

    /// The number as a double, for aggregates.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Val::Int(value) => Some(*value as f64),
            Val::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// The order of two values of one family; `None` where they are not of one (or a number is NaN). Whole and decimal
    /// numbers are one family and compare exactly.
    pub fn compare(&self, other: &Val<'_>) -> Option<Ordering> {
        match (self, other) {
            (Val::Bool(left), Val::Bool(right)) => Some(left.cmp(right)),
            (Val::Str(left), Val::Str(right)) => Some(left.as_bytes().cmp(right.as_bytes())),
            (Val::Status(left), Val::Status(right)) | (Val::Kind(left), Val::Kind(right)) => Some(left.cmp(right)),
            (Val::Int(left), Val::Int(right)) => Some(left.cmp(right)),
            (Val::Float(left), Val::Float(right)) => left.partial_cmp(right),
            (Val::Int(left), Val::Float(right)) => compare_mixed(*left, *right),
            (Val::Float(left), Val::Int(right)) => compare_mixed(*right, *left).map(Ordering::reverse),
            _ => None,
        }
    }
}

/// Compares a whole number with a decimal one without rounding either.
fn compare_mixed(whole: i64, decimal: f64) -> Option<Ordering> {
    // The first double above every i64.
    const ABOVE: f64 = 9_223_372_036_854_775_808.0;
    if decimal.is_nan() {
        return None;
    }
    if decimal >= ABOVE {
        return Some(Ordering::Less);
    }
    if decimal < -ABOVE {
        return Some(Ordering::Greater);
    }
    let below = decimal.floor();
    Some(whole.cmp(&(below as i64)).then(if decimal > below { Ordering::Less } else { Ordering::Equal }))
}

/// Calls `visit` with the value, or with each element of an array at any depth (Tempo: "TraceQL automatically queries
/// data contained in arrays"). Bytes and maps are nothing that a query can be compared with. Returns false for the empty
/// value, which counts as not set.
pub(crate) fn each_value<'a>(value: &'a Value, visit: &mut dyn FnMut(Val<'a>)) -> bool {
    match value {
        Value::Empty => return false,
        Value::Str(text) => visit(Val::text(text)),
        Value::Bool(truth) => visit(Val::Bool(*truth)),
        Value::Int(number) => visit(Val::Int(*number)),
        Value::Double(number) => visit(Val::Float(*number)),
        Value::Bytes(_) | Value::Map(_) => {}
        Value::Array(values) => {
            for value in values {
                each_value(value, visit);
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_and_decimal_numbers_compare_without_rounding() {
        let cases = [
            (1, 1.0, Some(Ordering::Equal)),
            (1, 1.5, Some(Ordering::Less)),
            (2, 1.5, Some(Ordering::Greater)),
            (-1, -1.5, Some(Ordering::Greater)),
            // 2^53 + 1 is no double; as doubles both sides would be equal.
            (9_007_199_254_740_993, 9_007_199_254_740_992.0, Some(Ordering::Greater)),
            (i64::MAX, 9_223_372_036_854_775_808.0, Some(Ordering::Less)),
            (i64::MIN, -9_223_372_036_854_775_808.0, Some(Ordering::Equal)),
            (0, f64::NEG_INFINITY, Some(Ordering::Greater)),
            (0, f64::NAN, None),
        ];
        for (whole, decimal, expected) in cases {
            assert_eq!(Val::Int(whole).compare(&Val::Float(decimal)), expected, "{whole} {decimal}");
            assert_eq!(Val::Float(decimal).compare(&Val::Int(whole)), expected.map(Ordering::reverse));
        }
    }
}
