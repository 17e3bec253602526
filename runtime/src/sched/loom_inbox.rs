//! Models of the inbox: several threads push, its owner takes all.
//!
//! Protocol: README.md of this folder, "Inbox".

use std::sync::Arc;
use std::task::Wake;

use crate::loom_support::cell::UnsafeCell;
use crate::loom_support::thread;

use super::inbox::Inbox;
use crate::fiber::{FiberPtr, FiberRef, Schedule};
use crate::loom_support::{Bell, explore, fiber};

struct Nowhere;

impl Schedule for Nowhere {
    fn schedule(&self, _: FiberPtr) {
        unreachable!("the fibers are never woken");
    }
}

/// An inbox, fibers for it, and for each fiber what its pusher did before the push.
struct Model {
    inbox: Inbox,
    fibers: Vec<(FiberPtr, FiberRef)>,
    before: Vec<UnsafeCell<u32>>,
    /// The owner's.
    bell: Arc<Bell>,
}

// SAFETY: loom checks every access of the cells.
unsafe impl Send for Model {}
// SAFETY: as above.
unsafe impl Sync for Model {}

impl Model {
    fn new(fibers: usize) -> Arc<Model> {
        Arc::new(Model {
            inbox: Inbox::new(),
            fibers: (0..fibers)
                .map(|_| fiber(Arc::new(Nowhere), || ()))
                .collect(),
            before: (0..fibers).map(|_| UnsafeCell::new(0)).collect(),
            bell: Bell::new(),
        })
    }

    fn push(&self, index: usize) {
        // SAFETY: loom checks the access.
        self.before[index].with_mut(|data| unsafe { *data += 1 });
        self.inbox.push(self.fibers[index].0);
        self.bell.clone().wake();
    }

    /// The owner: what is there, and `each` for it before the next.
    fn take(&self, mut each: impl FnMut(usize)) {
        self.inbox.take(|fiber| {
            let index = self.fibers.iter().position(|f| f.0 == fiber).unwrap();
            // SAFETY: loom checks the access.
            assert!(self.before[index].with(|data| unsafe { *data }) > 0);
            each(index);
        });
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        for (own, _) in &self.fibers {
            // SAFETY: the fiber's own reference, which its end would give up.
            drop(unsafe { FiberRef::adopt(*own) });
        }
    }
}

/// Two threads push, the owner takes meanwhile: each fiber comes once, those of one pusher in order.
#[test]
fn loom_inbox_push_against_take() {
    explore(100, || {
        let model = Model::new(3);
        let owner = {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                let mut taken = Vec::new();
                while taken.len() < 3 {
                    let before = taken.len();
                    model.take(|index| taken.push(index));
                    if taken.len() == before {
                        model.bell.wait();
                    }
                }
                assert!(model.inbox.is_empty());
                taken
            })
        };
        let other = {
            let model = Arc::clone(&model);
            thread::spawn(move || model.push(2))
        };
        for index in [0, 1] {
            model.push(index);
        }
        other.join().unwrap();
        let taken = owner.join().unwrap();
        let at = |index| taken.iter().position(|taken| *taken == index).unwrap();
        assert!(at(0) < at(1), "{taken:?}");
    });
}

/// A fiber that is pushed again as soon as it is taken: a pusher that saw it as the head before does
/// no harm (no ABA), and the rest of what was taken is not lost.
#[test]
fn loom_inbox_same_fiber_again() {
    explore(10, || {
        let model = Model::new(3);
        model.push(0);
        model.push(1);
        let owner = {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                let mut taken = [0; 3];
                while taken != [2, 1, 1] {
                    let before = taken;
                    model.take(|index| {
                        taken[index] += 1;
                        if index == 0 && taken[0] == 1 {
                            model.push(0);
                        }
                    });
                    if taken == before {
                        model.bell.wait();
                    }
                }
            })
        };
        model.push(2);
        owner.join().unwrap();
        assert!(model.inbox.is_empty());
    });
}
