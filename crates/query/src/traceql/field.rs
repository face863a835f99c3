//! Names of fields: attributes and intrinsics, of the span or of its parent.

use super::{AttrScope, Attribute, Intrinsic};

/// An attribute or intrinsic of a span or of its parent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Field {
    /// `span.key` and its like.
    Attr {
        /// True for `parent.…`.
        parent: bool,
        /// Which.
        attribute: Attribute,
    },
    /// `duration` and its like.
    Intrinsic {
        /// True for `parent.…`.
        parent: bool,
        /// Which.
        intrinsic: Intrinsic,
    },
}

impl Field {
    /// True when the answer lies with the span's parent.
    pub fn of_parent(&self) -> bool {
        match self {
            Field::Attr { parent, .. } | Field::Intrinsic { parent, .. } => *parent,
        }
    }
}

impl AttrScope {
    /// Every scope that has a name.
    pub const NAMED: [AttrScope; 5] =
        [AttrScope::Span, AttrScope::Resource, AttrScope::Event, AttrScope::Link, AttrScope::Instrumentation];

    /// The name before the dot; empty for the unscoped form.
    pub fn name(self) -> &'static str {
        match self {
            AttrScope::Any => "",
            AttrScope::Span => "span",
            AttrScope::Resource => "resource",
            AttrScope::Event => "event",
            AttrScope::Link => "link",
            AttrScope::Instrumentation => "instrumentation",
        }
    }

    /// The scope of a name.
    pub fn from_name(name: &str) -> Option<AttrScope> {
        Self::NAMED.into_iter().find(|scope| scope.name() == name)
    }
}

/// Every spelling of every intrinsic; the first of each is the one that is printed.
pub(super) const INTRINSICS: &[(&str, Intrinsic)] = &[
    ("duration", Intrinsic::Duration),
    ("span:duration", Intrinsic::Duration),
    ("name", Intrinsic::Name),
    ("span:name", Intrinsic::Name),
    ("kind", Intrinsic::Kind),
    ("span:kind", Intrinsic::Kind),
    ("status", Intrinsic::Status),
    ("span:status", Intrinsic::Status),
    ("statusMessage", Intrinsic::StatusMessage),
    ("span:statusMessage", Intrinsic::StatusMessage),
    ("span:childCount", Intrinsic::ChildCount),
    ("childCount", Intrinsic::ChildCount),
    ("span:id", Intrinsic::SpanId),
    ("span:parentID", Intrinsic::ParentId),
    ("parent", Intrinsic::Parent),
    ("nestedSetLeft", Intrinsic::NestedSetLeft),
    ("nestedSetRight", Intrinsic::NestedSetRight),
    ("nestedSetParent", Intrinsic::NestedSetParent),
    ("trace:duration", Intrinsic::TraceDuration),
    ("traceDuration", Intrinsic::TraceDuration),
    ("trace:rootName", Intrinsic::RootName),
    ("rootName", Intrinsic::RootName),
    ("trace:rootService", Intrinsic::RootService),
    ("rootServiceName", Intrinsic::RootService),
    ("trace:id", Intrinsic::TraceId),
    ("event:name", Intrinsic::EventName),
    ("event:timeSinceStart", Intrinsic::EventTimeSinceStart),
    ("link:spanID", Intrinsic::LinkSpanId),
    ("link:traceID", Intrinsic::LinkTraceId),
    ("instrumentation:name", Intrinsic::InstrumentationName),
    ("instrumentation:version", Intrinsic::InstrumentationVersion),
];

impl Intrinsic {
    /// The intrinsic of a spelling.
    pub fn from_name(name: &str) -> Option<Intrinsic> {
        INTRINSICS.iter().find(|(spelling, _)| *spelling == name).map(|(_, intrinsic)| *intrinsic)
    }

    /// The spelling that is printed.
    pub fn name(self) -> &'static str {
        INTRINSICS.iter().find(|(_, intrinsic)| *intrinsic == self).map_or("", |(spelling, _)| spelling)
    }

    /// True when all spans of a trace share the value.
    pub fn of_trace(self) -> bool {
        matches!(self, Intrinsic::TraceDuration | Intrinsic::RootName | Intrinsic::RootService | Intrinsic::TraceId)
    }

    /// True when `parent.` may stand before it.
    pub fn of_span(self) -> bool {
        matches!(
            self,
            Intrinsic::Duration
                | Intrinsic::Name
                | Intrinsic::Kind
                | Intrinsic::Status
                | Intrinsic::StatusMessage
                | Intrinsic::ChildCount
                | Intrinsic::SpanId
                | Intrinsic::ParentId
        )
    }
}
