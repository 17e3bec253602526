//! Fibers that wait while they are unwound (S9), and the cancels and deadlines of others beside them (S6).

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{Count, Defer, ErrorEvents, Gate, Tally, runtime, settle, text, until, watchdog};
use sisal::fiber::{self, JoinHandle, park, scope, sleep, spawn, yield_now};
use sisal::{Handle, block_on, timeout, unblock};

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(3);

/// Spawns a fiber that waits for `gate` in a destructor while a panic unwinds it, and returns when it does.
fn in_mid_unwind(gate: &Gate) -> JoinHandle<()> {
    let begun = Count::new();
    let child = spawn({
        let (gate, begun) = (gate.clone(), begun.clone());
        move || {
            let _waits = Defer(|| {
                begun.add();
                block_on(gate.clone());
            });
            resume_unwind(Box::new("first"));
        }
    });
    until(|| begun.get() == 1);
    gate.wait_polls(1);
    child
}

/// A fiber that waits since before somebody else's unwind is cancelled beside it: it is not being unwound.
#[test]
fn a_cancel_beside_an_unwind() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let gate = Gate::new();
        let tally = Tally::new();
        let waits = spawn({
            let held = tally.make();
            move || {
                let _held = held;
                park();
            }
        });
        let deadline = spawn(|| timeout(Duration::from_millis(30), park));
        settle();
        let unwinds = in_mid_unwind(&gate);
        assert!(
            thread::panicking(),
            "known: to the thread all its fibers panic"
        );
        assert!(!fiber::panicking(), "which tells them apart");
        waits.cancel();
        assert!(waits.join().unwrap_err().is_cancelled());
        assert!(deadline.join().unwrap().is_err());
        tally.check(1..=1, "unwound");
        assert!(!unwinds.is_finished());
        gate.open();
        let error = unwinds.join().unwrap_err();
        assert_eq!(text(&*error.into_panic()), "first");
        assert!(!thread::panicking());
    });
}

/// So are those that begin, run and wait beside it, and their deadlines come.
#[test]
fn fibers_that_run_beside_an_unwind() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let gate = Gate::new();
        let unwinds = in_mid_unwind(&gate);
        let tally = Tally::new();
        for n in 0..3 {
            let begun = Count::new();
            let waits = spawn({
                let (begun, held) = (begun.clone(), tally.make());
                move || {
                    let _held = held;
                    let _waits = Defer(yield_now);
                    yield_now();
                    assert!(timeout(Duration::ZERO, yield_now).is_err());
                    assert!(timeout(SHORT, park).is_err());
                    assert!(timeout(SHORT, || scope(|s| drop(s.spawn(park)))).is_err());
                    begun.add();
                    for _ in 0..n {
                        yield_now();
                    }
                    park();
                }
            });
            until(|| begun.get() == 1);
            waits.cancel();
            assert!(waits.join().unwrap_err().is_cancelled());
        }
        tally.check(3..=3, "unwound");
        assert!(!unwinds.is_finished());
        gate.open();
        assert!(unwinds.join().unwrap_err().is_panic());
    });
}

/// A panic hook that meets a suspension point, in a fiber that was cancelled: the panic goes on as it began. (The only fiber:
/// where others run meanwhile, no frame tells a hook from code beside an unwind. A hook must not wait.)
#[test]
fn a_cancel_in_a_panic_hook() {
    const TEST: &str = "a_cancel_in_a_panic_hook";
    if common::role().is_none() {
        // The hook is the process's.
        return common::passes_in_child(TEST, "child", &[]);
    }
    let _watchdog = watchdog(60);
    let panicking = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&panicking);
    std::panic::set_hook(Box::new(move |_| {
        seen.lock().unwrap().push(fiber::panicking());
        yield_now();
        seen.lock().unwrap().push(fiber::panicking());
    }));
    let cancelled = Gate::new();
    let runtime = runtime(1);
    let fiber: JoinHandle<()> = runtime.spawn({
        let cancelled = cancelled.clone();
        move || {
            fiber::shield(|| block_on(cancelled));
            panic!("of its own");
        }
    });
    cancelled.wait_polls(1);
    fiber.cancel();
    cancelled.open();
    let ended = fiber.join();
    let _ = std::panic::take_hook();
    assert_eq!(*panicking.lock().unwrap(), [true, true]);
    assert_eq!(text(&*ended.unwrap_err().into_panic()), "of its own");
    assert!(!thread::panicking());
}

/// Waits until it is unwound, inside of a function that lets no unwind out.
#[expect(improper_ctypes_definitions, reason = "called from here only")]
extern "C" fn waits_in_c(waits: fn()) {
    assert!(catch_unwind(waits).is_err());
}

/// Where an unwind could not be let out of, it cannot be told whether there is one: the cancel and the deadline
/// come when the other's unwind is over, whatever the fiber waits for then.
#[test]
fn what_cannot_be_told_waits() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let gate = Gate::new();
        let unwinds = in_mid_unwind(&gate);
        let begun = Count::new();
        let waits = spawn({
            let begun = begun.clone();
            move || {
                begun.add();
                waits_in_c(|| {
                    yield_now();
                    park();
                });
            }
        });
        let deadline = spawn({
            let begun = begun.clone();
            move || {
                begun.add();
                timeout(Duration::ZERO, || {
                    waits_in_c(|| {
                        yield_now();
                        park();
                    });
                    yield_now();
                })
            }
        });
        until(|| begun.get() == 2);
        settle();
        waits.cancel();
        settle();
        assert!(!waits.is_finished() && !deadline.is_finished());
        gate.open();
        assert!(unwinds.join().unwrap_err().is_panic());
        waits.join().unwrap();
        assert!(deadline.join().unwrap().is_err());
    });
}

/// The same, and the other's unwind ends in a `catch_unwind`: the fiber itself goes on.
#[test]
fn an_unwind_that_is_caught_is_over() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let gate = Gate::new();
        let begun = Count::new();
        let catches = spawn({
            let (gate, begun) = (gate.clone(), begun.clone());
            move || {
                let caught = catch_unwind(AssertUnwindSafe(|| {
                    let _waits = Defer(|| {
                        begun.add();
                        block_on(gate.clone());
                    });
                    resume_unwind(Box::new("caught"));
                }));
                assert!(caught.is_err());
                // Without this wait the others would not get to run at all.
                park();
            }
        });
        until(|| begun.get() == 1);
        let waits = spawn({
            let begun = begun.clone();
            move || {
                begun.add();
                waits_in_c(|| {
                    yield_now();
                    park();
                });
            }
        });
        until(|| begun.get() == 2);
        settle();
        waits.cancel();
        settle();
        assert!(!waits.is_finished());
        gate.open();
        waits.join().unwrap();
        assert!(!catches.is_finished());
        catches.fiber().unpark();
        catches.join().unwrap();
    });
}

/// A fiber in mid-unwind that is cancelled: its destructor is not cut short, and the panic stays what it is.
#[test]
fn an_unwind_is_not_disturbed() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let gate = Gate::new();
        let unwinds = in_mid_unwind(&gate);
        unwinds.cancel();
        settle();
        assert!(!unwinds.is_finished());
        gate.open();
        assert_eq!(text(&*unwinds.join().unwrap_err().into_panic()), "first");
        // If it is caught, the cancel is met after it.
        let gate = Gate::new();
        let (begun, after) = (Count::new(), Count::new());
        let child = spawn({
            let (gate, begun, after) = (gate.clone(), begun.clone(), after.clone());
            move || {
                let caught = catch_unwind(AssertUnwindSafe(|| {
                    let _waits = Defer(|| {
                        begun.add();
                        block_on(gate.clone());
                        yield_now();
                    });
                    resume_unwind(Box::new("caught"));
                }));
                assert_eq!(text(&*caught.unwrap_err()), "caught");
                after.add();
                yield_now();
                after.add();
            }
        });
        until(|| begun.get() == 1);
        child.cancel();
        settle();
        gate.open();
        assert!(child.join().unwrap_err().is_cancelled());
        assert_eq!(after.get(), 1);
    });
}

/// Destructors that open scopes and `run`, in an unwind by panic, cancel, deadline and shutdown: what they
/// begin they may finish.
#[test]
fn destructors_may_have_children() {
    let _watchdog = watchdog(120);
    type Use = (&'static str, fn() -> u32);
    let uses: &[Use] = &[
        ("scope", || {
            scope(|s| {
                let child = s.spawn(|| {
                    yield_now();
                    sleep(Duration::from_millis(1));
                    1
                });
                child.join().unwrap()
            })
        }),
        ("scope, not joined", || {
            let done = Count::new();
            scope(|s| {
                for _ in 0..3 {
                    s.spawn(|| {
                        yield_now();
                        done.add();
                    });
                }
            });
            assert_eq!(done.get(), 3);
            1
        }),
        ("run", || {
            Handle::current().run(|| {
                yield_now();
                1
            })
        }),
        ("run in a scope in a run", || {
            Handle::current().run(|| {
                scope(|s| {
                    let child = s.spawn(|| Handle::current().run(|| unblock(|| 1)));
                    child.join().unwrap()
                })
            })
        }),
        ("a child that is cancelled", || {
            scope(|s| {
                let child = s.spawn(park);
                yield_now();
                child.cancel();
            });
            1
        }),
        ("a child with a deadline", || {
            scope(|s| {
                let child = s.spawn(|| timeout(Duration::from_millis(1), park));
                assert!(child.join().unwrap().is_err());
            });
            1
        }),
    ];
    for workers in [1, 2] {
        for how in ["panic", "cancel", "deadline", "shutdown"] {
            for &(name, uses) in uses {
                let runtime = runtime(workers);
                let (begun, used) = (Count::new(), Count::new());
                // Beside others, which unwind at the same time.
                let all: Vec<_> = (0..3)
                    .map(|_| {
                        let (begun, used) = (begun.clone(), used.clone());
                        runtime.spawn(move || {
                            let work = || {
                                let _uses = Defer(|| {
                                    assert!(fiber::panicking());
                                    assert_eq!(uses(), 1);
                                    used.add();
                                });
                                begun.add();
                                match how {
                                    "panic" => resume_unwind(Box::new("panic")),
                                    _ => park(),
                                }
                            };
                            match how {
                                "deadline" => assert!(timeout(SHORT, work).is_err()),
                                _ => work(),
                            }
                        })
                    })
                    .collect();
                until(|| begun.get() == 3);
                if how == "cancel" {
                    all.iter().for_each(JoinHandle::cancel);
                }
                let runtime = match how {
                    "shutdown" => {
                        drop(runtime);
                        None
                    }
                    _ => Some(runtime),
                };
                for one in all {
                    let ended = one.join();
                    let what = format!("{how}, {name}, {workers} workers: {ended:?}");
                    match how {
                        "panic" => assert!(ended.unwrap_err().is_panic(), "{what}"),
                        "deadline" => assert!(ended.is_ok(), "{what}"),
                        _ => assert!(ended.unwrap_err().is_cancelled(), "{what}"),
                    }
                }
                assert_eq!(used.get(), 3, "{how}, {name}");
                drop(runtime);
            }
        }
    }
}

/// A destructor that joins a fiber which only its cancellation ends, on the same worker: by the shutdown, and
/// by the handle.
#[test]
fn destructors_may_join_what_is_cancelled() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        for by_shutdown in [false, true] {
            let runtime = runtime(workers);
            let (begun, joined) = (Count::new(), Count::new());
            let owner = runtime.spawn({
                let (begun, joined) = (begun.clone(), joined.clone());
                move || {
                    let mut servers: Vec<_> = (0..3).map(|_| spawn(park)).collect();
                    let _joins = Defer(|| {
                        for server in servers.drain(..) {
                            if !by_shutdown {
                                server.cancel();
                            }
                            assert!(server.join().unwrap_err().is_cancelled());
                            joined.add();
                        }
                    });
                    yield_now();
                    begun.add();
                    park();
                }
            });
            until(|| begun.get() == 1);
            runtime.run(settle);
            if !by_shutdown {
                owner.cancel();
                assert!(owner.join().unwrap_err().is_cancelled());
                assert_eq!(joined.get(), 3);
                continue;
            }
            let events = ErrorEvents::new();
            tracing::subscriber::with_default(events.clone(), || drop(runtime));
            assert_eq!(events.texts(), [""; 0]);
            assert!(owner.join().unwrap_err().is_cancelled());
            assert_eq!(joined.get(), 3);
        }
    }
}

/// An owner whose child the shutdown ended unwinds, though another fiber of its worker is in mid-unwind.
#[test]
fn an_owner_beside_an_unwind() {
    let _watchdog = watchdog(60);
    for early in [false, true] {
        let runtime = runtime(1);
        let gate = Gate::new();
        let (begun, drops) = (Count::new(), Count::new());
        let unwinds = Arc::new(Mutex::new(None));
        if early {
            *unwinds.lock().unwrap() = Some(runtime.run({
                let gate = gate.clone();
                move || in_mid_unwind(&gate)
            }));
        }
        let owner = runtime.spawn({
            let (begun, held) = (begun.clone(), drops.on_drop());
            move || {
                let _held = held;
                scope(|s| {
                    s.spawn(|| {
                        begun.add();
                        park();
                    });
                });
            }
        });
        until(|| begun.get() == 1);
        runtime.run(settle);
        if !early {
            *unwinds.lock().unwrap() = Some(runtime.run({
                let gate = gate.clone();
                move || in_mid_unwind(&gate)
            }));
        }
        let closes = thread::spawn(move || drop(runtime));
        if !early {
            // It could be told apart from the one that unwinds, so it did not have to wait for that.
            until(|| drops.get() == 1);
        }
        gate.open();
        closes.join().unwrap();
        assert!(owner.join().unwrap_err().is_cancelled());
        assert_eq!(drops.get(), 1);
        let unwinds = unwinds.lock().unwrap().take().unwrap();
        assert!(unwinds.join().unwrap_err().is_panic());
    }
}

/// Panics, cancels, deadlines and their waits in destructors, all interleaved on one worker: every frame is
/// unwound once, and in the end nobody panics.
#[test]
fn interleaved() {
    let _watchdog = watchdog(120);
    for workers in [1, 2] {
        let tally = Tally::new();
        let runtime = runtime(workers);
        runtime.run(|| {
            let all: Vec<_> = (0..300_u32)
                .map(|n| {
                    let tally = tally.clone();
                    spawn(move || {
                        let _held = tally.make();
                        let _waits = Defer(|| {
                            for _ in 0..n % 5 {
                                yield_now();
                            }
                            if n % 4 == 0 {
                                sleep(Duration::from_millis(1));
                            }
                            if n % 16 == 0 {
                                scope(|s| drop(s.spawn(yield_now)));
                            }
                        });
                        match n % 3 {
                            0 => {
                                let _held = tally.make();
                                yield_now();
                                resume_unwind(Box::new("panic"));
                            }
                            1 => {
                                let _ = timeout(Duration::from_millis(u64::from(n % 7)), || {
                                    let _held = tally.make();
                                    let _waits = Defer(yield_now);
                                    sleep(LONG);
                                });
                            }
                            _ => {
                                let _held = tally.make();
                                park();
                            }
                        }
                    })
                })
                .collect();
            yield_now();
            for (n, one) in all.iter().enumerate() {
                if n % 3 == 2 {
                    one.cancel();
                }
            }
            for (n, one) in all.into_iter().enumerate() {
                let ended = one.join();
                match n % 3 {
                    0 => assert!(ended.unwrap_err().is_panic()),
                    1 => ended.unwrap(),
                    _ => assert!(ended.unwrap_err().is_cancelled()),
                }
            }
            until(|| !thread::panicking());
        });
        drop(runtime);
        tally.check(300..=600, "all");
    }
}
