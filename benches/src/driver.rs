//! Rounds: how the sides of a row are sized, interleaved and compared.
//!
//! Not here: what the sides do (`rows`), how the outcome is printed (`table`, `page`).

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::conditions::Before;
use crate::plan::{Peer, Plan};
use crate::rows::{self, Scale, Unit, Work};
use crate::{Figure, Machine, Missing, Report, Row, Spread, pin};

/// What to run, and how thoroughly. The default is the short table.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// All rows and all peers, instead of the short table.
    pub all: bool,
    /// Few short rounds of small sizes: shows that every row works, and says little about speed.
    pub quick: bool,
    /// Only rows whose name contains this.
    pub only: Option<String>,
    /// Rounds of each row, instead of as many as are usual.
    pub rounds: Option<usize>,
    /// The program whose `side` command runs a side, instead of the one that runs.
    pub program: Option<PathBuf>,
}

impl Options {
    /// The program whose `side` command runs a side.
    pub(crate) fn program(&self) -> io::Result<PathBuf> {
        self.program.clone().map_or_else(std::env::current_exe, Ok)
    }
}

/// The names of the rows that `options` choose.
pub fn names(options: &Options) -> Vec<&'static str> {
    chosen(options).map(|work| work.name).collect()
}

fn chosen(options: &Options) -> impl Iterator<Item = &'static Work> {
    rows::ALL.iter().copied().flatten().filter(|work| {
        let wanted = options
            .only
            .as_ref()
            .is_none_or(|part| work.name.contains(part.as_str()));
        wanted && (work.short || options.all)
    })
}

/// Measures the rows and hands them back. `progress` gets a line as each row starts.
///
/// # Panics
///
/// If our own side of a row did not do the work it was asked for. A peer that did not is reported as missing.
pub fn run(options: &Options, progress: &mut dyn FnMut(&str)) -> Report {
    let mut plan = Plan::of(options);
    for work in chosen(options) {
        plan.prepare(work, progress);
    }
    let before = Before::now();
    let rows = chosen(options)
        .map(|work| {
            let peers = plan.peers(work);
            let names: Vec<&str> = peers[1..].iter().map(|peer| peer.name).collect();
            progress(&format!("{}, beside {}", work.name, names.join(", ")));
            measure(work, &peers, &plan)
        })
        .collect();
    let mut machine = Machine::this();
    machine.crates.extend(plan.versions());
    Report {
        machine,
        conditions: before.until_now(options.quick),
        rows,
    }
}

/// Memory does not jitter, and each round of it is a process.
const ROUNDS_OF_MEMORY: usize = 3;

/// A side of a row as the driver sees it.
struct Running<'a> {
    peer: &'static str,
    /// Has it do so many units.
    ask: Box<dyn FnMut(u64) -> io::Result<u64> + 'a>,
    units: u64,
    /// Per operation, a round each.
    samples: Vec<f64>,
    failed: Option<io::Error>,
}

impl<'a> Running<'a> {
    fn new(peer: &'static str, ask: impl FnMut(u64) -> io::Result<u64> + 'a) -> Self {
        Self {
            peer,
            ask: Box::new(ask),
            units: 1,
            samples: Vec::new(),
            failed: None,
        }
    }

    fn try_to<T>(&mut self, f: impl FnOnce(&mut Self) -> io::Result<T>) {
        if self.failed.is_none() {
            self.failed = f(self).err();
        }
    }
}

fn measure(work: &'static Work, peers: &[Peer], plan: &Plan) -> Row {
    let scale = plan.scale(work);
    let Some(cpus) = pin::choose(&plan.cpus, work.cpus) else {
        let why = format!(
            "needs {} processors, there are {}",
            work.cpus,
            plan.cpus.len()
        );
        return row(
            work,
            scale,
            0,
            Vec::new(),
            vec![Missing {
                peer: "everybody".into(),
                why,
            }],
        );
    };
    let (mut sides, rounds) = match work.unit {
        Unit::Bytes => {
            let sides: Vec<Running<'_>> = peers
                .iter()
                .map(|&peer| {
                    let ask = move |units| plan.start(work, peer, cpus)?.ask(units);
                    Running::new(peer.name, ask)
                })
                .collect();
            (sides, plan.rounds.min(ROUNDS_OF_MEMORY))
        }
        Unit::Nanoseconds => {
            let sides: Vec<Running<'_>> = peers
                .iter()
                .map(|&peer| match plan.start(work, peer, cpus) {
                    Ok(mut process) => Running::new(peer.name, move |units| process.ask(units)),
                    Err(error) => {
                        let mut side = Running::new(peer.name, |_| Ok(0));
                        side.failed = Some(error);
                        side
                    }
                })
                .collect();
            (sides, plan.rounds)
        }
    };
    if work.unit == Unit::Nanoseconds {
        for side in &mut sides {
            side.try_to(|side| {
                side.units = units_per_round(&mut side.ask, work.least_units, plan.part)?;
                Ok(())
            });
        }
    }
    play(&mut sides, rounds, (work.operations)(scale.size));
    let (figures, missing) = compare(work, sides, scale.size);
    row(work, scale, rounds, figures, missing)
}

/// A round is each side once, in the same order.
fn play(sides: &mut [Running<'_>], rounds: usize, operations: u64) {
    for _ in 0..rounds {
        for side in &mut *sides {
            side.try_to(|side| {
                let amount = (side.ask)(side.units)?;
                if amount == 0 {
                    return Err(io::Error::other("a round took nothing"));
                }
                side.samples
                    .push(amount as f64 / (side.units * operations) as f64);
                Ok(())
            });
        }
    }
}

fn compare(work: &Work, sides: Vec<Running<'_>>, size: u64) -> (Vec<Figure>, Vec<Missing>) {
    let (mut figures, mut missing) = (Vec::new(), Vec::new());
    let mut ours: Vec<f64> = Vec::new();
    for side in sides {
        let why = side.failed.map(|error| error.to_string());
        let Some(why) = why else {
            if figures.is_empty() {
                ours.clone_from(&side.samples);
            }
            let ratios: Vec<f64> = ours
                .iter()
                .zip(&side.samples)
                .map(|(our, their)| our / their)
                .collect();
            figures.push(Figure {
                peer: side.peer.to_owned(),
                value: Spread::of(&side.samples),
                ratio: Spread::of(&ratios),
                operations: side.units * (work.operations)(size),
            });
            continue;
        };
        assert!(!figures.is_empty(), "{}, {}: {why}", work.name, side.peer);
        missing.push(Missing {
            peer: side.peer.to_owned(),
            why,
        });
    }
    (figures, missing)
}

fn row(
    work: &Work,
    scale: Scale,
    rounds: usize,
    figures: Vec<Figure>,
    missing: Vec<Missing>,
) -> Row {
    Row {
        name: work.name.to_owned(),
        group: work.group.to_owned(),
        size: scale.size,
        unit: match work.unit {
            Unit::Nanoseconds => "ns".to_owned(),
            Unit::Bytes => "bytes".to_owned(),
        },
        operation: work.operation.to_owned(),
        rounds,
        note: work.note.map(str::to_owned),
        short: work.short,
        figures,
        missing,
    }
}

/// The units of work that make a side's part of a round last about as long as `part`. Finding out is the warm-up: these
/// rounds grow up to full length and are not counted.
fn units_per_round(
    ask: &mut dyn FnMut(u64) -> io::Result<u64>,
    least: u64,
    part: Duration,
) -> io::Result<u64> {
    let mut units = least;
    loop {
        let took = Duration::from_nanos(ask(units)?);
        if took >= part {
            return Ok(units);
        }
        // Aim a little past the goal, but do not trust a short sample for more than eightfold.
        let wanted = 1.2 * part.as_secs_f64() / took.as_secs_f64().max(1e-9);
        units = (units as f64 * wanted.min(8.0)).ceil() as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    type Calls = RefCell<Vec<(&'static str, u64)>>;

    /// A pretended side: a unit takes `nanos`, and the call is noted.
    fn side<'a>(name: &'static str, nanos: u64, calls: &'a Calls) -> Running<'a> {
        Running::new(name, move |units| {
            calls.borrow_mut().push((name, units));
            Ok(units * nanos)
        })
    }

    const WORK: Work = Work {
        name: "pretended",
        operations: |_| 10,
        ..Work::BASE
    };

    #[test]
    fn rounds_alternate() {
        let calls = Calls::default();
        let mut sides = vec![side("a", 100, &calls), side("b", 400, &calls)];
        sides[1].units = 3;
        play(&mut sides, 5, 10);
        let (figures, missing) = compare(&WORK, sides, 1);
        assert!(missing.is_empty());
        assert_eq!(figures[0].value.median, 10.0);
        assert_eq!(figures[0].ratio.median, 1.0);
        assert_eq!(figures[1].value.median, 40.0);
        assert_eq!(figures[1].ratio.median, 0.25);
        assert_eq!(figures[1].operations, 30);
        assert_eq!(*calls.borrow(), [("a", 1), ("b", 3)].repeat(5));
    }

    #[test]
    fn a_part_of_a_round_is_filled() {
        let mut ask = |units| Ok(units * 10);
        let units = units_per_round(&mut ask, 1, Duration::from_millis(1)).unwrap();
        assert!((100_000..=150_000).contains(&units), "{units}");
    }

    #[test]
    fn one_interrupted_round_does_not_move_the_ratio() {
        let calls = Calls::default();
        let mut round = 0;
        let late = Running::new("late once", move |units| {
            round += 1;
            Ok(if round == 6 { 50_000 } else { 1_000 } * units)
        });
        let mut sides = vec![late, side("steady", 1_000, &calls)];
        play(&mut sides, 9, 1);
        let (figures, _) = compare(&WORK, sides, 1);
        assert_eq!(figures[1].ratio.median, 1.0);
        assert_eq!(figures[1].ratio.max, 50.0);
    }

    #[test]
    fn a_peer_that_fails_is_missing_and_the_others_are_not() {
        let calls = Calls::default();
        let mut left = 3;
        let dies = Running::new("dies", move |units| {
            left -= 1;
            if left == 0 {
                Err(io::Error::other("it ended"))
            } else {
                Ok(units)
            }
        });
        let mut sides = vec![side("a", 1, &calls), dies, side("c", 2, &calls)];
        play(&mut sides, 5, 1);
        let (figures, missing) = compare(&WORK, sides, 1);
        let peers: Vec<&str> = figures.iter().map(|figure| figure.peer.as_str()).collect();
        assert_eq!(peers, ["a", "c"]);
        assert_eq!(
            (missing[0].peer.as_str(), missing[0].why.as_str()),
            ("dies", "it ended")
        );
    }

    #[test]
    #[should_panic(expected = "pretended, ours: it ended")]
    fn that_we_fail_is_not_passed_over() {
        let ours = Running::new("ours", |_| Err(io::Error::other("it ended")));
        let mut sides = vec![ours];
        play(&mut sides, 1, 1);
        compare(&WORK, sides, 1);
    }
}
