//! Switches allocate nothing for spans: none for a fiber that is in none of its own, and no more once there is a list.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{runtime, watchdog};
use sisal::fiber::{scope, yield_now};
use tracing::info_span;

/// Counts what each thread allocates.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: by contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: by contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What 1000 yields of each of two fibers allocate, the first few apart.
fn count(spans: usize) -> (usize, usize) {
    const WARM: usize = 10;
    runtime(1).run(|| {
        let turn = |report: bool| {
            let entered: Vec<_> = (0..spans).map(|n| info_span!("s", n).entered()).collect();
            let start = COUNT.get();
            (0..WARM).for_each(|_| yield_now());
            let warm = COUNT.get();
            (0..1000).for_each(|_| yield_now());
            let end = COUNT.get();
            drop(entered);
            report.then_some((warm - start, end - warm))
        };
        scope(|s| {
            let other = s.spawn(|| turn(false));
            let one = s.spawn(|| turn(true));
            let counts = one.join().unwrap().unwrap();
            other.join().unwrap();
            counts
        })
    })
}

const FEW: usize = 20;

#[test]
fn switches_allocate_nothing() {
    let _watchdog = watchdog(60);
    // The worker allocates for itself now and then; a switch never does.
    let none = count(0).1;
    assert!(none < FEW, "without a subscriber: {none}");
    tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap();
    count(8); // the registry's own lists
    let own = count(0).1;
    assert!(own < FEW, "in its own span only: {own}");
    let (first, later) = count(5);
    assert!(first > 0, "nothing was counted");
    assert!(later < FEW, "in five spans: {later}");
    println!("{none}, {own} and {later} allocations in 1000 switches");
}
