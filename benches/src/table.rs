//! Reports as text: Markdown tables that line up.

use std::fmt::Write;

use crate::{Report, Row};

const SHORT: [&str; 6] = ["work", "ours, ns", "peer", "peer, ns", "ratio", "quartiles"];
const LONG: [&str; 6] = [
    "work",
    "peer",
    "median",
    "quartiles",
    "ours / peer",
    "quartiles",
];

impl Report {
    /// The short table: the machine, a line per row with the peer it is judged by, the notes.
    pub fn short_table(&self) -> String {
        let lines: Vec<[String; 6]> = self.rows.iter().filter_map(short).collect();
        let mut text = format!("{}\n\n", self.machine);
        text.push_str(&aligned(SHORT, &[1, 3, 4], &lines));
        text.push('\n');
        for row in &self.rows {
            if let Some(note) = &row.note {
                writeln!(text, "{}: {note}.", row.name).expect("a String takes any text");
            }
        }
        text.push_str(
            "Medians of interleaved rounds. Ratio is ours / peer, per round. Only ratios within a run count.\n",
        );
        text
    }

    /// The full table: a line per row and peer.
    pub fn table(&self) -> String {
        let lines: Vec<[String; 6]> = self.rows.iter().flat_map(long).collect();
        let mut text = format!("{}\n\n", self.machine);
        text.push_str(&aligned(LONG, &[2, 3, 4, 5], &lines));
        for row in &self.rows {
            for missing in &row.missing {
                writeln!(
                    text,
                    "skipped: {}, {}: {}",
                    row.name, missing.peer, missing.why
                )
                .expect("a String takes any text");
            }
        }
        text
    }
}

fn short(row: &Row) -> Option<[String; 6]> {
    let [ours, peer, ..] = row.figures.as_slice() else {
        return None;
    };
    Some([
        row.name.clone(),
        digits(ours.value.median),
        peer.peer.clone(),
        digits(peer.value.median),
        format!("{:.2}", peer.ratio.median),
        format!("{:.2}-{:.2}", peer.ratio.lower, peer.ratio.upper),
    ])
}

/// The lines of a row; its name stands in the first.
pub(crate) fn long(row: &Row) -> Vec<[String; 6]> {
    let name_of = |place: usize| match place {
        0 => row.name.clone(),
        _ => String::new(),
    };
    let lines = row.figures.iter().enumerate().map(|(place, figure)| {
        let (value, ratio) = (figure.value, figure.ratio);
        let (middle, quartiles) = match place {
            0 => (String::new(), String::new()),
            _ => (
                format!("{:.2}", ratio.median),
                format!("{:.2}-{:.2}", ratio.lower, ratio.upper),
            ),
        };
        [
            name_of(place),
            figure.peer.clone(),
            amount(value.median, &row.unit),
            format!(
                "{}-{}",
                amount(value.lower, &row.unit),
                amount(value.upper, &row.unit)
            ),
            middle,
            quartiles,
        ]
    });
    lines.collect()
}

/// A figure with its unit, in one that a reader can take in.
pub(crate) fn amount(value: f64, unit: &str) -> String {
    let scaled = |steps: [(f64, &str); 3]| {
        let step = steps.into_iter().find(|(from, _)| value >= *from);
        let (by, name) = step.unwrap_or((1.0, unit));
        format!("{} {name}", digits(value / by))
    };
    match unit {
        "ns" => scaled([(1e9, "s"), (1e6, "ms"), (1e3, "µs")]),
        "bytes" => scaled([
            (f64::from(1 << 30), "GiB"),
            (f64::from(1 << 20), "MiB"),
            (f64::from(1 << 10), "KiB"),
        ]),
        _ => format!("{} {unit}", digits(value)),
    }
}

/// Three digits are all that a run can tell.
pub(crate) fn digits(value: f64) -> String {
    let decimals = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.decimals$}")
}

/// A Markdown table; the columns `right` are aligned to the right.
pub(crate) fn aligned<const N: usize>(
    headings: [&str; N],
    right: &[usize],
    lines: &[[String; N]],
) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        let longest = lines.iter().map(|line| line[column].chars().count()).max();
        longest
            .unwrap_or(0)
            .max(headings[column].chars().count())
            .max("---:".len())
    });
    let mut text = String::new();
    let mut write = |cells: [String; N]| {
        for (column, cell) in cells.iter().enumerate() {
            let width = widths[column];
            let written = if right.contains(&column) {
                write!(text, "| {cell:>width$} ")
            } else {
                write!(text, "| {cell:<width$} ")
            };
            written.expect("a String takes any text");
        }
        text.push_str("|\n");
    };
    write(headings.map(String::from));
    write(std::array::from_fn(|column| {
        let dashes = "-".repeat(widths[column] - 1);
        let last = if right.contains(&column) { ':' } else { '-' };
        format!("{dashes}{last}")
    }));
    for line in lines {
        write(line.clone());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn columns_of_the_tables_line_up() {
        for (table, rows) in [(sample().short_table(), 2), (sample().table(), 5)] {
            let lines: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).collect();
            assert_eq!(lines.len(), 2 + rows, "{table}");
            let bars = |line: &str| -> Vec<usize> {
                let places = line.chars().enumerate();
                places
                    .filter_map(|(at, c)| (c == '|').then_some(at))
                    .collect()
            };
            for line in &lines {
                assert_eq!(bars(line), bars(lines[0]), "{table}");
            }
        }
    }

    #[test]
    fn a_note_stands_below_the_short_table() {
        let table = sample().short_table();
        assert!(
            table.contains("nothing, twice: on both sides the same <nothing>.\n"),
            "{table}"
        );
    }

    #[test]
    fn who_is_missing_is_said() {
        let table = sample().table();
        let line = "skipped: nothing, but with a longer name, somebody: it ended\n";
        assert!(table.contains(line), "{table}");
    }

    #[test]
    fn numbers_keep_three_digits_and_get_a_unit_to_their_size() {
        assert_eq!(digits(2.6449), "2.64");
        assert_eq!(digits(62.04), "62.0");
        assert_eq!(digits(388.2), "388");
        assert_eq!(amount(388.2, "ns"), "388 ns");
        assert_eq!(amount(92_000_000.0, "ns"), "92.0 ms");
        assert_eq!(amount(5_120.0, "bytes"), "5.00 KiB");
        assert_eq!(amount(2.0, "calls"), "2.00 calls");
    }
}
