//! Where a fresh fiber starts. It stays there (S1), so this decides how loads spread.
//!
//! A worker's *load* is its bound fibers without those that are parked until another fiber or a closure of the
//! pool has ended: they do nothing before that one did. A worker that has more than its share *holds back* from
//! fresh fibers: another should start them. The rule, and why no fiber waits for ever: README.md of this folder, "Placement".

use std::time::{Duration, Instant};

use super::shared::{Remote, Shared};
use crate::shim::Ordering;

/// So much more load than another, and an eighth of the other's, a worker may have and still start a
/// fresh fiber. Where the numbers come from: README.md, "Numbers".
const MARGIN: u64 = 4;
const MARGIN_PART: u64 = 8;

/// A worker takes a fresh fiber from which it holds back once nobody else took it for so long. Timers
/// of tokio's are no finer.
const PATIENCE: Duration = Duration::from_millis(1);

/// By so much the allowance grows each time at the most: by 1 at first, then by 2, and so on.
const MOST_GROWTH: u64 = 64;

/// What nobody holds back from.
pub(super) const LEAST_BAR: u64 = bar(0);

/// The load up to which a worker starts fresh fibers beside one with `load`.
pub(super) const fn bar(load: u64) -> u64 {
    load + MARGIN + load / MARGIN_PART
}

impl Remote {
    /// Its load. A hint.
    pub(super) fn load(&self) -> u64 {
        self.load.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// The worker with the least load, and that.
    pub(super) fn least_loaded(&self) -> (usize, u64) {
        let loads = self.workers.iter().map(|remote| remote.load());
        let least = loads.enumerate().min_by_key(|&(_, load)| load);
        least.expect("a runtime has workers")
    }

    /// Whether there is a fresh fiber anywhere but in an inbox.
    pub(super) fn has_fresh(&self) -> bool {
        !self.injector.is_empty() || self.has_stealable()
    }

    /// Whether there is one in a deque.
    pub(super) fn has_stealable(&self) -> bool {
        self.workers.iter().any(|worker| !worker.stealer.is_empty())
    }
}

/// A worker that holds back: since when, and how much it takes all the same.
#[derive(Clone, Copy)]
pub(super) struct Holding {
    since: Instant,
    /// Its least load since it began.
    load: u64,
    /// It may have so many more than that.
    allowance: u64,
    /// By how much that grew last.
    growth: u64,
    /// The worker with the least load, and how often that one had found nothing to do.
    other: usize,
    sleeps: u64,
}

impl Holding {
    pub(super) fn begin(shared: &Shared, load: u64) -> Holding {
        let (other, _) = shared.least_loaded();
        Holding {
            since: Instant::now(),
            load,
            allowance: 0,
            growth: 0,
            other,
            sleeps: shared.workers[other].stats.idle_sleeps(),
        }
    }

    /// Whether the other has not been idle since this began. If it has, it will take what came later.
    pub(super) fn stands(&self, shared: &Shared) -> bool {
        self.sleeps == shared.workers[self.other].stats.idle_sleeps()
    }

    /// There is something fresh. True: the worker takes one.
    pub(super) fn look(&mut self, load: u64) -> bool {
        self.load = self.load.min(load);
        if is_over(self.since) {
            self.growth = (self.growth + 1).min(MOST_GROWTH);
            self.allowance += self.growth;
            self.since = Instant::now();
        }
        load < self.load.saturating_add(self.allowance)
    }

    /// There is nothing fresh now. If others did not take what was, they may not take what comes: the
    /// allowance stays.
    pub(super) fn is_lasting(&self) -> bool {
        self.allowance > 0
    }

    /// How long until the allowance grows.
    pub(super) fn ends(&self) -> Instant {
        self.since + PATIENCE
    }
}

/// In a model the patience is over at the second look.
fn is_over(since: Instant) -> bool {
    cfg!(sisal_loom) || since.elapsed() >= PATIENCE
}

#[cfg(all(test, not(sisal_loom)))]
mod tests;
