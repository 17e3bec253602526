//! The runtime's stacks, in slabs of size classes, and how many spare ones they may hold.
//!
//! *Spare* stacks are nobody's and hold memory. Too few, and a program whose fibers come in bursts maps and
//! unmaps for each of them (about two microseconds a stack); too many, and one burst is never forgotten. So `BASE` or an eighth of
//! those in use are kept in any case, and of the others those that were needed within the last `UNNEEDED_FOR`.

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
/// Of what is more than that, memory goes back that nobody needed for so long.
const UNNEEDED_FOR: Duration = Duration::from_secs(2);

/// Stacks that one step cleans at most; deep ones.
const STEP: usize = 512;
const STEP_DEEP: usize = 64;

pub(crate) struct StackSource {
    pub(super) default_size: usize,
    slabs: Slabs,
    /// Since when the slabs are watched, if there is something to give back. Locked by the worker that tidies.
    watched: Mutex<Option<Instant>>,
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
            watched: Mutex::new(None),
            slabs,
            places: Arc::default(),
        })
    }

    /// One of the default size. Up to `most` more that came back go into `more`.
    pub(super) fn take_some(
        &self,
        most: usize,
        more: &mut Vec<SlabStack>,
    ) -> io::Result<SlabStack> {
        self.slabs.take_some(self.default_size, most, more)
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

    /// Takes one step towards holding no more spare stacks than there may be; after `deep` fibers, none. `None`: another worker is
    /// at it.
    pub(super) fn tidy(&self, deep: bool) -> Option<Step> {
        let mut watched = self.watched.try_lock()?;
        if deep {
            let worked = self.slabs.tidy(0, STEP_DEEP, true);
            return Some(if worked { Step::Worked } else { Step::Done });
        }
        let now = Instant::now();
        let end = watched.map(|since| since + UNNEEDED_FOR);
        if let Some(end) = end
            && now < end
        {
            return Some(Step::Later(end));
        }
        let keep = BASE.max(self.slabs.taken() / SHARE);
        if end.is_some() && self.slabs.tidy_unneeded(keep, STEP) {
            return Some(Step::Worked);
        }
        *watched = self.slabs.is_untidy(keep).then_some(now);
        if watched.is_none() {
            return Some(Step::Done);
        }
        self.slabs.watch();
        Some(Step::Later(now + UNNEEDED_FOR))
    }
}

/// What a step of tidying came to.
pub(crate) enum Step {
    /// There may be more to do.
    Worked,
    /// There may be something to do then.
    Later(Instant),
    /// Nothing is left to do.
    Done,
}
