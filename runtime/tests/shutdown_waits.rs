//! The end of a runtime meets a fiber in every wait there is: it is unwound, once, and each value of
//! its frames is dropped.

mod common;

use std::io::{Read, Write};
use std::panic::catch_unwind;
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::{
    Count, LONG, Tally, closing, never, pair, runtime, settle, until, until_thread, watchdog,
};
use sisal::fiber::{JoinHandle, park, park_timeout, scope, sleep, spawn, yield_now};
use sisal::net::TcpListener;
use sisal::{Handle, Runtime, block_on, unblock};

type Wait = fn(&Tally);

/// Every wait a fiber can be in, and how many values are in the wait itself, or lent to it.
const WAITS: &[(&str, usize, Wait)] = &[
    ("park", 0, |_| park()),
    ("park_timeout", 0, |_| park_timeout(LONG)),
    ("sleep", 0, |_| sleep(LONG)),
    ("yield_now", 0, |_| {
        loop {
            yield_now();
        }
    }),
    ("block_on", 1, |tally| block_on(never(tally.make()))),
    ("block_on of a tokio timer", 1, |tally| {
        let held = tally.make();
        block_on(async {
            let _held = held;
            tokio::time::sleep(LONG).await;
        });
    }),
    ("block_on of what wakes itself", 1, |tally| {
        let held = tally.make();
        block_on(async {
            let _held = held;
            loop {
                tokio::task::yield_now().await;
            }
        });
    }),
    ("a loop of ready futures", 1, |tally| {
        let _held = tally.make();
        let semaphore = tokio::sync::Semaphore::new(1);
        loop {
            drop(block_on(semaphore.acquire()).unwrap());
        }
    }),
    ("block_on in block_on", 2, |tally| {
        let (a, b) = (tally.make(), tally.make());
        block_on(async {
            let _a = a;
            block_on(never(b));
        });
    }),
    ("join", 1, |tally| {
        let held = tally.make();
        let child = spawn(move || {
            let _held = held;
            park();
        });
        // It detaches, and the child is cancelled on its own account. On another worker that may
        // be first: then the join says so, and the next wait is cancelled.
        assert!(child.join().unwrap_err().is_cancelled());
        park();
    }),
    ("await of a join handle", 1, |tally| {
        let held = tally.make();
        let child = spawn(move || block_on(never(held)));
        assert!(block_on(child).unwrap_err().is_cancelled());
        park();
    }),
    ("scope", 2, |tally| {
        let lent = tally.make();
        scope(|s| {
            s.spawn(|| {
                let _lent = &lent;
                block_on(never(tally.make()));
            });
        });
        park();
    }),
    ("join in scope", 2, |tally| {
        let lent = tally.make();
        scope(|s| {
            let child = s.spawn(|| {
                let _lent = &lent;
                block_on(never(tally.make()));
            });
            assert!(child.join().unwrap_err().is_cancelled());
            park();
        });
    }),
    ("run", 1, |tally| {
        Handle::current().run(|| block_on(never(tally.make())));
    }),
    ("run on the default runtime", 1, |tally| {
        // This runtime's end is passed on to the other's fiber, which may not have begun.
        sisal::run(|| {
            let _held = tally.make();
            sleep(Duration::from_millis(5));
        });
        park();
    }),
    ("accept", 1, |tally| {
        let _held = tally.make();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _ = listener.accept();
        unreachable!("`accept` returned in a cancelled fiber");
    }),
    ("read", 1, |tally| {
        let _held = tally.make();
        let (mut near, _far) = pair();
        let _ = near.read(&mut [0]);
        unreachable!("`read` returned in a cancelled fiber");
    }),
    ("read with a timeout", 1, |tally| {
        let _held = tally.make();
        let (mut near, _far) = pair();
        near.set_read_timeout(Some(LONG)).unwrap();
        let _ = near.read(&mut [0]);
        unreachable!("`read` returned in a cancelled fiber");
    }),
    ("write", 1, |tally| {
        let _held = tally.make();
        let (mut near, _far) = pair();
        // Until nobody takes any more.
        let _ = near.write_all(&vec![0; 64 << 20]);
        unreachable!("`write_all` returned in a cancelled fiber");
    }),
    ("a loop of ready reads", 1, |tally| {
        let _held = tally.make();
        let (near, mut far) = pair();
        far.write_all(b"x").unwrap();
        loop {
            near.peek(&mut [0]).unwrap();
        }
    }),
];

/// One fiber in each wait; the runtime is dropped under it.
fn unwinds(workers: usize) {
    let _watchdog = watchdog(120);
    for &(name, held, wait) in WAITS {
        let runtime = runtime(workers);
        let (tally, begun, after) = (Tally::new(), Count::new(), Count::new());
        let fiber = runtime.spawn({
            let (tally, begun, after) = (tally.clone(), begun.clone(), after.clone());
            let in_closure = tally.make();
            move || {
                let _in_frame = tally.make();
                let _in_closure = in_closure;
                begun.add();
                wait(&tally);
                after.add();
            }
        });
        until(|| begun.get() == 1);
        // On one worker it is in its wait now, and its children are in theirs.
        runtime.run(settle);
        drop(runtime);
        assert!(fiber.is_finished(), "{name}");
        let error = fiber.join().unwrap_err();
        assert!(error.is_cancelled(), "{name}: {error}");
        // With two workers, or in another runtime, a child may meet the end before its first run.
        let all_begun = workers == 1 && name != "run on the default runtime";
        let least = if all_begun { 2 + held } else { 2 };
        tally.check(least..=2 + held, name);
        assert_eq!(after.get(), 0, "{name}");
    }
}

#[test]
fn a_fiber_in_any_wait_is_unwound_on_one_worker() {
    unwinds(1);
}

#[test]
fn a_fiber_in_any_wait_is_unwound_on_two_workers() {
    unwinds(2);
}

/// All waits at once, several times over, on runtimes of some sizes.
#[test]
fn many_fibers_in_all_waits_are_unwound() {
    let _watchdog = watchdog(120);
    for workers in [1, 2, 4] {
        let runtime = runtime(workers);
        let (tally, begun) = (Tally::new(), Count::new());
        let mut most = 0;
        let mut fibers = Vec::new();
        for _ in 0..10 {
            for &(_, held, wait) in WAITS {
                most += 1 + held;
                let (tally, begun) = (tally.clone(), begun.clone());
                fibers.push(runtime.spawn(move || {
                    let _in_frame = tally.make();
                    begun.add();
                    wait(&tally);
                }));
            }
        }
        until(|| begun.get() == fibers.len());
        runtime.run(settle);
        drop(runtime);
        assert!(fibers.iter().all(JoinHandle::is_finished));
        tally.check(fibers.len()..=most, "all");
        for fiber in fibers {
            assert!(fiber.join().unwrap_err().is_cancelled());
        }
    }
}

#[test]
fn an_unblock_under_way_is_waited_for() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let (release, wait) = mpsc::channel::<()>();
        let (begun, drops, over) = (Count::new(), Count::new(), Count::new());
        let fiber = runtime.spawn({
            let (begun, drops, over) = (begun.clone(), drops.clone(), over.clone());
            move || {
                let lent = drops.on_drop();
                let borrow = &lent;
                unblock(move || {
                    let _borrow = borrow;
                    begun.add();
                    wait.recv().unwrap();
                });
                over.add();
                park();
                over.add();
            }
        });
        until(|| begun.get() == 1);
        let closing = closing(runtime);
        assert_eq!((drops.get(), over.get()), (0, 0));
        release.send(()).unwrap();
        closing.join().unwrap();
        assert!(fiber.join().unwrap_err().is_cancelled());
        // The wait was not cut short; the next one was.
        assert_eq!((drops.get(), over.get()), (1, 1));
    }
}

#[test]
fn a_cancel_that_is_caught_is_met_again() {
    let _watchdog = watchdog(60);
    let waits: [fn(); 6] = [
        || park(),
        || sleep(LONG),
        || yield_now(),
        || block_on(std::future::pending()),
        || drop(spawn(|| ()).join()),
        || park_timeout(LONG),
    ];
    let runtime = runtime(1);
    let begun = Count::new();
    let fiber = runtime.spawn({
        let begun = begun.clone();
        move || {
            begun.add();
            let caught = waits.map(|wait| catch_unwind(wait).is_err());
            // A `join` of a fiber that has ended need not wait; all others are suspensions.
            caught.iter().filter(|caught| **caught).count()
        }
    });
    until(|| begun.get() == 1);
    runtime.run(settle);
    drop(runtime);
    // It ended by itself in the end, and what it returned is its result.
    assert!(fiber.join().unwrap() >= 5);
}

/// The unwind of a cancel is no panic: no hook runs, and nothing is printed.
#[test]
fn no_panic_hook_runs() {
    static CALLS: OnceLock<Count> = OnceLock::new();
    let calls = CALLS.get_or_init(Count::new);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let thread = thread::current();
        if thread
            .name()
            .is_some_and(|name| name.starts_with("hookless"))
        {
            calls.add();
        }
        before(info);
    }));
    let _watchdog = watchdog(60);
    let runtime = Runtime::builder().workers(1).thread_name("hookless");
    let runtime = runtime.build().unwrap();
    let fibers: Vec<_> = (0..10).map(|_| runtime.spawn(park)).collect();
    runtime.run(settle);
    // The hook does see what it should see.
    drop(runtime.spawn(|| panic!("seen")).join());
    assert_eq!(calls.get(), 1);
    drop(runtime);
    for fiber in fibers {
        assert!(fiber.join().unwrap_err().is_cancelled());
    }
    assert_eq!(calls.get(), 1);
}

/// What a fiber does without waiting it may finish, and return.
#[test]
fn a_fiber_that_does_not_wait_ends_as_it_would() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let (begun, free) = (Count::new(), Count::new());
    let fiber = runtime.spawn({
        let (begun, free) = (begun.clone(), free.clone());
        move || {
            begun.add();
            until_thread(|| free.get() == 1);
            "done"
        }
    });
    until(|| begun.get() == 1);
    let closing = closing(runtime);
    free.add();
    closing.join().unwrap();
    assert_eq!(fiber.join().unwrap(), "done");
}
