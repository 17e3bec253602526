//! Whether somebody unwound while it held a lock.

use crate::current;
use crate::fiber::panicking;
use crate::shim::{AtomicBool, Ordering, const_fn};

/// The mark on a lock.
pub(super) struct Poison(AtomicBool);

/// What a guard remembers: whether its fiber or thread was being unwound already when it locked. Such a guard does
/// not poison: the unwind did not begin in its care.
#[derive(Clone, Copy)]
pub(super) struct Entered {
    unwinding: bool,
}

impl Poison {
    const_fn! {
        pub(super) const fn new() -> Poison {
            Poison(AtomicBool::new(false))
        }
    }

    // Relaxed everywhere: the lock orders it for whoever has that, and to others it says nothing certain.

    #[inline]
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// After locking. The fiber's own state, not its thread's: others of its worker may be in mid-unwind (S9).
    #[inline]
    pub(super) fn enter(&self) -> Entered {
        // In doubt not: then its drop does poison.
        let unwinding = unwinding() && !current::worker_beside_unwinding();
        Entered { unwinding }
    }

    /// Before unlocking.
    #[inline]
    pub(super) fn leave(&self, entered: Entered) {
        if !entered.unwinding && unwinding() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// `fiber::panicking`, whose usual answer is one load.
#[inline]
fn unwinding() -> bool {
    std::thread::panicking() && panicking()
}
