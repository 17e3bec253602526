//! Rounds: how two sides of a row are sized, interleaved and compared.
//!
//! Not here: what the sides do (`rows`), how the outcome is printed (`report`).

use std::time::Duration;

use crate::rows::{self, Sides, Work};
use crate::{Machine, Report, Row, Spread};

/// How thorough a run is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Few short rounds: shows that every row works, and says little about speed.
    pub quick: bool,
}

/// Measures every row and hands back the table. `progress` gets a line as each row starts.
///
/// # Panics
///
/// If a side did not do the work it was asked for, or the system refuses a thread or a stack.
pub fn run(options: &Options, progress: &mut dyn FnMut(&str)) -> Report {
    let plan = Plan::of(options);
    let rows = rows::ALL
        .iter()
        .map(|work| {
            progress(&format!("{}, beside {}", work.name, work.peer));
            measure(work, (work.sides)(), &plan)
        })
        .collect();
    Report {
        machine: Machine::this(),
        rows,
    }
}

/// Many short rounds beat few long ones: an interruption spoils one round, and the median drops it.
struct Plan {
    rounds: usize,
    /// What both sides of one round should take together.
    round: Duration,
}

impl Plan {
    fn of(options: &Options) -> Self {
        if options.quick {
            Self {
                rounds: 3,
                round: Duration::from_millis(6),
            }
        } else {
            Self {
                rounds: 25,
                round: Duration::from_millis(80),
            }
        }
    }
}

fn measure(work: &Work, mut sides: Sides, plan: &Plan) -> Row {
    let units = units_per_round(&mut sides, work.least_units, plan.round);
    let operations = units * work.operations_per_unit;
    let per_operation = |took: Duration| {
        assert!(!took.is_zero(), "{}: a round took no time", work.name);
        took.as_nanos() as f64 / operations as f64
    };

    let mut ours = Vec::with_capacity(plan.rounds);
    let mut theirs = Vec::with_capacity(plan.rounds);
    let mut ratios = Vec::with_capacity(plan.rounds);
    for _ in 0..plan.rounds {
        let our = per_operation((sides.ours)(units));
        let their = per_operation((sides.peer)(units));
        ours.push(our);
        theirs.push(their);
        ratios.push(our / their);
    }

    let ratio_spread = Spread::of(&ratios);
    Row {
        name: work.name,
        ours_ns: Spread::of(&ours).median,
        peer: work.peer,
        peer_ns: Spread::of(&theirs).median,
        ratio: ratio_spread.median,
        ratio_spread,
        rounds: plan.rounds,
        operations,
        note: work.note,
    }
}

/// The units of work that make a round last about as long as `round`, the same number for both sides. Finding out is
/// the warm-up: these rounds grow up to full length and are not counted.
fn units_per_round(sides: &mut Sides, least: u64, round: Duration) -> u64 {
    let mut units = least;
    loop {
        let took = (sides.ours)(units) + (sides.peer)(units);
        if took >= round {
            return units;
        }
        // Aim a little past the goal, but do not trust a short sample for more than eightfold.
        let wanted = 1.2 * round.as_secs_f64() / took.as_secs_f64().max(1e-9);
        units = (units as f64 * wanted.min(8.0)).ceil() as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    use super::*;

    /// A pretended side: a unit takes `nanos`, and the call is noted.
    fn side(name: char, nanos: u64, calls: &Rc<RefCell<Vec<(char, u64)>>>) -> rows::Side {
        let calls = Rc::clone(calls);
        Box::new(move |units| {
            calls.borrow_mut().push((name, units));
            Duration::from_nanos(units * nanos)
        })
    }

    const WORK: Work = Work {
        name: "pretended",
        peer: "nobody",
        operations_per_unit: 10,
        least_units: 1,
        note: None,
        sides: || unreachable!("the test brings its own"),
    };

    #[test]
    fn rounds_alternate_and_both_sides_do_the_same_work() {
        let calls = Rc::default();
        let sides = Sides {
            ours: side('a', 100, &calls),
            peer: side('b', 400, &calls),
        };
        let plan = Plan {
            rounds: 5,
            round: Duration::from_millis(1),
        };
        let row = measure(&WORK, sides, &plan);
        assert_eq!((row.ours_ns, row.peer_ns, row.ratio), (10.0, 40.0, 0.25));
        assert_eq!(row.rounds, 5);

        let calls = calls.borrow();
        assert!(calls.len() > 10, "no warm-up");
        for round in calls.chunks(2) {
            assert_eq!((round[0].0, round[1].0), ('a', 'b'));
            assert_eq!(round[0].1, round[1].1);
        }
        let measured = &calls[calls.len() - 10..];
        assert!(
            measured
                .iter()
                .all(|(_, units)| units * 10 == row.operations)
        );
    }

    #[test]
    fn a_round_is_filled() {
        let calls = Rc::default();
        let mut sides = Sides {
            ours: side('a', 3, &calls),
            peer: side('b', 7, &calls),
        };
        let units = units_per_round(&mut sides, 1, Duration::from_millis(1));
        assert!((100_000..=150_000).contains(&units), "{units}");
    }

    #[test]
    fn one_interrupted_round_does_not_move_the_ratio() {
        let calls = Rc::default();
        let round = Cell::new(0);
        let mut steady = side('a', 1_000, &calls);
        let sides = Sides {
            ours: Box::new(move |units| {
                round.set(round.get() + 1);
                let late = if round.get() == 6 { 50 } else { 1 };
                steady(units) * late
            }),
            peer: side('b', 1_000, &calls),
        };
        let plan = Plan {
            rounds: 9,
            round: Duration::from_millis(1),
        };
        let row = measure(&WORK, sides, &plan);
        assert_eq!(row.ratio, 1.0);
        assert_eq!(row.ratio_spread.max, 50.0);
    }
}
