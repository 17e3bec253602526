//! Wakers and waits of plain threads, without a switch: so that Miri can run them.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::waiter::{self, Waiting};
use super::waker;
use crate::block_on::{block_on, block_on_until};
use crate::fiber::{FiberPtr, FiberRef, Running, Schedule, TOKEN, WOKEN};
use crate::loom_support::fiber;

struct Queued(AtomicUsize);

impl Schedule for Queued {
    fn schedule(&self, _: FiberPtr) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A parked fiber, both of its references, and how often it was queued.
fn parked() -> (FiberPtr, FiberRef, Arc<Queued>) {
    let queued = Arc::new(Queued(AtomicUsize::new(0)));
    let (own, handle) = fiber(queued.clone(), || ());
    assert!(!handle.park());
    (own, handle, queued)
}

/// Its references are given up; whoever still counts keeps the record.
fn forget(own: FiberPtr, handle: FiberRef) {
    drop(handle);
    // SAFETY: the fiber's own reference, which its end would give up.
    drop(unsafe { FiberRef::adopt(own) });
}

#[test]
fn a_fibers_wakers_count_and_leave_their_reason() {
    let (own, handle, queued) = parked();
    // SAFETY: nothing that the proof allows is done with it but making wakers.
    let running = unsafe { Running::new(own) };
    let (again, plain) = {
        // SAFETY: both are used in this block only.
        let (again, plain) = unsafe {
            (
                waker::borrowed_poll_again(running),
                waker::borrowed_plain(running),
            )
        };
        assert!(!again.will_wake(&plain));
        (Waker::clone(&again), Waker::clone(&plain))
    };
    plain.wake_by_ref();
    assert!(!handle.has(WOKEN | TOKEN));
    again.wake_by_ref();
    assert!(handle.has(WOKEN) && !handle.has(TOKEN));
    let copy = again.clone();
    assert!(copy.will_wake(&again));
    std::thread::spawn(move || copy.wake()).join().unwrap();
    assert_eq!(queued.0.load(Ordering::Relaxed), 1);
    // The wakers keep the record, and through it its scheduler.
    forget(own, handle);
    again.wake();
    assert_eq!(Arc::strong_count(&queued), 2);
    drop(plain.clone());
    plain.wake();
    assert_eq!(Arc::strong_count(&queued), 1);
}

/// The last reference goes while another thread uses its own.
#[test]
fn wakers_may_go_on_several_threads_at_once() {
    for _ in 0..if cfg!(miri) { 5 } else { 300 } {
        let (own, handle, queued) = parked();
        // SAFETY: nothing that the proof allows is done with it but making wakers.
        let running = unsafe { Running::new(own) };
        // SAFETY: used in the next line only.
        let borrowed = unsafe { waker::borrowed_poll_again(running) };
        let waker = Waker::clone(&borrowed);
        std::thread::scope(|s| {
            for n in 0..3 {
                let waker = waker.clone();
                s.spawn(move || match n {
                    0 => waker.wake(),
                    1 => drop(waker),
                    _ => waker.clone().wake_by_ref(),
                });
            }
            drop(waker);
            forget(own, handle);
        });
        assert_eq!(Arc::strong_count(&queued), 1, "the record is gone");
        assert_eq!(queued.0.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn a_thread_blocks_on_a_future_that_another_thread_wakes() {
    let (give, take) = mpsc::channel::<Waker>();
    let waking = std::thread::spawn(move || take.recv().unwrap().wake());
    let mut polls = 0;
    let value = block_on(poll_fn(|cx| {
        polls += 1;
        if polls == 1 {
            give.send(cx.waker().clone()).unwrap();
            return Poll::Pending;
        }
        Poll::Ready(7)
    }));
    waking.join().unwrap();
    assert_eq!((value, polls), (7, 2));
}

#[test]
fn a_thread_gives_up_at_the_deadline() {
    let never = || std::future::pending::<()>();
    let soon = Instant::now() + Duration::from_millis(5);
    assert!(block_on_until(never(), Some(soon)).is_err());
    assert!(Instant::now() >= soon);
    assert!(
        block_on_until(async { 1 }, Some(soon)).is_ok(),
        "ready is ready"
    );
    // Nested, and by its own waker.
    let inner = |cx: &mut std::task::Context<'_>| {
        let mut done = std::pin::pin!(async { block_on(async { 3 }) });
        done.as_mut().poll(cx)
    };
    assert_eq!(block_on(poll_fn(inner)), 3);
}

#[test]
fn a_thread_waits_for_a_condition() {
    let condition = Arc::new(AtomicUsize::new(0));
    let (waiting, waiter) = waiter::caller("test", "nothing");
    assert!(matches!(waiting, Waiting::Thread(_)));
    let other = std::thread::spawn({
        let condition = Arc::clone(&condition);
        move || {
            waiter.wake(); // for nothing
            // Release pairs with the Acquire below.
            condition.store(1, Ordering::Release);
            waiter.wake();
        }
    });
    waiting.until(|| condition.load(Ordering::Acquire) == 1);
    other.join().unwrap();
}
