//! A worker's inbox: fibers that other threads made runnable.
//!
//! A stack of records linked through their own `next` (R. K. Treiber, "Systems Programming: Coping
//! with Parallelism", IBM RJ 5118, 1986). Anybody pushes; the owner takes all at once, so there is
//! no ABA. Nothing is allocated.

use std::ptr;

use crate::fiber::{FiberPtr, Header};
use crate::prefetch::prefetch_to_write;
use crate::shim::{AtomicPtr, Ordering, fence};

pub(super) struct Inbox {
    head: AtomicPtr<Header>,
}

impl Inbox {
    pub(super) fn new() -> Inbox {
        let head = AtomicPtr::new(ptr::null_mut());
        Inbox { head }
    }

    /// Before a push: its line comes while the fiber's word is on its way too.
    pub(super) fn prefetch(&self) {
        prefetch_to_write(ptr::from_ref(self).addr());
    }

    /// Adds a fiber; the caller has the duty to queue it, and it alone (S3).
    pub(super) fn push(&self, fiber: FiberPtr) {
        let raw = fiber.as_raw().cast_mut().cast::<Header>();
        // SAFETY: a fiber that has yet to be queued has not ended.
        let next = unsafe { &fiber.header().next };
        // A guess: to read it first would bring the line, which the owner writes to, twice.
        let mut head = ptr::null_mut();
        loop {
            next.store(head, Ordering::Relaxed);
            // Release pairs with the Acquire of `take`: the link is there when the fiber is.
            match self
                .head
                .compare_exchange_weak(head, raw, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed).is_null()
    }

    /// The owner: everything that is here, oldest first, handed to `each`.
    pub(super) fn take(&self, mut each: impl FnMut(FiberPtr)) {
        let seen = self.head.load(Ordering::Relaxed);
        if seen.is_null() {
            return;
        }
        // The newest record's line comes while this one is taken from whoever pushed.
        prefetch_to_write(seen.addr());
        // Acquire pairs with `push`.
        let mut newest = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        let mut oldest = ptr::null_mut::<Header>();
        while !newest.is_null() {
            // SAFETY: a queued fiber has not ended, and its link is the queue owner's (rule 3).
            let next = unsafe { &(*newest).next };
            // One step only so that the record's line, of which more is written soon, comes once and not twice.
            let rest = next.swap(oldest, Ordering::Relaxed);
            oldest = newest;
            newest = rest;
        }
        while !oldest.is_null() {
            // SAFETY: as above; the link is read before the fiber is handed on.
            let (fiber, next) = unsafe {
                let next = (*oldest).next.load(Ordering::Relaxed);
                (FiberPtr::from_raw(oldest.cast_const().cast()), next)
            };
            each(fiber);
            oldest = next;
        }
    }
}

/// Orders a push before the look at a sleep flag that follows it; pairs with the fence of
/// `Idle::announce`, between that flag and the sleeper's last look at the queues.
pub(super) fn published() {
    fence(Ordering::SeqCst);
}
