//! Running a function on another stack without a coroutine.
#![cfg(all(feature = "default-stack", feature = "unwind"))]

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};

use switch_asm::stack::{DefaultStack, Stack};
use switch_asm::{Coroutine, CoroutineResult, on_stack};

fn address_of_a_local() -> usize {
    let local = 0_u8;
    (&raw const local).addr()
}

fn within(stack: &impl Stack, address: usize) -> bool {
    (stack.limit().get()..stack.base().get()).contains(&address)
}

#[test]
fn it_runs_there_and_returns_here() {
    let mut stack = DefaultStack::default();
    let word = String::from("captured");
    let (address, word) = on_stack(&mut stack, || (address_of_a_local(), word + "!"));
    assert!(within(&stack, address));
    assert!(!within(&stack, address_of_a_local()));
    assert_eq!(word, "captured!");
}

#[test]
fn a_panic_comes_back() {
    let mut stack = DefaultStack::default();
    let payload = catch_unwind(AssertUnwindSafe(|| {
        on_stack(&mut stack, || panic_any(3_u8))
    }));
    assert_eq!(payload.expect_err("it panics").downcast_ref(), Some(&3_u8));
    assert_eq!(on_stack(&mut stack, || 5), 5);
}

#[test]
fn a_backtrace_goes_on_in_the_caller() {
    #[inline(never)]
    fn calls_on_another_stack() -> String {
        let trace = on_stack(DefaultStack::default(), || {
            std::backtrace::Backtrace::force_capture().to_string()
        });
        std::hint::black_box(trace)
    }
    let trace = calls_on_another_stack();
    assert!(trace.contains("calls_on_another_stack"), "{trace}");
    assert!(
        trace.contains("a_backtrace_goes_on_in_the_caller"),
        "{trace}"
    );
}

#[test]
fn the_stack_of_the_parent() {
    let mut coroutine = Coroutine::<(), (), usize>::new(|yielder, ()| {
        let payload = catch_unwind(AssertUnwindSafe(|| {
            yielder.on_parent_stack(|| panic_any(4_u8))
        }));
        assert_eq!(payload.expect_err("it panics").downcast_ref(), Some(&4_u8));
        yielder.on_parent_stack(address_of_a_local)
    });
    let here = address_of_a_local();
    let there = coroutine.resume(()).as_return().expect("it returns");
    let stack = coroutine.into_stack();
    assert!(!within(&stack, there));
    assert!(here.abs_diff(there) < 64 * 1024, "{here:#x} {there:#x}");
}

#[test]
fn suspending_from_there() {
    let mut coroutine = Coroutine::<u8, u8, u8>::new(|yielder, n| {
        on_stack(DefaultStack::default(), || yielder.suspend(n + 1)) + 10
    });
    assert_eq!(coroutine.resume(1), CoroutineResult::Yield(2));
    assert_eq!(coroutine.resume(5), CoroutineResult::Return(15));
}

#[test]
fn unwinding_from_there() {
    use std::rc::Rc;
    let alive = Rc::new(());
    let held = alive.clone();
    let mut coroutine = Coroutine::<(), (), ()>::new(move |yielder, ()| {
        on_stack(DefaultStack::default(), || {
            let _held = held;
            yielder.suspend(());
        });
    });
    coroutine.resume(());
    assert_eq!(Rc::strong_count(&alive), 2);
    drop(coroutine);
    assert_eq!(Rc::strong_count(&alive), 1);
}
