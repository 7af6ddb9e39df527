//! Tables for people: aligned, never cut.

use super::{
    colour::{self, Colour},
    failure::Failure,
    output, text,
};

/// A cell.
pub(crate) struct Cell(String, Colour);

impl Cell {
    /// A cell with a colour.
    pub(crate) fn new(text: &str, colour: Colour) -> Self {
        Self(text::safe(text), colour)
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text.as_ref(), Colour::Plain)
    }
}

/// Rows under a head.
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table that has only its head yet.
    pub(crate) fn new(head: &[&str]) -> Self {
        Self {
            rows: vec![
                head.iter()
                    .map(|name| Cell::new(name, Colour::Head))
                    .collect(),
            ],
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// It as text for standard output.
    pub(crate) fn text(&self) -> String {
        self.render(colour::on_stdout())
    }

    /// Prints it to standard output.
    pub(crate) fn print(&self) -> Result<(), Failure> {
        output::print(self.text().as_bytes())
    }

    fn render(&self, colours: bool) -> String {
        let width = |cell: &Cell| cell.0.chars().count();
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(width).max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            let mut missing = 0;
            for (cell, column) in row.iter().zip(&widths) {
                // Padding goes before the next cell that says something, so that no line ends in spaces.
                if !cell.0.is_empty() {
                    line.extend(std::iter::repeat_n(' ', missing));
                    missing = 0;
                    line.push_str(&cell.1.paint(&cell.0, colours));
                }
                missing += column - width(cell) + 3;
            }
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_end_with_their_last_word() {
        let mut table = Table::new(&["NAME", "STATE", "ADDRESS"]);
        table.row(["local".into(), "connected".into(), "".into()]);
        table.row([
            "a\nb".into(),
            Cell::new("offline", Colour::Bad),
            "192.0.2.1".into(),
        ]);
        assert_eq!(
            table.render(false),
            "NAME      STATE       ADDRESS\nlocal     connected\na\\u{a}b   offline     192.0.2.1\n"
        );
        assert!(
            table
                .render(true)
                .contains("\u{1b}[31moffline\u{1b}[0m     192")
        );
    }
}
