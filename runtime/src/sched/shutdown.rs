//! The end of a runtime (S7), in phases:
//!
//! 1. *Stop accepting.* `close`: spawns end at once, cancelled; every worker takes a turn.
//! 2. *Unwind.* Each worker cancels its bound fibers, starts what is fresh only to drop it, and goes on
//!    serving, because destructors may wait for anything. The worker that sees no live fiber anywhere
//!    announces it, and every worker takes its last turn.
//! 3. *Destructors.* Each worker drops its async tasks, on its own stack.
//! 4. *Blocking closures.* Each worker waits for those of tokio's calls that were made on it, and the
//!    last one for the pool of `unblock`.
//! 5. *Join.* The threads of the workers end, but for those that own a retired fiber.
//!
//! The workers know no deadline: they take the time that it takes. Whoever ends the runtime waits for all
//! of it until one point in time, and then says what is left.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Instant;

use parking_lot::Mutex;

use super::shared::Shared;
use super::worker::Worker;
use crate::block_on::block_on_until;
use crate::driver::{AsyncTasks, BlockingPool, Driver};
use crate::fiber::{Header, Identity};
use crate::shim::{AtomicU8, Ordering, fence};
use crate::unfinished::{Parts, Unfinished, UnfinishedFiber};

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const OVER: u8 = 2;

pub(super) struct Shutdown {
    phase: AtomicU8,
    exit: Mutex<Exit>,
}

struct Exit {
    /// Ended by the last worker: whoever waits for the end may be in an async context.
    pool: Option<BlockingPool>,
    stages: Box<[Stage]>,
    retired: Vec<Identity>,
    waiting: Option<Waker>,
}

/// How far a worker is.
enum Stage {
    /// Phases 1 and 2, and all that comes before.
    Fibers,
    /// Phase 3: those behind the one that is being dropped.
    Tasks(AsyncTasks),
    Closures,
    Gone,
    /// It has ended, but owns a retired fiber, and so its thread stays.
    Kept,
}

impl Exit {
    fn workers_left(&self) -> usize {
        let is_left = |stage: &&Stage| !matches!(stage, Stage::Gone | Stage::Kept);
        self.stages.iter().filter(is_left).count()
    }
}

impl Shutdown {
    pub(super) fn new(workers: usize, pool: BlockingPool) -> Shutdown {
        Shutdown {
            phase: AtomicU8::new(OPEN),
            exit: Mutex::new(Exit {
                pool: Some(pool),
                stages: (0..workers).map(|_| Stage::Fibers).collect(),
                retired: Vec::new(),
                waiting: None,
            }),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        // SeqCst with `close` and `Shared::spawn_outside`; on x86_64 a plain load.
        self.phase.load(Ordering::SeqCst) != OPEN
    }

    /// A worker begins phase 3.
    pub(super) fn dropping_tasks(&self, worker: usize, tasks: AsyncTasks) {
        if tasks.alive() > 0 {
            self.exit.lock().stages[worker] = Stage::Tasks(tasks);
        } else {
            self.tasks_gone(worker);
        }
    }

    /// A worker begins phase 4.
    pub(super) fn tasks_gone(&self, worker: usize) {
        let tasks = std::mem::replace(&mut self.exit.lock().stages[worker], Stage::Closures);
        drop(tasks);
    }

    /// A worker is through. `keep`: its thread stays.
    pub(super) fn worker_gone(&self, worker: usize, keep: bool) {
        let mut exit = self.exit.lock();
        if exit.workers_left() == 1
            && let Some(pool) = exit.pool.take()
        {
            drop(exit);
            pool.shut_down();
            exit = self.exit.lock();
        }
        let gone = if keep { Stage::Kept } else { Stage::Gone };
        let stage = std::mem::replace(&mut exit.stages[worker], gone);
        let waiting = match exit.workers_left() {
            0 => exit.waiting.take(),
            _ => None,
        };
        drop(exit);
        drop(stage);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

impl Shared {
    /// Closes the runtime: its fibers unwind, its workers end.
    pub(crate) fn close(&self) {
        // SeqCst with `is_closed`.
        self.shutdown.phase.store(CLOSED, Ordering::SeqCst);
        self.records.close();
        self.wake_all();
    }

    /// Waits for the workers of a closed runtime to end, until `deadline`.
    ///
    /// # Errors
    /// What did not end.
    #[track_caller]
    pub(crate) fn wait_closed(&self, deadline: Instant) -> Result<(), Unfinished> {
        let gone = poll_fn(|cx| {
            let mut exit = self.shutdown.exit.lock();
            if exit.workers_left() == 0 {
                return Poll::Ready(());
            }
            exit.waiting = Some(cx.waker().clone());
            Poll::Pending
        });
        // In time or not: what is left is what counts, and a retired fiber always is.
        let _ = block_on_until(gone, Some(deadline));
        match self.unfinished() {
            Some(parts) => Err(Unfinished::new(parts)),
            None => Ok(()),
        }
    }

    fn unfinished(&self) -> Option<Parts> {
        let mut parts = Parts::default();
        let exit = self.shutdown.exit.lock();
        for (worker, stage) in exit.stages.iter().enumerate() {
            parts.workers += usize::from(!matches!(stage, Stage::Gone));
            match stage {
                Stage::Tasks(tasks) => parts.async_tasks += tasks.alive() + 1,
                Stage::Closures => parts.closures += self.workers[worker].blocking.alive(),
                Stage::Fibers => parts.stuck.push(worker),
                Stage::Gone | Stage::Kept => {}
            }
        }
        if parts.workers == 0 {
            return None;
        }
        let retired = exit.retired.clone();
        drop(exit);
        let (fibers, silent) = self.left_over();
        parts.stuck.retain(|worker| silent.contains(worker));
        parts.unnamed = (self.live() as usize).saturating_sub(fibers.len());
        parts.fibers = fibers;
        let retired = retired.into_iter();
        parts
            .fibers
            .extend(retired.map(|fiber| UnfinishedFiber::new(fiber, true)));
        parts.closures += self.blocking.running();
        Some(parts)
    }

    /// Gives up on workers that could not be started.
    pub(crate) fn abandon(&self) {
        self.shutdown.phase.store(OVER, Ordering::SeqCst);
        self.records.close();
        self.wake_all();
        let pool = self.shutdown.exit.lock().pool.take();
        drop(pool);
    }

    /// Whether the calling thread runs a blocking closure of this runtime, of `unblock` or of tokio's
    /// own calls.
    pub(crate) fn is_in_closure(&self) -> bool {
        let pools = self.workers.iter().map(|worker| &worker.blocking);
        let mut pools = pools.chain([self.blocking.threads()]);
        pools.any(|threads| threads.is_current())
    }
}

impl Worker {
    /// A turn of a closed runtime: tells the fibers to unwind. True: no fiber is left anywhere.
    pub(super) fn drain(&self) -> bool {
        if self.shared.shutdown.phase.load(Ordering::SeqCst) == OVER {
            self.forget_told();
            return true;
        }
        if !self.draining.replace(true) {
            self.tidy_at.set(None);
            self.tell_bound();
            for fiber in self.bound.borrow().iter() {
                // SAFETY: bound fibers are live.
                let header = unsafe { fiber.header() };
                if !header.is_sheltered() && header.cancel() {
                    self.queues.push_ready(*fiber);
                }
            }
        }
        if !self.queues.is_empty() {
            return false;
        }
        // Two workers may end their last fibers at the same time: with this fence between its own
        // last count and its look at the others', at least one of them sees that all is over.
        fence(Ordering::SeqCst);
        if self.shared.live() > 0 {
            return false;
        }
        self.shared.shutdown.phase.store(OVER, Ordering::SeqCst);
        self.shared.wake_all();
        self.forget_told();
        true
    }

    /// A fiber of this worker's was ended without being unwound, and its stack is retired: this thread
    /// never ends (S7), and the shutdown says why. It does not count as live any more.
    pub(super) fn retire(&self, fiber: &Header) {
        self.has_retired.set(true);
        let identity = fiber.identity();
        self.shared.shutdown.exit.lock().retired.push(identity);
    }

    /// Phases 3 and 4, but for the pool. After the last turn, in thread state worker (S10): destructors
    /// of async tasks run here.
    pub(super) fn drop_tasks(&self, driver: Driver) {
        let shutdown = &self.shared.shutdown;
        shutdown.dropping_tasks(self.index, driver.tasks());
        let (shared, index) = (Arc::clone(&self.shared), self.index);
        driver.shut_down(move || shared.shutdown.tasks_gone(index));
    }

    /// The rest. Returns if this thread may end.
    pub(super) fn leave(&self) {
        let keep = self.has_retired.get();
        self.shared.shutdown.worker_gone(self.index, keep);
        if keep {
            loop {
                // S7: what a retired fiber's frames point to stays, this thread's locals included.
                std::thread::park();
            }
        }
    }
}

#[cfg(all(test, not(sisal_loom)))]
impl Shared {
    /// The calling fiber counts as retired, although it goes on.
    pub(crate) fn pretend_retired(&self) {
        let worker = self.local_worker().expect("in a fiber of this runtime");
        let fiber = worker.context.fiber.get().expect("in a fiber");
        // SAFETY: a running fiber is live.
        worker.retire(unsafe { fiber.header() });
    }
}
