//! Driving a wait of ours: a fiber parks, a thread blocks.
//!
//! The futures of `sync` keep their own condition and look at it whenever they are polled, so a fiber drives them by
//! a waker that does no more than make it look: nothing is allocated, nested waits included, and a wake meant for
//! another wait of the same fiber is neither eaten nor mistaken.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::block_on::{block_on, block_on_until};
use crate::current::{self, ThreadState};
use crate::fiber::Running;
use crate::park::waker;
use crate::time::{Elapsed, timer};

/// Before each operation that could wait: refuses a worker's own stack (S10), and lets the others of the worker run
/// now and then, beside a fiber that never has to wait. Gives the fiber, for [`wait_in`].
#[inline]
#[track_caller]
pub(super) fn enter(call: &str, instead: &str) -> Option<Running> {
    let fiber = current::running();
    match fiber {
        Some(running) => running.pace(),
        None => current::forbid_worker(call, instead),
    }
    fiber
}

/// [`wait`] for whoever has called [`enter`] in the same frame, and nobody's code since. The future is pinned where it is
/// made: a copy of what was just written waits for the stores.
#[inline(always)] // see `Running::suspend`
pub(super) fn wait_in<F: Future>(fiber: Option<Running>, future: Pin<&mut F>) -> F::Output {
    match fiber {
        Some(running) => drive_in_frame(running, future, Running::still),
        None => block_on(future),
    }
}

/// The same for a future that has met no other waker, and calls nobody's code in a poll that ends with a wait: the fiber need not ask where
/// it is.
#[inline(always)] // see `Running::suspend`
pub(super) fn wait_alone<F: Future>(fiber: Option<Running>, future: Pin<&mut F>) -> F::Output {
    match fiber {
        Some(running) => drive_in_frame(running, future, |running| running),
        None => block_on(future),
    }
}

/// Waits for `future`, one of `sync`'s own. `call` and `instead` are for the panic on a worker's own stack (S10).
#[track_caller]
pub(super) fn wait<F: Future>(call: &str, instead: &str, future: F) -> F::Output {
    match wait_until(call, instead, future, None) {
        Ok(output) => output,
        Err(Elapsed { .. }) => unreachable!("no deadline was set"),
    }
}

/// The same with an end: `Elapsed` if the future is pending at `deadline`.
#[track_caller]
pub(super) fn wait_until<F: Future>(
    call: &str,
    instead: &str,
    future: F,
    deadline: Option<Instant>,
) -> Result<F::Output, Elapsed> {
    match current::state() {
        ThreadState::Fiber(running) => {
            let future = pin!(future);
            match deadline {
                None => Ok(drive_in_frame(running, future, Running::still)),
                Some(deadline) => drive_until(running, future, deadline),
            }
        }
        ThreadState::Worker => current::refuse_worker(call, instead),
        ThreadState::Plain => block_on_until(future, deadline),
    }
}

#[inline(always)] // see `Running::suspend`
fn drive_in_frame<F: Future>(
    running: Running,
    future: Pin<&mut F>,
    polled: impl Fn(Running) -> Running,
) -> F::Output {
    // SAFETY: the waker is used in this frame only, for a future that is pinned and dropped in the caller's.
    let waker = unsafe { waker::in_frame(running) };
    drive(running, &waker, future, polled)
}

/// `polled` says that the caller is on its fiber's stack after a poll that ends with a wait.
#[inline(always)]
fn drive<F: Future>(
    running: Running,
    waker: &Waker,
    mut future: Pin<&mut F>,
    polled: impl Fn(Running) -> Running,
) -> F::Output {
    let mut cx = Context::from_waker(waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        polled(running).park();
    }
}

fn drive_until<F: Future>(
    running: Running,
    mut future: Pin<&mut F>,
    deadline: Instant,
) -> Result<F::Output, Elapsed> {
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
    // Counted by whoever keeps it: a timer, which comes after the place in the same poll, may call a subscriber.
    // SAFETY: the waker is used in this frame only, and clones count.
    let waker = unsafe { waker::borrowed_plain(running) };
    drive(running, &waker, pin!(either), Running::still)
}
