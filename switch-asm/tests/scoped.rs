//! Coroutines that borrow: closures, values, stacks; and that nothing borrowed
//! is used after its end.
#![cfg(all(feature = "default-stack", feature = "unwind"))]

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};

use switch_asm::stack::{DefaultStack, Stack};
use switch_asm::{CoroutineResult, ScopedCoroutine, ScopedCoroutineRef, Yielder};

struct OnDrop<'a>(&'a Cell<u32>);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn everything_borrowed() {
    let mut stack = DefaultStack::default();
    let words = [String::from("one"), String::from("two")];
    let log = RefCell::new(Vec::new());
    for _ in 0..3 {
        let coroutine = ScopedCoroutine::with_stack(
            &mut stack,
            |yielder: &Yielder<&str, &str>, mut input: &str| {
                for word in &words {
                    log.borrow_mut().push(input.len());
                    input = yielder.suspend(word);
                }
                input
            },
        );
        let input = String::from("local");
        coroutine.scope(|mut coroutine| {
            assert!(!coroutine.started());
            assert_eq!(coroutine.resume(&input), CoroutineResult::Yield("one"));
            assert!(coroutine.started() && !coroutine.done());
            assert_eq!(
                coroutine.as_mut().resume(&input[..1]),
                CoroutineResult::Yield("two")
            );
            assert_eq!(coroutine.resume(&input), CoroutineResult::Return("local"));
            assert!(coroutine.done());
        });
    }
    assert_eq!(log.into_inner(), [5, 1, 5, 1, 5, 1]);
}

fn suspended<'a>(drops: &'a Cell<u32>) -> ScopedCoroutine<'a, (), (), ()> {
    let captured = OnDrop(drops);
    ScopedCoroutine::new(move |yielder, ()| {
        let _captured = captured;
        let _local = OnDrop(drops);
        yielder.suspend(());
        yielder.suspend(());
    })
}

#[test]
fn the_end_of_the_scope_unwinds_it() {
    let drops = Cell::new(0);
    let result = suspended(&drops).scope(|mut coroutine| {
        coroutine.resume(());
        assert_eq!(drops.get(), 0);
        17
    });
    assert_eq!((result, drops.get()), (17, 2));
}

#[test]
fn a_panic_in_the_scope_unwinds_it() {
    let drops = Cell::new(0);
    let result = catch_unwind(AssertUnwindSafe(|| {
        suspended(&drops).scope(|mut coroutine| {
            coroutine.resume(());
            panic_any(3_u8);
        });
    }));
    assert_eq!(result.expect_err("it panics").downcast_ref(), Some(&3_u8));
    assert_eq!(drops.get(), 2);
}

/// What was unsound elsewhere: a suspended coroutine was forgotten, so that the
/// stack it had borrowed was used again under its frames.
#[test]
#[allow(clippy::forget_non_drop, reason = "it is what somebody would try")]
fn forgetting_the_reference_forgets_nothing_else() {
    let drops = Cell::new(0);
    let mut stack = DefaultStack::default();
    for n in 1..10 {
        let coroutine = ScopedCoroutine::<(), (), (), _>::with_stack(&mut stack, |yielder, ()| {
            let _local = OnDrop(&drops);
            yielder.suspend(());
        });
        coroutine.scope(|mut coroutine| {
            coroutine.resume(());
            std::mem::forget(coroutine);
        });
        assert_eq!(drops.get(), n);
    }
}

#[test]
fn forgetting_it_before_its_scope_is_harmless() {
    let drops = Cell::new(0);
    let mut stack = DefaultStack::default();
    let captured = OnDrop(&drops);
    std::mem::forget(ScopedCoroutine::<(), (), (), _>::with_stack(
        &mut stack,
        move |_, ()| drop(captured),
    ));
    let again = ScopedCoroutine::<(), (), u8, _>::with_stack(&mut stack, |_, ()| 7);
    assert_eq!(
        again
            .scope(|mut coroutine| coroutine.resume(()))
            .as_return(),
        Some(7)
    );
    assert_eq!(drops.get(), 0);
}

#[test]
fn dropped_before_its_scope() {
    let drops = Cell::new(0);
    drop(suspended(&drops));
    assert_eq!(drops.get(), 1);
}

#[test]
fn swapping_two_references_swaps_no_borrow() {
    let drops = [Cell::new(0), Cell::new(0)];
    suspended(&drops[0]).scope(|mut one| {
        one.resume(());
        suspended(&drops[1]).scope(|mut two| {
            two.resume(());
            let (mut a, mut b) = (one.as_mut(), two.as_mut());
            std::mem::swap(&mut a, &mut b);
            a.resume(());
        });
        assert_eq!((drops[0].get(), drops[1].get()), (0, 2));
    });
    assert_eq!((drops[0].get(), drops[1].get()), (2, 2));
}

#[test]
fn force_unwind_and_force_reset() {
    let drops = Cell::new(0);
    suspended(&drops).scope(|mut coroutine| {
        coroutine.resume(());
        coroutine.force_unwind();
        assert!(coroutine.done());
        assert_eq!(drops.get(), 2);
    });
    suspended(&drops).scope(|mut coroutine| {
        coroutine.resume(());
        // SAFETY: nothing relies on these destructors.
        unsafe { coroutine.force_reset() };
        assert!(coroutine.done());
    });
    assert_eq!(drops.get(), 2);
}

#[test]
#[should_panic(expected = "the stack of a coroutine that is not done is in use")]
fn into_stack_before_its_scope() {
    drop(suspended(&Cell::new(0)).into_stack());
}

#[test]
fn nested_scopes() {
    fn nested(depth: u32, sum: &Cell<u32>) {
        let coroutine = ScopedCoroutine::<(), (), ()>::new(|yielder, ()| {
            sum.set(sum.get() + depth);
            if depth > 0 {
                nested(depth - 1, sum);
            }
            yielder.suspend(());
        });
        coroutine.scope(|mut coroutine| assert!(coroutine.resume(()).as_yield().is_some()));
    }
    let sum = Cell::new(0);
    nested(10, &sum);
    assert_eq!(sum.get(), 55);
}

#[test]
fn a_function_takes_any() {
    fn twice<S: Stack>(mut coroutine: ScopedCoroutineRef<'_, u32, u32, u32, S>) -> u32 {
        let first = coroutine.resume(1).as_yield().expect("it yields");
        first + coroutine.resume(2).as_return().expect("it returns")
    }
    let coroutine =
        ScopedCoroutine::new(|yielder: &Yielder<u32, u32>, n| yielder.suspend(n + 1) + 1);
    assert_eq!(coroutine.scope(twice), 5);
}
