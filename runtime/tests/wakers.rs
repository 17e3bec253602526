//! Wakers of `block_on`: they may be cloned, kept, dropped and used whenever, also after their fiber and
//! its runtime, and leave nothing behind.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::poll_fn;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use common::{Gate, passes_in_child, role, runtime, settle, until, watchdog};
use sisal::block_on;
use sisal::fiber::{scope, spawn, yield_now};

/// Counts what is allocated and not freed, for the test of leaks, which runs in a process of its own.
struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(1, Ordering::Relaxed);
        // SAFETY: by contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: by contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// All that may be done with a waker.
fn use_up(waker: Waker) {
    waker.wake_by_ref();
    let clone = waker.clone();
    assert!(clone.will_wake(&waker));
    clone.wake();
    drop(waker.clone());
    waker.wake();
}

#[test]
fn a_dropped_waker_wakes_nobody() {
    let _watchdog = watchdog(60);
    let gate = Gate::new();
    runtime(1).run(|| {
        scope(|s| {
            let waiter = s.spawn(|| block_on(gate.clone()));
            gate.wait_polls(1);
            drop(gate.waker());
            drop(gate.waker().clone());
            settle();
            assert_eq!(gate.polls(), 1);
            gate.open();
            waiter.join().unwrap();
        });
    });
}

#[test]
fn clones_of_a_waker_are_the_same_waker() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let mut first = None;
        block_on(poll_fn(|cx| {
            let waker = cx.waker();
            assert!(waker.will_wake(&waker.clone()));
            match &first {
                None => {
                    first = Some(waker.clone());
                    waker.wake_by_ref();
                    Poll::Pending
                }
                Some(first) => {
                    assert!(
                        first.will_wake(waker),
                        "a new waker costs a store in every future"
                    );
                    Poll::Ready(())
                }
            }
        }));
    });
}

#[test]
fn a_waker_may_be_used_after_its_fiber_and_its_runtime() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let wakers = runtime.run(|| {
            let wakers: Vec<Waker> = (0..10)
                .map(|_| {
                    let fiber = spawn(|| block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone()))));
                    fiber.join().unwrap()
                })
                .collect();
            // From fibers, while others reuse the memory of the ended ones.
            for waker in &wakers {
                use_up(waker.clone());
                spawn(yield_now).join().unwrap();
                use_up(waker.clone());
            }
            wakers
        });
        for waker in &wakers {
            let waker = waker.clone();
            thread::spawn(|| use_up(waker)).join().unwrap();
        }
        drop(runtime);
        wakers.into_iter().for_each(use_up);
    }
}

#[test]
fn a_waker_of_a_nested_wait_may_be_used_after_its_fiber_and_its_runtime() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let waker =
        runtime.run(|| block_on(async { block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone()))) }));
    use_up(waker.clone());
    drop(runtime);
    use_up(waker);
}

/// A fiber waits for a future that holds an `Arc`, and its wakers go everywhere: the `Arc` is given
/// back when the wait is over, not when the last waker is.
#[test]
fn the_future_is_dropped_when_the_wait_is_over() {
    let _watchdog = watchdog(60);
    let held = Arc::new(());
    let wakers = Mutex::new(Vec::new());
    runtime(2).run(|| {
        let (in_future, wakers) = (Arc::clone(&held), &wakers);
        block_on(async move {
            let _in_future = in_future;
            poll_fn(|cx| {
                wakers.lock().unwrap().push(cx.waker().clone());
                Poll::Ready(())
            })
            .await;
        });
        assert_eq!(Arc::strong_count(&held), 1);
    });
    assert_eq!(wakers.lock().unwrap().len(), 1);
}

/// Two hundred waits, each with clones of its waker that are woken, dropped and kept in all
/// orders around the fiber's end.
fn wakers_in_all_orders() {
    for n in 0..200 {
        let (give, take) = mpsc::channel::<Waker>();
        let fiber = spawn(move || {
            let inner = || {
                block_on(poll_fn(|cx| {
                    for _ in 0..5 {
                        give.send(cx.waker().clone()).unwrap();
                    }
                    Poll::Ready(())
                }))
            };
            if n % 2 == 0 {
                inner();
            } else {
                block_on(async { inner() });
            }
        });
        let early: Vec<Waker> = if n % 3 == 0 {
            until(|| fiber.is_finished());
            Vec::new()
        } else {
            (0..3)
                .map(|_| {
                    loop {
                        match take.try_recv() {
                            Ok(waker) => break waker,
                            Err(_) => yield_now(),
                        }
                    }
                })
                .collect()
        };
        early.into_iter().for_each(use_up);
        fiber.join().unwrap();
        take.iter().for_each(use_up);
    }
}

#[test]
fn wakers_leak_nothing() {
    if role().is_none() {
        passes_in_child("wakers_leak_nothing", "leaks", &[]);
        return;
    }
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    // The first rounds fill caches.
    for _ in 0..3 {
        runtime.run(wakers_in_all_orders);
    }
    let before = LIVE.load(Ordering::Relaxed);
    for _ in 0..10 {
        runtime.run(wakers_in_all_orders);
    }
    let grown = LIVE.load(Ordering::Relaxed) - before;
    // 2,000 waits with 10 wakers each; a leak of one record, or of one wait in two, is seen.
    assert!(grown < 100, "{grown} allocations were not freed");
}

/// A wait that is given up by a panic takes its waker with it.
#[test]
fn by_nobody_after_a_panicking_poll() {
    let _watchdog = watchdog(60);
    let gate = Gate::new();
    runtime(1).run(|| {
        let mut kept = None;
        let unwound = common::panic_text(|| {
            block_on(poll_fn(|cx| -> Poll<()> {
                kept = Some(cx.waker().clone());
                panic!("a bad poll");
            }))
        });
        assert_eq!(unwound, "a bad poll");
        use_up(kept.unwrap());
        // The next wait is an outermost one again, and is polled twice at most for the stale wake.
        scope(|s| {
            let opened = gate.clone();
            s.spawn(move || {
                opened.wait_polls(1);
                opened.open();
            });
            block_on(gate.clone());
        });
    });
    assert!((2..=3).contains(&gate.polls()), "{}", gate.polls());
}

#[test]
fn every_fiber_has_a_waker_of_its_own() {
    let _watchdog = watchdog(60);
    let own: fn() -> Waker = || block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone())));
    runtime(1).run(|| {
        let (a, b) = (spawn(own), spawn(own));
        let (a, b) = (a.join().unwrap(), b.join().unwrap());
        assert!(!a.will_wake(&b));
    });
}
