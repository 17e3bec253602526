//! `OnceLock`: std's, for fibers, threads and async tasks at once.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::once::Once;
use crate::shim::const_fn;

/// A value that is set once, as [`std::sync::OnceLock`]. Whoever needs it while another makes it parks its fiber or blocks
/// its thread, so unlike under std's what makes it may wait as it likes.
///
/// # Cancellation
/// Waiting for another to be done is a suspension point. A closure that is unwound leaves the cell empty.
///
/// ```
/// use sisal::sync::OnceLock;
///
/// static ANSWER: OnceLock<u32> = OnceLock::new();
/// sisal::run(|| {
///     let child = sisal::spawn(|| *ANSWER.get_or_init(|| 42));
///     assert_eq!(*ANSWER.wait(), 42);
///     assert_eq!(child.join().unwrap(), 42);
///     assert_eq!(ANSWER.set(43), Err(43));
/// });
/// ```
pub struct OnceLock<T> {
    once: Once,
    /// There if `once` is completed.
    value: UnsafeCell<MaybeUninit<T>>,
    /// It drops a `T`.
    owns: PhantomData<T>,
}

// SAFETY: the value goes with the cell.
unsafe impl<T: Send> Send for OnceLock<T> {}
// SAFETY: all share the value; one of them, on whatever thread, brought it there, or takes it away.
unsafe impl<T: Sync + Send> Sync for OnceLock<T> {}

// As std's.
impl<T: RefUnwindSafe + UnwindSafe> RefUnwindSafe for OnceLock<T> {}
impl<T: UnwindSafe> UnwindSafe for OnceLock<T> {}

impl<T> OnceLock<T> {
    const_fn! {
        /// Without a value.
        #[must_use]
        #[inline]
        pub const fn new() -> OnceLock<T> {
            OnceLock {
                once: Once::new(),
                value: UnsafeCell::new(MaybeUninit::uninit()),
                owns: PhantomData,
            }
        }
    }

    /// The value, if it is there. Does not wait.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        match self.once.is_completed() {
            // SAFETY: completed.
            true => Some(unsafe { self.value() }),
            false => None,
        }
    }

    /// The value, if it is there.
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut T> {
        match self.once.is_completed_mut() {
            // SAFETY: completed.
            true => Some(unsafe { self.value.get_mut().assume_init_mut() }),
            false => None,
        }
    }

    /// # Safety
    /// `once` is completed.
    #[inline]
    unsafe fn value(&self) -> &T {
        // SAFETY: by contract it is there, and nobody writes to it any more.
        unsafe { (*self.value.get()).assume_init_ref() }
    }

    /// Waits until another has set the value.
    ///
    /// # Panics
    /// On a worker's own stack (an async task spawned from a fiber, a waker), if it is not there: await
    /// [`wait_async`](Self::wait_async) there.
    ///
    /// # Cancellation
    /// A suspension point if it has to wait.
    #[inline]
    #[track_caller]
    pub fn wait(&self) -> &T {
        let names = ("OnceLock::wait", "await `OnceLock::wait_async`");
        self.once.wait_force_as(names);
        // SAFETY: waited for.
        unsafe { self.value() }
    }

    /// [`wait`](Self::wait) for async code.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() {
    /// let cell = sisal::sync::OnceLock::new();
    /// let (value, set) = tokio::join!(cell.wait_async(), async { cell.set(1) });
    /// assert_eq!((*value, set), (1, Ok(())));
    /// # }
    /// ```
    pub async fn wait_async(&self) -> &T {
        self.once.wait_force_async().await;
        // SAFETY: waited for.
        unsafe { self.value() }
    }

    /// Sets the value; waits if another is at it.
    ///
    /// # Errors
    /// If there is one already: gives `value` back.
    ///
    /// # Panics
    /// On a worker's own stack, if it would have to wait.
    ///
    /// # Cancellation
    /// A suspension point if it has to wait.
    #[inline]
    #[track_caller]
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.init("OnceLock::set", || value.take());
        match value {
            None => Ok(()),
            Some(value) => Err(value),
        }
    }

    /// The value; if there is none, `f` makes it. Waits if another is at it.
    ///
    /// # Panics
    /// If `f` does: then there is still no value. On a worker's own stack (an async task spawned from a fiber, a waker),
    /// if another is at it: await [`wait_async`](Self::wait_async) there.
    ///
    /// # Cancellation
    /// A suspension point if it has to wait.
    #[inline]
    #[track_caller]
    pub fn get_or_init<F>(&self, f: F) -> &T
    where
        F: FnOnce() -> T,
    {
        if self.get().is_none() {
            self.init("OnceLock::get_or_init", || Some(f()));
        }
        // SAFETY: there, or made just now: `f` returned.
        unsafe { self.value() }
    }

    /// Runs `f` unless there is a value; `None` leaves it so.
    #[track_caller]
    fn init(&self, call: &'static str, f: impl FnOnce() -> Option<T>) {
        if self.once.is_completed() {
            return;
        }
        let names = (call, "await `OnceLock::wait_async`");
        self.once.call(names, true, |state| match f() {
            // SAFETY: nobody else is here, and nobody reads before this is completed.
            Some(value) => unsafe {
                (*self.value.get()).write(value);
            },
            None => state.fail(),
        });
    }

    /// The value, if there is one.
    #[inline]
    pub fn into_inner(mut self) -> Option<T> {
        self.take()
    }

    /// Takes the value out, if there is one. The cell is as new.
    #[inline]
    pub fn take(&mut self) -> Option<T> {
        if !self.once.is_completed_mut() {
            return None;
        }
        self.once = Once::new();
        // SAFETY: it was completed, and is not any more.
        Some(unsafe { self.value.get_mut().assume_init_read() })
    }
}

impl<T> Drop for OnceLock<T> {
    #[inline]
    fn drop(&mut self) {
        if self.once.is_completed_mut() {
            // SAFETY: completed, and not used again.
            unsafe { self.value.get_mut().assume_init_drop() }
        }
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> OnceLock<T> {
        OnceLock::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_tuple("OnceLock");
        match self.get() {
            Some(value) => shown.field(value),
            None => shown.field(&format_args!("<uninit>")),
        };
        shown.finish()
    }
}

impl<T: Clone> Clone for OnceLock<T> {
    fn clone(&self) -> OnceLock<T> {
        match self.get() {
            Some(value) => OnceLock::from(value.clone()),
            None => OnceLock::new(),
        }
    }
}

impl<T> From<T> for OnceLock<T> {
    fn from(value: T) -> OnceLock<T> {
        let cell = OnceLock::new();
        // It is empty, and nobody else's.
        let _ = cell.set(value);
        cell
    }
}

impl<T: PartialEq> PartialEq for OnceLock<T> {
    fn eq(&self, other: &OnceLock<T>) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for OnceLock<T> {}
