//! Random functions, executed instruction by instruction; at each boundary four
//! walkers are asked for the caller's registers.
//!
//! | file | what |
//! |---|---|
//! | `emitted` | functions that the module has written |
//! | `assembled`, `ending`, `asm` | functions that it would not write: all that a layout can say |
//! | `body` | what lies between prologues and epilogues |
//! | `machine`, `memory` | execution, by iced-x86's decoder |
//! | `subject` | a function, and what is true at each of its points |
//! | `walkers` | ours and a peer's, for each format |
//! | `faults` | where the peer is known to be wrong |
//! | `tally` | counts of points and failures |
//! | `chains`, `fibers` | chained regions; callers on other stacks |
//! | `mutants` | wrong information, which must be seen to be wrong |
//!
//! `SISAL_FUZZ_SEED` and `SISAL_FUZZ_POINTS` say which functions and how many points; a failure says its seed.

mod asm;
mod assembled;
mod body;
mod chains;
mod emitted;
mod ending;
mod faults;
mod fibers;
mod machine;
mod memory;
mod mutants;
mod rng;
mod subject;
mod tally;
mod walkers;

use std::thread;

use tally::Tally;

/// What `.ci/unwind-fuzz.sh` asks for is more.
const POINTS: u64 = 60_000;

fn number(variable: &str) -> Option<u64> {
    let given = std::env::var(variable).ok()?;
    Some(
        given
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={given}")),
    )
}

fn seed() -> u64 {
    number("SISAL_FUZZ_SEED").unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.expect("after 1970").as_nanos() as u64
    })
}

#[test]
fn every_point_of_random_functions() {
    let seed = seed();
    let points = number("SISAL_FUZZ_POINTS").unwrap_or(POINTS);
    let threads = thread::available_parallelism()
        .map_or(1, |n| n.get() as u64)
        .min(8);
    let mut total = Tally::default();
    thread::scope(|scope| {
        let work = |n: u64| {
            let share = points.div_ceil(threads);
            scope.spawn(move || tally::random_functions(seed.wrapping_add(n), share))
        };
        let all: Vec<_> = (0..threads).map(work).collect();
        for one in all {
            total.add(one.join().expect("a walker panicked"));
        }
    });
    println!("unwind fuzz: seed {seed}, {threads} threads: {total}");
    assert!(total.points >= points);
    total.assert_clean();
    assert!(total.emitted > 0 && total.assembled > 0 && total.interrupted > 0);
    // A short run may miss the rarest.
    if points >= 1_000_000 {
        total.assert_all_forms();
    }
}

#[test]
fn every_point_of_chained_regions() {
    let seed = seed();
    let tally = chains::random(seed, 20_000);
    println!("unwind fuzz, chained regions: seed {seed}: {tally}");
    tally.assert_clean();
}

#[test]
fn every_point_below_a_caller_on_another_stack() {
    let seed = seed();
    let tally = fibers::random(seed, 20_000);
    println!("unwind fuzz, callers on other stacks: seed {seed}: {tally}");
    tally.assert_clean();
}

#[test]
fn wrong_information_is_seen_to_be_wrong() {
    let seed = seed();
    let table = mutants::all(seed, 24_000);
    println!("unwind fuzz, mutants: seed {seed}\n{table}");
    table.assert_caught();
}
