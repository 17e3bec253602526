//! The lock under `Mutex` and `Condvar`: a word for the fast path, a list for who waits.
//!
//! Waiters come in the order of their arrival, but a lock that is let go is free for whoever comes first: the first
//! waiter is called and tries again, in its place. After `PASSES` such disappointments it is handed the lock. So a
//! fiber that locks in a loop does not pay a switch for each round, and nobody waits for ever (the idea:
//! parking_lot's eventual fairness, counted instead of timed).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::wait_list::{Place, WaitList};
use crate::shim::{AtomicU8, Mutex as Lock, Ordering};

const LOCKED: u8 = 1;
/// Somebody is in the list: letting go is not just a store.
const WAITED_FOR: u8 = 2;

/// How often others may take the lock before the first waiter.
const PASSES: u8 = 4;

pub(super) struct RawMutex {
    /// `WAITED_FOR` is changed under the lock of `waiters`, `LOCKED` by anybody.
    state: AtomicU8,
    waiters: Lock<WaitList<Passed>>,
}

/// How often a waiter was passed over while it was the first.
struct Passed(u8);

impl RawMutex {
    pub(super) const fn new() -> RawMutex {
        RawMutex {
            state: AtomicU8::new(0),
            waiters: Lock::new(WaitList::new()),
        }
    }

    #[inline]
    pub(super) fn try_lock(&self) -> bool {
        // Acquire pairs with the Release of `unlock`: what the last owner did comes before.
        let free = |state| (state & LOCKED == 0).then_some(state | LOCKED);
        let taken =
            self.state
                .compare_exchange_weak(0, LOCKED, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok()
            || self
                .state
                .fetch_update(Ordering::Acquire, Ordering::Relaxed, free)
                .is_ok()
    }

    /// # Safety
    /// The caller owns the lock, and gives it up.
    #[inline]
    pub(super) unsafe fn unlock(&self) {
        // Release pairs with the Acquire of `try_lock`.
        let quick = self
            .state
            .compare_exchange(LOCKED, 0, Ordering::Release, Ordering::Relaxed);
        if quick.is_err() {
            self.unlock_waited_for();
        }
    }

    #[cold]
    fn unlock_waited_for(&self) {
        let mut waiters = self.waiters.lock();
        let waker = match waiters.first() {
            Some(Passed(passed)) if *passed >= PASSES => {
                // Handed over: `LOCKED` stays.
                let waker = waiters.grant_first();
                if waiters.is_empty() {
                    self.state.fetch_and(!WAITED_FOR, Ordering::Relaxed);
                }
                waker
            }
            Some(Passed(passed)) => {
                *passed += 1;
                let waker = waiters.call_first();
                // Release pairs with the Acquire of `try_lock`.
                self.state.fetch_and(!LOCKED, Ordering::Release);
                waker
            }
            None => {
                // Release as above.
                self.state.store(0, Ordering::Release);
                None
            }
        };
        drop(waiters);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for the lock.
    pub(super) fn acquire(&self) -> Acquire<'_> {
        Acquire {
            mutex: self,
            place: Place::new(Passed(0)),
            waiting: false,
        }
    }
}

/// Ready when the lock is the caller's.
pub(super) struct Acquire<'a> {
    mutex: &'a RawMutex,
    place: Place<Passed>,
    /// In the list, or granted and not taken up.
    waiting: bool,
}

impl Future for Acquire<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: nothing is moved out; the place stays where it is.
        let this = unsafe { self.get_unchecked_mut() };
        let mutex = this.mutex;
        if !this.waiting && mutex.try_lock() {
            return Poll::Ready(());
        }
        // SAFETY: pinned as part of a pinned future.
        let place = unsafe { Pin::new_unchecked(&this.place) };
        if this.waiting && place.is_granted() {
            this.waiting = false;
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        let mut waiters = mutex.waiters.lock();
        if this.waiting && place.is_granted() {
            drop(waiters);
            this.waiting = false;
            return Poll::Ready(());
        }
        // Before the look at LOCKED: an owner that lets go after that look sees it, and comes here.
        mutex.state.fetch_or(WAITED_FOR, Ordering::Relaxed);
        let ready = mutex.try_lock();
        let old: Option<Waker> = if ready {
            // SAFETY: it was used with this list only.
            let old = unsafe { waiters.remove(place) };
            if waiters.is_empty() {
                mutex.state.fetch_and(!WAITED_FOR, Ordering::Relaxed);
            }
            old
        } else {
            // SAFETY: as above; `drop` takes it out before it is freed.
            unsafe { waiters.wait(place, waker) }
        };
        this.waiting = !ready;
        drop(waiters);
        drop(old);
        if ready {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        if !self.waiting {
            return;
        }
        // SAFETY: not moved any more.
        let place = unsafe { Pin::new_unchecked(&self.place) };
        let mut waiters = self.mutex.waiters.lock();
        // SAFETY: used with this list only.
        let own = unsafe { waiters.remove(place) };
        if waiters.is_empty() {
            self.mutex.state.fetch_and(!WAITED_FOR, Ordering::Relaxed);
        }
        let granted = place.is_granted();
        // It may have been called, and the lock be free: then the next is to have a look.
        let next = match !granted && self.mutex.state.load(Ordering::Relaxed) & LOCKED == 0 {
            true => waiters.call_first(),
            false => None,
        };
        drop(waiters);
        drop(own);
        if let Some(next) = next {
            next.wake();
        }
        if granted {
            // SAFETY: it was handed to this future, which does not want it any more.
            unsafe { self.mutex.unlock() }
        }
    }
}
