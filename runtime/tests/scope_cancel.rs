//! A cancel or a deadline that meets the owner of a scope: its children are cancelled, and it unwinds
//! after them (S5).

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{
    Count, Defer, Tally, one_on_each_worker, panic_text, runtime, settle, text, until, watchdog,
};
use sisal::fiber::{park, scope, shield, sleep, spawn, yield_now};
use sisal::{Handle, block_on, timeout, unblock};

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(3);

/// By a cancel and by a deadline; waiting for the children and in the closure; on one worker and spread.
#[test]
fn the_children_end_before_the_owner() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        for by_deadline in [false, true] {
            for in_closure in [false, true] {
                // A deadline that comes before the children have begun shows nothing.
                let mut time = SHORT;
                while !children_end_first(workers, by_deadline, in_closure, time) {
                    time *= 2;
                }
            }
        }
    }
}

/// False: not all children had begun when it was over.
fn children_end_first(workers: usize, by_deadline: bool, in_closure: bool, time: Duration) -> bool {
    let runtime = runtime(workers);
    let log = Arc::new(Mutex::new(Vec::new()));
    let begun = Count::new();
    let owner = runtime.spawn({
        let (log, begun) = (Arc::clone(&log), begun.clone());
        move || {
            let say = |what| log.lock().unwrap().push(what);
            let work = || {
                let lent = Defer(|| say("owner's frame"));
                scope(|s| {
                    for _ in 0..3 {
                        s.spawn(|| {
                            let _lent = &lent;
                            let _waits = Defer(|| {
                                // What it borrowed is there, for as long as it takes.
                                sleep(Duration::from_millis(1));
                                yield_now();
                                say("child");
                            });
                            begun.add();
                            sleep(LONG);
                        });
                    }
                    if in_closure {
                        park();
                    }
                });
                say("after");
            };
            match by_deadline {
                true => assert!(timeout(time, work).is_err()),
                false => work(),
            }
        }
    });
    until(|| begun.get() == 3 || owner.is_finished());
    if !by_deadline {
        owner.cancel();
    }
    let ended = owner.join();
    let what = format!("{workers}, {by_deadline}, {in_closure}");
    assert_eq!(ended.is_ok(), by_deadline, "{what}");
    if by_deadline && begun.get() < 3 {
        return false;
    }
    let log = log.lock().unwrap().clone();
    assert_eq!(log, ["child", "child", "child", "owner's frame"], "{what}");
    true
}

/// Through `run`, a scope in a scope, and a runtime that is another's.
#[test]
fn it_goes_down_to_the_last() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let other = runtime(1);
        let runtime = runtime(workers);
        let tally = Tally::new();
        let owner = runtime.spawn({
            let (tally, other) = (tally.clone(), other.handle().clone());
            move || {
                let _held = tally.make();
                Handle::current().run(|| {
                    let _held = tally.make();
                    scope(|s| {
                        let _held = tally.make();
                        s.spawn(|| {
                            let _held = tally.make();
                            other.run(|| {
                                let _held = tally.make();
                                scope(|s| {
                                    s.spawn(|| {
                                        let _held = tally.make();
                                        sleep(LONG);
                                    });
                                });
                            });
                        });
                    });
                });
            }
        });
        until(|| tally.made.get() == 6);
        owner.cancel();
        assert!(owner.join().unwrap_err().is_cancelled());
        tally.check(6..=6, "all of them");
    }
}

/// A child that was cancelled by its own handle is no reason for a panic; its siblings go on.
#[test]
fn a_child_may_be_cancelled_alone() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let (drops, others) = (Count::new(), Count::new());
            let value = scope(|s| {
                let child = s.spawn(|| {
                    let _held = drops.on_drop();
                    park();
                });
                s.spawn(|| {
                    yield_now();
                    others.add();
                });
                child.cancel();
                // Not joined.
                "value"
            });
            assert_eq!(value, "value");
            assert_eq!(others.get(), 1);
            assert!(drops.get() <= 1); // it may not have begun
            // Joined, it is an error as any.
            scope(|s| {
                let child = s.spawn(park);
                child.cancel();
                assert!(child.join().unwrap_err().is_cancelled());
            });
            // A child that panics is one, cancelled or not.
            let begun = Count::new();
            let said = panic_text(|| {
                scope(|s| {
                    let child = s.spawn(|| {
                        begun.add();
                        let _ = catch_unwind(park);
                        resume_unwind(Box::new("mine"));
                    });
                    until(|| begun.get() == 1);
                    child.cancel();
                })
            });
            assert!(said.contains("mine"), "{said}");
        });
    }
}

/// A scope whose children have all given a result is not lost to a deadline that came meanwhile.
#[test]
fn a_result_is_not_lost() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let begun = Count::new();
        let ended = timeout(SHORT, || {
            scope(|s| {
                let begun = &begun;
                // It has begun when the deadline comes.
                shield(|| {
                    s.spawn(|| {
                        shield(|| {
                            begun.add();
                            sleep(3 * SHORT);
                        });
                    });
                    until(|| begun.get() == 1);
                });
                5
            })
        });
        assert_eq!(ended, Ok(5));
        // The same in the closure itself, which does not wait.
        let ended = timeout(SHORT, || scope(|_| unblock(|| thread::sleep(2 * SHORT))));
        assert_eq!(ended, Ok(()));
        yield_now();
    });
}

/// A child that is spawned by another child after the cancel came is cancelled too.
#[test]
fn late_children_too() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let (late, ended) = (Count::new(), Count::new());
            let result = timeout(SHORT, || {
                scope(|s| {
                    s.spawn(|| {
                        let _spawns = Defer(|| {
                            for _ in 0..3 {
                                s.spawn(|| {
                                    let _ends = ended.on_drop();
                                    late.add();
                                    sleep(LONG);
                                });
                                yield_now();
                            }
                        });
                        sleep(LONG);
                    });
                });
            });
            assert!(result.is_err());
            assert_eq!(late.get(), ended.get());
        });
    }
}

/// A panic of the closure is not replaced by the cancel that comes while the children are waited for.
#[test]
fn a_panic_stays_what_it_is() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            timeout(SHORT, || {
                scope(|s| {
                    s.spawn(|| sleep(LONG));
                    resume_unwind(Box::new("mine"));
                })
            })
        }));
        let caught: Result<Result<(), _>, _> = caught;
        assert_eq!(text(&*caught.unwrap_err()), "mine");
        assert_eq!(timeout(LONG, yield_now), Ok(()));
    });
}

/// An inner deadline stays inside: it does not touch the children of a scope around it.
#[test]
fn an_inner_deadline_stays_inside() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let value = scope(|s| {
            let child = s.spawn(|| {
                sleep(2 * SHORT);
                "child"
            });
            assert!(timeout(Duration::from_millis(1), park).is_err());
            assert!(timeout(Duration::from_millis(1), || scope(|s| drop(s.spawn(park)))).is_err());
            child.join().unwrap()
        });
        assert_eq!(value, "child");
    });
}

/// Many children, ended and not: those that have ended are not kept, and those that live are reached.
#[test]
fn many_children() {
    let _watchdog = watchdog(120);
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let (ran, cancelled) = (AtomicU32::new(0), AtomicU32::new(0));
            let ended = timeout(Duration::from_millis(50), || {
                scope(|s| {
                    for n in 0..2000 {
                        s.spawn(|| {
                            ran.fetch_add(1, Ordering::SeqCst);
                        });
                        if n % 100 == 0 {
                            s.spawn(|| {
                                let _ends = Defer(|| {
                                    cancelled.fetch_add(1, Ordering::SeqCst);
                                });
                                sleep(LONG);
                            });
                            yield_now();
                        }
                    }
                    until(|| ran.load(Ordering::SeqCst) == 2000);
                })
            });
            assert!(ended.is_err());
            // On a slow machine the deadline came before all had begun.
            assert!(cancelled.load(Ordering::SeqCst) <= 20);
        });
    }
}

/// A cancel of the owner reaches children that other workers run.
#[test]
fn children_on_other_workers() {
    let _watchdog = watchdog(60);
    let runtime = runtime(2);
    let begun = Count::new();
    let owner = runtime.spawn({
        let begun = begun.clone();
        move || {
            one_on_each_worker(2, |_| {
                begun.add();
                sleep(LONG);
            })
        }
    });
    until(|| begun.get() == 2);
    owner.cancel();
    assert!(owner.join().unwrap_err().is_cancelled());
}

/// The owner's owner is a thread: nothing can cancel that, and the shutdown ends the child.
#[test]
fn a_thread_as_owner() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let handle = runtime.handle().clone();
    let begun = Count::new();
    let waits = thread::spawn({
        let begun = begun.clone();
        move || {
            panic_text(|| {
                handle.run(|| {
                    begun.add();
                    scope(|s| drop(s.spawn(park)));
                })
            })
        }
    });
    until(|| begun.get() == 1);
    drop(runtime);
    let said = waits.join().unwrap();
    assert!(
        said.contains("no result") && said.contains("cancelled"),
        "{said}"
    );
}

/// A loop of scopes and one of `run`s end: each is a suspension point.
#[test]
fn loops_of_scopes_end() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let loops: [fn(); 4] = [
                || {
                    loop {
                        scope(|_| ());
                    }
                },
                || {
                    loop {
                        scope(|s| drop(s.spawn(|| ())));
                    }
                },
                || {
                    loop {
                        Handle::current().run(|| ());
                    }
                },
                || {
                    loop {
                        scope(|s| s.spawn(yield_now).join().unwrap());
                    }
                },
            ];
            for (n, body) in loops.into_iter().enumerate() {
                let child = spawn(body);
                if n > 0 {
                    settle();
                    // The first holds its worker: it is cancelled before it runs, if that is this one.
                    assert!(!child.is_finished());
                }
                child.cancel();
                assert!(child.join().unwrap_err().is_cancelled(), "{n}");
                if n > 0 {
                    assert!(timeout(SHORT, body).is_err(), "{n}");
                }
            }
            block_on(async {});
        });
    }
}
