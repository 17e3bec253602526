//! `Barrier`: std's, for fibers, threads and async tasks at once.

use std::fmt;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::wait::wait;
use super::wait_list::{Locked, Place, WaitList};
use super::wakers::{let_go, wake_all};
use crate::shim::const_fn;

/// Where a number of fibers, threads and tasks wait until all have come, as [`std::sync::Barrier`].
///
/// # Cancellation
/// [`wait`](Self::wait) is a suspension point. One that is cancelled before all have come is as if it had not come.
///
/// ```
/// use sisal::sync::{Arc, Barrier};
///
/// sisal::run(|| {
///     let barrier = Arc::new(Barrier::new(3));
///     let fibers = [1, 2].map(|_| {
///         let barrier = Arc::clone(&barrier);
///         sisal::spawn(move || barrier.wait().is_leader())
///     });
///     let leader = barrier.wait().is_leader();
///     let leaders = fibers.map(|fiber| fiber.join().unwrap());
///     let count = leaders.iter().filter(|leader| **leader).count();
///     assert_eq!(count + usize::from(leader), 1);
/// });
/// ```
pub struct Barrier {
    n: usize,
    state: Locked<State>,
}

struct State {
    /// How many have come, of this round.
    here: usize,
    round: u64,
    /// Who waits for the end of which round.
    list: WaitList<u64>,
}

// As std's.
impl UnwindSafe for Barrier {}
impl RefUnwindSafe for Barrier {}

/// Whether the caller was the one whom the others waited for.
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// True for one of each round: the last to come.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl Barrier {
    const_fn! {
        /// A barrier for `n`. One for 0 is as one for 1: nobody waits.
        #[must_use]
        #[inline]
        pub const fn new(n: usize) -> Barrier {
            Barrier {
                n,
                state: Locked::new(State {
                    here: 0,
                    round: 0,
                    list: WaitList::new(),
                }),
            }
        }
    }

    /// Waits until `n` have come. Then the next round begins.
    ///
    /// # Panics
    /// On a worker's own stack (an async task spawned from a fiber, a waker, a destructor at shutdown): await
    /// [`wait_async`](Self::wait_async) there.
    ///
    /// # Cancellation
    /// A suspension point, but for the last to come.
    #[track_caller]
    pub fn wait(&self) -> BarrierWaitResult {
        wait(
            "Barrier::wait",
            "await `Barrier::wait_async`",
            self.arrive(),
        )
    }

    /// [`wait`](Self::wait) for async code. Comes when the future is polled first.
    ///
    /// # Cancellation
    /// Dropping the future before all have come is as if it had not come.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() {
    /// let barrier = sisal::sync::Barrier::new(2);
    /// let (one, other) = tokio::join!(barrier.wait_async(), barrier.wait_async());
    /// assert!(one.is_leader() != other.is_leader());
    /// # }
    /// ```
    pub async fn wait_async(&self) -> BarrierWaitResult {
        self.arrive().await
    }

    fn arrive(&self) -> Arrive<'_> {
        Arrive {
            barrier: self,
            place: Place::new(0),
            waiting: false,
        }
    }

    /// All of the rounds before this one go on.
    fn release(&self) {
        let mut over = None;
        wake_all(|wakers| {
            self.state.with(|state| {
                let over = *over.get_or_insert(state.round);
                state.list.grant_while(wakers, |round| *round < over)
            })
        });
    }
}

struct Arrive<'a> {
    barrier: &'a Barrier,
    place: Place<u64>,
    /// In the list, or granted.
    waiting: bool,
}

impl Future for Arrive<'_> {
    type Output = BarrierWaitResult;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<BarrierWaitResult> {
        // SAFETY: nothing is moved out; the place stays where it is.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: pinned as part of a pinned future.
        let place = unsafe { Pin::new_unchecked(&this.place) };
        if this.waiting && place.is_granted() {
            return Poll::Ready(BarrierWaitResult(false));
        }
        let n = this.barrier.n;
        let first = !this.waiting;
        let waker = cx.waker().clone();
        let (leads, old) = this.barrier.state.with(|state| {
            if first {
                state.here += 1;
                if state.here >= n {
                    state.here = 0;
                    state.round += 1;
                    return (true, Some(waker));
                }
                // SAFETY: used with this list only.
                *unsafe { state.list.wants(place) } = state.round;
            } else if place.is_granted() {
                return (false, Some(waker));
            }
            // SAFETY: this list only, and not granted; `drop` takes it out before it is freed.
            (false, unsafe { state.list.wait(place, waker) })
        });
        let_go(old);
        if leads {
            this.barrier.release();
            return Poll::Ready(BarrierWaitResult(true));
        }
        this.waiting = true;
        match place.is_granted() {
            true => Poll::Ready(BarrierWaitResult(false)),
            false => Poll::Pending,
        }
    }
}

impl Drop for Arrive<'_> {
    fn drop(&mut self) {
        if !self.waiting || self.place.is_granted() {
            return;
        }
        // SAFETY: not moved any more.
        let place = unsafe { Pin::new_unchecked(&self.place) };
        let own = self.barrier.state.with(|state| {
            // SAFETY: used with this list only.
            let (own, round) = unsafe { (state.list.remove(place), *state.list.wants(place)) };
            // Else all had come, and it was about to be told.
            if !place.is_granted() && round == state.round {
                state.here -= 1;
            }
            own
        });
        let_go(own);
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}

impl fmt::Debug for BarrierWaitResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierWaitResult")
            .field("is_leader", &self.is_leader())
            .finish()
    }
}
