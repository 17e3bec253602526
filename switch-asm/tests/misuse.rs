//! Misuse gives a clear panic or error, never silent corruption.
#![cfg(all(feature = "default-stack", feature = "unwind"))]

use std::panic::{AssertUnwindSafe, catch_unwind};

use switch_asm::stack::{DefaultStack, MIN_STACK_SIZE, Slab, Slabs, Stack, StackPointer};
use switch_asm::{Coroutine, ScopedCoroutine, on_stack};

/// A stack that lies about where it is. The memory behind it is fine.
#[derive(Debug)]
struct Liar {
    base: usize,
    limit: usize,
    _memory: DefaultStack,
}

// SAFETY: none. That is the point: the crate must see it.
unsafe impl Stack for Liar {
    fn base(&self) -> StackPointer {
        StackPointer::new(self.base).expect("not zero")
    }

    fn limit(&self) -> StackPointer {
        StackPointer::new(self.limit).expect("not zero")
    }
}

/// A stack whose base and limit are off by that much.
fn liar(base: impl FnOnce(usize) -> usize, limit: impl FnOnce(usize) -> usize) -> Liar {
    let memory = DefaultStack::new(64 * 1024).expect("a stack");
    Liar {
        base: base(memory.base().get()),
        limit: limit(memory.limit().get()),
        _memory: memory,
    }
}

fn text(result: std::thread::Result<()>) -> String {
    let payload = result.expect_err("it panics");
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string))
        .expect("a panic with a text")
}

/// Gives the stack to everything that takes one. Nothing must run on it.
fn refused(make: impl Fn() -> Liar, words: &str) {
    let never = || unreachable!("it ran on such a stack");
    let attempts: [&dyn Fn(); 3] = [
        &|| {
            drop(Coroutine::<(), (), (), _>::with_stack(
                make(),
                move |_, ()| never(),
            ))
        },
        &|| {
            drop(ScopedCoroutine::<(), (), (), _>::with_stack(
                make(),
                |_, ()| never(),
            ))
        },
        &|| on_stack(make(), never),
    ];
    for attempt in attempts {
        let text = text(catch_unwind(AssertUnwindSafe(attempt)));
        assert!(text.contains(words), "{text} / {words}");
    }
}

#[test]
fn a_limit_above_the_base() {
    refused(
        || liar(|base| base, |limit| limit + (1 << 20)),
        "is above its base",
    );
    refused(|| liar(|_| 16, |limit| limit), "is above its base");
    refused(
        || liar(|base| base, |_| usize::MAX & !15),
        "is above its base",
    );
}

#[test]
fn a_base_or_limit_that_is_not_aligned() {
    for off in [1, 8, 15] {
        refused(|| liar(|base| base - off, |limit| limit), "multiples of 16");
        refused(|| liar(|base| base, |limit| limit + off), "multiples of 16");
    }
}

#[test]
fn a_stack_that_is_too_small() {
    for size in [0, 16, MIN_STACK_SIZE - 16] {
        let words = format!("it has {size} bytes, guard included, and needs 4096");
        let make = || {
            let mut liar = liar(|base| base, |limit| limit);
            liar.limit = liar.base - size;
            liar
        };
        refused(make, &words);
    }
}

#[test]
fn a_panic_names_the_line_of_the_caller() {
    let line = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let seen = line.clone();
    // The hook sees the panics of the other tests, too.
    let this_test = std::thread::current().id();
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let at = info.location().expect("there is always one");
        if std::thread::current().id() == this_test && at.file().ends_with("misuse.rs") {
            seen.store(at.line(), std::sync::atomic::Ordering::Relaxed);
        }
    }));
    let bad = liar(|base| base - 1, |limit| limit);
    let expected = line!() + 2;
    let result = catch_unwind(AssertUnwindSafe(|| {
        drop(Coroutine::<(), (), (), _>::with_stack(bad, |_, ()| ()));
    }));
    std::panic::set_hook(previous);
    result.expect_err("it panics");
    assert_eq!(line.load(std::sync::atomic::Ordering::Relaxed), expected);
}

#[test]
fn one_that_is_done_is_not_resumed() {
    let words = "resumed a coroutine that is done";
    let mut returned = Coroutine::<(), (), ()>::new(|_, ()| ());
    returned.resume(());
    let mut panicked = Coroutine::<(), (), ()>::new(|_, ()| panic!("within"));
    catch_unwind(AssertUnwindSafe(|| panicked.resume(()))).expect_err("it panics");
    let mut unwound = Coroutine::<(), (), ()>::new(|yielder, ()| yielder.suspend(()));
    unwound.resume(());
    unwound.force_unwind();
    let mut never_ran = Coroutine::<(), (), ()>::new(|_, ()| ());
    never_ran.force_unwind();
    for coroutine in [&mut returned, &mut panicked, &mut unwound, &mut never_ran] {
        for _ in 0..2 {
            let result = catch_unwind(AssertUnwindSafe(|| {
                coroutine.resume(());
            }));
            assert!(text(result).contains(words));
            assert!(coroutine.done());
        }
    }
}

#[test]
fn sizes_that_cannot_be() {
    for size in [usize::MAX, usize::MAX - 5000, 1 << 63] {
        DefaultStack::new(size).expect_err("too large");
        Slabs::new(4096).take(size).expect_err("too large");
        Slab::new(size, 4096, 1).expect_err("too large");
    }
    Slabs::new(usize::MAX)
        .take(4096)
        .expect_err("too large a guard");
    Slab::new(0, 4096, 1).expect_err("too small");
}
