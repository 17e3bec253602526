//! The runtime's stacks, in slabs of size classes, and how many spare ones they may hold.
//!
//! *Spare* stacks are nobody's and hold memory. Too few, and a program whose fibers come in bursts maps and
//! unmaps for each of them (about two microseconds a stack); too many, and one burst is never forgotten. So:
//! `BASE` in any case, an eighth of those in use, and as many as were [regretted](crate::regret).

use std::io;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use switch_asm::stack::{SlabStack, Slabs};

use super::usage::Places;
use crate::metrics::StackMetrics;
use crate::regret::Regret;

/// Spare stacks that are kept in any case: 8 to 64 MiB, as they are one page to `KEEP` deep.
const BASE: usize = 2048;
/// Of those in use, one for so many may be spare.
const SHARE: usize = 8;
/// What was regretted adds no more than this.
const MOST: usize = 16_384;

/// Stacks that one step cleans at most; deep ones.
const STEP: usize = 512;
const STEP_DEEP: usize = 64;

pub(crate) struct StackSource {
    pub(super) default_size: usize,
    slabs: Slabs,
    /// Locked by the worker that tidies.
    spare: Mutex<Regret>,
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
            spare: Mutex::new(Regret::new(MOST, slabs.cold_takes())),
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
            spare.gave_back(now);
        }
        Some(worked)
    }
}
