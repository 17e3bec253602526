//! What the end of a runtime leaves: async tasks and blocking closures are waited for or dropped, what
//! does not end in time is reported, and nothing of the process is kept.

mod common;

use std::io::{Read, Write};
use std::panic::catch_unwind;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::{
    Count, Defer, ErrorEvents, LONG, closing, never, pair, passes_in_child, role, runtime, settle,
    until, until_thread, watchdog,
};
use sisal::fiber::{current, park, scope, spawn, yield_now};
use sisal::net::{TcpListener, TcpStream};
use sisal::{block_on, unblock};

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
            let ended = runtime.shutdown_timeout(Duration::from_millis(50));
            let text = ended.unwrap_err().to_string();
            for part in ["did not end before the deadline", "worker threads"] {
                assert!(text.contains(part), "{name}: {text}");
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
    let ended = runtime.shutdown_timeout(Duration::from_millis(50));
    assert_eq!(ended.unwrap_err().blocking_closures(), 1);
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
            runtime.shutdown_timeout(timeout).unwrap();
            assert!(fiber.join().unwrap_err().is_cancelled());
        }
        drop(runtime(1));
    });
    assert_eq!(events.texts(), [""; 0]);
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
