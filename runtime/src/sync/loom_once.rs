//! Models of `Once`: one closure runs, all see what it did, and a failure lets the next one try.

use std::sync::Arc;

use super::{Next, Once, OnceState, RUNNING};
use crate::loom_support::cell::UnsafeCell;
use crate::loom_support::{explore, thread, wait_for};

struct Shared {
    once: Once,
    value: UnsafeCell<u32>,
}

// SAFETY: loom checks every access of the cell.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared {
            once: Once::new(),
            value: UnsafeCell::new(0),
        })
    }

    /// `Once::call`, with a wait that a model can do. True: `f` was called.
    fn call(&self, f: impl FnOnce(&OnceState)) -> bool {
        loop {
            match self.once.next(true) {
                Next::Completed => return false,
                Next::Wait => {
                    wait_for(self.once.over(|state| state != RUNNING));
                }
                Next::Run { poisoned } => {
                    self.once.run(poisoned, f);
                    return true;
                }
            }
        }
    }

    fn set(&self) -> bool {
        self.call(|_| {
            // SAFETY: loom checks the access.
            self.value.with_mut(|value| unsafe { *value += 1 });
        })
    }

    fn check(&self) {
        // SAFETY: loom checks the access.
        assert_eq!(self.value.with(|value| unsafe { *value }), 1);
        assert!(self.once.waiters.with(|waiters| waiters.is_empty()));
    }
}

fn spawned(shared: &Arc<Shared>, f: fn(&Shared) -> bool) -> thread::JoinHandle<bool> {
    let shared = Arc::clone(shared);
    thread::spawn(move || f(&shared))
}

#[test]
fn loom_once_called_by_three() {
    explore(100, || {
        let shared = Shared::new();
        let others = [spawned(&shared, Shared::set), spawned(&shared, Shared::set)];
        let mut calls = u32::from(shared.set());
        // SAFETY: loom checks the access.
        assert_eq!(shared.value.with(|value| unsafe { *value }), 1);
        for other in others {
            calls += u32::from(other.join().unwrap());
        }
        assert_eq!(calls, 1);
        shared.check();
    });
}

#[test]
fn loom_once_waited_for_past_a_failure() {
    explore(50, || {
        let shared = Shared::new();
        let fails = spawned(&shared, |shared| shared.call(OnceState::fail));
        let sets = spawned(&shared, Shared::set);
        wait_for(shared.once.wait_force_async());
        // SAFETY: loom checks the access.
        assert_eq!(shared.value.with(|value| unsafe { *value }), 1);
        fails.join().unwrap();
        assert!(sets.join().unwrap());
        shared.check();
    });
}
