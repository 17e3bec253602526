//! `Once`, `OnceLock` and `LazyLock`: one closure, which may wait; the others wait for it, by fiber, thread or task.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;
use std::time::Duration;

use common::{Count, Gate, Tally, panic_text, runtime, settle, watchdog};
use sisal::fiber::{park, scope, shield, spawn, yield_now};
use sisal::sync::{Arc, Barrier, LazyLock, Once, OnceLock};
use sisal::{block_on, timeout};

#[test]
fn one_of_many_fibers_and_threads() {
    let _watchdog = watchdog(60);
    let runtime = runtime(2);
    for _ in 0..20 {
        let (once, calls) = (Once::new(), Count::new());
        let all_here = Barrier::new(8);
        let call = || {
            all_here.wait();
            once.call_once(|| {
                yield_now();
                calls.add();
            });
            assert_eq!(calls.get(), 1, "done when it returns");
        };
        thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(call);
            }
            runtime.run(|| {
                scope(|s| {
                    for _ in 0..4 {
                        s.spawn(call);
                    }
                });
            });
        });
        assert!(once.is_completed());
        once.call_once(|| unreachable!());
    }
}

/// std's would hang here: the one that initialises waits for a fiber of its own worker, others wait for it.
#[test]
fn a_closure_may_wait_for_a_fiber_beside_it() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let cell = Arc::new(OnceLock::new());
        let gate = Gate::new();
        let gets = || {
            let (cell, gate) = (Arc::clone(&cell), gate.clone());
            spawn(move || *cell.get_or_init(|| (block_on(gate), 7).1))
        };
        let waits = spawn({
            let cell = Arc::clone(&cell);
            move || *cell.wait()
        });
        let task = tokio::spawn({
            let cell = Arc::clone(&cell);
            async move { *cell.wait_async().await }
        });
        let fibers = [gets(), gets(), gets()];
        gate.wait_polls(1);
        settle();
        assert_eq!(cell.get(), None);
        assert_eq!(gate.polls(), 1, "one makes it");
        gate.open();
        for fiber in fibers.into_iter().chain([waits]) {
            assert_eq!(fiber.join().unwrap(), 7);
        }
        assert_eq!(block_on(task).unwrap(), 7);
    });
}

#[test]
fn poisoned_by_a_panic() {
    let _watchdog = watchdog(60);
    let check = || {
        let once = Once::new();
        let fails = || once.call_once(|| resume_unwind(Box::new("first")));
        assert_eq!(panic_text(fails), "first");
        assert!(!once.is_completed());
        assert!(panic_text(|| once.call_once(|| ())).contains("poisoned"));
        assert!(panic_text(|| once.wait()).contains("poisoned"));
        let fails = |state: &sisal::sync::OnceState| {
            assert!(state.is_poisoned());
            assert_eq!(format!("{state:?}"), "OnceState { poisoned: true }");
            resume_unwind(Box::new("second"));
        };
        assert_eq!(panic_text(|| once.call_once_force(fails)), "second");
        once.call_once_force(|state| assert!(state.is_poisoned()));
        assert!(once.is_completed());
        once.call_once(|| unreachable!());
        once.wait();
        once.wait_force();
        Once::new().call_once_force(|state| assert!(!state.is_poisoned()));
    };
    check();
    runtime(1).run(check);
}

/// Who waits for a closure that fails: one of those who force it runs its own, who does not panics, who waits by force waits on.
#[test]
fn waiters_of_a_closure_that_fails() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let once = Arc::new(Once::new());
        let (gate, second) = (Gate::new(), Gate::new());
        let with = |f: fn(&Once, Gate), gate: &Gate| {
            let (once, gate) = (Arc::clone(&once), gate.clone());
            let fiber = spawn(move || f(&once, gate));
            settle();
            fiber
        };
        let fails = with(
            |once, gate| once.call_once(|| resume_unwind(Box::new(block_on(gate)))),
            &gate,
        );
        let waits = with(|once, _| once.wait(), &gate);
        let calls = with(|once, _| once.call_once(|| unreachable!()), &gate);
        let waits_by_force = with(|once, _| once.wait_force(), &gate);
        let forces = with(
            |once, gate| {
                once.call_once_force(|state| {
                    assert!(state.is_poisoned());
                    block_on(gate);
                })
            },
            &second,
        );
        gate.open();
        assert!(fails.join().unwrap_err().is_panic());
        second.wait_polls(1);
        settle();
        assert!(!waits_by_force.is_finished());
        second.open();
        forces.join().unwrap();
        waits_by_force.join().unwrap();
        // They looked while it was poisoned, or while the next ran.
        for fiber in [waits, calls] {
            match fiber.join() {
                Ok(()) => {}
                Err(error) => assert!(error.is_panic()),
            }
        }
        assert!(once.is_completed());
    });
}

/// Cancellation of the closure poisons, unless it is shielded; of one who waits it does nothing.
#[test]
fn cancelled() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let once = Arc::new(Once::new());
        let call = |f: fn()| {
            let once = Arc::clone(&once);
            let fiber = spawn(move || once.call_once_force(|_| f()));
            settle();
            fiber
        };
        let runs = call(park);
        let waits = call(|| unreachable!());
        waits.cancel();
        assert!(waits.join().unwrap_err().is_cancelled());
        runs.cancel();
        assert!(runs.join().unwrap_err().is_cancelled());
        assert!(panic_text(|| once.call_once(|| ())).contains("poisoned"));
        let runs = call(|| shield(park));
        runs.cancel();
        runs.fiber().unpark();
        runs.join().unwrap();
        assert!(once.is_completed());

        let cell = OnceLock::new();
        let short = Duration::from_millis(2);
        assert!(
            timeout(short, || {
                cell.get_or_init(park);
            })
            .is_err()
        );
        assert!(
            timeout(short, || {
                cell.wait();
            })
            .is_err()
        );
        assert_eq!(cell.set(()), Ok(()), "it is empty");
    });
}

#[test]
fn once_lock_as_stds() {
    let _watchdog = watchdog(60);
    static STATIC: OnceLock<String> = OnceLock::new();
    assert_eq!(STATIC.get(), None);
    assert_eq!(STATIC.set("a".into()), Ok(()));
    assert_eq!(STATIC.set("b".into()), Err("b".into()));
    assert_eq!(STATIC.get_or_init(|| unreachable!()), "a");
    assert_eq!(STATIC.wait(), "a");

    let tally = Tally::new();
    let mut cell = OnceLock::new();
    assert!(cell.get_mut().is_none() && cell.take().is_none());
    let failed = catch_unwind(AssertUnwindSafe(|| {
        cell.get_or_init(|| resume_unwind(Box::new(())));
    }));
    assert!(failed.is_err());
    cell.get_or_init(|| tally.make());
    assert!(cell.get_mut().is_some());
    drop(cell.take());
    assert_eq!(tally.dropped.get(), 1);
    assert!(cell.set(tally.make()).is_ok());
    assert!(cell.set(tally.make()).is_err());
    drop(cell);
    assert!(OnceLock::from(tally.make()).into_inner().is_some());
    drop(OnceLock::<common::OnDrop>::new());
    tally.check(4..=4, "cells");

    let cell = OnceLock::from(5);
    assert_eq!(cell, cell.clone());
    assert_ne!(cell, OnceLock::default());
    let std = std::sync::OnceLock::from(5);
    assert_eq!(format!("{cell:?}"), format!("{std:?}"));
    let (ours, std) = (OnceLock::<u32>::new(), std::sync::OnceLock::<u32>::new());
    assert_eq!(format!("{ours:?}"), format!("{std:?}"));
    assert_eq!(
        format!("{:?}", Once::new()),
        format!("{:?}", std::sync::Once::new())
    );
}

#[test]
fn lazy_lock_as_stds() {
    let _watchdog = watchdog(60);
    static STATIC: LazyLock<String> = LazyLock::new(|| "a".repeat(3));
    assert_eq!(STATIC.len(), 3);

    let tally = Tally::new();
    let make = |calls: &Count| {
        let (tally, calls, captured) = (tally.clone(), calls.clone(), tally.make());
        LazyLock::new(move || {
            calls.add();
            drop(captured);
            tally.make()
        })
    };
    let calls = Count::new();
    drop(make(&calls)); // the closure is dropped, not called
    assert_eq!((calls.get(), tally.dropped.get()), (0, 1));
    let mut lazy = make(&calls);
    assert!(LazyLock::get(&lazy).is_none() && LazyLock::get_mut(&mut lazy).is_none());
    LazyLock::force(&lazy);
    LazyLock::force_mut(&mut lazy);
    let _: &mut common::OnDrop = &mut lazy;
    assert!(LazyLock::get(&lazy).is_some() && LazyLock::get_mut(&mut lazy).is_some());
    drop(lazy);
    assert_eq!(calls.get(), 1);
    tally.check(3..=3, "lazy");

    let held = tally.make();
    let fails: LazyLock<(), _> = LazyLock::new(move || {
        let _held = held;
        resume_unwind(Box::new("first"));
    });
    assert_eq!(panic_text(|| *fails), "first");
    assert!(panic_text(|| *fails).contains("poisoned"));
    drop(fails);
    tally.check(4..=4, "a closure that failed");

    assert_eq!(*LazyLock::<u32>::default(), 0);
    let ours = LazyLock::<u32>::new(|| 5);
    let std = std::sync::LazyLock::<u32>::new(|| 5);
    assert_eq!(format!("{ours:?}"), format!("{std:?}"));
    assert_eq!(*ours, *std);
    assert_eq!(format!("{ours:?}"), format!("{std:?}"));
}

#[test]
fn a_lazy_lock_between_fibers() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let calls = Count::new();
        let lazy = LazyLock::new(|| {
            settle();
            calls.add()
        });
        scope(|s| {
            let fibers: Vec<_> = (0..5).map(|_| s.spawn(|| *lazy)).collect();
            for fiber in fibers {
                assert_eq!(fiber.join().unwrap(), 1);
            }
        });
    });
}
