//! A lock for a few steps that wait for nothing: letting go of it is a plain store.
//!
//! Why not `parking_lot`'s: who lets go of that asks, by a second read-modify-write, whether a thread sleeps for it. Under a
//! channel that is a sixth of a message's cost. Here nobody has to be woken: who finds it locked, which takes two threads at one
//! primitive within some ten nanoseconds, spins, then gives the CPU away, and if the owner was preempted, sleeps a little.

use std::cell::UnsafeCell;
use std::thread;
use std::time::Duration;

use crossbeam_utils::Backoff;

use crate::shim::{AtomicBool, Ordering};

pub(super) struct ShortLock<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one thread at a time, under the lock, and moves from one to the other.
unsafe impl<T: Send> Sync for ShortLock<T> {}

impl<T> ShortLock<T> {
    pub(super) const fn new(value: T) -> ShortLock<T> {
        ShortLock {
            locked: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Calls `f` under the lock, which is released also if `f` panics.
    #[inline]
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        struct Unlock<'a>(&'a AtomicBool);
        impl Drop for Unlock<'_> {
            #[inline]
            fn drop(&mut self) {
                // Release pairs with the Acquire of `try_lock`.
                self.0.store(false, Ordering::Release);
            }
        }
        if !self.try_lock() {
            self.lock_contended();
        }
        let _unlock = Unlock(&self.locked);
        // SAFETY: locked, so no other reference is made until `_unlock` is dropped.
        f(unsafe { &mut *self.value.get() })
    }

    #[inline]
    fn try_lock(&self) -> bool {
        // Acquire pairs with the Release of the last owner: what it did comes before.
        let taken =
            (self.locked).compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok()
    }

    #[cold]
    fn lock_contended(&self) {
        /// The owner was preempted: a fraction of what the system lets a thread run.
        const PREEMPTED: Duration = Duration::from_micros(50);
        let backoff = Backoff::new();
        while self.locked.load(Ordering::Relaxed) || !self.try_lock() {
            match backoff.is_completed() {
                true => thread::sleep(PREEMPTED),
                false => backoff.snooze(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ShortLock;

    #[test]
    fn one_at_a_time() {
        let rounds = if cfg!(miri) { 20 } else { 20_000 };
        let lock = ShortLock::new((0, 0));
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..rounds {
                        lock.with(|(inside, sum)| {
                            *inside += 1;
                            assert_eq!(*inside, 1);
                            *sum += 1;
                            *inside -= 1;
                        });
                    }
                });
            }
        });
        lock.with(|(_, sum)| assert_eq!(*sum, 4 * rounds));
    }

    #[test]
    fn a_panic_releases_it() {
        let lock = ShortLock::new(1);
        std::thread::scope(|s| {
            let panics = s.spawn(|| lock.with(|_| panic!("expected")));
            assert!(panics.join().is_err());
        });
        assert_eq!(lock.with(|value| *value), 1);
    }
}
