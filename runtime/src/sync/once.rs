//! `Once`: std's, for fibers, threads and async tasks at once.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::wait::wait;
use super::wait_list::{Locked, Place, WaitList};
use super::wakers::wake_all;
use crate::shim::{AtomicU8, Ordering, const_fn};

#[cfg(test)]
#[path = "loom_once.rs"]
mod loom_once;

const INCOMPLETE: u8 = 0;
const POISONED: u8 = 1;
const RUNNING: u8 = 2;
const COMPLETE: u8 = 3;

/// Something that is done once, as [`std::sync::Once`]. Whoever needs it done while another does it parks its fiber or blocks
/// its thread, so unlike under std's the closure may wait as it likes.
///
/// # Poisoning
/// A closure that is left by an unwind poisons the `Once` for good, but for [`call_once_force`](Self::call_once_force).
/// Cancellation is such an unwind: use [`shield`](crate::fiber::shield) around a closure that waits.
///
/// # Cancellation
/// Waiting for another to be done is a suspension point.
///
/// ```
/// use sisal::sync::Once;
///
/// static START: Once = Once::new();
/// sisal::run(|| {
///     let mut calls = 0;
///     for _ in 0..2 {
///         START.call_once(|| calls += 1);
///     }
///     assert_eq!(calls, 1);
/// });
/// ```
pub struct Once {
    /// Leaves `RUNNING` under the lock of `waiters`.
    state: AtomicU8,
    waiters: Locked<WaitList<()>>,
}

// As std's.
impl UnwindSafe for Once {}
impl RefUnwindSafe for Once {}

/// What the closure of [`Once::call_once_force`] is told.
pub struct OnceState {
    poisoned: bool,
    /// The closure did not do it.
    failed: Cell<bool>,
}

impl OnceState {
    /// Whether the `Once` was poisoned before this call.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Leaves the `Once` poisoned, without an unwind.
    pub(super) fn fail(&self) {
        self.failed.set(true);
    }
}

impl fmt::Debug for OnceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnceState")
            .field("poisoned", &self.is_poisoned())
            .finish()
    }
}

/// What a caller does next.
enum Next {
    Completed,
    /// It has the run.
    Run {
        poisoned: bool,
    },
    /// Another has it.
    Wait,
}

/// The name and the advice for the panic on a worker's own stack.
pub(super) type Names = (&'static str, &'static str);

impl Once {
    const_fn! {
        /// Not done yet.
        #[must_use]
        #[inline]
        pub const fn new() -> Once {
            Once {
                state: AtomicU8::new(INCOMPLETE),
                waiters: Locked::new(WaitList::new()),
            }
        }
    }

    /// Calls `f`, unless a closure was called here before; waits for it if it runs. When this returns, what one closure did is
    /// done, and seen by the caller. A closure that comes back to its own `Once` waits for ever.
    ///
    /// # Panics
    /// If the `Once` is poisoned, or `f` panics. On a worker's own stack (an async task spawned from a fiber, a waker), if
    /// another runs its closure: await [`wait_async`](Self::wait_async) there.
    ///
    /// # Cancellation
    /// A suspension point if it has to wait.
    #[inline]
    #[track_caller]
    pub fn call_once<F>(&self, f: F)
    where
        F: FnOnce(),
    {
        if !self.is_completed() {
            let names = ("Once::call_once", "await `Once::wait_async`");
            self.call(names, false, |_| f());
        }
    }

    /// [`call_once`](Self::call_once), also if the `Once` is poisoned. If `f` returns it is that no more.
    ///
    /// # Panics
    /// As `call_once`, but for the poison.
    ///
    /// # Cancellation
    /// A suspension point if it has to wait.
    ///
    /// ```
    /// use std::panic::catch_unwind;
    /// let once = sisal::sync::Once::new();
    /// assert!(catch_unwind(|| once.call_once(|| panic!())).is_err());
    /// assert!(catch_unwind(|| once.call_once(|| ())).is_err());
    /// once.call_once_force(|state| assert!(state.is_poisoned()));
    /// once.call_once(|| unreachable!());
    /// ```
    #[inline]
    #[track_caller]
    pub fn call_once_force<F>(&self, f: F)
    where
        F: FnOnce(&OnceState),
    {
        if !self.is_completed() {
            let names = ("Once::call_once_force", "await `Once::wait_async`");
            self.call(names, true, f);
        }
    }

    /// Whether a closure was called here and has returned. If so, what it did is seen by the caller.
    #[inline]
    pub fn is_completed(&self) -> bool {
        // Acquire pairs with the Release of `Run`'s end: what the closure did comes before.
        self.state.load(Ordering::Acquire) == COMPLETE
    }

    /// Waits until a closure was called here, by another, and has returned.
    ///
    /// # Panics
    /// If the `Once` is or becomes poisoned. On a worker's own stack, if it would have to wait: await
    /// [`wait_async`](Self::wait_async) there.
    ///
    /// # Cancellation
    /// A suspension point if it has to wait.
    #[track_caller]
    pub fn wait(&self) {
        if !self.is_completed() {
            let names = ("Once::wait", "await `Once::wait_async`");
            let completed = self.over(|state| matches!(state, COMPLETE | POISONED));
            if wait(names.0, names.1, completed) == POISONED {
                poisoned();
            }
        }
    }

    /// [`wait`](Self::wait), also past a closure that poisons the `Once`, until one returns.
    ///
    /// # Panics
    /// On a worker's own stack, if it would have to wait: await [`wait_force_async`](Self::wait_force_async) there.
    ///
    /// # Cancellation
    /// A suspension point if it has to wait.
    #[track_caller]
    pub fn wait_force(&self) {
        self.wait_force_as(("Once::wait_force", "await `Once::wait_force_async`"));
    }

    #[track_caller]
    pub(super) fn wait_force_as(&self, names: Names) {
        if !self.is_completed() {
            wait(names.0, names.1, self.over(|state| state == COMPLETE));
        }
    }

    /// [`wait`](Self::wait) for async code.
    ///
    /// # Panics
    /// If the `Once` is or becomes poisoned.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() {
    /// let once = sisal::sync::Once::new();
    /// tokio::join!(once.wait_async(), async { once.call_once(|| ()) });
    /// # }
    /// ```
    pub async fn wait_async(&self) {
        let completed = self.over(|state| matches!(state, COMPLETE | POISONED));
        if completed.await == POISONED {
            poisoned();
        }
    }

    /// [`wait_force`](Self::wait_force) for async code.
    pub async fn wait_force_async(&self) {
        self.over(|state| state == COMPLETE).await;
    }

    #[cold]
    #[track_caller]
    pub(super) fn call<F>(&self, names: Names, force: bool, f: F)
    where
        F: FnOnce(&OnceState),
    {
        loop {
            match self.next(force) {
                Next::Completed => return,
                Next::Run { poisoned } => return self.run(poisoned, f),
                Next::Wait => {
                    wait(names.0, names.1, self.over(|state| state != RUNNING));
                }
            }
        }
    }

    /// Takes the run if it is to be had.
    #[track_caller]
    fn next(&self, force: bool) -> Next {
        // Acquire as in `is_completed`; also after a closure that failed.
        let (yes, no) = (Ordering::Acquire, Ordering::Acquire);
        let mut state = self.state.load(yes);
        loop {
            match state {
                COMPLETE => return Next::Completed,
                RUNNING => return Next::Wait,
                POISONED if !force => poisoned(),
                _ => {}
            }
            // Acquire as above.
            match self.state.compare_exchange(state, RUNNING, yes, no) {
                Ok(before) => {
                    let poisoned = before == POISONED;
                    return Next::Run { poisoned };
                }
                Err(now) => state = now,
            }
        }
    }

    /// The caller has set `RUNNING`.
    fn run(&self, poisoned: bool, f: impl FnOnce(&OnceState)) {
        /// The end of the closure, however it comes.
        struct Run<'a>(&'a Once, u8);
        impl Drop for Run<'_> {
            fn drop(&mut self) {
                self.0.ended(self.1);
            }
        }
        let mut run = Run(self, POISONED);
        let state = OnceState {
            poisoned,
            failed: Cell::new(false),
        };
        f(&state);
        if !state.failed.get() {
            run.1 = COMPLETE;
        }
    }

    fn ended(&self, now: u8) {
        let mut told = false;
        wake_all(|wakers| {
            self.waiters.with(|waiters| {
                if !told {
                    // Release pairs with the Acquires of `is_completed`, `call` and `Over`.
                    self.state.store(now, Ordering::Release);
                    told = true;
                }
                // All look at the state; those for whom it was not the end come again.
                waiters.grant_while(wakers, |()| true)
            })
        });
    }

    /// Waits until `enough` says so of the state, which it gives.
    async fn over(&self, enough: fn(u8) -> bool) -> u8 {
        loop {
            let over = Over {
                once: self,
                enough,
                place: Place::new(()),
                waiting: false,
            };
            if let Some(state) = over.await {
                return state;
            }
        }
    }

    /// Nobody else has it.
    pub(super) fn is_completed_mut(&mut self) -> bool {
        self.is_completed()
    }

    /// Nobody else has it: whether no closure was ever begun.
    pub(super) fn is_untouched_mut(&mut self) -> bool {
        self.state.load(Ordering::Relaxed) == INCOMPLETE
    }
}

#[cold]
#[track_caller]
fn poisoned() -> ! {
    panic!("the `Once` is poisoned: a closure of it was left by an unwind")
}

/// Ready with the state when `enough` says so, or with nothing when a closure has ended since.
struct Over<'a> {
    once: &'a Once,
    enough: fn(u8) -> bool,
    place: Place<()>,
    /// In the list, or granted.
    waiting: bool,
}

impl Future for Over<'_> {
    type Output = Option<u8>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<u8>> {
        // SAFETY: nothing is moved out; the place stays where it is.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: pinned as part of a pinned future.
        let place = unsafe { Pin::new_unchecked(&this.place) };
        let once = this.once;
        // Acquire pairs with the Release of `ended`.
        let look = || once.state.load(Ordering::Acquire);
        let state = look();
        if (this.enough)(state) {
            return Poll::Ready(Some(state));
        }
        let waker = cx.waker().clone();
        let (ready, old) = once.waiters.with(|waiters| {
            if place.is_granted() {
                return (Some(None), Some(waker));
            }
            // It ends under this lock.
            let state = look();
            if (this.enough)(state) {
                return (Some(Some(state)), Some(waker));
            }
            // SAFETY: this list only, and not granted; `drop` takes it out before it is freed.
            (None, unsafe { waiters.wait(place, waker) })
        });
        this.waiting = true;
        drop(old);
        match ready {
            Some(ready) => Poll::Ready(ready),
            None => Poll::Pending,
        }
    }
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        if self.waiting && !self.place.is_granted() {
            // SAFETY: not moved any more.
            let place = unsafe { Pin::new_unchecked(&self.place) };
            // SAFETY: used with this list only.
            let own = (self.once.waiters).with(|waiters| unsafe { waiters.remove(place) });
            drop(own);
        }
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").finish_non_exhaustive()
    }
}
