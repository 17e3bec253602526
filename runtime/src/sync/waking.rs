//! Calling wakers, which may be anybody's code: never under a lock.

use std::task::Waker;

#[inline]
pub(super) fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Wakes one after the other until `next` has no more; the others too if one's waker panics.
pub(super) fn wake_all(next: impl FnMut() -> Option<Option<Waker>>) {
    struct Rest<F: FnMut() -> Option<Option<Waker>>>(F);
    impl<F: FnMut() -> Option<Option<Waker>>> Rest<F> {
        fn run(&mut self) {
            while let Some(waker) = (self.0)() {
                wake(waker);
            }
        }
    }
    impl<F: FnMut() -> Option<Option<Waker>>> Drop for Rest<F> {
        fn drop(&mut self) {
            self.run();
        }
    }
    Rest(next).run();
}
