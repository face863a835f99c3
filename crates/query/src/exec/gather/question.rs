//! Which two sets a question about a set of traces is about.

use super::{GatherRequest, Which};
use crate::traceql::Query;

/// A question about a set of traces. Times are nanoseconds since the epoch.
///
/// What is compared with follows from what is said of it: a time and a filter of its own; a time of its own, with the
/// same filter; a filter of its own, in the same time; and, where nothing is said, the same filter in the time of the
/// same length before.
#[derive(Debug, Clone)]
pub struct SetQuestion {
    /// The traces that are asked about.
    pub filter: Query,
    /// Spans count when they end at or after this …
    pub start: u64,
    /// … and start before this.
    pub end: u64,
    /// The traces to compare with.
    pub against: Option<Query>,
    /// The same as `start` and `end` for those. One of them alone makes a range as long as the first.
    pub against_start: Option<u64>,
    /// See [`SetQuestion::against_start`].
    pub against_end: Option<u64>,
    /// Most traces of each.
    pub limit: usize,
}

impl SetQuestion {
    /// The range to compare with, if it is said or follows.
    fn against_range(&self) -> Option<(u64, u64)> {
        let length = self.end.saturating_sub(self.start);
        match (self.against_start, self.against_end) {
            (Some(start), Some(end)) => Some((start, end)),
            (Some(start), None) => Some((start, start.saturating_add(length))),
            (None, Some(end)) => Some((end.saturating_sub(length), end)),
            (None, None) if self.against.is_some() => Some((self.start, self.end)),
            // All of time has nothing before it.
            (None, None) if self.start == 0 || self.end == u64::MAX => None,
            (None, None) => Some((self.start.saturating_sub(length), self.start)),
        }
    }

    /// What is to be gathered: the set, and what it is compared with if that can be told.
    pub fn requests(&self) -> (GatherRequest, Option<GatherRequest>) {
        let request = |query: &Query, (start, end): (u64, u64)| GatherRequest {
            start,
            end,
            limit: self.limit,
            ..GatherRequest::new(Which::Query(query.clone()))
        };
        let against = self.against.as_ref().unwrap_or(&self.filter);
        let against = self.against_range().map(|range| request(against, range));
        (request(&self.filter, (self.start, self.end)), against)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compared_with_follows_from_what_is_said() {
        let parse = |text: &str| Query::parse(text).unwrap();
        let (errors, all) = ("{ status = error }", "{ }");
        let none = None::<u64>;
        for (range, against, against_range, expected) in [
            ((100, 200), None, (none, none), Some((errors, 0, 100))),
            ((250, 350), None, (none, none), Some((errors, 150, 250))),
            ((100, 200), Some(all), (none, none), Some((all, 100, 200))),
            ((100, 200), None, (Some(20), Some(60)), Some((errors, 20, 60))),
            ((100, 200), Some(all), (Some(20), None), Some((all, 20, 120))),
            ((100, 200), None, (None, Some(50)), Some((errors, 0, 50))),
            ((0, u64::MAX), None, (none, none), None),
            ((0, u64::MAX), Some(all), (none, none), Some((all, 0, u64::MAX))),
        ] {
            let question = SetQuestion {
                filter: parse(errors),
                start: range.0,
                end: range.1,
                against: against.map(parse),
                against_start: against_range.0,
                against_end: against_range.1,
                limit: 5,
            };
            let (of, against) = question.requests();
            assert_eq!((of.start, of.end, of.limit), (range.0, range.1, 5));
            let told = against.map(|request| match request.which {
                Which::Query(query) => (format!("{query:?}"), request.start, request.end),
                other => panic!("{other:?}"),
            });
            assert_eq!(told, expected.map(|(text, start, end)| (format!("{:?}", parse(text)), start, end)));
        }
    }
}
