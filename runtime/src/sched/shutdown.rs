//! The end of a runtime (S7): close, unwind every fiber on its own worker, then stop the workers.
//!
//! 1. `close`: spawns end at once, cancelled; every worker takes a turn.
//! 2. Each worker cancels its bound fibers, starts what is fresh only to drop it, and goes on
//!    serving, because destructors may wait for anything.
//! 3. The worker that sees no live fiber anywhere announces the end; every worker leaves.
//! 4. The last to leave waits for the blocking closures that have started.

use std::fmt;
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::shared::Shared;
use super::worker::Worker;
use crate::block_on::block_on_until;
use crate::driver::BlockingPool;
use crate::shim::{AtomicU8, Ordering, fence};

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
    deadline: Option<Instant>,
    workers_left: usize,
    waiting: Option<Waker>,
}

impl Shutdown {
    pub(super) fn new(workers: usize, pool: BlockingPool) -> Shutdown {
        Shutdown {
            phase: AtomicU8::new(OPEN),
            exit: Mutex::new(Exit {
                pool: Some(pool),
                deadline: None,
                workers_left: workers,
                waiting: None,
            }),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        // SeqCst with `close` and `Shared::spawn_outside`; on x86_64 a plain load.
        self.phase.load(Ordering::SeqCst) != OPEN
    }

    /// How long the rest may take.
    pub(super) fn time_left(&self) -> Duration {
        let deadline = self.exit.lock().deadline;
        deadline.map_or(Duration::ZERO, |deadline| {
            deadline.saturating_duration_since(Instant::now())
        })
    }

    /// A worker has run its last turn.
    pub(super) fn worker_gone(&self) {
        let mut exit = self.exit.lock();
        if exit.workers_left == 1
            && let Some(pool) = exit.pool.take()
        {
            drop(exit);
            pool.shut_down(self.time_left());
            exit = self.exit.lock();
        }
        exit.workers_left -= 1;
        let waiting = match exit.workers_left {
            0 => exit.waiting.take(),
            _ => None,
        };
        drop(exit);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

/// What had not ended at the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leftover {
    pub(crate) fibers: u64,
    pub(crate) workers: usize,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fibers {
            0 => write!(f, "blocking closures or async tasks")?,
            n => write!(f, "{n} fibers")?,
        }
        let workers = self.workers;
        write!(
            f,
            " did not end before the deadline; {workers} worker threads are kept"
        )
    }
}

impl Shared {
    /// Closes the runtime: its fibers unwind, its workers end, all until `deadline`.
    pub(crate) fn close(&self, deadline: Instant) {
        self.shutdown.exit.lock().deadline = Some(deadline);
        // SeqCst with `is_closed`.
        self.shutdown.phase.store(CLOSED, Ordering::SeqCst);
        self.wake_all();
    }

    /// Waits for the workers of a closed runtime to end, until `deadline`.
    ///
    /// # Errors
    /// What did not end.
    #[track_caller]
    pub(crate) fn wait_closed(&self, deadline: Instant) -> Result<(), Leftover> {
        let gone = poll_fn(|cx| {
            let mut exit = self.shutdown.exit.lock();
            if exit.workers_left == 0 {
                return Poll::Ready(());
            }
            exit.waiting = Some(cx.waker().clone());
            Poll::Pending
        });
        block_on_until(gone, Some(deadline)).map_err(|_| Leftover {
            fibers: self.live(),
            workers: self.shutdown.exit.lock().workers_left,
        })
    }

    /// Gives up on workers that could not be started.
    pub(crate) fn abandon(&self) {
        self.shutdown.phase.store(OVER, Ordering::SeqCst);
        self.wake_all();
        let pool = self.shutdown.exit.lock().pool.take();
        drop(pool);
    }
}

impl Worker {
    /// A turn of a closed runtime: tells the fibers to unwind. True: no fiber is left anywhere.
    pub(super) fn drain(&self) -> bool {
        if self.shared.shutdown.phase.load(Ordering::SeqCst) == OVER {
            return true;
        }
        if !self.draining.replace(true) {
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
        true
    }
}
