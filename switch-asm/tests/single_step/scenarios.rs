//! What is stepped through: every operation. Must not know that it is.
//!
//! Each scenario is two functions, never inlined: `run`, and a parent that it
//! calls and that does everything.

use std::arch::{asm, naked_asm};
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};

use switch_asm::arch::{self, EncodedValue};
use switch_asm::stack::{DefaultStack, Stack, StackPointer};
use switch_asm::{Coroutine, CoroutineResult, on_stack};

use crate::stepper::{Scenario, handle};

macro_rules! scenarios {
    ($($name:literal $run:ident $parent:ident)*) => {
        pub(crate) const SCENARIOS: &[(&str, fn() -> Scenario)] = &[$(
            ($name, || Scenario { run: $run, parent: $parent as *const () as usize }),
        )*];
        $(
            extern "C" fn $run() {
                black_box($parent());
            }
        )*
    };
}

scenarios! {
    "small values" run_small small
    "two parents" run_two_parents two_parents
    "large values" run_large large
    "on_stack" run_on_stack on_a_stack
    "on_parent_stack" run_on_parent on_parent
    "nested" run_nested nested
    "primitives" run_primitives primitives
    "a panic" run_panics panics
    "forced unwinding" run_forced forced
    "a trap" run_trap trap
}

/// Has a frame in any build: keeps a value across a call.
#[inline(never)]
pub(crate) extern "C" fn with_a_frame() {
    let value = black_box(1);
    black_box(value + black_box(with_a_value(value)));
}

#[inline(never)]
fn with_a_value(value: usize) -> usize {
    black_box(value)
}

#[inline(never)]
fn small() {
    let mut coroutine = Coroutine::<usize, usize, usize>::new(|yielder, mut input| {
        for _ in 0..3 {
            input = yielder.suspend(input + 1);
        }
        input
    });
    for n in 0..3 {
        assert_eq!(coroutine.resume(n), CoroutineResult::Yield(n + 1));
    }
    assert_eq!(coroutine.resume(7), CoroutineResult::Return(7));
}

/// Calls `f(arg)` with a number of its own in RBX.
///
/// # Safety
///
/// `f` accepts `arg`.
#[unsafe(naked)]
unsafe extern "C-unwind" fn with_another_rbx(
    f: unsafe extern "C-unwind" fn(*mut c_void),
    arg: *mut c_void,
) {
    naked_asm!(
        ".cfi_startproc",
        "push rbx",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbx, -16",
        "mov ebx, 0x0ddba11",
        "mov rax, rdi",
        "mov rdi, rsi",
        "call rax",
        "pop rbx",
        ".cfi_def_cfa_offset 8",
        "ret",
        ".cfi_endproc",
    )
}

/// The frames of the coroutine keep the RBX of the first parent. Walks after that
/// must find that of the second.
#[inline(never)]
fn two_parents() {
    type Between = Coroutine<(), (), ()>;
    /// # Safety
    ///
    /// A coroutine that nobody else uses.
    unsafe extern "C-unwind" fn resume(coroutine: *mut c_void) {
        // SAFETY: this function's contract.
        unsafe { &mut *coroutine.cast::<Between>() }.resume(());
    }
    let mut coroutine = Between::new(|yielder, ()| {
        for _ in 0..3 {
            yielder.suspend(());
        }
    });
    let erased = (&raw mut coroutine).cast();
    // SAFETY: it is not used meanwhile.
    unsafe {
        with_another_rbx(resume, erased);
        resume(erased);
        with_another_rbx(resume, erased);
        resume(erased);
    }
    assert!(coroutine.done());
}

#[inline(never)]
fn large() {
    type Words = [usize; 9];
    let mut coroutine = Coroutine::<Words, Words, Words>::new(|yielder, input| {
        let mut second = yielder.suspend(input);
        second.reverse();
        second
    });
    let words = std::array::from_fn(|n| n);
    assert_eq!(coroutine.resume(words), CoroutineResult::Yield(words));
    assert!(matches!(
        coroutine.resume(words),
        CoroutineResult::Return([8, ..])
    ));
}

#[inline(never)]
fn on_a_stack() {
    let stack = DefaultStack::default();
    let answer = on_stack(stack, || black_box(41) + 1);
    assert_eq!(answer, 42);
}

#[inline(never)]
fn on_parent() {
    let mut coroutine = Coroutine::<(), usize, usize>::new(|yielder, ()| {
        let first = yielder.on_parent_stack(|| black_box(1));
        yielder.suspend(first);
        yielder.on_parent_stack(|| black_box(2))
    });
    assert_eq!(coroutine.resume(()), CoroutineResult::Yield(1));
    assert_eq!(coroutine.resume(()), CoroutineResult::Return(2));
}

#[inline(never)]
fn nested() {
    let mut outer = Coroutine::<(), usize, usize>::new(|outer, ()| {
        let mut inner = Coroutine::<(), usize, usize>::new(|inner, ()| {
            inner.suspend(1);
            // From a stack on a stack.
            on_stack(DefaultStack::default(), || inner.suspend(2));
            3
        });
        outer.suspend(inner.resume(()).as_yield().expect("it yields"));
        outer.suspend(inner.resume(()).as_yield().expect("it yields"));
        inner.resume(()).as_return().expect("it returns")
    });
    assert_eq!(outer.resume(()), CoroutineResult::Yield(1));
    assert_eq!(outer.resume(()), CoroutineResult::Yield(2));
    assert_eq!(outer.resume(()), CoroutineResult::Return(3));
}

/// # Safety
///
/// An `InitialFunc`.
unsafe extern "C-unwind" fn adds(
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

#[inline(never)]
fn primitives() {
    let stack = DefaultStack::default();
    // SAFETY: `sp` is always where the stack waits.
    unsafe {
        let mut sp = arch::init_stack(&stack, adds, 3_usize);
        for n in 1..4 {
            let (sum, next) = arch::switch_and_link(n, sp, stack.base());
            assert_eq!(sum, n + 3);
            sp = next.expect("it is suspended");
        }
        assert_eq!(arch::switch_and_link(0, sp, stack.base()), (99, None));
    }
}

#[inline(never)]
fn panics() {
    let caught = catch_unwind(|| {
        let mut coroutine = Coroutine::<(), (), ()>::new(|_, ()| {
            // Without the hook, which writes.
            std::panic::resume_unwind(Box::new(7))
        });
        coroutine.resume(());
    });
    assert!(caught.is_err());
}

#[inline(never)]
fn forced() {
    let mut coroutine = Coroutine::<(), (), ()>::new(|yielder, ()| {
        let _dropped = String::from("dropped");
        // The first request is caught, and comes back with a suspension.
        let caught = catch_unwind(AssertUnwindSafe(|| yielder.suspend(())));
        assert!(caught.is_err());
        yielder.suspend(());
    });
    coroutine.resume(());
    drop(coroutine);
}

/// # Safety
///
/// A `TrapFunc`.
pub(crate) unsafe extern "C-unwind" fn after_a_trap(_: *mut (), link: &mut StackPointer) -> ! {
    // SAFETY: on our own stack, on which nothing is left.
    unsafe { arch::switch_and_reset(black_box(5), link) }
}

/// Faults.
///
/// # Safety
///
/// An `InitialFunc`. A handler has to be there.
unsafe extern "C-unwind" fn faults(_: EncodedValue, link: &mut StackPointer, _: *mut ()) -> ! {
    let base = (&raw mut *link).expose_provenance() + arch::PARENT_LINK_OFFSET;
    // SAFETY: the handler leaves this stack to `after_a_trap`.
    unsafe { asm!("ud2", in("rdi") base, options(noreturn)) }
}

/// Makes the stack that faulted go on with `after_a_trap`.
extern "C" fn on_illegal(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel's context, of `faults`: RDI is the base of its stack. We
    // run on the same stack, but far below what is written.
    unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let base = StackPointer::new(registers[libc::REG_RDI as usize] as usize);
        let base = base.expect("a stack is not at address zero");
        let arch::TrapHandlerRegs {
            rip,
            rsp,
            rbp,
            rdi,
            rsi,
        } = arch::setup_trap_trampoline(base, (), after_a_trap);
        registers[libc::REG_RIP as usize] = rip as i64;
        registers[libc::REG_RSP as usize] = rsp as i64;
        registers[libc::REG_RBP as usize] = rbp as i64;
        registers[libc::REG_RDI as usize] = rdi as i64;
        registers[libc::REG_RSI as usize] = rsi as i64;
        // The trap after the first instruction is one too late. This one waits
        // until the kernel has put the registers and the mask in place.
        let mut traps = std::mem::zeroed();
        libc::sigemptyset(&mut traps);
        libc::sigaddset(&mut traps, libc::SIGTRAP);
        libc::pthread_sigmask(libc::SIG_BLOCK, &traps, std::ptr::null_mut());
        libc::raise(libc::SIGTRAP);
    }
}

#[inline(never)]
fn trap() {
    handle(libc::SIGILL, on_illegal);
    let stack = DefaultStack::default();
    // SAFETY: the stack ends in this one resume.
    let (answer, _) = unsafe {
        let sp = arch::init_stack(&stack, faults, ());
        arch::switch_and_link(0, sp, stack.base())
    };
    assert_eq!(answer, 5);
}
