//! `scope`: fibers that borrow, and that have all ended when it returns, however it does.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::{
    Count, Defer, Gate, OnDrop, one_on_each_worker, panic_text, reach, runtime, settle, text,
    until, watchdog,
};
use sisal::block_on;
use sisal::fiber::{Builder, park, scope, sleep, spawn, yield_now};

/// Runs `test` where scopes may be: in a fiber of one worker, in one of two, and on a plain thread.
fn everywhere(test: impl Fn() + Sync) {
    let _watchdog = watchdog(120);
    runtime(1).run(&test);
    runtime(2).run(&test);
    test();
}

#[test]
fn children_borrow_and_their_results_borrow() {
    everywhere(|| {
        let words = vec![String::from("one"), String::from("two")];
        let mut counts = [0; 2];
        let longest = scope(|s| {
            for (word, count) in words.iter().zip(&mut counts) {
                s.spawn(move || *count = word.len());
            }
            let longest = s.spawn(|| words.iter().max_by_key(|word| word.len()).unwrap());
            longest.join().unwrap().as_str()
        });
        assert_eq!((longest, counts), ("two", [3, 3]));
        drop(words);
    });
}

#[test]
fn all_children_have_ended_when_it_returns() {
    everywhere(|| {
        for children in [0, 1, 2, 100] {
            let ended = AtomicUsize::new(0);
            let value = scope(|s| {
                for n in 0..children {
                    let ended = &ended;
                    s.spawn(move || {
                        for _ in 0..n % 5 {
                            yield_now();
                        }
                        if n % 10 == 0 {
                            sleep(Duration::from_millis(1));
                        }
                        ended.fetch_add(1, Ordering::Relaxed);
                    });
                }
                "value"
            });
            assert_eq!(value, "value");
            assert_eq!(ended.load(Ordering::Relaxed), children);
        }
    });
}

#[test]
fn ten_thousand_children_end() {
    let _watchdog = watchdog(120);
    runtime(2).run(|| {
        let ended = AtomicUsize::new(0);
        scope(|s| {
            for _ in 0..10_000 {
                s.spawn(|| {
                    yield_now();
                    ended.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(ended.load(Ordering::Relaxed), 10_000);
    });
}

#[test]
fn all_children_have_ended_when_f_panics() {
    everywhere(|| {
        let (ended, go) = (Count::new(), Count::new());
        let text = panic_text(|| {
            // Dropped by the unwind out of `scope`, so after the children.
            let lent = Defer(|| assert_eq!(ended.get(), 10));
            scope(|s| {
                for _ in 0..10 {
                    s.spawn(|| {
                        let _lent = &lent;
                        until(|| go.get() == 1);
                        yield_now();
                        ended.add();
                    });
                }
                let _unwinds = Defer(|| _ = go.add());
                panic!("f is over");
            })
        });
        assert_eq!((text.as_str(), ended.get()), ("f is over", 10));
    });
}

/// The scope's panic names the child and its reason.
#[track_caller]
fn assert_unseen(text: &str) {
    for part in ["nobody joined it", "scope.rs:", "panicked"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_childs_panic_that_nobody_sees_panics_the_scope() {
    everywhere(|| {
        let seen = Count::new();
        let text = panic_text(|| {
            scope(|s| {
                s.spawn(|| resume_unwind(Box::new(1)));
                s.spawn(|| {
                    yield_now();
                    seen.add();
                });
                "value"
            })
        });
        assert_unseen(&text);
        // The others were not disturbed by it.
        assert_eq!(seen.get(), 1);
    });
}

#[test]
fn a_childs_panic_after_its_handle_was_dropped_panics_the_scope() {
    everywhere(|| {
        let go = Count::new();
        let text = panic_text(|| {
            scope(|s| {
                let child = s.spawn(|| {
                    until(|| go.get() == 1);
                    resume_unwind(Box::new(1))
                });
                drop::<sisal::fiber::ScopedJoinHandle<'_, ()>>(child);
                go.add();
            })
        });
        assert_unseen(&text);
    });
}

#[test]
fn a_childs_panic_before_its_handle_was_dropped_panics_the_scope() {
    everywhere(|| {
        let text = panic_text(|| {
            scope(|s| {
                let child = s.spawn(|| -> () { resume_unwind(Box::new(1)) });
                until(|| child.is_finished());
                drop(child);
            })
        });
        assert_unseen(&text);
    });
}

#[test]
fn a_childs_panic_that_is_joined_is_the_joiners() {
    everywhere(|| {
        let value = scope(|s| {
            let child = s.spawn(|| -> () { resume_unwind(Box::new("mine")) });
            let error = child.join().unwrap_err();
            assert_eq!(text(&*error.into_panic()), "mine");
            5
        });
        assert_eq!(value, 5);
    });
}

/// Both panic: `f`'s own comes out, with its payload.
#[test]
fn a_panic_of_f_goes_before_a_childs() {
    everywhere(|| {
        let payload = catch_unwind(AssertUnwindSafe(|| {
            scope(|s| {
                s.spawn(|| resume_unwind(Box::new("the child's")));
                resume_unwind(Box::new(77_u8))
            })
        }));
        assert_eq!(payload.unwrap_err().downcast_ref(), Some(&77_u8));
    });
}

/// A result may borrow; it is gone when `scope` returns, whoever was to drop it.
#[test]
fn results_are_dropped_before_it_returns() {
    everywhere(|| {
        let drops = Count::new();
        let in_f = scope(|s| {
            // By the fiber, whose handle is gone.
            s.spawn(|| drops.on_drop());
            // By the handle, whose fiber is over.
            let late = s.spawn(|| drops.on_drop());
            until(|| late.is_finished());
            drop(late);
            // By another child, that has the handle.
            let given = s.spawn(|| drops.on_drop());
            s.spawn(move || {
                let _given: OnDrop = given.join().unwrap();
                yield_now();
            });
            // By `f`.
            let _joined = s.spawn(|| drops.on_drop()).join().unwrap();
            // And one is the scope's own result.
            s.spawn(|| drops.on_drop()).join().unwrap()
        });
        assert_eq!(drops.get(), 4);
        drop(in_f);
        assert_eq!(drops.get(), 5);
    });
}

/// What a child's closure and frame hold is dropped before its end is told.
#[test]
fn what_children_hold_is_dropped_before_it_returns() {
    struct Slow(Count);
    impl Drop for Slow {
        fn drop(&mut self) {
            for _ in 0..5 {
                yield_now();
            }
            self.0.add();
        }
    }
    everywhere(|| {
        let drops = Count::new();
        scope(|s| {
            let slow = || Slow(drops.clone());
            let (a, b, c) = (slow(), slow(), slow());
            s.spawn(move || drop(a)); // in the closure's call
            s.spawn(move || b); // as a result that nobody takes
            let thrown = s.spawn(move || -> () { resume_unwind(Box::new(c)) });
            drop(thrown.join().unwrap_err().into_panic());
        });
        assert_eq!(drops.get(), 3);
    });
}

#[test]
fn scopes_nest() {
    everywhere(|| {
        let outer = [1, 2, 3];
        let sum: i32 = scope(|s| {
            let children: Vec<_> = outer
                .iter()
                .map(|n| {
                    s.spawn(move || {
                        let inner = [*n; 4];
                        scope(|t| {
                            let children = inner.each_ref().map(|n| {
                                t.spawn(move || {
                                    yield_now();
                                    *n
                                })
                            });
                            children.map(|c| c.join().unwrap()).iter().sum::<i32>()
                        })
                    })
                })
                .collect();
            children.into_iter().map(|c| c.join().unwrap()).sum()
        });
        assert_eq!(sum, 24);
    });
}

#[test]
fn children_may_have_children_in_the_same_scope() {
    everywhere(|| {
        let ended = AtomicUsize::new(0);
        scope(|s| {
            s.spawn(|| {
                for _ in 0..3 {
                    s.spawn(|| {
                        s.spawn(|| {
                            yield_now();
                            ended.fetch_add(1, Ordering::Relaxed);
                        });
                    });
                }
            });
        });
        assert_eq!(ended.load(Ordering::Relaxed), 3);
    });
}

/// A panic in an inner scope's child is not the outer's, if the inner's owner catches it.
#[test]
fn a_childs_panic_stays_in_its_scope() {
    everywhere(|| {
        scope(|s| {
            let inner = s.spawn(|| {
                panic_text(|| {
                    scope(|t| {
                        t.spawn(|| resume_unwind(Box::new(1)));
                    })
                })
            });
            let text = inner.join().unwrap();
            assert_unseen(&text);
        });
    });
}

#[test]
fn a_leaked_handle_does_no_harm() {
    everywhere(|| {
        let (drops, ended) = (Count::new(), Count::new());
        scope(|s| {
            // Leaked before the end, after it, and with a panic inside.
            std::mem::forget(s.spawn(|| {
                yield_now();
                ended.add();
                drops.on_drop()
            }));
            let late = s.spawn(|| {
                ended.add();
                drops.on_drop()
            });
            until(|| late.is_finished());
            std::mem::forget(late);
            std::mem::forget(s.spawn(|| -> () {
                ended.add();
                resume_unwind(Box::new(drops.on_drop()))
            }));
        });
        assert_eq!(ended.get(), 3);
        // What was returned is leaked with the handles, as the handles asked.
        assert!(drops.get() <= 3);
    });
}

/// The wait of a scope is its own: wakes of other kinds do not end it, tokens stay.
#[test]
fn its_wait_is_not_ended_by_other_wakes() {
    let _watchdog = watchdog(60);
    let (gate, first, returned) = (Gate::new(), Gate::new(), Count::new());
    runtime(1).run(|| {
        scope(|s| {
            let owner = s.spawn(|| {
                block_on(first.clone());
                scope(|t| {
                    t.spawn(|| block_on(gate.clone()));
                });
                returned.add();
                park();
            });
            first.wait_polls(1);
            let stale = first.waker();
            first.open();
            gate.wait_polls(1);
            for _ in 0..3 {
                owner.fiber().unpark();
                settle();
                stale.wake_by_ref();
                settle();
            }
            assert_eq!(returned.get(), 0);
            gate.open();
            owner.join().unwrap();
        });
    });
}

#[test]
fn named_children_with_stacks_of_their_own() {
    everywhere(|| {
        let local = String::from("local");
        scope(|s| {
            let big = Builder::new().name("big".into()).stack_size(1 << 20);
            let child = big
                .spawn_scoped(s, || {
                    let name = sisal::fiber::current().name().map(String::from);
                    // Four times what a fiber has without asking.
                    (reach(900 * 1024, &mut || ()), name, &local)
                })
                .unwrap();
            assert_eq!(child.fiber().name(), Some("big"));
            assert_eq!(child.thread().id(), child.fiber().id());
            let (reached, name, local) = child.join().unwrap();
            assert!(reached >= 900 * 1024);
            assert_eq!((name.as_deref(), local.as_str()), (Some("big"), "local"));
            // What cannot be is said before there is a child.
            let none = Builder::new().stack_size(1).spawn_scoped(s, || ());
            assert_eq!(none.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        });
    });
}

#[test]
fn children_run_on_every_worker() {
    let _watchdog = watchdog(60);
    runtime(2).run(|| {
        // Ends only if two children are on two workers at once.
        let threads = one_on_each_worker(2, |_| thread::current().id());
        assert_ne!(threads[0], threads[1]);
    });
}

/// The owner is told by a child of another worker, at the moment when it goes to wait.
#[test]
fn the_last_end_races_the_owners_wait() {
    let _watchdog = watchdog(120);
    runtime(2).run(|| {
        for round in 0..3_000 {
            let count = AtomicUsize::new(0);
            scope(|s| {
                for _ in 0..3 {
                    s.spawn(|| {
                        if round % 2 == 0 {
                            yield_now();
                        }
                        count.fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
            assert_eq!(count.load(Ordering::Relaxed), 3);
        }
    });
}

/// On a plain thread they are the default runtime's.
#[test]
fn children_are_of_the_owners_runtime() {
    let _watchdog = watchdog(60);
    let named = sisal::Runtime::builder().workers(1).thread_name("mine");
    let runtime = named.build().unwrap();
    let name = || thread::current().name().map(String::from);
    let of_fiber = runtime.run(|| scope(|s| s.spawn(name).join().unwrap()));
    assert_eq!(of_fiber.as_deref(), Some("mine-0"));
    let of_thread = scope(|s| s.spawn(name).join().unwrap());
    assert!(of_thread.unwrap().starts_with("sisal-worker-"));
}

/// A child may end on one worker while its handle is used on another, again and again.
#[test]
fn handles_are_dropped_while_their_children_end() {
    let _watchdog = watchdog(120);
    let drops = Count::new();
    const ROUNDS: usize = 2_000;
    runtime(2).run(|| {
        for round in 0..ROUNDS {
            scope(|s| {
                let child = s.spawn(|| drops.on_drop());
                if round % 2 == 0 {
                    yield_now();
                }
                drop(child);
            });
            assert_eq!(drops.get(), round + 1);
        }
    });
}

/// Fibers outside know nothing of a scope that is under way.
#[test]
fn other_fibers_go_on_while_a_scope_waits() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let gate = Gate::new();
        let other = spawn({
            let gate = gate.clone();
            move || {
                gate.wait_polls(1);
                gate.open();
            }
        });
        scope(|s| {
            s.spawn(|| block_on(gate.clone()));
        });
        other.join().unwrap();
    });
}
