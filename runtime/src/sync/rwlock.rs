//! `RwLock`: std's, for fibers, threads and async tasks at once.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::sync::{LockResult, TryLockError, TryLockResult};

use super::mutex::or_poisoned;
use super::poison::{Entered, Poison};
use super::raw_rwlock::{RawRwLock, Wants};
use super::wait::wait;
use crate::shim::const_fn;

/// A lock for many readers or one writer, as [`std::sync::RwLock`]: whoever waits for it parks its fiber or blocks its
/// thread, and async code awaits [`read_async`](Self::read_async) or [`write_async`](Self::write_async).
///
/// # Order
/// In the order of arrival, and all readers between two writers at once. Whoever comes while anybody waits, waits behind. So
/// writers do not starve, nor readers; and a fiber that has the lock to read and locks it to read once more waits for ever if a
/// writer came in between.
///
/// # Poisoning
/// As [`Mutex`](super::Mutex)'s, by writers alone.
///
/// # Cancellation
/// A free lock is taken without a suspension point; waiting is one. A fiber that is cancelled in its wait leaves the
/// lock, also if it was just handed over, to the next.
///
/// ```
/// use sisal::sync::RwLock;
///
/// let lock = RwLock::new(5);
/// {
///     let (one, other) = (lock.read().unwrap(), lock.read().unwrap());
///     assert_eq!(*one + *other, 10);
/// }
/// *lock.write().unwrap() += 1;
/// assert_eq!(*lock.read().unwrap(), 6);
/// ```
pub struct RwLock<T: ?Sized> {
    raw: RawRwLock,
    poison: Poison,
    value: UnsafeCell<T>,
}

// SAFETY: the value goes with the lock.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: readers share the value; a writer has it alone, whatever thread it is on.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

// As std's: what an unwind left behind is behind the poison.
impl<T: ?Sized> UnwindSafe for RwLock<T> {}
impl<T: ?Sized> RefUnwindSafe for RwLock<T> {}

/// The right to read an [`RwLock`]'s value; dropping it unlocks.
///
/// It is `Send` if `T` is `Sync` (std's is not): as for [`MutexGuard`](super::MutexGuard).
#[must_use = "a guard that is not kept unlocks at once"]
pub struct RwLockReadGuard<'a, T: ?Sized + 'a> {
    raw: &'a RawRwLock,
    /// Not a reference: the lock is let go while this is an argument of `drop`.
    value: NonNull<T>,
}

// SAFETY: a reader has `&T`, and unlocks wherever it is.
unsafe impl<T: ?Sized + Sync> Send for RwLockReadGuard<'_, T> {}
// SAFETY: sharing the guard shares `&T`.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}

/// The right to change an [`RwLock`]'s value; dropping it unlocks.
///
/// It is `Send` if `T` is `Send` and `Sync` (std's is not): as for [`MutexGuard`](super::MutexGuard), and because it may
/// become a reader's.
#[must_use = "a guard that is not kept unlocks at once"]
pub struct RwLockWriteGuard<'a, T: ?Sized + 'a> {
    // `&RwLock<T>` is Send if `T` is Send and Sync. Less would not do: `downgrade` on another thread would share `&T`.
    lock: &'a RwLock<T>,
    entered: Entered,
}

// SAFETY: sharing the guard shares `&T`.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<T> RwLock<T> {
    const_fn! {
        /// A lock that is free.
        #[inline]
        pub const fn new(t: T) -> RwLock<T> {
            RwLock {
                raw: RawRwLock::new(),
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

impl<T: ?Sized> RwLock<T> {
    /// Waits until the caller may read.
    ///
    /// # Errors
    /// If the lock is poisoned: the guard is in the error.
    ///
    /// # Panics
    /// On a worker's own stack (an async task spawned from a fiber, a waker, a destructor at shutdown), if it would have to
    /// wait: await [`read_async`](Self::read_async) there.
    ///
    /// # Cancellation
    /// A suspension point if it has to wait.
    #[inline]
    #[track_caller]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        if !self.raw.try_lock(Wants::Read) {
            self.wait("RwLock::read", "await `RwLock::read_async`", Wants::Read);
        }
        self.reading()
    }

    /// Waits until the caller may write.
    ///
    /// # Errors
    /// If the lock is poisoned: the guard is in the error.
    ///
    /// # Panics
    /// On a worker's own stack (an async task spawned from a fiber, a waker, a destructor at shutdown), if it would have to
    /// wait: await [`write_async`](Self::write_async) there.
    ///
    /// # Cancellation
    /// A suspension point if it has to wait.
    #[inline]
    #[track_caller]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        if !self.raw.try_lock(Wants::Write) {
            self.wait("RwLock::write", "await `RwLock::write_async`", Wants::Write);
        }
        self.writing()
    }

    #[cold]
    #[track_caller]
    fn wait(&self, call: &str, instead: &str, wants: Wants) {
        wait(call, instead, self.raw.acquire(wants));
    }

    /// [`read`](Self::read) for async code.
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
    /// let lock = sisal::sync::RwLock::new(1);
    /// *lock.write_async().await.unwrap() += 1;
    /// assert_eq!(*lock.read_async().await.unwrap(), 2);
    /// # }
    /// ```
    pub async fn read_async(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.raw.acquire(Wants::Read).await;
        self.reading()
    }

    /// [`write`](Self::write) for async code.
    ///
    /// # Errors
    /// If the lock is poisoned: the guard is in the error.
    ///
    /// # Cancellation
    /// Dropping the future gives the place in the queue up.
    pub async fn write_async(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.raw.acquire(Wants::Write).await;
        self.writing()
    }

    /// Locks to read if that needs no waiting: nobody writes, and nobody waits.
    ///
    /// # Errors
    /// If it would have to wait, or the lock is poisoned.
    #[inline]
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        match self.raw.try_lock(Wants::Read) {
            true => Ok(self.reading()?),
            false => Err(TryLockError::WouldBlock),
        }
    }

    /// Locks to write if that needs no waiting.
    ///
    /// # Errors
    /// If it would have to wait, or the lock is poisoned.
    #[inline]
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        match self.raw.try_lock(Wants::Write) {
            true => Ok(self.writing()?),
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

    /// The caller has just locked it to read.
    #[inline]
    fn reading(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        or_poisoned(self.reader(), self.poison.is_set())
    }

    fn reader(&self) -> RwLockReadGuard<'_, T> {
        // SAFETY: the address of a field.
        let value = unsafe { NonNull::new_unchecked(self.value.get()) };
        let raw = &self.raw;
        RwLockReadGuard { raw, value }
    }

    /// The caller has just locked it to write.
    #[inline]
    fn writing(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        let guard = RwLockWriteGuard {
            lock: self,
            entered: self.poison.enter(),
        };
        or_poisoned(guard, self.poison.is_set())
    }
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// From writing to reading, with no writer in between.
    ///
    /// ```
    /// use sisal::sync::{RwLock, RwLockWriteGuard};
    ///
    /// let lock = RwLock::new(1);
    /// let mut writer = lock.write().unwrap();
    /// *writer += 1;
    /// let reader = RwLockWriteGuard::downgrade(writer);
    /// assert_eq!(*reader + *lock.read().unwrap(), 4);
    /// ```
    pub fn downgrade(s: Self) -> RwLockReadGuard<'a, T> {
        let writer = ManuallyDrop::new(s);
        let lock = writer.lock;
        lock.poison.leave(writer.entered);
        // First the new guard: should a waker panic, it unlocks.
        let reader = lock.reader();
        // SAFETY: the writer's guard is not used any more; the reader's is.
        unsafe { lock.raw.downgrade() };
        reader
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(t: T) -> RwLock<T> {
        RwLock::new(t)
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> RwLock<T> {
        RwLock::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RwLock");
        match self.try_read() {
            Ok(guard) => shown.field("data", &&*guard),
            Err(TryLockError::Poisoned(error)) => shown.field("data", &&**error.get_ref()),
            Err(TryLockError::WouldBlock) => shown.field("data", &format_args!("<locked>")),
        };
        shown.field("poisoned", &self.is_poisoned());
        shown.finish_non_exhaustive()
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: while there are readers there is no writer.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the writer's guard is the only one.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the guard had it.
        unsafe { self.raw.unlock(Wants::Read) };
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.poison.leave(self.entered);
        // SAFETY: the guard had it.
        unsafe { self.lock.raw.unlock(Wants::Write) };
    }
}

macro_rules! shown_as_the_value {
    ($($Guard:ident)*) => { $(
        impl<T: ?Sized + fmt::Debug> fmt::Debug for $Guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }

        impl<T: ?Sized + fmt::Display> fmt::Display for $Guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    )* };
}
shown_as_the_value!(RwLockReadGuard RwLockWriteGuard);
