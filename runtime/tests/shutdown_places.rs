//! Where a `Runtime` may be dropped: on a thread that waits, or in a fiber of another runtime, which parks. Where
//! it would wait for itself, or stop a reactor, it panics at once, and the runtime ends all the same.

mod common;

use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;

use common::{Count, Defer, LONG, is_closed, never, panic_text, runtime, until, watchdog};
use sisal::fiber::{park, spawn};
use sisal::{Handle, Runtime, block_on, unblock};

const OWN: &str = "move it out of its fibers, async tasks and blocking closures";
const WORKER: &str = "would block a worker's own stack";

/// A runtime with a fiber that only its end ends; `drops` counts that.
fn with_a_fiber(workers: usize, drops: &Count) -> Runtime {
    let (runtime, begun) = (runtime(workers), Count::new());
    let (held, begins) = (drops.on_drop(), begun.clone());
    drop(runtime.spawn(move || {
        let _held = held;
        begins.add();
        park();
    }));
    until(|| begun.get() == 1);
    runtime
}

type End = fn(Runtime);

const ENDS: [End; 2] = [drop, |runtime| drop(runtime.shutdown_timeout(LONG))];

/// `place` gets a runtime's handle and something to call somewhere in that runtime, which drops it.
fn panics_in(place: impl Fn(&Handle, Box<dyn FnOnce() + Send>), words: &str) {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        for end in ENDS {
            let drops = Count::new();
            let runtime = with_a_fiber(workers, &drops);
            let handle = runtime.handle().clone();
            let (told, tell) = mpsc::channel();
            place(
                &handle,
                Box::new(move || told.send(panic_text(|| end(runtime))).unwrap()),
            );
            let text = tell.recv().unwrap();
            assert!(text.contains(words), "{text}");
            // Nobody waits, but it ends.
            until(|| is_closed(&handle) && drops.get() == 1);
        }
    }
}

#[test]
fn in_its_own_fiber_it_panics() {
    panics_in(|handle, end| drop(handle.spawn(end)), OWN);
}

#[test]
fn in_its_own_async_task_it_panics() {
    panics_in(
        |handle, end| {
            drop(handle.spawn(move || drop(tokio::spawn(async move { end() }))));
        },
        OWN,
    );
    panics_in(
        |handle, end| {
            drop(handle.spawn(move || drop(tokio::task::spawn_local(async move { end() }))));
        },
        OWN,
    );
}

#[test]
fn in_its_own_unblock_it_panics() {
    panics_in(|handle, end| drop(handle.spawn(move || unblock(end))), OWN);
}

#[test]
fn in_a_blocking_closure_of_tokios_on_it_it_panics() {
    panics_in(
        |handle, end| drop(handle.spawn(move || drop(tokio::task::spawn_blocking(end)))),
        OWN,
    );
}

/// Of its own unblock: the pool's thread is a plain one, and the calls it makes are like any thread's.
#[test]
fn a_panic_in_its_own_unblock_comes_out_there() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let handle = runtime.handle().clone();
    let fiber = handle.spawn(move || unblock(move || drop(runtime)));
    let error = fiber.join().unwrap_err();
    assert!(error.to_string().contains(OWN), "{error}");
    until(|| is_closed(&handle));
}

#[test]
fn in_its_own_panicking_closure_it_is_silent() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let handle = runtime.handle().clone();
    let fiber = handle.spawn(move || {
        unblock(move || {
            let _runtime = runtime;
            resume_unwind(Box::new("the first"))
        })
    });
    let error = fiber.join().unwrap_err();
    assert_eq!(common::text(&*error.into_panic()), "the first");
    until(|| is_closed(&handle));
}

#[test]
fn in_anothers_async_task_it_panics() {
    let other = runtime(1);
    panics_in(
        |_, end| other.run(|| block_on(tokio::spawn(async move { end() })).unwrap()),
        WORKER,
    );
    assert_eq!(other.run(|| spawn(|| 1).join().unwrap()), 1);
}

#[test]
fn in_a_destructor_at_anothers_shutdown_it_panics() {
    panics_in(
        |_, end| {
            let (other, polled) = (runtime(1), Count::new());
            other.run(|| {
                let (mut end, begun) = (Some(end), polled.clone());
                let at_end = Defer(move || end.take().unwrap()());
                drop(tokio::spawn(async move {
                    begun.add();
                    never(at_end).await;
                }));
                until(|| polled.get() == 1);
            });
            drop(other);
        },
        WORKER,
    );
}

/// `place` calls what it gets somewhere where waiting is right; it is over when that returns.
fn waits_in(place: impl Fn(Box<dyn FnOnce() + Send>)) {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        for end in ENDS {
            let (drops, over) = (Count::new(), Count::new());
            let runtime = with_a_fiber(workers, &drops);
            place({
                let (drops, over) = (drops.clone(), over.clone());
                Box::new(move || {
                    end(runtime);
                    assert_eq!(drops.get(), 1);
                    over.add();
                })
            });
            assert_eq!(over.get(), 1);
        }
    }
}

#[test]
fn on_a_plain_thread_it_blocks() {
    waits_in(|end| end());
    waits_in(|end| thread::spawn(end).join().unwrap());
}

/// That it parks, and so lets its worker's others go on, is shown in `shutdown.rs`.
#[test]
fn in_anothers_fiber_it_waits() {
    for workers in [1, 2] {
        let other = runtime(workers);
        waits_in(|end| other.run(end));
    }
}

#[test]
fn in_anothers_blocking_closures_it_blocks() {
    let other = runtime(1);
    waits_in(|end| other.run(|| unblock(end)));
    waits_in(|end| {
        other.run(|| block_on(tokio::task::spawn_blocking(end)).unwrap());
    });
}

#[test]
fn in_a_foreign_runtime_it_blocks() {
    let foreign = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    waits_in(|end| {
        foreign
            .block_on(foreign.spawn(async move { end() }))
            .unwrap()
    });
    waits_in(|end| foreign.block_on(foreign.spawn_blocking(end)).unwrap());
    waits_in(|end| foreign.block_on(async { end() }));
}

/// The drop of one runtime runs in a fiber of another that is itself being ended: cancelled there, it leaves
/// the inner one to end by itself.
#[test]
fn a_cancelled_drop_leaves_the_runtime_to_end_by_itself() {
    let _watchdog = watchdog(60);
    let (outer, drops) = (runtime(1), Count::new());
    let inner = runtime(1);
    let handle = inner.handle().clone();
    let (begun, (release, wait)) = (Count::new(), mpsc::channel::<()>());
    let stays = inner.spawn({
        let (begun, held) = (begun.clone(), drops.on_drop());
        move || {
            let _held = held;
            unblock(move || {
                begun.add();
                wait.recv().unwrap();
            });
            7
        }
    });
    until(|| begun.get() == 1);
    let ending = outer.spawn(move || drop(inner));
    until(|| is_closed(&handle));
    drop(outer);
    assert!(ending.join().unwrap_err().is_cancelled());
    assert_eq!(drops.get(), 0);
    release.send(()).unwrap();
    assert_eq!(stays.join().unwrap(), 7);
    assert_eq!(drops.get(), 1);
}
