//! What a run hands back: rows, as a table to read or as JSON to keep.
//!
//! Not here: how a row was measured.

use std::fmt::Write;

use serde::Serialize;

use crate::{Machine, Spread};

/// One piece of work, ours beside the peer's.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was done.
    pub name: &'static str,
    /// Nanoseconds per operation with Sisal: the median of the rounds.
    pub ours_ns: f64,
    /// Who else did it.
    pub peer: &'static str,
    /// Nanoseconds per operation with the peer: the median of the rounds.
    pub peer_ns: f64,
    /// Ours over the peer's: the median of each round's ratio. Below 1 we are faster.
    pub ratio: f64,
    /// How far the ratios of the rounds lie apart.
    pub ratio_spread: Spread,
    /// Rounds measured; each ran both sides.
    pub rounds: usize,
    /// Operations per side and round.
    pub operations: u64,
    /// What a reader must know to judge the row, if anything.
    pub note: Option<&'static str>,
}

/// The rows of one run and the machine that ran it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where the run happened.
    pub machine: Machine,
    /// One per piece of work.
    pub rows: Vec<Row>,
}

const HEADINGS: [&str; 6] = ["work", "ours, ns", "peer", "peer, ns", "ratio", "quartiles"];

impl Report {
    /// The report as text: the machine, the rows as a Markdown table, the notes.
    pub fn table(&self) -> String {
        let cells: Vec<[String; 6]> = self.rows.iter().map(cells).collect();
        let widths: [usize; 6] = std::array::from_fn(|column| {
            let longest = cells.iter().map(|row| row[column].chars().count()).max();
            longest
                .unwrap_or(0)
                .max(HEADINGS[column].len())
                .max("---:".len())
        });

        let mut text = format!("{}\n\n", self.machine);
        line(&mut text, widths, HEADINGS.map(String::from));
        line(
            &mut text,
            widths,
            std::array::from_fn(|column| {
                let dashes = "-".repeat(widths[column] - 1);
                format!("{dashes}{}", if is_number(column) { ':' } else { '-' })
            }),
        );
        for row in cells {
            line(&mut text, widths, row);
        }

        text.push('\n');
        for row in &self.rows {
            if let Some(note) = row.note {
                writeln!(text, "{}: {note}.", row.name).expect("a String takes any text");
            }
        }
        text.push_str(
            "Medians of interleaved rounds. Ratio is ours / peer, per round. Only ratios within a run count.\n",
        );
        text
    }

    /// The rows as a JSON array of objects, with the fields of [`Row`].
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(&self.rows).expect("rows are numbers and strings")
    }
}

fn cells(row: &Row) -> [String; 6] {
    [
        row.name.to_owned(),
        nanoseconds(row.ours_ns),
        row.peer.to_owned(),
        nanoseconds(row.peer_ns),
        format!("{:.2}", row.ratio),
        format!(
            "{:.2}-{:.2}",
            row.ratio_spread.lower, row.ratio_spread.upper
        ),
    ]
}

/// Three digits are all that a run can tell.
fn nanoseconds(value: f64) -> String {
    let decimals = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.decimals$}")
}

fn is_number(column: usize) -> bool {
    matches!(column, 1 | 3 | 4)
}

fn line(text: &mut String, widths: [usize; 6], cells: [String; 6]) {
    for (column, cell) in cells.iter().enumerate() {
        let width = widths[column];
        let written = if is_number(column) {
            write!(text, "| {cell:>width$} ")
        } else {
            write!(text, "| {cell:<width$} ")
        };
        written.expect("a String takes any text");
    }
    text.push_str("|\n");
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn report() -> Report {
        let row = Row {
            name: "nothing, twice",
            ours_ns: 2.5,
            peer: "nobody",
            peer_ns: 1250.0,
            ratio: 0.002,
            ratio_spread: Spread::of(&[0.001, 0.002, 0.004]),
            rounds: 3,
            operations: 1_000,
            note: Some("on both sides the same nothing"),
        };
        let longer = Row {
            name: "nothing, but with a longer name",
            note: None,
            ..row.clone()
        };
        Report {
            machine: Machine::this(),
            rows: vec![row, longer],
        }
    }

    #[test]
    fn json_is_an_array_of_rows() {
        let json: Value = serde_json::from_str(&report().json()).unwrap();
        let rows = json.as_array().expect("an array");
        assert_eq!(rows.len(), 2);
        let row = &rows[0];
        assert_eq!(row["name"], "nothing, twice");
        assert_eq!(row["ours_ns"], 2.5);
        assert_eq!(row["peer"], "nobody");
        assert_eq!(row["peer_ns"], 1250.0);
        assert_eq!(row["ratio"], 0.002);
        assert_eq!(row["ratio_spread"]["median"], 0.002);
        assert_eq!(row["ratio_spread"]["max"], 0.004);
        assert_eq!(row["rounds"], 3);
        assert_eq!(row["operations"], 1_000);
        assert!(rows[1]["note"].is_null());
    }

    #[test]
    fn columns_of_the_table_line_up() {
        let table = report().table();
        let rows: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(rows.len(), 4, "{table}");
        let bars =
            |line: &str| -> Vec<usize> { line.match_indices('|').map(|(at, _)| at).collect() };
        for row in &rows {
            assert_eq!(bars(row), bars(rows[0]), "{table}");
        }
    }

    #[test]
    fn a_note_stands_below_the_table() {
        let table = report().table();
        assert!(
            table.contains("nothing, twice: on both sides the same nothing.\n"),
            "{table}"
        );
    }

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!(nanoseconds(2.6449), "2.64");
        assert_eq!(nanoseconds(62.04), "62.0");
        assert_eq!(nanoseconds(388.2), "388");
    }
}
