//! Coroutines inside coroutines, and parents that change.
#![cfg(all(feature = "default-stack", feature = "unwind"))]

use switch_asm::{Coroutine, CoroutineResult, Yielder};

#[test]
fn ten_deep() {
    fn nested(depth: u32) -> u32 {
        let mut inner = Coroutine::<u32, u32, u32>::new(move |yielder, n| {
            let n = yielder.suspend(n + 1);
            n + if depth == 0 { 0 } else { nested(depth - 1) }
        });
        assert_eq!(inner.resume(depth), CoroutineResult::Yield(depth + 1));
        inner.resume(1).as_return().expect("it returns")
    }
    assert_eq!(nested(9), 10);
}

#[test]
fn an_inner_one_suspends_the_outer_one() {
    let mut outer = Coroutine::<u32, u32, u32>::new(|outer: &Yielder<u32, u32>, first| {
        let link = &raw const *outer;
        let mut inner = Coroutine::<u32, (), u32>::new(move |_, n| {
            // SAFETY: the outer coroutine waits in `resume` of this one.
            let outer = unsafe { &*link };
            outer.suspend(n + 1) + 100
        });
        inner.resume(first).as_return().expect("it returns") + 1000
    });
    assert_eq!(outer.resume(1), CoroutineResult::Yield(2));
    assert_eq!(outer.resume(5), CoroutineResult::Return(1105));
}

#[test]
fn dropping_the_outer_one_unwinds_both() {
    use std::cell::Cell;
    use std::rc::Rc;

    let drops = Rc::new(Cell::new(0));
    struct Count(Rc<Cell<u32>>);
    impl Drop for Count {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    let (in_outer, in_inner) = (Count(drops.clone()), Count(drops.clone()));
    let mut outer = Coroutine::<(), (), ()>::new(move |outer: &Yielder<(), ()>, ()| {
        let _in_outer = in_outer;
        let link = &raw const *outer;
        let mut inner = Coroutine::<(), (), ()>::new(move |_, ()| {
            let _in_inner = in_inner;
            // SAFETY: the outer coroutine waits in `resume` of this one.
            unsafe { &*link }.suspend(());
        });
        inner.resume(());
    });
    assert_eq!(outer.resume(()), CoroutineResult::Yield(()));
    drop(outer);
    assert_eq!(drops.get(), 2);
}

#[test]
fn each_resume_may_come_from_somewhere_else() {
    #[inline(never)]
    fn deeper(depth: u32, coroutine: &mut Coroutine<u32, u32, u32>) -> CoroutineResult<u32, u32> {
        let pad = std::hint::black_box([depth; 32]);
        let result = if depth == 0 {
            coroutine.resume(pad[3])
        } else {
            deeper(depth - 1, coroutine)
        };
        assert_eq!(pad, [depth; 32]);
        result
    }
    let mut coroutine = Coroutine::<u32, u32, u32>::new(|yielder, mut n| {
        for _ in 0..20 {
            n = yielder.suspend(n);
        }
        7
    });
    for depth in 0..20 {
        assert_eq!(deeper(depth, &mut coroutine), CoroutineResult::Yield(0));
    }
    let mut elsewhere = Coroutine::<(), (), u32>::new(move |_, ()| {
        coroutine.resume(0).as_return().expect("it returns")
    });
    assert_eq!(elsewhere.resume(()), CoroutineResult::Return(7));
}

#[test]
fn stacks_are_made_on_the_smallest_stacks() {
    use switch_asm::stack::{DefaultStack, Slab};

    for _ in 0..100 {
        let stack = DefaultStack::new(32 * 1024).expect("a stack");
        let mut outer = Coroutine::<(), (), usize, _>::with_stack(stack, |_, ()| {
            // Far from each other, so that each meets a new part of the tables.
            let kept: Vec<_> = (0..20)
                .map(|_| Slab::new(1 << 20, 4096, 1 << 10).expect("address space"))
                .collect();
            drop(DefaultStack::new(16 * 1024).expect("a stack"));
            kept.len()
        });
        assert_eq!(outer.resume(()), CoroutineResult::Return(20));
    }
}
