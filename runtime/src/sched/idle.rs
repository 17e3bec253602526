//! Who sleeps, who searches: at most one sleeper is woken for a push, and none while one searches.
//!
//! The protocol and why it loses no wake: README.md of this folder, "Sleep and wake".

use crate::shim::{AtomicBool, AtomicUsize, Ordering, fence};

/// Counts over all workers of a runtime.
pub(super) struct Idle {
    sleepers: AtomicUsize,
    searchers: AtomicUsize,
}

/// One worker's part: set by the worker when it goes to sleep, cleared by the one who ends that.
pub(super) struct SleepFlag {
    asleep: AtomicBool,
    /// How many times wakers counted this worker as a searcher. More than one if a waker was slow
    /// and the worker has slept again meanwhile.
    sent_to_search: AtomicUsize,
}

impl SleepFlag {
    pub(super) fn new() -> SleepFlag {
        SleepFlag {
            asleep: AtomicBool::new(false),
            sent_to_search: AtomicUsize::new(0),
        }
    }
}

impl Idle {
    pub(super) fn new() -> Idle {
        Idle {
            sleepers: AtomicUsize::new(0),
            searchers: AtomicUsize::new(0),
        }
    }

    /// Worker: about to sleep. It looks at every queue once more after this call.
    pub(super) fn announce(&self, flag: &SleepFlag) {
        flag.asleep.store(true, Ordering::Relaxed);
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        // SeqCst pairs with `inbox::published`: either the pusher sees the flag, or the look that
        // follows sees the push.
        fence(Ordering::SeqCst);
    }

    /// Anybody: ends a sleep. True for exactly one caller per sleep, who then wakes the reactor
    /// (unless it is the sleeper itself).
    #[must_use]
    pub(super) fn end_sleep(&self, flag: &SleepFlag) -> bool {
        // Relaxed: the pusher's fence came before; the flag carries no data.
        let ended =
            flag.asleep.load(Ordering::Relaxed) && flag.asleep.swap(false, Ordering::Relaxed);
        if ended {
            self.sleepers.fetch_sub(1, Ordering::Relaxed);
        }
        ended
    }

    /// A hint.
    pub(super) fn is_asleep(&self, flag: &SleepFlag) -> bool {
        flag.asleep.load(Ordering::Relaxed)
    }

    /// After a push of work that anybody may take, and `inbox::published`: the worker to wake.
    pub(super) fn pick_sleeper<'a, R>(
        &self,
        mut workers: impl Iterator<Item = (&'a SleepFlag, R)>,
    ) -> Option<R> {
        if self.searchers.load(Ordering::Relaxed) > 0 || self.sleepers.load(Ordering::Relaxed) == 0
        {
            return None;
        }
        let (flag, worker) = workers.find(|(flag, _)| self.end_sleep(flag))?;
        self.searchers.fetch_add(1, Ordering::Relaxed);
        // Release pairs with the Acquire of `was_sent_to_search`: it gives back what was counted.
        flag.sent_to_search.fetch_add(1, Ordering::Release);
        Some(worker)
    }

    /// Worker, awake: whether it is a searcher, which it is once however often it was counted.
    pub(super) fn was_sent_to_search(&self, flag: &SleepFlag, searching: bool) -> bool {
        if flag.sent_to_search.load(Ordering::Relaxed) == 0 {
            return searching;
        }
        // Acquire pairs with `pick_sleeper`.
        let counted = flag.sent_to_search.swap(0, Ordering::Acquire) + usize::from(searching);
        if counted > 1 {
            self.searchers.fetch_sub(counted - 1, Ordering::Relaxed);
        }
        counted > 0
    }

    /// Worker: wants to search. False: enough others do.
    #[must_use]
    pub(super) fn start_search(&self, workers: usize) -> bool {
        if 2 * self.searchers.load(Ordering::Relaxed) >= workers {
            return false;
        }
        self.searchers.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Worker: ends its search. True: it was the last; if it found work, or is about to sleep,
    /// it must see to it that what is left is not forgotten.
    #[must_use]
    pub(super) fn end_search(&self) -> bool {
        let last = self.searchers.fetch_sub(1, Ordering::Relaxed) == 1;
        // SeqCst pairs with `inbox::published`: a pusher that still saw this searcher pushed
        // before the look that follows.
        fence(Ordering::SeqCst);
        last
    }
}
