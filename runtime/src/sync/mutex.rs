//! `Mutex`: std's, for fibers, threads and async tasks at once.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};

use super::poison::{Entered, Poison};
use super::raw_mutex::RawMutex;
use super::wait::wait;
use crate::shim::const_fn;

/// A lock around a value, as [`std::sync::Mutex`]: whoever waits for it parks its fiber or blocks its thread, and async
/// code awaits [`lock_async`](Self::lock_async). All of them may use one lock.
///
/// # Order
/// Waiters are served in the order of their arrival, but a lock that is let go is free for whoever comes first. The first
/// waiter is passed over four times at most, then it is handed the lock: so a waiter that has `n` others before it
/// sees at most `5 * n + 4` others lock, after the one that has it.
///
/// # Poisoning
/// As std's: a guard that is dropped by an unwind which began while it was held poisons the lock. Cancellation is such an
/// unwind. It is the fiber that counts, not its thread ([`fiber::panicking`](crate::fiber::panicking)).
///
/// # Cancellation
/// A free lock is taken without a suspension point; waiting is one. A fiber that is cancelled in its wait leaves the
/// lock, also if it was just handed over, to the next.
///
/// ```
/// use sisal::sync::{Arc, Mutex};
///
/// sisal::run(|| {
///     let sum = Arc::new(Mutex::new(0));
///     let fibers: Vec<_> = (1..=10)
///         .map(|n| {
///             let sum = Arc::clone(&sum);
///             sisal::spawn(move || *sum.lock().unwrap() += n)
///         })
///         .collect();
///     for fiber in fibers {
///         fiber.join().unwrap();
///     }
///     assert_eq!(*sum.lock().unwrap(), 55);
/// });
/// ```
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    poison: Poison,
    value: UnsafeCell<T>,
}

// SAFETY: the lock lets one user at a time at the value, whatever thread that is on.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

// As std's: what an unwind left behind is behind the poison.
impl<T: ?Sized> UnwindSafe for Mutex<T> {}
impl<T: ?Sized> RefUnwindSafe for Mutex<T> {}

/// The right to a [`Mutex`]'s value; dropping it unlocks.
///
/// It is `Send` if `T` is (std's is not): the lock belongs to whoever has the guard and not to a thread, so async code may
/// hold one over an `.await` on an executor of many threads. Whether a drop poisons the lock is decided where it happens,
/// by what unwinds there.
#[must_use = "a guard that is not kept unlocks at once"]
pub struct MutexGuard<'a, T: ?Sized + 'a> {
    // `&Mutex<T>` is Send if `T` is.
    mutex: &'a Mutex<T>,
    entered: Entered,
}

// SAFETY: sharing the guard shares `&T`.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<T> Mutex<T> {
    const_fn! {
        /// A lock that is free.
        #[inline]
        pub const fn new(t: T) -> Mutex<T> {
            Mutex {
                raw: RawMutex::new(),
                poison: Poison::new(),
                value: UnsafeCell::new(t),
            }
        }
    }

    /// The value.
    ///
    /// # Errors
    /// If the lock is poisoned: the value is in the error.
    pub fn into_inner(self) -> LockResult<T> {
        let poisoned = self.poison.is_set();
        or_poisoned(self.value.into_inner(), poisoned)
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until the lock is the caller's.
    ///
    /// Locking again what the caller has locked already waits for ever.
    ///
    /// # Errors
    /// If the lock is poisoned: the guard is in the error.
    ///
    /// # Panics
    /// On a worker's own stack (an async task spawned from a fiber, a waker, a destructor at shutdown), if it would have to
    /// wait: await [`lock_async`](Self::lock_async) there.
    ///
    /// # Cancellation
    /// A suspension point if it has to wait.
    ///
    /// ```
    /// let mutex = sisal::sync::Mutex::new(1);
    /// *mutex.lock().unwrap() += 1;
    /// assert_eq!(*mutex.lock().unwrap(), 2);
    /// ```
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        if !self.raw.try_lock() {
            self.wait();
        }
        self.locked()
    }

    #[cold]
    #[track_caller]
    fn wait(&self) {
        wait(
            "Mutex::lock",
            "await `Mutex::lock_async`",
            self.raw.acquire(),
        );
    }

    /// [`lock`](Self::lock) for async code.
    ///
    /// # Errors
    /// If the lock is poisoned: the guard is in the error.
    ///
    /// # Cancellation
    /// Dropping the future gives the place in the queue up.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() {
    /// let mutex = sisal::sync::Mutex::new(1);
    /// *mutex.lock_async().await.unwrap() += 1;
    /// assert_eq!(*mutex.lock().unwrap(), 2);
    /// # }
    /// ```
    pub async fn lock_async(&self) -> LockResult<MutexGuard<'_, T>> {
        self.raw.acquire().await;
        self.locked()
    }

    /// Locks if that needs no waiting. It may pass over those who wait.
    ///
    /// # Errors
    /// If the lock is not free, or poisoned.
    ///
    /// ```
    /// let mutex = sisal::sync::Mutex::new(1);
    /// let guard = mutex.try_lock().unwrap();
    /// assert!(mutex.try_lock().is_err());
    /// # drop(guard);
    /// ```
    #[inline]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        match self.raw.try_lock() {
            true => Ok(self.locked()?),
            false => Err(TryLockError::WouldBlock),
        }
    }

    /// Whether the lock is poisoned. Of a lock that others use the answer may be old when it comes.
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    /// Makes the lock what it was before it was poisoned.
    #[inline]
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// The value, which nobody else can have locked.
    ///
    /// # Errors
    /// If the lock is poisoned: the reference is in the error.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        let poisoned = self.poison.is_set();
        or_poisoned(self.value.get_mut(), poisoned)
    }

    /// The caller has just locked it.
    #[inline]
    fn locked(&self) -> LockResult<MutexGuard<'_, T>> {
        self.guard(self.poison.enter())
    }

    #[inline]
    fn guard(&self, entered: Entered) -> LockResult<MutexGuard<'_, T>> {
        let mutex = self;
        or_poisoned(MutexGuard { mutex, entered }, self.poison.is_set())
    }
}

#[inline]
pub(super) fn or_poisoned<G>(guard: G, poisoned: bool) -> LockResult<G> {
    match poisoned {
        false => Ok(guard),
        true => Err(PoisonError::new(guard)),
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(t: T) -> Mutex<T> {
        Mutex::new(t)
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Mutex");
        match self.try_lock() {
            Ok(guard) => shown.field("data", &&*guard),
            Err(TryLockError::Poisoned(error)) => shown.field("data", &&**error.get_ref()),
            Err(TryLockError::WouldBlock) => shown.field("data", &"<locked>"),
        };
        shown.field("poisoned", &self.is_poisoned());
        shown.finish_non_exhaustive()
    }
}

/// A mutex that its guard was taken off, for a wait that lets it go: who locked it is remembered.
pub(super) struct Parted<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    entered: Entered,
}

impl<'a, T: ?Sized> Parted<'a, T> {
    pub(super) fn raw(&self) -> &'a RawMutex {
        &self.mutex.raw
    }

    /// The guard again.
    ///
    /// # Safety
    /// The caller has locked it again, and makes one guard of that.
    pub(super) unsafe fn guard(self) -> LockResult<MutexGuard<'a, T>> {
        self.mutex.guard(self.entered)
    }
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// The lock stays locked: to unlock it is the caller's duty.
    pub(super) fn part(self) -> Parted<'a, T> {
        let guard = ManuallyDrop::new(self);
        Parted {
            mutex: guard.mutex,
            entered: guard.entered,
        }
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard is the only one.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.poison.leave(self.entered);
        // SAFETY: the guard had it.
        unsafe { self.mutex.raw.unlock() };
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
