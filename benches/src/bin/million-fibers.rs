//! A million fibers that only park: what they cost in memory and time, and whether it comes back.
//!
//! `cargo run --release -p sisal-benches --bin million-fibers [-- FIBERS [WORKERS]]`. Default stack size,
//! default limits. Prints `name: value` lines; `.ci/million-fibers.sh` reads them. The yardstick is a bare
//! loop before and after, which maps, guards and touches as many stacks with nothing running on them.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sisal::{Runtime, fiber};
use sisal_benches::Memory;
use switch_asm::stack::{Slabs, Stack};

const STACK_SIZE: usize = 256 * 1024;
const GUARD_SIZE: usize = 4096;

fn main() -> ExitCode {
    let numbers: Result<Vec<usize>, _> = std::env::args().skip(1).map(|a| a.parse()).collect();
    let Ok(numbers) = numbers else {
        eprintln!("usage: million-fibers [FIBERS [WORKERS]]");
        return ExitCode::FAILURE;
    };
    let fibers = numbers.first().copied().unwrap_or(1_000_000);
    let mut builder = Runtime::builder();
    if let Some(&workers) = numbers.get(1) {
        builder = builder.workers(workers);
    }
    let runtime = match builder.build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };

    let bare_before = bare(fibers);
    let before = Memory::now();
    let figures = runtime.run(|| parked(fibers, &before));
    let settled = settle();
    drop(runtime);
    let bare_after = bare(fibers);

    let bare = (bare_before + bare_after) / 2;
    let each = |bytes: u64| bytes as f64 / fibers as f64;
    println!("fibers: {fibers}");
    println!(
        "bytes per parked fiber: {:.0}",
        each(figures.peak.total() - before.total())
    );
    println!(
        "  of it page tables: {:.0}",
        each(figures.peak.tables - before.tables)
    );
    println!("peak: {}", figures.peak.total());
    println!("after the end: {}", settled.total());
    println!(
        "left, percent of the peak: {:.2}",
        100.0 * settled.total() as f64 / figures.peak.total() as f64
    );
    println!(
        "spawn and park, ns each: {:.0}",
        nanos_each(figures.spawn, fibers)
    );
    println!("bare loop, ns each: {:.0}", nanos_each(bare, fibers));
    println!(
        "ratio: {:.2}",
        figures.spawn.as_secs_f64() / bare.as_secs_f64()
    );
    println!(
        "unpark and join, ns each: {:.0}",
        nanos_each(figures.join, fibers)
    );
    ExitCode::SUCCESS
}

fn nanos_each(took: Duration, fibers: usize) -> f64 {
    took.as_nanos() as f64 / fibers as f64
}

struct Figures {
    spawn: Duration,
    join: Duration,
    peak: Memory,
}

/// In a fiber: spawns, waits until all are parked, unparks and joins.
fn parked(fibers: usize, before: &Memory) -> Figures {
    let arrived = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut handles = Vec::with_capacity(fibers);
    for _ in 0..fibers {
        let arrived = Arc::clone(&arrived);
        handles.push(fiber::spawn(move || {
            arrived.fetch_add(1, Ordering::Relaxed);
            fiber::park();
        }));
    }
    while arrived.load(Ordering::Relaxed) < fibers {
        fiber::yield_now();
    }
    let spawn = start.elapsed();
    let peak = Memory::now();
    assert!(peak.total() > before.total());

    let start = Instant::now();
    for handle in &handles {
        handle.fiber().unpark();
    }
    for handle in handles {
        handle.join().expect("it only parks");
    }
    let join = start.elapsed();
    Figures { spawn, join, peak }
}

/// Waits until the memory has not become less for five seconds: nothing tells an outsider that the workers are
/// through with giving it back, which they do when nobody needed it for two.
fn settle() -> Memory {
    let mut least = Memory::now();
    let mut unchanged = 0;
    while unchanged < 100 {
        std::thread::sleep(Duration::from_millis(50));
        let now = Memory::now();
        if now.total() + (1 << 20) < least.total() {
            least = now;
            unchanged = 0;
        } else {
            unchanged += 1;
        }
    }
    Memory::now()
}

/// Maps, guards and touches so many stacks.
fn bare(stacks: usize) -> Duration {
    let start = Instant::now();
    let slabs = Slabs::new(GUARD_SIZE);
    let mut taken = Vec::with_capacity(stacks);
    for _ in 0..stacks {
        let stack = slabs.take(STACK_SIZE).expect("a stack");
        let top = std::ptr::with_exposed_provenance_mut::<u64>(stack.base().get() - 8);
        // SAFETY: the highest word of a stack that nothing runs on.
        unsafe { top.write_volatile(1) };
        taken.push(stack);
    }
    let took = start.elapsed();
    drop(taken);
    slabs.release_idle();
    took
}
