//! `LazyLock`: std's, for fibers, threads and async tasks at once.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::once::Once;
use crate::shim::const_fn;

/// A value that is made when it is first used, as [`std::sync::LazyLock`]. Whoever needs it while another makes it parks its
/// fiber or blocks its thread, so unlike under std's what makes it may wait as it likes.
///
/// # Poisoning
/// A closure that is left by an unwind leaves the value unusable: each use panics. Cancellation is such an unwind: use
/// [`shield`](crate::fiber::shield) around what waits.
///
/// # Cancellation
/// The first use is a suspension point if it has to wait.
///
/// ```
/// use sisal::sync::LazyLock;
///
/// static TABLE: LazyLock<Vec<u32>> = LazyLock::new(|| (0..10).map(|n| n * n).collect());
/// sisal::run(|| assert_eq!(TABLE[3], 9));
/// ```
pub struct LazyLock<T, F = fn() -> T> {
    once: Once,
    /// The value if `once` is completed, the closure if it is untouched, else nothing.
    data: UnsafeCell<Data<T, F>>,
}

union Data<T, F> {
    value: ManuallyDrop<T>,
    f: ManuallyDrop<F>,
}

// SAFETY: all share the value; what made it, on whatever thread, was called there with the closure's captures. (Send is as
// the fields have it.)
unsafe impl<T: Sync + Send, F: Send> Sync for LazyLock<T, F> {}

// As std's.
impl<T: RefUnwindSafe + UnwindSafe, F: UnwindSafe> RefUnwindSafe for LazyLock<T, F> {}
impl<T: UnwindSafe, F: UnwindSafe> UnwindSafe for LazyLock<T, F> {}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    const_fn! {
        /// A value that `f` makes.
        #[inline]
        pub const fn new(f: F) -> LazyLock<T, F> {
            LazyLock {
                once: Once::new(),
                data: UnsafeCell::new(Data {
                    f: ManuallyDrop::new(f),
                }),
            }
        }
    }

    /// The value, made now if it is not there; waits if another is at it. What `*` does too.
    ///
    /// # Panics
    /// If what makes it panics, or did. On a worker's own stack (an async task spawned from a fiber, a waker), if another is at
    /// it: `spawn(|| LazyLock::force(..)).await` there.
    ///
    /// # Cancellation
    /// A suspension point if it has to wait.
    #[inline]
    #[track_caller]
    pub fn force(this: &LazyLock<T, F>) -> &T {
        if !this.once.is_completed() {
            this.make();
        }
        // SAFETY: completed, and nobody writes to it any more.
        unsafe { &(*this.data.get()).value }
    }

    #[cold]
    #[track_caller]
    fn make(&self) {
        let names = (
            "LazyLock::force",
            "`spawn` a fiber that forces it, and `.await` that",
        );
        self.once.call(names, false, |_| {
            // SAFETY: nobody else is here, and this is done once: the closure is still there.
            let f = unsafe { ManuallyDrop::take(&mut (*self.data.get()).f) };
            let value = ManuallyDrop::new(f());
            // SAFETY: nobody reads before this is completed.
            unsafe { self.data.get().write(Data { value }) };
        });
    }

    /// The value, made now if it is not there.
    ///
    /// # Panics
    /// If what makes it panics, or did.
    #[inline]
    #[track_caller]
    pub fn force_mut(this: &mut LazyLock<T, F>) -> &mut T {
        LazyLock::force(this);
        // SAFETY: completed.
        unsafe { &mut this.data.get_mut().value }
    }
}

impl<T, F> LazyLock<T, F> {
    /// The value, if it is there. Makes none, and does not wait.
    #[inline]
    pub fn get(this: &LazyLock<T, F>) -> Option<&T> {
        match this.once.is_completed() {
            // SAFETY: completed, and nobody writes to it any more.
            true => Some(unsafe { &(*this.data.get()).value }),
            false => None,
        }
    }

    /// The value, if it is there. Makes none.
    #[inline]
    pub fn get_mut(this: &mut LazyLock<T, F>) -> Option<&mut T> {
        match this.once.is_completed_mut() {
            // SAFETY: completed.
            true => Some(unsafe { &mut this.data.get_mut().value }),
            false => None,
        }
    }
}

impl<T, F> Drop for LazyLock<T, F> {
    fn drop(&mut self) {
        if self.once.is_completed_mut() {
            // SAFETY: completed, and not used again.
            unsafe { ManuallyDrop::drop(&mut self.data.get_mut().value) }
        } else if self.once.is_untouched_mut() {
            // SAFETY: not called, and not used again.
            unsafe { ManuallyDrop::drop(&mut self.data.get_mut().f) }
        }
    }
}

impl<T, F: FnOnce() -> T> Deref for LazyLock<T, F> {
    type Target = T;
    #[inline]
    #[track_caller]
    fn deref(&self) -> &T {
        LazyLock::force(self)
    }
}

impl<T, F: FnOnce() -> T> DerefMut for LazyLock<T, F> {
    #[inline]
    #[track_caller]
    fn deref_mut(&mut self) -> &mut T {
        LazyLock::force_mut(self)
    }
}

impl<T: Default> Default for LazyLock<T> {
    fn default() -> LazyLock<T> {
        LazyLock::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_tuple("LazyLock");
        match LazyLock::get(self) {
            Some(value) => shown.field(value),
            None => shown.field(&format_args!("<uninit>")),
        };
        shown.finish()
    }
}
