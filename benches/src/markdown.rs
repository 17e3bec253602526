//! A report as `docs/benchmarks.md`.

use std::fmt::Write;

use crate::table::{aligned, long};
use crate::{Report, Row};

const COLUMNS: [&str; 6] = [
    "work",
    "peer",
    "median",
    "quartiles",
    "ours / peer",
    "quartiles",
];

const TARGETS: [&str; 4] = ["target", "at most", "measured", ""];

impl Report {
    /// Where, with what and when: a line each.
    pub(crate) fn about(&self) -> Vec<String> {
        let (machine, conditions) = (&self.machine, &self.conditions);
        vec![
            format!(
                "{}, {} processors usable, Linux {}; frequency governor: {}.",
                machine.cpu, machine.cpus, machine.kernel, conditions.governor
            ),
            format!("{}; {}.", machine.crates.join(", "), machine.rustc),
            format!(
                "{}. Load {:.2} before and {:.2} after; processors {:.0} % busy during the run, {:.1} % of their time taken by the machine below. Each side is pinned.",
                conditions.date,
                conditions.load[0],
                conditions.load[1],
                conditions.busy,
                conditions.stolen
            ),
        ]
    }

    /// What makes the figures worthless, if anything does.
    pub(crate) fn warning(&self) -> Option<String> {
        if !self.machine.optimised {
            Some("A debug build: these figures say nothing.".to_owned())
        } else if self.conditions.quick {
            Some("A quick run with small sizes: it shows that every row works; these figures say nothing.".to_owned())
        } else if self.conditions.load[0] > self.machine.cpus as f64 {
            Some("The machine was busy with other work: believe no figure before it is repeated on a quiet one.".to_owned())
        } else {
            None
        }
    }

    /// The report as Markdown: every row and peer, and how to repeat it.
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "# Benchmarks\n\n\
             Written by `cargo run --release -p sisal-benches -- render`; what is measured and how is in\n\
             [`benches/src/lib.rs`](../benches/src/lib.rs), each row in [`benches/src/rows/`](../benches/src/rows).\n\n",
        );
        for line in self.about() {
            writeln!(text, "- {line}").expect("a String takes any text");
        }
        if let Some(warning) = self.warning() {
            writeln!(text, "\n**{warning}**").expect("a String takes any text");
        }
        text.push_str(
            "\nMedians of interleaved rounds; less is better unless a row says otherwise. *ours / peer* is the median of the\n\
             rounds' ratios. Only ratios of one run mean anything; repeat it:\n\n\
             ```console\n\
             $ cargo run --release -p sisal-benches -- all        # target/bench-report/index.html has the plots\n\
             $ cargo run --release -p sisal-benches -- render     # writes this page from target/bench-report/report.json\n\
             ```\n",
        );
        text.push_str("\n## Targets\n\n");
        let verdicts = self.verdicts();
        let lines: Vec<[String; 4]> = verdicts
            .iter()
            .map(|verdict| {
                [
                    verdict.what.clone(),
                    verdict.most.clone(),
                    verdict.measured.clone(),
                    verdict.outcome.to_string(),
                ]
            })
            .collect();
        text.push_str(&aligned(TARGETS, &[1, 2], &lines));
        let mut last = None;
        for verdict in verdicts {
            // What holds for several in a row is said once.
            if let Some(why) = verdict.why.filter(|why| last != Some(*why)) {
                writeln!(text, "\n*{}:* {why}.", verdict.what).expect("a String takes any text");
                last = Some(why);
            }
        }
        for group in self.groups() {
            writeln!(text, "\n## {group}\n").expect("a String takes any text");
            let rows: Vec<&Row> = self.rows.iter().filter(|row| row.group == group).collect();
            let lines: Vec<[String; 6]> = rows.iter().flat_map(|row| long(row)).collect();
            text.push_str(&aligned(COLUMNS, &[2, 3, 4, 5], &lines));
            let mut notes: Vec<String> = Vec::new();
            for row in rows {
                for missing in &row.missing {
                    notes.push(format!(
                        "{}: no figure of {}: {}.",
                        row.name, missing.peer, missing.why
                    ));
                }
                notes.extend(row.note.as_ref().map(|note| {
                    format!("{}: a figure is for {}; {note}.", row.name, row.operation)
                }));
            }
            if !notes.is_empty() {
                text.push('\n');
            }
            for note in notes {
                writeln!(text, "- {note}").expect("a String takes any text");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use crate::report::tests::sample;

    #[test]
    fn the_page_has_every_row_and_says_who_is_missing() {
        let report = sample();
        let text = report.markdown();
        for row in &report.rows {
            assert!(text.contains(&format!("| {}", row.name)), "{text}");
        }
        assert!(text.contains("no figure of somebody: it ended."), "{text}");
        assert!(text.contains(&report.machine.kernel), "{text}");
        assert!(text.contains(&report.conditions.date), "{text}");
        assert!(report.warning().is_some(), "the sample is of a quick run");
    }
}
