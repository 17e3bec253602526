//! Models of the fiber that parked last. Protocol: README.md of this folder, "The last to park".
//!
//! Left out: what `loom_worker.rs` leaves out.

use std::sync::{Arc, Mutex};

use loom::sync::atomic::AtomicBool;

use super::loom_worker::{end, start_made};
use super::{Deque, Worker};
use crate::fiber::{FiberPtr, FiberRef, Running, TOKEN};
use crate::loom_support::{explore, fiber, runtime};
use crate::sched::Shared;
use crate::shim::Ordering;

/// What the fibers of a model know: the one that waits, and their worker.
#[derive(Clone, Default)]
struct Known(Arc<Mutex<(Option<FiberPtr>, usize)>>);

impl Known {
    fn waiter(&self) -> FiberPtr {
        self.0.lock().unwrap().0.expect("made first")
    }

    /// # Safety
    /// On that worker's thread, during its turn.
    unsafe fn worker<'a>(&self) -> &'a Worker {
        // SAFETY: a worker outlives its turns.
        unsafe { &*(self.0.lock().unwrap().1 as *const Worker) }
    }
}

/// Runs `waiter`, which parks, and after it `waker`, on one worker. The handle is the first one's.
fn two(
    shared: &Arc<Shared>,
    deque: Deque<FiberPtr>,
    waiter: impl Fn(Running) + Send + 'static,
    waker: impl Fn(&Worker, FiberPtr) + Send + 'static,
) -> (FiberRef, loom::thread::JoinHandle<()>) {
    let known = Known::default();
    let (first, handle) = fiber(shared.clone(), {
        let known = known.clone();
        // SAFETY: on the fiber's own stack.
        move || waiter(unsafe { Running::new(known.waiter()) })
    });
    known.0.lock().unwrap().0 = Some(first);
    let (second, _) = fiber(shared.clone(), {
        let known = known.clone();
        // SAFETY: on a fiber of that worker's.
        move || waker(unsafe { known.worker() }, known.waiter())
    });
    shared.outside.spawned.fetch_add(2, Ordering::SeqCst);
    let made = move |worker: &Worker| {
        known.0.lock().unwrap().1 = std::ptr::from_ref(worker) as usize;
        // The newest is the first.
        worker.queues.push_local(second);
        worker.queues.push_local(first);
    };
    (handle, start_made(shared, 0, deque, made, |_| ()))
}

/// Waits for the fiber's end: a runtime that closes would cancel it.
fn done(handle: &FiberRef) {
    while !handle.is_done() {
        loom::thread::yield_now();
    }
}

/// Its own worker calls for it, and another thread; each has left something that it waits for.
#[test]
fn loom_park_a_call_here_against_one_from_elsewhere() {
    explore(500, || {
        let (shared, mut deques) = runtime(1);
        let condition = Arc::new(AtomicBool::new(false));
        let holds = Arc::clone(&condition);
        let (handle, worker) = two(
            &shared,
            deques.pop().unwrap(),
            move |running| {
                let mut token = false;
                // Acquire pairs with the Release below.
                while !token || !holds.load(Ordering::Acquire) {
                    running.park();
                    token |= running.header().take(TOKEN);
                }
            },
            |worker, waiter| assert!(worker.wake(waiter, TOKEN)),
        );
        // Release pairs with the Acquire above.
        condition.store(true, Ordering::Release);
        handle.wake(0);
        done(&handle);
        end(&shared, vec![worker]);
        assert_eq!(shared.live(), 0);
    });
}

/// Both leave the same token, and each waits until the first was taken.
#[test]
fn loom_park_two_tokens() {
    explore(500, || {
        let (shared, mut deques) = runtime(1);
        let taken = Arc::new(AtomicBool::new(false));
        let once = Arc::clone(&taken);
        let (handle, worker) = two(
            &shared,
            deques.pop().unwrap(),
            move |running| {
                let wait = || {
                    while !running.header().take(TOKEN) {
                        running.park();
                    }
                };
                wait();
                // Release pairs with the Acquire below.
                once.store(true, Ordering::Release);
                wait();
            },
            |worker, waiter| assert!(worker.wake(waiter, TOKEN)),
        );
        // Acquire pairs with the Release above.
        while !taken.load(Ordering::Acquire) {
            loom::thread::yield_now();
        }
        handle.wake(TOKEN);
        done(&handle);
        end(&shared, vec![worker]);
        assert_eq!(shared.live(), 0);
    });
}
