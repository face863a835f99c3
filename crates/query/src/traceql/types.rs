//! Types of expressions.

use std::fmt;

use super::ast::{Intrinsic, Static};
use super::field::Field;

/// Type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// An attribute: known only when a span is seen.
    Any,
    /// `nil`.
    Nil,
    /// Truth value.
    Bool,
    /// Whole number.
    Int,
    /// Decimal number.
    Float,
    /// Text.
    Str,
    /// Nanoseconds.
    Duration,
    /// Span status.
    Status,
    /// Span kind.
    Kind,
}

impl Type {
    /// True for what arithmetic can be done with.
    pub fn numeric(self) -> bool {
        matches!(self, Type::Any | Type::Int | Type::Float | Type::Duration)
    }

    pub(super) fn comparable(self, other: Type) -> bool {
        self == other || self == Type::Any || other == Type::Any || (self.numeric() && other.numeric())
    }

    /// Type of a literal.
    pub fn of_static(value: &Static) -> Type {
        match value {
            Static::Nil => Type::Nil,
            Static::Bool(_) => Type::Bool,
            Static::Int(_) => Type::Int,
            Static::Float(_) => Type::Float,
            Static::Str(_) => Type::Str,
            Static::Duration(_) => Type::Duration,
            Static::Status(_) => Type::Status,
            Static::Kind(_) => Type::Kind,
        }
    }

    /// Type of a field.
    pub fn of_field(field: &Field) -> Type {
        use Intrinsic as I;
        match field {
            Field::Attr { .. } => Type::Any,
            Field::Intrinsic { intrinsic, .. } => match intrinsic {
                I::Duration | I::TraceDuration | I::EventTimeSinceStart => Type::Duration,
                I::Kind => Type::Kind,
                I::Status => Type::Status,
                I::ChildCount | I::NestedSetLeft | I::NestedSetRight | I::NestedSetParent => Type::Int,
                I::Parent => Type::Nil,
                I::Name | I::StatusMessage | I::SpanId | I::ParentId | I::RootName | I::RootService | I::TraceId => {
                    Type::Str
                }
                I::EventName | I::LinkSpanId | I::LinkTraceId | I::InstrumentationName | I::InstrumentationVersion => {
                    Type::Str
                }
            },
        }
    }

    /// Type of arithmetic on two numeric types.
    pub fn of_math(left: Type, right: Type) -> Type {
        match (left, right) {
            (Type::Any, _) | (_, Type::Any) => Type::Any,
            (Type::Duration, _) | (_, Type::Duration) => Type::Duration,
            (Type::Int, Type::Int) => Type::Int,
            _ => Type::Float,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Any => "an attribute",
            Type::Nil => "nil",
            Type::Bool => "a truth value",
            Type::Int => "a whole number",
            Type::Float => "a decimal number",
            Type::Str => "a text",
            Type::Duration => "a duration",
            Type::Status => "a status",
            Type::Kind => "a span kind",
        })
    }
}
