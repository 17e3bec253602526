//! Models of the join cell: a handle that watches, takes or goes away, against the end of its fiber.
//!
//! Protocol: `sched/README.md`, "Join cell". The fiber ends by `refuse_fresh`, which goes the same way as
//! a body that returned (`body::end`), on any stack.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::task::{RawWaker, RawWakerVTable, Waker};

use crate::loom_support::cell::UnsafeCell;
use crate::loom_support::sync::atomic::{AtomicUsize, Ordering};
use crate::loom_support::thread::{self, Thread};

use super::body::refuse_fresh;
use super::record::{FiberPtr, FiberRef};
use super::schedule::Schedule;
use crate::error::JoinError;
use crate::loom_support::{explore, fiber, no_panic};

/// Data that loom watches, written by one side and read by the other, and a count of events.
struct Watched {
    data: UnsafeCell<u32>,
    count: AtomicUsize,
}

// SAFETY: loom checks every access of the cell.
unsafe impl Send for Watched {}
// SAFETY: as above.
unsafe impl Sync for Watched {}

impl Watched {
    fn new() -> Arc<Watched> {
        Arc::new(Watched {
            data: UnsafeCell::new(0),
            count: AtomicUsize::new(0),
        })
    }

    fn write(&self) {
        // SAFETY: loom checks the access.
        self.data.with_mut(|data| unsafe { *data = 1 });
    }

    fn read(&self) -> u32 {
        // SAFETY: loom checks the access.
        self.data.with(|data| unsafe { *data })
    }

    fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// What the closure holds: its drop, by the ending fiber, is what the joiner must see.
struct Content(Arc<Watched>);

impl Drop for Content {
    fn drop(&mut self) {
        no_panic(|| {
            self.0.write();
            self.0.add();
        });
    }
}

/// The result, a panic's payload: made by the ending fiber, dropped by it or by the joiner.
struct Payload(Arc<Watched>);

impl Payload {
    fn new(watched: &Arc<Watched>) -> Payload {
        watched.write();
        Payload(Arc::clone(watched))
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        no_panic(|| {
            self.0.write();
            self.0.add();
        });
    }
}

/// A joiner's waker. Whoever wakes it reads what its clone, in the record's slot, wrote when it was made
/// there.
struct Joiner {
    made: Arc<Watched>,
    thread: Thread,
}

static JOINER: RawWakerVTable = RawWakerVTable::new(
    |raw| {
        // SAFETY: every such pointer is of an `Arc<Joiner>` that it counts.
        let joiner = unsafe { ManuallyDrop::new(Arc::from_raw(raw.cast::<Joiner>())) };
        joiner.made.write();
        RawWaker::new(Arc::into_raw(Arc::clone(&joiner)).cast(), &JOINER)
    },
    |raw| {
        // SAFETY: as above; the count is given up.
        let joiner = unsafe { Arc::from_raw(raw.cast::<Joiner>()) };
        no_panic(|| {
            assert_eq!(joiner.made.read(), 1);
            joiner.made.add();
            joiner.thread.unpark();
        });
    },
    |_| unreachable!("a join waker is consumed"),
    // SAFETY: as above; the count is given up.
    |raw| drop(unsafe { Arc::from_raw(raw.cast::<Joiner>()) }),
);

impl Joiner {
    fn waker(made: Arc<Watched>) -> Waker {
        let thread = thread::current();
        let raw = Arc::into_raw(Arc::new(Joiner { made, thread }));
        // SAFETY: the table counts as an `Arc` does.
        unsafe { Waker::from_raw(RawWaker::new(raw.cast(), &JOINER)) }
    }
}

/// A runtime, owned by the record alone: it goes when the record is freed, and that must come after
/// what either holder did.
struct Runtime {
    holders: [UnsafeCell<u32>; 2],
    result: Arc<Watched>,
    freed: Arc<Watched>,
}

// SAFETY: loom checks every access of the cells.
unsafe impl Send for Runtime {}
// SAFETY: as above.
unsafe impl Sync for Runtime {}

impl Schedule for Runtime {
    fn schedule(&self, _: FiberPtr) {
        unreachable!("the fiber never parks");
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        for holder in &self.holders {
            // SAFETY: loom checks the access.
            no_panic(|| holder.with_mut(|data| unsafe { *data += 1 }));
        }
        let dropped = self.result.count();
        no_panic(|| assert_eq!(dropped, 1, "the result goes before the record"));
        self.freed.add();
    }
}

/// The join handle, as its thread sees it.
struct Handle {
    fiber: FiberRef,
    content: Arc<Watched>,
    wakers: [Arc<Watched>; 2],
    /// For the look at `Runtime::holders`; the record keeps it.
    runtime: *const Runtime,
}

// SAFETY: the pointer is used while the handle's reference keeps the record.
unsafe impl Send for Handle {}

impl Handle {
    /// What `JoinHandle::poll` does, with the first or second waker. True: the result is taken.
    fn poll(&self, waker: usize) -> bool {
        let waker = Joiner::waker(Arc::clone(&self.wakers[waker]));
        // SAFETY: the only handle, and the only call; the result type is `()`.
        unsafe {
            if !self.fiber.is_done() && self.fiber.watch(&waker) {
                return false;
            }
            let result = self.fiber.take_result::<()>();
            assert!(result.expect("not taken yet").unwrap_err().is_panic());
        }
        assert_eq!(self.content.read(), 1, "what the fiber did is seen");
        true
    }

    /// Polls with that waker until the result is there.
    fn wait(&self, waker: usize) {
        while !self.poll(waker) {
            thread::park();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: see the fields; loom checks the access.
        unsafe { &*self.runtime }.holders[1].with_mut(|data| unsafe { *data += 1 });
    }
}

/// The fiber ends on this thread while `handle` runs on another.
fn model(least: u64, handle: fn(Handle)) {
    explore(least, move || {
        let (content, freed, result) = (Watched::new(), Watched::new(), Watched::new());
        let wakers = [Watched::new(), Watched::new()];
        let runtime = Arc::new(Runtime {
            holders: [UnsafeCell::new(0), UnsafeCell::new(0)],
            result: Arc::clone(&result),
            freed: Arc::clone(&freed),
        });
        let runtime_ptr = Arc::as_ptr(&runtime);
        let held = Content(Arc::clone(&content));
        let (own, counted) = fiber(runtime, move || drop(held));
        let held_by_joiner = Handle {
            fiber: counted,
            content: Arc::clone(&content),
            wakers: wakers.clone(),
            runtime: runtime_ptr,
        };
        let joiner = thread::spawn(move || handle(held_by_joiner));
        // SAFETY: the fiber's own reference keeps the record; loom checks the access.
        unsafe { &*runtime_ptr }.holders[0].with_mut(|data| unsafe { *data += 1 });
        let payload = Box::new(Payload::new(&result));
        // SAFETY: the only right to start the fiber; its own reference is given up inside.
        unsafe { refuse_fresh(own, |fiber| JoinError::panic(fiber, payload)) };
        joiner.join().unwrap();
        assert_eq!(content.count(), 1, "the closure is dropped once");
        assert_eq!(result.count(), 1, "the result is dropped once");
        assert_eq!(freed.count(), 1, "the record is freed once");
        for waker in wakers {
            assert!(waker.count() <= 1, "a waker is woken once");
            assert_eq!(Arc::strong_count(&waker), 1, "and does not stay behind");
        }
    });
}

/// A handle that waits: the end sees its waker, or it sees the end.
#[test]
fn loom_join_wait() {
    model(20, |handle| handle.wait(0));
}

/// A handle that moves to another waker while the fiber ends.
#[test]
fn loom_join_new_waker() {
    model(50, |handle| {
        if !handle.poll(0) {
            handle.wait(1);
        }
    });
}

/// A handle that goes away, with a waker left behind or without: one side drops the result.
#[test]
fn loom_join_detach() {
    model(20, |handle| {
        // SAFETY: the only handle; the result type is `()`.
        unsafe { handle.fiber.drop_handle::<()>() };
    });
    model(20, |handle| {
        if !handle.poll(0) {
            // SAFETY: as above.
            unsafe { handle.fiber.drop_handle::<()>() };
        }
    });
}
