//! Models of the notified bit of a `block_on` inside another.
//!
//! Protocol: `sched/README.md`, "Waits with a condition of their own". What is waited for is read without
//! any order of its own: if the wake does not bring it, the fiber waits for ever, and loom sees that.

use std::sync::Arc;
use std::task::Wake;

use loom::sync::atomic::{AtomicBool, Ordering};

use super::Nested;
use crate::fiber::loom_state::{Home, OnStack, against};
use crate::fiber::{FiberRef, WOKEN};

struct Parties {
    nested: Arc<Nested>,
    ready: [AtomicBool; 2],
}

fn parties(fiber: &FiberRef) -> Parties {
    Parties {
        nested: Arc::new(Nested::new(fiber.clone())),
        ready: [AtomicBool::new(false), AtomicBool::new(false)],
    }
}

impl Parties {
    fn is_ready(&self, which: usize) -> bool {
        self.ready[which].load(Ordering::Relaxed)
    }

    /// What `drive` does with its bit: polls until ready, and waits in between. How many polls.
    fn drive(&self, fiber: &OnStack<'_>, ready: impl Fn() -> bool) -> usize {
        for polls in 1.. {
            self.nested.take();
            if ready() {
                return polls;
            }
            while !self.nested.is_woken() {
                fiber.park();
            }
        }
        unreachable!("the range has no end")
    }
}

fn first(_: &Home, parties: &Parties) {
    parties.ready[0].store(true, Ordering::Relaxed);
    parties.nested.wake_by_ref();
}

fn second(_: &Home, parties: &Parties) {
    parties.ready[1].store(true, Ordering::Relaxed);
    Arc::clone(&parties.nested).wake();
}

/// A poll for each wake at most, and the last one sees what the waker did.
#[test]
fn loom_nested_wake_against_wait() {
    against(10, parties, [first], |fiber, parties| {
        assert!(parties.nested.is_woken(), "the first poll is owed");
        assert!(parties.drive(fiber, || parties.is_ready(0)) <= 2);
    });
}

/// Two things are waited for, by one future. A poll may take both wakes' bit at once, and then sees what
/// both wakers did.
#[test]
fn loom_nested_two_wakes() {
    against(100, parties, [first, second], |fiber, parties| {
        let ready = || parties.is_ready(0) & parties.is_ready(1);
        assert!(parties.drive(fiber, ready) <= 3);
    });
}

/// A wake of the outer `block_on` makes the fiber runnable and nothing else: the inner one does not poll
/// for it, and the outer's bit is there when that looks.
#[test]
fn loom_nested_outer_wake() {
    fn outer(home: &Home, parties: &Parties) {
        home.publish(1);
        parties.nested.fiber.wake(WOKEN);
    }
    against(100, parties, [first, outer], |fiber, parties| {
        assert!(parties.drive(fiber, || parties.is_ready(0)) <= 2);
        fiber.wait_for(WOKEN);
        assert_eq!(fiber.home.published(1), 1);
    });
}
