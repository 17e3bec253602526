//! `park` and `unpark`: one token, given before, during or after, by anybody, to fibers and threads.

mod common;

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Count, Gate, one_on_each_worker, runtime, settle, until, watchdog};
use sisal::block_on;
use sisal::fiber::{Builder, Fiber, current, park, park_timeout, scope, sleep, spawn};

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn a_token_given_before_the_first_run_is_kept() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let ran = Count::new();
        let fiber = spawn({
            let ran = ran.clone();
            move || {
                ran.add();
                park();
            }
        });
        // One worker, and this fiber has it: the other has not run yet.
        fiber.fiber().unpark();
        assert_eq!(ran.get(), 0);
        fiber.join().unwrap();
    });
}

#[test]
fn a_token_given_while_running_is_kept() {
    let _watchdog = watchdog(60);
    let (runs, given) = (Count::new(), Count::new());
    let runtime = runtime(1);
    let fiber = runtime.spawn({
        let (runs, given) = (runs.clone(), given.clone());
        move || {
            runs.add();
            while given.get() == 0 {
                std::hint::spin_loop();
            }
            park();
        }
    });
    until(|| runs.get() == 1);
    fiber.fiber().unpark();
    given.add();
    fiber.join().unwrap();
}

#[test]
fn a_token_given_while_yielding_is_kept() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (runs, given) = (Count::new(), Count::new());
        let fiber = spawn({
            let (runs, given) = (runs.clone(), given.clone());
            move || {
                runs.add();
                until(|| given.get() == 1);
                park();
            }
        });
        until(|| runs.get() == 1);
        fiber.fiber().unpark();
        settle();
        given.add();
        fiber.join().unwrap();
    });
}

#[test]
fn a_token_given_while_parked_ends_that() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let stages = Count::new();
        let fiber = spawn({
            let stages = stages.clone();
            move || {
                stages.add();
                park();
                stages.add();
            }
        });
        until(|| stages.get() == 1);
        settle();
        assert_eq!(stages.get(), 1, "`park` returned without a token");
        fiber.fiber().unpark();
        fiber.join().unwrap();
        assert_eq!(stages.get(), 2);
    });
}

#[test]
fn a_token_given_after_the_end_does_nothing() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let fibers: Vec<Fiber> = runtime.run(|| {
        (0..10)
            .map(|_| {
                let handle = spawn(|| ());
                let fiber = handle.fiber().clone();
                handle.join().unwrap();
                fiber.unpark();
                fiber
            })
            .collect()
    });
    fibers.iter().for_each(Fiber::unpark);
    drop(runtime);
    fibers.iter().for_each(Fiber::unpark);
}

#[test]
fn two_tokens_are_one() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        for given_before_park in [true, false] {
            let stages = Count::new();
            let fiber = spawn({
                let stages = stages.clone();
                move || {
                    if given_before_park {
                        until(|| stages.get() == 1);
                    }
                    park();
                    stages.add();
                    park();
                    stages.add();
                }
            });
            settle(); // now it is in `yield_now`, or in the first `park`
            fiber.fiber().unpark();
            fiber.fiber().unpark();
            fiber.fiber().clone().unpark();
            let first = match given_before_park {
                true => stages.add() + 1,
                false => 1,
            };
            until(|| stages.get() == first);
            settle();
            assert_eq!(stages.get(), first, "the second `park` had a token");
            fiber.fiber().unpark();
            fiber.join().unwrap();
        }
    });
}

/// One token given while it waits for something else, one while it yields: they are kept in two
/// places, and are still one.
#[test]
fn two_tokens_are_one_across_waits_of_other_kinds() {
    let _watchdog = watchdog(60);
    let (gate, stages) = (Gate::new(), Count::new());
    runtime(1).run(|| {
        scope(|s| {
            let fiber = s.spawn(|| {
                s.spawn(|| block_on(gate.clone())).join().unwrap();
                stages.add();
                until(|| stages.get() == 2);
                park();
                stages.add();
                park();
                stages.add();
            });
            gate.wait_polls(1);
            fiber.fiber().unpark();
            settle();
            gate.open();
            until(|| stages.get() == 1);
            fiber.fiber().unpark();
            stages.add();
            until(|| stages.get() == 3);
            settle();
            assert_eq!(stages.get(), 3, "the second `park` had a token");
            fiber.fiber().unpark();
            fiber.join().unwrap();
        });
    });
}

#[test]
fn a_fiber_can_give_itself_the_token() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        for _ in 0..1000 {
            current().unpark();
            park();
        }
    });
}

#[test]
fn park_timeout_takes_a_token_that_is_there() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let before = Instant::now();
        current().unpark();
        park_timeout(LONG);
        current().unpark();
        park_timeout(Duration::MAX);
        current().unpark();
        park_timeout(Duration::ZERO);
        // Hours, did it not take the tokens. Nothing is left of them:
        assert!(before.elapsed() < LONG);
        let before = Instant::now();
        park_timeout(Duration::from_millis(3));
        assert!(before.elapsed() >= Duration::from_millis(3));
    });
}

#[test]
fn park_timeout_ends_by_a_token() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let stages = Count::new();
            let fiber = spawn({
                let stages = stages.clone();
                move || {
                    for _ in 0..10 {
                        stages.add();
                        park_timeout(LONG);
                    }
                }
            });
            for n in 1..=10 {
                until(|| stages.get() == n);
                fiber.fiber().unpark();
            }
            fiber.join().unwrap();
        });
    }
}

#[test]
fn park_timeout_ends_by_the_time_and_leaves_no_token() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        for millis in [0, 1, 7] {
            let timeout = Duration::from_millis(millis);
            let before = Instant::now();
            park_timeout(timeout);
            assert!(before.elapsed() >= timeout);
        }
        let stages = Count::new();
        let fiber = spawn({
            let stages = stages.clone();
            move || {
                park_timeout(Duration::from_millis(1));
                stages.add();
                park();
                stages.add();
            }
        });
        until(|| stages.get() == 1);
        settle();
        assert_eq!(stages.get(), 1, "the timeout left a token");
        fiber.fiber().unpark();
        fiber.join().unwrap();
    });
}

/// A wake of another kind ends neither.
#[test]
fn park_timeout_is_not_ended_by_other_wakes() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let gate = Gate::new();
        let stages = Count::new();
        let fiber = spawn({
            let (gate, stages) = (gate.clone(), stages.clone());
            move || {
                block_on(gate);
                stages.add();
                park_timeout(LONG);
                stages.add();
            }
        });
        gate.wait_polls(1);
        let stale = gate.waker();
        gate.open();
        until(|| stages.get() == 1);
        for _ in 0..10 {
            stale.wake_by_ref();
            settle();
        }
        assert_eq!(stages.get(), 1);
        fiber.fiber().unpark();
        fiber.join().unwrap();
    });
}

/// Token and timer at the same time: whichever is first, no second token comes of it.
#[test]
fn a_token_that_races_the_timeout_is_one() {
    const ROUNDS: usize = 200;
    const TICK: Duration = Duration::from_millis(1);
    let _watchdog = watchdog(120);
    let (asked, given) = (Count::new(), Count::new());
    runtime(2).run(|| {
        scope(|s| {
            let fiber = s.spawn(|| {
                for round in 1..=ROUNDS {
                    asked.add();
                    park_timeout(TICK);
                    until(|| given.get() == round);
                    // It was taken, or is still there; then this adds nothing to it.
                    current().unpark();
                    park();
                    let before = Instant::now();
                    park_timeout(TICK);
                    assert!(
                        before.elapsed() >= TICK,
                        "a token too many in round {round}"
                    );
                }
            });
            for round in 1..=ROUNDS {
                until(|| asked.get() == round);
                sleep(TICK);
                fiber.fiber().unpark();
                given.add();
            }
        });
    });
}

#[test]
fn between_a_fiber_and_a_plain_thread_in_both_directions() {
    const ROUNDS: usize = 2_000;
    let _watchdog = watchdog(120);
    for workers in [1, 2] {
        let turn = AtomicUsize::new(0);
        let thread = current();
        assert_eq!(thread.name(), thread::current().name());
        let runtime = runtime(workers);
        thread::scope(|s| {
            let turn = &turn;
            let (give, take) = std::sync::mpsc::channel();
            s.spawn(move || {
                runtime.run(|| {
                    give.send(current()).unwrap();
                    for round in 0..ROUNDS {
                        while turn.load(Ordering::SeqCst) != 2 * round + 1 {
                            park();
                        }
                        turn.store(2 * round + 2, Ordering::SeqCst);
                        thread.unpark();
                    }
                });
            });
            let fiber = take.recv().unwrap();
            for round in 0..ROUNDS {
                turn.store(2 * round + 1, Ordering::SeqCst);
                fiber.unpark();
                while turn.load(Ordering::SeqCst) != 2 * round + 2 {
                    park();
                }
            }
        });
        assert_eq!(turn.load(Ordering::SeqCst), 2 * ROUNDS);
    }
}

/// In a fiber `park` returns for tokens only, so counting works without a flag.
#[test]
fn between_fibers_of_two_workers_no_token_is_lost() {
    const ROUNDS: usize = 10_000;
    let _watchdog = watchdog(120);
    runtime(2).run(|| {
        let fibers = Mutex::new(Vec::new());
        one_on_each_worker(2, |n| {
            fibers.lock().unwrap().push((n, current()));
            until(|| fibers.lock().unwrap().len() == 2);
            let other = {
                let fibers = fibers.lock().unwrap();
                fibers.iter().find(|f| f.0 != n).unwrap().1.clone()
            };
            for _ in 0..ROUNDS {
                if n == 0 {
                    other.unpark();
                    park();
                } else {
                    park();
                    other.unpark();
                }
            }
        });
    });
}

#[test]
fn a_plain_thread_parks_with_its_own_token() {
    let _watchdog = watchdog(60);
    thread::spawn(|| {
        current().unpark();
        park();
        current().unpark();
        park_timeout(LONG);
        // std's token and ours are the same there.
        thread::current().unpark();
        park();
        current().unpark();
        thread::park();
    })
    .join()
    .unwrap();
}

#[test]
fn who_a_fiber_is_can_be_told() {
    let _watchdog = watchdog(60);
    runtime(2).run(|| {
        let named = Builder::new().name("nora".into());
        let handle = named
            .spawn(|| {
                park();
                current()
            })
            .unwrap();
        let outside = handle.fiber().clone();
        outside.unpark();
        assert_eq!(handle.thread().id(), outside.id());
        let inside = handle.join().unwrap();
        assert_eq!(inside.id(), outside.id());
        assert_eq!(inside.name(), Some("nora"));
        assert_ne!(current().id(), inside.id());
        assert_eq!(current().name(), None);
        let text = format!("{inside:?}");
        assert!(text.contains("nora") && text.contains("park.rs"), "{text}");
    });
    assert_ne!(current().id(), thread::spawn(current).join().unwrap().id());
}

#[test]
fn no_two_fibers_have_one_id() {
    const EACH: usize = 700; // more than a worker takes from the process's counter at once
    let _watchdog = watchdog(60);
    let ids = Mutex::new(HashSet::new());
    let add = |id| assert!(ids.lock().unwrap().insert(id), "{id:?} was there already");
    thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                add(current().id());
                let runtime = runtime(2);
                for _ in 0..EACH {
                    add(runtime.spawn(|| ()).fiber().id());
                }
                runtime.run(|| {
                    one_on_each_worker(2, |_| {
                        for _ in 0..EACH {
                            add(spawn(|| ()).fiber().id());
                        }
                    });
                });
            });
        }
    });
    assert_eq!(ids.lock().unwrap().len(), 2 * (1 + 3 * EACH));
}
