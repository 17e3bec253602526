//! Code that catches what unwinds it, and goes on, in a loop: the worker's others have their turn.

mod common;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use common::{Count, LONG, runtime, until, watchdog};
use sisal::fiber::{park, sleep, spawn, spawn_local, yield_now};
use sisal::timeout;

/// A fiber that does so until it is told; it is cancelled.
fn go_on_beside(again_and_again: impl Fn() + 'static) {
    let (rounds, stop) = (Count::new(), Rc::new(Cell::new(false)));
    let (count, stopped) = (rounds.clone(), Rc::clone(&stop));
    let stubborn = spawn_local(move || {
        while !stopped.get() {
            count.add();
            again_and_again();
        }
    });
    until(|| rounds.get() > 0);
    stubborn.cancel();
    until(|| rounds.get() > 100);
    sleep(Duration::from_millis(1)); // and so have the timers
    stop.set(true);
    stubborn.join().unwrap();
}

#[test]
fn others_go_on_beside_a_fiber_that_catches_its_cancellation() {
    let _watchdog = watchdog(20);
    runtime(1).run(|| {
        for wait in [
            park,
            yield_now,
            || sleep(LONG),
            || drop(spawn(|| ()).join()),
        ] {
            go_on_beside(move || {
                let _ = catch_unwind(AssertUnwindSafe(wait));
            });
        }
    });
}

#[test]
fn others_go_on_beside_a_loop_of_timeouts_that_are_over() {
    let _watchdog = watchdog(20);
    runtime(1).run(|| {
        let (rounds, stop) = (Count::new(), Rc::new(Cell::new(false)));
        let (count, stopped) = (rounds.clone(), Rc::clone(&stop));
        let stubborn = spawn_local(move || {
            while !stopped.get() {
                count.add();
                assert!(timeout(Duration::ZERO, park).is_err());
            }
        });
        until(|| rounds.get() > 100);
        stop.set(true);
        stubborn.join().unwrap();
    });
}

/// It ends by itself; the runtime's end does not need its worker for itself.
#[test]
fn a_shutdown_unwinds_the_others_of_its_worker() {
    let _watchdog = watchdog(20);
    let runtime = runtime(1);
    let other = Count::new();
    let held = other.on_drop();
    let seen = other.clone();
    runtime.run(|| {
        spawn(move || {
            while seen.get() == 0 {
                let _ = catch_unwind(park);
            }
        });
        yield_now();
        spawn(move || {
            let _held = held;
            park();
        });
        yield_now();
    });
    drop(runtime);
    assert_eq!(other.get(), 1);
}
