//! The runtime's stacks, in slabs of size classes, and how many spare ones they may hold.
//!
//! *Spare* stacks are nobody's and hold memory. Too few, and a program whose fibers come in bursts maps and
//! unmaps for each of them (about two microseconds a stack); too many, and one burst is never forgotten. So:
//! `BASE` in any case, an eighth of those in use, and what was regretted: as many as were needed again within
//! `REGRET` of giving some back. What is regretted is forgotten by and by.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use switch_asm::stack::{SlabStack, Slabs};

use super::usage::Places;
use crate::metrics::StackMetrics;

/// Spare stacks that are kept in any case: 8 to 64 MiB, as they are one page to `KEEP` deep.
const BASE: usize = 2048;
/// Of those in use, one for so many may be spare.
const SHARE: usize = 8;
/// What was regretted adds no more than this.
const MOST: usize = 16_384;
const REGRET: Duration = Duration::from_secs(1);

/// Stacks that one step cleans at most; deep ones.
const STEP: usize = 512;
const STEP_DEEP: usize = 64;

pub(crate) struct StackSource {
    pub(super) default_size: usize,
    slabs: Slabs,
    /// Locked by the worker that tidies.
    spare: Mutex<Spare>,
    pub(super) places: Arc<Places>,
}

impl StackSource {
    /// # Errors
    /// The default size is not possible, or there is no room for the first slab.
    pub(crate) fn new(default_size: usize, guard_size: usize) -> io::Result<StackSource> {
        if guard_size == 0 {
            let error = "a stack needs a guard; its size cannot be zero";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        let slabs = Slabs::new(guard_size);
        drop(slabs.take(default_size)?);
        Ok(StackSource {
            default_size,
            spare: Mutex::new(Spare::new(slabs.cold_takes())),
            slabs,
            places: Arc::default(),
        })
    }

    pub(super) fn take(&self, size: usize) -> io::Result<SlabStack> {
        self.slabs.take(size)
    }

    /// What there is now, and how deep fibers went.
    pub(crate) fn metrics(&self) -> StackMetrics {
        StackMetrics {
            slabs: self.slabs.slab_count(),
            taken: self.slabs.taken(),
            cold: self.slabs.cold_takes(),
            usage: self.places.snapshot(),
        }
    }

    /// Takes one step towards holding no more spare stacks than there may be; after `deep` fibers, none.
    /// False: nothing was left to do. `None`: another worker is at it.
    pub(super) fn tidy(&self, deep: bool) -> Option<bool> {
        let mut spare = self.spare.try_lock()?;
        let now = Instant::now();
        let learned = spare.learned(self.slabs.cold_takes(), now);
        let (keep, step) = match deep {
            true => (0, STEP_DEEP),
            false => ((BASE + learned).max(self.slabs.taken() / SHARE), STEP),
        };
        let worked = self.slabs.tidy(keep, step, deep);
        if worked {
            spare.given_back = Some(now);
        }
        Some(worked)
    }
}

/// How many stacks more than `BASE` may be spare.
struct Spare {
    learned: usize,
    /// Takes of stacks without memory, until the last look.
    cold: usize,
    given_back: Option<Instant>,
    /// When `learned` changed.
    changed: Option<Instant>,
}

impl Spare {
    fn new(cold: usize) -> Spare {
        Spare {
            learned: 0,
            cold,
            given_back: None,
            changed: None,
        }
    }

    fn learned(&mut self, cold: usize, now: Instant) -> usize {
        let missed = cold - std::mem::replace(&mut self.cold, cold);
        let recent = |moment: Option<Instant>| {
            moment.is_some_and(|moment| now.saturating_duration_since(moment) < REGRET)
        };
        if missed > 0 && recent(self.given_back) {
            self.learned = (self.learned + missed).min(MOST);
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

    const TICK: Duration = Duration::from_millis(100);

    #[test]
    fn what_is_needed_again_soon_is_kept() {
        let start = Instant::now();
        let mut spare = Spare::new(5);
        assert_eq!(spare.learned(1005, start), 0, "nothing was given back yet");
        spare.given_back = Some(start);
        assert_eq!(spare.learned(1005, start + TICK), 0, "nothing was missed");
        assert_eq!(spare.learned(1705, start + TICK), 700);
        assert_eq!(spare.learned(1805, start + 2 * TICK), 800);
        assert_eq!(spare.learned(900_000, start + 3 * TICK), MOST);
    }

    #[test]
    fn what_is_needed_later_is_not_and_all_is_forgotten() {
        let start = Instant::now();
        let mut spare = Spare::new(0);
        spare.given_back = Some(start);
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
