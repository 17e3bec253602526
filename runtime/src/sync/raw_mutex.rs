//! The lock under `Mutex` and `Condvar`: a word for the fast path, a list for who waits.
//!
//! Waiters come in the order of their arrival, but a lock that is let go is free for whoever comes first: the first
//! waiter is called and tries again, in its place. After `PASSES` such disappointments it is handed the lock. So a
//! fiber that locks in a loop does not pay a switch for each round, and nobody waits for ever (the idea:
//! parking_lot's eventual fairness, counted instead of timed). With `n` before it in the list a waiter sees at most
//! `n * (PASSES + 1) + PASSES` others get the lock, and the one that has it.
//!
//! Models: `loom_mutex.rs`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::wait_list::{Locked, Place, WaitList};
use super::wakers::let_go;
use crate::shim::{AtomicU8, Ordering, const_fn};

#[cfg(test)]
#[path = "loom_mutex.rs"]
mod loom_mutex;

const LOCKED: u8 = 1;
/// Somebody is in the list: letting go is not just a store.
const WAITED_FOR: u8 = 2;

/// How often others may take the lock before the first waiter.
const PASSES: u8 = 4;

pub(super) struct RawMutex {
    /// `WAITED_FOR` is changed under the lock of `waiters`, and says that there are any; `LOCKED` by anybody.
    state: AtomicU8,
    waiters: Locked<WaitList<Passed>>,
}

/// How often a waiter was passed over while it was the first.
struct Passed(u8);

impl RawMutex {
    const_fn! {
        pub(super) const fn new() -> RawMutex {
            RawMutex {
                state: AtomicU8::new(0),
                waiters: Locked::new(WaitList::new()),
            }
        }
    }

    #[inline]
    pub(super) fn try_lock(&self) -> bool {
        // Acquire pairs with the Release of `unlock`: what the last owner did comes before.
        let quick = (self.state).compare_exchange(0, LOCKED, Ordering::Acquire, Ordering::Relaxed);
        match quick {
            Ok(_) => true,
            Err(state) => state & LOCKED == 0 && self.try_lock_waited_for(),
        }
    }

    #[cold]
    fn try_lock_waited_for(&self) -> bool {
        // Acquire as above.
        self.state.fetch_or(LOCKED, Ordering::Acquire) & LOCKED == 0
    }

    /// # Safety
    /// The caller owns the lock, and gives it up.
    #[inline]
    pub(super) unsafe fn unlock(&self) {
        // Release pairs with the Acquire of `try_lock`.
        let quick = (self.state).compare_exchange(LOCKED, 0, Ordering::Release, Ordering::Relaxed);
        if quick.is_err() {
            self.unlock_waited_for();
        }
    }

    #[cold]
    fn unlock_waited_for(&self) {
        let waker = self.waiters.with(|waiters| match waiters.first() {
            Some(Passed(passed)) if *passed >= PASSES => {
                // Handed over: `LOCKED` stays.
                let waker = waiters.grant_first();
                self.waited_for_no_more(waiters);
                waker
            }
            first => {
                if let Some(Passed(passed)) = first {
                    *passed += 1;
                }
                // Release pairs with the Acquire of `try_lock`.
                self.state.fetch_and(!LOCKED, Ordering::Release);
                waiters.call_first()
            }
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// After somebody left the list.
    fn waited_for_no_more(&self, waiters: &WaitList<Passed>) {
        if waiters.is_empty() {
            self.state.fetch_and(!WAITED_FOR, Ordering::Relaxed);
        }
    }

    /// Waits for the lock.
    pub(super) fn acquire(&self) -> Locking<'_> {
        Locking {
            mutex: self,
            place: Place::new(Passed(0)),
            waiting: false,
        }
    }
}

/// Ready when the lock is the caller's. Dropped before that, it leaves the lock to the others.
pub(super) struct Locking<'a> {
    mutex: &'a RawMutex,
    place: Place<Passed>,
    /// In the list, or granted and not taken up.
    waiting: bool,
}

impl Future for Locking<'_> {
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
        let waker = cx.waker().clone();
        let (ready, old) = mutex.waiters.with(|waiters| {
            if this.waiting && place.is_granted() {
                return (true, Some(waker));
            }
            // Before the look at LOCKED: an owner that lets go after that look sees it, and comes here.
            mutex.state.fetch_or(WAITED_FOR, Ordering::Relaxed);
            if mutex.try_lock() {
                // SAFETY: it was used with this list only.
                let old = unsafe { waiters.remove(place) };
                mutex.waited_for_no_more(waiters);
                (true, old.or(Some(waker)))
            } else {
                // SAFETY: used with this list only, and not granted; `drop` takes it out before it is freed.
                (false, unsafe { waiters.wait(place, waker) })
            }
        });
        this.waiting = !ready;
        let_go(old);
        match ready {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Drop for Locking<'_> {
    fn drop(&mut self) {
        if self.waiting {
            self.give_up();
        }
    }
}

impl Locking<'_> {
    #[cold]
    fn give_up(&mut self) {
        let mutex = self.mutex;
        // SAFETY: not moved any more.
        let place = unsafe { Pin::new_unchecked(&self.place) };
        let (own, next) = mutex.waiters.with(|waiters| {
            // SAFETY: used with this list only.
            let own = unsafe { waiters.remove(place) };
            mutex.waited_for_no_more(waiters);
            // It may have been called, and the lock be free: then the next is to have a look.
            let free = mutex.state.load(Ordering::Relaxed) & LOCKED == 0;
            (own, if free { waiters.call_first() } else { None })
        });
        if place.is_granted() {
            // SAFETY: it was handed to this future, which does not want it any more.
            unsafe { mutex.unlock() }
        }
        let_go(own);
        if let Some(next) = next {
            next.wake();
        }
    }
}
