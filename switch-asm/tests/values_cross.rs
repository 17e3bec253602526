//! Values cross a switch, in both directions, whatever their size.
#![cfg(all(feature = "default-stack", feature = "unwind"))]

use std::rc::Rc;

use switch_asm::{Coroutine, CoroutineResult};

/// Sends each value in and expects it back, twice, then once as the result.
fn echo<T: Clone + PartialEq + std::fmt::Debug + 'static>(value: T) {
    let mut echo = Coroutine::<T, T, T>::new(|yielder, first| {
        let second = yielder.suspend(first);
        yielder.suspend(second)
    });
    assert!(!echo.started() && !echo.done());
    assert_eq!(
        echo.resume(value.clone()),
        CoroutineResult::Yield(value.clone())
    );
    assert!(echo.started() && !echo.done());
    assert_eq!(
        echo.resume(value.clone()),
        CoroutineResult::Yield(value.clone())
    );
    assert_eq!(echo.resume(value.clone()), CoroutineResult::Return(value));
    assert!(echo.started() && echo.done());
}

#[test]
fn in_a_register() {
    echo(());
    echo(true);
    echo('x');
    echo(usize::MAX);
    echo(Some(u32::MAX));
    echo("text".len());
    echo(f64::MIN_POSITIVE);
}

#[test]
fn in_memory() {
    echo("a fat pointer");
    echo((u64::MAX, 1_u8, u128::MAX));
    echo([7_u64; 500]);
    echo(vec![String::from("owned"), String::from("twice")]);
}

#[test]
fn owned_values_are_dropped_exactly_once() {
    let counter = Rc::new(());
    let mut coroutine = Coroutine::<Rc<()>, Rc<()>, Rc<()>>::new(|yielder, rc| yielder.suspend(rc));
    let yielded = coroutine.resume(counter.clone());
    assert_eq!(Rc::strong_count(&counter), 2);
    let returned = coroutine.resume(counter.clone());
    assert_eq!(Rc::strong_count(&counter), 3);
    drop((yielded, returned));
    assert_eq!(Rc::strong_count(&counter), 1);
    drop(coroutine);
    assert_eq!(Rc::strong_count(&counter), 1);
}

#[test]
fn closures_of_any_size_and_alignment() {
    #[derive(Clone, Copy)]
    #[repr(align(256))]
    struct Aligned([u8; 1000]);

    let captured = Aligned([9; 1000]);
    let mut coroutine = Coroutine::<(), (), (usize, u8)>::new(move |_, ()| {
        let captured = captured;
        ((&raw const captured).addr() % 256, captured.0[999])
    });
    assert_eq!(coroutine.resume(()), CoroutineResult::Return((0, 9)));
}

#[test]
fn registers_survive_the_other_side() {
    // Enough values alive across the switch to need every register, and a
    // coroutine that uses them all for something else.
    fn mix(seed: u64, mut switch: impl FnMut()) -> u64 {
        let v: [u64; 12] =
            std::array::from_fn(|i| std::hint::black_box(seed.wrapping_mul(i as u64 + 3)));
        let f = std::hint::black_box(seed as f64 * 0.5);
        switch();
        let sum = v.iter().fold(0_u64, |a, &b| a.rotate_left(5) ^ b);
        switch();
        sum.wrapping_add(f as u64)
    }

    let mut inner = Coroutine::<(), (), u64>::new(|yielder, ()| mix(77, || yielder.suspend(())));
    let expected = (mix(77, || ()), mix(1001, || ()));
    let mut result = None;
    let outside = mix(1001, || result = Some(inner.resume(())));
    assert_eq!(result, Some(CoroutineResult::Yield(())));
    assert_eq!(inner.resume(()), CoroutineResult::Return(expected.0));
    assert_eq!(outside, expected.1);
}

#[test]
fn results_take_apart() {
    assert_eq!(CoroutineResult::<_, u8>::Yield(1).as_yield(), Some(1));
    assert_eq!(CoroutineResult::<_, u8>::Yield(1).as_return(), None);
    assert_eq!(CoroutineResult::<u8, _>::Return(2).as_return(), Some(2));
    assert_eq!(CoroutineResult::<u8, _>::Return(2).as_yield(), None);
}

#[test]
#[should_panic(expected = "resumed a coroutine that is done")]
fn a_coroutine_that_is_done_is_not_resumed() {
    let mut coroutine = Coroutine::<(), (), ()>::new(|_, ()| ());
    coroutine.resume(());
    coroutine.resume(());
}
