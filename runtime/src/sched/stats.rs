//! What a worker counts, for [`Metrics`]. Nothing here is acted on but as a hint.
//!
//! Each worker writes its own figures, in a cache line that nobody else writes, with a load and a store:
//! no read-modify-write. What happens once for each fiber is added up by the turn and written when it ends.

use super::shared::Shared;
use crate::metrics::{Metrics, OutsideMetrics, WorkerMetrics};
use crate::shim::{Figure, Ordering};

/// A worker's figures. Written by it alone.
#[derive(Default)]
pub(super) struct Stats {
    pub(super) turns: Figure,
    pub(super) switches: Figure,
    pub(super) sleeps: Figure,
    pub(super) watches: Figure,
    pub(super) woken: Figure,
    pub(super) wakes: Figure,
    pub(super) spins: Figure,
    pub(super) vain_spins: Figure,
    pub(super) searches: Figure,
    pub(super) steals: Figure,
    pub(super) stolen: Figure,
    pub(super) injector_pops: Figure,
    pub(super) inbox_pops: Figure,
    pub(super) ready: Figure,
    /// What the stealers do not see: see `Fresh`.
    pub(super) fresh: Figure,
}

impl Stats {
    /// How often the worker went to sleep because there was nothing to do for anybody. A hint.
    pub(super) fn idle_sleeps(&self) -> u64 {
        let watches = self.watches.load(Ordering::Relaxed);
        self.sleeps.load(Ordering::Relaxed).wrapping_sub(watches)
    }
}

/// Adds to a figure that only the caller's thread writes.
#[inline]
pub(super) fn add(figure: &Figure, n: u64) {
    figure.store(figure.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}

impl Shared {
    /// What every worker did so far, and has now.
    pub(crate) fn metrics(&self) -> Metrics {
        // Ends before spawns, as in `live`: nothing ends that was not spawned.
        let ended = |count: &super::shared::Count| count.ended.load(Ordering::Acquire);
        let outside_ended = ended(&self.outside);
        let worker_ended: Vec<u64> = self.workers.iter().map(|w| ended(&w.count)).collect();
        let workers = self.workers.iter().zip(worker_ended).map(|(w, ended)| {
            let get = |figure: &Figure| figure.load(Ordering::Relaxed);
            let stats = &w.stats;
            // Before those that they are never more than.
            let vain_spins = get(&stats.vain_spins);
            let woken = get(&stats.woken);
            WorkerMetrics {
                spawned: w.count.spawned.load(Ordering::Relaxed),
                ended,
                bound: w.bound.load(Ordering::Relaxed),
                ready: get(&stats.ready),
                fresh: w.stealer.len() as u64 + get(&stats.fresh),
                asleep: self.idle.is_asleep(&w.sleep),
                turns: get(&stats.turns),
                switches: get(&stats.switches),
                sleeps: get(&stats.sleeps),
                watches: get(&stats.watches),
                woken,
                wakes: get(&stats.wakes),
                spins: get(&stats.spins),
                vain_spins,
                searches: get(&stats.searches),
                steals: get(&stats.steals),
                stolen: get(&stats.stolen),
                injector_pops: get(&stats.injector_pops),
                inbox_pops: get(&stats.inbox_pops),
            }
        });
        Metrics {
            workers: workers.collect(),
            outside: OutsideMetrics {
                spawned: self.outside.spawned.load(Ordering::Relaxed),
                ended: outside_ended,
                wakes: self.outside_wakes.load(Ordering::Relaxed),
            },
            injected: self.injector.len(),
            stacks: self.stacks.metrics(),
        }
    }
}
