//! Which traces a question is about.

use tracewell_query::SetQuestion;
use tracewell_query::traceql::Query;

use crate::engine;
use crate::http::error::ApiError;
use crate::http::params::Params;
use crate::time;

/// Parameters that select one set of traces.
pub(super) const ONE: [&str; 4] = ["where", "start", "end", "limit"];

/// Parameters that select two.
pub(super) const TWO: [&str; 7] = ["where", "against", "start", "end", "againstStart", "againstEnd", "limit"];

/// How far back a question without `start` looks.
const HOUR_NS: u64 = 3_600_000_000_000;

/// Reads the parameters of [`TWO`], or [`ONE`]. Without `start` the set is that of the hour before `end`, which is now
/// if it is not said.
pub(super) fn read(params: &Params) -> Result<SetQuestion, ApiError> {
    let now_ns = time::now_ns();
    let moment = |name: &str| match params.text(name) {
        None => Ok(None),
        Some(text) => time::parse(text, now_ns)
            .map(Some)
            .map_err(|error| ApiError::invalid_parameter(format!("`{name}`: {error}"))),
    };
    let end = moment("end")?.unwrap_or(now_ns);
    let start = moment("start")?.unwrap_or(end.saturating_sub(HOUR_NS));
    let (against_start, against_end) = (moment("againstStart")?, moment("againstEnd")?);
    if start > end {
        return Err(ApiError::invalid_parameter("`start` lies after `end`"));
    }
    if against_start.zip(against_end).is_some_and(|(start, end)| start > end) {
        return Err(ApiError::invalid_parameter("`againstStart` lies after `againstEnd`"));
    }
    Ok(SetQuestion {
        filter: engine::parse(params.text("where").unwrap_or("{}"))?,
        start,
        end,
        against: params.text("against").map(against).transpose()?,
        against_start,
        against_end,
        limit: params.number("limit", 10_000, 1..=50_000)?,
    })
}

/// As [`engine::parse`]; the error says which of the two queries it is about.
fn against(text: &str) -> Result<Query, ApiError> {
    engine::parse(text).map_err(|error| ApiError { message: format!("`against`: {}", error.message), ..error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_time_it_is_the_last_hour_against_the_one_before() {
        let question = read(&Params::parse("where=%7B%20status%20%3D%20error%20%7D")).unwrap();
        assert_eq!(question.end - question.start, HOUR_NS);
        let (_, against) = question.requests();
        let against = against.unwrap();
        assert_eq!((against.start, against.end), (question.start - HOUR_NS, question.start));
    }

    #[test]
    fn errors_name_the_parameter() {
        for (query, expected) in [
            ("where=%7B", "invalid_query"),
            ("against=%7B", "`against`: "),
            ("start=soon", "`start`: "),
            ("start=now&end=now-1h", "`start` lies after `end`"),
            ("againstStart=now&againstEnd=now-1h", "`againstStart` lies after"),
            ("limit=0", "`limit`"),
        ] {
            let error = read(&Params::parse(query)).unwrap_err();
            assert!(error.message.contains(expected) || error.code == expected, "{query}: {error:?}");
        }
    }
}
