//! Wakes of `block_on`: whoever wakes, from wherever, the future is polled once for it, and nothing
//! is left behind.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use common::{
    Count, Gate, counted, one_on_each_worker, passes_in_child, role, runtime, settle, until,
    watchdog,
};
use sisal::block_on;
use sisal::fiber::{scope, spawn, yield_now};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

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

/// A fiber waits at a gate; `open` gets the gate when the fiber was polled once. Two polls in all.
fn two_polls(workers: usize, open: impl FnOnce(Gate) + Send) {
    let _watchdog = watchdog(60);
    let gate = Gate::new();
    runtime(workers).run(|| {
        scope(|s| {
            let waiter = s.spawn(|| block_on(gate.clone()));
            gate.wait_polls(1);
            open(gate.clone());
            waiter.join().unwrap();
        });
    });
    assert_eq!(gate.polls(), 2);
}

#[test]
fn a_ready_future_is_polled_once_and_its_fiber_never_leaves() {
    let _watchdog = watchdog(60);
    let polls = Count::new();
    runtime(1).run(|| {
        // Would run if the waiting fiber left its worker.
        let other = Count::new();
        let count = other.clone();
        let fiber = spawn(move || count.add());
        assert_eq!(block_on(counted(&polls, async { 5 })), 5);
        assert_eq!(other.get(), 0);
        fiber.join().unwrap();
    });
    assert_eq!(polls.get(), 1);
}

#[test]
fn by_a_fiber_of_this_worker() {
    two_polls(1, |gate| gate.open());
}

#[test]
fn by_this_workers_reactor() {
    let _watchdog = watchdog(60);
    let polls = Count::new();
    runtime(1).run(|| {
        scope(|s| {
            let (mut near, far) = block_on(async { UnixStream::pair() }).unwrap();
            let polls = &polls;
            let reader = s.spawn(move || block_on(counted(polls, near.read_u8())).unwrap());
            until(|| polls.get() == 1);
            assert_eq!(far.try_write(b"x").unwrap(), 1);
            assert_eq!(reader.join().unwrap(), b'x');
        });
    });
    assert_eq!(polls.get(), 2);
}

#[test]
fn by_another_workers_reactor() {
    let _watchdog = watchdog(60);
    let polls = Count::new();
    let (give, take) = mpsc::channel();
    let take = Mutex::new(take);
    runtime(2).run(|| {
        one_on_each_worker(2, |n| {
            if n == 0 {
                // This worker's reactor serves both ends.
                let (near, far) = block_on(async { UnixStream::pair() }).unwrap();
                give.send(near).unwrap();
                until(|| polls.get() == 1);
                assert_eq!(far.try_write(b"x").unwrap(), 1);
                until(|| polls.get() == 2);
            } else {
                let mut near: UnixStream = take.lock().unwrap().recv().unwrap();
                assert_eq!(block_on(counted(&polls, near.read_u8())).unwrap(), b'x');
            }
        });
    });
    assert_eq!(polls.get(), 2);
}

#[test]
fn by_a_fiber_of_another_worker() {
    let _watchdog = watchdog(60);
    let gate = Gate::new();
    runtime(2).run(|| {
        one_on_each_worker(2, |n| {
            if n == 0 {
                gate.wait_polls(1);
                gate.open();
            } else {
                block_on(gate.clone());
            }
        });
    });
    assert_eq!(gate.polls(), 2);
}

#[test]
fn by_a_fiber_of_another_runtime() {
    let other = runtime(1);
    two_polls(1, |gate| other.spawn(move || gate.open()).join().unwrap());
}

#[test]
fn by_an_async_task_of_this_worker() {
    two_polls(1, |gate| {
        let task = tokio::spawn(async move { gate.open() });
        block_on(task).unwrap();
    });
}

#[test]
fn by_a_task_of_a_foreign_runtime() {
    let foreign = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    two_polls(1, |gate| {
        let task = foreign.spawn(async move { gate.open() });
        block_on(task).unwrap();
    });
}

#[test]
fn by_a_plain_thread() {
    two_polls(1, |gate| thread::spawn(move || gate.open()).join().unwrap());
    two_polls(2, |gate| thread::spawn(move || gate.open()).join().unwrap());
}

/// The worker sleeps in its reactor then: nobody else is there to keep it awake.
#[test]
fn by_a_plain_thread_while_every_worker_sleeps() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let (runtime, gate) = (runtime(workers), Gate::new());
        let waited = gate.clone();
        let fiber = runtime.spawn(move || block_on(waited));
        gate.wait_polls(1);
        gate.open();
        fiber.join().unwrap();
        assert_eq!(gate.polls(), 2);
    }
}

#[test]
fn by_the_drop_of_what_was_waited_for() {
    let _watchdog = watchdog(60);
    let polls = Count::new();
    runtime(1).run(|| {
        scope(|s| {
            let (tx, rx) = futures::channel::oneshot::channel::<()>();
            let waiter = s.spawn(|| block_on(counted(&polls, rx)));
            until(|| polls.get() == 1);
            drop(tx);
            assert_eq!(
                waiter.join().unwrap(),
                Err(futures::channel::oneshot::Canceled)
            );
        });
    });
    assert_eq!(polls.get(), 2);
}

#[test]
fn within_poll_is_a_yield_each() {
    const TIMES: usize = 100;
    let _watchdog = watchdog(60);
    let (polls, turns) = (Count::new(), Count::new());
    runtime(1).run(|| {
        scope(|s| {
            let other = s.spawn(|| {
                while polls.get() <= TIMES {
                    turns.add();
                    yield_now();
                }
            });
            until(|| turns.get() > 0);
            let mut turns_at_poll = Vec::new();
            block_on(poll_fn(|cx| {
                turns_at_poll.push(turns.get());
                if polls.add() > TIMES {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            }));
            assert_eq!(turns_at_poll.len(), TIMES + 1);
            // The other fiber had its turn between any two polls.
            assert!(
                turns_at_poll.is_sorted_by(|a, b| a < b),
                "{turns_at_poll:?}"
            );
            other.join().unwrap();
        });
    });
    assert_eq!(polls.get(), TIMES + 1);
}

#[test]
fn within_poll_many_times_over_is_one_poll() {
    let _watchdog = watchdog(60);
    let polls = Count::new();
    runtime(1).run(|| {
        block_on(poll_fn(|cx| {
            if polls.add() == 2 {
                return Poll::Ready(());
            }
            for _ in 0..10 {
                cx.waker().wake_by_ref();
                let clone = cx.waker().clone();
                clone.wake();
            }
            Poll::Pending
        }));
    });
    assert_eq!(polls.get(), 2);
}

#[test]
fn by_another_thread_before_pending_is_returned() {
    let _watchdog = watchdog(60);
    let polls = Count::new();
    runtime(1).run(|| {
        for _ in 0..100 {
            let before = polls.get();
            block_on(poll_fn(|cx| {
                if polls.add() == before + 2 {
                    return Poll::Ready(());
                }
                let waker = cx.waker().clone();
                thread::spawn(move || waker.wake()).join().unwrap();
                Poll::Pending
            }));
            assert_eq!(polls.get(), before + 2);
        }
    });
}

/// A wake races the fiber on its way out of the worker: it is neither lost nor polled for twice.
#[test]
fn by_another_thread_while_pending_is_returned() {
    const ROUNDS: usize = 20_000;
    let _watchdog = watchdog(120);
    let (give, take) = mpsc::sync_channel::<Waker>(1);
    let waking = thread::spawn(move || take.iter().for_each(Waker::wake));
    let polls = Count::new();
    runtime(1).run(|| {
        for round in 0..ROUNDS {
            block_on(poll_fn(|cx| {
                if polls.add() == 2 * (round + 1) {
                    return Poll::Ready(());
                }
                give.send(cx.waker().clone()).unwrap();
                Poll::Pending
            }));
        }
    });
    drop(give);
    waking.join().unwrap();
    assert_eq!(polls.get(), 2 * ROUNDS);
}

#[test]
fn many_wakes_are_one_poll() {
    two_polls(1, |gate| {
        let waker = gate.waker();
        for _ in 0..1000 {
            waker.wake_by_ref();
        }
        gate.open();
        for _ in 0..1000 {
            waker.wake_by_ref();
        }
    });
}

#[test]
fn many_wakes_by_another_thread_are_one_poll() {
    two_polls(1, |gate| {
        // This fiber holds the only worker meanwhile.
        thread::spawn(move || {
            let waker = gate.waker();
            for _ in 0..1000 {
                waker.wake_by_ref();
            }
            gate.open();
        })
        .join()
        .unwrap();
    });
}

#[test]
fn a_wake_for_nothing_is_one_poll() {
    let _watchdog = watchdog(60);
    let gate = Gate::new();
    runtime(1).run(|| {
        scope(|s| {
            let waiter = s.spawn(|| block_on(gate.clone()));
            for n in 1..=50 {
                gate.wait_polls(n);
                settle();
                assert_eq!(gate.polls(), n, "polled without a wake");
                gate.waker().wake();
            }
            gate.wait_polls(51);
            gate.open();
            waiter.join().unwrap();
        });
    });
    assert_eq!(gate.polls(), 52);
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

/// A waker of an earlier wait may at most cost the later one a poll.
#[test]
fn by_a_waker_of_an_earlier_wait() {
    let _watchdog = watchdog(60);
    let (first, second) = (Gate::new(), Gate::new());
    runtime(1).run(|| {
        scope(|s| {
            let waiter = s.spawn(|| {
                block_on(first.clone());
                block_on(second.clone());
            });
            first.wait_polls(1);
            let stale = first.waker();
            first.open();
            second.wait_polls(1);
            stale.wake();
            settle();
            assert!(second.polls() <= 2 && !waiter.is_finished());
            let before = second.polls();
            settle();
            assert_eq!(second.polls(), before);
            second.open();
            waiter.join().unwrap();
        });
    });
    assert_eq!(first.polls(), 2);
}

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
fn on_a_plain_thread_too() {
    let _watchdog = watchdog(60);
    let (gate, polls) = (Gate::new(), Count::new());
    let opened = gate.clone();
    let waking = thread::spawn(move || {
        opened.wait_polls(1);
        opened.open();
    });
    block_on(counted(&polls, gate));
    waking.join().unwrap();
    assert_eq!(polls.get(), 2);
}

/// Both fibers wait for each other's wakes through one slot, on two workers.
#[test]
fn between_two_workers_none_is_lost() {
    const ROUNDS: usize = 5_000;
    let _watchdog = watchdog(120);
    let (a, b) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
    runtime(2).run(|| {
        one_on_each_worker(2, |n| {
            for _ in 0..ROUNDS {
                if n == 0 {
                    a.notify_one();
                    block_on(b.notified());
                } else {
                    block_on(a.notified());
                    b.notify_one();
                }
            }
        });
    });
}

#[test]
fn select_polls_only_for_wakes() {
    let _watchdog = watchdog(60);
    let (gate, polls) = (Gate::new(), Count::new());
    runtime(1).run(|| {
        scope(|s| {
            let waiter = s.spawn(|| {
                block_on(counted(&polls, async {
                    tokio::select! {
                        () = gate.clone() => {}
                        () = pending() => unreachable!(),
                    }
                }))
            });
            gate.wait_polls(1);
            settle();
            assert_eq!(polls.get(), 1);
            gate.open();
            waiter.join().unwrap();
        });
    });
    assert_eq!((gate.polls(), polls.get()), (2, 2));
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
