//! Models of the user's token: `unpark` against `park` and `park_timeout`, as those use the state word.
//!
//! Protocol: `sched/README.md`, "Park token".

use loom::sync::atomic::{AtomicBool, Ordering};

use crate::fiber::loom_state::{Home, against};
use crate::fiber::{FiberRef, TOKEN};

struct Parties {
    fiber: FiberRef,
    /// The fiber has taken its first token.
    taken: AtomicBool,
    /// The timer's condition.
    elapsed: AtomicBool,
}

fn parties(fiber: &FiberRef) -> Parties {
    Parties {
        fiber: fiber.clone(),
        taken: AtomicBool::new(false),
        elapsed: AtomicBool::new(false),
    }
}

/// Two rounds: the second `unpark` comes when the first token is gone, and the fiber is on its way into
/// the second `park`, or in it.
#[test]
fn loom_token_two_rounds() {
    fn unpark(home: &Home, parties: &Parties) {
        home.publish(0);
        parties.fiber.wake(TOKEN);
        // Acquire pairs with the Release of the body.
        while !parties.taken.load(Ordering::Acquire) {
            loom::thread::yield_now();
        }
        home.publish(1);
        parties.fiber.wake(TOKEN);
    }
    against(50, parties, [unpark], |fiber, parties| {
        fiber.wait_for(TOKEN);
        assert_eq!(fiber.home.published(0), 1);
        // Release pairs with the Acquire of `unpark`.
        parties.taken.store(true, Ordering::Release);
        fiber.wait_for(TOKEN);
        assert_eq!(fiber.home.published(1), 1);
        assert!(!fiber.header.has(TOKEN));
    });
}

/// `park_timeout` against its timer and an `unpark`: it returns, and the token is taken once, by it or by
/// the `park` that follows.
#[test]
fn loom_token_against_timeout() {
    fn timer(_: &Home, parties: &Parties) {
        // Relaxed: the wake orders it.
        parties.elapsed.store(true, Ordering::Relaxed);
        parties.fiber.wake(0);
    }
    fn unpark(home: &Home, parties: &Parties) {
        home.publish(0);
        parties.fiber.wake(TOKEN);
    }
    against(100, parties, [timer, unpark], |fiber, parties| {
        let mut taken = fiber.header.take(TOKEN);
        while !taken && !parties.elapsed.load(Ordering::Relaxed) {
            fiber.park();
            taken = fiber.header.take(TOKEN);
        }
        if !taken {
            fiber.wait_for(TOKEN);
        }
        assert_eq!(fiber.home.published(0), 1);
        assert!(!fiber.header.has(TOKEN));
    });
}
