//! Spawn a thousand, then join them all: the life of short fibers, stacks and results included.

use std::hint::black_box;
use std::time::Instant;

use super::{Side, Sides, Work, one_thread};

const BATCH: u64 = 1_000;

pub(super) const WORK: Work = Work {
    name: "spawn+join, batches of 1,000",
    peer: one_thread::TOKIO,
    operations_per_unit: BATCH,
    least_units: 10,
    note: None,
    sides: || Sides {
        ours: ours(),
        peer: tokio(),
    },
};

fn ours() -> Side {
    let runtime = one_thread::sisal();
    Box::new(move |batches| {
        runtime.run(|| {
            let mut handles = Vec::with_capacity(BATCH as usize);
            let mut sum = 0u64;
            let start = Instant::now();
            for _ in 0..batches {
                handles.extend((0..BATCH).map(|n| sisal::fiber::spawn(move || black_box(n))));
                for handle in handles.drain(..) {
                    sum += handle.join().expect("a fiber of the bench ends");
                }
            }
            let took = start.elapsed();
            assert_eq!(sum, expected(batches), "a fiber did not run");
            took
        })
    })
}

fn tokio() -> Side {
    let runtime = one_thread::tokio();
    Box::new(move |batches| {
        runtime.block_on(async {
            let mut handles = Vec::with_capacity(BATCH as usize);
            let mut sum = 0u64;
            let start = Instant::now();
            for _ in 0..batches {
                handles.extend((0..BATCH).map(|n| tokio::spawn(async move { black_box(n) })));
                for handle in handles.drain(..) {
                    sum += handle.await.expect("a task of the bench ends");
                }
            }
            let took = start.elapsed();
            assert_eq!(sum, expected(batches), "a task did not run");
            took
        })
    })
}

fn expected(batches: u64) -> u64 {
    batches * (BATCH * (BATCH - 1) / 2)
}
