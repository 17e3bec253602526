//! Models of a dump that holds a parked fiber still, against wakes, parks and a cancel.
//!
//! Protocol: `sched/README.md`, "Scan: a dump against park and wake". That the fiber does not run while it is read is
//! loom's to see: `Home::stack` has no lock and no atomic of its own.

use std::sync::atomic::{AtomicU32, Ordering};

use super::loom_state::{Home, OnStack, against, model};
use super::record::FiberRef;
use super::state::{CANCEL, TOKEN, WOKEN};

/// How often the dump did and did not get hold of the fiber: a model in which one of them never
/// happens shows nothing.
struct Held([AtomicU32; 2]);

impl Held {
    const fn new() -> Held {
        Held([AtomicU32::new(0), AtomicU32::new(0)])
    }

    fn scan(&self, home: &Home, fiber: &FiberRef) {
        self.0[usize::from(home.scan(fiber))].fetch_add(1, Ordering::Relaxed);
    }

    fn check(&self) {
        let [not, held] = self.0.each_ref().map(|n| n.load(Ordering::Relaxed));
        println!("held {held} times, {not} times not");
        // Threads may happen to miss one of them.
        assert!(held > 0 && not > 0 || cfg!(not(sisal_loom)));
    }
}

/// A wake that meets the dump leaves its bits, and the dump queues the fiber.
#[test]
fn loom_scan_against_wake_and_park() {
    static HELD: Held = Held::new();
    let dump: fn(&Home, &FiberRef) = |home, fiber| HELD.scan(home, fiber);
    model(100, [dump, Home::unpark], |fiber: &OnStack<'_>| {
        fiber.wait_for(TOKEN)
    });
    HELD.check();
}

/// Two waits, and wakes of two kinds: whoever comes while the fiber is held, none is lost, and it is in
/// the queue once.
#[test]
fn loom_scan_against_two_wakes() {
    static HELD: Held = Held::new();
    let dump: fn(&Home, &FiberRef) = |home, fiber| HELD.scan(home, fiber);
    model(1000, [dump, Home::unpark, Home::wake], |fiber| {
        fiber.wait_for(WOKEN);
        fiber.wait_for(TOKEN);
    });
    HELD.check();
}

/// A dump at the moment when the other lets go: one has the fiber at a time, and the duty to queue it
/// goes to one of them.
#[test]
fn loom_scan_against_scan() {
    static HELD: Held = Held::new();
    let dump: fn(&Home, &FiberRef) = |home, fiber| HELD.scan(home, fiber);
    model(1000, [dump, dump, Home::unpark], |fiber| {
        fiber.wait_for(TOKEN);
    });
    HELD.check();
}

/// A cancel is a call like another: the fiber is queued, finds the bit, and the token is still its own.
#[test]
fn loom_scan_against_cancel() {
    static HELD: Held = Held::new();
    let dump: fn(&Home, &FiberRef) = |home, fiber| HELD.scan(home, fiber);
    let cancel: fn(&Home, &FiberRef) = |_, fiber| fiber.wake(CANCEL);
    model(100, [dump, cancel], |fiber| {
        while !fiber.header.has(CANCEL) {
            fiber.park();
        }
    });
    HELD.check();
}

/// The fiber's own worker calls for it while it is held: it does not run before the dump has let go.
#[test]
fn loom_scan_against_wake_here() {
    static HELD: Held = Held::new();
    let dump: fn(&Home, &FiberRef) = |home, fiber| HELD.scan(home, fiber);
    against(100, FiberRef::clone, [dump, Home::wake], |fiber, own| {
        fiber.park_while(|| own.wake(TOKEN));
        assert!(fiber.header.take(TOKEN));
        fiber.wait_for(WOKEN);
    });
    HELD.check();
}
