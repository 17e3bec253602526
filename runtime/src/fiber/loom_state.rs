//! Models of the state word and of the calls that `Header` keeps beside it.
//!
//! Protocol: `sched/README.md`, "State word: wake against park".

use std::sync::{Arc, OnceLock};

use crate::loom_support::cell::UnsafeCell;
use crate::loom_support::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::loom_support::thread::{self, Thread};

use super::record::{FiberPtr, FiberRef, Header};
use super::schedule::Schedule;
use super::state::{ASKED, CANCEL, EXPIRED, State, TOKEN, WOKEN};
use crate::loom_support::{explore, fiber};

/// The stand-in for a worker: a queue with room for one fiber, and data that each side reads of the
/// other without any atomic, so that loom sees a missing ordering.
pub(crate) struct Home {
    queued: AtomicUsize,
    thread: OnceLock<Thread>,
    /// Written by the worker before the first run, read by whoever queues the fiber: as `home`.
    bound: UnsafeCell<u32>,
    /// As if in the record: read by whoever calls for the fiber.
    record: UnsafeCell<u32>,
    /// Changed by the fiber whenever it runs.
    stack: UnsafeCell<u32>,
    /// What the callers publish: by the token, by the waker.
    token_data: UnsafeCell<u32>,
    woken_data: UnsafeCell<u32>,
    condition: AtomicBool,
}

fn read(cell: &UnsafeCell<u32>) -> u32 {
    // SAFETY: loom checks the access.
    cell.with(|data| unsafe { *data })
}

// SAFETY: loom checks every access of the cells.
unsafe impl Send for Home {}
// SAFETY: as above.
unsafe impl Sync for Home {}

impl Schedule for Home {
    fn schedule(&self, _: FiberPtr) {
        // SAFETY: `notify` gave the caller the duty to queue the fiber (rule 2 of the record).
        assert_eq!(self.bound.with(|bound| unsafe { *bound }), 7);
        let before = self.queued.fetch_add(1, Ordering::Relaxed);
        assert_eq!(before, 0, "a fiber is in one queue at most, once");
        self.thread.get().expect("bound").unpark();
    }

    fn wake_here(&self, fiber: FiberPtr, reason: u32) -> bool {
        assert_eq!(read(&self.record), 0, "freed");
        let here = (self.thread.get()).is_some_and(|worker| worker.id() == thread::current().id());
        // SAFETY: whoever calls for a fiber has a live record.
        if here && unsafe { fiber.header() }.notify_here(reason) {
            self.schedule(fiber);
        }
        here
    }
}

impl Home {
    pub(crate) fn new() -> Arc<Home> {
        Arc::new(Home {
            queued: AtomicUsize::new(0),
            thread: OnceLock::new(),
            bound: UnsafeCell::new(0),
            record: UnsafeCell::new(0),
            stack: UnsafeCell::new(0),
            token_data: UnsafeCell::new(0),
            woken_data: UnsafeCell::new(0),
            condition: AtomicBool::new(false),
        })
    }

    /// Drops a reference; loom sees who still uses the record if that was the last.
    pub(crate) fn drop_last(&self, fiber: FiberRef) {
        if fiber.is_last() {
            // SAFETY: loom checks the access.
            self.record.with_mut(|record| unsafe { *record += 1 });
        }
        drop(fiber);
    }

    /// Leaves something for whoever comes later: one of two places.
    pub(crate) fn publish(&self, place: usize) {
        // SAFETY: loom checks the access.
        [&self.token_data, &self.woken_data][place].with_mut(|data| unsafe { *data += 1 });
    }

    /// What was left there.
    pub(crate) fn published(&self, place: usize) -> u32 {
        read([&self.token_data, &self.woken_data][place])
    }

    pub(crate) fn unpark(&self, fiber: &FiberRef) {
        // SAFETY: read by the fiber after it took the token.
        self.token_data.with_mut(|data| unsafe { *data += 1 });
        fiber.wake(TOKEN);
    }

    pub(crate) fn wake(&self, fiber: &FiberRef) {
        // SAFETY: read by the fiber after it took the call.
        self.woken_data.with_mut(|data| unsafe { *data += 1 });
        fiber.wake(WOKEN);
    }

    /// Reads a parked fiber's stack, as a dump does. False: it could not be held.
    pub(super) fn scan(&self, fiber: &FiberRef) -> bool {
        let held = fiber.scan(|header| {
            // SAFETY: loom checks the access.
            let before = self.stack.with(|stack| unsafe { *stack });
            assert_eq!(
                self.queued.load(Ordering::Relaxed),
                0,
                "held, and about to run"
            );
            assert!(fiber.scan(|_| ()).is_none(), "one dump at a time");
            assert!(!header.is_done());
            // SAFETY: as above.
            assert_eq!(self.stack.with(|stack| unsafe { *stack }), before);
        });
        held.is_some()
    }

    /// `JoinHandle::cancel`.
    fn cancel(&self, fiber: &FiberRef) {
        fiber.wake(CANCEL | ASKED);
    }

    /// The timer of a `timeout`.
    fn expire(&self, fiber: &FiberRef) {
        // SAFETY: read by the fiber after it has seen the bit.
        self.woken_data.with_mut(|data| unsafe { *data += 1 });
        fiber.wake(EXPIRED);
    }

    /// Makes a wait's own condition true.
    fn satisfy(&self, fiber: &FiberRef) {
        // SAFETY: read by the fiber when it has seen `condition`.
        self.woken_data.with_mut(|data| unsafe { *data += 1 });
        // Release pairs with the Acquire of the wait.
        self.condition.store(true, Ordering::Release);
        fiber.wake(0);
    }

    /// The worker: binds the fiber, then runs it to its end. `body` is what it does on its stack.
    pub(crate) fn run(&self, fiber: &FiberRef, body: impl FnOnce(&OnStack<'_>)) {
        self.thread.set(thread::current()).expect("one worker");
        // SAFETY: nobody queues a fresh fiber.
        self.bound.with_mut(|bound| unsafe { *bound = 7 });
        let header = &**fiber;
        let fiber = OnStack { home: self, header };
        fiber.touch();
        body(&fiber);
    }
}

/// What a body may do; the switch to the worker and back is left out.
pub(crate) struct OnStack<'a> {
    pub(crate) home: &'a Home,
    pub(crate) header: &'a Header,
}

impl OnStack<'_> {
    /// Uses the stack, which nobody else does meanwhile.
    fn touch(&self) {
        // SAFETY: loom checks the access.
        self.home.stack.with_mut(|stack| unsafe { *stack += 1 });
    }

    /// `Running::park`: away from the stack, and back when somebody called.
    pub(crate) fn park(&self) {
        self.park_while(|| {});
    }

    /// The same; `others` is what others of the worker do before it looks into its queue.
    pub(crate) fn park_while(&self, others: impl FnOnce()) {
        self.touch();
        if self.header.park() {
            // The worker queues it itself. Nobody else does.
            assert_eq!(self.home.queued.load(Ordering::Relaxed), 0);
            others();
            assert_eq!(self.home.queued.load(Ordering::Relaxed), 0);
        } else {
            others();
            while self.home.queued.load(Ordering::Relaxed) == 0 {
                thread::park();
            }
            self.home.queued.fetch_sub(1, Ordering::Relaxed);
        }
        self.header.begin();
        self.touch();
    }

    /// `Running::yield_now`.
    fn yield_now(&self) {
        self.header.begin();
    }

    /// `fiber::park`, or the wait of a `block_on`.
    pub(crate) fn wait_for(&self, reason: u32) {
        while !self.header.take(reason) {
            self.park();
        }
    }
}

/// A fiber whose worker is a thread of its own, against `callers`, the first of which is this thread.
pub(super) fn model<const N: usize>(
    least: u64,
    callers: [fn(&Home, &FiberRef); N],
    body: fn(&OnStack<'_>),
) {
    against(least, FiberRef::clone, callers, move |fiber, _| body(fiber));
}

/// [`model`] with something more that all share, made for the fiber.
pub(crate) fn against<S: Send + Sync + 'static, const N: usize>(
    least: u64,
    shared: fn(&FiberRef) -> S,
    callers: [fn(&Home, &S); N],
    body: impl Fn(&OnStack<'_>, &S) + Copy + Send + Sync + 'static,
) {
    explore(least, move || {
        let home = Home::new();
        let (own, counted) = fiber(home.clone(), || ());
        let counted = Arc::new(counted);
        let shared = Arc::new(shared(&counted));
        let worker = {
            let (home, shared, fiber) = (home.clone(), shared.clone(), counted.clone());
            thread::spawn(move || home.run(&fiber, |fiber| body(fiber, &shared)))
        };
        let call = |caller: &fn(&Home, &S)| {
            let (home, shared, caller) = (home.clone(), shared.clone(), *caller);
            thread::spawn(move || caller(&home, &shared))
        };
        let others: Vec<_> = callers[1..].iter().map(call).collect();
        callers[0](&home, &shared);
        for other in others {
            other.join().unwrap();
        }
        worker.join().unwrap();
        // At most a second token is left, and then no more.
        let _ = counted.take(TOKEN);
        assert!(!counted.take(TOKEN));
        drop(shared);
        // SAFETY: the fiber's own reference, which its end would give up.
        drop(unsafe { FiberRef::adopt(own) });
    });
}

/// The waker second sees PARKED and queues, the worker second sees NOTIFIED and queues.
#[test]
fn loom_wake_against_park() {
    model(8, [Home::unpark], |fiber| {
        fiber.wait_for(TOKEN);
        assert_eq!(read(&fiber.home.token_data), 1);
    });
}

/// Calls of two kinds, by two threads: each stays until it is taken, whatever is taken first, and
/// shows what was done before it. The fiber yields in between.
#[test]
fn loom_calls_of_two_kinds() {
    model(100, [Home::unpark, Home::wake], |fiber| {
        fiber.wait_for(TOKEN);
        assert_eq!(read(&fiber.home.token_data), 1);
        fiber.yield_now();
        fiber.wait_for(WOKEN);
        assert_eq!(read(&fiber.home.woken_data), 1);
        assert!(!fiber.header.has(TOKEN | WOKEN));
    });
}

/// The fiber's worker calls for it while another thread does: it is queued once, and neither's call is lost.
#[test]
fn loom_wake_here_against_wake() {
    against(
        100,
        FiberRef::clone,
        [Home::unpark, Home::expire],
        |fiber, own| {
            fiber.park_while(|| own.wake(WOKEN));
            assert!(fiber.header.take(WOKEN));
            assert!(!fiber.header.take(WOKEN));
            fiber.wait_for(TOKEN);
            assert_eq!(read(&fiber.home.token_data), 1);
            // The second time it may be called already, by the other's call that came while it was queued.
            while !fiber.header.is_cut_short() {
                fiber.park();
            }
        },
    );
}

/// What was called for before it parked, and was not taken, is there when its worker has called for something else.
#[test]
fn loom_wake_here_keeps_calls() {
    against(8, FiberRef::clone, [Home::wake], |fiber, own| {
        fiber.wait_for(WOKEN);
        assert_eq!(read(&fiber.home.woken_data), 1);
        own.wake(TOKEN);
        // Drops the call, but not the token.
        assert!(!fiber.header.take(WOKEN));
        fiber.park_while(|| own.wake(0));
        assert!(fiber.header.take(TOKEN));
        assert!(!fiber.header.take(TOKEN));
    });
}

/// A wait with a condition of its own is neither ended nor stopped by a token that comes at the same
/// time: taking the token drops NOTIFIED, which the condition's caller may have set.
#[test]
fn loom_condition_and_token() {
    model(100, [Home::unpark, Home::satisfy], |fiber| {
        let early = fiber.header.take(TOKEN);
        // Acquire pairs with the Release in `satisfy`.
        while !fiber.home.condition.load(Ordering::Acquire) {
            fiber.park();
        }
        assert_eq!(read(&fiber.home.woken_data), 1);
        if !early {
            fiber.wait_for(TOKEN);
        }
        assert_eq!(read(&fiber.home.token_data), 1);
        assert!(!fiber.header.has(TOKEN));
    });
}

/// Tokens do not add up, wherever the first of two is when the second comes.
#[test]
fn loom_one_token() {
    model(
        20,
        [|_, fiber| (0..2).for_each(|_| fiber.wake(TOKEN))],
        |fiber| {
            fiber.wait_for(TOKEN);
        },
    );
    explore(1, || {
        let (own, fiber) = fiber(Home::new(), || ());
        fiber.wake(TOKEN);
        assert!(fiber.park());
        fiber.begin(); // moves the first to `pending`
        fiber.wake(TOKEN);
        assert!(fiber.take(TOKEN));
        assert!(!fiber.take(TOKEN));
        // SAFETY: the fiber's own reference, which its end would give up.
        drop(unsafe { FiberRef::adopt(own) });
    });
}

/// Two callers and a parked fiber: one of them queues it.
#[test]
fn loom_queued_exactly_once() {
    explore(2, || {
        let state = Arc::new(State::new());
        assert!(!state.park());
        let other = {
            let state = state.clone();
            thread::spawn(move || state.notify(TOKEN))
        };
        let (ours, theirs) = (state.notify(WOKEN), other.join().unwrap());
        assert!(ours ^ theirs, "{ours} {theirs}");
        assert_eq!(state.begin(), Some(TOKEN | WOKEN));
    });
}

/// What a fiber does at a suspension: it looks whether it was cancelled, parks, and looks again.
fn suspend(fiber: &OnStack<'_>) -> bool {
    if fiber.header.is_cut_short() {
        return true;
    }
    fiber.park();
    fiber.header.is_cut_short()
}

/// A cancel against a park, with a token that comes at the same time and is taken (which drops NOTIFIED):
/// the fiber is not left parked.
#[test]
fn loom_cancel_against_park() {
    model(100, [Home::cancel, Home::unpark], |fiber| {
        let mut cancelled = false;
        // `fiber::park`, again and again: only the cancel ends it.
        while !cancelled {
            let _ = fiber.header.take(TOKEN);
            cancelled = suspend(fiber);
        }
        // The cancel is permanent.
        assert!(fiber.header.is_cut_short());
    });
}

/// A cancel and a deadline: the deadline's bit is cleared by the fiber, which looks at its clocks after that.
#[test]
fn loom_deadline_against_cancel() {
    model(100, [Home::expire, Home::cancel], |fiber| {
        while !suspend(fiber) {}
        let state = &fiber.header.state;
        if state.has(EXPIRED) {
            state.clear_expired();
            assert_eq!(read(&fiber.home.woken_data), 1);
            // The other's bit is not lost with it.
            while !suspend(fiber) {}
        }
        assert!(state.is_cancelled());
    });
}

/// A cancel against the end: it is in time or it is not, and nobody queues a fiber that has ended.
#[test]
fn loom_cancel_against_end() {
    model(4, [Home::cancel], |fiber| {
        let _ = fiber.header.state.finish();
        assert_eq!(fiber.home.queued.load(Ordering::Relaxed), 0);
    });
}

/// A cancel of a fresh fiber against its start: it is seen before the closure is called, or at the first
/// suspension; it never queues a fiber that is in the spawner's queue already.
#[test]
fn loom_cancel_against_start() {
    model(5, [Home::cancel], |fiber| {
        // `run` has called `begin`.
        if !fiber.header.state.is_cancelled() {
            while !suspend(fiber) {}
        }
        assert!(fiber.header.state.is_cancelled());
    });
}
