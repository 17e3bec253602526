//! Models of the end of a blocking closure: the waiting frame's last use comes before its fiber goes on.
//!
//! Protocol: `sched/README.md`, "Waits with a condition of their own".

use std::sync::Arc;

use super::{Done, Finish};
use crate::fiber::FiberRef;
use crate::fiber::loom_state::{Home, against};
use crate::park::waiter::Waiter;

fn done(fiber: &FiberRef) -> Arc<Done> {
    Arc::new(Done::new(Waiter::Fiber(fiber.clone())))
}

/// The pool's thread: writes the result into the frame, and is through with it.
fn pool(home: &Home, done: &Arc<Done>) {
    let finish = Finish(Arc::clone(done));
    home.publish(0);
    drop(finish);
}

#[test]
fn loom_unblock_end_against_wait() {
    against(10, done, [pool], |fiber, done| {
        while !done.is_set() {
            fiber.park();
        }
        assert_eq!(fiber.home.published(0), 1, "the result is there");
        // The frame is gone now: loom would see a later use.
        fiber.home.publish(0);
    });
}

/// Tokens and other calls do not end the wait, and are not used up by it.
#[test]
fn loom_unblock_and_token() {
    fn unpark(home: &Home, done: &Arc<Done>) {
        let Waiter::Fiber(fiber) = &done.waiter else {
            unreachable!("a fiber waits here");
        };
        home.publish(1);
        fiber.wake(crate::fiber::TOKEN);
    }
    against(100, done, [pool, unpark], |fiber, done| {
        while !done.is_set() {
            fiber.park();
        }
        assert_eq!(fiber.home.published(0), 1);
        fiber.wait_for(crate::fiber::TOKEN);
        assert_eq!(fiber.home.published(1), 1);
    });
}
