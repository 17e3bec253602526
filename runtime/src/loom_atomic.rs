//! loom's atomics where they allow what the memory model does not: false alarms, not bugs that are missed.

use std::ops::Deref;

use super::{Ordering, fence};

/// loom lets a store of one thread come, in the order of all writes to a flag, between what another
/// thread's read-modify-write read and what it wrote. A store that is a swap cannot come there.
#[derive(Debug)]
pub(crate) struct AtomicBool(loom::sync::atomic::AtomicBool);

impl AtomicBool {
    pub(crate) fn new(value: bool) -> AtomicBool {
        AtomicBool(loom::sync::atomic::AtomicBool::new(value))
    }

    pub(crate) fn store(&self, value: bool, ordering: Ordering) {
        self.0.swap(value, ordering);
    }
}

impl Deref for AtomicBool {
    type Target = loom::sync::atomic::AtomicBool;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// loom takes a `SeqCst` read-modify-write for an `AcqRel` one. Only its fences are sequentially
/// consistent: so here is one after it.
#[derive(Debug)]
pub(crate) struct AtomicU64(loom::sync::atomic::AtomicU64);

impl AtomicU64 {
    pub(crate) fn new(value: u64) -> AtomicU64 {
        AtomicU64(loom::sync::atomic::AtomicU64::new(value))
    }

    pub(crate) fn fetch_add(&self, value: u64, ordering: Ordering) -> u64 {
        let before = self.0.fetch_add(value, ordering);
        // See above.
        if ordering == Ordering::SeqCst {
            fence(ordering);
        }
        before
    }
}

impl Deref for AtomicU64 {
    type Target = loom::sync::atomic::AtomicU64;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// loom's mutex with the signature of `parking_lot`'s.
#[derive(Debug)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0.lock().expect("nothing panics under the lock")
    }
}
