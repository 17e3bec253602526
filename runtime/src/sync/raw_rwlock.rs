//! The lock under `RwLock`: a word with the number of readers, a list for who waits.
//!
//! While anybody waits, whoever comes waits behind: so neither side starves. Who lets go hands over, in the order of
//! arrival: to a writer, or to all readers up to the next writer.
//!
//! Models: `loom_rwlock.rs`.

use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::wait_list::{Locked, Place, WaitList};
use super::wakers::{Wakers, let_go, wake_all};
use crate::shim::{AtomicUsize, Ordering, const_fn};

#[cfg(test)]
#[path = "loom_rwlock.rs"]
mod loom_rwlock;

const WRITER: usize = 1;
/// Somebody is in the list: nobody takes the lock but by its place there.
const WAITED_FOR: usize = 2;
/// One reader. The others are above it.
const READER: usize = 4;
/// Far from an overflow, also by all who are between the look and the panic.
const MOST: usize = usize::MAX / 2;

pub(super) struct RawRwLock {
    /// `WAITED_FOR` is changed under the lock of `waiters`, and says that there are any. While it is set, readers and
    /// writers come under that lock only; they go without.
    state: AtomicUsize,
    waiters: Locked<WaitList<Wants>>,
}

// No unwind begins while it is half changed.
impl UnwindSafe for RawRwLock {}
impl RefUnwindSafe for RawRwLock {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    Read,
    Write,
}

impl Wants {
    /// `state` with one more of this kind, if there is room.
    #[inline]
    fn added(self, state: usize) -> Option<usize> {
        match self {
            Wants::Read if state & WRITER == 0 => Some(state + READER),
            Wants::Write if state & !WAITED_FOR == 0 => Some(state | WRITER),
            _ => None,
        }
    }
}

impl RawRwLock {
    const_fn! {
        pub(super) const fn new() -> RawRwLock {
            RawRwLock {
                state: AtomicUsize::new(0),
                waiters: Locked::new(WaitList::new()),
            }
        }
    }

    #[inline]
    pub(super) fn try_lock(&self, wants: Wants) -> bool {
        self.add(wants, |state| state & WAITED_FOR == 0)
    }

    #[inline]
    fn add(&self, wants: Wants, may: impl Fn(usize) -> bool) -> bool {
        let added = |state| wants.added(state).filter(|_| may(state));
        // Acquire pairs with the Releases of `unlock` and `downgrade`: what the last owners did comes before.
        let (yes, no) = (Ordering::Acquire, Ordering::Relaxed);
        match self.state.fetch_update(yes, no, added) {
            Ok(before) => {
                if before > MOST {
                    too_many();
                }
                true
            }
            Err(_) => false,
        }
    }

    /// # Safety
    /// The caller owns the lock in that way, and gives it up.
    #[inline]
    pub(super) unsafe fn unlock(&self, wants: Wants) {
        // Release pairs with the Acquire of `add`.
        let release = Ordering::Release;
        let (before, last) = match wants {
            Wants::Read => {
                let before = self.state.fetch_sub(READER, release);
                (before, before & !WAITED_FOR == READER)
            }
            Wants::Write => (self.state.fetch_and(!WRITER, release), true),
        };
        if last && before & WAITED_FOR != 0 {
            self.hand_over();
        }
    }

    /// A writer becomes a reader, and nobody writes in between.
    ///
    /// # Safety
    /// The caller owns the lock as a writer, and then as a reader.
    pub(super) unsafe fn downgrade(&self) {
        // One step, so that no writer comes between. Release pairs with the Acquire of `add`.
        let before = self.state.fetch_add(READER - WRITER, Ordering::Release);
        if before & WAITED_FOR != 0 {
            self.hand_over();
        }
    }

    /// Gives the lock to those at the front for whom there is room now.
    #[cold]
    fn hand_over(&self) {
        wake_all(|wakers| self.waiters.with(|waiters| self.grant(waiters, wakers)));
    }

    fn grant(&self, waiters: &mut WaitList<Wants>, wakers: &mut Wakers) -> bool {
        let more = waiters.grant_while(wakers, |wants| self.add(*wants, |_| true));
        self.waited_for_still(waiters);
        more
    }

    /// After somebody left the list.
    fn waited_for_still(&self, waiters: &WaitList<Wants>) {
        if waiters.is_empty() {
            self.state.fetch_and(!WAITED_FOR, Ordering::Relaxed);
        }
    }

    pub(super) fn acquire(&self, wants: Wants) -> Locking<'_> {
        Locking {
            lock: self,
            place: Place::new(wants),
            wants,
            waiting: false,
        }
    }
}

#[cold]
fn too_many() -> ! {
    // Guards were forgotten, some 2^60 of them.
    panic!("too many readers of an `RwLock`")
}

/// Ready when the lock is the caller's. Dropped before that, it leaves the lock to the others.
pub(super) struct Locking<'a> {
    lock: &'a RawRwLock,
    place: Place<Wants>,
    wants: Wants,
    /// In the list, or granted and not taken up.
    waiting: bool,
}

impl Future for Locking<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: nothing is moved out; the place stays where it is.
        let this = unsafe { self.get_unchecked_mut() };
        let (lock, wants) = (this.lock, this.wants);
        // SAFETY: pinned as part of a pinned future.
        let place = unsafe { Pin::new_unchecked(&this.place) };
        let quick = match this.waiting {
            true => place.is_granted(),
            false => lock.try_lock(wants),
        };
        if quick {
            this.waiting = false;
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        let first = !this.waiting;
        let (ready, old) = lock.waiters.with(|waiters| {
            if place.is_granted() {
                return (true, Some(waker));
            }
            if first && waiters.is_empty() {
                // Before the look at the owners: one that goes after that look sees it, and comes here.
                lock.state.fetch_or(WAITED_FOR, Ordering::Relaxed);
                if lock.add(wants, |_| true) {
                    lock.waited_for_still(waiters);
                    return (true, Some(waker));
                }
            }
            // SAFETY: used with this list only, and not granted; `drop` takes it out before it is freed.
            (false, unsafe { waiters.wait(place, waker) })
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
        let lock = self.lock;
        // SAFETY: not moved any more.
        let place = unsafe { Pin::new_unchecked(&self.place) };
        let own = lock.waiters.with(|waiters| {
            // SAFETY: used with this list only.
            let own = unsafe { waiters.remove(place) };
            lock.waited_for_still(waiters);
            own
        });
        let_go(own);
        if place.is_granted() {
            // SAFETY: it was handed to this future, which does not want it any more.
            unsafe { lock.unlock(self.wants) }
        } else {
            // A writer that goes may have kept readers from joining those who read.
            lock.hand_over();
        }
    }
}
