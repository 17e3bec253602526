//! Memory of stacks goes back when a burst is over: pages of deep stacks, and slabs that nobody uses.
//!
//! Each test has a process to itself, because it asks how much memory that one has. What is waited for comes or
//! the watchdog does.

mod common;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Count, passes_in_child, reach, role, runtime, until, watchdog};
use sisal::Runtime;
use sisal::fiber::{self, JoinHandle};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Memory and page tables of this process, in bytes.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kib = |name: &str| -> usize {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    (kib("VmRSS:") + kib("VmPTE:")) * KIB
}

fn mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().count()
}

/// Fibers that have used so many bytes of stack and stay there.
fn burst(count: usize, bytes: usize) -> Vec<JoinHandle<usize>> {
    let there = Count::new();
    let fibers = (0..count).map(|_| {
        let there = there.clone();
        fiber::spawn(move || {
            let used = reach(bytes, &mut || {});
            there.add();
            fiber::park();
            used
        })
    });
    let fibers = fibers.collect();
    until(|| there.get() == count);
    fibers
}

fn end(fibers: Vec<JoinHandle<usize>>) {
    fibers.iter().for_each(|fiber| fiber.fiber().unpark());
    for fiber in fibers {
        fiber.join().unwrap();
    }
}

/// Waits until the workers sleep and nothing makes them do otherwise.
fn comes_to_rest(runtime: &Runtime) {
    let turns = || runtime.metrics().total().turns;
    until(|| {
        let before = turns();
        std::thread::sleep(Duration::from_millis(50));
        turns() == before
    });
}

#[test]
fn a_burst_of_deep_fibers_is_forgotten() {
    let _watchdog = watchdog(120);
    if role().is_none() {
        return passes_in_child("a_burst_of_deep_fibers_is_forgotten", "alone", &[]);
    }
    // Fewer than a worker keeps at hand; more than that; of another size.
    for (count, size, bytes) in [
        (200, 256 * KIB, 200 * KIB),
        (800, 256 * KIB, 150 * KIB),
        (60, 4 * MIB, 3 * MIB),
    ] {
        let runtime = Runtime::builder()
            .workers(2)
            .stack_size(size)
            .build()
            .unwrap();
        runtime.run(|| end(burst(50, KIB)));
        comes_to_rest(&runtime);
        let before = memory();
        let peak = runtime.run(|| {
            let fibers = burst(count, bytes);
            let peak = memory();
            end(fibers);
            peak
        });
        let used = count * bytes;
        assert!(peak - before >= used, "{before} {peak}");
        // No more than a few pages of each, what each worker need not look at, and slack for the rest of the process.
        let most = (used / 4).max(2 * 8 * MIB + 2 * MIB);
        until(|| memory() < before + most);
        comes_to_rest(&runtime);
        println!(
            "{count} fibers: {} MiB more at the peak, {} KiB after it",
            (peak - before) / MIB,
            memory().saturating_sub(before) / KIB
        );
    }
}

#[test]
fn idle_slabs_are_unmapped() {
    let _watchdog = watchdog(120);
    if role().is_none() {
        return passes_in_child("idle_slabs_are_unmapped", "alone", &[]);
    }
    let runtime = runtime(2);
    let before = memory();
    let (peak, slabs) = runtime.run(|| {
        let fibers = burst(20_000, KIB);
        let now = (memory(), runtime.metrics().stacks);
        assert!(now.1.taken >= 20_000);
        end(fibers);
        (now.0, now.1.slabs)
    });
    assert!(slabs >= 10, "{slabs}");
    assert!(peak - before >= 20_000 * 4 * KIB);
    until(|| runtime.metrics().stacks.slabs < 10);
    until(|| memory() < before + (peak - before) / 4);
    comes_to_rest(&runtime);
    let stacks = runtime.metrics().stacks;
    assert!(stacks.taken <= 2 * 256, "{stacks:?}");
    drop(runtime);
}

/// Slabs that are not idle: the memory of their other stacks goes back.
#[test]
fn a_few_that_stay_do_not_hold_the_rest() {
    let _watchdog = watchdog(120);
    if role().is_none() {
        return passes_in_child("a_few_that_stay_do_not_hold_the_rest", "alone", &[]);
    }
    let runtime = runtime(2);
    let before = memory();
    let (peak, stay) = runtime.run(|| {
        let fibers = burst(12_000, 24 * KIB);
        let peak = memory();
        let (mut stay, mut rest) = (Vec::new(), Vec::new());
        for (n, fiber) in fibers.into_iter().enumerate() {
            match n % 50 {
                0 => stay.push(fiber),
                _ => rest.push(fiber),
            }
        }
        end(rest);
        (peak, stay)
    });
    let used = 12_000 * 24 * KIB;
    assert!(peak - before >= used);
    until(|| memory() < before + used * 2 / 5);
    comes_to_rest(&runtime);
    // They are as they were.
    runtime.run(|| end(stay));
}

/// The same stacks again and again.
#[test]
fn steady_bursts_map_nothing() {
    let _watchdog = watchdog(120);
    if role().is_none() {
        return passes_in_child("steady_bursts_map_nothing", "alone", &[]);
    }
    let runtime = runtime(1);
    let used = Arc::new(Mutex::new(HashSet::new()));
    let burst = || {
        let there = Count::new();
        runtime.run(|| {
            let fibers: Vec<_> = (0..1500)
                .map(|_| {
                    let (there, used) = (there.clone(), Arc::clone(&used));
                    fiber::spawn(move || {
                        let local = std::hint::black_box(0_u8);
                        used.lock().unwrap().insert((&raw const local).addr());
                        there.add();
                        fiber::park();
                    })
                })
                .collect();
            until(|| there.get() == 1500);
            fibers.iter().for_each(|fiber| fiber.fiber().unpark());
            fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
        });
    };
    burst();
    let first = runtime.metrics().stacks;
    for _ in 0..50 {
        burst();
    }
    // The fiber of `run` may have one more.
    let stacks = used.lock().unwrap().len();
    assert!((1500..=1502).contains(&stacks), "{stacks}");
    let last = runtime.metrics().stacks;
    assert_eq!(last.slabs, first.slabs);
    assert!(last.cold <= first.cold + 2, "{first:?} {last:?}");
}

/// Bursts with rests between them, less than the two seconds that memory stays for.
#[test]
fn bursts_that_come_often_keep_their_stacks() {
    let _watchdog = watchdog(120);
    if role().is_none() {
        return passes_in_child("bursts_that_come_often_keep_their_stacks", "alone", &[]);
    }
    const FIBERS: usize = 10_000;
    let runtime = runtime(1);
    let burst = || {
        runtime.run(|| end(burst(FIBERS, KIB)));
        comes_to_rest(&runtime);
        runtime.metrics().stacks.cold
    };
    let mut last = Instant::now();
    let mut before = burst();
    let mut kept = 0;
    for _ in 0..20 {
        let start = Instant::now();
        let cold = burst();
        // From one burst's beginning to the next one's end: the machine may have stood still.
        if last.elapsed() < Duration::from_millis(1900) {
            assert!(cold <= before + 2, "{} of {FIBERS} stacks", cold - before);
            kept += 1;
        }
        (before, last) = (cold, start);
    }
    assert!(kept > 0, "no two bursts were within two seconds");
    // Nobody comes back for them.
    let slabs = || runtime.metrics().stacks.slabs;
    let many = slabs();
    until(|| slabs() < many / 2);
}

/// A burst, a rest too short for its memory to go back, and then no rest any more.
#[test]
fn a_worker_that_stays_busy_gives_back_too() {
    let _watchdog = watchdog(120);
    if role().is_none() {
        return passes_in_child("a_worker_that_stays_busy_gives_back_too", "alone", &[]);
    }
    let runtime = runtime(1);
    runtime.run(|| end(burst(10_000, KIB)));
    let slabs = || runtime.metrics().stacks.slabs;
    let many = slabs();
    runtime.run(|| {
        fiber::sleep(Duration::from_millis(1));
        until(|| slabs() < many / 2);
    });
}

/// Deep fibers that fit into the worker's own cache say nothing of the stacks that did not.
#[test]
fn a_few_deep_ones_leave_a_burst_its_stacks() {
    let _watchdog = watchdog(120);
    if role().is_none() {
        return passes_in_child("a_few_deep_ones_leave_a_burst_its_stacks", "alone", &[]);
    }
    let runtime = runtime(1);
    let bursts = || {
        let cold = runtime.metrics().stacks.cold;
        runtime.run(|| end(burst(10_000, KIB)));
        comes_to_rest(&runtime);
        let needed = runtime.metrics().stacks.cold - cold;
        runtime.run(|| end(burst(100, 128 * KIB)));
        comes_to_rest(&runtime);
        needed
    };
    bursts();
    let kept = (0..20).any(|_| {
        let start = Instant::now();
        // The machine may have stood still.
        bursts() < 1000 && start.elapsed() < Duration::from_secs(1)
    });
    assert!(kept, "they were given back each time");
}

#[test]
fn mappings_do_not_grow() {
    let _watchdog = watchdog(240);
    if role().is_none() {
        return passes_in_child("mappings_do_not_grow", "alone", &[]);
    }
    let runtime = runtime(2);
    let round = |n: usize| {
        runtime.run(|| end(burst(3000, KIB * (1 + n % 3))));
        if n.is_multiple_of(10) {
            comes_to_rest(&runtime);
        }
        (mappings(), runtime.metrics().stacks.slabs)
    };
    let first: Vec<_> = (0..10).map(round).collect();
    let rest: Vec<_> = (10..100).map(round).collect();
    let most = |of: &[(usize, usize)]| {
        let mappings = of.iter().map(|round| round.0).max().unwrap();
        (mappings, of.iter().map(|round| round.1).max().unwrap())
    };
    let (first, rest) = (most(&first), most(&rest));
    println!("mappings and slabs: {first:?} in the first rounds, {rest:?} in the others");
    assert!(rest.0 <= first.0 + 20, "{first:?} {rest:?}");
    assert!(rest.1 <= first.1 + 3, "{first:?} {rest:?}");
}

/// Records too: they are in chunks of their own.
#[test]
fn records_go_back() {
    let _watchdog = watchdog(120);
    if role().is_none() {
        return passes_in_child("records_go_back", "alone", &[]);
    }
    let runtime = runtime(2);
    let ran = Count::new();
    runtime.run(|| ());
    let before = memory();
    let (peak, kept) = runtime.run(|| {
        let mut kept = Vec::new();
        let mut handles = Vec::new();
        for n in 0..200_000 {
            let ran = ran.clone();
            handles.push(fiber::spawn(move || ran.add()));
            if n % 20_000 == 0 {
                kept.push(handles.pop().unwrap());
            }
        }
        let peak = memory();
        for handle in handles {
            handle.join().unwrap();
        }
        (peak, kept)
    });
    assert!(peak - before >= 200_000 * 200);
    until(|| memory() < before + (peak - before) / 3);
    for handle in kept {
        handle.join().unwrap();
    }
    assert_eq!(ran.get(), 200_000);
}

/// A runtime's end leaves no mapping, whatever its fibers left behind.
#[test]
fn runtimes_come_and_go() {
    let _watchdog = watchdog(120);
    if role().is_none() {
        return passes_in_child("runtimes_come_and_go", "alone", &[]);
    }
    let round = || {
        let runtime = runtime(2);
        let handle = runtime.spawn(|| 7);
        runtime.run(|| end(burst(300, KIB)));
        drop(runtime);
        // Its record outlives the runtime.
        assert_eq!(handle.join().unwrap(), 7);
    };
    (0..5).for_each(|_| round());
    let before = mappings();
    (0..30).for_each(|_| round());
    let after = mappings();
    assert!(after <= before + 5, "{before} mappings, later {after}");
}
