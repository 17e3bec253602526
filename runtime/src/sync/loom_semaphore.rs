//! Models of the semaphore: permits are neither lost nor doubled, whoever gives up; what they guard is seen by the next.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::{Acquire, PASSES, Semaphore};
use crate::loom_support::cell::UnsafeCell;
use crate::loom_support::{Bell, explore, thread, wait_for};

struct Guarded {
    semaphore: Semaphore,
    value: UnsafeCell<u32>,
}

// SAFETY: loom checks every access of the cell.
unsafe impl Send for Guarded {}
// SAFETY: as above.
unsafe impl Sync for Guarded {}

impl Guarded {
    fn new(permits: usize) -> Arc<Guarded> {
        Arc::new(Guarded {
            semaphore: Semaphore::new(permits),
            value: UnsafeCell::new(0),
        })
    }

    fn acquire(&self, permits: usize) -> Acquire<'_> {
        Acquire::new(&self.semaphore, permits)
    }

    /// Changes the value, and gives back all permits: the caller has them.
    fn change(&self, permits: usize) {
        // SAFETY: loom checks the access.
        self.value.with_mut(|value| unsafe { *value += 1 });
        self.semaphore.give_back(permits);
    }

    fn wait(&self, permits: usize) {
        assert!(wait_for(self.acquire(permits)).is_ok());
        self.change(permits);
    }

    /// Looks once, and gives up.
    fn give_up(&self, permits: usize) {
        let waker = Waker::from(Bell::new());
        let acquire = pin!(self.acquire(permits));
        if let Poll::Ready(acquired) = acquire.poll(&mut Context::from_waker(&waker)) {
            assert!(acquired.is_ok());
            self.change(permits);
        }
    }

    /// How often the first waiter was passed over.
    fn set_passed(&self, passed: u8) {
        self.semaphore.state.with(|state| {
            if let Some(first) = state.waiters.first() {
                first.passed = passed;
            }
        });
    }

    fn end(&self, permits: usize) {
        let (left, waited_for) =
            (self.semaphore.state).with(|state| (state.permits, !state.waiters.is_empty()));
        assert_eq!((left, waited_for), (permits, false));
    }
}

fn spawned(
    guarded: &Arc<Guarded>,
    f: impl FnOnce(&Guarded) + Send + 'static,
) -> thread::JoinHandle<()> {
    let guarded = Arc::clone(guarded);
    thread::spawn(move || f(&guarded))
}

#[test]
fn loom_semaphore_rounds() {
    explore(30, || {
        let guarded = Guarded::new(1);
        let other = spawned(&guarded, |guarded| {
            guarded.wait(1);
            guarded.wait(1);
        });
        guarded.wait(1);
        other.join().unwrap();
        guarded.end(1);
    });
}

#[test]
fn loom_semaphore_given_up() {
    explore(100, || {
        let guarded = Guarded::new(1);
        let others = [
            spawned(&guarded, |guarded| guarded.give_up(1)),
            spawned(&guarded, |guarded| guarded.wait(1)),
        ];
        guarded.wait(1);
        others.map(|other| other.join().unwrap());
        guarded.end(1);
    });
}

/// The first waiter is served as it gives up, and another waits behind it: that one gets them.
#[test]
fn loom_semaphore_served_as_it_gives_up() {
    explore(50, || {
        let guarded = Guarded::new(2);
        assert!(wait_for(guarded.acquire(2)).is_ok());
        let waker = Waker::from(Bell::new());
        let mut first = Box::pin(guarded.acquire(2));
        let polled = first.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        guarded.set_passed(PASSES);
        let waits = spawned(&guarded, |guarded| guarded.wait(1));
        let gives_back = spawned(&guarded, |guarded| guarded.change(2));
        drop(first);
        waits.join().unwrap();
        gives_back.join().unwrap();
        guarded.end(2);
    });
}

/// Enough for two waiters at once: the one calls the other.
#[test]
fn loom_semaphore_called_on() {
    explore(100, || {
        let guarded = Guarded::new(2);
        let all = guarded.semaphore.try_acquire_many(2).unwrap();
        let acquires = || {
            spawned(&guarded, |guarded| {
                assert!(wait_for(guarded.acquire(1)).is_ok());
            })
        };
        let others = [acquires(), acquires()];
        drop(all);
        // Neither gives back: each must get one of the two.
        others.map(|other| other.join().unwrap());
        guarded.end(0);
    });
}

#[test]
fn loom_semaphore_closed() {
    explore(20, || {
        let guarded = Guarded::new(0);
        let closes = spawned(&guarded, |guarded| guarded.semaphore.close());
        assert!(wait_for(guarded.acquire(1)).is_err());
        closes.join().unwrap();
        guarded.end(0);
    });
}
