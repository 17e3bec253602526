//! `yield_now`: many fibers on one worker take turns.
//!
//! Few fibers show what the scheduler costs, many show what the caches say to that many stacks.

use std::hint::black_box;
use std::sync::Arc;

use super::turns::Turns;
use super::work::{BOOST_FIBER, GO, Scale, Side, Work, everybody, no_threads, timed};
use crate::faces::{Fibers, Tasks};

/// Of each of 10,000: the clock runs until the last is through, so their ends are on it, which cost as much as ten yields. Among 80, which fill
/// the usual time, they were a tenth of the figure, and among 2 of each of 100,000 the most of it.
const MANY_YIELDS: u64 = 300;

pub(super) const ROWS: &[Work] = &[
    Work {
        name: "yield_now, 1 fiber",
        size: 1,
        quick: 1,
        least_units: 10_000,
        ..BASE
    },
    Work {
        name: "yield_now, 2 fibers",
        size: 2,
        quick: 2,
        least_units: 10_000,
        ..BASE
    },
    Work {
        name: "yield_now, 100 fibers",
        size: 100,
        quick: 100,
        least_units: 400,
        short: true,
        ..BASE
    },
    Work {
        name: "yield_now, 1,000 fibers",
        size: 1_000,
        quick: 200,
        least_units: 80,
        ..BASE
    },
    Work {
        name: "yield_now, 10,000 fibers",
        size: 10_000,
        quick: 1_000,
        least_units: MANY_YIELDS,
        short: true,
        sides: no_threads!(fibers, tasks),
        ..BASE
    },
    Work {
        name: "yield_now, 100,000 fibers",
        size: 100_000,
        quick: 1_000,
        least_units: MANY_YIELDS / 10,
        note: Some("may cannot map so many guarded stacks under the default vm.max_map_count"),
        sides: &[
            ("sisal", fibers::<crate::faces::Sisal>),
            ("tokio current_thread", tasks::<crate::faces::Current>),
            ("tokio multi_thread", tasks::<crate::faces::Multi>),
            ("smol", tasks::<crate::faces::Smol>),
        ],
        ..BASE
    },
];

const BASE: Work = Work {
    group: "yield_now",
    operation: "a yield",
    operations: |fibers| fibers,
    sides: everybody!(fibers, tasks),
    foreign: &[GO, BOOST_FIBER],
    ..Work::BASE
};

fn fibers<F: Fibers>(scale: Scale) -> Side {
    fn body<F: Fibers>(turns: &Turns, yields: u64) -> u64 {
        turns.arrive();
        while !turns.all_arrived() {
            F::yield_now();
        }
        F::yield_now();
        turns.enter();
        for turn in 0..yields / 4 {
            black_box(turn);
            F::yield_now();
        }
        turns.reach_quarter();
        for turn in yields / 4..yields {
            black_box(turn);
            F::yield_now();
        }
        turns.leave();
        yields
    }

    let runtime = F::runtime(scale.workers);
    timed(move |yields| {
        F::run(&runtime, move || {
            let turns = Arc::new(Turns::new(scale.size, F::TAKES_TURNS));
            let spawn = |_| {
                let turns = Arc::clone(&turns);
                F::spawn(move || body::<F>(&turns, yields))
            };
            let handles: Vec<_> = (0..scale.size).map(spawn).collect();
            let sum: u64 = handles.into_iter().map(F::join).sum();
            assert_eq!(sum, yields * scale.size, "a fiber did not yield");
            turns.took()
        })
    })
}

fn tasks<T: Tasks>(scale: Scale) -> Side {
    async fn body<T: Tasks>(turns: &Turns, yields: u64) -> u64 {
        turns.arrive();
        while !turns.all_arrived() {
            T::yield_now().await;
        }
        T::yield_now().await;
        turns.enter();
        for turn in 0..yields / 4 {
            black_box(turn);
            T::yield_now().await;
        }
        turns.reach_quarter();
        for turn in yields / 4..yields {
            black_box(turn);
            T::yield_now().await;
        }
        turns.leave();
        yields
    }

    let runtime = T::runtime(scale.workers);
    timed(move |yields| {
        T::run(&runtime, async move {
            let turns = Arc::new(Turns::new(scale.size, T::TAKES_TURNS));
            let mut handles = Vec::with_capacity(scale.size as usize);
            for _ in 0..scale.size {
                let turns = Arc::clone(&turns);
                handles.push(T::spawn(async move { body::<T>(&turns, yields).await }));
            }
            let mut sum = 0;
            for handle in handles {
                sum += T::join(handle).await;
            }
            assert_eq!(sum, yields * scale.size, "a task did not yield");
            turns.took()
        })
    })
}
