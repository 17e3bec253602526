//! Unwinding through the switch: panics leave a coroutine by themselves, and
//! `switch_and_throw` starts one in a stack that waits. Nightly.
#![cfg(all(feature = "default-stack", feature = "asm-unwind"))]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use switch_asm::arch::{self, EncodedValue};
use switch_asm::on_stack;
use switch_asm::stack::{DefaultStack, Stack, StackPointer};

struct Add<'a>(&'a std::cell::Cell<usize>, usize);

impl Drop for Add<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + self.1);
    }
}

/// # Safety
///
/// A `ThrowFunc`.
unsafe extern "C-unwind" fn throw(arg: EncodedValue) -> ! {
    assert!((&raw const arg).addr().is_multiple_of(8));
    resume_unwind(Box::new(arg))
}

/// Yields twice; a throw that comes at the first one is caught.
///
/// # Safety
///
/// An `InitialFunc`, whose object is a counter that outlives the stack.
unsafe extern "C-unwind" fn body(
    _: EncodedValue,
    link: &mut StackPointer,
    count: *mut *const std::cell::Cell<usize>,
) -> ! {
    let link = &raw mut *link;
    // SAFETY: the test keeps the counter; we are on our own stack.
    unsafe {
        let count = &**count;
        let _outer = Add(count, 1);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _inner = Add(count, 10);
            arch::switch_yield(1, link)
        }));
        let _last = Add(count, 100);
        let word = caught.unwrap_or_else(|payload| *payload.downcast::<usize>().expect("ours"));
        arch::switch_yield(word, link);
    }
    panic!("resumed once too often")
}

#[test]
fn caught_then_not() {
    let count = std::cell::Cell::new(0);
    let stack = DefaultStack::new(64 * 1024).expect("a stack");
    // SAFETY: `sp` is always where the stack waits.
    unsafe {
        let sp = arch::init_stack(&stack, body, &raw const count);
        let (one, sp) = arch::switch_and_link(0, sp, stack.base());
        assert_eq!((one, count.get()), (1, 0));
        let sp = sp.expect("it waits");
        let (word, sp) = arch::switch_and_throw(throw, 77, sp, stack.base());
        assert_eq!((word, count.get()), (77, 10));
        let sp = sp.expect("it waits again");
        let payload = catch_unwind(AssertUnwindSafe(|| {
            arch::switch_and_throw(throw, 88, sp, stack.base())
        }));
        assert_eq!(
            payload.expect_err("uncaught").downcast_ref(),
            Some(&88_usize)
        );
        assert_eq!(count.get(), 111);
    }
}

#[test]
fn a_panic_leaves_by_itself() {
    let count = std::cell::Cell::new(0);
    let stack = DefaultStack::new(64 * 1024).expect("a stack");
    let payload = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `sp` is always where the stack waits.
        unsafe {
            let mut sp = arch::init_stack(&stack, body, &raw const count);
            loop {
                let (_, next) = arch::switch_and_link(5, sp, stack.base());
                sp = next.expect("it does not return");
            }
        }
    }));
    assert_eq!(
        payload.expect_err("it panics").downcast_ref(),
        Some(&"resumed once too often")
    );
    assert_eq!(count.get(), 111);
    assert!(!std::thread::panicking());
}

#[test]
fn on_another_stack_inside() {
    let count = std::cell::Cell::new(0);
    for n in 1..100 {
        let payload = catch_unwind(AssertUnwindSafe(|| {
            on_stack(DefaultStack::default(), || {
                let _add = Add(&count, 1);
                on_stack(DefaultStack::default(), || resume_unwind(Box::new(n)));
            });
        }));
        assert_eq!(payload.expect_err("it panics").downcast_ref(), Some(&n));
        assert_eq!(count.get(), n);
    }
}
