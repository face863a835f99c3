//! A trace drawn in the terminal: who called whom, when, for how long.
//!
//! ```text
//! gateway: GET /checkout    5.01 s  ████████████████████████████████
//! ├─ auth: POST /verify      120 ms  ██
//! └─ orders: POST /orders    4.8 s     ███████████████████████████████
//! ```

use tracewell_model::{SpanRecord, StatusCode, TraceTree};
use tracewell_server::time::format_rfc3339_ms;

use crate::table::{counted, display_width, duration};

/// What to draw with.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Columns of the terminal.
    pub width: usize,
    /// Whether to use colour.
    pub colour: bool,
}

impl Style {
    /// What standard output can show: its width, and colour where it is a terminal and `NO_COLOR` is not set.
    pub fn of_stdout() -> Self {
        use std::io::IsTerminal;
        let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let width = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)).or(columns).unwrap_or(120);
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { width: width.clamp(60, 240), colour }
    }

    /// The text in a colour (an SGR code), where colour is used.
    pub fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Draws one trace, every span of it.
pub fn draw(spans: &[SpanRecord], style: Style) -> String {
    let tree = TraceTree::build(spans);
    let Some(first) = tree.nodes.first() else { return "no spans\n".to_owned() };
    let start = spans.iter().map(|record| record.span.start_unix_nano).min().unwrap_or(0);
    let end = spans.iter().map(|record| record.span.start_unix_nano + record.span.duration_ns()).max().unwrap_or(start);
    let errors = spans.iter().filter(|record| is_error(record)).count();
    let root = &spans[first.span];
    let mut out = format!(
        "trace {}  {}: {}\n{}  {}  {}  {}  {}\n\n",
        root.span.trace_id,
        root.resource.service_name(),
        root.span.name,
        format_rfc3339_ms(start),
        duration(end - start),
        counted(spans.len(), "span"),
        counted(services(spans), "service"),
        counted(errors, "error"),
    );

    let labels: Vec<String> = labels(spans, &tree);
    let times: Vec<String> = tree.nodes.iter().map(|node| duration(spans[node.span].span.duration_ns())).collect();
    let time_width = times.iter().map(|time| time.chars().count()).max().unwrap_or(0);
    let longest = labels.iter().map(|label| display_width(label)).max().unwrap_or(0);
    // At least a third of the line is for the bars.
    let label_width = longest.min(style.width * 2 / 3 - time_width.min(style.width / 3));
    let bar_width = style.width.saturating_sub(label_width + time_width + 6).max(10);
    for ((node, label), time) in tree.nodes.iter().zip(&labels).zip(&times) {
        let record = &spans[node.span];
        let mark = if is_error(record) { style.paint("31", "✗") } else { " ".to_owned() };
        let label = fit(label, label_width);
        let bar = bar(record.span.start_unix_nano - start, record.span.duration_ns(), end - start, bar_width);
        let bar = if is_error(record) { style.paint("31", &bar) } else { style.paint("36", &bar) };
        out.push_str(&format!("{mark} {label}  {time:>time_width$}  {bar}\n"));
    }
    out
}

fn is_error(record: &SpanRecord) -> bool {
    record.span.status.code == StatusCode::Error as i32
}

fn services(spans: &[SpanRecord]) -> usize {
    spans.iter().map(|record| record.resource.service_name()).collect::<std::collections::HashSet<_>>().len()
}

/// The tree's branches and each span's service and name. The service is left out where it is the parent's.
fn labels(spans: &[SpanRecord], tree: &TraceTree) -> Vec<String> {
    // A node is the last of its siblings when its subtree ends where its parent's does.
    let last: Vec<bool> = (0..tree.nodes.len())
        .map(|index| {
            let node = &tree.nodes[index];
            node.parent.is_none_or(|parent| parent + tree.nodes[parent].descendants == index + node.descendants)
        })
        .collect();
    let mut open: Vec<bool> = Vec::new();
    let mut labels = Vec::with_capacity(tree.nodes.len());
    for (index, node) in tree.nodes.iter().enumerate() {
        open.truncate(node.depth as usize);
        let mut label = String::new();
        open.iter().skip(1).for_each(|more| label.push_str(if *more { "│  " } else { "   " }));
        if node.parent.is_some() {
            label.push_str(if last[index] { "└─ " } else { "├─ " });
        }
        open.push(!last[index]);
        let record = &spans[node.span];
        let service = record.resource.service_name();
        let above = node.parent.map(|parent| spans[tree.nodes[parent].span].resource.service_name());
        if above != Some(service) {
            label.push_str(&format!("{service}: "));
        }
        label.extend(record.span.name.chars().map(|c| if c.is_control() { ' ' } else { c }));
        if node.orphan {
            label.push_str(" (parent missing)");
        }
        labels.push(label);
    }
    labels
}

/// The text in exactly so many columns.
fn fit(text: &str, width: usize) -> String {
    let own = text.chars().count();
    if own <= width {
        return format!("{text}{}", " ".repeat(width - own));
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A bar on a line of `width` columns that stands for `total` nanoseconds; never invisible.
fn bar(offset: u64, length: u64, total: u64, width: usize) -> String {
    let column = |ns: u64| if total == 0 { 0.0 } else { ns as f64 / total as f64 * width as f64 };
    let from = (column(offset) as usize).min(width - 1);
    let to = (column(offset + length).round() as usize).clamp(from, width);
    let drawn = if to > from { "█".repeat(to - from) } else { "▏".to_owned() };
    format!("{}{drawn}", " ".repeat(from))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use tracewell_model::{KeyValue, Resource, Span, SpanId, Status};

    fn span(service: &str, name: &str, id: u64, parent: u64, start_ms: u64, end_ms: u64) -> SpanRecord {
        SpanRecord {
            resource: Arc::new(Resource {
                attributes: vec![KeyValue::new("service.name", service)],
                ..Resource::default()
            }),
            scope: Arc::default(),
            span: Span {
                span_id: SpanId::from_u64(id),
                parent_span_id: (parent != 0).then(|| SpanId::from_u64(parent)),
                name: name.to_owned(),
                start_unix_nano: start_ms * 1_000_000,
                end_unix_nano: end_ms * 1_000_000,
                ..Span::default()
            },
        }
    }

    #[test]
    fn a_trace_is_drawn_with_branches_errors_and_bars() {
        let mut spans = vec![
            span("gateway", "GET /checkout", 1, 0, 0, 1000),
            span("auth", "POST /verify", 2, 1, 0, 100),
            span("auth", "SELECT users", 3, 2, 50, 100),
            span("orders", "POST /orders", 4, 1, 100, 1000),
            span("lost", "work", 9, 8, 500, 500),
        ];
        spans[3].span.status = Status { code: 2, message: String::new() };
        let drawn = draw(&spans, Style { width: 80, colour: false });
        let lines: Vec<&str> = drawn.lines().skip(3).collect();
        let expected = [
            "  gateway: GET /checkout         1.00 s  ████████████████████████████████████████",
            "  ├─ auth: POST /verify          100 ms  ████",
            "  │  └─ SELECT users            50.0 ms    ██",
            "✗ └─ orders: POST /orders        900 ms      ████████████████████████████████████",
            "  lost: work (parent missing)     0 ns                      ▏",
        ];
        assert_eq!(lines.len(), expected.len());
        for (line, expected) in lines.iter().zip(expected) {
            let words = |text: &str| text.split_whitespace().map(|word| word.replace('█', "#")).collect::<Vec<_>>();
            let (line, expected) = (words(line), words(expected));
            assert_eq!(line[..line.len() - 1], expected[..expected.len() - 1]);
        }
        assert!(drawn.contains("5 spans  4 services  1 error\n"), "{drawn}");
    }

    #[test]
    fn bars_show_when_and_are_never_invisible() {
        for (offset, length, expected) in [
            (0, 100, "██████████"),
            (50, 50, "     █████"),
            (99, 1, "         █"),
            (50, 0, "     ▏"),
            (100, 0, "         █"),
            (0, 1, "▏"),
        ] {
            assert_eq!(bar(offset, length, 100, 10), expected, "{offset}+{length}");
        }
        assert_eq!(bar(0, 0, 0, 10), "▏");
    }
}
