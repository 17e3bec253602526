//! Models of the list: a grant against a waiter that gives up, and what a grant brings with it.

use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::{Locked, Place, WaitList};
use crate::fiber::loom_state::{Home, OnStack};
use crate::fiber::{FiberPtr, FiberRef, Running};
use crate::loom_support::cell::UnsafeCell;
use crate::loom_support::{Bell, explore, fiber, thread, wait_for};
use crate::park::waker::{in_frame, settle};

/// The simplest that can be waited for: so many permits, each with something that its last owner left.
struct Permits {
    list: Locked<(usize, WaitList<()>)>,
    left: UnsafeCell<u32>,
}

// SAFETY: loom checks every access of the cell.
unsafe impl Send for Permits {}
// SAFETY: as above.
unsafe impl Sync for Permits {}

impl Permits {
    fn new() -> Arc<Permits> {
        Arc::new(Permits {
            list: Locked::new((0, WaitList::new())),
            left: UnsafeCell::new(0),
        })
    }

    fn give(&self) {
        // SAFETY: loom checks the access: whoever gives has the one permit.
        self.left.with_mut(|left| unsafe { *left += 1 });
        let waker = self.list.with(|(free, list)| {
            *free += usize::from(list.is_empty());
            list.grant_first()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn take(&self) -> Take<'_> {
        Take {
            permits: self,
            place: Place::new(()),
            over: false,
        }
    }

    /// Uses the permit, which the caller has.
    fn used(&self) {
        // SAFETY: loom checks the access.
        assert!(self.left.with(|left| unsafe { *left }) > 0);
    }
}

struct Take<'a> {
    permits: &'a Permits,
    place: Place<()>,
    over: bool,
}

impl Future for Take<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: nothing is moved.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: pinned with the whole.
        let place = unsafe { Pin::new_unchecked(&this.place) };
        let old = this.permits.list.with(|(free, list)| {
            if place.is_granted() {
                this.over = true;
            } else if *free > 0 && list.is_empty() {
                *free -= 1;
                this.over = true;
            } else {
                // SAFETY: this list only; `drop` takes it out. Nobody is called after it.
                return unsafe { list.wait(place, settle(cx.waker())) };
            }
            None
        });
        drop(old);
        match this.over {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Drop for Take<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // SAFETY: it is not moved any more.
        let place = unsafe { Pin::new_unchecked(&self.place) };
        // SAFETY: this list only.
        let own = self
            .permits
            .list
            .with(|(_, list)| unsafe { list.remove(place) });
        drop(own);
        if place.is_granted() {
            self.permits.used();
            self.permits.give();
        }
    }
}

fn spawned<R: Send + 'static>(
    permits: &Arc<Permits>,
    f: impl FnOnce(&Permits) -> R + Send + 'static,
) -> thread::JoinHandle<R> {
    let permits = Arc::clone(permits);
    thread::spawn(move || f(&permits))
}

/// The owner goes on, and frees its place, while the granter is still on its way out.
#[test]
fn loom_wait_list_grant() {
    explore(10, || {
        let permits = Permits::new();
        let giver = spawned(&permits, Permits::give);
        wait_for(permits.take());
        permits.used();
        giver.join().unwrap();
        assert!(
            permits
                .list
                .with(|(free, list)| *free == 0 && list.is_empty())
        );
    });
}

/// One permit and two who wait, of whom one gives up: the other gets it, whoever came first and whoever was meant.
#[test]
fn loom_wait_list_given_up() {
    explore(100, || {
        let permits = Permits::new();
        let giver = spawned(&permits, Permits::give);
        let gives_up = spawned(&permits, |permits| {
            let mut take = pin!(permits.take());
            let waker = Waker::from(Bell::new());
            let taken = take.as_mut().poll(&mut Context::from_waker(&waker));
            // It did not want it for long.
            if taken.is_ready() {
                permits.used();
                permits.give();
            }
        });
        wait_for(permits.take());
        permits.used();
        giver.join().unwrap();
        gives_up.join().unwrap();
        assert!(
            permits
                .list
                .with(|(free, list)| *free == 0 && list.is_empty())
        );
    });
}

/// Somebody who calls for a fiber and counts it.
fn called(fiber: &FiberRef) -> thread::JoinHandle<()> {
    let fiber = fiber.clone();
    thread::spawn(move || fiber.wake(0))
}

/// A fiber waits in its own frame, and ends after that; its worker is this thread. `park` is how it waits.
fn fiber_takes(
    permits: &Permits,
    (own, handle): (FiberPtr, FiberRef),
    home: &Home,
    park: impl Fn(&OnStack<'_>),
) {
    home.run(&handle, |on_stack| {
        // SAFETY: of a fiber that runs until the end of this frame, in which the future is pinned.
        let waker = unsafe { in_frame(Running::new(own)) };
        let mut cx = Context::from_waker(&waker);
        let mut take = pin!(permits.take());
        while take.as_mut().poll(&mut cx).is_pending() {
            park(on_stack);
        }
        permits.used();
    });
    drop(handle);
    // SAFETY: the fiber's own reference, which its end gives up: the record is freed, unless somebody counts it.
    home.drop_last(unsafe { FiberRef::adopt(own) });
}

/// Another thread grants to a fiber, whose record goes as soon as it knows. It may know before it is woken for that: somebody
/// else calls for it too.
#[test]
fn loom_wait_list_grant_to_fiber() {
    explore(100, || {
        let permits = Permits::new();
        let home = Home::new();
        let waits = fiber(home.clone(), || ());
        let giver = spawned(&permits, Permits::give);
        let caller = called(&waits.1);
        fiber_takes(&permits, waits, &home, |on_stack| on_stack.park());
        giver.join().unwrap();
        caller.join().unwrap();
    });
}

/// A fiber of the same worker grants, while another thread calls for the one that waits.
#[test]
fn loom_wait_list_grant_here() {
    explore(10, || {
        let permits = Permits::new();
        let home = Home::new();
        let waits = fiber(home.clone(), || ());
        let caller = called(&waits.1);
        let given = Cell::new(false);
        fiber_takes(&permits, waits, &home, |on_stack| {
            on_stack.park_while(|| {
                if !given.replace(true) {
                    permits.give();
                }
            });
        });
        caller.join().unwrap();
    });
}
