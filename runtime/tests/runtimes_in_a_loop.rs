//! Runtimes that come and go leave no thread, no descriptor, and no mapping that adds up. Alone in its file, and
//! in a child: all of a process's are counted.

mod common;
#[path = "common/limits.rs"]
mod limits;

use std::io::{Read, Write};
use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use common::{Count, Tally, never, one_on_each_worker, pair, passes_in_child, role, runtime};
use common::{until, watchdog};
use limits::{descriptors, mappings, threads};
use sisal::fiber::{Builder, park, sleep, spawn, yield_now};
use sisal::{block_on, unblock};

/// The life of a runtime, each with other things in it.
fn round(number: usize, tally: &Tally) {
    let workers = 1 + number % 3;
    let runtime = runtime(workers);
    let has = |every: usize| number.is_multiple_of(every);
    let begun = Count::new();
    let mut cancelled = Vec::new();
    for _ in 0..4 {
        let (held, begun) = (tally.make(), begun.clone());
        cancelled.push(runtime.spawn(move || {
            let _held = held;
            begun.add();
            match number % 3 {
                0 => park(),
                1 => sleep(Duration::from_secs(3600)),
                _ => block_on(never(())),
            }
        }));
    }
    // May be met by the end before its first run.
    cancelled.push(runtime.spawn({
        let held = tally.make();
        move || {
            let _held = held;
            park();
        }
    }));
    runtime.run(|| {
        for fiber in (0..50).map(|_| spawn(yield_now)).collect::<Vec<_>>() {
            fiber.join().unwrap();
        }
        if has(2) {
            let (mut near, mut far) = pair();
            far.write_all(b"x").unwrap();
            near.read_exact(&mut [0]).unwrap();
            // And one that is left in a wait.
            let held = tally.make();
            drop(spawn(move || {
                let _held = held;
                let (mut near, _far) = pair();
                let _ = near.read(&mut [0]);
            }));
        }
        if has(3) {
            one_on_each_worker(workers, |_| {
                unblock(|| ());
                let held = tally.make();
                drop(tokio::spawn(never(held)));
                block_on(tokio::task::spawn_blocking(|| ())).unwrap();
            });
        }
        if has(4) {
            let held = tally.make();
            let panics = spawn(move || {
                let _held = held;
                yield_now();
                resume_unwind(Box::new("on purpose"));
            });
            assert!(panics.join().unwrap_err().is_panic());
        }
        if has(5) {
            let big = Builder::new().stack_size(1 << 20);
            big.spawn(yield_now).unwrap().join().unwrap();
            sleep(Duration::from_millis(1));
        }
    });
    until(|| begun.get() == 4);
    let end = || match has(2) {
        true => drop(runtime),
        false => runtime.shutdown_timeout(Duration::from_secs(60)).unwrap(),
    };
    match has(7) {
        // In another runtime's fiber.
        true => common::runtime(1).run(end),
        false => end(),
    }
    for fiber in cancelled {
        assert!(fiber.join().unwrap_err().is_cancelled());
    }
}

#[test]
fn runtimes_in_a_loop_leave_nothing() {
    const TEST: &str = "runtimes_in_a_loop_leave_nothing";
    if role().is_none() {
        return passes_in_child(TEST, "child", &[]);
    }
    let _watchdog = watchdog(240);
    let tally = Tally::new();
    let mut number = 0;
    let mut rounds = |count: usize| {
        for _ in 0..count {
            round(number, &tally);
            number += 1;
        }
    };
    // The first rounds fill the C library's caches of thread stacks and arenas.
    rounds(50);
    // A thread that was joined may be in /proc for a moment longer: the process has these two.
    let settled = |what: &str| {
        until(|| threads() <= 3);
        println!(
            "{what}: {} descriptors, {} mappings",
            descriptors(),
            mappings()
        );
        (threads(), descriptors(), mappings())
    };
    let warm = settled("warm");
    rounds(50);
    let few = settled("after 50");
    rounds(200);
    let many = settled("after 250");
    // Some of them on other threads, and two at a time.
    thread::scope(|s| {
        for first in [1000, 2000] {
            let tally = &tally;
            s.spawn(move || (first..first + 25).for_each(|number| round(number, tally)));
        }
    });
    let two = settled("two at a time");
    assert_eq!((warm.0, warm.1), (few.0, few.1), "threads, descriptors");
    assert_eq!((warm.0, warm.1), (many.0, many.1), "threads, descriptors");
    assert_eq!((warm.0, warm.1), (two.0, two.1), "threads, descriptors");
    // The allocator's arenas and cached stacks move about, but nothing adds up: one in ten rounds would.
    const SOME: usize = 16;
    assert!(few.2 <= warm.2 + SOME, "mappings: {warm:?} {few:?}");
    assert!(many.2 <= few.2 + SOME, "mappings: {few:?} {many:?}");
    tally.check(6 * 350..=12 * 350, "all");
}
