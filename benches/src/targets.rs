//! What the design asks for, and whether a report shows it.

use std::fmt;

use crate::table::amount;
use crate::{Figure, Report, Row};

/// The most that a row may say.
#[derive(Clone, Copy, Debug)]
enum Most {
    /// Ours over this peer's, the median of the rounds' ratios.
    Times(&'static str, f64),
    /// Ours.
    Amount(f64),
}

struct Target {
    row: &'static str,
    most: Most,
    /// What is known of why it is missed, if it is.
    why: Option<&'static str>,
}

/// A target beside what was measured.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// The row and whom it is compared with.
    pub(crate) what: String,
    pub(crate) most: String,
    pub(crate) measured: String,
    pub(crate) outcome: Outcome,
    /// Why, if it is missed and that is known.
    pub(crate) why: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    Met,
    /// By so many percent of the limit.
    Missed(f64),
    NotMeasured,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Met => f.write_str("met"),
            Outcome::Missed(by) => write!(f, "missed by {by:.0} %"),
            Outcome::NotMeasured => f.write_str("not measured"),
        }
    }
}

const TOKIO: &str = "tokio current_thread";

const fn times(row: &'static str, peer: &'static str, most: f64) -> Target {
    Target {
        row,
        most: Most::Times(peer, most),
        why: None,
    }
}

impl Target {
    const fn because(mut self, why: &'static str) -> Target {
        self.why = Some(why);
        self
    }
}

const MAYS_LOOP: &str = "tokio's reactor, which we share, needs more instructions for a look at the kernel and for an event than \
     may's own loop in all (docs/decisions/0008)";

/// The design's section on numbers, and nothing else.
const TARGETS: &[Target] = &[
    times("resume+suspend pair", "corosensei", 1.0),
    times("yield_now, 100 fibers", TOKIO, 0.20).because(
        "tokio's takes 41 ns on an AMD EPYC, where a fiber's takes some 10 (8.6 without tracing, unwinds, tokio's budget and stall reports), and 69 on an Intel Xeon (docs/decisions/0008)",
    ),
    times("yield_now, 10,000 fibers", TOKIO, 0.55).because(
        "each of 10,000 stacks is on a page of its own: a translation that the processor has not at hand, and two lines, besides one of the fiber's record; a task has its future only",
    ),
    times("spawn+join, batches of 1,000", TOKIO, 0.35).because(
        "each fiber of a batch has its record in four cache lines and its first frames on a stack, where a task has one allocation",
    ),
    times("channel ping-pong", TOKIO, 0.35).because(
        "a round trip is four steps under a lock and two switches, each by the worker's loop",
    ),
    times("Mutex lock+unlock", "std", 1.2),
    times("100,000 sleepers of 1-50 ms", TOKIO, 1.2).because(
        "100,000 stacks and records have been put out of the caches by the others when they are touched next: a third of the time",
    ),
    times("echo, 1 connection: calls per request", TOKIO, 1.0),
    times("echo, 50 connections: calls per request", TOKIO, 1.0),
    times("echo, 1000 connections: calls per request", TOKIO, 1.0),
    times("echo, 1 connection: instructions per request", TOKIO, 1.1).because(
        "for each request the worker takes a turn, finds nothing more and goes to sleep, some 370 instructions that tokio's own loop does not need",
    ),
    times("echo, 50 connections: instructions per request", TOKIO, 1.1),
    times(
        "echo, 1000 connections: instructions per request",
        TOKIO,
        1.1,
    ),
    times("echo, 1 connection: instructions per request", "may", 1.0).because(MAYS_LOOP),
    times("echo, 50 connections: instructions per request", "may", 1.0).because(MAYS_LOOP),
    times(
        "echo, 1000 connections: instructions per request",
        "may",
        1.0,
    )
    .because(MAYS_LOOP),
    times("echo, 1 connection: server CPU per request", TOKIO, 1.05),
    times("echo, 50 connections: server CPU per request", TOKIO, 1.05),
    times(
        "echo, 1000 connections: server CPU per request",
        TOKIO,
        1.05,
    ),
    times("echo, 1000 connections: p99", TOKIO, 1.1).because(
        "the tail moves with the machine more than with who serves: three runs said 1.01, 1.19 and 1.01",
    ),
    Target {
        row: "memory of 1,000,000 parked fibers",
        most: Most::Amount(5.0 * 1024.0),
        why: None,
    },
];

impl Target {
    fn judge(&self, rows: &[Row]) -> Verdict {
        let figures = rows.iter().find(|row| row.name == self.row);
        let (what, most, measured) = match self.most {
            Most::Times(peer, most) => {
                let theirs = figures.and_then(|row| by(&row.figures, peer));
                let ratio = theirs.map(|figure| figure.ratio.median);
                let what = format!("{}, beside {peer}", self.row);
                (
                    what,
                    (most, format!("{most:.2} ×")),
                    ratio.map(|ratio| (ratio, format!("{ratio:.2} ×"))),
                )
            }
            Most::Amount(most) => {
                let ours = figures.and_then(|row| row.figures.first().zip(Some(&row.unit)));
                let ours = ours.map(|(figure, unit)| {
                    let median = figure.value.median;
                    (median, amount(median, unit))
                });
                let limit =
                    figures.map_or_else(|| amount(most, "bytes"), |row| amount(most, &row.unit));
                (self.row.to_owned(), (most, limit), ours)
            }
        };
        let outcome = match &measured {
            None => Outcome::NotMeasured,
            // To the digits that are printed.
            Some((measured, _)) if (measured * 100.0).round() <= (most.0 * 100.0).round() => {
                Outcome::Met
            }
            Some((measured, _)) => Outcome::Missed((measured / most.0 - 1.0) * 100.0),
        };
        Verdict {
            what,
            most: most.1,
            measured: measured.map_or_else(String::new, |(_, text)| text),
            why: self.why.filter(|_| matches!(outcome, Outcome::Missed(_))),
            outcome,
        }
    }
}

fn by<'a>(figures: &'a [Figure], peer: &str) -> Option<&'a Figure> {
    figures.iter().find(|figure| figure.peer == peer)
}

impl Report {
    /// The design's targets, each beside what this run shows.
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        TARGETS
            .iter()
            .map(|target| target.judge(&self.rows))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;
    use crate::{Options, names};

    #[test]
    fn every_target_is_about_a_row_that_there_is() {
        let names = names(&Options {
            all: true,
            ..Options::default()
        });
        for target in TARGETS {
            // What is measured over the network is named by `loopback`.
            let there = names.contains(&target.row) || target.row.starts_with("echo, ");
            assert!(there, "{}", target.row);
        }
    }

    #[test]
    fn a_verdict_is_by_the_median_of_ratios() {
        let rows = sample().rows;
        let target = |most| times("nothing, twice", "somebody", most);
        assert_eq!(target(0.5).judge(&rows).outcome, Outcome::Met);
        // 0.504 is printed as 0.50.
        assert_eq!(target(0.496).judge(&rows).outcome, Outcome::Met);
        let missed = target(0.4).because("of nothing").judge(&rows);
        assert_eq!(missed.outcome.to_string(), "missed by 25 %");
        assert_eq!(missed.measured, "0.50 ×");
        assert_eq!(missed.why, Some("of nothing"));
        assert_eq!(target(0.5).because("of nothing").judge(&rows).why, None);
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        let rows = sample().rows;
        let verdict = times("nothing, twice", "a stranger", 1.0).judge(&rows);
        assert_eq!(verdict.outcome, Outcome::NotMeasured);
        let verdict = times("something", "nobody", 1.0).judge(&rows);
        assert_eq!(verdict.outcome, Outcome::NotMeasured);
    }

    #[test]
    fn an_amount_is_ours() {
        let rows = sample().rows;
        let target = |most| Target {
            row: "nothing, twice",
            most: Most::Amount(most),
            why: None,
        };
        assert_eq!(target(2.5).judge(&rows).outcome, Outcome::Met);
        assert!(matches!(
            target(2.0).judge(&rows).outcome,
            Outcome::Missed(_)
        ));
    }
}
