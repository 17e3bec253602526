//! The end of a runtime: queued fibers are dropped, spawns are refused, whoever waits is told, and
//! whoever may not end it is told that.

mod common;

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{
    Count, Defer, Gate, closing, is_closed, panic_text, runtime, settle, until, until_thread,
    watchdog,
};
use sisal::fiber::{JoinHandle, park, spawn, yield_now};
use sisal::{Handle, block_on, unblock};

/// Fibers that never ran: in a worker's own queue, from outside, and of a scope.
#[test]
fn queued_fibers_are_dropped_without_being_run() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let (held, ran, drops, free) = (Count::new(), Count::new(), Count::new(), Count::new());
        let (handles, give) = (Arc::new(Mutex::new(Vec::new())), runtime.handle().clone());
        let queue = |on: &Handle, ran: &Count, drops: &Count| -> JoinHandle<()> {
            let (ran, in_closure) = (ran.clone(), drops.on_drop());
            on.spawn(move || {
                let _in_closure = in_closure;
                ran.add();
            })
        };
        let mut hogs = Vec::new();
        for _ in 0..workers {
            let (held, ran, drops) = (held.clone(), ran.clone(), drops.clone());
            let (handles, give, free) = (Arc::clone(&handles), give.clone(), free.clone());
            hogs.push(runtime.spawn(move || {
                held.add();
                // Wait for the others, so that nobody is left to steal.
                until_thread(|| held.get() >= workers);
                for _ in 0..50 {
                    let handle = queue(&give, &ran, &drops);
                    handles.lock().unwrap().push(handle);
                }
                held.add();
                until_thread(|| free.get() == 1);
            }));
        }
        until(|| held.get() == 2 * workers);
        for _ in 0..50 {
            let handle = queue(&give, &ran, &drops);
            handles.lock().unwrap().push(handle);
        }
        let closing = closing(runtime);
        free.add();
        closing.join().unwrap();
        for hog in hogs {
            // It did not wait, so nothing was cut short.
            hog.join().unwrap();
        }
        let handles = std::mem::take(&mut *handles.lock().unwrap());
        let all = handles.len();
        assert_eq!(all, 50 * (workers + 1));
        for handle in handles {
            assert!(handle.is_finished());
            assert!(handle.join().unwrap_err().is_cancelled());
        }
        assert_eq!((ran.get(), drops.get()), (0, all));
    }
}

#[test]
fn spawns_after_the_end_are_cancelled_and_dropped() {
    let _watchdog = watchdog(60);
    let runtime = runtime(2);
    let handle = runtime.handle().clone();
    drop(runtime);
    let (ran, drops) = (Count::new(), Count::new());
    let attempt = || {
        let (ran, held) = (ran.clone(), drops.on_drop());
        let late = handle.spawn(move || {
            let _held = held;
            ran.add();
        });
        assert!(late.is_finished());
        let text = late.join().unwrap_err().to_string();
        assert!(
            text.contains("was cancelled") && text.contains("shutdown.rs"),
            "{text}"
        );
    };
    attempt();
    sisal::run(attempt);
    sisal::run(|| block_on(async { attempt() }));
    assert_eq!((ran.get(), drops.get()), (0, 3));
    let clone = handle.clone();
    let awaited = sisal::run(move || block_on(clone.spawn(|| ())));
    assert!(awaited.unwrap_err().is_cancelled());
}

/// Threads spawn while the runtime ends: each fiber runs, or is cancelled and dropped; nobody hangs.
#[test]
fn spawns_that_race_the_end_end() {
    let _watchdog = watchdog(120);
    for round in 0..40 {
        let runtime = runtime(1 + round % 3);
        let (spawned, ran, drops) = (Count::new(), Count::new(), Count::new());
        thread::scope(|s| {
            for _ in 0..3 {
                let (spawned, ran, drops) = (&spawned, &ran, &drops);
                let handle = runtime.handle().clone();
                s.spawn(move || {
                    loop {
                        let (ran, held) = (ran.clone(), drops.on_drop());
                        let fiber = handle.spawn(move || {
                            let _held = held;
                            ran.add();
                            yield_now();
                        });
                        spawned.add();
                        if let Err(error) = fiber.join() {
                            assert!(error.is_cancelled());
                            break;
                        }
                    }
                });
            }
            until(|| ran.get() > 20 * (round % 4));
            drop(runtime);
        });
        assert_eq!(drops.get(), spawned.get());
        assert!(ran.get() <= spawned.get());
    }
}

#[test]
fn fibers_that_spawn_without_end_end() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let (made, drops) = (Count::new(), Count::new());
        fn spread(made: &Count, drops: &Count) {
            let held = (made.add(), drops.on_drop());
            let (made, drops) = (made.clone(), drops.clone());
            drop(spawn(move || {
                let _held = held;
                spread(&made, &drops);
                yield_now();
            }));
        }
        runtime.run(|| spread(&made, &drops));
        until(|| made.get() > 1000);
        drop(runtime);
        assert_eq!(made.get(), drops.get());
    }
}

/// A supervisor: it starts its fiber anew whenever that has ended. It runs while the runtime closes;
/// from then on its spawns are refused, so its joins need not wait, and it is to meet its cancel all the
/// same.
#[test]
fn a_fiber_that_restarts_another_without_end_ends() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let handle = runtime.handle().clone();
        let (begun, closed, free) = (Count::new(), Count::new(), Count::new());
        let supervisor = runtime.spawn({
            let (begun, closed, free) = (begun.clone(), closed.clone(), free.clone());
            move || {
                begun.add();
                until_thread(|| closed.get() == 1);
                while free.get() == 0 {
                    let _ = spawn(yield_now).join();
                }
            }
        });
        until(|| begun.get() == 1);
        let ending = thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5)));
        until(|| is_closed(&handle));
        closed.add();
        let ended = ending.join().unwrap();
        free.add();
        ended.unwrap();
        assert!(supervisor.join().unwrap_err().is_cancelled());
    }
}

#[test]
fn a_runtime_cannot_be_dropped_by_its_own_fiber() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let handle = runtime.handle().clone();
        let drops = Count::new();
        let held = drops.on_drop();
        let other = runtime.spawn(move || {
            let _held = held;
            park();
        });
        runtime.run(settle);
        let fiber = handle.spawn(move || panic_text(|| drop(runtime)));
        let text = fiber.join().unwrap();
        assert!(text.contains("move it out of its fibers"), "{text}");
        // It ends all the same.
        assert!(other.join().unwrap_err().is_cancelled());
        assert_eq!(drops.get(), 1);
        until(|| is_closed(&handle));
    }
}

/// In the fiber's unwind it cannot panic again: it is silent.
#[test]
fn a_runtime_dropped_by_its_own_panicking_fiber_adds_no_panic() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let handle = runtime.handle().clone();
    let fiber = handle.spawn(move || {
        let _runtime = runtime;
        resume_unwind(Box::new("the first"))
    });
    let error = fiber.join().unwrap_err();
    assert_eq!(common::text(&*error.into_panic()), "the first");
    until(|| is_closed(&handle));
}

/// The drop waits for a fiber that waits for another fiber of the dropping one's worker: it must park.
#[test]
fn a_runtime_dropped_by_anothers_fiber_parks_that() {
    let _watchdog = watchdog(60);
    let (outer, drops) = (runtime(1), Count::new());
    outer.run(|| {
        let inner = runtime(1);
        let (tx, rx) = futures::channel::oneshot::channel();
        let (begun, held) = (Count::new(), drops.on_drop());
        let fiber = inner.spawn({
            let begun = begun.clone();
            move || {
                let _held = held;
                let mut rx = Some(rx);
                let _waits = Defer(|| assert_eq!(block_on(rx.take().unwrap()), Ok(5)));
                begun.add();
                park();
            }
        });
        until(|| begun.get() == 1);
        let handle = inner.handle().clone();
        let helper = spawn(move || {
            until(|| is_closed(&handle));
            tx.send(5).unwrap();
        });
        drop(inner);
        assert!(fiber.is_finished());
        assert!(fiber.join().unwrap_err().is_cancelled());
        helper.join().unwrap();
    });
    assert_eq!(drops.get(), 1);
}

/// As in `#[tokio::main]`: an async context of somebody else's is a plain thread.
#[test]
fn a_runtime_may_be_dropped_in_a_foreign_async_task() {
    let _watchdog = watchdog(60);
    let foreign = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    foreign.block_on(async {
        for workers in [1, 2] {
            let runtime = runtime(workers);
            let begun = Count::new();
            let fiber = runtime.spawn({
                let begun = begun.clone();
                move || {
                    unblock(|| begun.add());
                    park();
                }
            });
            until(|| begun.get() == 1);
            drop(runtime);
            assert!(fiber.await.unwrap_err().is_cancelled());
        }
    });
}

/// What a fiber of the other runtime waits for is none of the first one's business.
#[test]
fn runtimes_end_apart() {
    let _watchdog = watchdog(60);
    let (a, b) = (runtime(2), runtime(2));
    let gates = [Gate::new(), Gate::new()];
    let of_a = a.spawn({
        let gate = gates[0].clone();
        move || block_on(gate)
    });
    let of_b = b.spawn({
        let gate = gates[1].clone();
        move || {
            block_on(gate);
            7
        }
    });
    gates.iter().for_each(|gate| gate.wait_polls(1));
    drop(a);
    assert!(of_a.join().unwrap_err().is_cancelled());
    assert!(!of_b.is_finished());
    assert_eq!(b.run(|| spawn(|| 1).join().unwrap()), 1);
    gates.iter().for_each(Gate::open);
    assert_eq!(of_b.join().unwrap(), 7);
}

/// A fiber waits for a fiber of another runtime, which ends: it is told, and goes on.
#[test]
fn a_fiber_is_told_when_another_runtime_ends() {
    let _watchdog = watchdog(60);
    let (a, b) = (runtime(1), runtime(1));
    let far = b.spawn(park);
    let begun = Count::new();
    let near = a.spawn({
        let begun = begun.clone();
        move || {
            begun.add();
            far.join().unwrap_err().is_cancelled()
        }
    });
    until(|| begun.get() == 1);
    a.run(settle);
    drop(b);
    assert!(near.join().unwrap());
}
