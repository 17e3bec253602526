//! The clock of fibers that take turns.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Starts the clock when all take turns, stops it when all are through, and sees to it that they did take turns: fibers
/// that ran one after the other would never leave the cache.
pub(super) struct Turns {
    fibers: u64,
    /// Whether the peer promises turns.
    checked: bool,
    arrived: AtomicU64,
    entered: AtomicU64,
    quarter_way: AtomicU64,
    left: AtomicU64,
    start: OnceLock<Instant>,
    took: OnceLock<Duration>,
}

impl Turns {
    pub(super) fn new(fibers: u64, checked: bool) -> Self {
        Self {
            fibers,
            checked,
            arrived: AtomicU64::new(0),
            entered: AtomicU64::new(0),
            quarter_way: AtomicU64::new(0),
            left: AtomicU64::new(0),
            start: OnceLock::new(),
            took: OnceLock::new(),
        }
    }

    pub(super) fn arrive(&self) {
        self.arrived.fetch_add(1, Relaxed);
    }

    /// Nobody enters before everybody has been started.
    pub(super) fn all_arrived(&self) -> bool {
        self.arrived.load(Relaxed) == self.fibers
    }

    /// The last one in starts the clock: the others are suspended in their first turn by then. Without turns others may be
    /// through by then, so the first one does.
    pub(super) fn enter(&self) {
        let before = self.entered.fetch_add(1, Relaxed);
        let starts = if self.checked { self.fibers - 1 } else { 0 };
        if before == starts {
            self.start.set(Instant::now()).expect("one is it");
        }
    }

    /// A quarter and not all but one, because turns need not be equal: tokio's `current_thread` scheduler takes up to 61
    /// tasks between two looks at its drivers, and of 100 yielding tasks some get two turns for one of the others.
    pub(super) fn reach_quarter(&self) {
        self.quarter_way.fetch_add(1, Relaxed);
    }

    /// The last one out stops the clock.
    pub(super) fn leave(&self) {
        let before = self.left.fetch_add(1, Relaxed);
        if before == 0 && self.checked {
            let quarter_way = self.quarter_way.load(Relaxed);
            assert_eq!(
                quarter_way, self.fibers,
                "one is through and others are not a quarter of the way: no turns were taken"
            );
        }
        if before + 1 == self.fibers {
            let start = self.start.get().expect("all entered before the last left");
            self.took.set(start.elapsed()).expect("one is the last");
        }
    }

    pub(super) fn took(&self) -> Duration {
        *self.took.get().expect("all were joined, so all left")
    }
}
