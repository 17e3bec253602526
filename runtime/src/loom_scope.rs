//! Models of a scope's count of children: the owner waits for the last end.
//!
//! Protocol: `sched/README.md`, "Waits with a condition of their own".

use std::sync::Arc;

use super::Children;
use crate::fiber::loom_state::{Home, against};
use crate::fiber::{FiberRef, OnEnd};
use crate::park::waiter::Waiter;

fn children<const N: usize>(owner: &FiberRef) -> Arc<Children> {
    let children = Arc::new(Children::of(Waiter::Fiber(owner.clone())));
    (0..N).for_each(|_| children.add());
    children
}

fn first(home: &Home, children: &Arc<Children>) {
    home.publish(0);
    children.ended();
}

fn second(home: &Home, children: &Arc<Children>) {
    home.publish(1);
    children.ended();
}

/// One child: its end against the owner's wait.
#[test]
fn loom_scope_end_against_wait() {
    against(10, children::<1>, [first], |fiber, children| {
        while !children.have_ended() {
            fiber.park();
        }
        assert_eq!(fiber.home.published(0), 1, "what the child did is seen");
    });
}

/// Two children end at once, on two workers: one of them is the last, and the owner sees what both did.
#[test]
fn loom_scope_two_last_ends() {
    against(100, children::<2>, [first, second], |fiber, children| {
        while !children.have_ended() {
            fiber.park();
        }
        assert_eq!([0, 1].map(|n| fiber.home.published(n)), [1, 1]);
    });
}

/// A child adds a child and ends, and that one ends elsewhere: the owner waits for both.
#[test]
fn loom_scope_grandchild() {
    fn parent(home: &Home, children: &Arc<Children>) {
        children.add();
        let grandchild = {
            let children = Arc::clone(children);
            loom::thread::spawn(move || children.ended())
        };
        first(home, children);
        grandchild.join().unwrap();
        assert!(children.have_ended());
    }
    against(50, children::<1>, [parent], |fiber, children| {
        while !children.have_ended() {
            fiber.park();
        }
        assert_eq!(fiber.home.published(0), 1);
    });
}
