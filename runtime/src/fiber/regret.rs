//! How much more may be kept than is needed: as much as was needed again soon after it was given back.
//!
//! Of what comes in bursts too much would be given back after each of them, and had again for the next; without a bound one
//! burst would never be forgotten. What was learned is forgotten by and by.

use std::time::{Duration, Instant};

/// What was needed again within this was given back too early.
const REGRET: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Regret {
    most: usize,
    learned: usize,
    /// What was had anew, until the last look.
    anew: usize,
    given_back: Option<Instant>,
    /// When `learned` changed.
    changed: Option<Instant>,
}

impl Regret {
    /// No more than `most` will be kept. `anew` were had so far.
    pub(crate) const fn new(most: usize, anew: usize) -> Regret {
        Regret {
            most,
            learned: 0,
            anew,
            given_back: None,
            changed: None,
        }
    }

    /// Something is given back.
    pub(crate) fn gave_back(&mut self, now: Instant) {
        self.given_back = Some(now);
    }

    /// How many may be kept, now that `anew` were had, since the beginning, that none was kept for.
    pub(crate) fn learned(&mut self, anew: usize, now: Instant) -> usize {
        let missed = anew - std::mem::replace(&mut self.anew, anew);
        let recent = |moment: Option<Instant>| {
            moment.is_some_and(|moment| now.saturating_duration_since(moment) < REGRET)
        };
        if missed > 0 && recent(self.given_back) {
            self.learned = (self.learned + missed).min(self.most);
            self.changed = Some(now);
        } else if self.learned > 0 && !recent(self.changed) {
            self.learned -= self.learned.div_ceil(4);
            self.changed = Some(now);
        }
        self.learned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 16_384;
    const TICK: Duration = Duration::from_millis(100);

    #[test]
    fn what_is_needed_again_soon_is_kept() {
        let start = Instant::now();
        let mut spare = Regret::new(MOST, 5);
        assert_eq!(spare.learned(1005, start), 0, "nothing was given back yet");
        spare.gave_back(start);
        assert_eq!(spare.learned(1005, start + TICK), 0, "nothing was missed");
        assert_eq!(spare.learned(1705, start + TICK), 700);
        assert_eq!(spare.learned(1805, start + 2 * TICK), 800);
        assert_eq!(spare.learned(900_000, start + 3 * TICK), MOST);
    }

    #[test]
    fn what_is_needed_later_is_not_and_all_is_forgotten() {
        let start = Instant::now();
        let mut spare = Regret::new(MOST, 0);
        spare.gave_back(start);
        assert_eq!(spare.learned(1000, start + REGRET), 0, "not soon enough");
        assert_eq!(spare.learned(1800, start + TICK), 800);
        assert_eq!(spare.learned(1800, start + TICK + REGRET / 2), 800);
        let mut now = start + TICK;
        let mut before = 800;
        for _ in 0..50 {
            now += REGRET;
            let learned = spare.learned(1800, now);
            assert!(learned < before || before == 0, "{before} stayed");
            before = learned;
        }
        assert_eq!(before, 0);
    }
}
