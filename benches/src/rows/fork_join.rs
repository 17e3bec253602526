//! Fork-join: a bush of a million fibers that do nothing but start others (skynet), and an uneven tree whose leaves
//! compute, with two workers.

use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::time::Instant;

use super::work::{BOOST_FIBER, GO, Scale, Side, Work, timed};
use crate::faces::{Fibers, May, Multi, Sisal, Smol, Tasks};

pub(super) const ROWS: &[Work] = &[
    Work {
        name: "skynet, 1,000,000 fibers",
        size: 1_000_000,
        quick: 1_000,
        operation: "a leaf",
        operations: |leaves| leaves,
        note: Some(
            "each fiber spawns ten and sums up what they return; https://github.com/atemerev/skynet; may cannot map so many guarded stacks if too many are alive at once",
        ),
        sides: &[
            ("sisal", skynet_fibers::<Sisal>),
            ("tokio multi_thread", skynet_tasks::<Multi>),
            ("smol", skynet_tasks::<Smol>),
            ("may", skynet_fibers::<May>),
        ],
        foreign: &[GO, BOOST_FIBER],
        ..BASE
    },
    Work {
        name: "fork-join, uneven fib(18)",
        size: 18,
        quick: 8,
        operation: "the tree",
        note: Some("4,181 leaves that compute for 1 to 64 units of some 3 µs each"),
        sides: &[
            ("sisal", fib_fibers::<Sisal>),
            ("tokio multi_thread", fib_tasks::<Multi>),
            ("smol", fib_tasks::<Smol>),
            ("may", fib_fibers::<May>),
        ],
        ..BASE
    },
];

const BASE: Work = Work {
    group: "fork-join",
    cpus: 2,
    workers: 2,
    ..Work::BASE
};

/// A future of a task that spawns its own kind needs a type without end, hence the box.
type Sum = Pin<Box<dyn Future<Output = u64> + Send>>;

fn skynet_fibers<F: Fibers>(scale: Scale) -> Side {
    fn bush<F: Fibers>(first: u64, leaves: u64) -> u64 {
        if leaves == 1 {
            return first;
        }
        let each = leaves / 10;
        let spawn = |n| F::spawn(move || bush::<F>(first + n * each, each));
        let handles: Vec<_> = (0..10).map(spawn).collect();
        handles.into_iter().map(F::join).sum()
    }

    let runtime = F::runtime(scale.workers);
    timed(move |bushes| {
        F::run(&runtime, move || {
            let start = Instant::now();
            for _ in 0..bushes {
                let sum = bush::<F>(0, scale.size);
                assert_eq!(sum, scale.size * (scale.size - 1) / 2, "a leaf is missing");
            }
            start.elapsed()
        })
    })
}

fn skynet_tasks<T: Tasks>(scale: Scale) -> Side {
    fn bush<T: Tasks>(first: u64, leaves: u64) -> Sum {
        Box::pin(async move {
            if leaves == 1 {
                return first;
            }
            let each = leaves / 10;
            let spawn = |n| T::spawn(bush::<T>(first + n * each, each));
            let handles: Vec<_> = (0..10).map(spawn).collect();
            let mut sum = 0;
            for handle in handles {
                sum += T::join(handle).await;
            }
            sum
        })
    }

    let runtime = T::runtime(scale.workers);
    timed(move |bushes| {
        T::run(&runtime, async move {
            let start = Instant::now();
            for _ in 0..bushes {
                let sum = bush::<T>(0, scale.size).await;
                assert_eq!(sum, scale.size * (scale.size - 1) / 2, "a leaf is missing");
            }
            start.elapsed()
        })
    })
}

fn mix(mut x: u64) -> u64 {
    // The finaliser of SplitMix64 (G. Steele and others, "Fast splittable pseudorandom number generators", 2014).
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// What the leaf at `place` computes: one unit for half of the leaves, two for a quarter, and so on.
fn leaf(place: u64) -> u64 {
    let units = 1_u64 << (mix(place ^ 0x5151) | 64).trailing_zeros();
    (0..units * 300).fold(place, |x, n| mix(x ^ black_box(n)))
}

/// The sum without any spawning: what is expected.
fn alone(depth: u64, place: u64) -> u64 {
    if depth < 2 {
        return leaf(place);
    }
    alone(depth - 1, 2 * place).wrapping_add(alone(depth - 2, 2 * place + 1))
}

fn fib_fibers<F: Fibers>(scale: Scale) -> Side {
    fn tree<F: Fibers>(depth: u64, place: u64) -> u64 {
        if depth < 2 {
            return leaf(place);
        }
        let left = F::spawn(move || tree::<F>(depth - 1, 2 * place));
        let right = tree::<F>(depth - 2, 2 * place + 1);
        F::join(left).wrapping_add(right)
    }

    let runtime = F::runtime(scale.workers);
    let expected = alone(scale.size, 1);
    timed(move |trees| {
        F::run(&runtime, move || {
            let start = Instant::now();
            for _ in 0..trees {
                assert_eq!(tree::<F>(scale.size, 1), expected, "a leaf is missing");
            }
            start.elapsed()
        })
    })
}

fn fib_tasks<T: Tasks>(scale: Scale) -> Side {
    fn tree<T: Tasks>(depth: u64, place: u64) -> Sum {
        Box::pin(async move {
            if depth < 2 {
                return leaf(place);
            }
            let left = T::spawn(tree::<T>(depth - 1, 2 * place));
            let right = tree::<T>(depth - 2, 2 * place + 1).await;
            T::join(left).await.wrapping_add(right)
        })
    }

    let runtime = T::runtime(scale.workers);
    let expected = alone(scale.size, 1);
    timed(move |trees| {
        T::run(&runtime, async move {
            let start = Instant::now();
            for _ in 0..trees {
                assert_eq!(
                    tree::<T>(scale.size, 1).await,
                    expected,
                    "a leaf is missing"
                );
            }
            start.elapsed()
        })
    })
}
