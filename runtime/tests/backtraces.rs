//! A backtrace that is taken on a fiber shows the fiber's frames, and below them those of its worker.

mod common;

use std::backtrace::Backtrace;

use common::{Count, panic_text, runtime, settle, until, watchdog};
use sisal::fiber::{park, spawn, yield_now};
use sisal::{block_on, unblock};

#[inline(never)]
fn named_frame_of_a_fiber() -> String {
    std::hint::black_box(Backtrace::force_capture().to_string())
}

#[track_caller]
fn check(trace: &str) {
    let at = |name: &str| match trace.find(name) {
        Some(at) => at,
        None => panic!("{name} is not in:\n{trace}"),
    };
    // Newest first: the fiber's, the first ones of its stack, the worker's, the thread's. With line tables alone what has something
    // inlined into it has no path.
    let frames = [
        "named_frame_of_a_fiber",
        "contained",
        "stack_init_trampoline",
        "run_fibers",
        "__rust_begin_short_backtrace",
    ]
    .map(at);
    assert!(frames.is_sorted(), "{trace}");
}

#[test]
fn before_and_after_waits() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        runtime(workers).run(|| {
            check(&named_frame_of_a_fiber());
            yield_now();
            check(&named_frame_of_a_fiber());
            spawn(|| check(&named_frame_of_a_fiber())).join().unwrap();
            assert_eq!(unblock(|| 1), 1);
            block_on(async { check(&named_frame_of_a_fiber()) });
            block_on(async { block_on(async { check(&named_frame_of_a_fiber()) }) });
        });
    }
}

/// In a destructor that an unwind runs: by a panic, and by a cancel.
#[test]
fn in_mid_unwind() {
    let _watchdog = watchdog(60);
    let checks = Count::new();
    let runtime = runtime(1);
    let check_in_drop = |checks: &Count| {
        let checks = checks.clone();
        common::Defer(move || {
            check(&named_frame_of_a_fiber());
            yield_now();
            check(&named_frame_of_a_fiber());
            checks.add();
        })
    };
    runtime.run(|| {
        let text = panic_text(|| {
            let _checks = check_in_drop(&checks);
            std::panic::resume_unwind(Box::new("over"))
        });
        assert_eq!(text, "over");
    });
    assert_eq!(checks.get(), 1);
    let begun = Count::new();
    let fiber = runtime.spawn({
        let (begun, checks) = (begun.clone(), checks.clone());
        move || {
            let _checks = check_in_drop(&checks);
            begun.add();
            park();
        }
    });
    until(|| begun.get() == 1);
    runtime.run(settle);
    drop(runtime);
    assert!(fiber.join().unwrap_err().is_cancelled());
    assert_eq!(checks.get(), 2);
}
