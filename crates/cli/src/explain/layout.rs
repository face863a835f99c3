//! Lines and tables that fit the terminal.

use crate::table::{Align, display_width, render};
use crate::waterfall::Style;

/// Space before a table.
const INDENT: usize = 2;

/// Narrowest that a flexible column becomes.
const COLUMN_MIN: usize = 12;

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column<'t> {
    /// Its title.
    pub name: &'t str,
    /// How it is aligned.
    pub align: Align,
    /// Whether it may be cut to fit.
    pub flexible: bool,
}

impl<'t> Column<'t> {
    /// Figures.
    pub fn number(name: &'t str) -> Self {
        Self { name, align: Align::Right, flexible: false }
    }

    /// Short words.
    pub fn words(name: &'t str) -> Self {
        Self { name, align: Align::Left, flexible: false }
    }

    /// Text of any length.
    pub fn text(name: &'t str) -> Self {
        Self { name, align: Align::Left, flexible: true }
    }
}

/// A title with an empty line before it.
pub fn heading(title: &str, style: Style) -> String {
    format!("\n{}\n", style.paint("1;34", title))
}

/// A text in lines of the terminal's width. `first` stands before the first line; the others are indented as much.
pub fn wrapped(text: &str, first: &str, style: Style, code: Option<&str>) -> String {
    let indent = " ".repeat(first.chars().count());
    let width = style.width.saturating_sub(indent.len()).max(20);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        for piece in pieces(word, width) {
            match lines.last_mut() {
                Some(line) if line.chars().count() + 1 + piece.chars().count() <= width => {
                    line.push(' ');
                    line.push_str(&piece);
                }
                _ => lines.push(piece),
            }
        }
    }
    let mut out = String::new();
    for (number, line) in lines.iter().enumerate() {
        let line = code.map_or_else(|| line.clone(), |code| style.paint(code, line));
        out.push_str(&format!("{}{line}\n", if number == 0 { first } else { &indent }));
    }
    out
}

/// A word, cut where it is longer than a line.
fn pieces(word: &str, width: usize) -> Vec<String> {
    let characters: Vec<char> = word.chars().collect();
    characters.chunks(width).map(|piece| piece.iter().collect()).collect()
}

/// A text of so many characters at most.
pub fn clipped(text: &str, width: usize) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= width {
        return line;
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A table below its header, indented, not wider than the terminal: flexible columns are cut, the widest first.
pub fn table(columns: &[Column<'_>], mut rows: Vec<Vec<String>>, style: Style) -> String {
    let mut widths: Vec<usize> = (0..columns.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| display_width(cell));
            cells.max().unwrap_or(0).max(columns[column].name.chars().count())
        })
        .collect();
    let room = style.width.saturating_sub(INDENT + 2 * columns.len().saturating_sub(1));
    loop {
        let total: usize = widths.iter().sum();
        let flexible = (0..columns.len()).filter(|column| columns[*column].flexible && widths[*column] > COLUMN_MIN);
        let Some(widest) = flexible.max_by_key(|column| widths[*column]).filter(|_| total > room) else { break };
        widths[widest] -= (total - room).min(widths[widest] - COLUMN_MIN).min((widths[widest] / 8).max(1));
    }
    for row in &mut rows {
        for (cell, (column, width)) in row.iter_mut().zip(columns.iter().zip(&widths)) {
            if column.flexible {
                *cell = clipped(cell, *width);
            }
        }
    }
    let header: Vec<(&str, Align)> = columns.iter().map(|column| (column.name, column.align)).collect();
    let drawn = render(&header, &rows);
    let indent = " ".repeat(INDENT);
    let mut out = String::new();
    for (number, line) in drawn.lines().enumerate() {
        let line = if number == 0 { style.paint("2", line) } else { line.to_owned() };
        out.push_str(&format!("{indent}{line}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_fit_and_what_is_cut_is_marked() {
        let style = Style { width: 60, colour: false };
        let columns = [Column::number("ms"), Column::text("service"), Column::text("operation")];
        let long = "an operation with a name that nobody has ever read to its very end";
        let rows = vec![
            vec!["1".to_owned(), "gateway".to_owned(), long.to_owned()],
            vec!["12345".to_owned(), "a-service-with-a-long-name".to_owned(), "GET /".to_owned()],
        ];
        let drawn = table(&columns, rows, style);
        assert!(drawn.lines().all(|line| line.chars().count() <= 60), "{drawn}");
        assert!(drawn.contains('…') && drawn.contains("12345") && drawn.contains("gateway"), "{drawn}");
    }

    #[test]
    fn sentences_are_wrapped_below_their_mark() {
        let style = Style { width: 30, colour: false };
        let text = wrapped("one two three four five six seven eight nine", "  - ", style, None);
        assert_eq!(text, "  - one two three four five\n    six seven eight nine\n");
        assert_eq!(wrapped("", "- ", style, None), "");
        let word = "x".repeat(70);
        assert!(wrapped(&word, "", style, None).lines().all(|line| line.len() <= 30));
    }
}
