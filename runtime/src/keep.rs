//! Frames that must not be left: what `overflow::kill` meets on a stack and refuses for.
//!
//! A function in the section `sisal_keep` or `sisal_lend` is on the stack for as long as what it calls runs, but for one
//! case: of a call that is its last act an optimising compiler makes a jump, and then its frame is gone. So such a
//! function ends with [`stays`].

use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::shim::{Ordering, compiler_fence};

/// The last act of a function in one of the two sections: no call before it becomes a jump.
#[inline(always)]
pub(crate) fn stays() {
    // With nothing else: it only has to come after the call.
    compiler_fence(Ordering::SeqCst);
}

/// Calls `f`, which must not be left in the middle.
#[inline(never)]
#[unsafe(link_section = "sisal_keep")] // see `overflow::kill`
pub(crate) fn keep<R>(f: impl FnOnce() -> R) -> R {
    let result = f();
    stays();
    result
}

/// A future of the reactor's that Sisal itself waits for. It takes locks which every fiber of the worker needs, so
/// neither a poll nor the drop of it may be left.
pub(crate) struct Kept<F>(ManuallyDrop<F>);

impl<F> Kept<F> {
    pub(crate) fn new(future: F) -> Kept<F> {
        Kept(ManuallyDrop::new(future))
    }

    pub(crate) fn inner(self: Pin<&Self>) -> Pin<&F> {
        // SAFETY: it is pinned with the whole, and dropped in place.
        unsafe { self.map_unchecked(|kept| &*kept.0) }
    }
}

impl<F: Future> Future for Kept<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: as in `inner`.
        let future = unsafe { self.map_unchecked_mut(|kept| &mut *kept.0) };
        keep(|| future.poll(cx))
    }
}

impl<F> Drop for Kept<F> {
    fn drop(&mut self) {
        // SAFETY: here only, and it is not used again.
        keep(|| unsafe { ManuallyDrop::drop(&mut self.0) });
    }
}
