//! `sisal::sync::Barrier`: rounds of fibers, threads and tasks; one that is cancelled is as if it had not come.

mod common;

use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use common::{Count, runtime, settle, watchdog};
use sisal::fiber::{scope, spawn};
use sisal::sync::{Arc, Barrier};
use sisal::{block_on, timeout};

#[test]
fn rounds_of_fibers_and_threads_and_a_task() {
    const ROUNDS: usize = 50;
    let _watchdog = watchdog(60);
    let barrier = Arc::new(Barrier::new(7));
    let (here, leaders) = (Count::new(), Count::new());
    let party = || {
        for round in 0..ROUNDS {
            here.add();
            if barrier.wait().is_leader() {
                leaders.add();
            }
            assert!(here.get() >= 7 * (round + 1), "all have come");
            barrier.wait();
        }
    };
    let runtime = runtime(2);
    thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(party);
        }
        s.spawn(|| {
            runtime.run(|| {
                scope(|s| {
                    for _ in 0..3 {
                        s.spawn(party);
                    }
                    let (barrier, here, leaders) =
                        (Arc::clone(&barrier), here.clone(), leaders.clone());
                    let task = tokio::spawn(async move {
                        for _ in 0..ROUNDS {
                            here.add();
                            if barrier.wait_async().await.is_leader() {
                                leaders.add();
                            }
                            barrier.wait_async().await;
                        }
                    });
                    block_on(task).unwrap();
                });
            });
        });
    });
    assert_eq!((here.get(), leaders.get()), (7 * ROUNDS, ROUNDS));
}

/// More than are called at once, on one worker.
#[test]
fn a_hundred_fibers() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let barrier = Barrier::new(100);
        let leaders = Count::new();
        scope(|s| {
            for _ in 0..100 {
                s.spawn(|| {
                    for _ in 0..3 {
                        if barrier.wait().is_leader() {
                            leaders.add();
                        }
                    }
                });
            }
        });
        assert_eq!(leaders.get(), 3);
    });
}

#[test]
fn for_nobody_and_for_one() {
    for n in [0, 1] {
        let barrier = Barrier::new(n);
        for _ in 0..3 {
            assert!(barrier.wait().is_leader());
        }
    }
}

#[test]
fn cancelled_before_all_have_come() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let barrier = Arc::new(Barrier::new(2));
        let waits = || {
            let barrier = Arc::clone(&barrier);
            let fiber = spawn(move || barrier.wait().is_leader());
            settle();
            fiber
        };
        let first = waits();
        first.cancel();
        assert!(first.join().unwrap_err().is_cancelled());
        let timed_out = timeout(Duration::from_millis(2), || barrier.wait().is_leader());
        assert!(timed_out.is_err());
        let second = waits();
        assert!(!second.is_finished(), "alone");
        assert!(barrier.wait().is_leader());
        assert!(!second.join().unwrap());
    });
}

/// All had come, and it was not told yet: it stays counted in that round, and is not in the next.
#[test]
fn a_dropped_twin() {
    let barrier = Barrier::new(2);
    let mut cx = Context::from_waker(Waker::noop());
    for tell in [false, true] {
        let mut first = Box::pin(barrier.wait_async());
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert!(barrier.wait().is_leader());
        if tell {
            let Poll::Ready(result) = first.as_mut().poll(&mut cx) else {
                panic!("all have come");
            };
            assert!(!result.is_leader());
        }
        drop(first);
    }
    // Nothing is left of them.
    let mut alone = Box::pin(barrier.wait_async());
    assert!(alone.as_mut().poll(&mut cx).is_pending());
    drop(alone);
    assert_eq!(
        format!("{:?} {:?}", barrier, Barrier::new(1).wait()),
        "Barrier { .. } BarrierWaitResult { is_leader: true }"
    );
}
