//! Models of the lock: who waits gets it, also past one that gives up; what it guards is seen by the next.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use super::{PASSES, RawMutex};
use crate::loom_support::cell::UnsafeCell;
use crate::loom_support::{Bell, explore, thread, wait_for};
use crate::shim::Ordering;

struct Guarded {
    mutex: RawMutex,
    value: UnsafeCell<u32>,
}

// SAFETY: loom checks every access of the cell.
unsafe impl Send for Guarded {}
// SAFETY: as above.
unsafe impl Sync for Guarded {}

impl Guarded {
    fn new() -> Arc<Guarded> {
        Arc::new(Guarded {
            mutex: RawMutex::new(),
            value: UnsafeCell::new(0),
        })
    }

    /// Changes the value, and unlocks. The caller has the lock.
    fn change(&self) {
        // SAFETY: loom checks the access.
        self.value.with_mut(|value| unsafe { *value += 1 });
        // SAFETY: the caller's, which gives it up here.
        unsafe { self.mutex.unlock() };
    }

    fn wait(&self) {
        wait_for(self.mutex.acquire());
        self.change();
    }

    /// Looks once, and gives up.
    fn give_up(&self) {
        let mut acquire = pin!(self.mutex.acquire());
        let waker = Waker::from(Bell::new());
        if acquire
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            self.change();
        }
    }

    /// All have gone: it is free, and nobody is in the list.
    fn end(&self, changes: std::ops::RangeInclusive<u32>) {
        assert_eq!(self.mutex.state.load(Ordering::Relaxed), 0);
        assert!(self.mutex.waiters.with(|waiters| waiters.is_empty()));
        assert!(self.mutex.try_lock());
        // SAFETY: loom checks the access.
        assert!(changes.contains(&self.value.with(|value| unsafe { *value })));
    }
}

fn against(
    least: u64,
    others: &'static [fn(&Guarded)],
    own: fn(&Guarded),
    changes: std::ops::RangeInclusive<u32>,
) {
    explore(least, move || {
        let guarded = Guarded::new();
        let others: Vec<_> = others
            .iter()
            .map(|other| {
                let guarded = Arc::clone(&guarded);
                thread::spawn(move || other(&guarded))
            })
            .collect();
        own(&guarded);
        for other in others {
            other.join().unwrap();
        }
        guarded.end(changes.clone());
    });
}

#[test]
fn loom_mutex_two_rounds() {
    fn twice(guarded: &Guarded) {
        guarded.wait();
        guarded.wait();
    }
    against(30, &[twice], Guarded::wait, 3..=3);
}

#[test]
fn loom_mutex_given_up() {
    against(
        100,
        &[Guarded::give_up, Guarded::wait],
        Guarded::wait,
        2..=3,
    );
}

/// The first waiter was passed over so often that it is handed the lock, while it gives up; another waits behind it.
#[test]
fn loom_mutex_handed_to_one_that_gives_up() {
    explore(50, || {
        let guarded = Guarded::new();
        assert!(guarded.mutex.try_lock());
        let mut first = Box::pin(guarded.mutex.acquire());
        let waker = Waker::from(Bell::new());
        assert!(
            first
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        guarded
            .mutex
            .waiters
            .with(|waiters| waiters.first().unwrap().0 = PASSES);
        let waits = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || guarded.wait())
        };
        let unlocks = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || guarded.change())
        };
        drop(first);
        waits.join().unwrap();
        unlocks.join().unwrap();
        guarded.end(2..=2);
    });
}

/// The same, but it takes the lock that it is handed.
#[test]
fn loom_mutex_handed_over() {
    explore(10, || {
        let guarded = Guarded::new();
        assert!(guarded.mutex.try_lock());
        let waits = {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || guarded.wait())
        };
        guarded.mutex.waiters.with(|waiters| {
            if let Some(passed) = waiters.first() {
                passed.0 = PASSES;
            }
        });
        guarded.change();
        waits.join().unwrap();
        guarded.end(2..=2);
    });
}
