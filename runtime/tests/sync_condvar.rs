//! `sisal::sync::Condvar`: notifications, their order, and who gets one that its waiter does not want any more.

mod common;

use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use common::{Count, LONG, runtime, settle, until, watchdog};
use sisal::fiber::{self, JoinHandle, park, scope, spawn, yield_now};
use sisal::sync::{Arc, Condvar, Mutex};
use sisal::{block_on, timeout};

const SHORT: Duration = Duration::from_millis(3);

#[derive(Default)]
struct Pair {
    mutex: Mutex<u32>,
    condvar: Condvar,
}

impl Pair {
    fn new() -> Arc<Pair> {
        Arc::default()
    }

    /// A fiber of this worker that waits until it was notified, once, and then adds `n`.
    fn waits(self: &Arc<Pair>, n: u32) -> JoinHandle<()> {
        let pair = Arc::clone(self);
        let fiber = spawn(move || {
            let guard = pair.mutex.lock().unwrap();
            let mut guard = pair.condvar.wait(guard).unwrap();
            *guard = *guard * 10 + n;
        });
        settle();
        assert!(!fiber.is_finished());
        fiber
    }

    fn value(&self) -> u32 {
        *self.mutex.lock().unwrap()
    }
}

#[test]
fn one_at_a_time_in_order_and_all() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let pair = Pair::new();
        pair.condvar.notify_one(); // for nobody: it is not kept
        let waits = [1, 2, 3, 4].map(|n| pair.waits(n));
        settle();
        assert_eq!(pair.value(), 0);
        for expected in [1, 12] {
            pair.condvar.notify_one();
            settle();
            assert_eq!(pair.value(), expected);
        }
        pair.condvar.notify_all();
        for fiber in waits {
            fiber.join().unwrap();
        }
        // The scheduler runs who was woken last first.
        assert!([1234, 1243].contains(&pair.value()), "{}", pair.value());
    });
}

/// More than are called at once.
#[test]
fn all_of_many_and_none_who_comes_later() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (pair, here) = (Pair::new(), Count::new());
        let waits: Vec<_> = (0..100)
            .map(|_| {
                let (pair, here) = (Arc::clone(&pair), here.clone());
                spawn(move || {
                    for _ in 0..2 {
                        let guard = pair.mutex.lock().unwrap();
                        here.add();
                        *pair.condvar.wait(guard).unwrap() += 1;
                    }
                })
            })
            .collect();
        for expected in [100, 200] {
            until(|| here.get() == expected);
            drop(pair.mutex.lock().unwrap()); // who was the last to come, waits
            pair.condvar.notify_all();
            until(|| pair.value() == expected as u32);
        }
        for fiber in waits {
            fiber.join().unwrap();
        }
    });
}

/// A ball between a fiber and a thread.
#[test]
fn to_and_fro_between_a_fiber_and_a_thread() {
    const TRIPS: u32 = 500;
    let _watchdog = watchdog(60);
    let pair = Pair::new();
    let play = |odd: u32| {
        for _ in 0..TRIPS {
            let guard = pair.mutex.lock().unwrap();
            let mut guard = pair.condvar.wait_while(guard, |n| *n % 2 != odd).unwrap();
            *guard += 1;
            drop(guard);
            pair.condvar.notify_one();
        }
    };
    let runtime = runtime(1);
    thread::scope(|s| {
        s.spawn(|| play(1));
        runtime.run(|| play(0));
    });
    assert_eq!(pair.value(), 2 * TRIPS);
}

#[test]
fn a_task_waits_too() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let pair = Pair::new();
        let task = tokio::spawn({
            let pair = Arc::clone(&pair);
            async move {
                let mut guard = pair.mutex.lock_async().await.unwrap();
                while *guard == 0 {
                    guard = pair.condvar.wait_async(guard).await.unwrap();
                }
                *guard += 1;
            }
        });
        settle();
        *pair.mutex.lock().unwrap() += 1;
        pair.condvar.notify_one();
        block_on(task).unwrap();
        assert_eq!(pair.value(), 2);
    });
}

/// The one that was notified is cancelled before it runs: the next is notified.
#[test]
fn a_cancelled_waiter_hands_on() {
    let _watchdog = watchdog(60);
    for all in [false, true] {
        runtime(1).run(|| {
            let pair = Pair::new();
            let [first, second] = [1, 2].map(|n| pair.waits(n));
            match all {
                false => pair.condvar.notify_one(),
                true => pair.condvar.notify_all(),
            }
            // Comes after a notification of all, and is not meant by it.
            let third = spawn({
                let pair = Arc::clone(&pair);
                move || drop(pair.condvar.wait(pair.mutex.lock().unwrap()))
            });
            first.cancel();
            assert!(first.join().unwrap_err().is_cancelled());
            second.join().unwrap();
            assert_eq!(pair.value(), 2);
            settle();
            assert!(!third.is_finished(), "{all}");
            third.cancel();
            assert!(third.join().is_err());
        });
    }
}

/// Notified, and cancelled while it waits for the mutex.
#[test]
fn a_waiter_cancelled_on_its_way_to_the_mutex_hands_on() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let pair = Pair::new();
        let [first, second] = [1, 2].map(|n| pair.waits(n));
        let guard = pair.mutex.lock().unwrap();
        pair.condvar.notify_one();
        settle();
        first.cancel();
        settle();
        assert!(first.is_finished());
        drop(guard);
        assert!(first.join().unwrap_err().is_cancelled());
        second.join().unwrap();
        assert_eq!(pair.value(), 2);
    });
}

#[test]
fn a_dropped_twin_hands_on_and_unlocks() {
    let _watchdog = watchdog(60);
    let pair = Pair::new();
    let mut cx = Context::from_waker(Waker::noop());
    let guard = pair.mutex.lock().unwrap();
    drop(pair.condvar.wait_async(guard)); // never polled
    assert!(pair.mutex.try_lock().is_ok());

    let wait = || Box::pin(pair.condvar.wait_async(pair.mutex.lock().unwrap()));
    let (mut first, mut second) = (wait(), None);
    assert!(first.as_mut().poll(&mut cx).is_pending());
    assert!(first.as_mut().poll(&mut cx).is_pending());
    let second = second.insert(wait());
    assert!(second.as_mut().poll(&mut cx).is_pending());
    pair.condvar.notify_one();
    assert!(second.as_mut().poll(&mut cx).is_pending());
    drop(first);
    assert!(matches!(second.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
    assert!(pair.mutex.try_lock().is_ok());
}

#[test]
fn timeouts() {
    let _watchdog = watchdog(60);
    let pair = Pair::new();
    let check = || {
        let lock = || pair.mutex.lock().unwrap();
        for dur in [Duration::ZERO, SHORT] {
            let (guard, result) = pair.condvar.wait_timeout(lock(), dur).unwrap();
            assert!(result.timed_out());
            drop(guard);
            let waited = pair.condvar.wait_timeout_while(lock(), dur, |_| true);
            assert!(waited.unwrap().1.timed_out());
            // The condition is asked first.
            let waited = pair.condvar.wait_timeout_while(lock(), dur, |_| false);
            assert!(!waited.unwrap().1.timed_out());
        }
        #[allow(deprecated, reason = "it is there")]
        let (guard, notified) = pair.condvar.wait_timeout_ms(lock(), 1).unwrap();
        assert!(!notified);
        drop(guard);
        assert!(pair.mutex.try_lock().is_ok());
    };
    check();
    runtime(1).run(check);
}

#[test]
fn notified_in_time() {
    let _watchdog = watchdog(60);
    for dur in [LONG, Duration::MAX] {
        let runtime = runtime(1);
        let pair = Pair::new();
        let waits = || {
            let guard = pair.mutex.lock().unwrap();
            let waited = pair.condvar.wait_timeout_while(guard, dur, |n| *n == 0);
            let (mut guard, result) = waited.unwrap();
            assert!(!result.timed_out());
            *guard += 1;
        };
        thread::scope(|s| {
            s.spawn(waits);
            s.spawn(|| runtime.run(waits));
            *pair.mutex.lock().unwrap() += 1;
            pair.condvar.notify_all();
        });
        assert_eq!(pair.value(), 3);
    }
}

/// Whoever is first after the timeout of another has nothing of it.
#[test]
fn one_that_has_timed_out_takes_no_notification() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let pair = Pair::new();
        scope(|s| {
            let short = s.spawn(|| {
                let guard = pair.mutex.lock().unwrap();
                pair.condvar
                    .wait_timeout(guard, SHORT)
                    .unwrap()
                    .1
                    .timed_out()
            });
            settle();
            let long = pair.waits(1);
            assert!(short.join().unwrap());
            pair.condvar.notify_one();
            long.join().unwrap();
            let cut = timeout(SHORT, || {
                let guard = pair.mutex.lock().unwrap();
                drop(pair.condvar.wait(guard));
            });
            assert!(cut.is_err());
        });
        assert_eq!(pair.value(), 1);
    });
}

/// Timeouts, cancels and notifications at once, by fibers and threads: each that is given is taken by one who waits.
#[test]
fn every_permit_is_taken() {
    const PERMITS: u32 = 300;
    let _watchdog = watchdog(60);
    let pair = Pair::new();
    let taken = Count::new();
    let take = |patience: Option<Duration>| {
        while taken.get() < PERMITS as usize {
            let mut guard = pair.mutex.lock().unwrap();
            match patience {
                Some(dur) => {
                    let still = |n: &mut u32| *n == 0 && taken.get() < PERMITS as usize;
                    guard = pair
                        .condvar
                        .wait_timeout_while(guard, dur, still)
                        .unwrap()
                        .0;
                }
                None => {
                    while *guard == 0 && taken.get() < PERMITS as usize {
                        guard = pair.condvar.wait(guard).unwrap();
                    }
                }
            }
            if *guard > 0 {
                *guard -= 1;
                if taken.add() == PERMITS as usize {
                    pair.condvar.notify_all();
                }
            }
        }
    };
    let runtime = runtime(2);
    thread::scope(|s| {
        s.spawn(|| take(None));
        s.spawn(|| take(Some(Duration::from_millis(1))));
        s.spawn(|| {
            runtime.run(|| {
                scope(|s| {
                    s.spawn(|| take(None));
                    s.spawn(|| take(Some(Duration::from_millis(1))));
                    s.spawn(|| {
                        while taken.get() < PERMITS as usize {
                            let _ = timeout(Duration::from_millis(1), || {
                                let guard = pair.mutex.lock().unwrap();
                                drop(pair.condvar.wait(guard).unwrap());
                                // It took none: the next may.
                                pair.condvar.notify_one();
                            });
                        }
                    });
                });
            });
        });
        for _ in 0..PERMITS {
            *pair.mutex.lock().unwrap() += 1;
            pair.condvar.notify_one();
            thread::yield_now();
        }
    });
    assert_eq!((taken.get(), pair.value()), (PERMITS as usize, 0));
}

#[test]
fn the_park_token_is_left_alone() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let pair = Pair::new();
        let waits = spawn({
            let pair = Arc::clone(&pair);
            move || {
                fiber::current().unpark();
                drop(pair.condvar.wait(pair.mutex.lock().unwrap()));
                park();
                yield_now();
            }
        });
        settle();
        waits.fiber().unpark();
        settle();
        assert!(!waits.is_finished(), "a token is no notification");
        pair.condvar.notify_one();
        waits.join().unwrap();
    });
}

#[test]
fn as_stds() {
    static STATIC: Condvar = Condvar::new();
    STATIC.notify_all();
    assert_eq!(
        format!("{STATIC:?}"),
        format!("{:?}", std::sync::Condvar::new())
    );
    let mutex = Mutex::new(());
    let (_guard, result) = STATIC.wait_timeout(mutex.lock().unwrap(), SHORT).unwrap();
    assert_eq!(format!("{result:?}"), "WaitTimeoutResult(true)");
    assert_eq!(result, result.clone());
}
