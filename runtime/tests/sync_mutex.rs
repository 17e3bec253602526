//! `sisal::sync::Mutex`: between fibers, threads and async tasks; its order; cancellation and timeouts in its wait.

mod common;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use common::{Count, LONG, runtime, settle, until, watchdog};
use sisal::fiber::{self, park, scope, spawn, yield_now};
use sisal::sync::{Arc, Barrier, Mutex, TryLockError};
use sisal::{block_on, timeout};

/// So many rounds of a critical section in which the others have a turn.
fn rounds(mutex: &Mutex<(u32, bool)>, rounds: u32, turn: fn()) {
    for _ in 0..rounds {
        let mut guard = mutex.lock().unwrap();
        assert!(!guard.1, "somebody else is in there");
        guard.1 = true;
        turn();
        guard.0 += 1;
        guard.1 = false;
    }
}

#[test]
fn fibers_of_one_worker_and_of_several() {
    let _watchdog = watchdog(60);
    for workers in [1, 4] {
        let mutex = Mutex::new((0, false));
        runtime(workers).run(|| {
            scope(|s| {
                for _ in 0..20 {
                    s.spawn(|| rounds(&mutex, 50, yield_now));
                }
            });
        });
        assert_eq!(mutex.into_inner().unwrap().0, 1000);
    }
}

#[test]
fn threads_and_fibers_and_tasks_on_one_lock() {
    let _watchdog = watchdog(60);
    let mutex = Arc::new(Mutex::new((0, false)));
    let runtime = runtime(2);
    thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(|| rounds(&mutex, 100, thread::yield_now));
        }
        s.spawn(|| {
            runtime.run(|| {
                scope(|s| {
                    for _ in 0..3 {
                        s.spawn(|| rounds(&mutex, 100, yield_now));
                    }
                    let mutex = Arc::clone(&mutex);
                    let task = tokio::spawn(async move {
                        for _ in 0..100 {
                            let mut guard = mutex.lock_async().await.unwrap();
                            assert!(!guard.1);
                            guard.1 = true;
                            tokio::task::yield_now().await;
                            guard.0 += 1;
                            guard.1 = false;
                        }
                    });
                    block_on(task).unwrap();
                });
            });
        });
    });
    assert_eq!(mutex.lock().unwrap().0, 700);
}

/// A guard goes over an `.await` in a task of an executor of many threads, and to another thread.
#[test]
fn a_guard_may_be_sent() {
    let _watchdog = watchdog(60);
    let mutex = Arc::new(Mutex::new(0));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let mutex = Arc::clone(&mutex);
                tokio::spawn(async move {
                    for _ in 0..100 {
                        let mut guard = mutex.lock_async().await.unwrap();
                        let before = *guard;
                        tokio::task::yield_now().await;
                        *guard = before + 1;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let guard = mutex.lock().unwrap();
    thread::scope(|s| s.spawn(move || assert_eq!(*guard, 800)).join().unwrap());
    assert!(mutex.try_lock().is_ok(), "unlocked there");
}

/// How many others lock between the arrival of each waiter and its turn, with so many fibers that come back at once.
#[test]
fn a_thousand_fibers_and_the_longest_wait() {
    const FIBERS: u64 = 1000;
    const ROUNDS: u64 = 5;
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let taken = Mutex::new(0_u64);
        let seen = std::sync::atomic::AtomicU64::new(0);
        let order = std::sync::atomic::Ordering::SeqCst;
        let all_here = Barrier::new(FIBERS as usize);
        let longest = runtime(workers).run(|| {
            scope(|s| {
                let fibers: Vec<_> = (0..FIBERS)
                    .map(|_| {
                        s.spawn(|| {
                            all_here.wait();
                            let mut longest = 0;
                            for _ in 0..ROUNDS {
                                let before = seen.load(order);
                                let mut taken = taken.lock().unwrap();
                                longest = longest.max(*taken - before);
                                *taken += 1;
                                seen.store(*taken, order);
                                yield_now(); // the others come and wait
                            }
                            longest
                        })
                    })
                    .collect();
                fibers.into_iter().map(|f| f.join().unwrap()).max().unwrap()
            })
        });
        println!("{workers} workers: {longest} others at most");
        assert_eq!(*taken.lock().unwrap(), FIBERS * ROUNDS);
        // All others before it, each passed over four times; the owner; and, on two workers, one who came between
        // the look at the count and the lock.
        let bound = 5 * (FIBERS - 1) + 4 + 1 + workers as u64;
        assert!(longest <= bound, "{longest} of {bound}");
        assert!(longest >= FIBERS / 2, "nobody waited: {longest}");
    }
}

/// One fiber locks again at once whenever it has unlocked: the one that waits is passed over four times.
#[test]
fn the_first_waiter_is_passed_over_four_times() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let mutex = Mutex::new(());
        let rounds = Count::new();
        scope(|s| {
            let guard = mutex.lock().unwrap();
            let waits = s.spawn(|| {
                let _guard = mutex.lock().unwrap();
                rounds.get()
            });
            settle();
            drop(guard);
            // No turn for the waiter but when this one has to wait.
            for _ in 0..20 {
                let _guard = mutex.lock().unwrap();
                rounds.add();
            }
            assert_eq!(waits.join().unwrap(), 4);
        });
        assert_eq!(rounds.get(), 20);
    });
}

/// In the order of arrival: fibers, a thread and a task.
#[test]
fn the_lock_is_handed_on_in_order() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let order = Mutex::new(Vec::new());
    let mutex = Arc::new(Mutex::new(()));
    let push = |n| {
        let _guard = mutex.lock().unwrap();
        order.lock().unwrap().push(n);
        yield_now();
    };
    runtime.run(|| {
        scope(|s| {
            let guard = mutex.lock().unwrap();
            for n in 0..10 {
                s.spawn(move || push(n));
                settle();
            }
            drop(guard);
        });
    });
    assert_eq!(order.into_inner().unwrap(), (0..10).collect::<Vec<_>>());
}

/// The one that is cancelled was called already, or not; its place is given up and the next goes on.
#[test]
fn cancelled_in_its_wait() {
    let _watchdog = watchdog(60);
    for unlock_first in [false, true] {
        runtime(1).run(|| {
            let mutex = Arc::new(Mutex::new(0));
            let guard = mutex.lock().unwrap();
            let waits = |n: u32| {
                let mutex = Arc::clone(&mutex);
                let fiber = spawn(move || *mutex.lock().unwrap() += n);
                settle();
                fiber
            };
            let fibers = [waits(1), waits(10), waits(100)];
            if unlock_first {
                drop(guard);
                fibers[0].cancel();
            } else {
                fibers[0].cancel();
                settle();
                assert!(fibers[0].is_finished());
                assert!(!fibers[1].is_finished());
                drop(guard);
            }
            let [first, second, third] = fibers.map(|fiber| fiber.join());
            assert!(first.unwrap_err().is_cancelled());
            second.unwrap();
            third.unwrap();
            assert_eq!(*mutex.lock().unwrap(), 110, "and it is not poisoned");
        });
    }
}

#[test]
fn timed_out_in_its_wait() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let mutex = Mutex::new(0);
        scope(|s| {
            let guard = mutex.lock().unwrap();
            let behind = s.spawn(|| {
                until(|| mutex.try_lock().is_err());
                *mutex.lock().unwrap() += 1;
            });
            let early = timeout(Duration::from_millis(3), || drop(mutex.lock()));
            assert!(early.is_err());
            drop(guard);
            behind.join().unwrap();
            let in_time = timeout(LONG, || *mutex.lock().unwrap());
            assert_eq!(in_time, Ok(1));
        });
    });
}

/// A future that was polled, and holds a place or even the lock, is dropped.
#[test]
fn a_dropped_twin_hands_on() {
    let _watchdog = watchdog(60);
    let mutex = Mutex::new(());
    let mut cx = Context::from_waker(Waker::noop());
    let guard = mutex.lock().unwrap();
    {
        let mut first = pin!(mutex.lock_async());
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert!(first.as_mut().poll(&mut cx).is_pending());
    }
    let mut second = Box::pin(mutex.lock_async());
    assert!(second.as_mut().poll(&mut cx).is_pending());
    drop(guard);
    // Passed over so often that it gets the lock itself, whoever polls it or not.
    for _ in 0..4 {
        drop(mutex.try_lock().unwrap());
    }
    assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)));
    drop(second);
    assert!(mutex.try_lock().is_ok());
    let mut third = pin!(mutex.lock_async());
    assert!(matches!(third.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
}

/// A contended lock between `unpark` and `park` takes no token, and leaves none.
#[test]
fn a_lock_leaves_the_park_token_alone() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let mutex = Mutex::new(());
        let parked = Count::new();
        scope(|s| {
            let guard = mutex.lock().unwrap();
            let waits = s.spawn(|| {
                fiber::current().unpark();
                drop(mutex.lock().unwrap());
                park(); // takes that token
                parked.add();
                park(); // and waits for another
                parked.add();
            });
            settle();
            assert_eq!(parked.get(), 0);
            drop(guard);
            settle();
            assert_eq!(parked.get(), 1);
            waits.fiber().unpark();
            waits.join().unwrap();
        });
        assert_eq!(parked.get(), 2);
    });
}

/// A future that waits for a lock in its poll: its own wake meanwhile is not lost, and the poll goes on when the lock comes.
#[test]
fn in_a_poll() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let mutex = Mutex::new(());
        let (gate, polls) = (common::Gate::new(), Count::new());
        scope(|s| {
            let guard = mutex.lock().unwrap();
            let waits = s.spawn(|| {
                let mut gate = pin!(gate.clone());
                block_on(std::future::poll_fn(|cx| {
                    let poll = gate.as_mut().poll(cx);
                    drop(mutex.lock().unwrap());
                    polls.add();
                    poll
                }));
            });
            gate.wait_polls(1);
            gate.open();
            settle();
            assert_eq!(polls.get(), 0, "it waits for the lock");
            drop(guard);
            waits.join().unwrap();
        });
        assert_eq!(polls.get(), 2);
    });
}

#[test]
fn as_stds() {
    static STATIC: Mutex<u32> = Mutex::new(1);
    *STATIC.lock().unwrap() += 1;
    assert_eq!(*STATIC.lock().unwrap(), 2);

    let mut mutex = Mutex::from(vec![1]);
    assert_eq!(
        format!("{mutex:?}"),
        format!("{:?}", std::sync::Mutex::from(vec![1]))
    );
    let guard = mutex.lock().unwrap();
    assert_eq!(format!("{guard:?}"), "[1]");
    let locked = std::sync::Mutex::from(vec![1]);
    let _locked = locked.lock().unwrap();
    assert_eq!(format!("{mutex:?}"), format!("{locked:?}"));
    assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)));
    drop(guard);
    mutex.get_mut().unwrap().push(2);
    assert_eq!(mutex.into_inner().unwrap(), [1, 2]);
    assert_eq!(*Mutex::<u32>::default().lock().unwrap(), 0);
    assert_eq!(Mutex::new("text").lock().unwrap().to_string(), "text");

    let unsized_: &Mutex<[u32]> = &Mutex::new([1, 2, 3]);
    unsized_.lock().unwrap()[0] = 7;
    assert_eq!(*unsized_.lock().unwrap(), [7, 2, 3]);
    assert!(size_of::<Mutex<()>>() <= 40, "{}", size_of::<Mutex<()>>());
}
