//! Where a worker's next fiber comes from, when it holds back from one, and its sleep when there is none.

use super::Worker;
use crate::driver::Turn;
use crate::sched::placement::{Holding, bar};
use crate::sched::queues::Pick;
use crate::sched::stats::add;
use crate::sched::ticks::ticks;
use crate::shim::Ordering;
use crate::stack_pool::Step;

/// Fibers stolen at once: half of a deque can be thousands, and each is moved by itself.
const MOST_STOLEN: usize = 32;

impl Worker {
    /// The next fiber, when none that is bound here comes first.
    pub(super) fn find(&self) -> Option<Pick> {
        let may_start = || self.may_start();
        let pick = (self.queues).pick_other(&self.shared, self.remote(), may_start);
        if pick.is_some() || self.queues.is_alone() {
            return pick;
        }
        self.search()
    }

    #[cold]
    fn search(&self) -> Option<Pick> {
        let may_start = self.may_start();
        // Where there is nothing to find, no word of it: who searches writes to a line that all who do write to.
        if (may_start && !self.searching.get() && !self.shared.has_fresh())
            || !self.begins_to_search()
        {
            return None;
        }
        if may_start {
            self.holding.set(None);
            // One more than the bar: at the bar it still starts one.
            let room = self.bar.get().saturating_add(1) - self.load();
            let most = usize::try_from(room).map_or(MOST_STOLEN, |room| room.min(MOST_STOLEN));
            self.queues.steal(&self.shared, self.index, most)
        } else if self.is_impatient() {
            self.queues.take_fresh(&self.shared, self.remote())
        } else {
            None
        }
    }

    /// Whether this worker searches, or could begin to.
    pub(super) fn may_search(&self) -> bool {
        let (shared, searches) = (&self.shared, self.searching.get());
        searches || !shared.idle.has_enough_searchers(shared.workers.len())
    }

    /// Has this worker search, if not too many others do. True: it does, and pushers rely on it from here on.
    pub(super) fn begins_to_search(&self) -> bool {
        if !self.searching.get() {
            let starts = self.shared.idle.start_search(self.shared.workers.len());
            self.searching.set(starts);
        }
        self.searching.get()
    }

    /// Whether this worker starts fresh fibers, or holds back: if it is the only one, from nobody.
    #[inline]
    pub(in crate::sched) fn may_start(&self) -> bool {
        if self.queues.is_alone() {
            return true;
        }
        let load = self.load();
        load <= self.bar.get() || self.may_start_now(load)
    }

    #[cold]
    fn may_start_now(&self, load: u64) -> bool {
        // So that it does not hold back from itself.
        self.publish_load(self.remote().bound.load(Ordering::Relaxed));
        self.bar.set(bar(self.shared.least_loaded().1));
        let may_start = load <= self.bar.get();
        if may_start {
            self.holding.set(None);
        }
        may_start
    }

    /// This worker holds back. Whether it takes a fresh fiber all the same, since nobody else does.
    #[cold]
    pub(super) fn is_impatient(&self) -> bool {
        let (shared, load) = (&self.shared, self.load());
        let holding = self.holding.get().filter(|holding| holding.stands(shared));
        if !shared.has_fresh() {
            self.holding
                .set(holding.filter(|holding| holding.is_lasting()));
            return false;
        }
        let mut impatient = false;
        let holding = match holding {
            None => Holding::begin(shared, load),
            Some(mut holding) => {
                impatient = holding.look(load);
                holding
            }
        };
        self.holding.set(Some(holding));
        if !impatient && !self.searching.get() {
            // Whoever should start it may sleep.
            shared.wake_searcher();
        }
        impatient
    }

    /// The load that decides whether this worker starts another. At the end of a runtime everybody starts
    /// everything.
    #[inline]
    fn load(&self) -> u64 {
        let bound = self.remote().bound.load(Ordering::Relaxed);
        match self.draining.get() {
            true => 0,
            false => bound.saturating_sub(self.context.awaiting_ends.get() as u64),
        }
    }

    /// Tells the others.
    #[inline]
    pub(super) fn publish_load(&self, bound: u64) {
        let remote = self.remote();
        remote.bound.store(bound, Ordering::Relaxed);
        let load = bound.saturating_sub(self.context.awaiting_ends.get() as u64);
        remote.load.store(load, Ordering::Relaxed);
    }

    /// This worker has work. The last searcher sends another in its place, for work that was
    /// pushed while pushers relied on it.
    #[cold]
    pub(super) fn stop_searching(&self) {
        self.searching.set(false);
        let shared = &self.shared;
        if shared.idle.end_search() && shared.has_fresh() {
            self.shared.wake_searcher();
        }
    }

    /// Tells whoever asks for figures how many fresh fibers wait where only this worker looks.
    #[inline]
    pub(super) fn tell_fresh(&self) {
        let unshared = self.queues.unshared_fresh();
        self.remote().stats.fresh.store(unshared, Ordering::Relaxed);
    }

    /// Nothing to run: takes a step of giving memory of stacks back, so that no sleep begins before that
    /// is done; tokio looks at timers and I/O between steps. False: nothing is left to do.
    #[inline]
    pub(super) fn tidy(&self) -> bool {
        let mut stacks = self.stacks.borrow_mut();
        if !stacks.is_untidy() || self.draining.get() {
            return false;
        }
        if self.searching.get() {
            // Pushers would rely on this worker meanwhile.
            self.stop_searching();
        }
        self.tidied(stacks.tidy())
    }

    /// The same, one step, of a worker that has something to run, if it is time.
    #[inline]
    pub(super) fn tidy_beside_work(&self) {
        let mut stacks = self.stacks.borrow_mut();
        if stacks.is_due(self.tidy_at.get()) && !self.draining.get() {
            self.tidied(stacks.tidy_beside_work());
        }
    }

    /// Whether there may be more to do.
    fn tidied(&self, step: Step) -> bool {
        let (again_at, worked) = match step {
            Step::Worked => (None, true),
            Step::Later(end) => (Some(end), false),
            Step::Done => (None, false),
        };
        self.tidy_at.set(again_at);
        if worked {
            // A burst is over: its records go the way of its stacks.
            self.context.blocks.flush();
        }
        worked
    }

    /// A look for something to run has just found nothing. `Some`: the sleep has begun, and whoever brings work ends it.
    pub(super) fn fall_asleep(&self) -> Option<Turn> {
        debug_assert!(!self.queues.has_own(), "the look was for this too");
        let (shared, remote) = (&*self.shared, self.remote());
        let last_searcher = self.searching.replace(false) && shared.idle.end_search();
        let may_start = self.may_start();
        let holding = self.holding.get();
        let holding = holding.filter(|_| !may_start && shared.has_fresh());
        shared.idle.announce(&remote.sleep, holding.is_some());
        // (What only this worker puts somewhere needs no second look. But it may start now what it held back from.)
        let work = !remote.inbox.is_empty()
            || (may_start && (!shared.injector.is_empty() || self.queues.has_shared_fresh()))
            // A searcher takes it, or looks again when it gives up. (And may this one search?) What this
            // one holds back from, it watches.
            || (!self.queues.is_alone()
                && holding.is_none()
                && shared.has_fresh()
                && !shared.idle.has_searchers())
            || shared.shutdown.is_closed() != self.draining.get()
            || (self.draining.get() && shared.live() == 0);
        if !work {
            add(&remote.stats.sleeps, 1);
            self.slept.set(true);
            self.spin.slept(ticks());
            let Some(holding) = holding else {
                return Some(Turn::Sleep);
            };
            add(&remote.stats.watches, 1);
            // Whoever should start it may sleep.
            shared.wake_searcher();
            return Some(Turn::SleepUntil(holding.ends()));
        }
        // If somebody else ended it, they wake the reactor: one turn too many, no harm.
        self.searching
            .set(shared.idle.wake_up(&remote.sleep).searching);
        if last_searcher {
            // Whoever pushed that work relied on this searcher, who may now be busy with part of it.
            shared.wake_searcher();
        }
        None
    }

    /// There is no async task to run either. From here to `stir` others rely on this worker's sleep.
    pub(super) fn rest(&self) {
        let shared = &self.shared;
        let must_look = self.slept.get() && shared.idle.rest(&self.remote().sleep);
        if must_look && shared.has_fresh() && !shared.idle.has_searchers() {
            self.ask_turn();
        }
    }

    /// Async tasks may run now; a searcher's turn comes first.
    pub(super) fn stir(&self) {
        if self.slept.get() && self.shared.idle.stir(&self.remote().sleep) {
            self.ask_turn();
        }
    }
}
