//! `sync::Semaphore`: how many at a time, in which order, and what happens to permits.

mod common;

use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use common::{Count, LONG, panic_text, runtime, settle, until, watchdog};
use sisal::fiber::{scope, spawn, yield_now};
use sisal::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, TryAcquireError};
use sisal::{block_on, timeout};

const SHORT: Duration = Duration::from_millis(3);
/// As the documentation says: others before the first waiter.
const PASSES: usize = 4;

#[test]
fn permits_are_counted() {
    let semaphore = Semaphore::new(5);
    let mut three = semaphore.acquire_many(3).unwrap();
    assert_eq!((three.num_permits(), semaphore.available_permits()), (3, 2));
    assert_eq!(
        semaphore.try_acquire_many(3).unwrap_err(),
        TryAcquireError::NoPermits
    );
    assert_eq!(three.split(4).map(|p| p.num_permits()), None);
    let one = three.split(1).unwrap();
    assert_eq!((one.num_permits(), three.num_permits()), (1, 2));
    drop(three);
    assert_eq!(semaphore.available_permits(), 4);
    let mut two = semaphore.try_acquire_many(2).unwrap();
    two.merge(one);
    assert_eq!(two.num_permits(), 3);
    two.forget();
    assert_eq!(semaphore.available_permits(), 2);
    assert_eq!(semaphore.forget_permits(7), 2);
    assert_eq!(semaphore.available_permits(), 0);
    drop(semaphore.acquire_many(0).unwrap());
    semaphore.add_permits(9);
    assert_eq!(semaphore.available_permits(), 9);
    assert_eq!(
        format!("{semaphore:?}"),
        "Semaphore { permits: 9, closed: false }"
    );

    let other = Semaphore::new(1);
    let mut permit = other.try_acquire().unwrap();
    let foreign = semaphore.try_acquire().unwrap();
    assert!(panic_text(move || permit.merge(foreign)).contains("different semaphores"));
    assert_eq!(
        (other.available_permits(), semaphore.available_permits()),
        (1, 9)
    );
    let most = Semaphore::new(Semaphore::MAX_PERMITS);
    assert!(panic_text(|| most.add_permits(1)).contains("too many"));
    assert_eq!(most.available_permits(), Semaphore::MAX_PERMITS);
    assert!(panic_text(|| Semaphore::new(Semaphore::MAX_PERMITS + 1)).contains("too many"));
}

#[test]
fn owned_permits() {
    let semaphore = Arc::new(Semaphore::new(4));
    let mut permit = semaphore.clone().acquire_many_owned(3).unwrap();
    assert!(Arc::ptr_eq(permit.semaphore(), &semaphore));
    let part = permit.split(1).unwrap();
    permit.merge(semaphore.clone().try_acquire_owned().unwrap());
    assert!(semaphore.clone().try_acquire_many_owned(1).is_err());
    thread::spawn(move || drop(part)).join().unwrap();
    assert_eq!(semaphore.available_permits(), 1);
    drop(permit);
    drop(semaphore.clone().acquire_owned().unwrap());
    block_on(async {
        drop(semaphore.clone().acquire_owned_async().await.unwrap());
        drop(semaphore.clone().acquire_many_owned_async(4).await.unwrap());
    });
    assert_eq!(semaphore.available_permits(), 4);
}

/// In a `static`.
#[test]
fn made_at_compile_time() {
    static ONE: Semaphore = Semaphore::new(1);
    let permit = ONE.acquire().unwrap();
    assert!(ONE.try_acquire().is_err());
    drop(permit);
}

#[test]
fn never_more_than_there_are() {
    let _watchdog = watchdog(120);
    let semaphore = Semaphore::new(3);
    let inside = Mutex::new((0, 0));
    let once = || {
        let permit = semaphore.acquire().unwrap();
        {
            let mut inside = inside.lock().unwrap();
            inside.0 += 1;
            inside.1 = inside.0.max(inside.1);
        }
        yield_now();
        inside.lock().unwrap().0 -= 1;
        drop(permit);
    };
    let runtime = runtime(2);
    thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| (0..200).for_each(|_| once()));
        }
        runtime.run(|| {
            scope(|s| {
                for _ in 0..10 {
                    s.spawn(|| (0..100).for_each(|_| once()));
                }
            })
        });
    });
    let inside = inside.into_inner().unwrap();
    assert_eq!(inside.0, 0);
    assert!((1..=3).contains(&inside.1), "{} at a time", inside.1);
    assert_eq!(semaphore.available_permits(), 3);
}

#[test]
fn waiters_are_served_in_order() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let semaphore = Semaphore::new(0);
        let order = Mutex::new(Vec::new());
        scope(|s| {
            for n in 0..6 {
                let (semaphore, order) = (&semaphore, &order);
                s.spawn(move || {
                    // Of one, two or three.
                    semaphore.acquire_many(n % 3 + 1).unwrap().forget();
                    order.lock().unwrap().push(n);
                });
                settle();
            }
            // One by one: nobody behind the first gets what that one waits for.
            for _ in 0..12 {
                semaphore.add_permits(1);
                settle();
            }
        });
        assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(semaphore.available_permits(), 0);
    });
}

/// Permits for several are given back at once: all that can be served are.
#[test]
fn many_are_served_at_once() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let waiters: Vec<_> = (0..40)
            .map(|_| {
                let semaphore = semaphore.clone();
                spawn(move || semaphore.acquire().unwrap().forget())
            })
            .collect();
        settle();
        semaphore.add_permits(40);
        waiters
            .into_iter()
            .for_each(|waiter| waiter.join().unwrap());
        assert_eq!(semaphore.available_permits(), 0);
    });
}

/// Who comes at the right moment may go before the first waiter four times; then nobody does, though it waits for many and
/// they for few.
#[test]
fn passing_is_bounded() {
    let mut cx = Context::from_waker(Waker::noop());
    for wanted in [1, 10] {
        let semaphore = Semaphore::new(9);
        let all = semaphore.try_acquire_many(9).unwrap();
        let mut first = Box::pin(semaphore.acquire_many_async(wanted));
        assert!(first.as_mut().poll(&mut cx).is_pending());
        drop(all);
        for _ in 0..PASSES {
            assert_eq!(semaphore.available_permits(), 9);
            drop(semaphore.try_acquire().unwrap());
        }
        if wanted == 10 {
            // There are not enough for it yet, and they are kept.
            assert_eq!(
                semaphore.try_acquire().unwrap_err(),
                TryAcquireError::NoPermits
            );
            drop(semaphore.try_acquire_many(0).unwrap());
            semaphore.add_permits(1);
        }
        // Now they are its own, though it has not looked.
        assert_eq!(
            semaphore.available_permits(),
            if wanted == 10 { 0 } else { 8 }
        );
        assert_eq!(block_on(first).unwrap().num_permits(), wanted);
    }
}

/// A fiber that takes and gives back in a loop does not starve one that waits, on one worker without a forced yield in between.
#[test]
fn a_greedy_fiber_starves_nobody() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let rounds = Count::new();
        let greedy = {
            let (semaphore, rounds) = (semaphore.clone(), rounds.clone());
            spawn(move || {
                loop {
                    let permit = semaphore.acquire().unwrap();
                    rounds.add();
                    yield_now();
                    drop(permit);
                }
            })
        };
        until(|| rounds.get() > 0);
        for _ in 0..20 {
            let before = rounds.get();
            drop(semaphore.acquire().unwrap());
            assert!(rounds.get() - before <= PASSES + 1);
        }
        greedy.cancel();
        assert!(
            greedy
                .join()
                .map(|never: ()| never)
                .unwrap_err()
                .is_cancelled()
        );
        assert_eq!(semaphore.available_permits(), 1);
    });
}

/// One that never has to wait lets the others run.
#[test]
fn a_busy_fiber_lets_others_run() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let busy = spawn(|| {
            let semaphore = Semaphore::new(1);
            loop {
                drop(semaphore.acquire().unwrap());
            }
        });
        let ran = spawn(|| ());
        until(|| ran.is_finished());
        busy.cancel();
        assert!(
            busy.join()
                .map(|never: ()| never)
                .unwrap_err()
                .is_cancelled()
        );
    });
}

#[test]
fn closing_tells_all() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let permit = semaphore.acquire().unwrap();
        let waiters: Vec<_> = (0..40)
            .map(|n| {
                let semaphore = semaphore.clone();
                spawn(move || semaphore.acquire_many(n % 3 + 1).map(drop))
            })
            .collect();
        settle();
        semaphore.close();
        for waiter in waiters {
            let error = waiter.join().unwrap().unwrap_err();
            assert_eq!(error.to_string(), "the semaphore is closed");
        }
        assert!(semaphore.is_closed());
        drop(permit);
        assert_eq!(semaphore.available_permits(), 1);
        assert_eq!(
            semaphore.try_acquire().unwrap_err(),
            TryAcquireError::Closed
        );
        assert_eq!(
            semaphore.acquire_timeout(LONG).unwrap_err(),
            TryAcquireError::Closed
        );
        assert!(semaphore.acquire().is_err());
        assert!(block_on(semaphore.acquire_async()).is_err());
    });
}

#[test]
fn waits_with_an_end() {
    let _watchdog = watchdog(60);
    let test = || {
        let semaphore = Semaphore::new(2);
        drop(semaphore.acquire_timeout(Duration::ZERO).unwrap());
        let late = semaphore.acquire_many_timeout(3, SHORT).map(drop);
        assert_eq!(late, Err(TryAcquireError::NoPermits));
        let late = semaphore.acquire_many_timeout(3, Duration::ZERO).map(drop);
        assert_eq!(late, Err(TryAcquireError::NoPermits));
        thread::scope(|threads| {
            threads.spawn(|| semaphore.add_permits(1));
            semaphore.acquire_many_timeout(3, LONG).unwrap().forget();
        });
        assert_eq!(semaphore.available_permits(), 0);
    };
    test();
    runtime(1).run(test);
}

/// What a waiter is given or called for just before it is cancelled, or the time is over, goes to the next.
#[test]
fn a_cancelled_waiter_hands_on() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let waiter = |permits| {
            let semaphore = semaphore.clone();
            let waiter = spawn(move || semaphore.acquire_many(permits).unwrap().forget());
            settle();
            waiter
        };
        // Called for one permit.
        let (first, second) = (waiter(1), waiter(1));
        semaphore.add_permits(1);
        first.cancel();
        assert!(first.join().unwrap_err().is_cancelled());
        second.join().unwrap();
        // In the way of one that wants less.
        let (first, second) = (waiter(5), waiter(2));
        semaphore.add_permits(2);
        settle();
        assert!(!second.is_finished());
        first.cancel();
        assert!(first.join().unwrap_err().is_cancelled());
        second.join().unwrap();
        assert_eq!(semaphore.available_permits(), 0);
        assert!(timeout(SHORT, || semaphore.acquire().map(drop)).is_err());
        assert!(timeout(SHORT, || semaphore.acquire_timeout(LONG).map(drop)).is_err());
        assert!(timeout(SHORT, || block_on(semaphore.acquire_async()).map(drop)).is_err());
        semaphore.add_permits(1);
        drop(semaphore.try_acquire().unwrap());
    });
    // Given, by hand-over.
    let mut cx = Context::from_waker(Waker::noop());
    let semaphore = Semaphore::new(1);
    let mut first = Box::pin(semaphore.acquire_many_async(2));
    let mut second = Box::pin(semaphore.acquire_async());
    assert!(first.as_mut().poll(&mut cx).is_pending());
    for _ in 0..PASSES {
        drop(semaphore.try_acquire().unwrap());
    }
    assert!(second.as_mut().poll(&mut cx).is_pending());
    semaphore.add_permits(1);
    assert_eq!(semaphore.available_permits(), 0);
    drop(first);
    assert_eq!(block_on(second).unwrap().num_permits(), 1);
    assert_eq!(semaphore.available_permits(), 2);
}

#[test]
fn no_wait_on_a_workers_own_stack() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let task = tokio::spawn(async {
            let semaphore = Arc::new(Semaphore::new(1));
            for text in [
                panic_text(|| drop(semaphore.acquire())),
                panic_text(|| drop(semaphore.acquire_many(1))),
                panic_text(|| drop(semaphore.acquire_timeout(SHORT))),
                panic_text(|| drop(semaphore.clone().acquire_owned())),
            ] {
                assert!(text.contains("`acquire_async`"), "{text}");
            }
            drop(semaphore.try_acquire().unwrap());
            drop(semaphore.acquire_async().await.unwrap());
        });
        block_on(task).unwrap();
    });
}

#[test]
fn traits() {
    fn all<T: Send + Sync + UnwindSafe + RefUnwindSafe + Unpin>() {}
    all::<Semaphore>();
    all::<SemaphorePermit<'static>>();
    all::<OwnedSemaphorePermit>();
}
