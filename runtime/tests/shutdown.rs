//! The end of a runtime: every fiber is unwound or dropped, once, wherever it is, and whoever waits for
//! it is told.

mod common;

use std::io::{Read, Write};
use std::panic::{catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use common::{
    Count, Defer, ErrorEvents, Gate, Tally, panic_text, passes_in_child, role, runtime, settle,
    until, watchdog,
};
use sisal::fiber::{JoinHandle, current, park, park_timeout, scope, sleep, spawn, yield_now};
use sisal::net::{TcpListener, TcpStream};
use sisal::{Handle, Runtime, block_on, unblock};

/// Of a runtime that goes on.
static DEFAULT: OnceLock<Handle> = OnceLock::new();

const LONG: Duration = Duration::from_secs(3600);

/// Whether the runtime takes no more fibers.
fn is_closed(handle: &Handle) -> bool {
    let probe = handle.spawn(|| ());
    // On an open runtime it may have to wait for a worker: then it is not closed.
    probe.is_finished() && probe.join().is_err()
}

/// Drops the runtime on a thread of its own; returns when it is closed, but has not ended yet.
fn closing(runtime: Runtime) -> thread::JoinHandle<()> {
    let handle = runtime.handle().clone();
    let closing = thread::spawn(move || drop(runtime));
    until(|| is_closed(&handle));
    closing
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    (near, far)
}

/// A future that holds something and never ends.
async fn never(held: impl Sized) {
    let _held = held;
    std::future::pending::<()>().await;
}

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
        // It cannot be cut short by this runtime's end: the other fiber ends by itself.
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
        // With two workers a child may meet the end before its first run.
        let least = if workers == 1 { 2 + held } else { 2 };
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

/// Waits without leaving the worker.
fn until_thread(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
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
    let events = ErrorEvents::new();
    tracing::subscriber::with_default(events.clone(), || {
        runtime.shutdown_timeout(Duration::from_secs(5));
    });
    assert_eq!(events.texts(), [""; 0]);
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
        let events = ErrorEvents::new();
        let ending = thread::spawn({
            let events = events.clone();
            move || {
                tracing::subscriber::with_default(events, || {
                    runtime.shutdown_timeout(Duration::from_secs(1));
                });
            }
        });
        until(|| is_closed(&handle));
        closed.add();
        ending.join().unwrap();
        free.add();
        assert_eq!(events.texts(), [""; 0]);
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

#[test]
fn async_tasks_left_on_workers_are_dropped() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let (drops, polled) = (Count::new(), Count::new());
        runtime.run(|| {
            for local in [false, true] {
                let (held, polled) = (drops.on_drop(), polled.clone());
                let task = async move {
                    polled.add();
                    never(held).await;
                };
                match local {
                    true => drop(tokio::task::spawn_local(task)),
                    false => drop(tokio::spawn(task)),
                }
            }
            until(|| polled.get() == 2);
            // One more that nobody has polled.
            drop(tokio::spawn(never(drops.on_drop())));
        });
        assert_eq!(drops.get(), 0);
        drop(runtime);
        assert_eq!(drops.get(), 3);
    }
}

/// Destructors of tasks that are left run when no fiber is left; what they spawn ends at once.
#[test]
fn the_destructors_of_async_tasks_may_spawn_and_wake() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let (drops, done, polled) = (Count::new(), Count::new(), Count::new());
    let (fiber, waker) = runtime.run(|| {
        let me = current();
        let waker = block_on(std::future::poll_fn(|cx| {
            std::task::Poll::Ready(cx.waker().clone())
        }));
        (me, waker)
    });
    runtime.run(|| {
        let (held, done, begun) = (drops.on_drop(), done.clone(), polled.clone());
        let mut held = Some(held);
        let at_end = Defer(move || {
            fiber.unpark();
            waker.wake_by_ref();
            let held = held.take();
            let late = spawn(move || drop(held));
            assert!(late.is_finished());
            drop(late);
            drop(tokio::spawn(async {}));
            done.add();
        });
        drop(tokio::spawn(async move {
            begun.add();
            never(at_end).await;
        }));
        until(|| polled.get() == 1);
    });
    drop(runtime);
    assert_eq!((done.get(), drops.get()), (1, 1));
}

/// Blocking closures of tokio's own on a worker's pool: waited for.
#[test]
fn blocking_closures_of_tokios_are_waited_for() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let (release, wait) = mpsc::channel::<()>();
    let (begun, ended) = (Count::new(), Count::new());
    runtime.run(|| {
        let (begun, ended) = (begun.clone(), ended.clone());
        drop(tokio::task::spawn_blocking(move || {
            begun.add();
            wait.recv().unwrap();
            ended.add();
        }));
    });
    until(|| begun.get() == 1);
    let closing = closing(runtime);
    assert_eq!(ended.get(), 0);
    release.send(()).unwrap();
    closing.join().unwrap();
    assert_eq!(ended.get(), 1);
}

/// A fiber that does not end: it computes, its thread is blocked, or it catches every cancel.
#[test]
fn what_does_not_end_in_time_is_reported_and_left() {
    let _watchdog = watchdog(60);
    type Stay = fn(&Count);
    let stays: [(&str, Stay); 3] = [
        ("computes", |free| {
            while free.get() == 0 {
                std::hint::spin_loop();
            }
        }),
        ("blocks its thread", |free| until_thread(|| free.get() > 0)),
        ("catches every cancel", |free| {
            while free.get() == 0 {
                let _ = catch_unwind(park);
            }
        }),
    ];
    for workers in [1, 2] {
        for (name, stay) in stays {
            let runtime = runtime(workers);
            let (begun, free, drops) = (Count::new(), Count::new(), Count::new());
            let fiber = runtime.spawn({
                let (begun, free, drops) = (begun.clone(), free.clone(), drops.clone());
                move || {
                    let _in_frame = drops.on_drop();
                    begun.add();
                    stay(&free);
                    9
                }
            });
            // Ends with the other worker, if there is one; else it waits for the first to end.
            let other = runtime.spawn(park);
            until(|| begun.get() == 1);
            let events = ErrorEvents::new();
            tracing::subscriber::with_default(events.clone(), || {
                runtime.shutdown_timeout(Duration::from_millis(50));
            });
            let texts = events.texts();
            assert_eq!(texts.len(), 1, "{name}: {texts:?}");
            for part in [
                "runtime shutdown",
                "did not end before the deadline",
                "worker threads",
            ] {
                assert!(texts[0].contains(part), "{name}: {texts:?}");
            }
            assert_eq!(drops.get(), 0, "{name}");
            assert!(!fiber.is_finished(), "{name}");
            // What is left ends when it can, and tells whoever waits.
            free.add();
            assert_eq!(fiber.join().unwrap(), 9, "{name}");
            assert!(other.join().unwrap_err().is_cancelled(), "{name}");
            assert_eq!(drops.get(), 1, "{name}");
        }
    }
}

#[test]
fn a_blocking_closure_that_does_not_end_in_time_is_reported_and_left() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let (release, wait) = mpsc::channel::<()>();
    let begun = Count::new();
    let fiber = runtime.spawn({
        let begun = begun.clone();
        move || {
            let lent = String::from("lent");
            let borrow = &lent;
            let got = unblock(move || {
                begun.add();
                wait.recv().unwrap();
                borrow.len()
            });
            (got, lent)
        }
    });
    until(|| begun.get() == 1);
    let events = ErrorEvents::new();
    tracing::subscriber::with_default(events.clone(), || {
        runtime.shutdown_timeout(Duration::from_millis(50));
    });
    assert_eq!(events.texts().len(), 1);
    assert!(!fiber.is_finished());
    release.send(()).unwrap();
    assert_eq!(fiber.join().unwrap(), (4, "lent".into()));
}

#[test]
fn a_clean_end_reports_nothing() {
    let _watchdog = watchdog(60);
    let events = ErrorEvents::new();
    tracing::subscriber::with_default(events.clone(), || {
        for timeout in [Duration::from_secs(30), LONG, Duration::MAX] {
            let runtime = runtime(2);
            let fiber = runtime.spawn(park);
            runtime.shutdown_timeout(timeout);
            assert!(fiber.join().unwrap_err().is_cancelled());
        }
        drop(runtime(1));
    });
    assert_eq!(events.texts(), [""; 0]);
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

/// Sockets outlive their runtime, and work in the next, and on plain threads.
#[test]
fn sockets_outlive_their_runtime() {
    let _watchdog = watchdog(60);
    let (mut near, mut far) = pair();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    for round in 0..3_u8 {
        let runtime = runtime(1 + usize::from(round) % 2);
        runtime.run(|| {
            scope(|s| {
                let reader = s.spawn(|| {
                    let mut byte = [0];
                    near.read_exact(&mut byte).unwrap();
                    byte[0]
                });
                settle();
                far.write_all(&[round]).unwrap();
                assert_eq!(reader.join().unwrap(), round);
                let accepting = s.spawn(|| listener.accept().unwrap());
                settle();
                let client = TcpStream::connect(addr).unwrap();
                let (_, peer) = accepting.join().unwrap();
                assert_eq!(peer, client.local_addr().unwrap());
            });
        });
        drop(runtime);
        // On this thread.
        far.write_all(b"x").unwrap();
        near.read_exact(&mut [0]).unwrap();
    }
}

fn entries(dir: &str) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

/// Threads, descriptors and mappings of this process.
fn holdings() -> [usize; 3] {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    [
        entries("/proc/self/task"),
        entries("/proc/self/fd"),
        maps.lines().count(),
    ]
}

#[test]
fn runtimes_leave_nothing_behind() {
    if role().is_none() {
        passes_in_child("runtimes_leave_nothing_behind", "leaks", &[]);
        return;
    }
    let _watchdog = watchdog(120);
    let round = || {
        let runtime = runtime(2);
        let stuck = runtime.spawn(park);
        runtime.run(|| {
            let fibers: Vec<_> = (0..100).map(|_| spawn(yield_now)).collect();
            let big = sisal::fiber::Builder::new().stack_size(1 << 20);
            big.spawn(yield_now).unwrap().join().unwrap();
            for fiber in fibers {
                fiber.join().unwrap();
            }
            let (mut near, mut far) = pair();
            far.write_all(b"x").unwrap();
            near.read_exact(&mut [0]).unwrap();
            assert_eq!(unblock(|| 1), 1);
            drop(tokio::spawn(std::future::pending::<()>()));
            block_on(tokio::task::spawn_blocking(|| ())).unwrap();
        });
        drop(runtime);
        assert!(stuck.join().unwrap_err().is_cancelled());
    };
    // The first rounds fill glibc's caches of thread stacks and arenas.
    for _ in 0..10 {
        round();
    }
    let before = holdings();
    for _ in 0..50 {
        round();
    }
    // A thread that was joined may be in /proc for a moment longer.
    until(|| entries("/proc/self/task") <= before[0]);
    let after = holdings();
    assert!(after[1] <= before[1], "descriptors: {before:?} {after:?}");
    // Arenas move about; a mapping per round would be 50.
    assert!(after[2] <= before[2] + 20, "mappings: {before:?} {after:?}");
}

/// A handle, a join handle or a waker that is kept does not keep what the runtime had.
#[test]

fn handles_keep_no_descriptors() {
    if role().is_none() {
        passes_in_child("handles_keep_no_descriptors", "leaks", &[]);
        return;
    }
    let _watchdog = watchdog(120);
    drop(runtime(2));
    let before = entries("/proc/self/fd");
    let kept: Vec<_> = (0..20)
        .map(|_| {
            let runtime = runtime(2);
            runtime.spawn(|| ())
        })
        .collect();
    assert_eq!(entries("/proc/self/fd"), before);
    drop(kept);
}

/// Runtimes that are made and dropped at once, of many workers, by many threads.
#[test]
fn runtimes_come_and_go_at_once() {
    let _watchdog = watchdog(120);
    thread::scope(|s| {
        for n in 0..4 {
            s.spawn(move || {
                for round in 0..10 {
                    let runtime = runtime(1 + (n + round) % 8);
                    if round % 2 == 0 {
                        assert_eq!(runtime.run(|| spawn(|| 1).join().unwrap()), 1);
                    }
                    drop(runtime);
                }
            });
        }
    });
}
