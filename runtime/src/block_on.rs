//! Waiting for a future: a fiber parks, a thread blocks.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use crossbeam_utils::sync::{Parker, Unparker};

use crate::current::{self, ThreadState};
use crate::fiber::{FiberRef, Running, WOKEN};
use crate::park::waker;
use crate::shim::{AtomicBool, Ordering};
use crate::time::{Elapsed, timer};

#[cfg(all(test, sisal_loom))]
#[path = "loom_nested.rs"]
mod loom_nested;

/// Runs a future to its end on the calling fiber or thread, and returns its output.
///
/// In a fiber the fiber is parked while the future is pending and its worker runs others; the
/// future finds its worker's tokio runtime current, so tokio's own network, time, `spawn` and
/// every library over them work. On a plain thread the thread blocks, and a future that needs
/// tokio needs a runtime entered there by the caller.
///
/// Calls nest: a future may call blocking code that calls `block_on` again.
///
/// # Panics
/// On a worker's own stack (an async task spawned from a fiber, a waker, a destructor at
/// shutdown): `.await` the future there. A panic of the future goes on into the caller.
///
/// # Cancellation
/// Each wait is a suspension point: if the runtime shuts down the fiber unwinds from here, and the
/// future is dropped.
///
/// ```
/// sisal::run(|| {
///     let (tx, rx) = futures::channel::oneshot::channel();
///     sisal::fiber::spawn(move || tx.send(7)).join().unwrap().unwrap();
///     assert_eq!(sisal::block_on(rx), Ok(7));
/// });
/// ```
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    let future = pin!(future);
    match current::state() {
        ThreadState::Fiber(running) => on_fiber(running, future),
        ThreadState::Worker => current::refuse_worker("block_on", "`.await` the future instead"),
        ThreadState::Plain => match on_thread(future, None) {
            Ok(output) => output,
            Err(Elapsed { .. }) => unreachable!("no deadline was set"),
        },
    }
}

/// [`block_on`] with an end: the output, or `Elapsed` if the future is pending at `deadline`.
#[track_caller]
pub(crate) fn block_on_until<F: Future>(
    future: F,
    deadline: Option<Instant>,
) -> Result<F::Output, Elapsed> {
    let Some(deadline) = deadline else {
        return Ok(block_on(future));
    };
    let mut future = pin!(future);
    match current::state() {
        ThreadState::Fiber(running) => {
            // The timer is made only when the future does have to wait.
            let mut sleep = pin!(None);
            let either = std::future::poll_fn(|cx| {
                if let Poll::Ready(output) = future.as_mut().poll(cx) {
                    return Poll::Ready(Ok(output));
                }
                if sleep.is_none() {
                    sleep.set(Some(timer::sleep_until(deadline)));
                }
                match sleep.as_mut().as_pin_mut() {
                    Some(sleep) => sleep.poll(cx).map(|()| Err(Elapsed::new())),
                    None => Poll::Pending,
                }
            });
            on_fiber(running, pin!(either))
        }
        ThreadState::Worker => current::refuse_worker("block_on", "`.await` the future instead"),
        ThreadState::Plain => on_thread(future, Some(deadline)),
    }
}

fn on_fiber<F: Future>(running: Running, future: Pin<&mut F>) -> F::Output {
    struct Leave<'a>(&'a std::cell::Cell<u32>);
    impl Drop for Leave<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }
    running.pace();
    let depth = &running.header().depth;
    let outermost = depth.get() == 0;
    depth.set(depth.get() + 1);
    let _leave = Leave(depth);
    if outermost {
        // SAFETY: the waker is used in this frame only, and clones count.
        let waker = unsafe { waker::borrowed_poll_again(running) };
        let header = running.header();
        drive(running, future, &waker, |clear| match clear {
            true => header.take(WOKEN),
            false => header.has(WOKEN),
        })
    } else {
        // Inside a `poll` of an outer `block_on`, whose bit must not be used. Rare: allocated.
        let nested = Arc::new(Nested::new(running.count()));
        let waker = Waker::from(Arc::clone(&nested));
        drive(running, future, &waker, |clear| match clear {
            true => nested.take(),
            false => nested.is_woken(),
        })
    }
}

/// Polls until ready. `woken(true)` clears this wait's own notified bit before a poll,
/// `woken(false)` looks at it.
fn drive<F: Future>(
    running: Running,
    mut future: Pin<&mut F>,
    waker: &Waker,
    woken: impl Fn(bool) -> bool,
) -> F::Output {
    let mut cx = Context::from_waker(waker);
    loop {
        woken(true);
        let polled = future.as_mut().poll(&mut cx);
        running.still();
        if let Poll::Ready(output) = polled {
            return output;
        }
        if woken(false) {
            // It woke itself: that is how a future yields.
            running.yield_now();
        }
        while !woken(false) {
            running.park();
        }
    }
}

/// The notified bit of a `block_on` inside another.
struct Nested {
    woken: AtomicBool,
    fiber: FiberRef,
}

impl Nested {
    fn new(fiber: FiberRef) -> Nested {
        // The first poll is owed.
        let woken = AtomicBool::new(true);
        Nested { woken, fiber }
    }

    /// Clears the bit, before a poll. Whether it was set.
    fn take(&self) -> bool {
        // Acquire pairs with the Release in `wake_by_ref`. A swap, not a store: a wake that comes at
        // the same time is either seen by this poll or leaves the bit for the next.
        self.woken.swap(false, Ordering::Acquire)
    }

    fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Relaxed)
    }
}

impl Wake for Nested {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release pairs with the Acquire in `take`; `FiberRef::wake` orders it before the
        // look that the fiber takes when it is run. A swap, not a store: a store would hide what an
        // earlier waker did from the poll that takes both bits at once.
        self.woken.swap(true, Ordering::Release);
        self.fiber.wake(0);
    }
}

fn on_thread<F: Future>(
    mut future: Pin<&mut F>,
    deadline: Option<Instant>,
) -> Result<F::Output, Elapsed> {
    struct Thread(Unparker);
    impl Wake for Thread {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
        fn wake_by_ref(self: &Arc<Self>) {
            self.0.unpark();
        }
    }
    let parker = Parker::new();
    let waker = Waker::from(Arc::new(Thread(parker.unparker().clone())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Ok(output);
        }
        match deadline {
            None => parker.park(),
            Some(deadline) if Instant::now() >= deadline => return Err(Elapsed::new()),
            Some(deadline) => parker.park_deadline(deadline),
        }
    }
}
