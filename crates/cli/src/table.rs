//! Tables of text with aligned columns.

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// For words.
    Left,
    /// For numbers.
    Right,
}

/// Draws rows below a header, columns two spaces apart. Nothing is cut off.
pub fn render(header: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let width_of = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| display_width(cell));
        cells.chain([header[column].0.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width_of).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for ((cell, width), (_, align)) in cells.zip(&widths).zip(header) {
            let space = " ".repeat(width.saturating_sub(display_width(cell)));
            match align {
                Align::Left => line.extend([cell, &space, "  "]),
                Align::Right => line.extend([&space, cell, "  "]),
            }
        }
        line.trim_end().to_owned() + "\n"
    };
    let mut out = line(&mut header.iter().map(|(title, _)| *title));
    rows.iter().for_each(|row| out.push_str(&line(&mut row.iter().map(String::as_str))));
    out
}

/// Columns that a text takes: characters, without those that colour it.
pub fn display_width(text: &str) -> usize {
    let mut width = 0;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            chars.by_ref().find(|c| *c == 'm');
        } else {
            width += 1;
        }
    }
    width
}

/// A duration in the unit that suits it, three digits: `5.01 s`, `120 ms`, `3.2 µs`.
pub fn duration(ns: u64) -> String {
    let scaled = |value: f64, unit: &str| {
        let digits = if value < 10.0 {
            2
        } else if value < 100.0 {
            1
        } else {
            0
        };
        format!("{value:.digits$} {unit}")
    };
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => scaled(ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => scaled(ns as f64 / 1e6, "ms"),
        1_000_000_000..120_000_000_000 => scaled(ns as f64 / 1e9, "s"),
        _ => {
            let seconds = ns / 1_000_000_000;
            let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            if hours > 0 { format!("{hours} h {minutes:02} min") } else { format!("{minutes} min {seconds:02} s") }
        }
    }
}

/// A number of things: `1 span`, `2 spans`.
pub fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A size in the unit that suits it: `1.2 GiB`.
pub fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = vec![vec!["gateway".to_owned(), "5".to_owned()], vec!["db".to_owned(), "1234".to_owned()]];
        let text = render(&[("service", Align::Left), ("spans", Align::Right)], &rows);
        assert_eq!(text, "service  spans\ngateway      5\ndb        1234\n");
    }

    #[test]
    fn quantities_are_written_for_people() {
        for (ns, expected) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (3_240, "3.24 µs"),
            (120_000_000, "120 ms"),
            (5_012_345_678, "5.01 s"),
            (306_000_000_000, "5 min 06 s"),
            (7_260_000_000_000, "2 h 01 min"),
        ] {
            assert_eq!(duration(ns), expected);
        }
        assert_eq!((size(512), size(1536)), ("512 B".to_owned(), "1.5 KiB".to_owned()));
    }
}
