//! A worker: a thread that runs fibers and drives its own reactor.

mod park;
mod run;
mod search;
mod spin;
mod turn;

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use self::spin::Spin;
use super::placement::{Holding, LEAST_BAR};
use super::queues::{FAIRNESS_INTERVAL, Queues};
use super::shared::{Remote, Shared};
use super::start::Starting;
use super::stats::add;
use super::ticks::ticks;
use crate::current::{self, Context};
use crate::driver::{Driver, Reactor, Waits};
use crate::fiber::{Blocks, FiberPtr, IdSupply, Timers, Unwinding, WorkerSpan};
use crate::overflow::{AlternateStack, Killer};
use crate::shim::deque::Worker as Deque;
use crate::stack_pool::StackPool;

#[cfg(all(test, sisal_loom))]
#[path = "loom_worker.rs"]
mod loom_worker;

#[cfg(all(test, sisal_loom))]
#[path = "loom_placement.rs"]
mod loom_placement;

#[cfg(all(test, sisal_loom))]
#[path = "loom_search.rs"]
mod loom_search;

#[cfg(all(test, sisal_loom))]
#[path = "loom_park.rs"]
mod loom_park;

pub(super) struct Worker {
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
    /// What the others see of this worker, in `shared`.
    remote: NonNull<Remote>,
    pub(super) queues: Queues,
    /// Picks until one is for fairness.
    fair_in: Cell<u32>,
    /// Parked last: see `worker/park.rs`.
    lingering: Cell<Option<FiberPtr>>,
    pub(super) context: Context,
    /// Every fiber that has left its stack and has not ended, at its header's `bound_at`. (One in its first run is not there yet.)
    pub(super) bound: RefCell<Vec<FiberPtr>>,
    stacks: RefCell<StackPool>,
    /// There may be memory of stacks to give back then.
    pub(super) tidy_at: Cell<Option<Instant>>,
    pub(super) ids: IdSupply,
    span: WorkerSpan,
    /// The root future is being polled: it looks at the queues before it returns.
    in_turn: Cell<bool>,
    /// Outside a turn: the root future will be polled again.
    turn_asked: Cell<bool>,
    searching: Cell<bool>,
    /// What `Remote::reactor` says, without its lock; there from the first turn to the last.
    reactor: RefCell<Option<Waker>>,
    /// The sleep that was announced has not been ended by this worker yet.
    slept: Cell<bool>,
    spin: Spin,
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
        // Nobody relies on the sleep of the only one.
        let waits = (shared.config.workers > 1).then_some(WAITS);
        let driver = Driver::new(shared.config.tokio.clone(), blocking.max(1), threads, waits)?;
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
        worker.reactor.take();
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
            remote: NonNull::from(&*shared.workers[index]),
            queues: Queues::new(deque, index, shared.config.workers),
            fair_in: Cell::new(FAIRNESS_INTERVAL - 1),
            lingering: Cell::new(None),
            context: Context {
                fiber: Cell::new(None),
                unwinding: Unwinding::new(),
                cancel_deferred: Cell::new(false),
                awaiting_ends: Cell::new(0),
                blocks: Blocks::new(),
                timers: Timers::new(),
                killer: shared.config.kill_on_overflow.clone().map(Killer::new),
                probe: Arc::clone(&shared.workers[index].probe),
                reactor,
                runtime: Arc::as_ptr(&shared).cast(),
                worker: std::ptr::null(),
            },
            bound: RefCell::new(Vec::new()),
            stacks: RefCell::new(StackPool::new(Arc::clone(&shared.stacks))),
            tidy_at: Cell::new(None),
            ids: IdSupply::default(),
            span: WorkerSpan::default(),
            in_turn: Cell::new(false),
            turn_asked: Cell::new(false),
            searching: Cell::new(false),
            reactor: RefCell::new(None),
            slept: Cell::new(false),
            spin: Spin::new(),
            holding: Cell::new(None),
            bar: Cell::new(LEAST_BAR),
            draining: Cell::new(false),
            has_retired: Cell::new(false),
            watched: shared.config.stall_warning.is_some(),
            shared,
        }
    }

    #[inline]
    pub(super) fn remote(&self) -> &Remote {
        // SAFETY: it is in `shared`, which is counted here and moves nothing.
        unsafe { self.remote.as_ref() }
    }

    /// Ends this worker's sleep, if it slept.
    fn wake_up(&self, reactor: &Waker) {
        let remote = self.remote();
        let mut own = self.reactor.borrow_mut();
        if own.is_none() {
            *own = Some(reactor.clone());
            *remote.reactor.lock() = Some(reactor.clone());
        }
        drop(own);
        if self.slept.replace(false) {
            let end = self.shared.idle.wake_up(&remote.sleep);
            self.searching.set(end.searching);
            if end.by_other {
                add(&remote.stats.woken, 1);
                let called_at = self.shared.idle.called_at(&remote.sleep);
                self.spin.was_woken(called_at, ticks());
            }
        }
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
    #[inline]
    pub(super) fn push_fresh(&self, fiber: FiberPtr) {
        self.queues.push_fresh(fiber);
        self.tell_fresh();
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
            self.queues.push_woken(fiber);
            self.ask_turn();
        }
    }

    /// Outside a turn (the reactor calls a waker, an async task spawns): asks for the next one.
    #[inline]
    fn ask_turn(&self) {
        if !self.in_turn.get()
            && !self.turn_asked.replace(true)
            && let Some(reactor) = &*self.reactor.borrow()
        {
            reactor.wake_by_ref();
        }
    }
}
