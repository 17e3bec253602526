//! Futures that are polled too often, and wakers that panic: nothing is lost, and nothing is used that is gone.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use common::text;
use sisal::sync::{Mutex, RwLock, Semaphore, mpmc, mpsc};

fn poll<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

/// Polled, served, and polled twice again; then dropped, and the channel is used.
fn polled_again<F: Future<Output: std::fmt::Debug>>(future: F, serve: impl Fn()) {
    let mut future = Box::pin(future);
    let waker = Waker::noop();
    assert!(poll(future.as_mut(), waker).is_pending());
    serve();
    assert!(poll(future.as_mut(), waker).is_ready());
    for _ in 0..2 {
        let again = catch_unwind(AssertUnwindSafe(|| poll(future.as_mut(), waker)));
        assert_eq!(text(&*again.unwrap_err()), "polled after it was ready");
    }
    drop(future);
}

#[test]
fn a_future_of_a_channel_that_is_polled_after_it_was_ready() {
    let (tx, rx) = mpsc::channel();
    polled_again(rx.recv_async(), || tx.send(1).unwrap());
    tx.send(2).unwrap();
    assert_eq!(rx.recv(), Ok(2));

    let (tx, rx) = mpmc::channel();
    polled_again(rx.recv_async(), || tx.send(1).unwrap());
    tx.send(2).unwrap();
    assert_eq!(rx.recv(), Ok(2));

    let (tx, rx) = mpsc::sync_channel(1);
    tx.send(1).unwrap();
    polled_again(tx.send_async(2), || assert_eq!(rx.recv(), Ok(1)));
    assert_eq!(rx.recv(), Ok(2));
    tx.send(3).unwrap();
    assert_eq!(rx.recv(), Ok(3));
}

/// Panics when it is woken, or when it goes.
struct Bad {
    woken: AtomicBool,
    dropped: AtomicBool,
}

impl Bad {
    fn waker(woken: bool, dropped: bool) -> (Arc<Bad>, Waker) {
        let bad = Arc::new(Bad {
            woken: AtomicBool::new(woken),
            dropped: AtomicBool::new(dropped),
        });
        (bad.clone(), Waker::from(bad))
    }
}

impl Wake for Bad {
    fn wake(self: Arc<Self>) {
        assert!(!self.woken.load(Ordering::Relaxed), "woken");
    }
}

impl Drop for Bad {
    fn drop(&mut self) {
        assert!(!*self.dropped.get_mut(), "dropped");
    }
}

/// The last reference to the waker is the waiter's, which goes as the waiter gets what it waits for.
#[test]
fn a_waker_that_panics_as_it_goes() {
    let mutex = Mutex::new(1);
    let guard = mutex.lock().unwrap();
    let (mut first, mut second) = (pin!(mutex.lock_async()), pin!(mutex.lock_async()));
    assert!(poll(first.as_mut(), Waker::noop()).is_pending());
    let (bad, waker) = Bad::waker(false, true);
    drop(bad);
    assert!(poll(second.as_mut(), &waker).is_pending());
    drop(waker);
    // The first is called; the second looks before it.
    drop(guard);
    match poll(second, Waker::noop()) {
        Poll::Ready(guard) => assert_eq!(*guard.unwrap(), 1),
        Poll::Pending => panic!("the lock is free"),
    }
    assert!(poll(first, Waker::noop()).is_ready());
    assert!(mutex.try_lock().is_ok());

    let lock = RwLock::new(1);
    let guard = lock.write().unwrap();
    let mut waits = Box::pin(lock.read_async());
    let (bad, waker) = Bad::waker(false, true);
    drop(bad);
    assert!(poll(waits.as_mut(), &waker).is_pending());
    drop(waker);
    // It gives up.
    drop(waits);
    drop(guard);
    assert!(lock.try_write().is_ok());
}

/// What was taken before the waker of the next was called is not lost with its panic.
#[test]
fn a_waker_that_panics_as_it_is_woken() {
    let (tx, rx) = mpsc::sync_channel(1);
    tx.send(1).unwrap();
    let mut sends = pin!(tx.send_async(2));
    let (_bad, waker) = Bad::waker(true, false);
    assert!(poll(sends.as_mut(), &waker).is_pending());
    let panicked = catch_unwind(AssertUnwindSafe(|| rx.recv())).unwrap_err();
    assert_eq!(text(&*panicked), "woken");
    assert_eq!(poll(sends, Waker::noop()), Poll::Ready(Ok(())));
    assert_eq!([rx.recv(), rx.recv()], [Ok(1), Ok(2)]);

    let semaphore = Semaphore::new(0);
    let mut first = Box::pin(semaphore.acquire_async());
    let mut second = Box::pin(semaphore.acquire_async());
    let (_bad, waker) = Bad::waker(true, false);
    assert!(poll(first.as_mut(), Waker::noop()).is_pending());
    assert!(poll(second.as_mut(), &waker).is_pending());
    semaphore.add_permits(1);
    let _ = catch_unwind(AssertUnwindSafe(|| {
        semaphore.add_permits(1);
        poll(first.as_mut(), Waker::noop()).map(drop)
    }));
    drop((first, second));
    assert_eq!(semaphore.available_permits(), 2);
}
