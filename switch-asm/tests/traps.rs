//! A coroutine that faults ends with a value or a panic, and its stack can be
//! used again. The primitive alone: the test plays the signal handler.
#![cfg(all(feature = "default-stack", feature = "unwind"))]

use std::arch::asm;
use std::panic::{AssertUnwindSafe, catch_unwind};

use switch_asm::arch::{self, EncodedValue};
use switch_asm::stack::{DefaultStack, Stack, StackPointer};
use switch_asm::trap::TrapHandlerRegs;
use switch_asm::{Coroutine, CoroutineResult, ScopedCoroutine, Yielder, on_stack};

/// Goes on with the registers that `setup` gives, which runs on another stack, as
/// a signal handler would.
///
/// # Safety
///
/// They come from `setup_trap_trampoline`, for the stack that this runs on.
unsafe fn interrupt(setup: impl FnOnce() -> TrapHandlerRegs) -> ! {
    // Its frames are never returned to.
    let stack = Box::leak(Box::new(DefaultStack::default()));
    // SAFETY: this function's contract.
    on_stack(stack, || unsafe { go_on_with(setup()) })
}

/// # Safety
///
/// As for `interrupt`.
unsafe fn go_on_with(regs: TrapHandlerRegs) -> ! {
    let TrapHandlerRegs {
        rip,
        rsp,
        rbp,
        rdi,
        rsi,
    } = regs;
    // SAFETY: this function's contract. The direction flag is set to see that
    // it does not stay.
    unsafe {
        asm!(
            "mov rsp, {rsp}",
            "mov rbp, {rbp}",
            "std",
            "jmp {rip}",
            rsp = in(reg) rsp,
            rbp = in(reg) rbp,
            rip = in(reg) rip,
            in("rdi") rdi,
            in("rsi") rsi,
            options(noreturn),
        )
    }
}

fn direction_flag() -> bool {
    let flags: usize;
    // SAFETY: reads the flags.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags) };
    flags & 1 << 10 != 0
}

/// A coroutine that is interrupted at once, on the stack given, and made to run
/// `f`.
fn interrupted<S: Stack + 'static, R: 'static>(
    stack: S,
    f: impl FnOnce() -> R + 'static,
) -> Coroutine<(), (), R, S> {
    let cell = std::rc::Rc::new(std::cell::Cell::new(None));
    let handler = cell.clone();
    let coroutine = Coroutine::with_stack(stack, move |_: &Yielder<(), ()>, ()| {
        let handler: switch_asm::trap::CoroutineTrapHandler<R> = handler.take().expect("it is set");
        let here = 0_u8;
        assert!(handler.stack_ptr_in_bounds((&raw const here).addr()));
        // SAFETY: we are the interrupted coroutine; nothing here is needed again.
        unsafe { interrupt(|| handler.setup_trap_handler(f)) }
    });
    cell.set(Some(coroutine.trap_handler()));
    let here = 0_u8;
    assert!(
        !coroutine
            .trap_handler()
            .stack_ptr_in_bounds((&raw const here).addr())
    );
    coroutine
}

#[test]
fn it_leaves_with_a_value() {
    let mut stack = DefaultStack::new(64 * 1024).expect("a stack");
    for n in 0..3 {
        let mut coroutine = interrupted(stack, move || {
            assert!(!direction_flag());
            format!("left {n}")
        });
        assert_eq!(
            coroutine.resume(()),
            CoroutineResult::Return(format!("left {n}"))
        );
        assert!(coroutine.done());
        stack = coroutine.into_stack();
    }
}

#[test]
fn it_leaves_with_a_panic() {
    let mut coroutine = interrupted(DefaultStack::default(), || -> u8 { panic!("out of it") });
    let payload = catch_unwind(AssertUnwindSafe(|| coroutine.resume(())));
    assert_eq!(
        payload.expect_err("it panics").downcast_ref(),
        Some(&"out of it")
    );
    assert!(coroutine.done());
}

#[test]
fn a_walk_from_there_finds_the_parent() {
    #[inline(never)]
    fn the_resumer(coroutine: &mut Coroutine<(), (), String>) -> String {
        std::hint::black_box(coroutine.resume(()).as_return().expect("it returns"))
    }
    let mut coroutine = interrupted(DefaultStack::default(), || {
        std::backtrace::Backtrace::force_capture().to_string()
    });
    let trace = the_resumer(&mut coroutine);
    assert!(trace.contains("stack_trap_trampoline"), "{trace}");
    assert!(trace.contains("the_resumer"), "{trace}");
    assert!(
        trace.contains("a_walk_from_there_finds_the_parent"),
        "{trace}"
    );
}

#[test]
fn large_and_aligned_values() {
    #[repr(align(128))]
    struct Aligned([u8; 1000]);
    let value = Aligned([3; 1000]);
    let mut coroutine = interrupted(DefaultStack::default(), move || {
        let value = &value;
        (((&raw const *value).addr()) % 128, value.0[999])
    });
    assert_eq!(coroutine.resume(()), CoroutineResult::Return((0, 3)));
}

#[test]
fn a_scoped_one() {
    let n = 17;
    let coroutine = ScopedCoroutine::<u64, (), u64>::new(|_, address| {
        let handler = std::ptr::with_exposed_provenance::<
            switch_asm::trap::CoroutineTrapHandler<u64>,
        >(address as usize);
        // SAFETY: the test sends the address of our own handler, and waits.
        unsafe { interrupt(|| (*handler).setup_trap_handler(|| 5)) }
    });
    let result = coroutine.scope(|mut coroutine| {
        let handler = coroutine.trap_handler();
        coroutine.resume((&raw const handler).expose_provenance() as u64)
    });
    assert_eq!(result.as_return(), Some(5));
    assert_eq!(n, 17);
}

#[test]
fn the_primitive() {
    /// # Safety
    ///
    /// An `InitialFunc` whose object is the base of its stack.
    unsafe extern "C-unwind" fn traps(
        arg: EncodedValue,
        _: &mut StackPointer,
        base: *mut StackPointer,
    ) -> ! {
        // SAFETY: our own base; nothing is needed again.
        unsafe {
            let base = *base;
            interrupt(|| arch::setup_trap_trampoline(base, [arg, 2, 3], ends))
        }
    }
    /// # Safety
    ///
    /// A `TrapFunc`.
    unsafe extern "C-unwind" fn ends(val: *mut [usize; 3], link: &mut StackPointer) -> ! {
        // SAFETY: the value is ours, and so is the stack.
        unsafe { arch::switch_and_reset((*val).iter().sum(), link) }
    }
    let stack = DefaultStack::new(64 * 1024).expect("a stack");
    for n in 0..20 {
        // SAFETY: the stack is ours and ends each time.
        unsafe {
            let sp = arch::init_stack(&stack, traps, stack.base());
            let end = arch::switch_and_link(n, sp, stack.base());
            assert_eq!(end, (n + 5, None));
        }
    }
}
