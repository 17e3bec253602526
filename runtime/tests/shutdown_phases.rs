//! The phases of a shutdown, in their order: no more fibers, unwind, async tasks, blocking closures, threads.

mod common;

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use common::{
    Count, Defer, Gate, LONG, closing, is_closed, never, one_on_each_worker, panic_text, runtime,
    settle, until, watchdog,
};
use sisal::fiber::{current, park, scope, spawn, yield_now};
use sisal::{block_on, unblock};

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    fn add(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }

    fn has(&self, what: &str) -> bool {
        self.0.lock().unwrap().contains(&what)
    }

    /// On drop.
    fn later(&self, what: &'static str) -> Defer<impl FnMut() + Send + use<>> {
        let log = self.clone();
        Defer(move || log.add(what))
    }
}

#[test]
fn the_phases_come_in_their_order() {
    let _watchdog = watchdog(60);
    for workers in [1, 2, 4] {
        let (runtime, log, begun) = (runtime(workers), Log::default(), Count::new());
        let handle = runtime.handle().clone();
        let gate = Gate::new();
        // On each worker an async task, a closure of tokio's that waits for that task's end, and a fiber.
        runtime.run(|| {
            one_on_each_worker(workers, |_| {
                let (gone, task) = (mpsc::channel::<()>(), log.later("task"));
                let (held, begun_in) = (gone.0, begun.clone());
                drop(tokio::spawn(async move {
                    begun_in.add();
                    never((task, held)).await;
                }));
                let (log_in, begun_in) = (log.clone(), begun.clone());
                drop(tokio::task::spawn_blocking(move || {
                    begun_in.add();
                    assert!(gone.1.recv().is_err());
                    log_in.add("closure");
                }));
            });
        });
        let fibers: Vec<_> = (0..2 * workers)
            .map(|n| {
                let (log, begun, gate) = (log.clone(), begun.clone(), gate.clone());
                runtime.spawn(move || {
                    let _last = Defer(|| {
                        if n == 0 {
                            block_on(gate.clone());
                        }
                        log.add("fiber");
                    });
                    begun.add();
                    park();
                })
            })
            .collect();
        until(|| begun.get() == 4 * workers);
        let closing = thread::spawn({
            let log = log.clone();
            move || {
                runtime.shutdown_timeout(LONG).unwrap();
                log.add("end");
            }
        });
        until(|| is_closed(&handle));
        gate.wait_polls(1);
        // One fiber waits in its destructor: nothing of the later phases begins.
        for what in ["task", "closure", "end"] {
            assert!(!log.has(what), "{what}");
        }
        gate.open();
        closing.join().unwrap();
        for fiber in fibers {
            assert!(fiber.join().unwrap_err().is_cancelled());
        }
        let log = log.0.lock().unwrap();
        let count = |what| log.iter().filter(|it| **it == what).count();
        assert_eq!((count("fiber"), count("task")), (2 * workers, workers));
        assert_eq!((count("closure"), count("end")), (workers, 1));
        let first = |what| log.iter().position(|it| *it == what).unwrap();
        let last = |what| log.iter().rposition(|it| *it == what).unwrap();
        assert!(last("fiber") < first("task"), "{log:?}");
        // Each worker goes on by itself; each closure comes behind its worker's task.
        assert!(first("task") < first("closure"), "{log:?}");
        assert_eq!(last("end"), log.len() - 1, "{log:?}");
    }
}

/// A closure that waits for what an async task holds: the tasks go first, so it ends, without waiting for
/// the deadline.
#[test]
fn a_closure_may_wait_for_an_async_tasks_end() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let (sent, begun) = (Count::new(), Count::new());
    runtime.run(|| {
        let (tx, mut rx) = tokio::sync::mpsc::channel::<()>(1);
        let begun_in = begun.clone();
        drop(tokio::spawn(async move {
            begun_in.add();
            never(tx).await;
        }));
        let (sent, begun_in) = (sent.clone(), begun.clone());
        drop(tokio::task::spawn_blocking(move || {
            begun_in.add();
            while rx.blocking_recv().is_some() {}
            sent.add();
        }));
        until(|| begun.get() == 2);
    });
    runtime.shutdown_timeout(LONG).unwrap();
    assert_eq!(sent.get(), 1);
}

/// A fiber is woken while the runtime ends: in its destructor, from a thread, a fiber elsewhere and a fiber of
/// its own.
#[test]
fn wakes_arrive_during_a_shutdown() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let (runtime, elsewhere) = (runtime(workers), common::runtime(1));
        let gates = [Gate::new(), Gate::new(), Gate::new()];
        let (begun, woken) = (Count::new(), Count::new());
        for gate in &gates {
            let (gate, begun, woken) = (gate.clone(), begun.clone(), woken.clone());
            drop(runtime.spawn(move || {
                let _waits = Defer(|| {
                    block_on(gate.clone());
                    woken.add();
                });
                begun.add();
                park();
            }));
        }
        let (first, second) = (gates[0].clone(), gates[1].clone());
        until(|| begun.get() == 3);
        runtime.run(settle);
        let closing = closing(runtime);
        // In turn: on one worker no unwind begins beside one that waits (S6).
        let (third, far) = (gates[2].clone(), elsewhere.handle().clone());
        let opener = thread::spawn(move || {
            first.open();
            far.run(move || second.open());
            third.open();
        });
        closing.join().unwrap();
        opener.join().unwrap();
        assert_eq!(woken.get(), 3);
    }
}

/// Fibers spawned in every phase end at once, wherever they are spawned, and are dropped.
#[test]
fn spawns_in_every_phase_are_refused() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let handle = runtime.handle().clone();
        let (ran, drops, refused, polled) =
            (Count::new(), Count::new(), Count::new(), Count::new());
        let attempt = {
            let (ran, drops, refused) = (ran.clone(), drops.clone(), refused.clone());
            move || {
                let (ran, held) = (ran.clone(), drops.on_drop());
                let late = handle.spawn(move || {
                    let _held = held;
                    ran.add();
                });
                assert!(late.is_finished());
                refused.add();
            }
        };
        let handle = runtime.handle().clone();
        runtime.run(|| {
            let (in_fiber, in_task, in_closure) =
                (attempt.clone(), attempt.clone(), attempt.clone());
            let (begun, counted) = (Count::new(), begun_in(&polled));
            let fiber_begun = begun.clone();
            drop(spawn(move || {
                let _last = Defer(in_fiber);
                fiber_begun.add();
                park();
            }));
            let (tx, rx) = mpsc::channel::<()>();
            drop(tokio::spawn(async move {
                counted();
                never((Defer(in_task), tx)).await;
            }));
            let counted = begun_in(&polled);
            drop(tokio::task::spawn_blocking(move || {
                counted();
                assert!(rx.recv().is_err());
                in_closure();
            }));
            until(|| polled.get() == 2 && begun.get() == 1);
        });
        runtime.shutdown_timeout(LONG).unwrap();
        assert_eq!((ran.get(), drops.get(), refused.get()), (0, 3, 3));
        attempt();
        assert!(is_closed(&handle));
        assert_eq!((ran.get(), drops.get(), refused.get()), (0, 4, 4));
    }
}

fn begun_in(count: &Count) -> impl Fn() + Send + use<> {
    let count = count.clone();
    move || {
        count.add();
    }
}

/// Wakers and handles of a runtime that has ended: from a thread, from another runtime's fiber and async
/// task, from a pool's thread.
#[test]
fn wakers_outlive_their_runtime() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let (wakers, me) = runtime.run(|| {
            let nested = block_on(std::future::poll_fn(|cx| {
                // Of a `block_on` inside another: a waker of its own kind.
                let inner = block_on(std::future::poll_fn(|cx| Poll::Ready(cx.waker().clone())));
                Poll::Ready([cx.waker().clone(), inner])
            }));
            (nested, current())
        });
        let gate = Gate::new();
        let cancelled = runtime.spawn({
            let gate = gate.clone();
            move || block_on(gate)
        });
        gate.wait_polls(1);
        let left = gate.waker();
        drop(runtime);
        assert!(cancelled.join().unwrap_err().is_cancelled());
        let wake = || {
            for waker in wakers.iter().chain([&left]) {
                let clone = waker.clone();
                clone.wake();
                waker.wake_by_ref();
            }
            me.unpark();
        };
        wake();
        thread::scope(|s| s.spawn(wake).join().unwrap());
        let elsewhere = common::runtime(1);
        elsewhere.run(wake);
        elsewhere.run(|| scope(|s| s.spawn(wake).join().unwrap()));
        elsewhere.run(|| unblock(wake));
        let (wakers, me) = (wakers.clone(), me.clone());
        elsewhere.run(|| {
            let task = tokio::spawn(async move {
                wakers.iter().for_each(|waker| waker.wake_by_ref());
                me.unpark();
            });
            block_on(task).unwrap();
        });
    }
}

/// What a handle of a runtime that has ended does: it says that it is over, at once, from anywhere.
#[test]
fn handles_outlive_their_runtime() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let handle = runtime.handle().clone();
    drop(runtime);
    let ran = Count::new();
    let attempt = || {
        let text = panic_text(|| handle.run(|| ran.add()));
        assert!(
            text.contains("`run` has no result") && text.contains("was cancelled"),
            "{text}"
        );
        let late = handle.spawn(|| ());
        assert!(late.is_finished() && late.join().unwrap_err().is_cancelled());
        assert!(format!("{handle:?}").contains("workers: 1"));
    };
    attempt();
    sisal::run(attempt);
    sisal::run(|| unblock(attempt));
    sisal::run(|| scope(|s| s.spawn(attempt).join().unwrap()));
    let awaited = sisal::run(|| block_on(handle.spawn(|| ())));
    assert!(awaited.unwrap_err().is_cancelled());
    assert_eq!(ran.get(), 0);
}

/// The timers and sockets of fibers that wait in destructors are served until the last fiber has ended.
#[test]
fn workers_serve_until_the_last_fiber_has_ended() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let (runtime, begun, served) = (runtime(workers), Count::new(), Count::new());
        let fibers: Vec<_> = (0..4)
            .map(|_| {
                let (begun, served) = (begun.clone(), served.clone());
                runtime.spawn(move || {
                    let _waits = Defer(|| {
                        sisal::fiber::sleep(Duration::from_millis(2));
                        assert_eq!(block_on(tokio::task::spawn_blocking(|| 1)).unwrap(), 1);
                        yield_now();
                        served.add();
                    });
                    begun.add();
                    park();
                })
            })
            .collect();
        until(|| begun.get() == 4);
        runtime.shutdown_timeout(LONG).unwrap();
        for fiber in fibers {
            assert!(fiber.join().unwrap_err().is_cancelled());
        }
        assert_eq!(served.get(), 4);
    }
}
