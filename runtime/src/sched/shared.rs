//! What the workers of a runtime share, and the ways in from outside.

use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use super::census::Census;
use super::idle::{Idle, SleepFlag};
use super::inbox::{Inbox, published};
use super::placement::bar;
use super::shutdown::Shutdown;
use super::stats::{Stats, add};
use super::worker::Worker;
use crate::current;
use crate::driver::{BlockingPool, BlockingThreads, Spawner, TokioHandle};
use crate::error::JoinError;
use crate::fiber::{Blocks, FiberId, FiberPtr, Records, Schedule, SwitchHooks, refuse_fresh};
use crate::keep::stays;
use crate::overflow::Grounds;
use crate::shim::deque::{Injector, Stealer, Worker as Deque};
use crate::shim::{AtomicU64, Figure, Ordering, fence};
use crate::stack_pool::StackSource;
use crate::stall::Probe;

/// What a runtime is made with.
pub(crate) struct Config {
    pub(crate) workers: usize,
    pub(crate) stack_size: usize,
    pub(crate) guard_size: usize,
    pub(crate) thread_name: String,
    pub(crate) tokio: Option<TokioHandle>,
    pub(crate) event_interval: u32,
    /// A turn that took fewer ticks than this goes on for another interval. 0: none does.
    pub(crate) least_turn: u64,
    pub(crate) max_blocking_threads: usize,
    pub(crate) on_switch: Option<SwitchHooks>,
    /// An overflow ends just its fiber, where these let it.
    pub(crate) kill_on_overflow: Option<Grounds>,
    /// A watchdog looks at the workers.
    pub(crate) stall_warning: Option<Duration>,
}

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) blocking: Spawner,
    pub(super) stacks: Arc<StackSource>,
    pub(super) records: Records,
    pub(super) workers: Box<[CachePadded<Remote>]>,
    pub(super) injector: Injector<FiberPtr>,
    pub(super) idle: Idle,
    pub(super) shutdown: Shutdown,
    /// Spawns by threads that are no workers of this runtime.
    pub(super) outside: Count,
    /// Sleeps that such threads ended.
    pub(super) outside_wakes: Figure,
}

/// A worker, as the others see it. First what it writes and the others seldom read, in cache lines of
/// their own.
#[repr(C)]
pub(super) struct Remote {
    pub(super) count: Count,
    /// Bound fibers. Written by the worker only.
    pub(super) bound: Figure,
    /// Those of them that wait for no other's end: see `placement.rs`. Written by the worker only.
    pub(super) load: Figure,
    pub(super) stats: Stats,
    pub(super) inbox: CachePadded<Inbox>,
    pub(super) sleep: SleepFlag,
    pub(super) stealer: Stealer<FiberPtr>,
    /// Wakes the worker's reactor; there from its first turn to its last. Locked once per sleep.
    pub(super) reactor: Mutex<Option<Waker>>,
    /// For a shutdown.
    pub(super) census: Census,
    /// For what tokio's own calls on this worker block.
    pub(super) blocking: BlockingThreads,
    pub(super) probe: Arc<Probe>,
}

/// Fibers that one party spawned and ended, both only growing.
pub(super) struct Count {
    pub(super) spawned: AtomicU64,
    pub(super) ended: AtomicU64,
}

impl Count {
    pub(super) fn new() -> Count {
        Count {
            spawned: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }
}

/// Where whoever makes a fiber is: on that worker, or on none of the fiber's runtime. Not kept any longer than the call that
/// asked for it, in which nobody leaves the stack (of a subscriber that does `make_span` takes care).
#[derive(Clone, Copy)]
pub(crate) struct Here<'a>(Option<&'a Worker>);

impl<'a> Here<'a> {
    /// On a worker: its runtime, and where on that the caller is.
    ///
    /// # Safety
    /// The caller keeps to what is said above.
    #[inline]
    pub(crate) unsafe fn current() -> Option<(&'a Arc<Shared>, Here<'a>)> {
        let worker = current::worker()?;
        // SAFETY: as in `Shared::local_worker`, by contract.
        let worker = unsafe { &*worker.cast::<Worker>() };
        Some((&worker.shared, Here(Some(worker))))
    }

    /// For a fiber to be: an id, and the memory for records of that worker. (A block of another runtime's would keep that
    /// one's memory for as long as it is at hand here.)
    #[inline]
    pub(crate) fn supplies(self) -> (FiberId, Option<&'a Blocks>) {
        match self.0 {
            Some(worker) => (worker.ids.next(), Some(&worker.context.blocks)),
            None => (FiberId::next(), None),
        }
    }
}

/// Adds to a counter that only the caller's thread writes: no read-modify-write.
/// Release pairs with the Acquire of `Shared::live`.
pub(super) fn bump(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Release);
}

impl Shared {
    /// Makes a runtime's shared part, and the deques that its workers take to their threads.
    pub(crate) fn new(
        config: Config,
        pool: BlockingPool,
    ) -> io::Result<(Arc<Shared>, Vec<Deque<FiberPtr>>)> {
        let stacks = StackSource::new(config.stack_size, config.guard_size)?;
        let deques: Vec<_> = (0..config.workers).map(|_| Deque::new_lifo()).collect();
        let workers = deques
            .iter()
            .map(|deque| {
                CachePadded::new(Remote {
                    count: Count::new(),
                    bound: Figure::new(0),
                    load: Figure::new(0),
                    stats: Stats::default(),
                    inbox: CachePadded::new(Inbox::new()),
                    sleep: SleepFlag::new(config.workers == 1),
                    stealer: deque.stealer(),
                    reactor: Mutex::new(None),
                    census: Census::new(),
                    blocking: BlockingThreads::default(),
                    probe: Arc::new(Probe::new()),
                })
            })
            .collect();
        let shared = Shared {
            blocking: pool.spawner(),
            shutdown: Shutdown::new(config.workers, pool),
            config,
            stacks: Arc::new(stacks),
            records: Records::default(),
            workers,
            injector: Injector::new(),
            idle: Idle::new(),
            outside: Count::new(),
            outside_wakes: Figure::new(0),
        };
        Ok((Arc::new(shared), deques))
    }

    /// The calling thread's worker, if it is one of this runtime's.
    pub(super) fn local_worker(&self) -> Option<&Worker> {
        let worker = current::worker_of(std::ptr::from_ref(self).cast())?;
        // SAFETY: a worker of this runtime entered its context with itself as that pointer, and
        // outlives it (`Worker::main`). The borrow is used within the call that asked for it.
        Some(unsafe { worker.cast::<Worker>().as_ref() })
    }

    /// Where the caller is.
    #[inline]
    pub(crate) fn here(&self) -> Here<'_> {
        Here(self.local_worker())
    }

    /// Takes a fresh fiber in. On a closed runtime it ends at once, cancelled.
    #[inline(never)]
    #[unsafe(link_section = "sisal_keep")] // see `overflow::kill`
    pub(crate) fn spawn(&self, here: Here<'_>, fiber: FiberPtr) {
        match here.0 {
            Some(worker) => self.spawn_on(worker, fiber),
            None => self.spawn_outside(fiber),
        }
        stays();
    }

    /// Takes in a fresh fiber that only the calling thread, a worker of this runtime, may run or
    /// drop (S2). On a closed runtime it ends at once, cancelled.
    #[inline(never)]
    #[unsafe(link_section = "sisal_keep")] // see `overflow::kill`
    pub(crate) fn spawn_local(&self, here: Here<'_>, fiber: FiberPtr) {
        let Some(worker) = here.0 else {
            unreachable!("`spawn_local` asked whether this is a worker");
        };
        if self.admit(worker, fiber) {
            worker.push_local(fiber);
        }
        stays();
    }

    /// Counts a fiber that `worker`, the caller's, spawns. False: the runtime is closed, and the
    /// fiber has ended.
    #[inline]
    fn admit(&self, worker: &Worker, fiber: FiberPtr) -> bool {
        let count = &worker.remote().count;
        bump(&count.spawned);
        if !worker.is_on_fiber() {
            // No live fiber keeps the runtime up meanwhile: as in `spawn_outside`.
            fence(Ordering::SeqCst);
        }
        !self.shutdown.is_closed() || self.admit_closed(worker, fiber)
    }

    #[cold]
    fn admit_closed(&self, worker: &Worker, fiber: FiberPtr) -> bool {
        // SAFETY: nobody else knows the fiber yet.
        if unsafe { fiber.header() }.is_sheltered() {
            return true;
        }
        // SAFETY: as above.
        unsafe { refuse_fresh(fiber, JoinError::cancelled) };
        bump(&worker.remote().count.ended);
        // The spawner's turn comes too; it may be in a loop that only this tells to end.
        worker.cancel_running();
        self.wake_all();
        false
    }

    #[inline]
    pub(super) fn spawn_on(&self, worker: &Worker, fiber: FiberPtr) {
        if !self.admit(worker, fiber) {
            return;
        }
        match worker.queues.is_alone() {
            true => worker.push_fresh(fiber),
            false => self.spawn_beside(worker, fiber),
        }
    }

    /// Where others may take it.
    #[inline(never)]
    fn spawn_beside(&self, worker: &Worker, fiber: FiberPtr) {
        if worker.may_start() {
            worker.push_fresh(fiber);
            return self.wake_searcher();
        }
        // Not to the inbox of the least loaded, though that is the sleeper who is woken: it may become busy for long
        // meanwhile, and what is in there cannot be stolen.
        self.injector.push(fiber);
        self.wake_searcher();
    }

    /// If this runtime is closed: asks the running fiber, if it is one of this runtime's, to unwind.
    /// Its worker will, but may not have come to it yet.
    pub(crate) fn cancel_running_if_closed(&self) {
        if self.shutdown.is_closed()
            && let Some(worker) = self.local_worker()
        {
            worker.cancel_running();
        }
    }

    #[inline(never)]
    fn spawn_outside(&self, fiber: FiberPtr) {
        // SeqCst with `Shutdown::close` and the fence of `live`: either this thread sees the
        // runtime closed, or the shutdown counts this fiber.
        self.outside.spawned.fetch_add(1, Ordering::SeqCst);
        if self.shutdown.is_closed() {
            // SAFETY: nobody else knows the fiber yet.
            unsafe { refuse_fresh(fiber, JoinError::cancelled) };
            self.outside.ended.fetch_add(1, Ordering::SeqCst);
            // The last worker may have counted this one and waits for its end.
            self.wake_all();
            return;
        }
        self.injector.push(fiber);
        self.wake_searcher();
    }

    /// Puts a fiber into a worker's inbox, and wakes the worker if it sleeps.
    fn send(&self, worker: usize, fiber: FiberPtr) {
        let remote = &self.workers[worker];
        remote.inbox.push(fiber);
        published();
        if self.idle.end_sleep(&remote.sleep) {
            self.wake_reactor(remote);
        }
    }

    /// Wakes a worker whose sleep the caller ended.
    fn wake_reactor(&self, remote: &Remote) {
        match self.local_worker() {
            Some(worker) => add(&self.workers[worker.index].stats.wakes, 1),
            None => {
                self.outside_wakes.fetch_add(1, Ordering::Relaxed);
            }
        }
        remote.wake_reactor();
    }

    /// There is work that anybody may take.
    pub(super) fn wake_searcher(&self) {
        published();
        let workers = self.workers.iter().map(|remote| &**remote);
        let workers = workers.map(|remote| (&remote.sleep, remote.load(), remote));
        if let Some(remote) = self
            .idle
            .pick_sleeper(workers, || bar(self.least_loaded().1))
        {
            self.wake_reactor(remote);
        }
    }

    /// Makes every worker take a turn.
    pub(super) fn wake_all(&self) {
        published();
        for remote in &self.workers {
            if self.idle.end_sleep(&remote.sleep) {
                self.wake_reactor(remote);
            }
        }
    }

    /// Fibers that have been spawned and have not ended.
    ///
    /// Exact when it says 0: all ends are read before all spawns, and both only grow, so 0 means
    /// that at the moment in between there was none (F. Mattern, "Algorithms for distributed
    /// termination detection", Distributed Computing 2, 1987, the counting method).
    pub(super) fn live(&self) -> u64 {
        let counts = || self.workers.iter().map(|w| &w.count).chain([&self.outside]);
        // Acquire pairs with `bump`: who sees an end sees the spawns that came before it.
        let ended: u64 = counts().map(|c| c.ended.load(Ordering::Acquire)).sum();
        let spawned: u64 = counts().map(|c| c.spawned.load(Ordering::Acquire)).sum();
        spawned - ended
    }

    /// The workers' probes, in order.
    pub(crate) fn probes(&self) -> Vec<Arc<Probe>> {
        self.workers.iter().map(|w| Arc::clone(&w.probe)).collect()
    }
}

impl Remote {
    pub(super) fn wake_reactor(&self) {
        let reactor = self.reactor.lock().clone();
        if let Some(reactor) = reactor {
            reactor.wake();
        }
    }
}

impl Schedule for Shared {
    fn schedule(&self, fiber: FiberPtr) {
        // SAFETY: a parked fiber is live.
        let home = unsafe { fiber.header() }.home() as usize;
        match self.local_worker() {
            Some(worker) if worker.index == home => worker.push_woken(fiber),
            _ => self.send(home, fiber),
        }
    }

    #[inline]
    fn wake_here(&self, fiber: FiberPtr, reason: u32) -> bool {
        // SAFETY: whoever calls for a fiber has a live record.
        let home = unsafe { fiber.header() }.home() as usize;
        match self.local_worker() {
            Some(worker) if worker.index == home => worker.wake(fiber, reason),
            _ => {
                // Most calls lead to a push.
                if let Some(remote) = self.workers.get(home) {
                    remote.inbox.prefetch();
                }
                false
            }
        }
    }

    fn on_switch(&self) -> Option<&SwitchHooks> {
        self.config.on_switch.as_ref()
    }

    fn records(&self) -> &Records {
        &self.records
    }
}
