//! Whatever fibers do in between, an event is in the spans that its own fiber has entered, and in no other.
//!
//! Every event says in which chain of spans it should be; a layer of the process's subscriber looks.

mod common;
mod common_spans;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;

use common::{Defer, one_on_each_worker, runtime, watchdog};
use common_spans::{Session, check};
use sisal::fiber::{self, Builder, JoinHandle, park, yield_now};
use sisal::{block_on, unblock};
use tracing::{Span, info_span, instrument};

fn named<T: Send + 'static>(
    name: impl Into<String>,
    f: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    Builder::new().name(name.into()).spawn(f).unwrap()
}

/// Leaves the stack, in one of several ways.
fn leave(turn: usize) {
    match turn % 4 {
        0 => yield_now(),
        1 => block_on(tokio::task::yield_now()),
        2 => {
            let me = fiber::current();
            let waker = fiber::spawn(move || me.unpark());
            park();
            waker.join().unwrap();
        }
        _ => fiber::sleep(std::time::Duration::from_micros(100)),
    }
}

/// Six events.
#[instrument]
fn outer(n: usize) {
    check!("fiber f{n}/outer {n}");
    leave(n);
    middle(n, n + 1);
    leave(n + 2);
    check!("fiber f{n}/outer {n}");
}

#[instrument(skip(turn))]
fn middle(n: usize, turn: usize) {
    leave(turn);
    check!("fiber f{n}/outer {n}/middle {n}");
    inner(n, turn + 1);
    leave(turn + 2);
    check!("fiber f{n}/outer {n}/middle {n}");
}

#[instrument(skip(turn))]
fn inner(n: usize, turn: usize) {
    check!("fiber f{n}/outer {n}/middle {n}/inner {n}");
    leave(turn);
    check!("fiber f{n}/outer {n}/middle {n}/inner {n}");
}

fn nested(workers: usize, fibers: usize, rounds: usize) {
    let _watchdog = watchdog(60);
    let session = Session::new();
    let runtime = runtime(workers);
    runtime.run(|| {
        let fibers: Vec<_> = (0..fibers)
            .map(|n| {
                named(format!("f{n}"), move || {
                    for _ in 0..rounds {
                        outer(n);
                        check!("fiber f{n}");
                        leave(n + 3);
                    }
                })
            })
            .collect();
        for fiber in fibers {
            fiber.join().unwrap();
            check!("fiber");
        }
    });
    drop(runtime);
    session.end(fibers * (7 * rounds + 1));
}

#[test]
fn of_functions_that_wait_on_one_worker() {
    nested(1, 60, 20);
}

#[test]
fn of_functions_that_wait_on_two_workers() {
    nested(2, 60, 20);
}

/// Another subscriber is the default of some other thread: tracing then finds the default another way.
#[test]
fn beside_a_threads_own_subscriber() {
    let other = tracing_subscriber::registry();
    tracing::subscriber::with_default(other, || {
        let _watchdog = watchdog(60);
        let session = Session::new();
        let runtime = runtime(2);
        // The main fiber's own span is that subscriber's.
        runtime.run(|| {
            let fibers: Vec<_> = (0..20)
                .map(|n| named(format!("f{n}"), move || (0..10).for_each(|_| outer(n))))
                .collect();
            for fiber in fibers {
                fiber.join().unwrap();
                check!("-");
            }
        });
        drop(runtime);
        session.end(20 * (6 * 10 + 1));
    });
}

/// Its own span and others, again and again, on top of each other, left in another order than entered.
#[test]
fn entered_twice_and_left_out_of_order() {
    let _watchdog = watchdog(60);
    let session = Session::new();
    let runtime = runtime(2);
    runtime.run(|| {
        let fibers: Vec<_> = (0..40)
            .map(|n| {
                named(format!("f{n}"), move || {
                    for round in 0..10 {
                        let own = Span::current();
                        let span = info_span!("a", n);
                        let first = span.enter();
                        leave(n + round);
                        // tracing takes the innermost that is not below as well.
                        let own_again = own.enter();
                        leave(n + round + 1);
                        check!("fiber f{n}/a {n}");
                        let second = span.enter();
                        let b = info_span!("b", n).entered();
                        leave(n + round + 2);
                        check!("fiber f{n}/a {n}/b {n}");
                        drop(first);
                        leave(n + round + 3);
                        check!("fiber f{n}/a {n}/b {n}");
                        drop(own_again);
                        leave(n + round);
                        drop(b);
                        leave(n + round + 1);
                        check!("fiber f{n}/a {n}");
                        drop(second);
                        leave(n + round + 2);
                        check!("fiber f{n}");
                    }
                })
            })
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    });
    drop(runtime);
    session.end(40 * 10 * 5);
}

/// A parent that is not entered, and an entered span that is no child of the one below.
#[test]
fn with_parents_of_their_own() {
    let _watchdog = watchdog(60);
    let session = Session::new();
    let runtime = runtime(1);
    runtime.run(|| {
        let fibers: Vec<_> = (0..10)
            .map(|n| {
                named(format!("f{n}"), move || {
                    let apart = info_span!(parent: None, "apart", n);
                    let below = info_span!(parent: &apart, "below", n).entered();
                    yield_now();
                    check!("apart {n}/below {n}");
                    let root = info_span!(parent: None, "root", n).entered();
                    yield_now();
                    check!("root {n}");
                    drop(root);
                    yield_now();
                    check!("apart {n}/below {n}");
                    drop(below);
                    yield_now();
                    check!("fiber f{n}");
                })
            })
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    });
    drop(runtime);
    session.end(10 * 4);
}

#[instrument]
fn panics(n: usize) {
    // It parks while it unwinds.
    let _waits = Defer(|| {
        check!("fiber f{n}/caught {n}/panics {n}");
        leave(n);
        check!("fiber f{n}/caught {n}/panics {n}");
    });
    leave(n + 1);
    std::panic::resume_unwind(Box::new(n));
}

#[test]
fn of_frames_that_a_panic_unwinds() {
    let _watchdog = watchdog(60);
    let session = Session::new();
    let runtime = runtime(2);
    runtime.run(|| {
        let fibers: Vec<_> = (0..40)
            .map(|n| {
                named(format!("f{n}"), move || {
                    for _ in 0..5 {
                        let span = info_span!("caught", n).entered();
                        catch_unwind(AssertUnwindSafe(|| panics(n))).unwrap_err();
                        check!("fiber f{n}/caught {n}");
                        leave(n);
                        check!("fiber f{n}/caught {n}");
                        drop(span);
                        check!("fiber f{n}");
                    }
                    let _span = info_span!("last", n).entered();
                    leave(n);
                    panics_in("last", n);
                })
            })
            .collect();
        for fiber in fibers {
            assert!(fiber.join().unwrap_err().is_panic());
        }
    });
    drop(runtime);
    session.end(40 * (5 * 5 + 1));
}

fn panics_in(outside: &str, n: usize) {
    check!("fiber f{n}/{outside} {n}");
    std::panic::resume_unwind(Box::new(n));
}

/// The end of the runtime unwinds fibers that are parked in spans.
#[test]
fn of_fibers_that_are_cancelled() {
    let _watchdog = watchdog(60);
    let session = Session::new();
    let runtime = runtime(2);
    runtime.run(|| {
        for n in 0..40 {
            named(format!("f{n}"), move || {
                let _outside = Defer(|| check!("fiber f{n}"));
                let _span = info_span!("held", n).entered();
                let _inside = Defer(|| {
                    // Without a spawn: nothing starts any more.
                    leave(n % 2);
                    check!("fiber f{n}/held {n}");
                });
                check!("fiber f{n}/held {n}");
                park();
            });
        }
        common::settle();
    });
    drop(runtime);
    // One that the end found fresh was never run.
    session.end_with(|events| events % 3 == 0 && events > 0);
}

/// Guards that are never dropped. The span goes with the fiber, and neither the worker nor the next is in it.
#[test]
fn that_are_leaked() {
    let _watchdog = watchdog(60);
    let session = Session::new();
    let runtime = runtime(1);
    let kept: Vec<Span> = (0..20)
        .map(|n| info_span!(parent: None, "kept", n))
        .collect();
    let spans = kept.clone();
    runtime.run(|| {
        for (n, span) in spans.into_iter().enumerate() {
            let fiber = named(format!("f{n}"), move || {
                std::mem::forget(span.enter());
                check!("kept {n}");
                yield_now();
                std::mem::forget(span.enter());
                check!("kept {n}");
                if n % 2 == 0 {
                    park();
                    check!("kept {n}");
                }
                // Its frames let go of it while the thread is in it.
            });
            yield_now();
            fiber.fiber().unpark();
            fiber.join().unwrap();
            check!("fiber");
            on_worker(|| check!("-"));
        }
    });
    drop(runtime);
    drop(kept);
    session.end(20 * 4 + 10);
}

/// Runs `f` in an async task, on the worker's own stack.
fn on_worker(f: impl FnOnce() + Send + 'static) {
    block_on(async { tokio::spawn(async { f() }).await.unwrap() });
}

/// The worker's thread itself is in a span, and stays in it.
#[test]
fn of_the_worker_stay_with_the_worker() {
    let _watchdog = watchdog(60);
    let session = Session::new();
    let runtime = runtime(2);
    runtime.run(|| {
        // The fibers here were spawned before, and hold both workers.
        let both = Barrier::new(2);
        one_on_each_worker(2, |worker| {
            on_worker(move || {
                let span = info_span!(parent: None, "worker", n = worker);
                // Until the thread ends.
                HELD.with(|held| held.set(Some(span.clone().entered())));
                check!("worker {worker}");
            });
            // One at a time here, so that no fiber of the other worker is taken.
            both.wait();
            for n in 0..10 {
                let untracked = Builder::new().untracked();
                let fiber = untracked.spawn(move || (n, yield_now())).unwrap();
                fiber.join().unwrap();
                check!("fiber");
                on_worker(move || check!("worker {worker}"));
            }
            both.wait();
        });
        let fibers: Vec<_> = (0..20)
            .map(|n| named(format!("f{n}"), move || (0..5).for_each(|_| outer(n))))
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
        one_on_each_worker(2, |_| on_worker(|| HELD.with(|held| drop(held.take()))));
    });
    drop(runtime);
    session.end(2 * (1 + 10 * 2) + 20 * 5 * 6);
}

thread_local! {
    static HELD: std::cell::Cell<Option<tracing::span::EnteredSpan>> = const { std::cell::Cell::new(None) };
}

#[test]
fn of_a_fiber_without_a_span_of_its_own() {
    let _watchdog = watchdog(60);
    let session = Session::new();
    let runtime = runtime(2);
    runtime.run(|| {
        let fibers: Vec<_> = (0..40)
            .map(|n| {
                let untracked = Builder::new().name(format!("f{n}")).untracked();
                let fiber = untracked.spawn(move || {
                    check!("-");
                    leave(n);
                    let span = info_span!("only", n).entered();
                    leave(n + 1);
                    check!("only {n}");
                    drop(span);
                    leave(n + 2);
                    check!("-");
                });
                fiber.unwrap()
            })
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    });
    drop(runtime);
    session.end(40 * 3);
}

/// Children in a scope are fibers as any other; a closure of `unblock` is in its caller's span.
#[test]
fn of_children_and_of_closures_that_block() {
    let _watchdog = watchdog(60);
    let session = Session::new();
    let runtime = runtime(2);
    runtime.run(|| {
        let fibers: Vec<_> = (0..20)
            .map(|n| {
                named(format!("f{n}"), move || {
                    let _span = info_span!("owner", n).entered();
                    fiber::scope(|s| {
                        s.spawn(|| check!("fiber"));
                        leave(n);
                        check!("fiber f{n}/owner {n}");
                    });
                    check!("fiber f{n}/owner {n}");
                    unblock(|| {
                        check!("fiber f{n}/owner {n}");
                        let _span = info_span!("blocks", n).entered();
                        check!("fiber f{n}/owner {n}/blocks {n}");
                    });
                    check!("fiber f{n}/owner {n}");
                    assert!(catch_unwind(|| unblock(|| panic!("thrown"))).is_err());
                    check!("fiber f{n}/owner {n}");
                })
            })
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    });
    drop(runtime);
    session.end(20 * 7);
}

/// Deeper than anything that a list has room for at first, and then not at all.
#[test]
fn of_a_deep_recursion() {
    #[instrument]
    fn deeper(n: usize) {
        if n == 0 {
            leave(0);
            leave(1);
        } else {
            deeper(n - 1);
            if n.is_multiple_of(64) {
                yield_now();
            }
        }
        // The chain is checked by the numbers alone.
        let want: Vec<_> = (n..=500).rev().map(|n| format!("deeper {n}")).collect();
        if n.is_multiple_of(100) {
            check!("fiber deep/{}", want.join("/"));
        }
    }
    let _watchdog = watchdog(60);
    let session = Session::new();
    let runtime = runtime(1);
    runtime.run(|| {
        let other = named("f7", || (0..50).for_each(|_| outer(7)));
        let deep = Builder::new().name("deep".into()).stack_size(4 << 20);
        deep.spawn(|| deeper(500)).unwrap().join().unwrap();
        check!("fiber");
        other.join().unwrap();
    });
    drop(runtime);
    session.end(6 + 1 + 50 * 6);
}
