//! What AddressSanitizer finds on the stacks of fibers, and what it must not find: every switch is
//! announced to it. Built by `.ci/asan.sh`, which says so in the environment; elsewhere each test says that
//! it is skipped.
#![cfg(feature = "sanitizer")]

mod common;

use std::hint::black_box;
use std::process::Output;
use std::time::Duration;

use common::{Defer, in_child, role, runtime, said, settle, until, watchdog};
use sisal::fiber::{park, scope, sleep, spawn, yield_now};
use sisal::{block_on, unblock};

/// Runs `case` in a child, and there alone. `None` there, and without the sanitizer.
fn child(test: &str, case: fn()) -> Option<Output> {
    if role().is_some() {
        let _watchdog = watchdog(60);
        case();
        return None;
    }
    if std::env::var_os("SISAL_ASAN").is_none() {
        println!("skipped: built without AddressSanitizer; .ci/asan.sh builds with it");
        return None;
    }
    let options = std::env::var("ASAN_OPTIONS").unwrap_or_default();
    // Last wins.
    let options = format!("{options}:detect_stack_use_after_return=1");
    Some(in_child(test, "asan", &[("ASAN_OPTIONS", &options)]))
}

/// That the sanitizer ends `case` with a report of this kind, which walks from the fiber to its worker.
fn is_caught(test: &str, kind: &str, case: fn()) {
    let Some(child) = child(test, case) else {
        return;
    };
    let said = said(&child);
    assert!(!child.status.success(), "{kind} went unnoticed");
    assert!(
        said.contains(&format!("AddressSanitizer: {kind}")),
        "{said}"
    );
    assert!(said.contains("stack_init_trampoline"), "{said}");
}

/// That the sanitizer has nothing to say about `case`.
fn is_fine(test: &str, case: fn()) {
    let Some(child) = child(test, case) else {
        return;
    };
    let said = said(&child);
    assert!(child.status.success(), "{said}");
    // It warns when a stack pointer is outside of the stack that it knows.
    assert!(!said.contains("Sanitizer"), "{said}");
}

#[inline(never)]
fn address_of_a_local(value: usize) -> *const usize {
    let mut local = [value; 8];
    black_box(&mut local);
    black_box(local.as_ptr())
}

#[inline(never)]
fn read(pointer: *const usize) -> usize {
    // SAFETY: none; that is what is to be caught.
    unsafe { black_box(pointer).read_volatile() }
}

/// A local of a function that returned before the fiber waited, read after it.
#[test]
fn a_use_after_return_across_a_wait_is_caught() {
    is_caught(
        "a_use_after_return_across_a_wait_is_caught",
        "stack-use-after-return",
        || {
            runtime(1).run(|| {
                let others: Vec<_> = (0..3).map(|_| spawn(settle)).collect();
                let pointer = address_of_a_local(1);
                yield_now();
                sleep(Duration::from_millis(1));
                read(pointer);
                drop(others);
            });
        },
    );
}

/// One element past the end of an array on a fiber's stack, after it was parked.
#[test]
fn an_overflow_of_a_buffer_is_caught() {
    #[inline(never)]
    fn one_too_far(length: usize) -> usize {
        let mut local = [7_usize; 8];
        let start = black_box(&mut local).as_ptr();
        // SAFETY: none, if `length` is that of the array.
        unsafe { black_box(start.add(length)).read_volatile() }
    }
    is_caught(
        "an_overflow_of_a_buffer_is_caught",
        "stack-buffer-overflow",
        || {
            runtime(2).run(|| {
                yield_now();
                one_too_far(black_box(8))
            });
        },
    );
}

/// A fiber reads a local of another fiber's function that has returned. (That fiber is parked: with its
/// end its fake stack is unmapped, and the read would be a plain fault.)
#[test]
fn a_use_after_return_of_another_fiber_is_caught() {
    is_caught(
        "a_use_after_return_of_another_fiber_is_caught",
        "stack-use-after-return",
        || {
            runtime(1).run(|| {
                let (tell, told) = std::sync::mpsc::channel();
                let other = spawn(move || {
                    tell.send(address_of_a_local(3).expose_provenance())
                        .unwrap();
                    park();
                });
                settle();
                let address = told.try_recv().unwrap();
                read(std::ptr::with_exposed_provenance(address));
                other.fiber().unpark();
            });
        },
    );
}

/// Stacks are used again, frames are unwound, fibers come and go: no false alarm.
#[test]
fn everything_that_switches_is_fine() {
    is_fine("everything_that_switches_is_fine", || {
        for workers in [1, 2] {
            let runtime = runtime(workers);
            let stuck: Vec<_> = (0..20)
                .map(|n| {
                    runtime.spawn(move || {
                        let text = black_box(format!("{n}"));
                        let _unwound = Defer(|| {
                            yield_now();
                            black_box(address_of_a_local(text.len()));
                        });
                        park();
                    })
                })
                .collect();
            runtime.run(|| {
                for round in 0..20 {
                    let words = [1, 2, 3].map(|n| n + round);
                    let sum: usize = scope(|s| {
                        let all = words.each_ref().map(|n| {
                            s.spawn(move || {
                                let local = black_box([*n; 32]);
                                yield_now();
                                let three = unblock(|| black_box(local[3]));
                                block_on(tokio::task::yield_now());
                                three
                            })
                        });
                        all.map(|f| f.join().unwrap()).iter().sum()
                    });
                    assert_eq!(sum, 6 + 3 * round);
                    let panics = spawn(|| {
                        let _local = Defer(|| yield_now());
                        std::panic::resume_unwind(Box::new(black_box([4_u8; 100])))
                    });
                    let ended: Result<(), _> = panics.join();
                    assert!(ended.unwrap_err().is_panic());
                }
            });
            drop(runtime);
            until(|| stuck.iter().all(|fiber| fiber.is_finished()));
        }
    });
}
