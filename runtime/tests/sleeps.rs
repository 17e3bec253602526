//! Sleeping fibers: never too early, in order, and gone from the timers when they are cut short.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use sisal::{Runtime, fiber, timeout};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn alone() -> Runtime {
    Runtime::builder().workers(1).build().unwrap()
}

#[test]
fn nobody_wakes_too_early_and_all_wake() {
    alone().run(|| {
        let spawn = |n: u64| {
            fiber::spawn(move || {
                let (since, time) = (Instant::now(), Duration::from_micros(37 * (n % 900)));
                fiber::sleep(time);
                since.elapsed() >= time
            })
        };
        let fibers: Vec<_> = (0..3000).map(spawn).collect();
        assert!(fibers.into_iter().all(|fiber| fiber.join().unwrap()));
    });
}

#[test]
fn the_shorter_sleep_ends_first() {
    alone().run(|| {
        let (tx, rx) = mpsc::channel();
        let sleeper = |n: u64| {
            let tx = tx.clone();
            fiber::spawn(move || {
                fiber::sleep(ms(10 * n));
                tx.send(n).unwrap();
            })
        };
        let fibers = [5, 1, 4, 2, 3].map(sleeper);
        for fiber in fibers {
            fiber.join().unwrap();
        }
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    });
}

/// Of one list, from its middle, its ends, all.
#[test]
fn a_sleep_that_is_cut_short_leaves_the_others() {
    alone().run(|| {
        for cut in 0..1 << 4 {
            let deadline = Instant::now() + ms(5);
            let sleeper = |_| {
                fiber::spawn(move || {
                    fiber::sleep_until(deadline);
                    Instant::now() >= deadline
                })
            };
            let fibers = [0, 1, 2, 3].map(sleeper);
            fiber::yield_now();
            for (n, fiber) in fibers.iter().enumerate() {
                if cut & (1 << n) != 0 {
                    fiber.cancel();
                }
            }
            for (n, fiber) in fibers.into_iter().enumerate() {
                match fiber.join() {
                    Ok(in_time) => assert!(in_time && cut & (1 << n) == 0),
                    Err(error) => assert!(error.is_cancelled() && cut & (1 << n) != 0),
                }
            }
        }
    });
}

#[test]
fn an_unpark_does_not_end_a_sleep_and_is_kept() {
    alone().run(|| {
        let sleeper = fiber::spawn(|| {
            let since = Instant::now();
            fiber::sleep(ms(20));
            assert!(since.elapsed() >= ms(20));
            fiber::park();
        });
        fiber::sleep(ms(2));
        sleeper.fiber().unpark();
        sleeper.join().unwrap();
    });
}

#[test]
fn a_timeout_ends_a_sleep_and_the_next_sleep_is_whole() {
    alone().run(|| {
        for _ in 0..3 {
            let since = Instant::now();
            assert!(timeout(ms(3), || fiber::sleep(Duration::from_secs(3600))).is_err());
            fiber::sleep(ms(3));
            assert!((ms(6)..ms(3_000_000)).contains(&since.elapsed()));
        }
    });
}

#[test]
fn a_deadline_in_the_past_lets_others_run() {
    alone().run(|| {
        let past = Instant::now();
        let other = fiber::spawn(|| ());
        while !other.is_finished() {
            fiber::sleep_until(past);
        }
        fiber::sleep(Duration::ZERO);
    });
}

#[test]
fn a_time_that_cannot_be_told_is_far_away() {
    alone().run(|| {
        let far = fiber::spawn(|| fiber::sleep(Duration::MAX));
        fiber::sleep(ms(2));
        assert!(!far.is_finished());
        far.cancel();
        assert!(far.join().unwrap_err().is_cancelled());
    });
}
