//! The table that a person reads.

/// Rows of what was measured, each with what is asked for.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<[String; 3]>,
}

impl Table {
    /// Adds a row: what was measured, what came out, what is asked for.
    pub(crate) fn row(&mut self, measured: impl Into<String>, found: impl Into<String>, asked: impl Into<String>) {
        self.rows.push([measured.into(), found.into(), asked.into()]);
    }

    /// Prints all rows in columns.
    pub(crate) fn print(&self) {
        let heading = ["measured", "found", "asked for"].map(String::from);
        let width = |column: usize| self.rows.iter().chain([&heading]).map(|row| row[column].chars().count()).max();
        let [first, second] = [0, 1].map(|column| width(column).unwrap_or(0));
        for [measured, found, asked] in [&heading].into_iter().chain(&self.rows) {
            println!("{measured:first$}  {found:>second$}  {asked}");
        }
    }
}
