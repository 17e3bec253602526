//! The primitives without the wrapper.
#![cfg(all(feature = "default-stack", feature = "unwind"))]

use std::cell::Cell;
use std::rc::Rc;

use switch_asm::Coroutine;
use switch_asm::arch::{self, EncodedValue};
use switch_asm::stack::{DefaultStack, Stack, StackPointer};

/// Sends back its argument plus the object, until it is sent zero.
///
/// # Safety
///
/// An `InitialFunc`.
unsafe extern "C-unwind" fn adder(
    mut arg: EncodedValue,
    link: &mut StackPointer,
    step: *mut usize,
) -> ! {
    // SAFETY: we own the object and are on our own stack.
    unsafe {
        let step = step.read();
        while arg != 0 {
            arg = arch::switch_yield(arg + step, link);
        }
        arch::switch_and_reset(99, link)
    }
}

#[test]
fn init_link_yield_reset() {
    let stack = DefaultStack::new(64 * 1024).expect("a stack");
    // Twice: a stack that ended is as good as new.
    for step in [3, 4] {
        // SAFETY: the stack is ours, and `sp` is always where it waits.
        unsafe {
            let mut sp = arch::init_stack(&stack, adder, step);
            for n in 1..1000 {
                let (sum, next) = arch::switch_and_link(n, sp, stack.base());
                assert_eq!(sum, n + step);
                sp = next.expect("it is suspended");
            }
            assert_eq!(arch::switch_and_link(0, sp, stack.base()), (99, None));
        }
    }
}

#[test]
fn an_initial_object_that_never_ran_is_dropped_in_place() {
    #[repr(align(128))]
    struct Counted(Rc<Cell<usize>>, [u8; 333]);
    impl Drop for Counted {
        fn drop(&mut self) {
            assert_eq!((&raw const *self).addr() % 128, 0);
            assert_eq!(self.1, [5; 333]);
            self.0.set(self.0.get() + 1);
        }
    }
    /// # Safety
    ///
    /// An `InitialFunc` that is never called.
    unsafe extern "C-unwind" fn never(_: EncodedValue, _: &mut StackPointer, _: *mut Counted) -> ! {
        unreachable!()
    }
    /// # Safety
    ///
    /// Points to a `Counted` that is not used again.
    unsafe fn drop_it(object: *mut u8) {
        // SAFETY: this function's contract.
        unsafe { object.cast::<Counted>().drop_in_place() }
    }

    let drops = Rc::new(Cell::new(0));
    let stack = DefaultStack::new(64 * 1024).expect("a stack");
    // SAFETY: the stack is ours and never runs.
    unsafe {
        let sp = arch::init_stack(&stack, never, Counted(drops.clone(), [5; 333]));
        assert_eq!(drops.get(), 0);
        arch::drop_initial_obj(stack.base(), sp, drop_it);
    }
    assert_eq!(drops.get(), 1);
}

#[test]
fn saved_registers_of_a_stack_that_waits() {
    let mut coroutine = Coroutine::<(), usize, ()>::new(|yielder, ()| {
        let local = 1_u8;
        yielder.suspend((&raw const local).addr());
        std::hint::black_box(local);
    });
    let fresh = coroutine.saved_regs().expect("it waits");
    assert_eq!((fresh.rbp, fresh.rbx), (0, 0));
    let local = coroutine.resume(()).as_yield().expect("it yields");
    let regs = coroutine.saved_regs().expect("it waits");
    assert_ne!(regs.rip, fresh.rip);
    assert!(regs.rsp < fresh.rsp && regs.rsp <= local && local - regs.rsp < 4096);
    assert!(regs.rsp.is_multiple_of(8));
    coroutine.resume(());
    assert_eq!(coroutine.saved_regs(), None);
}

#[test]
#[should_panic(expected = "an initial object of 100000 bytes does not fit")]
fn an_object_larger_than_the_stack_is_refused() {
    let big = [1_u8; 100_000];
    let stack = DefaultStack::new(16 * 1024).expect("a stack");
    drop(Coroutine::<(), (), u8, _>::with_stack(
        stack,
        move |_, ()| big[7],
    ));
}

#[test]
fn recursion_close_to_the_limit() {
    #[inline(never)]
    fn down(end: usize) -> u64 {
        let local = std::hint::black_box([1_u64; 16]);
        let more = if (&raw const local).addr() < end {
            0
        } else {
            down(end)
        };
        more + local[11]
    }
    const SIZE: usize = 256 * 1024;
    let stack = DefaultStack::new(SIZE).expect("a stack");
    let end = stack.base().get() - SIZE + 2048;
    let mut coroutine = Coroutine::<usize, (), u64, _>::with_stack(stack, |_, end| down(end));
    let depth = coroutine.resume(end).as_return().expect("it returns");
    assert!(depth > 200, "{depth} frames are not the whole stack");
}
