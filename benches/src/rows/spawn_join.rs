//! The life of short fibers, stacks and results included: one by one, a thousand at a time, from outside, and with a
//! second worker that may take some.

use std::hint::black_box;
use std::time::Instant;

use super::work::{BOOST_FIBER, GO, Scale, Side, Work, everybody, several_workers, timed};
use crate::faces::{Fibers, Tasks};

const BATCH: u64 = 1_000;

pub(super) const ROWS: &[Work] = &[
    Work {
        name: "spawn+join, one by one",
        size: 1,
        least_units: 100,
        ..BASE
    },
    Work {
        name: "spawn+join, batches of 1,000",
        size: BATCH,
        quick: BATCH,
        least_units: 4,
        short: true,
        ..BASE
    },
    Work {
        name: "spawn+join, batches of 1,000 from outside",
        size: BATCH,
        quick: 100,
        least_units: 4,
        cpus: 2,
        note: Some("a plain thread spawns and joins, one worker runs"),
        sides: several_workers!(fibers_outside, tasks_outside),
        // Everything of theirs is inside.
        foreign: &[],
        ..BASE
    },
    Work {
        name: "spawn+join, batches of 1,000 across 2 workers",
        size: BATCH,
        quick: 100,
        least_units: 4,
        cpus: 2,
        workers: 2,
        sides: several_workers!(fibers, tasks),
        ..BASE
    },
];

const BASE: Work = Work {
    group: "spawn+join",
    operation: "a fiber",
    operations: |batch| batch,
    note: Some("Go's and boost.fiber's hand back nothing: each has a place for its result"),
    sides: everybody!(fibers, tasks),
    foreign: &[GO, BOOST_FIBER],
    ..Work::BASE
};

fn fibers<F: Fibers>(scale: Scale) -> Side {
    let runtime = F::runtime(scale.workers);
    timed(move |batches| {
        F::run(&runtime, move || {
            let mut handles = Vec::with_capacity(scale.size as usize);
            let mut sum = 0u64;
            let start = Instant::now();
            for _ in 0..batches {
                handles.extend((0..scale.size).map(|n| F::spawn(move || black_box(n))));
                sum += handles.drain(..).map(F::join).sum::<u64>();
            }
            let took = start.elapsed();
            assert_eq!(sum, expected(batches, scale.size), "a fiber did not run");
            took
        })
    })
}

fn tasks<T: Tasks>(scale: Scale) -> Side {
    let runtime = T::runtime(scale.workers);
    timed(move |batches| {
        T::run(&runtime, async move {
            let mut handles = Vec::with_capacity(scale.size as usize);
            let mut sum = 0u64;
            let start = Instant::now();
            for _ in 0..batches {
                handles.extend((0..scale.size).map(|n| T::spawn(async move { black_box(n) })));
                for handle in handles.drain(..) {
                    sum += T::join(handle).await;
                }
            }
            let took = start.elapsed();
            assert_eq!(sum, expected(batches, scale.size), "a task did not run");
            took
        })
    })
}

fn fibers_outside<F: Fibers>(scale: Scale) -> Side {
    let runtime = F::runtime(scale.workers);
    timed(move |batches| {
        let mut handles = Vec::with_capacity(scale.size as usize);
        let mut sum = 0u64;
        let start = Instant::now();
        for _ in 0..batches {
            handles
                .extend((0..scale.size).map(|n| F::spawn_outside(&runtime, move || black_box(n))));
            sum += handles.drain(..).map(F::join).sum::<u64>();
        }
        let took = start.elapsed();
        assert_eq!(sum, expected(batches, scale.size), "a fiber did not run");
        took
    })
}

fn tasks_outside<T: Tasks>(scale: Scale) -> Side {
    let runtime = T::apart(scale.workers);
    timed(move |batches| {
        let mut handles = Vec::with_capacity(scale.size as usize);
        let mut sum = 0u64;
        let start = Instant::now();
        for _ in 0..batches {
            handles.extend(
                (0..scale.size).map(|n| T::spawn_outside(&runtime, async move { black_box(n) })),
            );
            for handle in handles.drain(..) {
                sum += T::block_on(&runtime, T::join(handle));
            }
        }
        let took = start.elapsed();
        assert_eq!(sum, expected(batches, scale.size), "a task did not run");
        took
    })
}

fn expected(batches: u64, size: u64) -> u64 {
    batches * (size * (size - 1) / 2)
}
