//! One side of a row for another harness, in this process: what `benches/` give to criterion.

use std::fmt;
use std::time::Duration;

use crate::pin;
use crate::rows::{self, Scale, Side, Unit};

/// The work of one side of a row that is timed: the same function that [`run`](crate::run) has its processes call.
pub struct Body {
    side: Side,
    operations: u64,
    /// With fewer units the edges of a round would show.
    least: u64,
}

impl Body {
    /// Makes the side, with its runtime already running. The calling thread, and with it all that it starts, is pinned to
    /// the processors that the row has in a run. `None` if there is no such row or peer, or no such processors.
    pub fn new(row: &str, peer: &str) -> Option<Body> {
        let mut all = rows::ALL.iter().copied().flatten();
        let work = all.find(|work| work.name == row && work.unit == Unit::Nanoseconds)?;
        let &(_, make) = work.sides.iter().find(|(name, _)| *name == peer)?;
        pin::pin(pin::choose(&pin::allowed(), work.cpus)?).ok()?;
        let scale = Scale {
            size: work.size,
            workers: work.workers,
        };
        Some(Body {
            side: make(scale),
            operations: (work.operations)(scale.size),
            least: work.least_units,
        })
    }

    /// How many operations are in a unit.
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// Does so many units and says what they took. Of fewer than a round has at the least, it is their share of such a round.
    ///
    /// # Panics
    ///
    /// If the work was not done.
    pub fn run(&mut self, units: u64) -> Duration {
        let done = units.max(self.least);
        let took = Duration::from_nanos((self.side)(done));
        took.mul_f64(units as f64 / done as f64)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("operations", &self.operations)
            .finish_non_exhaustive()
    }
}
