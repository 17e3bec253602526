//! Waking many without a lock held, and without losing any to a waker that panics.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;

/// So many are called between two looks at the list. They lie on the stack, which may be a fiber's.
const BATCH: usize = 16;

/// Wakers taken under a lock, to be called after it.
pub(crate) struct Wakers {
    wakers: [Option<Waker>; BATCH],
    len: usize,
}

impl Wakers {
    pub(crate) fn is_full(&self) -> bool {
        self.len == BATCH
    }

    /// There must be room.
    pub(crate) fn push(&mut self, waker: Option<Waker>) {
        if waker.is_some() {
            self.wakers[self.len] = waker;
            self.len += 1;
        }
    }
}

/// Calls those that `take` collects (under the lock of the list), and `take` again for as long as it says that there
/// are more. A waker's panic goes on when all were called.
pub(crate) fn wake_all(mut take: impl FnMut(&mut Wakers) -> bool) {
    let mut wakers = Wakers {
        wakers: [const { None }; BATCH],
        len: 0,
    };
    let mut panic = None;
    loop {
        let more = take(&mut wakers);
        let len = std::mem::take(&mut wakers.len);
        for waker in &mut wakers.wakers[..len] {
            if let Some(waker) = waker.take()
                && let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake()))
            {
                panic.get_or_insert(payload);
            }
        }
        if !more {
            break;
        }
    }
    if let Some(payload) = panic {
        resume_unwind(payload);
    }
}

/// Wakes, and gives `kept` back. If the waker panics `undo` gets it, and the panic goes on.
#[inline]
pub(crate) fn wake_or<T>(waker: Waker, kept: T, undo: impl FnOnce(T)) -> T {
    match catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        Ok(()) => kept,
        Err(payload) => {
            undo(kept);
            resume_unwind(payload)
        }
    }
}

/// Drops wakers that nobody calls any more. They may be anybody's code, whose panic must not come between a waiter and
/// what it has just got: it ends here.
pub(crate) fn let_go<W>(wakers: W) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(wakers))) {
        std::mem::forget(payload);
    }
}
