//! `run`, into a runtime and back, and `unblock`, out of it and back: both lend, both wait.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use common::{
    Count, Defer, Gate, one_on_each_worker, panic_text, runtime, settle, text, until, watchdog,
};
use sisal::fiber::{current, park, scope, sleep, spawn, yield_now};
use sisal::{Handle, Runtime, block_on, unblock};

#[test]
fn run_lends_and_returns() {
    let _watchdog = watchdog(60);
    let runtime = runtime(2);
    let mut text = String::from("lent");
    let (here, there) = runtime.run(|| {
        text.push_str(" and given back");
        (Handle::try_current().is_some(), thread::current().id())
    });
    assert_eq!(text, "lent and given back");
    assert!(here && there != thread::current().id());
    // What it returns may borrow too.
    let word = runtime.handle().run(|| text.split(' ').next().unwrap());
    assert_eq!(word, "lent");
    assert_eq!(sisal::run(|| text.len()), 19);
}

#[test]
fn run_resumes_a_panic_with_its_payload() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let drops = Count::new();
    for _ in 0..2 {
        let payload = catch_unwind(AssertUnwindSafe(|| {
            runtime.run(|| {
                let _in_frame = drops.on_drop();
                yield_now();
                resume_unwind(Box::new(42_u8))
            })
        }));
        let payload = payload.unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&42_u8));
    }
    assert_eq!(drops.get(), 2);
    assert_eq!(
        panic_text(|| sisal::run(|| panic!("in the default one"))),
        "in the default one"
    );
    // In a fiber too: the fiber's own panic then.
    let nested = runtime.run(|| panic_text(|| runtime.run(|| panic!("within"))));
    assert_eq!(nested, "within");
}

#[test]
fn run_in_a_fiber_parks_the_fiber() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let threads = runtime.run(|| {
        // On one worker: a `run` that held it would never end.
        let inner = runtime.run(|| {
            yield_now();
            (
                thread::current().id(),
                runtime.run(|| thread::current().id()),
            )
        });
        [thread::current().id(), inner.0, inner.1]
    });
    assert_eq!([threads[0]; 3], threads);
}

#[test]
fn run_goes_across_runtimes_and_back() {
    let _watchdog = watchdog(60);
    let (a, b) = (runtime(1), runtime(1));
    let (others, done) = (Count::new(), Count::new());
    let ids = a.run(|| {
        scope(|s| {
            s.spawn(|| {
                while done.get() == 0 {
                    others.add();
                    yield_now();
                }
            });
            let here = thread::current().id();
            let before = others.get();
            let (there, back) = b.run(|| {
                // The fiber of `a` that waits for this is parked, and the others of `a` go on.
                until(|| others.get() > before + 10);
                (thread::current().id(), a.run(|| thread::current().id()))
            });
            done.add();
            assert_eq!(here, thread::current().id());
            (here, there, back)
        })
    });
    assert!(ids.0 == ids.2 && ids.0 != ids.1);
    assert_eq!(sisal::run(|| a.run(|| b.run(|| 3))), 3);
}

#[test]
fn run_waits_for_nothing_but_its_own_fiber() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let ended = Count::new();
    let gate = Gate::new();
    let other = runtime.run(|| {
        let (gate, ended) = (gate.clone(), ended.clone());
        spawn(move || {
            block_on(gate);
            ended.add();
        })
    });
    assert_eq!(ended.get(), 0);
    gate.wait_polls(1);
    gate.open();
    other.join().unwrap();
}

#[test]
fn run_on_a_runtime_that_has_ended_panics_and_f_never_starts() {
    let _watchdog = watchdog(60);
    let closed = runtime(1);
    let handle = closed.handle().clone();
    drop(closed);
    let (started, drops) = (Count::new(), Count::new());
    let attempt = || {
        let held = drops.on_drop();
        panic_text(|| {
            handle.run(|| {
                let _held = held;
                started.add();
            })
        })
    };
    let on_thread = attempt();
    let on_fiber = runtime(1).run(attempt);
    for text in [on_thread, on_fiber] {
        assert!(
            text.contains("`run` has no result") && text.contains("cancelled"),
            "{text}"
        );
        assert!(text.contains("run_and_unblock.rs"), "{text}");
    }
    assert_eq!((started.get(), drops.get()), (0, 2));
}

/// The runtime ends while a thread is in `run`: the body unwinds, then `run` panics, in that order.
#[test]
fn run_whose_runtime_ends_panics_after_its_body() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let handle = runtime.handle().clone();
        let (begun, ended) = (Count::new(), Count::new());
        thread::scope(|s| {
            let running = s.spawn(|| {
                let lent = Defer(|| assert_eq!(ended.get(), 1));
                panic_text(|| {
                    handle.run(|| {
                        let _lent = &lent;
                        let _at_end = Defer(|| {
                            sleep(Duration::from_millis(2));
                            ended.add();
                        });
                        begun.add();
                        park();
                    })
                })
            });
            until(|| begun.get() == 1);
            drop(runtime);
            let text = running.join().unwrap();
            assert!(text.contains("`run` has no result"), "{text}");
        });
    }
}

#[test]
fn many_threads_run_at_once() {
    let _watchdog = watchdog(60);
    let runtime = runtime(2);
    let total = Count::new();
    thread::scope(|s| {
        for n in 0..8 {
            let (runtime, total) = (&runtime, &total);
            s.spawn(move || {
                for m in 0..200 {
                    let got = runtime.run(|| {
                        total.add();
                        n * m
                    });
                    assert_eq!(got, n * m);
                }
            });
        }
    });
    assert_eq!(total.get(), 1600);
}

#[test]
fn unblock_lends_and_returns() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let mut list = vec![1];
        let last = unblock(|| {
            list.push(2);
            list.last().copied()
        });
        assert_eq!((last, list.as_slice()), (Some(2), &[1, 2][..]));
        let worker = thread::current().id();
        assert_ne!(unblock(|| thread::current().id()), worker);
        assert_eq!(thread::current().id(), worker);
        let name = unblock(|| thread::current().name().map(String::from));
        assert_eq!(name.as_deref(), Some("sisal-blocking"));
        // The result may borrow.
        assert_eq!(unblock(|| &list[0]), &1);
    });
}

#[test]
fn unblock_resumes_a_panic_with_its_payload() {
    let _watchdog = watchdog(60);
    let drops = Count::new();
    runtime(1).run(|| {
        for _ in 0..3 {
            let held = drops.on_drop();
            let payload = catch_unwind(AssertUnwindSafe(|| {
                unblock(|| {
                    let _held = held;
                    resume_unwind(Box::new("from the pool"))
                })
            }));
            let payload = payload.unwrap_err();
            assert_eq!(text(&*payload), "from the pool");
        }
        assert_eq!(unblock(|| 1), 1);
    });
    assert_eq!(drops.get(), 3);
}

/// The closure ends only after another fiber of the same worker has run.
#[test]
fn unblock_lets_its_worker_serve_the_others() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (tx, rx) = mpsc::channel();
        scope(|s| {
            s.spawn(move || tx.send("from a fiber of this worker").unwrap());
            let word = unblock(move || rx.recv().unwrap());
            assert_eq!(word, "from a fiber of this worker");
        });
    });
}

/// The closures wait for one another: all of them must be on threads at once.
#[test]
fn many_closures_block_at_once() {
    const MANY: usize = 50;
    let _watchdog = watchdog(60);
    let meet = Barrier::new(MANY);
    runtime(1).run(|| {
        scope(|s| {
            for _ in 0..MANY {
                s.spawn(|| unblock(|| meet.wait()));
            }
        });
    });
}

#[test]
fn more_closures_than_threads_take_turns() {
    let _watchdog = watchdog(60);
    for threads in [1, 2, 3] {
        let runtime = Runtime::builder().workers(2).max_blocking_threads(threads);
        let runtime = runtime.build().unwrap();
        let (here, most, sum) = (Count::new(), Count::new(), Count::new());
        let inside = Mutex::new(0);
        runtime.run(|| {
            scope(|s| {
                for n in 0..100 {
                    let (here, most, sum, inside) = (&here, &most, &sum, &inside);
                    s.spawn(move || {
                        let got = unblock(|| {
                            here.add();
                            let now = {
                                let mut inside = inside.lock().unwrap();
                                *inside += 1;
                                *inside
                            };
                            while most.get() < now {
                                most.add();
                            }
                            thread::yield_now();
                            *inside.lock().unwrap() -= 1;
                            n
                        });
                        assert_eq!(got, n);
                        sum.add();
                    });
                }
            });
        });
        assert_eq!((here.get(), sum.get()), (100, 100));
        // Half of the threads are for these, one at least.
        assert!(
            most.get() <= (threads / 2).max(1),
            "{} of {threads}",
            most.get()
        );
    }
}

/// On the one thread there is, a closure may call into the runtime again, which may unblock again only
/// by itself waiting its turn: here the inner one is called in place.
#[test]
fn unblock_within_unblock_is_called_in_place() {
    let _watchdog = watchdog(60);
    let runtime = Runtime::builder().workers(1).max_blocking_threads(1);
    let runtime = runtime.build().unwrap();
    let same = runtime.run(|| {
        unblock(|| {
            let outer = thread::current().id();
            outer == unblock(|| thread::current().id())
        })
    });
    assert!(same);
    // And from a pool's thread one may go back into the runtime.
    assert_eq!(runtime.run(|| unblock(|| runtime.run(|| 9))), 9);
}

#[test]
fn unblock_on_a_plain_thread_is_a_call() {
    let here = thread::current().id();
    assert_eq!(unblock(|| thread::current().id()), here);
    assert_eq!(panic_text(|| unblock(|| panic!("as it is"))), "as it is");
}

/// tokio's own blocking calls are what `unblock` is for; here with the worker's own runtime.
#[test]
fn tokios_blocking_calls_work_in_unblock() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let (tx, mut rx) = tokio::sync::mpsc::channel(1);
            let handle = tokio::runtime::Handle::current();
            scope(|s| {
                s.spawn(move || {
                    unblock(move || {
                        tx.blocking_send(1).unwrap();
                        tx.blocking_send(2).unwrap();
                    });
                });
                let got = unblock(|| [rx.blocking_recv(), rx.blocking_recv(), rx.blocking_recv()]);
                assert_eq!(got, [Some(1), Some(2), None]);
            });
            // Its timer is this worker's, which is free to fire it.
            unblock(move || {
                handle.block_on(async {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    tokio::spawn(async { 1 }).await.unwrap()
                })
            });
            // A runtime of its own, as `reqwest::blocking` has.
            let sum = unblock(|| {
                let own = tokio::runtime::Runtime::new().unwrap();
                own.block_on(async { tokio::spawn(async { 5 }).await.unwrap() })
            });
            assert_eq!(sum, 5);
        });
    }
}

/// As in tokio's own `spawn_blocking`: the runtime that is current is one that somebody drives.
#[test]

fn tokios_current_runtime_in_unblock_is_driven() {
    let _watchdog = watchdog(20);
    runtime(1).run(|| {
        unblock(|| {
            let (tx, rx) = mpsc::channel();
            tokio::spawn(async move { tx.send(()).unwrap() });
            rx.recv().unwrap();
            let handle = tokio::runtime::Handle::current();
            handle.block_on(tokio::time::sleep(Duration::from_millis(1)));
        });
    });
}

/// What the closure holds is dropped before `unblock` returns, also what is dropped unrun.
#[test]
fn what_a_closure_holds_is_dropped_before_it_returns() {
    let _watchdog = watchdog(60);
    let drops = Count::new();
    runtime(1).run(|| {
        for n in 1..=100 {
            let lent = Count::new();
            let held = Defer(|| {
                lent.add();
                drops.add();
            });
            unblock(move || {
                let _held = &held;
            });
            assert_eq!((lent.get(), drops.get()), (1, n));
        }
    });
}

#[test]
fn unblock_ends_no_other_wait_and_takes_no_token() {
    let _watchdog = watchdog(60);
    let stages = Count::new();
    runtime(1).run(|| {
        let (tx, rx) = mpsc::channel::<()>();
        scope(|s| {
            let fiber = s.spawn(|| {
                stages.add();
                unblock(move || rx.recv().unwrap());
                stages.add();
                park();
                stages.add();
            });
            until(|| stages.get() == 1);
            fiber.fiber().unpark();
            settle();
            assert_eq!(stages.get(), 1);
            tx.send(()).unwrap();
            fiber.join().unwrap();
        });
        assert_eq!(stages.get(), 3);
    });
}

/// The end of the closure races the fiber on its way out, on every worker.
#[test]
fn closures_that_end_at_once_lose_no_wake() {
    let _watchdog = watchdog(120);
    runtime(2).run(|| {
        one_on_each_worker(2, |n| {
            for round in 0..2_000 {
                assert_eq!(unblock(|| n + round), n + round);
            }
        });
    });
}

/// The pool's threads know nothing of the runtime's fibers: `unblock` there can wait for any of
/// them.
#[test]
fn a_closure_may_wait_for_fibers() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let me = Arc::new(Mutex::new(None));
        let fiber = {
            let me = Arc::clone(&me);
            spawn(move || {
                *me.lock().unwrap() = Some(current());
                park();
                11
            })
        };
        let got = unblock(|| {
            until(|| me.lock().unwrap().is_some());
            fiber.fiber().unpark();
            fiber.join().unwrap()
        });
        assert_eq!(got, 11);
    });
}
