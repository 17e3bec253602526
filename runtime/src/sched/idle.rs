//! Who sleeps, who searches: at most one sleeper is woken for a push, and none while one searches.
//!
//! Changes are made under a lock, so that who ends a sleep, and whether the sleeper is a searcher
//! from then on, is one step. It is taken once for a sleep and once for its end; a push that finds
//! nobody asleep, or somebody searching, takes no lock.
//!
//! The protocol and why it loses no wake: README.md of this folder, "Sleep and wake".

use super::ticks::ticks;
use crate::shim::{AtomicBool, AtomicUsize, Figure, Mutex, Ordering, fence};

/// Counts over all workers of a runtime. Written under the lock, read without as hints that the
/// fences make good.
pub(super) struct Idle {
    sleepers: AtomicUsize,
    searchers: AtomicUsize,
    /// Those at rest that have a timer to look again, because they hold back from something fresh.
    watchers: AtomicUsize,
    lock: Mutex<()>,
}

/// One worker's part. Written under the lock.
pub(super) struct SleepFlag {
    /// Set by the worker when it goes to sleep, cleared by the one who ends that.
    asleep: AtomicBool,
    /// Whoever ended its sleep counted it as a searcher.
    sent_to_search: AtomicBool,
    /// It counts as a watcher while it is at rest, and as a searcher when it wakes.
    watching: AtomicBool,
    /// It is in its reactor. A sleeper that is not yet there, or was just there, may run an async task, and
    /// that may take long: nobody relies on it.
    resting: AtomicBool,
    /// When somebody else last ended its sleep, in ticks.
    called_at: Figure,
}

/// How a sleep ended.
pub(super) struct SleepEnd {
    /// Somebody else ended it.
    pub(super) by_other: bool,
    /// And counted the sleeper as a searcher.
    pub(super) searching: bool,
}

impl SleepFlag {
    /// `alone`: of the only worker. Whoever brings work has nobody else to rely on, so for them it is at rest whenever it sleeps.
    pub(super) fn new(alone: bool) -> SleepFlag {
        SleepFlag {
            asleep: AtomicBool::new(false),
            sent_to_search: AtomicBool::new(false),
            watching: AtomicBool::new(false),
            resting: AtomicBool::new(alone),
            called_at: Figure::new(0),
        }
    }
}

// All accesses are Relaxed: the lock orders the writes, the two fences order them against pushes.
impl Idle {
    pub(super) fn new() -> Idle {
        Idle {
            sleepers: AtomicUsize::new(0),
            searchers: AtomicUsize::new(0),
            watchers: AtomicUsize::new(0),
            lock: Mutex::new(()),
        }
    }

    /// Worker: about to sleep, with a timer if it is to watch. It looks at every queue once more after
    /// this call.
    pub(super) fn announce(&self, flag: &SleepFlag, watch: bool) {
        {
            let _locked = self.lock.lock();
            debug_assert!(
                !watch || !flag.resting.load(Ordering::Relaxed),
                "the only worker holds back"
            );
            flag.watching.store(watch, Ordering::Relaxed);
            flag.asleep.store(true, Ordering::Relaxed);
            self.sleepers.fetch_add(1, Ordering::Relaxed);
        }
        // SeqCst pairs with `inbox::published`: either the pusher sees the flag, or the look that
        // follows sees the push.
        fence(Ordering::SeqCst);
    }

    /// Sleeper: about to wait in its reactor. True: it does not watch, so if there is something fresh now
    /// that nobody searches for, it was pushed since the sleep began, and this one has to look.
    #[must_use]
    pub(super) fn rest(&self, flag: &SleepFlag) -> bool {
        let watching = {
            let _locked = self.lock.lock();
            if !flag.asleep.load(Ordering::Relaxed) {
                return false;
            }
            flag.resting.store(true, Ordering::Relaxed);
            let watching = flag.watching.load(Ordering::Relaxed);
            if watching {
                self.watchers.fetch_add(1, Ordering::Relaxed);
            }
            watching
        };
        // SeqCst pairs with `inbox::published`, as in `announce`.
        fence(Ordering::SeqCst);
        !watching
    }

    /// Sleeper: was in its reactor. True: it counts as a searcher, so it takes a turn before all else.
    #[must_use]
    pub(super) fn stir(&self, flag: &SleepFlag) -> bool {
        let _locked = self.lock.lock();
        self.stop_watching(flag);
        flag.resting.store(false, Ordering::Relaxed);
        flag.sent_to_search.load(Ordering::Relaxed)
    }

    /// Under the lock. Pushers rely on a watcher: it has a searcher's duty from here on.
    fn stop_watching(&self, flag: &SleepFlag) {
        let watching = flag.watching.load(Ordering::Relaxed);
        if watching && flag.resting.load(Ordering::Relaxed) {
            self.watchers.fetch_sub(1, Ordering::Relaxed);
            self.searchers.fetch_add(1, Ordering::Relaxed);
            flag.sent_to_search.store(true, Ordering::Relaxed);
            flag.watching.store(false, Ordering::Relaxed);
        }
    }

    /// Anybody: ends a sleep. True for exactly one caller per sleep, who then wakes the reactor
    /// (unless it is the sleeper itself).
    #[must_use]
    pub(super) fn end_sleep(&self, flag: &SleepFlag) -> bool {
        if !flag.asleep.load(Ordering::Relaxed) {
            return false;
        }
        let _locked = self.lock.lock();
        self.call_locked(flag, false)
    }

    /// When somebody else last ended a sleep, in ticks.
    pub(super) fn called_at(&self, flag: &SleepFlag) -> u64 {
        flag.called_at.load(Ordering::Relaxed)
    }

    fn call_locked(&self, flag: &SleepFlag, search: bool) -> bool {
        let ended = self.end_sleep_locked(flag, search);
        if ended {
            flag.called_at.store(ticks(), Ordering::Relaxed);
        }
        ended
    }

    fn end_sleep_locked(&self, flag: &SleepFlag, search: bool) -> bool {
        let asleep = flag.asleep.load(Ordering::Relaxed);
        if !asleep {
            return false;
        }
        flag.asleep.store(false, Ordering::Relaxed);
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
        self.stop_watching(flag);
        if search && !flag.sent_to_search.load(Ordering::Relaxed) {
            self.searchers.fetch_add(1, Ordering::Relaxed);
            flag.sent_to_search.store(true, Ordering::Relaxed);
        }
        true
    }

    /// A hint.
    pub(super) fn is_asleep(&self, flag: &SleepFlag) -> bool {
        flag.asleep.load(Ordering::Relaxed)
    }

    /// A hint.
    pub(super) fn has_searchers(&self) -> bool {
        self.searchers.load(Ordering::Relaxed) > 0
    }

    /// After a push of work that anybody may take, and `inbox::published`: the worker to wake, of those
    /// that are at rest the one with the least load, and if none is, of all that sleep. None if it would only hold back, its load being above
    /// `bar()`, and somebody watches already.
    pub(super) fn pick_sleeper<'a, R>(
        &self,
        workers: impl Iterator<Item = (&'a SleepFlag, u64, R)>,
        bar: impl FnOnce() -> u64,
    ) -> Option<R> {
        let needless = || {
            self.searchers.load(Ordering::Relaxed) > 0 || self.sleepers.load(Ordering::Relaxed) == 0
        };
        if needless() {
            return None;
        }
        let _locked = self.lock.lock();
        if needless() {
            return None;
        }
        let resting = |flag: &SleepFlag| flag.resting.load(Ordering::Relaxed);
        let sleeping = workers.filter(|(flag, ..)| self.is_asleep(flag));
        let (flag, load, worker) =
            sleeping.min_by_key(|&(flag, load, _)| (!resting(flag), load))?;
        if !resting(flag) {
            // It may never rest. Nobody relies on it: it is not counted as a searcher.
            self.call_locked(flag, false);
            return Some(worker);
        }
        if self.watchers.load(Ordering::Relaxed) > 0 && load > bar() {
            return None;
        }
        self.call_locked(flag, true);
        Some(worker)
    }

    /// Worker, awake after a sleep: ends it if nobody did.
    pub(super) fn wake_up(&self, flag: &SleepFlag) -> SleepEnd {
        let _locked = self.lock.lock();
        let by_other = !self.end_sleep_locked(flag, false);
        let searching = flag.sent_to_search.load(Ordering::Relaxed);
        flag.sent_to_search.store(false, Ordering::Relaxed);
        SleepEnd {
            by_other,
            searching,
        }
    }

    /// Whether enough workers search.
    pub(super) fn has_enough_searchers(&self, workers: usize) -> bool {
        2 * self.searchers.load(Ordering::Relaxed) >= workers
    }

    /// Worker: wants to search. False: enough others do.
    #[must_use]
    pub(super) fn start_search(&self, workers: usize) -> bool {
        let starts = !self.has_enough_searchers(workers);
        if starts {
            self.searchers.fetch_add(1, Ordering::Relaxed);
        }
        starts
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

#[cfg(all(test, not(sisal_loom)))]
mod tests;
