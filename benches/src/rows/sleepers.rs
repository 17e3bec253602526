//! Many fibers sleep for different times: timers set, kept in order and fired.

use std::time::{Duration, Instant};

use super::work::{BOOST_FIBER, GO, Scale, Side, Work, no_threads, timed};
use crate::faces::{Fibers, Tasks};

pub(super) const ROWS: &[Work] = &[Work {
    name: "100,000 sleepers of 1-50 ms",
    group: "sleepers",
    size: 100_000,
    quick: 1_000,
    operation: "all, from the first spawn to the last wake",
    note: Some(
        "nobody can be through in less than 50 ms; may cannot map so many guarded stacks under the default vm.max_map_count",
    ),
    sides: no_threads!(fibers, tasks),
    foreign: &[GO, BOOST_FIBER],
    ..Work::BASE
}];

fn time_of(sleeper: u64) -> Duration {
    Duration::from_millis(1 + sleeper % 50)
}

/// One, if the sleep was not cut short.
fn slept(since: Instant, time: Duration) -> u64 {
    u64::from(since.elapsed() >= time)
}

fn fibers<F: Fibers>(scale: Scale) -> Side {
    let runtime = F::runtime(scale.workers);
    timed(move |nights| {
        F::run(&runtime, move || {
            let start = Instant::now();
            for _ in 0..nights {
                let spawn = |sleeper| {
                    F::spawn(move || {
                        let (since, time) = (Instant::now(), time_of(sleeper));
                        F::sleep(time);
                        slept(since, time)
                    })
                };
                let handles: Vec<_> = (0..scale.size).map(spawn).collect();
                let awake: u64 = handles.into_iter().map(F::join).sum();
                assert_eq!(awake, scale.size, "a sleeper woke too early");
            }
            start.elapsed()
        })
    })
}

fn tasks<T: Tasks>(scale: Scale) -> Side {
    let runtime = T::runtime(scale.workers);
    timed(move |nights| {
        T::run(&runtime, async move {
            let start = Instant::now();
            for _ in 0..nights {
                let mut handles = Vec::with_capacity(scale.size as usize);
                for sleeper in 0..scale.size {
                    handles.push(T::spawn(async move {
                        let (since, time) = (Instant::now(), time_of(sleeper));
                        T::sleep(time).await;
                        slept(since, time)
                    }));
                }
                let mut awake = 0;
                for handle in handles {
                    awake += T::join(handle).await;
                }
                assert_eq!(awake, scale.size, "a sleeper woke too early");
            }
            start.elapsed()
        })
    })
}
