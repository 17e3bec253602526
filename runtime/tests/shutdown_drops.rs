//! Destructors that wait while the end of their runtime unwinds or drops their fiber.

mod common;

use std::io::{Read, Write};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use common::{
    Count, Defer, Gate, closing, pair, panic_text, runtime, settle, until, until_thread, watchdog,
};
use sisal::fiber::{current, park, scope, sleep, spawn, yield_now};
use sisal::{Handle, block_on, unblock};

/// Of a runtime that goes on.
static DEFAULT: OnceLock<Handle> = OnceLock::new();

/// Drops that wait, in each way, while their fiber is being unwound.
#[test]
fn a_drop_may_wait_while_it_is_unwound() {
    let waits: &[(&str, fn())] = &[
        ("park", || {
            let me = current();
            let other = DEFAULT
                .get_or_init(|| sisal::run(Handle::current))
                .spawn(move || me.unpark());
            park();
            other.join().unwrap();
        }),
        ("sleep", || sleep(Duration::from_millis(1))),
        ("yield_now", yield_now),
        ("block_on", || {
            block_on(tokio::time::sleep(Duration::from_millis(1)))
        }),
        ("nested block_on", || {
            block_on(async { block_on(tokio::task::yield_now()) });
        }),
        ("unblock", || unblock(|| ())),
        ("run elsewhere", || sisal::run(|| yield_now())),
        ("scope", || {
            let lent = Count::new();
            scope(|s| {
                // Closed: its children end at once.
                assert!(s.spawn(|| lent.add()).join().unwrap_err().is_cancelled());
            });
            assert_eq!(lent.get(), 0);
        }),
        ("spawn", || {
            let drops = Count::new();
            let held = drops.on_drop();
            let late = spawn(move || drop(held));
            assert_eq!(drops.get(), 1);
            assert!(late.join().unwrap_err().is_cancelled());
        }),
        ("sockets", || {
            let (mut near, mut far) = pair();
            far.write_all(b"x").unwrap();
            near.read_exact(&mut [0]).unwrap();
        }),
        ("a tokio task", || {
            // The worker's tasks go on until the last fiber has ended.
            assert_eq!(block_on(tokio::spawn(async { 1 })).unwrap(), 1);
        }),
        ("another unwind", || {
            let inner = panic_text(|| {
                let _waits = Defer(yield_now);
                resume_unwind(Box::new("inner"))
            });
            assert_eq!(inner, "inner");
        }),
    ];
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        for &(name, wait) in waits {
            let runtime = runtime(workers);
            let (begun, waited, others) = (Count::new(), Count::new(), Count::new());
            let fiber = runtime.spawn({
                let (begun, waited) = (begun.clone(), waited.clone());
                move || {
                    let _waits = Defer(|| {
                        assert!(thread::panicking());
                        wait();
                        waited.add();
                    });
                    begun.add();
                    park();
                }
            });
            // Others must not be cancelled over it, nor it over them.
            let all: Vec<_> = (0..5)
                .map(|_| {
                    let (begun, others) = (begun.clone(), others.clone());
                    runtime.spawn(move || {
                        let _waits = Defer(|| {
                            yield_now();
                            others.add();
                        });
                        begun.add();
                        park();
                    })
                })
                .collect();
            until(|| begun.get() == 6);
            runtime.run(settle);
            drop(runtime);
            let error = fiber.join().unwrap_err();
            assert!(error.is_cancelled(), "{name}: {error}");
            for other in all {
                assert!(other.join().unwrap_err().is_cancelled(), "{name}");
            }
            assert_eq!((waited.get(), others.get()), (1, 5), "{name}");
        }
    }
}

/// A `Drop` that joins a fiber which ends by itself, on the same worker.
#[test]
fn a_drop_may_join_a_fiber_that_ends() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let begun = Count::new();
        let joined = Arc::new(Mutex::new(None));
        let fiber = runtime.spawn({
            let (begun, joined) = (begun.clone(), Arc::clone(&joined));
            move || {
                let child = spawn(|| {
                    // It is asked to unwind too; whichever comes first.
                    sleep(Duration::from_millis(3));
                    3
                });
                let mut child = Some(child);
                let _joins = Defer(|| {
                    *joined.lock().unwrap() = child.take().map(|child| child.join());
                });
                begun.add();
                park();
            }
        });
        until(|| begun.get() == 1);
        runtime.run(settle);
        drop(runtime);
        assert!(fiber.join().unwrap_err().is_cancelled());
        let joined = joined.lock().unwrap().take();
        assert!(joined.unwrap().is_ok_and(|n| n == 3) || workers > 1);
    }
}

/// A `Drop` that joins a fiber which only the shutdown ends: the most natural of owners.
#[test]
#[ignore = "limit of S6, said in docs/soundness.md: no cancel starts beside a fiber in mid-unwind"]
fn a_drop_may_join_a_fiber_that_waits() {
    let watchdog = watchdog(60);
    let runtime = runtime(1);
    let begun = Count::new();
    let joined = Count::new();
    let fiber = runtime.spawn({
        let (begun, joined) = (begun.clone(), joined.clone());
        move || {
            // A fiber that serves until it is told to stop, and an owner that waits for its end.
            let mut server = Some(spawn(park));
            let _joins = Defer(|| {
                let server = server.take().unwrap();
                assert!(server.join().unwrap_err().is_cancelled());
                joined.add();
            });
            begun.add();
            park();
        }
    });
    until(|| begun.get() == 1);
    runtime.run(settle);
    runtime.shutdown_timeout(Duration::from_secs(5)).unwrap();
    assert!(fiber.join().unwrap_err().is_cancelled());
    assert_eq!(joined.get(), 1);
    drop(watchdog);
}

/// An ordinary panic is on its way when the runtime closes, and its `Drop` waits: that unwind is not
/// disturbed, and the others' starts after it.
#[test]
fn a_panic_in_mid_unwind_goes_before_the_cancels() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let (begun, unwound) = (Count::new(), Count::new());
    let gate = Gate::new();
    let panicking = runtime.spawn({
        let (gate, unwound) = (gate.clone(), unwound.clone());
        move || {
            let _waits = Defer(|| {
                block_on(gate.clone());
                unwound.add();
            });
            resume_unwind(Box::new("its own"))
        }
    });
    gate.wait_polls(1);
    let fibers: Vec<_> = (0..10)
        .map(|_| {
            let (begun, unwound) = (begun.clone(), unwound.clone());
            runtime.spawn(move || {
                let _checks = Defer(|| assert_eq!(unwound.get(), 1));
                begun.add();
                park();
            })
        })
        .collect();
    until(|| begun.get() == 10);
    let closing = closing(runtime);
    gate.open();
    closing.join().unwrap();
    let error = panicking.join().unwrap_err();
    assert_eq!(common::text(&*error.into_panic()), "its own");
    for fiber in fibers {
        assert!(fiber.join().unwrap_err().is_cancelled());
    }
}

/// Queued fibers whose destructors wait: they run on a fiber's stack, so they may (S11).
#[test]
fn the_destructors_of_queued_fibers_may_wait() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let (begun, waited, free) = (Count::new(), Count::new(), Count::new());
    let fibers = runtime.spawn({
        let (begun, waited, free) = (begun.clone(), waited.clone(), free.clone());
        move || {
            let fibers: Vec<_> = (0..20)
                .map(|_| {
                    let waited = waited.clone();
                    let waits = Defer(move || {
                        sleep(Duration::from_millis(1));
                        unblock(|| ());
                        yield_now();
                        waited.add();
                    });
                    spawn(move || drop(waits))
                })
                .collect();
            begun.add();
            until_thread(|| free.get() == 1);
            fibers
        }
    });
    until(|| begun.get() == 1);
    let closing = closing(runtime);
    free.add();
    closing.join().unwrap();
    for fiber in fibers.join().unwrap() {
        assert!(fiber.join().unwrap_err().is_cancelled());
    }
    assert_eq!(waited.get(), 20);
}
