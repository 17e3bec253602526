//! The wait for permits.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{AcquireError, Semaphore, SemaphorePermit, TryAcquireError, Wants};
use crate::sync::wait_list::Place;
use crate::sync::wakers::let_go;

/// Ready when the permits are the caller's.
pub(super) struct AcquireFuture<'a> {
    semaphore: &'a Semaphore,
    permits: usize,
    place: Place<Wants>,
    /// In the list, or granted and not taken up.
    waiting: bool,
}

impl<'a> AcquireFuture<'a> {
    pub(super) fn new(semaphore: &'a Semaphore, permits: usize) -> AcquireFuture<'a> {
        AcquireFuture {
            semaphore,
            permits,
            place: Place::new(Wants {
                permits,
                passed: 0,
                closed: false,
            }),
            waiting: false,
        }
    }

    fn place(self: Pin<&Self>) -> Pin<&Place<Wants>> {
        // SAFETY: pinned as part of a pinned future.
        unsafe { self.map_unchecked(|acquire| &acquire.place) }
    }

    /// How the wait ended, once the place is granted.
    ///
    /// # Safety
    /// It is granted.
    unsafe fn take_up(self: Pin<&mut Self>) -> Result<(), AcquireError> {
        // SAFETY: nothing is moved.
        let this = unsafe { self.get_unchecked_mut() };
        this.waiting = false;
        // SAFETY: pinned as part of a pinned future; granted, so it is in no list.
        let wants = unsafe { Pin::new_unchecked(&mut this.place).wants() };
        match wants.closed {
            true => Err(AcquireError::new()),
            false => Ok(()),
        }
    }

    /// Ends the wait. How it ended meanwhile, if it did.
    pub(super) fn give_up(mut self: Pin<&mut Self>) -> Option<Result<(), AcquireError>> {
        if !self.waiting {
            return None;
        }
        if !self.place.is_granted() {
            let place = self.as_ref().place();
            let (own, waited_for) = self.semaphore.state.with(|state| {
                // SAFETY: used with this list only.
                let own = unsafe { state.waiters.remove(place) };
                (own, !state.waiters.is_empty())
            });
            let_go(own);
            // It may have been called, or stood before one that wants less.
            if waited_for {
                self.semaphore.settle();
            }
        }
        // Nobody grants it from here on.
        if self.place.is_granted() {
            // SAFETY: it is.
            return Some(unsafe { self.take_up() });
        }
        // SAFETY: nothing is moved.
        unsafe { self.as_mut().get_unchecked_mut() }.waiting = false;
        None
    }
}

impl Future for AcquireFuture<'_> {
    type Output = Result<(), AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let semaphore = self.semaphore;
        if self.waiting && self.place.is_granted() {
            // SAFETY: it is.
            return Poll::Ready(unsafe { self.take_up() });
        }
        let mut waker = Some(cx.waker().clone());
        let mut own = None;
        let place = self.as_ref().place();
        let looked = semaphore.state.with(|state| {
            if !self.waiting {
                match state.take(self.permits) {
                    Ok(()) => return Looked::Taken,
                    Err(TryAcquireError::Closed) => return Looked::Closed,
                    Err(TryAcquireError::NoPermits) => {}
                }
            } else if place.is_granted() {
                return Looked::Served;
            } else if !state.closed
                && state.permits >= self.permits
                && state.waiters.is_first(place)
            {
                state.permits -= self.permits;
                // SAFETY: used with this list only.
                own = unsafe { state.waiters.remove(place) };
                return match state.waiters.is_empty() {
                    true => Looked::Taken,
                    false => Looked::TakenBefore,
                };
            }
            if let Some(waker) = waker.take() {
                // SAFETY: used with this list only, and not granted; `drop` takes it out before it is freed.
                own = unsafe { state.waiters.wait(place, waker) };
            }
            Looked::Waiting
        });
        let_go((own, waker));
        // SAFETY: nothing is moved.
        let waiting = unsafe { &mut self.as_mut().get_unchecked_mut().waiting };
        *waiting = matches!(looked, Looked::Waiting | Looked::Served);
        match looked {
            Looked::Waiting => Poll::Pending,
            Looked::Closed => Poll::Ready(Err(AcquireError::new())),
            Looked::Taken => Poll::Ready(Ok(())),
            Looked::TakenBefore => {
                // There may be enough for the next too, whose waker may panic: then these go back.
                let taken = SemaphorePermit::new(semaphore, self.permits);
                semaphore.settle();
                taken.forget();
                Poll::Ready(Ok(()))
            }
            // SAFETY: it is granted.
            Looked::Served => Poll::Ready(unsafe { self.take_up() }),
        }
    }
}

/// What a poll found under the lock.
enum Looked {
    Waiting,
    Closed,
    Taken,
    /// Others wait still.
    TakenBefore,
    /// The place is granted.
    Served,
}

impl Drop for AcquireFuture<'_> {
    fn drop(&mut self) {
        if !self.waiting {
            return;
        }
        let permits = self.permits;
        // SAFETY: not moved any more.
        let mut this = unsafe { Pin::new_unchecked(self) };
        if let Some(Ok(())) = this.as_mut().give_up() {
            this.semaphore.give_back(permits);
        }
    }
}
