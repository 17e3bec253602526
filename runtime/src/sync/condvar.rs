//! `Condvar`: std's, for fibers, threads and async tasks at once.

use std::fmt;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::{Pin, pin};
use std::sync::{LockResult, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::mutex::MutexGuard;
use super::raw_mutex::RawMutex;
use super::wait::{wait, wait_until};
use super::wait_list::{Locked, Place, WaitList};
use super::wakers::wake_all;
use crate::current;
use crate::shim::{AtomicBool, Ordering, const_fn};
use crate::time::timer;

#[cfg(test)]
#[path = "loom_condvar.rs"]
mod loom_condvar;

/// Waiting, with a [`Mutex`](super::Mutex) let go meanwhile, for what another is to notify of, as [`std::sync::Condvar`].
///
/// Waiters are notified in the order of their arrival. One that is notified by [`notify_one`](Self::notify_one), and is
/// cancelled before it has its lock again, hands the notification on to the next. So is none lost.
///
/// # Cancellation
/// Each wait is a suspension point. A cancelled waiter unwinds without the lock, which is not poisoned by that.
///
/// ```
/// use sisal::sync::{Arc, Condvar, Mutex};
///
/// sisal::run(|| {
///     let ready = Arc::new((Mutex::new(false), Condvar::new()));
///     let child = sisal::spawn({
///         let ready = Arc::clone(&ready);
///         move || {
///             *ready.0.lock().unwrap() = true;
///             ready.1.notify_one();
///         }
///     });
///     let guard = ready.0.lock().unwrap();
///     let guard = ready.1.wait_while(guard, |ready| !*ready).unwrap();
///     assert!(*guard);
///     drop(guard);
///     child.join().unwrap();
/// });
/// ```
pub struct Condvar {
    /// Somebody is in the list: a hint that spares the others its lock. Written under that lock, before the waiter lets
    /// its mutex go; so whoever has had the mutex since sees it.
    waited_for: AtomicBool,
    waiters: Locked<Waiters>,
}

struct Waiters {
    list: WaitList<Wants>,
    /// The number of the next to come.
    next: u64,
}

struct Wants {
    number: u64,
    /// Notified alone: what is to be handed on.
    alone: bool,
}

// As std's.
impl UnwindSafe for Condvar {}
impl RefUnwindSafe for Condvar {}

/// Whether a wait with a timeout ended by that. (std's has no constructor.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the time was over before the waiter was notified.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

const INSTEAD: &str = "await `Condvar::wait_async`";

impl Condvar {
    const_fn! {
        /// One that nobody waits for.
        #[must_use]
        #[inline]
        pub const fn new() -> Condvar {
            Condvar {
                waited_for: AtomicBool::new(false),
                waiters: Locked::new(Waiters {
                    list: WaitList::new(),
                    next: 0,
                }),
            }
        }
    }

    /// Lets `guard` go, waits to be notified, and locks again. No notification is missed that comes after the guard was let
    /// go. It may return without one: use it in a loop, or [`wait_while`](Self::wait_while).
    ///
    /// # Errors
    /// If the lock is poisoned when it is locked again: the guard is in the error.
    ///
    /// # Panics
    /// On a worker's own stack: await [`wait_async`](Self::wait_async) there.
    ///
    /// # Cancellation
    /// A suspension point.
    #[track_caller]
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        // While the guard is one: the panic is its holder's.
        current::forbid_worker("Condvar::wait", INSTEAD);
        wait("Condvar::wait", INSTEAD, self.wait_async(guard))
    }

    /// [`wait`](Self::wait) for async code. The guard is let go when the future is polled first.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Cancellation
    /// Dropping the future hands on a notification that it got. The guard is gone with it.
    ///
    /// ```
    /// # use sisal::sync::{Condvar, Mutex};
    /// # #[tokio::main]
    /// # async fn main() {
    /// let (done, changed) = (Mutex::new(false), Condvar::new());
    /// let waits = async {
    ///     let mut guard = done.lock().unwrap();
    ///     while !*guard {
    ///         guard = changed.wait_async(guard).await.unwrap();
    ///     }
    /// };
    /// let notifies = async {
    ///     *done.lock_async().await.unwrap() = true;
    ///     changed.notify_one();
    /// };
    /// tokio::join!(waits, notifies);
    /// # }
    /// ```
    pub async fn wait_async<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
    ) -> LockResult<MutexGuard<'a, T>> {
        let parted = guard.part();
        // SAFETY: the lock is the guard's that was taken off.
        let mut notified = pin!(unsafe { Notified::new(self, parted.raw()) });
        notified.as_mut().await;
        parted.raw().acquire().await;
        notified.done();
        // SAFETY: locked in the line before the last.
        unsafe { parted.guard() }
    }

    /// [`wait`](Self::wait)s while `condition` says so of the value.
    ///
    /// # Errors
    /// # Panics
    /// # Cancellation
    /// As [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_while<'a, T, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: F,
    ) -> LockResult<MutexGuard<'a, T>>
    where
        F: FnMut(&mut T) -> bool,
    {
        while condition(&mut guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// [`wait`](Self::wait) for at most `dur` (resolution in a fiber: 1 ms). To lock again may take longer.
    ///
    /// # Errors
    /// If the lock is poisoned when it is locked again: guard and result are in the error.
    ///
    /// # Panics
    /// On a worker's own stack: await [`wait_async`](Self::wait_async) there.
    ///
    /// # Cancellation
    /// A suspension point.
    ///
    /// ```
    /// # use sisal::sync::{Condvar, Mutex};
    /// # use std::time::Duration;
    /// let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    /// let (_guard, result) = condvar
    ///     .wait_timeout(mutex.lock().unwrap(), Duration::from_millis(2))
    ///     .unwrap();
    /// assert!(result.timed_out()); // nobody notifies
    /// ```
    #[track_caller]
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        dur: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        self.wait_deadline(guard, timer::after(dur))
    }

    /// [`wait_timeout`](Self::wait_timeout), by its old name in std.
    ///
    /// # Errors
    /// As that.
    #[deprecated(note = "replaced by `Condvar::wait_timeout`")]
    #[track_caller]
    pub fn wait_timeout_ms<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        ms: u32,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        let not = |(guard, result): (_, WaitTimeoutResult)| (guard, !result.timed_out());
        match self.wait_timeout(guard, Duration::from_millis(ms.into())) {
            Ok(both) => Ok(not(both)),
            Err(error) => Err(PoisonError::new(not(error.into_inner()))),
        }
    }

    /// Waits while `condition` says so of the value, for at most `dur` (resolution in a fiber: 1 ms). The result is that
    /// the time was over only if the condition still holds.
    ///
    /// # Errors
    /// # Panics
    /// # Cancellation
    /// As [`wait_timeout`](Self::wait_timeout).
    #[track_caller]
    pub fn wait_timeout_while<'a, T, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        dur: Duration,
        mut condition: F,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)>
    where
        F: FnMut(&mut T) -> bool,
    {
        let deadline = timer::after(dur);
        while condition(&mut guard) {
            if Instant::now() >= deadline {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            guard = self.wait_deadline(guard, deadline)?.0;
        }
        Ok((guard, WaitTimeoutResult(false)))
    }

    #[track_caller]
    fn wait_deadline<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Instant,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        const CALL: &str = "Condvar::wait_timeout";
        // While the guard is one: the panic is its holder's.
        current::forbid_worker(CALL, INSTEAD);
        let parted = guard.part();
        // SAFETY: the lock is the guard's that was taken off.
        let mut notified = pin!(unsafe { Notified::new(self, parted.raw()) });
        let in_time = wait_until(CALL, INSTEAD, notified.as_mut(), Some(deadline)).is_ok();
        let in_time = in_time || notified.as_mut().give_up();
        wait(CALL, INSTEAD, parted.raw().acquire());
        notified.done();
        let result = WaitTimeoutResult(!in_time);
        // SAFETY: locked three lines before.
        match unsafe { parted.guard() } {
            Ok(guard) => Ok((guard, result)),
            Err(error) => Err(PoisonError::new((error.into_inner(), result))),
        }
    }

    /// Lets the longest waiting go on, if there is one.
    #[inline]
    pub fn notify_one(&self) {
        if self.waited_for.load(Ordering::Relaxed) {
            self.notify_first();
        }
    }

    /// Lets all go on that wait now.
    #[inline]
    pub fn notify_all(&self) {
        if self.waited_for.load(Ordering::Relaxed) {
            self.notify_present();
        }
    }

    #[cold]
    fn notify_first(&self) {
        let waker = self.waiters.with(|waiters| {
            if let Some(wants) = waiters.list.first() {
                wants.alone = true;
            }
            let waker = waiters.list.grant_first();
            self.waited_for_still(waiters);
            waker
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    #[cold]
    fn notify_present(&self) {
        // Between two batches others come, who were not meant.
        let mut end = None;
        wake_all(|wakers| {
            self.waiters.with(|waiters| {
                let end = *end.get_or_insert(waiters.next);
                let list = &mut waiters.list;
                let more = list.grant_while(wakers, |wants| wants.number < end);
                self.waited_for_still(waiters);
                more
            })
        });
    }

    /// After somebody left the list.
    fn waited_for_still(&self, waiters: &Waiters) {
        if waiters.list.is_empty() {
            self.waited_for.store(false, Ordering::Relaxed);
        }
    }
}

impl Default for Condvar {
    fn default() -> Condvar {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}

/// Ready when the waiter was notified. The first poll takes a place and then unlocks the mutex.
struct Notified<'a> {
    condvar: &'a Condvar,
    mutex: &'a RawMutex,
    place: Place<Wants>,
    step: Step,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The mutex is locked, and nothing has been done.
    First,
    /// In the list, or notified and not done with it.
    Waiting,
    /// Has nothing that another could want.
    Over,
}

impl<'a> Notified<'a> {
    /// # Safety
    /// The mutex is locked for the caller, who leaves it to the result.
    unsafe fn new(condvar: &'a Condvar, mutex: &'a RawMutex) -> Notified<'a> {
        let wants = Wants {
            number: 0,
            alone: false,
        };
        Notified {
            condvar,
            mutex,
            place: Place::new(wants),
            step: Step::First,
        }
    }

    /// What was notified of is the caller's now.
    fn done(self: Pin<&mut Self>) {
        // SAFETY: nothing is moved.
        unsafe { self.get_unchecked_mut() }.step = Step::Over;
    }

    /// The time is over: leaves the list. True: it was notified after all.
    fn give_up(self: Pin<&mut Self>) -> bool {
        // SAFETY: nothing is moved.
        let this = unsafe { self.get_unchecked_mut() };
        let granted = this.leave().is_some();
        if !granted {
            this.step = Step::Over;
        }
        granted
    }

    /// Takes the place out. If it was notified: whether alone.
    fn leave(&mut self) -> Option<bool> {
        // SAFETY: the callers do not move it.
        let place = unsafe { Pin::new_unchecked(&self.place) };
        let condvar = self.condvar;
        let (own, granted) = condvar.waiters.with(|waiters| {
            // SAFETY: used with this list only.
            let own = unsafe { waiters.list.remove(place) };
            condvar.waited_for_still(waiters);
            // SAFETY: as above.
            let wants = unsafe { waiters.list.wants(place) };
            (own, place.is_granted().then_some(wants.alone))
        });
        drop(own);
        granted
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: nothing is moved out; the place stays where it is.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: pinned as part of a pinned future.
        let place = unsafe { Pin::new_unchecked(&this.place) };
        let condvar = this.condvar;
        if place.is_granted() {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        let first = this.step == Step::First;
        let (ready, old) = condvar.waiters.with(|waiters| {
            if place.is_granted() {
                return (true, Some(waker));
            }
            if first {
                // SAFETY: used with this list only.
                unsafe { waiters.list.wants(place) }.number = waiters.next;
                waiters.next += 1;
                condvar.waited_for.store(true, Ordering::Relaxed);
            }
            // SAFETY: this list only, and not granted; `drop` takes it out before it is freed.
            (false, unsafe { waiters.list.wait(place, waker) })
        });
        drop(old);
        if ready {
            return Poll::Ready(());
        }
        if first {
            this.step = Step::Waiting;
            // SAFETY: left to this future by `new`. From here on a notification finds the place.
            unsafe { this.mutex.unlock() };
        }
        Poll::Pending
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        match self.step {
            // SAFETY: left to this future by `new`.
            Step::First => unsafe { self.mutex.unlock() },
            Step::Waiting => {
                if self.leave() == Some(true) {
                    self.condvar.notify_one();
                }
            }
            Step::Over => {}
        }
    }
}
