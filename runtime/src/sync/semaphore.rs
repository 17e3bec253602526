//! A counting semaphore: at most so many at a time.
//!
//! Waiters stand in the order of their arrival, and permits that are given back are free for whoever comes first: the
//! first waiter is called and looks again, in its place. So a fiber that gives a permit back and takes it
//! again does not pay a switch for each round. Others may take permits before the same first waiter [`PASSES`] times; after that
//! nobody may until it was served: all that is given back is kept for it. So a waiter for many is not
//! starved by takers of few either.
//!
//! Models: `loom_semaphore.rs`.

mod acquire;
mod error;
mod permit;

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::wait::{self, enter};
use super::wait_list::{Locked, WaitList};
use super::wakers::{Wakers, wake_all};
use crate::shim::const_fn;
use crate::time::timer;

use acquire::Acquire;

pub use error::{AcquireError, TryAcquireError};
pub use permit::{OwnedSemaphorePermit, SemaphorePermit};

#[cfg(test)]
#[path = "loom_semaphore.rs"]
mod loom_semaphore;

/// How often others may take permits before the first waiter.
const PASSES: u8 = 4;

/// Limits how many fibers, threads and async tasks do something at a time, each with the weight that it says.
///
/// [`acquire`](Self::acquire) waits for a permit and gives a guard that returns it when it is dropped. Waiters are
/// served in the order of their arrival; while one waits, others that come at the right moment may take
/// permits before it four times at most, also if it waits for many and they for few.
///
/// Calls that wait park a fiber and block a thread. A fiber that acquires without ever having to wait yields after
/// 128 calls in a row, as with [channels](super::mpsc#fairness).
///
/// ```
/// use sisal::sync::Semaphore;
///
/// let connections = Semaphore::new(2);
/// sisal::run(|| {
///     sisal::fiber::scope(|s| {
///         for _ in 0..10 {
///             s.spawn(|| {
///                 let _permit = connections.acquire().unwrap();
///                 // Two at a time.
///                 sisal::fiber::yield_now();
///             });
///         }
///     });
/// });
/// assert_eq!(connections.available_permits(), 2);
/// ```
pub struct Semaphore {
    state: Locked<State>,
}

struct State {
    permits: usize,
    closed: bool,
    waiters: WaitList<Wants>,
}

struct Wants {
    permits: usize,
    /// How often permits were taken before it while it was the first.
    passed: u8,
    /// It is granted nothing: the semaphore was closed.
    closed: bool,
}

impl State {
    /// Takes permits for one who comes now, if it may before those who wait.
    fn take(&mut self, permits: usize) -> Result<(), TryAcquireError> {
        if self.closed {
            return Err(TryAcquireError::Closed);
        }
        if self.permits < permits {
            return Err(TryAcquireError::NoPermits);
        }
        if permits > 0
            && let Some(first) = self.waiters.first()
        {
            if first.passed >= PASSES {
                return Err(TryAcquireError::NoPermits);
            }
            first.passed += 1;
        }
        self.permits -= permits;
        Ok(())
    }

    /// Serves, or calls, the first waiters as far as the permits go. True: `wakers` is full before that.
    fn settle(&mut self, wakers: &mut Wakers) -> bool {
        let (permits, closed) = (&mut self.permits, self.closed);
        let more = self.waiters.grant_while(wakers, |first| {
            first.closed = closed;
            if closed {
                return true;
            }
            let serve = first.passed >= PASSES && first.permits <= *permits;
            if serve {
                *permits -= first.permits;
            }
            serve
        });
        if more || wakers.is_full() {
            return more || !self.waiters.is_empty();
        }
        // It takes them itself, and calls the next.
        if self
            .waiters
            .first()
            .is_some_and(|first| first.permits <= self.permits)
        {
            wakers.push(self.waiters.call_first());
        }
        false
    }
}

impl Semaphore {
    /// The most permits there can be.
    pub const MAX_PERMITS: usize = usize::MAX >> 3;

    const_fn! {
        /// A semaphore with so many permits.
        ///
        /// # Panics
        /// If they are more than [`MAX_PERMITS`](Self::MAX_PERMITS).
        #[track_caller]
        pub const fn new(permits: usize) -> Semaphore {
            assert!(
                permits <= Semaphore::MAX_PERMITS,
                "too many permits for a semaphore"
            );
            Semaphore {
                state: Locked::new(State {
                    permits,
                    closed: false,
                    waiters: WaitList::new(),
                }),
            }
        }
    }

    /// Waits for a permit.
    ///
    /// In a fiber this parks the fiber, on a plain thread it blocks the thread.
    ///
    /// # Errors
    /// If the semaphore is [closed](Self::close), before or meanwhile.
    ///
    /// # Panics
    /// On a worker's own stack: await [`acquire_async`](Self::acquire_async) there.
    ///
    /// # Cancellation
    /// A suspension point if it has to wait. What a waiter was given just when it was cancelled goes to the next.
    #[track_caller]
    pub fn acquire(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.acquire_many(1)
    }

    /// Waits for so many permits at once. Who waits for more than there will ever be waits, and others behind it.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    ///
    /// # Panics
    /// As `acquire`.
    ///
    /// # Cancellation
    /// As `acquire`.
    ///
    /// ```
    /// let memory = sisal::sync::Semaphore::new(100);
    /// let large = memory.acquire_many(70).unwrap();
    /// assert_eq!(memory.available_permits(), 30);
    /// drop(large);
    /// ```
    #[track_caller]
    pub fn acquire_many(&self, n: usize) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.wait(n)?;
        Ok(SemaphorePermit::new(self, n))
    }

    /// [`acquire`](Self::acquire) with an end to the wait.
    ///
    /// # Errors
    /// [`NoPermits`](TryAcquireError::NoPermits) if there was none in time;
    /// [`Closed`](TryAcquireError::Closed) if the semaphore is closed.
    ///
    /// # Panics
    /// As `acquire`.
    ///
    /// # Cancellation
    /// As `acquire`.
    #[track_caller]
    pub fn acquire_timeout(
        &self,
        timeout: Duration,
    ) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.acquire_many_timeout(1, timeout)
    }

    /// [`acquire_many`](Self::acquire_many) with an end to the wait.
    ///
    /// # Errors
    /// As [`acquire_timeout`](Self::acquire_timeout).
    ///
    /// # Panics
    /// As `acquire`.
    ///
    /// # Cancellation
    /// As `acquire`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sisal::sync::{Semaphore, TryAcquireError};
    /// let few = Semaphore::new(2);
    /// let late = sisal::run(|| few.acquire_many_timeout(3, Duration::from_millis(5)).map(drop));
    /// assert_eq!(late, Err(TryAcquireError::NoPermits));
    /// ```
    #[track_caller]
    pub fn acquire_many_timeout(
        &self,
        n: usize,
        timeout: Duration,
    ) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.wait_until(n, timer::after(timeout))?;
        Ok(SemaphorePermit::new(self, n))
    }

    /// A permit if there is one, and nobody waits who was passed over too often. Works everywhere.
    ///
    /// # Errors
    /// If there is none, or the semaphore is closed.
    pub fn try_acquire(&self) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.try_acquire_many(1)
    }

    /// So many permits, as [`try_acquire`](Self::try_acquire).
    ///
    /// # Errors
    /// As there.
    pub fn try_acquire_many(&self, n: usize) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.state.with(|state| state.take(n))?;
        Ok(SemaphorePermit::new(self, n))
    }

    /// [`acquire`](Self::acquire) for async code.
    ///
    /// # Errors
    /// As `acquire`.
    ///
    /// # Cancellation
    /// What a future was given just before it is dropped goes to the next. Its place in the queue is lost.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let semaphore = sisal::sync::Semaphore::new(1);
    /// let permit = semaphore.acquire_async().await.unwrap();
    /// assert!(semaphore.try_acquire().is_err());
    /// # drop(permit);
    /// # }
    /// ```
    pub async fn acquire_async(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.acquire_many_async(1).await
    }

    /// [`acquire_many`](Self::acquire_many) for async code.
    ///
    /// # Errors
    /// As `acquire`.
    ///
    /// # Cancellation
    /// As [`acquire_async`](Self::acquire_async).
    pub async fn acquire_many_async(&self, n: usize) -> Result<SemaphorePermit<'_>, AcquireError> {
        Acquire::new(self, n).await?;
        Ok(SemaphorePermit::new(self, n))
    }

    /// [`acquire`](Self::acquire) for a permit that borrows nothing.
    ///
    /// # Errors
    /// As `acquire`.
    ///
    /// # Panics
    /// As `acquire`.
    ///
    /// # Cancellation
    /// As `acquire`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// let semaphore = Arc::new(sisal::sync::Semaphore::new(1));
    /// let permit = Arc::clone(&semaphore).acquire_owned().unwrap();
    /// sisal::run(|| sisal::fiber::spawn(move || drop(permit)).join().unwrap());
    /// assert!(semaphore.try_acquire().is_ok());
    /// ```
    #[track_caller]
    pub fn acquire_owned(self: Arc<Self>) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.acquire_many_owned(1)
    }

    /// [`acquire_many`](Self::acquire_many) for a permit that borrows nothing.
    ///
    /// # Errors
    /// As `acquire`.
    ///
    /// # Panics
    /// As `acquire`.
    ///
    /// # Cancellation
    /// As `acquire`.
    #[track_caller]
    pub fn acquire_many_owned(
        self: Arc<Self>,
        n: usize,
    ) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.wait(n)?;
        Ok(OwnedSemaphorePermit::new(self, n))
    }

    /// [`try_acquire`](Self::try_acquire) for a permit that borrows nothing.
    ///
    /// # Errors
    /// As there.
    pub fn try_acquire_owned(self: Arc<Self>) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        self.try_acquire_many_owned(1)
    }

    /// [`try_acquire_many`](Self::try_acquire_many) for a permit that borrows nothing.
    ///
    /// # Errors
    /// As there.
    pub fn try_acquire_many_owned(
        self: Arc<Self>,
        n: usize,
    ) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        self.state.with(|state| state.take(n))?;
        Ok(OwnedSemaphorePermit::new(self, n))
    }

    /// [`acquire_owned`](Self::acquire_owned) for async code.
    ///
    /// # Errors
    /// As `acquire`.
    ///
    /// # Cancellation
    /// As [`acquire_async`](Self::acquire_async).
    pub async fn acquire_owned_async(
        self: Arc<Self>,
    ) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.acquire_many_owned_async(1).await
    }

    /// [`acquire_many_owned`](Self::acquire_many_owned) for async code.
    ///
    /// # Errors
    /// As `acquire`.
    ///
    /// # Cancellation
    /// As [`acquire_async`](Self::acquire_async).
    pub async fn acquire_many_owned_async(
        self: Arc<Self>,
        n: usize,
    ) -> Result<OwnedSemaphorePermit, AcquireError> {
        Acquire::new(&self, n).await?;
        Ok(OwnedSemaphorePermit::new(self, n))
    }

    /// How many permits can be had, by whoever may.
    pub fn available_permits(&self) -> usize {
        self.state.with(|state| state.permits)
    }

    /// Adds permits.
    ///
    /// # Panics
    /// If there were more than [`MAX_PERMITS`](Self::MAX_PERMITS) then.
    pub fn add_permits(&self, n: usize) {
        self.give_back(n);
    }

    /// Takes permits away for good, as many as there are, `n` at most. How many.
    pub fn forget_permits(&self, n: usize) -> usize {
        self.state.with(|state| {
            let taken = state.permits.min(n);
            state.permits -= taken;
            taken
        })
    }

    /// No more permits are given: who waits gets an error, and so does whoever comes. Permits that are out stay so.
    pub fn close(&self) {
        self.state.with(|state| state.closed = true);
        self.settle();
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.state.with(|state| state.closed)
    }

    #[track_caller]
    fn give_back(&self, permits: usize) {
        let waited_for = self.state.with(|state| {
            let sum = state.permits.checked_add(permits);
            state.permits = sum.filter(|sum| *sum <= Semaphore::MAX_PERMITS)?;
            Some(!state.waiters.is_empty())
        });
        match waited_for {
            Some(false) => {}
            Some(true) => self.settle(),
            None => panic!("too many permits for a semaphore"),
        }
    }

    #[cold]
    fn settle(&self) {
        wake_all(|wakers| self.state.with(|state| state.settle(wakers)));
    }

    #[track_caller]
    fn wait(&self, permits: usize) -> Result<(), AcquireError> {
        enter(CALL, INSTEAD);
        let taken = self.state.with(|state| state.take(permits));
        match taken {
            Ok(()) => Ok(()),
            Err(TryAcquireError::Closed) => Err(AcquireError::new()),
            Err(TryAcquireError::NoPermits) => {
                wait::wait(CALL, INSTEAD, Acquire::new(self, permits))
            }
        }
    }

    #[track_caller]
    fn wait_until(&self, permits: usize, deadline: Instant) -> Result<(), TryAcquireError> {
        enter(CALL, INSTEAD);
        let taken = self.state.with(|state| state.take(permits));
        // A timer takes a millisecond or two, however short.
        if taken != Err(TryAcquireError::NoPermits) || deadline <= Instant::now() {
            return taken;
        }
        let mut acquire = pin!(Acquire::new(self, permits));
        let acquired = match wait::wait_until(CALL, INSTEAD, acquire.as_mut(), Some(deadline)) {
            Ok(acquired) => Some(acquired),
            // It may have been served since it last looked.
            Err(_) => acquire.give_up(),
        };
        match acquired {
            Some(acquired) => acquired.map_err(|_| TryAcquireError::Closed),
            None => Err(TryAcquireError::NoPermits),
        }
    }
}

const CALL: &str = "Semaphore::acquire";
const INSTEAD: &str = "await `acquire_async` instead";

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (permits, closed) = self.state.with(|state| (state.permits, state.closed));
        f.debug_struct("Semaphore")
            .field("permits", &permits)
            .field("closed", &closed)
            .finish()
    }
}

// An unwind finds the counts whole.
impl UnwindSafe for Semaphore {}
impl RefUnwindSafe for Semaphore {}
