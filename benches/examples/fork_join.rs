//! Fork-join of uneven work: what a second worker brings.
//!
//! `cargo run --release -p sisal-benches --example fork_join [ROUNDS]`
//!
//! A tree grows as the calls of the naive Fibonacci function do: each inner node spawns one child as a fiber, goes down
//! the other itself, and joins. Leaves compute for different times, from one to sixty-four units, as a hash of their place says. The
//! sum of what the leaves computed is checked.
//!
//! A round does that with one worker and with two, and the leaves alone on one plain thread and on two that take the next
//! leaf from a counter: no scheduler can split the work better, so their ratio is what the machine can give in that moment.
//! Only ratios of one round count; the best round is the one that other programs disturbed least.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use sisal::Runtime;
use sisal_benches::Spread;

/// Depth of the tree: 4,181 leaves.
const DEPTH: u32 = 18;
/// Rounds of a hash that a unit of work takes: a leaf has some 20 µs on the average.
const UNIT: u64 = 300;

fn mix(mut x: u64) -> u64 {
    // The finaliser of SplitMix64 (G. Steele and others, "Fast splittable pseudorandom number generators", 2014).
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// What the leaf at `place` computes. Few take long: the number of units is 1 for half of them, 2 for a quarter, and so on.
fn leaf(place: u64) -> u64 {
    let units = 1 << (mix(place ^ 0x5151) | 64).trailing_zeros();
    (0..units * UNIT).fold(place, |x, n| mix(x ^ n))
}

/// Sum of the leaves below a node; children's places are their parent's with one more bit.
fn fibers(depth: u32, place: u64) -> u64 {
    if depth < 2 {
        return black_box(leaf(place));
    }
    let left = sisal::spawn(move || fibers(depth - 1, 2 * place));
    let right = fibers(depth - 2, 2 * place + 1);
    left.join().expect("no leaf panics").wrapping_add(right)
}

fn places(depth: u32, place: u64, found: &mut Vec<u64>) {
    if depth < 2 {
        return found.push(place);
    }
    places(depth - 1, 2 * place, found);
    places(depth - 2, 2 * place + 1, found);
}

fn threads(threads: usize, places: &[u64]) -> u64 {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut sum = 0_u64;
        while let Some(&place) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
            sum = sum.wrapping_add(black_box(leaf(place)));
        }
        sum
    };
    std::thread::scope(|s| {
        let others: Vec<_> = (1..threads).map(|_| s.spawn(work)).collect();
        let own = work();
        let others = others
            .into_iter()
            .map(|t| t.join().expect("no leaf panics"));
        others.fold(own, u64::wrapping_add)
    })
}

fn runtime(workers: usize) -> Runtime {
    let runtime = Runtime::builder().workers(workers).build();
    runtime.expect("the system has threads left")
}

fn main() {
    let rounds = std::env::args().nth(1).map_or(30, |rounds| {
        rounds.parse().expect("the argument is a number of rounds")
    });
    let mut leaves = Vec::new();
    places(DEPTH, 1, &mut leaves);
    let (one, two) = (runtime(1), runtime(2));
    let sum = threads(1, &leaves);
    let time = |f: &dyn Fn() -> u64| {
        let start = Instant::now();
        assert_eq!(f(), sum, "a leaf is missing");
        start.elapsed().as_secs_f64()
    };
    let tree = |runtime: &Runtime| runtime.run(|| fibers(DEPTH, 1));
    let (mut ours, mut plain, mut cost) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let one_worker = time(&|| tree(&one));
        let two_workers = time(&|| tree(&two));
        let one_thread = time(&|| threads(1, &leaves));
        let two_threads = time(&|| threads(2, &leaves));
        ours.push(one_worker / two_workers);
        plain.push(one_thread / two_threads);
        cost.push(one_worker / one_thread);
    }
    let print = |what: &str, ratios: &[f64]| {
        let Spread {
            lower,
            median,
            upper,
            max,
            ..
        } = Spread::of(ratios);
        println!("{what:<34} median {median:.3}  quartiles {lower:.3}-{upper:.3}  best {max:.3}");
    };
    println!("{} leaves, {rounds} rounds", leaves.len());
    print("2 workers over 1: times faster", &ours);
    print("2 plain threads over 1: the same", &plain);
    print("1 worker over 1 thread: times", &cost);
    let total = two.metrics().total();
    println!(
        "2 workers: {} fibers, {} steals of {} fibers, {} sleeps, {} wakes, {} watches",
        total.spawned, total.steals, total.stolen, total.sleeps, total.wakes, total.watches
    );
}
