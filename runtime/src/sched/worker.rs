//! A worker: a thread that runs fibers and drives its own reactor.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::task::Waker;

use super::placement::{Holding, LEAST_BAR, bar};
use super::queues::{Pick, Queues};
use super::shared::{Remote, Shared, bump};
use super::start::Starting;
use super::stats::add;
use crate::current::{self, Context};
use crate::driver::{Driver, Reactor, Turn, Waits, has_budget_remaining};
use crate::error::JoinError;
use crate::fiber::{
    self, AfterSwitch, Blocks, FiberPtr, FiberRef, IdSupply, Unwinding, WorkerSpan,
};
use crate::overflow::{AlternateStack, Killer};
use crate::shim::deque::Worker as Deque;
use crate::shim::{Ordering, compiler_fence};
use crate::stack_pool::StackPool;

#[cfg(all(test, sisal_loom))]
#[path = "loom_worker.rs"]
mod loom_worker;

#[cfg(all(test, sisal_loom))]
#[path = "loom_placement.rs"]
mod loom_placement;

/// Fibers stolen at once: half of a deque can be thousands, and each is moved by itself.
const MOST_STOLEN: usize = 32;

pub(super) struct Worker {
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) queues: Queues,
    pub(super) context: Context,
    /// Every started fiber that has not ended, at its header's `bound_at`.
    pub(super) bound: RefCell<Vec<FiberPtr>>,
    stacks: RefCell<StackPool>,
    pub(super) ids: IdSupply,
    span: WorkerSpan,
    /// The root future is being polled: it looks at the queues before it returns.
    in_turn: Cell<bool>,
    /// Outside a turn: the root future will be polled again.
    turn_asked: Cell<bool>,
    searching: Cell<bool>,
    first_turn: Cell<bool>,
    /// The sleep that was announced has not been ended by this worker yet.
    slept: Cell<bool>,
    /// It holds back from something fresh.
    holding: Cell<Option<Holding>>,
    /// The load up to which it starts fresh fibers, as far as it knows in this turn.
    bar: Cell<u64>,
    /// This worker has told its fibers to unwind.
    pub(super) draining: Cell<bool>,
    /// A fiber was ended without being unwound: this thread never ends (S7).
    pub(super) has_retired: Cell<bool>,
    /// A watchdog looks at what this worker runs.
    watched: bool,
}

/// What a reactor calls when its thread waits.
const WAITS: Waits = {
    fn own(f: impl FnOnce(&Worker)) {
        // SAFETY: as in `Shared::local_worker`.
        current::with_context(|context| f(unsafe { &*context.worker.cast::<Worker>() }));
    }
    Waits {
        begin: || own(Worker::rest),
        end: || own(Worker::stir),
    }
};

/// A worker must not unwind: its fibers' frames would stay behind, with borrows in them (S7).
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        eprintln!(
            "sisal: a panic on a worker's own stack, outside of any fiber: of a waker or callback \
             that tokio called there, or a bug in Sisal"
        );
        std::process::abort();
    }
}

/// The main function of a worker's thread. Says by `starting` whether the reactor could be made.
pub(crate) fn main(shared: Arc<Shared>, index: usize, deque: Deque<FiberPtr>, starting: Starting) {
    // Half of the threads are the runtime's own pool's; tokio's file system and name lookup
    // use the pool of the worker that they are called on. The sum is what the user set.
    let blocking = shared.config.max_blocking_threads / 2 / shared.config.workers;
    let threads = &shared.workers[index].blocking;
    // Signal handlers run on it: a fiber's stack may be at its end, or have only a little left.
    let made = AlternateStack::new().and_then(|alternate| {
        let driver = Driver::new(shared.config.tokio.clone(), blocking.max(1), threads, WAITS)?;
        Ok((alternate, driver))
    });
    let (_alternate, driver) = match made {
        Ok(made) => made,
        Err(error) => return starting.failed(error),
    };
    let bomb = AbortOnUnwind;
    let mut worker = Box::new(Worker::new(shared, index, deque, driver.reactor()));
    worker.context.worker = std::ptr::from_ref(&*worker).cast();
    let worker = &*worker;
    drop(starting);
    worker.context.probe.attach(worker.watched);
    current::enter(&worker.context, || {
        driver.drive(|reactor| worker.turn(reactor));
        // It would keep the reactor's descriptors open for as long as anybody has a handle.
        *worker.remote().reactor.lock() = None;
        worker.drop_tasks(driver);
    });
    worker.context.probe.detach();
    worker.leave();
    std::mem::forget(bomb);
}

impl Worker {
    /// Its context does not know it yet.
    fn new(shared: Arc<Shared>, index: usize, deque: Deque<FiberPtr>, reactor: Reactor) -> Worker {
        Worker {
            index,
            queues: Queues::new(deque, index),
            context: Context {
                fiber: Cell::new(None),
                unwinding: Unwinding::new(),
                cancel_deferred: Cell::new(false),
                awaiting_ends: Cell::new(0),
                blocks: Blocks::new(),
                killer: shared.config.kill_on_overflow.clone().map(Killer::new),
                probe: Arc::clone(&shared.workers[index].probe),
                reactor,
                runtime: Arc::as_ptr(&shared).cast(),
                worker: std::ptr::null(),
            },
            bound: RefCell::new(Vec::new()),
            stacks: RefCell::new(StackPool::new(Arc::clone(&shared.stacks))),
            ids: IdSupply::default(),
            span: WorkerSpan::default(),
            in_turn: Cell::new(false),
            turn_asked: Cell::new(false),
            searching: Cell::new(false),
            first_turn: Cell::new(true),
            slept: Cell::new(false),
            holding: Cell::new(None),
            bar: Cell::new(LEAST_BAR),
            draining: Cell::new(false),
            has_retired: Cell::new(false),
            watched: shared.config.stall_warning.is_some(),
            shared,
        }
    }

    fn remote(&self) -> &Remote {
        &self.shared.workers[self.index]
    }

    /// One poll of the root future: fibers until there are none, or tokio has to have a look.
    fn turn(&self, reactor: &Waker) -> Turn {
        self.in_turn.set(true);
        self.turn_asked.set(false);
        self.bar.set(LEAST_BAR);
        self.wake_up(reactor);
        let stats = &self.remote().stats;
        add(&stats.turns, 1);
        let turn = self.run_fibers();
        self.in_turn.set(false);
        stats
            .ready
            .store(self.queues.ready_len(), Ordering::Relaxed);
        self.publish_load(self.remote().bound.load(Ordering::Relaxed));
        turn
    }

    /// Ends this worker's sleep, if it slept.
    fn wake_up(&self, reactor: &Waker) {
        let remote = self.remote();
        if self.first_turn.replace(false) {
            *remote.reactor.lock() = Some(reactor.clone());
        }
        if self.slept.replace(false) {
            let end = self.shared.idle.wake_up(&remote.sleep);
            self.searching.set(end.searching);
            add(&remote.stats.woken, u64::from(end.by_other));
        }
    }

    fn run_fibers(&self) -> Turn {
        let interval = self.shared.config.event_interval;
        let mut left = interval;
        let turn = loop {
            if self.shared.shutdown.is_closed() && self.drain() {
                break Turn::Exit;
            }
            let Some(pick) = self.find() else {
                if self.tidy() {
                    break Turn::Again;
                }
                if let Some(sleep) = self.fall_asleep() {
                    break sleep;
                }
                continue;
            };
            self.run(pick);
            left -= 1;
            // Without budget every tokio future is pending: polling one would be waste.
            if left == 0 || !has_budget_remaining() {
                // tokio looks at timers and I/O, and if it held wakers back for lack of budget it
                // calls them first.
                break Turn::Again;
            }
        };
        add(&self.remote().stats.switches, u64::from(interval - left));
        turn
    }

    #[inline]
    fn find(&self) -> Option<Pick> {
        let (shared, index) = (&self.shared, self.index);
        let pick = self
            .queues
            .pick(shared, index, || self.may_start(), || self.is_impatient());
        if pick.is_some() || self.shared.workers.len() == 1 {
            if self.searching.get() {
                self.stop_searching();
            }
            return pick;
        }
        self.search()
    }

    #[cold]
    fn search(&self) -> Option<Pick> {
        let idle = &self.shared.idle;
        if !self.searching.get() {
            if !idle.start_search(self.shared.workers.len()) {
                return None;
            }
            self.searching.set(true);
        }
        let pick = if self.may_start() {
            self.holding.set(None);
            // One more than the bar: at the bar it still starts one.
            let room = self.bar.get().saturating_add(1) - self.load();
            let most = usize::try_from(room).map_or(MOST_STOLEN, |room| room.min(MOST_STOLEN));
            self.queues.steal(&self.shared, self.index, most)
        } else if self.is_impatient() {
            self.queues.take_fresh(&self.shared, self.index)
        } else {
            None
        };
        if pick.is_some() {
            self.stop_searching();
        }
        pick
    }

    /// Whether this worker starts fresh fibers, or holds back.
    #[inline]
    pub(super) fn may_start(&self) -> bool {
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
    fn is_impatient(&self) -> bool {
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
    fn publish_load(&self, bound: u64) {
        let remote = self.remote();
        remote.bound.store(bound, Ordering::Relaxed);
        let load = bound.saturating_sub(self.context.awaiting_ends.get() as u64);
        remote.load.store(load, Ordering::Relaxed);
    }

    /// This worker has work. The last searcher sends another in its place, for work that was
    /// pushed while pushers relied on it.
    #[cold]
    fn stop_searching(&self) {
        self.searching.set(false);
        let shared = &self.shared;
        if shared.idle.end_search() && shared.has_fresh() {
            self.shared.wake_searcher();
        }
    }

    /// Nothing to run: takes a step of giving memory of stacks back, so that no sleep begins before that
    /// is done; tokio looks at timers and I/O between steps. False: nothing is left to do.
    #[inline]
    fn tidy(&self) -> bool {
        let mut stacks = self.stacks.borrow_mut();
        if !stacks.is_untidy() || self.draining.get() {
            return false;
        }
        if self.searching.get() {
            // Pushers would rely on this worker meanwhile.
            self.stop_searching();
        }
        let worked = stacks.tidy();
        if worked {
            // A burst is over: its records go the way of its stacks.
            self.context.blocks.flush();
        }
        worked
    }

    /// Nothing to run. `Some`: the sleep has begun, and whoever brings work ends it.
    fn fall_asleep(&self) -> Option<Turn> {
        let (shared, remote) = (&*self.shared, self.remote());
        self.publish_load(remote.bound.load(Ordering::Relaxed));
        let last_searcher = self.searching.replace(false) && shared.idle.end_search();
        let may_start = self.may_start();
        let holding = self.holding.get();
        let holding = holding.filter(|_| !may_start && shared.has_fresh());
        shared.idle.announce(&remote.sleep, holding.is_some());
        let work = !remote.inbox.is_empty()
            || self.queues.has_own()
            || (may_start && (!shared.injector.is_empty() || self.queues.has_fresh()))
            // A searcher takes it, or looks again when it gives up. (And may this one search?) What this
            // one holds back from, it watches.
            || (holding.is_none() && shared.has_fresh() && !shared.idle.has_searchers())
            || shared.shutdown.is_closed() != self.draining.get()
            || (self.draining.get() && shared.live() == 0);
        if !work {
            add(&remote.stats.sleeps, 1);
            self.slept.set(true);
            let Some(holding) = holding else {
                return Some(Turn::Sleep);
            };
            add(&remote.stats.watches, 1);
            // Whoever should start it may sleep.
            shared.wake_searcher();
            return Some(Turn::SleepFor(holding.time_left()));
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
    fn rest(&self) {
        let shared = &self.shared;
        let must_look = self.slept.get() && shared.idle.rest(&self.remote().sleep);
        if must_look && shared.has_fresh() && !shared.idle.has_searchers() {
            self.ask_turn();
        }
    }

    /// Async tasks may run now; a searcher's turn comes first.
    fn stir(&self) {
        if self.slept.get() && self.shared.idle.stir(&self.remote().sleep) {
            self.ask_turn();
        }
    }

    #[inline]
    fn run(&self, pick: Pick) {
        let after = match pick {
            Pick::Started(fiber) => {
                // SAFETY: a queued fiber is live.
                unsafe { fiber.header() }.begin();
                // SAFETY: on this worker's stack; a started fiber in these queues is bound here
                // and has left its stack.
                (fiber, self.on(fiber, || unsafe { fiber::resume(fiber) }))
            }
            Pick::Fresh(fiber) => match self.start(fiber) {
                Some(after) => (fiber, after),
                None => return,
            },
        };
        match after {
            (fiber, AfterSwitch::Requeue) => self.queues.push_ready(fiber),
            (fiber, AfterSwitch::Park) => {
                // SAFETY: a fiber that has not ended is live.
                if unsafe { fiber.header() }.park() {
                    self.queues.push_ready(fiber);
                }
            }
            (fiber, AfterSwitch::Finish) => self.finish(fiber),
            (fiber, AfterSwitch::Retire) => self.give_up(fiber),
        }
    }

    /// Marks `fiber` as the running one while `switch` is away on its stack.
    #[inline]
    fn on(&self, fiber: FiberPtr, switch: impl FnOnce() -> AfterSwitch) -> AfterSwitch {
        // SAFETY: a fiber in a queue is live, and an ended one until `finish` gives up its reference.
        let header = unsafe { fiber.header() };
        // Subscribers are called here, on the worker's own stack (S10, S11).
        header.enter_spans(&self.span);
        self.context.fiber.set(Some(fiber));
        if self.watched {
            self.context.probe.turned();
        }
        let after = switch();
        if self.watched {
            self.context.probe.turned();
        }
        self.context.fiber.set(None);
        // Before the fiber can end: a signal handler counts the fiber that it finds here.
        compiler_fence(Ordering::SeqCst);
        if self.context.unwinding.concerns() {
            self.note_unwinding(fiber, after.is_last());
        }
        header.leave_spans(&self.span, after);
        after
    }

    /// Keeps account of who is in mid-unwind; when nobody is any more, reminds those who waited for
    /// that to unwind themselves (S6).
    #[cold]
    fn note_unwinding(&self, fiber: FiberPtr, ended: bool) {
        // SAFETY: a fiber that was just switched away from is live until `finish`.
        let over = self
            .context
            .unwinding
            .left(unsafe { fiber.header() }, ended);
        if over && self.context.cancel_deferred.take() {
            for fiber in self.bound.borrow().iter() {
                // SAFETY: bound fibers are live.
                if unsafe { fiber.header() }.remind() {
                    self.queues.push_ready(*fiber);
                }
            }
        }
    }

    /// Binds a fresh fiber to this worker and runs it (S1). `None`: there was no stack for it.
    fn start(&self, fiber: FiberPtr) -> Option<AfterSwitch> {
        // SAFETY: a fresh fiber is live.
        let header = unsafe { fiber.header() };
        let stack = {
            let mut stacks = self.stacks.borrow_mut();
            stacks.take(header.stack_size(), header.spawned_at())
        };
        let stack = match stack {
            Ok(stack) => stack,
            Err(error) => {
                // SAFETY: it came out of the queue here, so nobody else can start it.
                unsafe { fiber::refuse_fresh(fiber, |id| JoinError::no_stack(id, error)) };
                bump(&self.remote().count.ended);
                return None;
            }
        };
        if self.draining.get() {
            if !header.is_sheltered() {
                // A fresh fiber is in the queue that it came from, and in no other.
                let _ = header.cancel();
            }
            self.tell_started(fiber);
        }
        header.bind(self.index as u32);
        let mut bound = self.bound.borrow_mut();
        header.bound_at.set(bound.len());
        bound.push(fiber);
        self.publish_load(bound.len() as u64);
        drop(bound);
        header.begin();
        // SAFETY: on this worker's stack; bound just now.
        Some(self.on(fiber, || unsafe { fiber::start(fiber, stack) }))
    }

    /// Takes back what an ended fiber had: its stack at once, hot, for the next.
    fn finish(&self, fiber: FiberPtr) {
        // SAFETY: the fiber's own reference, adopted here, was not given up yet.
        let ended = unsafe { FiberRef::adopt(fiber) };
        // SAFETY: on this worker's stack, after `Finish`: S4, its body has returned.
        let stack = unsafe { ended.take_stack() };
        let mut stacks = self.stacks.borrow_mut();
        stacks.put(ended.stack_size(), ended.spawned_at(), stack);
        drop(stacks);
        self.unbind(ended);
    }

    /// The last of a fiber that was bound here.
    #[inline]
    fn unbind(&self, ended: FiberRef) {
        let mut bound = self.bound.borrow_mut();
        let at = ended.bound_at.get();
        bound.swap_remove(at);
        if let Some(moved) = bound.get(at) {
            // SAFETY: bound fibers are live.
            unsafe { moved.header() }.bound_at.set(at);
        }
        self.publish_load(bound.len() as u64);
        drop(bound);
        drop(ended);
        bump(&self.remote().count.ended);
    }

    /// Ends a fiber that overflowed its stack (S4): whoever joins it is told, and this thread never ends (S7).
    #[cold]
    fn give_up(&self, fiber: FiberPtr) {
        // SAFETY: the fiber's own reference, adopted here, was not given up yet.
        let ended = unsafe { FiberRef::adopt(fiber) };
        self.retire(&ended);
        // SAFETY: on this worker's stack, after `Retire`.
        unsafe { fiber::retire(fiber) };
        self.unbind(ended);
    }

    /// Whether the caller is on the stack of one of this worker's fibers.
    pub(super) fn is_on_fiber(&self) -> bool {
        self.context.fiber.get().is_some()
    }

    /// Asks the running fiber, if any, to unwind at its next suspension, unless its owner decides that.
    pub(super) fn cancel_running(&self) {
        if let Some(fiber) = self.context.fiber.get() {
            // SAFETY: a running fiber is live.
            let header = unsafe { fiber.header() };
            if !header.is_sheltered() {
                // It is in no queue, and needs none.
                let _ = header.cancel();
            }
        }
    }

    /// A spawn of this worker's.
    pub(super) fn push_fresh(&self, fiber: FiberPtr) {
        self.queues.push_fresh(fiber);
        self.ask_turn();
    }

    /// A spawn of this worker's that only it may run.
    pub(super) fn push_local(&self, fiber: FiberPtr) {
        self.queues.push_local(fiber);
        self.ask_turn();
    }

    /// A wake by this worker, of one of its own.
    pub(super) fn push_woken(&self, fiber: FiberPtr) {
        if self.is_on_fiber() {
            self.queues.push_next(fiber);
        } else {
            self.queues.push_ready(fiber);
            self.ask_turn();
        }
    }

    /// Outside a turn (the reactor calls a waker, an async task spawns): asks for the next one.
    fn ask_turn(&self) {
        if !self.in_turn.get() && !self.turn_asked.replace(true) {
            self.remote().wake_reactor();
        }
    }
}
