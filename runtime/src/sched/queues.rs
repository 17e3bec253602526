//! A worker's own queues, and the order in which it looks for its next fiber.
//!
//! `next` (just woken by the running fiber) · `ready` (bound, owner only) · `local` (fresh, owner
//! only) · `fresh` (stealable) · inbox · injector · victims. Every `FAIRNESS_INTERVAL` picks the order is turned round.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use super::fresh::Fresh;
use super::ready::Ready;
use super::shared::{Remote, Shared};
use super::stats::add;
use crate::fiber::FiberPtr;
use crate::shim::deque::{Steal, Worker as Deque};

/// After so many picks the inbox comes first, and the injector or the old end of `fresh`. A prime, so
/// that it does not beat with loops of the user's; more in README.md, "Numbers".
pub(super) const FAIRNESS_INTERVAL: u32 = 61;

/// So many times in a row `next` goes before `ready`: two fibers that wake each other must not
/// shut out the rest.
const NEXT_LIMIT: u32 = 3;

pub(super) struct Queues {
    next: Cell<Option<FiberPtr>>,
    next_uses: Cell<u32>,
    ready: Ready,
    fresh: Fresh,
    /// Fresh fibers that are not `Send`: nobody else ever sees them before they are bound (S2).
    local: RefCell<VecDeque<FiberPtr>>,
    /// The last pick for fairness was the oldest of `local`: the next is somebody else's.
    local_had_turn: Cell<bool>,
    /// The injector's turn at the next pick for fairness, and not that of `fresh`.
    injector_first: Cell<bool>,
    /// State of the victims' random order (xorshift; G. Marsaglia, "Xorshift RNGs", 2003).
    random: Cell<u32>,
}

/// What a worker runs next.
pub(super) enum Pick {
    /// Bound to this worker.
    Started(FiberPtr),
    /// To be bound now.
    Fresh(FiberPtr),
}

impl Queues {
    pub(super) fn new(fresh: Deque<FiberPtr>, index: usize, workers: usize) -> Queues {
        Queues {
            next: Cell::new(None),
            next_uses: Cell::new(0),
            ready: Ready::new(),
            fresh: Fresh::new(fresh, workers == 1),
            local: RefCell::new(VecDeque::new()),
            local_had_turn: Cell::new(false),
            injector_first: Cell::new(false),
            random: Cell::new(0x9E37_79B9 ^ (index as u32 + 1)),
        }
    }

    pub(super) fn push_fresh(&self, fiber: FiberPtr) {
        self.fresh.push(fiber);
    }

    pub(super) fn push_local(&self, fiber: FiberPtr) {
        self.local.borrow_mut().push_back(fiber);
    }

    #[inline]
    pub(super) fn push_ready(&self, fiber: FiberPtr) {
        self.ready.push(fiber);
    }

    #[inline]
    pub(super) fn push_woken(&self, fiber: FiberPtr) {
        self.ready.push_woken(fiber);
    }

    /// Woken by the running fiber: likely to use what that one just touched.
    pub(super) fn push_next(&self, fiber: FiberPtr) {
        if let Some(displaced) = self.next.replace(Some(fiber)) {
            self.ready.push_woken(displaced);
        }
    }

    /// The next fiber that is bound here, if it comes first.
    #[inline]
    pub(super) fn pick_bound(&self) -> Option<FiberPtr> {
        if let Some(fiber) = self.next.get() {
            self.next.set(None);
            if self.next_uses.get() < NEXT_LIMIT {
                self.next_uses.set(self.next_uses.get() + 1);
                return Some(fiber);
            }
            self.push_ready(fiber);
        }
        self.next_uses.set(0);
        self.ready.pop()
    }

    /// The next fiber, when there is none that is bound here: from this worker's other queues and inbox, or the injector. What is
    /// fresh only if it `may_start` it.
    #[inline]
    pub(super) fn pick_other(
        &self,
        shared: &Shared,
        remote: &Remote,
        may_start: impl Fn() -> bool,
    ) -> Option<Pick> {
        // Newest first, as `fresh`; before it, because others may help with that.
        if let Some(fiber) = self.local.borrow_mut().pop_back() {
            return Some(Pick::Fresh(fiber));
        }
        let may_start = may_start();
        if may_start && let Some(fiber) = self.fresh.pop() {
            return Some(Pick::Fresh(fiber));
        }
        self.empty_inbox(remote);
        if let Some(fiber) = self.ready.pop() {
            return Some(Pick::Started(fiber));
        }
        // A look costs less than an attempt, which has a fence.
        if !may_start || shared.injector.is_empty() {
            return None;
        }
        inject(shared, remote).map(Pick::Fresh)
    }

    /// A pick for fairness: the inbox is emptied, and something fresh comes first, if there is any. What is for everybody only if this
    /// worker `may_start` it, impatience included. True: the next pick is one for fairness too.
    #[cold]
    pub(super) fn pick_for_fairness(
        &self,
        shared: &Shared,
        remote: &Remote,
        may_start: impl FnOnce() -> bool,
    ) -> (Option<FiberPtr>, bool) {
        self.empty_inbox(remote);
        // The oldest of `local`. Beside the turn of the others, not in its place: the next pick is theirs.
        if !self.local_had_turn.replace(true)
            && let Some(fiber) = self.local.borrow_mut().pop_front()
        {
            return (Some(fiber), true);
        }
        self.local_had_turn.set(false);
        let injector_first = self.injector_first.get();
        self.injector_first.set(!injector_first);
        if !may_start() {
            return (None, false);
        }
        let injected = || inject(shared, remote);
        let oldest = || self.oldest_fresh(remote);
        // By turns: neither shuts out the other by never being empty.
        let fiber = match injector_first {
            true => injected().or_else(oldest),
            false => oldest().or_else(injected),
        };
        (fiber, false)
    }

    /// Moves what others woke to `ready`.
    fn empty_inbox(&self, remote: &Remote) {
        let mut taken = 0;
        remote.inbox.take(|fiber| {
            taken += 1;
            self.ready.push_woken(fiber);
        });
        if taken > 0 {
            add(&remote.stats.inbox_pops, taken);
        }
    }

    /// Half of the fresh fibers of another worker, and `most` at the most; the first of them.
    pub(super) fn steal(&self, shared: &Shared, index: usize, most: usize) -> Option<Pick> {
        let workers = shared.workers.len();
        let start = self.next_random() as usize % workers;
        let stats = &shared.workers[index].stats;
        add(&stats.searches, 1);
        let found = (0..workers)
            .map(|offset| (start + offset) % workers)
            .filter(|&victim| victim != index)
            .find_map(|victim| {
                let stealer = &shared.workers[victim].stealer;
                steal(|| stealer.steal_batch_with_limit_and_pop(self.fresh.shared(), most))
            });
        if found.is_some() {
            add(&stats.steals, 1);
            // This deque was empty; who steals from it meanwhile makes the figure a little small.
            add(&stats.stolen, 1 + self.fresh.shared().len() as u64);
        }
        found.map(Pick::Fresh)
    }

    /// The oldest fresh fiber of somebody, the loads notwithstanding.
    #[cold]
    pub(super) fn take_fresh(&self, shared: &Shared, remote: &Remote) -> Option<Pick> {
        let own = || self.oldest_fresh(remote);
        let others = || {
            let found = (shared.workers.iter()).find_map(|v| steal(|| v.stealer.steal()))?;
            add(&remote.stats.steals, 1);
            add(&remote.stats.stolen, 1);
            Some(found)
        };
        let fiber = own().or_else(|| inject(shared, remote)).or_else(others);
        fiber.map(Pick::Fresh)
    }

    /// What waits for this worker and nobody else.
    pub(super) fn ready_len(&self) -> u64 {
        (self.ready.len() + self.local.borrow().len()) as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.has_own() && self.fresh.is_empty()
    }

    /// Whether a fiber is here that only this worker may run.
    pub(super) fn has_own(&self) -> bool {
        self.next.get().is_some() || !self.ready.is_empty() || !self.local.borrow().is_empty()
    }

    /// Whether there is something fresh here that others may take too.
    pub(super) fn has_shared_fresh(&self) -> bool {
        !self.is_alone() && !self.fresh.is_empty()
    }

    /// The only worker of its runtime: nobody steals, and there is nobody to steal from.
    #[inline]
    pub(super) fn is_alone(&self) -> bool {
        self.fresh.is_alone()
    }

    /// Fresh fibers that the stealers do not see.
    #[inline]
    pub(super) fn unshared_fresh(&self) -> u64 {
        self.fresh.unshared()
    }

    fn oldest_fresh(&self, remote: &Remote) -> Option<FiberPtr> {
        match self.fresh.is_alone() {
            true => self.fresh.pop_oldest(),
            false => steal(|| remote.stealer.steal()),
        }
    }

    fn next_random(&self) -> u32 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.random.set(x);
        x
    }
}

/// The oldest fiber of the injector.
fn inject(shared: &Shared, remote: &Remote) -> Option<FiberPtr> {
    let fiber = steal(|| shared.injector.steal())?;
    add(&remote.stats.injector_pops, 1);
    Some(fiber)
}

/// Steals until it is clear whether there was something.
fn steal(mut attempt: impl FnMut() -> Steal<FiberPtr>) -> Option<FiberPtr> {
    loop {
        match attempt() {
            Steal::Success(fiber) => return Some(fiber),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}
