//! The ten questions of `docs/PERFORMANCE.md`, and an explanation of ten thousand traces, made concrete with values found
//! in the stored data.

use anyhow::Context;
use serde_json::Value;

use super::api::{Api, encode};

/// One question.
pub struct Question {
    /// What is asked, in words.
    pub name: &'static str,
    /// The query or path, for the reader.
    pub shown: String,
    /// What is requested.
    pub path: String,
    /// The same with an exact total, where it is a search.
    pub counting_path: Option<String>,
    /// Name of the list in the answer whose length counts as the number of results.
    list: &'static str,
}

impl Question {
    fn search(name: &'static str, query: &str) -> Self {
        let path =
            |total: &str| format!("/api/v1/search?start=0&end=now%2B1h&limit=20&total={total}&q={}", encode(query));
        Self { name, shown: query.to_owned(), path: path("none"), counting_path: Some(path("exact")), list: "traces" }
    }

    fn listing(name: &'static str, path: String, list: &'static str) -> Self {
        Self { name, shown: path.clone(), path, counting_path: None, list }
    }

    /// How many results an answer holds.
    pub fn results(&self, answer: &Value) -> anyhow::Result<u64> {
        let list = answer[self.list].as_array().with_context(|| format!("the answer has no list {}", self.list))?;
        if self.list == "resourceSpans" {
            let scopes = list.iter().filter_map(|resource| resource["scopeSpans"].as_array()).flatten();
            return Ok(scopes.filter_map(|scope| scope["spans"].as_array()).map(|spans| spans.len() as u64).sum());
        }
        Ok(list.len() as u64)
    }
}

/// Values to ask for.
pub struct Sample {
    trace_id: String,
    spans: u64,
    user: String,
}

impl Sample {
    /// Takes a trace of ordinary size from the middle of what the newest minutes hold.
    pub async fn find(api: &mut Api) -> anyhow::Result<Self> {
        const QUERY: &str = "{ resource.service.name = \"gateway\" && span.user.id != \"\" }";
        let query = encode(QUERY);
        let path = |end: &str| format!("/api/v1/search?start=0&end={end}&limit=200&total=none&q={query}");
        let newest = api.json(&path("now%2B1h")).await?;
        let first = newest["traces"].get(0).and_then(|trace| trace["startUnixNano"].as_str()).unwrap_or("0");
        let end = first.parse::<u64>()?.saturating_sub(10 * 60 * 1_000_000_000);
        let older = api.json(&path(&end.to_string())).await?;
        let found = [&older, &newest].into_iter().filter_map(|answer| answer["traces"].as_array()).flatten();
        found.filter_map(Self::from_trace).find(|sample| (20..200).contains(&sample.spans)).with_context(|| {
            format!(
                "no trace of 20 to 200 spans among the answers to {QUERY}; is this data of `tracewell bench ingest`?"
            )
        })
    }

    fn from_trace(trace: &Value) -> Option<Self> {
        let attributes = &trace["spans"].get(0)?["attributes"];
        let user = attributes["user.id"].as_str().or_else(|| attributes["span.user.id"].as_str())?;
        Some(Self {
            trace_id: trace["traceId"].as_str()?.to_owned(),
            spans: trace["spanCount"].as_u64()?,
            user: user.to_owned(),
        })
    }
}

/// The questions, in the order of `docs/PERFORMANCE.md`.
pub fn questions(sample: &Sample) -> Vec<Question> {
    let Sample { trace_id, user, .. } = sample;
    vec![
        Question::listing("trace by id", format!("/api/v1/traces/{trace_id}"), "resourceSpans"),
        Question::search(
            "newest 20 of a service by duration",
            "{ resource.service.name = \"checkout\" && duration > 20ms }",
        ),
        Question::search("a high-cardinality attribute", &format!("{{ span.user.id = \"{user}\" }}")),
        Question::search(
            "status 500 on a rare route",
            "{ span.http.response.status_code = 500 && span.http.route = \"/api/v1/disputes/{id}\" }",
        ),
        Question::search(
            "a regular expression on statements",
            "{ span.db.query.text =~ \"SELECT .* JOIN (exemption|signal|kind)_attributes .* FOR UPDATE.*\" }",
        ),
        Question::search("newest 20 of everything", "{ }"),
        Question::search("errors of a service", "{ resource.service.name = \"payment\" && status = error }"),
        Question::listing("all services", "/api/v1/services?start=0&end=now%2B1h".to_owned(), "services"),
        Question::listing(
            "values of an attribute",
            "/api/v1/attributes/span/http.route/values?start=0&end=now%2B1h&limit=500".to_owned(),
            "values",
        ),
        Question::search(
            "arithmetic on unscoped attributes",
            "{ .app.amount > 200 * .app.items.count && (duration > 1ms || status = error) && kind != server }",
        ),
        Question::listing(
            "explanation of ten thousand traces",
            "/api/v1/explain?start=0&end=now%2B1h&limit=10000".to_owned(),
            "critical_path",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn there_are_eleven_questions_and_their_results_can_be_counted() {
        let trace = json!({"traceId": "0a", "spanCount": 21, "spans": [{"attributes": {"user.id": "user-1"}}]});
        let questions = questions(&Sample::from_trace(&trace).unwrap());
        assert_eq!(questions.len(), 11);
        assert_eq!(questions[2].shown, "{ span.user.id = \"user-1\" }");
        let otlp = json!({"resourceSpans": [{"scopeSpans": [{"spans": [1, 2]}, {"spans": [3]}]}]});
        assert_eq!(questions[0].results(&otlp).unwrap(), 3);
        assert_eq!(questions[1].results(&json!({"traces": [1, 2]})).unwrap(), 2);
        assert!(questions[1].results(&json!({})).is_err());
    }
}
