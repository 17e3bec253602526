//! What AddressSanitizer finds on the stacks of coroutines, and what it must not
//! find. Built by `.ci/asan.sh`, which says so in the environment; elsewhere each
//! test says that it is skipped.
#![cfg(all(feature = "default-stack", feature = "unwind", feature = "sanitizer"))]

use std::hint::black_box;
use std::process::{Command, Output};

use switch_asm::stack::{DefaultStack, Slab};
use switch_asm::{Coroutine, CoroutineResult, on_stack};

const CHILD: &str = "SANITIZER_CHILD";

/// Runs `case` in a child, and there alone. `None` there, and without the
/// sanitizer.
fn child(test: &str, case: fn()) -> Option<Output> {
    if std::env::var_os(CHILD).is_some() {
        case();
        return None;
    }
    if std::env::var_os("SWITCH_ASM_ASAN").is_none() {
        println!("skipped: built without AddressSanitizer; .ci/asan.sh builds with it");
        return None;
    }
    let options = std::env::var("ASAN_OPTIONS").unwrap_or_default();
    let child = Command::new(std::env::current_exe().expect("our own path"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        // Last wins. The suite runs without: many tests look where locals are.
        .env(
            "ASAN_OPTIONS",
            format!("{options}:detect_stack_use_after_return=1"),
        )
        .output()
        .expect("a child");
    Some(child)
}

/// That the sanitizer ends `case` with a report of this kind.
fn is_caught(test: &str, kind: &str, case: fn()) {
    let Some(output) = child(test, case) else {
        return;
    };
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{kind} went unnoticed");
    assert!(
        report.contains(&format!("AddressSanitizer: {kind}")),
        "{report}"
    );
    // The report walks from the coroutine into its parent.
    assert!(report.contains("stack_init_trampoline"), "{report}");
}

/// That the sanitizer has nothing to say about `case`.
fn is_fine(test: &str, case: fn()) {
    let Some(output) = child(test, case) else {
        return;
    };
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}");
    // It warns when a stack pointer is outside of the stack that it knows.
    assert!(!report.contains("Sanitizer"), "{report}");
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

#[test]
fn use_after_return() {
    is_caught("use_after_return", "stack-use-after-return", || {
        let mut coroutine = Coroutine::<(), (), usize>::new(|_, ()| read(address_of_a_local(1)));
        coroutine.resume(());
    });
}

#[test]
fn use_after_return_across_suspensions() {
    is_caught(
        "use_after_return_across_suspensions",
        "stack-use-after-return",
        || {
            let mut coroutine = Coroutine::<(), (), usize>::new(|yielder, ()| {
                yielder.suspend(());
                let pointer = address_of_a_local(1);
                for _ in 0..3 {
                    yielder.suspend(());
                }
                read(pointer)
            });
            for _ in 0..5 {
                // The parent's own fake stack is in use, too.
                black_box(address_of_a_local(2));
                coroutine.resume(());
            }
        },
    );
}

#[test]
fn overflow_of_a_buffer() {
    is_caught("overflow_of_a_buffer", "stack-buffer-overflow", overflows);
}

fn overflows() {
    #[inline(never)]
    fn one_too_far(length: usize) -> usize {
        let mut local = [7_usize; 8];
        let start = black_box(&mut local).as_ptr();
        // SAFETY: none, if `length` is that of the array.
        unsafe { black_box(start.add(length)).read_volatile() }
    }
    let mut coroutine = Coroutine::<(), (), usize>::new(|yielder, ()| {
        yielder.suspend(());
        one_too_far(black_box(8))
    });
    coroutine.resume(());
    coroutine.resume(());
}

#[test]
fn frames_that_were_given_up() {
    #[inline(never)]
    fn deep(depth: usize, suspend: &dyn Fn()) -> usize {
        let mut local = [depth; 32];
        black_box(&mut local);
        if depth == 0 {
            suspend();
        } else {
            deep(depth - 1, suspend);
        }
        black_box(local[3])
    }
    is_fine("frames_that_were_given_up", || {
        let slab = Slab::new(64 * 1024, 4096, 1).expect("a slab");
        for round in 0..20 {
            let stack = slab.take().expect("a stack").expect("one of them");
            let mut coroutine =
                Coroutine::<(), (), usize, _>::with_stack(stack, move |yielder, ()| {
                    deep(round, &|| yielder.suspend(()))
                });
            coroutine.resume(());
            // SAFETY: nothing on it needs a destructor.
            unsafe { coroutine.force_reset() };
        }
    });
}

#[test]
fn panics_and_nesting() {
    is_fine("panics_and_nesting", || {
        for _ in 0..10 {
            let mut outer = Coroutine::<(), usize, [usize; 20]>::new(|outer, ()| {
                let mut inner = Coroutine::<(), usize, ()>::new(|inner, ()| {
                    let word = on_stack(DefaultStack::default(), || {
                        inner.suspend(1);
                        read(&2)
                    });
                    inner.suspend(word);
                    std::panic::resume_unwind(Box::new(3_usize))
                });
                outer.suspend(inner.resume(()).as_yield().expect("it yields"));
                outer.suspend(inner.resume(()).as_yield().expect("it yields"));
                let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    inner.resume(());
                }));
                let payload = caught
                    .expect_err("it panics")
                    .downcast::<usize>()
                    .expect("ours");
                outer.suspend(*payload);
                outer.on_parent_stack(|| black_box([4; 20]))
            });
            for n in 1..=3 {
                assert_eq!(outer.resume(()), CoroutineResult::Yield(n));
            }
            assert_eq!(outer.resume(()), CoroutineResult::Return([4; 20]));
        }
    });
}

#[test]
fn unwinding_a_coroutine_that_waits() {
    is_fine("unwinding_a_coroutine_that_waits", || {
        for _ in 0..10 {
            let mut coroutine = Coroutine::<(), (), ()>::new(|yielder, ()| {
                let local = black_box(String::from("dropped"));
                yielder.suspend(());
                black_box(local);
            });
            coroutine.resume(());
            black_box(address_of_a_local(5));
        }
    });
}
