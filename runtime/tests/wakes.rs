//! Wakes of `block_on`: whoever wakes, from wherever, the future is polled once for it.

mod common;

use std::future::{pending, poll_fn};
use std::sync::Mutex;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::thread;

use common::{Count, Gate, counted, one_on_each_worker, runtime, settle, until, watchdog};
use sisal::block_on;
use sisal::fiber::{scope, spawn, yield_now};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

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
