//! Tables for people: columns in line, numbers to the right and in groups of three.

use std::env;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// How text is dressed: on a terminal, or plain in a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Letters alone.
    Plain,
    /// Bold headings.
    Terminal,
}

impl Style {
    /// What standard output can show. `NO_COLOR` asks for plain text anywhere.
    pub(super) fn for_stdout() -> Style {
        let wants_plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match io::stdout().is_terminal() && !wants_plain {
            true => Style::Terminal,
            false => Style::Plain,
        }
    }

    /// A heading.
    pub(super) fn bold(self, text: &str) -> String {
        match self {
            Style::Plain => text.to_string(),
            Style::Terminal => format!("\x1b[1m{text}\x1b[0m"),
        }
    }
}

/// A table.
pub(super) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table of these columns.
    pub(super) fn new(columns: &[(&'static str, Align)]) -> Self {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, a cell a column.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.columns.len(), "a row has a cell a column: {cells:?}");
        // A line feed or an escape sequence in an ad's name must not break out of its cell.
        let printable = |cell: String| match cell.chars().any(char::is_control) {
            true => cell.escape_debug().to_string(),
            false => cell,
        };
        self.rows.push(cells.into_iter().map(printable).collect());
    }

    /// The table as text.
    pub(super) fn render(&self, style: Style) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.columns[column].0.len()]).max().expect("the heading is there")
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let headings: Vec<String> = self.columns.iter().map(|(heading, _)| heading.to_string()).collect();
        let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
        let mut text = style.bold(&self.line(&headings, &widths));
        for row in [&rule].into_iter().chain(&self.rows) {
            text.push_str(&self.line(row, &widths));
        }
        text
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, &width), &(_, align)) in row.iter().zip(widths).zip(&self.columns) {
            match align {
                Align::Left => write!(line, "{cell:<width$}  "),
                Align::Right => write!(line, "{cell:>width$}  "),
            }
            .expect("a string takes all that is written");
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

/// A number in groups of three: `1,234,567`.
pub(super) fn grouped(number: impl Into<i128>) -> String {
    let number = number.into();
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        text.push('-');
    }
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Millionths of the currency as units with two decimals, cut toward zero: `1,234.56`.
pub(super) fn money(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let cents = micros.unsigned_abs() / 10_000;
    format!("{sign}{}.{:02}", grouped(cents / 100), cents % 100)
}

/// A time in ms since 1970 as UTC, to the second: `2023-11-14 22:13:20`.
pub(super) fn time(time_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(time_ms) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => time_ms.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_in_line() {
        let mut table = Table::new(&[("ad", Align::Left), ("clicks", Align::Right)]);
        table.row(vec!["a".into(), "1".into()]);
        table.row(vec!["long\nname".into(), "1,000,000".into()]);
        let expected = "ad             clicks\n----------  ---------\na                   1\nlong\\nname  1,000,000\n";
        assert_eq!(table.render(Style::Plain), expected);
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            [grouped(0), grouped(999), grouped(1_000), grouped(-1_234_567)],
            ["0", "999", "1,000", "-1,234,567"]
        );
        assert_eq!([money(0), money(1_234_567_890), money(-10_000)], ["0.00", "1,234.56", "-0.01"]);
        assert_eq!(time(1_700_000_000_000), "2023-11-14 22:13:20");
    }
}
