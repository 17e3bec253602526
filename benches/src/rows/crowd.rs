//! Counts fibers as they come, and wakes whoever waits for all of them.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::faces::{Fibers, Tasks};

/// So many fibers are awaited. Waiting is not by yielding: a scheduler may prefer whoever yields to whoever is woken.
pub(super) struct Crowd<W> {
    here: AtomicU64,
    size: u64,
    /// Whom the last one wakes.
    waiter: W,
}

impl<W> Crowd<W> {
    pub(super) fn new(size: u64, waiter: W) -> Self {
        Self {
            here: AtomicU64::new(0),
            size,
            waiter,
        }
    }

    pub(super) fn here(&self) -> u64 {
        // With `come`.
        self.here.load(SeqCst)
    }

    fn is_last(&self) -> bool {
        // Its partner is the load in `here`.
        self.here.fetch_add(1, SeqCst) + 1 == self.size
    }

    pub(super) fn come<F: Fibers<Fiber = W>>(&self) {
        if self.is_last() {
            F::unpark(&self.waiter);
        }
    }

    pub(super) fn wait<F: Fibers<Fiber = W>>(&self) {
        while self.here() < self.size {
            F::park();
        }
    }

    pub(super) fn come_async<T: Tasks<Notify = W>>(&self) {
        if self.is_last() {
            T::notify_one(&self.waiter);
        }
    }

    pub(super) async fn wait_async<T: Tasks<Notify = W>>(&self) {
        while self.here() < self.size {
            T::notified(&self.waiter).await;
        }
    }
}
