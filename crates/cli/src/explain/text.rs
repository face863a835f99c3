//! The explanation for people: the verdict first, then what it rests on, then everything else that was found.

use serde_json::Value;

use super::layout::{Column, clipped, heading, table, wrapped};
use crate::table::{Align, counted, duration};
use crate::waterfall::Style;

/// Rows of a table at most; JSON has all.
const ROWS_MAX: usize = 12;

/// Draws the document.
pub fn render(document: &Value, style: Style) -> String {
    let mut out = String::new();
    verdict(&mut out, &document["verdict"], style);
    also(&mut out, list(document, "also"), style);
    critical_path(&mut out, list(document, "critical_path"), style);
    for section in SECTIONS {
        section.draw(&mut out, document, style);
    }
    footer(&mut out, document, style);
    out
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// A number of nanoseconds, with its sign.
fn nanoseconds(value: &Value) -> Option<String> {
    let ns = value.as_f64()?;
    let sign = if ns < 0.0 { "−" } else { "" };
    Some(format!("{sign}{}", duration(ns.abs().round() as u64)))
}

/// The same where the sign matters most.
fn change(value: &Value) -> Option<String> {
    let plus = value.as_f64().is_some_and(|ns| ns > 0.0);
    nanoseconds(value).map(|text| if plus { format!("+{text}") } else { text })
}

fn percent(value: &Value) -> Option<String> {
    let share = value.as_f64()? * 100.0;
    Some(if share < 10.0 { format!("{share:.1} %") } else { format!("{share:.0} %") })
}

/// A service with its operation, or a hop.
fn place(value: &Value) -> String {
    let edge = if value["edge"].is_object() { &value["edge"] } else { value };
    let operation = text(value, "operation");
    if !text(edge, "callee").is_empty() || !text(edge, "caller").is_empty() {
        let mut hop = format!("{} → {}", or(text(edge, "caller"), "outside"), or(text(edge, "callee"), "?"));
        if !value["edge"].is_object() && !text(value, "direction").is_empty() {
            hop.push_str(&format!(" ({})", text(value, "direction")));
        }
        return if operation.is_empty() { hop } else { format!("{hop}: {operation}") };
    }
    match (text(value, "service"), operation) {
        (service, "") => service.to_owned(),
        ("", operation) => operation.to_owned(),
        (service, operation) => format!("{service}: {operation}"),
    }
}

fn or<'t>(text: &'t str, other: &'t str) -> &'t str {
    if text.is_empty() { other } else { text }
}

fn verdict(out: &mut String, verdict: &Value, style: Style) {
    out.push_str(&wrapped(text(verdict, "sentence"), "", style, Some("1")));
    let mut facts = vec![format!("{}, confidence {}", text(verdict, "kind"), text(verdict, "confidence"))];
    let place = place(verdict);
    if !place.is_empty() {
        facts.push(place);
    }
    if !text(verdict, "direction").is_empty() {
        facts.push(format!("direction: {}", text(verdict, "direction")));
    }
    if let Some(key) = verdict["attribute"]["key"].as_str() {
        facts.push(format!("{key} = {}", text(&verdict["attribute"], "value")));
    }
    facts.extend(nanoseconds(&verdict["cost_ns"]).map(|cost| format!("costs {cost}")));
    facts.extend(percent(&verdict["share"]).map(|share| format!("{share} of requests")));
    out.push_str(&wrapped(&facts.join("  ·  "), "", style, Some("2")));
    if !text(verdict, "statement").is_empty() {
        out.push_str(&wrapped(text(verdict, "statement"), "  ", style, None));
    }
    evidence(out, list(verdict, "evidence"), style);
}

fn evidence(out: &mut String, evidence: &[Value], style: Style) {
    if evidence.is_empty() {
        return;
    }
    out.push_str(&heading("why", style));
    for one in evidence {
        out.push_str(&wrapped(text(one, "text"), "  - ", style, None));
        if !text(one, "filter").is_empty() {
            // Not broken into lines: it is there to be copied.
            out.push_str(&format!("      {}\n", style.paint("36", text(one, "filter"))));
        }
        if !text(one, "trace").is_empty() {
            let spans: Vec<&str> = list(one, "spans").iter().filter_map(Value::as_str).take(4).collect();
            let spans = if spans.is_empty() { String::new() } else { format!("  spans {}", spans.join(" ")) };
            out.push_str(&wrapped(&format!("trace {}{spans}", text(one, "trace")), "      ", style, Some("2")));
        }
    }
}

fn also(out: &mut String, also: &[Value], style: Style) {
    if also.is_empty() {
        return;
    }
    out.push_str(&heading("also", style));
    for verdict in also {
        let mark = format!(" ({}, {})", text(verdict, "kind"), text(verdict, "confidence"));
        out.push_str(&wrapped(&format!("{}{mark}", text(verdict, "sentence")), "  - ", style, None));
    }
}

fn critical_path(out: &mut String, path: &[Value], style: Style) {
    let ns = |step: &Value, key: &str| step[key].as_u64().unwrap_or(0);
    let total: u64 = path.iter().map(|step| ns(step, "duration")).sum();
    let Some(first) = path.first() else { return };
    let begin = ns(first, "start");
    // The longest pieces, in order of time.
    let mut order: Vec<usize> = (0..path.len()).collect();
    order.sort_by_key(|step| std::cmp::Reverse(ns(&path[*step], "duration")));
    let mut shown: Vec<usize> = order.into_iter().take(ROWS_MAX).collect();
    shown.sort_unstable();
    let title = format!("critical path: {} in {}", duration(total), counted(path.len(), "piece"));
    out.push_str(&heading(&title, style));
    let rows = shown.iter().map(|step| {
        let step = &path[*step];
        let share = ns(step, "duration") as f64 / total.max(1) as f64;
        vec![
            duration(ns(step, "start").saturating_sub(begin)),
            duration(ns(step, "duration")),
            percent(&Value::from(share)).unwrap_or_default(),
            text(step, "kind").to_owned(),
            text(step, "service").to_owned(),
            text(step, "operation").to_owned(),
        ]
    });
    let columns = [
        Column::number("at"),
        Column::number("duration"),
        Column::number("share"),
        Column::words("kind"),
        Column::text("service"),
        Column::text("operation"),
    ];
    out.push_str(&table(&columns, rows.collect(), style));
    let rest: u64 = (0..path.len()).filter(|step| !shown.contains(step)).map(|step| ns(&path[step], "duration")).sum();
    if path.len() > shown.len() {
        out.push_str(&format!("  and {} of {} together\n", counted(path.len() - shown.len(), "piece"), duration(rest)));
    }
}

/// What a row shows in a column.
type Cell = fn(&Value) -> Option<String>;

/// One of the lists of the document.
struct Section {
    /// Where it is: a key, or a JSON pointer.
    key: &'static str,
    title: &'static str,
    /// Rows worth a line.
    shown: fn(&Value) -> bool,
    columns: &'static [(&'static str, Align, Cell)],
}

const SECTIONS: &[Section] = &[
    Section {
        key: "ranking",
        title: "suspects",
        shown: |_| true,
        columns: &[
            ("score", Align::Right, |row| row["score"].as_f64().map(|score| format!("{score:.2}"))),
            ("kind", Align::Left, |row| Some(text(row, "kind").to_owned())),
            ("where", Align::Left, |row| Some(place(row))),
            ("because", Align::Left, |row| list(row, "evidence").first().map(|one| text(one, "text").to_owned())),
        ],
    },
    Section {
        key: "hops",
        title: "calls that changed",
        shown: |row| matches!(text(hop(row), "verdict"), "grew" | "fell" | "clock"),
        columns: &[
            ("from → to", Align::Left, |row| Some(place(row))),
            ("part", Align::Left, |row| Some(text(row, "part").to_owned())),
            ("before", Align::Right, |row| nanoseconds(&hop(row)["before"]["p50_ns"])),
            ("now", Align::Right, |row| nanoseconds(&hop(row)["now"]["p50_ns"])),
            ("change", Align::Right, |row| change(&hop(row)["shift_ns"])),
            ("calls", Align::Right, |row| row["calls_now"].as_u64().map(|calls| calls.to_string())),
        ],
    },
    Section {
        key: "/diff/places/listed",
        title: "what changed for the average request",
        shown: |row| row["significant"] == true,
        columns: &[
            ("where", Align::Left, |row| Some(place(row))),
            ("before", Align::Right, |row| nanoseconds(&row["before"]["mean_ns"])),
            ("now", Align::Right, |row| nanoseconds(&row["now"]["mean_ns"])),
            ("change", Align::Right, |row| change(&row["change_ns"])),
            ("at least", Align::Right, |row| change(&row["interval"]["low_ns"])),
            ("at most", Align::Right, |row| change(&row["interval"]["high_ns"])),
        ],
    },
    Section {
        key: "/blame/places/listed",
        title: "where the average request spends its time",
        shown: |row| row["share"].as_f64().is_some_and(|share| share >= 0.01),
        columns: &[
            ("where", Align::Left, |row| Some(place(row))),
            ("time", Align::Right, |row| nanoseconds(&row["mean_ns"])),
            ("share", Align::Right, |row| percent(&row["share"])),
            ("calls", Align::Right, |row| row["calls"].as_f64().map(|calls| format!("{calls:.1}"))),
        ],
    },
    Section {
        key: "outliers",
        title: "what tells them from the others",
        shown: |_| true,
        columns: &[
            ("what", Align::Left, |row| Some(text(row, "what").to_owned())),
            ("filter", Align::Left, |row| Some(text(row, "filter").to_owned())),
        ],
    },
    Section {
        key: "patterns",
        title: "patterns",
        shown: |_| true,
        columns: &[
            ("severity", Align::Left, |row| Some(text(row, "severity").to_owned())),
            ("would save", Align::Right, |row| nanoseconds(&row["win"]["mean_ns"])),
            ("traces", Align::Right, |row| row["traces"].as_u64().map(|traces| traces.to_string())),
            ("what", Align::Left, |row| Some(text(row, "sentence").to_owned())),
        ],
    },
    Section {
        key: "broken",
        title: "where traces break",
        shown: |_| true,
        columns: &[
            ("lost", Align::Right, |row| percent(&row["lost_share"])),
            ("calls", Align::Right, |row| row["lost_calls"].as_u64().map(|calls| calls.to_string())),
            ("cause", Align::Left, |row| Some(text(row, "cause").to_owned())),
            ("what", Align::Left, |row| Some(text(row, "sentence").to_owned())),
        ],
    },
    Section {
        key: "clock_offsets",
        title: "clocks",
        shown: |row| row["is_reference"] != true,
        columns: &[
            ("clock", Align::Left, |row| Some(text(row, "clock").to_owned())),
            ("offset", Align::Right, |row| change(&row["offset_ns"])),
            ("±", Align::Right, |row| nanoseconds(&row["uncertainty_ns"])),
            ("drift", Align::Right, |row| row["drift_ppm"].as_f64().map(|ppm| format!("{ppm:.1} ppm"))),
            ("services", Align::Left, |row| {
                let services: Vec<&str> = list(row, "services").iter().filter_map(Value::as_str).collect();
                Some(services.join(", "))
            }),
        ],
    },
];

/// The figures of a change between two windows, which may stand in an object of their own.
fn hop(row: &Value) -> &Value {
    if row["change"].is_object() { &row["change"] } else { row }
}

impl Section {
    fn draw(&self, out: &mut String, document: &Value, style: Style) {
        let all = match self.key.starts_with('/') {
            true => document.pointer(self.key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice),
            false => list(document, self.key),
        };
        let rows: Vec<&Value> = all.iter().filter(|row| (self.shown)(row)).collect();
        if rows.is_empty() {
            return;
        }
        out.push_str(&heading(self.title, style));
        // Sentences are for reading, not for tables: they are wrapped, not cut.
        if let Some(sentence) = self.columns.iter().find(|(name, ..)| *name == "what") {
            for row in rows.iter().take(ROWS_MAX) {
                let facts = self.columns.iter().filter(|(name, ..)| !matches!(*name, "what" | "filter"));
                let facts: Vec<String> =
                    facts.filter_map(|(name, _, cell)| cell(row).map(|cell| fact(name, &cell))).collect();
                let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
                let sentence = (sentence.2)(row).unwrap_or_default();
                out.push_str(&wrapped(&format!("{sentence}{facts}"), "  - ", style, None));
                if !text(row, "filter").is_empty() {
                    out.push_str(&format!("      {}\n", style.paint("36", text(row, "filter"))));
                }
            }
        } else {
            // Columns that are empty everywhere are left out.
            let used: Vec<_> = self
                .columns
                .iter()
                .filter(|(_, _, cell)| rows.iter().any(|row| cell(row).is_some_and(|cell| !cell.is_empty())))
                .collect();
            let columns: Vec<Column> = used
                .iter()
                .map(|(name, align, _)| Column { name, align: *align, flexible: *align == Align::Left })
                .collect();
            let cells = rows.iter().take(ROWS_MAX);
            let cells = cells.map(|row| used.iter().map(|(_, _, cell)| cell(row).unwrap_or_default()).collect());
            out.push_str(&table(&columns, cells.collect(), style));
        }
        if rows.len() > ROWS_MAX {
            out.push_str(&format!("  and {} more; --format json has all\n", rows.len() - ROWS_MAX));
        }
    }
}

fn fact(name: &str, cell: &str) -> String {
    match name {
        "severity" | "cause" => cell.to_owned(),
        _ => format!("{name} {cell}"),
    }
}

fn footer(out: &mut String, document: &Value, style: Style) {
    let set = |value: &Value| {
        let traces = counted(value["traces"].as_u64().unwrap_or(0) as usize, "trace");
        let spans = counted(value["spans"].as_u64().unwrap_or(0) as usize, "span");
        match value["sampled"] == true {
            true => format!("{traces} ({spans}), a fair sample of {}", value["matched"]),
            false => format!("{traces} ({spans})"),
        }
    };
    let mut line = format!("looked at {}", set(&document["gathered"]));
    match document["against"].is_object() {
        true => line.push_str(&format!("; compared with {}", set(&document["against"]))),
        false => line.push_str("; compared with nothing"),
    }
    out.push('\n');
    out.push_str(&wrapped(&line, "", style, Some("2")));
    for warning in list(document, "warnings").iter().filter_map(Value::as_str) {
        out.push_str(&wrapped(&format!("warning: {}", clipped(warning, 400)), "", style, Some("33")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document() -> Value {
        json!({
            "version": 1,
            "verdict": {
                "kind": "network", "confidence": "high", "edge": {"caller": "payment", "callee": "bank"},
                "direction": "request", "cost_ns": 41e7, "share": 0.31,
                "sentence": "Requests take 130 ms longer than before, and 94 % of it goes on the way from payment to bank.",
                "evidence": [{"text": "1.3 ms before, 412 ms now.", "filter": "{ kind = client }", "trace": "0a", "spans": ["01"]}],
            },
            "also": [{"kind": "n-plus-one", "confidence": "medium", "sentence": "One statement would do.", "evidence": []}],
            "critical_path": [
                {"span": "01", "service": "payment", "operation": "charge", "start": 1_000_000u64, "duration": 400_000_000u64, "kind": "network"},
                {"span": "02", "service": "bank", "operation": "POST /charge", "start": 401_000_000u64, "duration": 12_000_000u64, "kind": "self"},
            ],
            "ranking": [{"service": "payment", "edge": {"caller": "payment", "callee": "bank"}, "kind": "network", "score": 41.2,
                         "evidence": [{"text": "The way takes longer."}]}],
            "hops": [{"caller": "payment", "callee": "bank", "part": "request",
                      "change": {"verdict": "grew", "shift_ns": 411e6, "before": {"p50_ns": 1.3e6}, "now": {"p50_ns": 412e6}}, "calls_now": 412},
                     {"callee": "payment", "part": "own", "change": {"verdict": "steady"}}],
            "outliers": [{"filter": "{ span.a = 1 }", "what": "a is 1 in 92 % of the slow requests."}],
            "patterns": [], "broken": [],
            "clock_offsets": [{"clock": "node-7", "offset_ns": -3_000_000, "uncertainty_ns": 400_000, "drift_ppm": 0.0, "services": ["rates"], "is_reference": false}],
            "blame": {"places": {"listed": [{"service": "bank", "operation": "POST /charge", "mean_ns": 2e6, "share": 0.4, "calls": 1.0}]}},
            "diff": {"places": {"listed": [{"caller": "payment", "callee": "bank", "direction": "request", "significant": true,
                     "before": {"mean_ns": 1e6}, "now": {"mean_ns": 122e6}, "change_ns": 121e6, "interval": {"low_ns": 110e6, "high_ns": 131e6}}]}},
            "gathered": {"matched": 900, "traces": 300, "spans": 4000, "sampled": true},
            "against": null, "warnings": ["a file is damaged"],
        })
    }

    #[test]
    fn the_verdict_comes_first_and_everything_found_follows_within_the_width() {
        let text = render(&document(), Style { width: 72, colour: false });
        assert!(text.starts_with("Requests take 130 ms longer than before"), "{text}");
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "payment → bank",
            "costs 410 ms",
            "{ kind = client }",
            "critical path: 412 ms in 2 pieces",
            "97 %",
            "+411 ms",
            "a is 1 in 92 % of the slow requests.",
            "+121 ms",
            "bank: POST /charge",
            "−3.00 ms",
            "looked at 300 traces (4000 spans), a fair sample of 900",
            "compared with nothing",
            "warning: a file is damaged",
        ] {
            assert!(words.contains(part), "{part:?} is missing in\n{text}");
        }
        assert!(!text.contains("patterns") && !text.contains('\x1b') && !text.contains("steady"), "{text}");
        for line in text.lines().filter(|line| !line.contains("{ ")) {
            assert!(line.chars().count() <= 72, "{line:?}");
        }
    }

    #[test]
    fn little_to_say_is_said_briefly() {
        let text = render(
            &json!({"verdict": {"kind": "not-enough", "confidence": "low", "sentence": "There are no traces.", "evidence": []}}),
            Style { width: 80, colour: true },
        );
        assert!(text.contains("There are no traces.") && text.contains("\x1b[1m"), "{text}");
        assert!(text.lines().count() < 6, "{text}");
    }
}
