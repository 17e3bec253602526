//! A worker, as others can ask it what it runs.

use std::cell::UnsafeCell;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::request::Request;
use super::signal::{self, Thread};
use crate::fiber::{FiberRef, Identity};
use crate::shim::{AtomicU64, Ordering};
use crate::walk::{Link, Registers};

/// How long the asker waits for an answer. A thread that runs answers within microseconds; one that has the signal
/// blocked, or is in the kernel for good, never does.
const PATIENCE: Duration = Duration::from_millis(100);

/// Bytes of a stack that are copied, from its innermost frame.
const COPY: usize = 64 * 1024;

pub(crate) struct Probe {
    /// Switches to a fiber and back, counted by the worker if it is watched: odd means in a fiber.
    turns: AtomicU64,
    /// The worker's thread while it lives; locked by whoever asks, for as long as that takes.
    thread: Mutex<Option<Thread>>,
    request: Request,
    /// By the states of `request`.
    answer: UnsafeCell<Answer>,
}

// SAFETY: `answer` is one side's at a time: `Request` says whose. What is in it may be sent: a counted fiber (S2), numbers and
// bytes.
unsafe impl Sync for Probe {}
// SAFETY: as above.
unsafe impl Send for Probe {}

/// What a worker was found at.
#[derive(Default)]
pub(super) struct Answer {
    /// `Probe::turns` at that moment.
    pub(super) turns: u64,
    pub(super) fiber: Option<FiberRef>,
    pub(super) registers: Registers,
    /// From the stack pointer on; as long as there is room for.
    pub(super) stack: Vec<u8>,
    pub(super) copied: usize,
    /// Where that stack ends; at zero if nobody knows.
    pub(super) link: Link,
}

impl Probe {
    pub(crate) fn new() -> Probe {
        Probe {
            turns: AtomicU64::new(0),
            thread: Mutex::new(None),
            request: Request::new(),
            answer: UnsafeCell::new(Answer::default()),
        }
    }

    /// The worker, before it runs anything.
    pub(crate) fn attach(&self, watched: bool) {
        if watched {
            signal::unblock();
        }
        *self.thread.lock() = Some(Thread::current());
    }

    /// The worker, after it ran everything. From here on nobody sends it a signal.
    pub(crate) fn detach(&self) {
        *self.thread.lock() = None;
    }

    /// The worker, if it is watched: goes to a fiber, or is back. (The only writer: no read-modify-write.)
    #[inline]
    pub(crate) fn turned(&self) {
        let turns = self.turns.load(Ordering::Relaxed);
        self.turns.store(turns + 1, Ordering::Relaxed);
    }

    /// See the field. Relaxed: a hint, which `ask` confirms.
    pub(super) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// The fiber that the worker is running at this moment. `None`: it runs none, or does not answer within 100 ms. Not for
    /// the worker itself.
    pub(crate) fn running_fiber(&self) -> Option<Identity> {
        let fiber = self.ask(false)?.fiber?;
        Some(fiber.identity())
    }

    /// What the worker is at; with a copy of its stack. `None`: it has no thread, or does not answer.
    pub(super) fn ask(&self, copy: bool) -> Option<Answer> {
        let thread = self.thread.lock();
        let asked = (*thread)?;
        signal::install().ok()?;
        let room = if copy { COPY } else { 0 };
        {
            // SAFETY: `IDLE`: the memory is the asker's, and the lock makes this the only one.
            let answer = unsafe { &mut *self.answer.get() };
            answer.stack = vec![0; room];
        }
        self.request.ask();
        asked.signal();
        let start = Instant::now();
        while !self.request.take_answer() {
            if start.elapsed() > PATIENCE && self.request.withdraw() {
                return None;
            }
            // Not a wake: the handler would need a system call for it.
            std::thread::sleep(Duration::from_micros(100));
        }
        // SAFETY: the answer was taken: the memory is the asker's.
        Some(std::mem::take(unsafe { &mut *self.answer.get() }))
    }

    /// The worker's signal handler: answers by `fill`, if it was asked.
    pub(super) fn answer(&self, fill: impl FnOnce(&mut Answer)) {
        if self.request.take() {
            // SAFETY: `TAKEN`: the memory is the handler's.
            let answer = unsafe { &mut *self.answer.get() };
            answer.turns = self.turns();
            fill(answer);
            self.request.answer();
        }
    }
}
