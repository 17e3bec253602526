//! A panic in a coroutine comes out of `resume`.
#![cfg(all(feature = "default-stack", feature = "unwind"))]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use switch_asm::{Coroutine, CoroutineResult};

/// What `f` panics with.
fn payload(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("no panic crossed");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => (*other.downcast::<&str>().expect("not our panic")).into(),
    }
}

#[test]
fn to_the_resumer_with_its_payload() {
    let mut coroutine = Coroutine::<u32, (), ()>::new(|_, n| panic!("number {n}"));
    assert_eq!(payload(|| _ = coroutine.resume(5)), "number 5");
    assert!(coroutine.done());
}

#[test]
fn after_a_suspension() {
    let mut coroutine = Coroutine::<u32, (), ()>::new(|yielder, _| {
        let n = yielder.suspend(());
        panic!("number {n}");
    });
    assert_eq!(coroutine.resume(1), CoroutineResult::Yield(()));
    assert_eq!(payload(|| _ = coroutine.resume(2)), "number 2");
    assert!(coroutine.done());
}

#[test]
fn through_several_coroutines() {
    let mut outer = Coroutine::<(), (), ()>::new(|_, ()| {
        let mut inner = Coroutine::<(), (), ()>::new(|_, ()| panic!("from within"));
        inner.resume(());
    });
    assert_eq!(payload(|| _ = outer.resume(())), "from within");
}

#[test]
fn destructors_of_the_coroutine_run() {
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    struct Count;
    impl Drop for Count {
        fn drop(&mut self) {
            DROPS.fetch_add(1, Ordering::Relaxed);
        }
    }

    let captured = Count;
    let mut coroutine = Coroutine::<(), (), ()>::new(move |yielder, ()| {
        let (_captured, _local) = (captured, Count);
        yielder.suspend(());
        panic!("out");
    });
    coroutine.resume(());
    assert_eq!(DROPS.load(Ordering::Relaxed), 0);
    assert_eq!(payload(|| _ = coroutine.resume(())), "out");
    assert_eq!(DROPS.load(Ordering::Relaxed), 2);
}

#[test]
fn caught_inside_it_stays_inside() {
    let mut coroutine = Coroutine::<(), usize, usize>::new(|yielder, ()| {
        let caught = payload(|| {
            yielder.suspend(1);
            panic!("kept");
        });
        yielder.suspend(caught.len());
        3
    });
    assert_eq!(coroutine.resume(()), CoroutineResult::Yield(1));
    assert_eq!(coroutine.resume(()), CoroutineResult::Yield(4));
    assert_eq!(coroutine.resume(()), CoroutineResult::Return(3));
    assert!(!std::thread::panicking());
}

#[test]
fn the_stack_is_good_for_another_coroutine() {
    let mut first = Coroutine::<(), (), ()>::new(|_, ()| panic!("first"));
    assert_eq!(payload(|| _ = first.resume(())), "first");
    let mut second = Coroutine::<(), (), u8, _>::with_stack(first.into_stack(), |_, ()| 2);
    assert_eq!(second.resume(()), CoroutineResult::Return(2));
}
