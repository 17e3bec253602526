//! Moving control between stacks. The pictures and the table of registers are
//! in the parent module.
//!
//! Two rules for the blocks here:
//! - A block does not end at a return address (see `trampoline`).
//! - R12 to R15 are clobbers, not saved words: a caller that switches often
//!   keeps few values alive across it, and pays for those only.
//!
//! The compiler writes the unwind rows of the functions that these blocks are
//! inlined into, and it does not know our pushes. A walk that starts *at* one of
//! the few instructions in between (from a signal handler, say) may go wrong;
//! walks through a return address here are right.

use core::arch::asm;
use core::mem::offset_of;

use super::flavour::seh;
use super::layout::{
    PARENT_LINK_OFFSET, PARENT_STACK_OFFSET, ParentFrame, STACK_ALIGNMENT, SuspendedFrame,
};
use super::trampoline::stack_call_trampoline;
use crate::sanitizer;
use crate::stack::{Stack, StackPointer};
use crate::transfer::EncodedValue;

/// Resumes the stack at `sp` and makes the caller its parent.
///
/// Returns when that stack switches back: the value it sent, and where it is
/// now suspended. `None` means that it ended with [`switch_and_reset`] and
/// cannot be resumed. A value that points to memory of that stack is good until
/// the stack is resumed, reused or freed.
///
/// # Safety
///
/// - `sp` comes from [`init_stack`](super::init_stack), or is what the last
///   switch to this stack returned, and was not used since.
/// - `stack_base` is [`Stack::base`] of that stack.
/// - `arg` is what the receiving side expects.
/// - No reference that the compiler may cache across this call points to what
///   the other side changes, thread-locals included if the stack is resumed on
///   a different thread than before.
#[inline(always)]
pub unsafe fn switch_and_link(
    arg: EncodedValue,
    sp: StackPointer,
    stack_base: StackPointer,
) -> (EncodedValue, Option<StackPointer>) {
    let value: EncodedValue;
    let child_sp: usize;
    let mut resume = sanitizer::Resume::new(stack_base);
    // SAFETY: by the contract RDX points to a saved RIP, which leads to
    // `stack_init_trampoline` or to the second half of `switch_yield`; both take
    // the registers as set here, keep our stack as it is above RSP, and return
    // with RSP and RBP as they were before the `call`.
    unsafe {
        resume.start();
        asm!(
            seh!("lea rax, [rip + 3f]"),
            seh!("push rax"),
            "push rbx",
            // Goes to stack_init_trampoline, or to label 2 of switch_yield,
            // which push RBP below the return address.
            "call [rdx]",
            // Back from switch_yield or switch_and_reset, which popped RBP:
            //   RSP  at our RBX
            //   RDI  the value
            //   RSI  where the child is suspended, or 0
            // The parent's rows of the trampolines count RBX as restored here,
            // so a walk that comes through this address agrees with the
            // compiler's rows for the code around this block.
            seh!("3:"),
            "pop rbx",
            seh!("pop rax"),
            inlateout("rdi") arg => value,
            inlateout("rsi") stack_base.get() => child_sp,
            in("rdx") sp.get(),
            lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
            clobber_abi("sysv64"),
            #[cfg(feature = "asm-unwind")]
            options(may_unwind),
        );
    }
    (value, StackPointer::new(child_sp))
}

/// Suspends the current stack and returns to its parent.
///
/// Returns when the stack is resumed, with the value it was sent.
///
/// # Safety
///
/// - The caller runs on a stack that was entered by [`switch_and_link`], or on
///   one that such a stack called through [`on_stack`].
/// - `parent_link` is the link of the stack that was entered.
/// - `arg` is what the parent expects.
/// - As for [`switch_and_link`]: nothing that the compiler may cache across
///   this call is changed meanwhile.
#[inline(always)]
pub unsafe fn switch_yield(arg: EncodedValue, parent_link: *mut StackPointer) -> EncodedValue {
    let value: EncodedValue;
    let mut suspend = sanitizer::Suspend::new(parent_link);
    // SAFETY: by the contract the link points to a `ParentFrame` that waits in
    // `switch_and_link`. We leave a `SuspendedFrame` and are entered again at
    // label 2 with the registers as described there, which restores all that is
    // not a clobber.
    unsafe {
        suspend.start();
        asm!(
            // A SuspendedFrame.
            "push rbp",
            "push rbx",
            "lea rax, [rip + 2f]",
            "push rax",
            // Onto the parent's stack. The parent gets our stack pointer.
            "mov rsi, rsp",
            "mov rsp, [rdx]",
            "pop rbp",
            "ret",
            // A resume calls this:
            //   RSP  top of the parent's stack: RIP, and RBX above it
            //   RBP  the parent's
            //   RDI  the value
            //   RSI  base of our stack
            //   RDX  our stack pointer: the SuspendedFrame
            "2:",
            // Complete the parent's frame, link to it, and back to our stack.
            "push rbp",
            "mov [rsi - {parent_link}], rsp",
            "lea rsp, [rdx + {saved_rbx}]",
            "pop rbx",
            "pop rbp",
            parent_link = const PARENT_LINK_OFFSET,
            saved_rbx = const offset_of!(SuspendedFrame, rbx),
            inlateout("rdi") arg => value,
            in("rdx") parent_link,
            lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
            clobber_abi("sysv64"),
            #[cfg(feature = "asm-unwind")]
            options(may_unwind),
        );
    }
    value
}

/// Returns to the parent for the last time.
///
/// The parent's [`switch_and_link`] returns `None` for the stack pointer.
///
/// # Safety
///
/// - As for [`switch_yield`].
/// - No frame of this stack has a destructor left to run, or a borrow lent out
///   that is still in use.
#[inline(always)]
pub unsafe fn switch_and_reset(arg: EncodedValue, parent_link: *mut StackPointer) -> ! {
    // SAFETY: by the contract the link points to a `ParentFrame` that waits in
    // `switch_and_link`; nothing here is needed again.
    unsafe {
        sanitizer::leave(parent_link);
        asm!(
            "mov rsp, [{parent_link}]",
            "pop rbp",
            // As the compiler sees it, this block never returns; the parent
            // sees the end of its `call`.
            "ret",
            parent_link = in(reg) parent_link,
            in("rdi") arg,
            // No stack pointer: nothing to resume.
            in("rsi") 0_usize,
            options(noreturn),
        )
    }
}

/// Calls `f(arg)` on `stack` and returns when `f` does.
///
/// Cheaper than a coroutine; a walk from `f` continues in the caller.
///
/// # Safety
///
/// - `f` must not unwind, unless the feature `asm-unwind` is on.
/// - `arg` is what `f` expects.
/// - Nothing else runs on `stack` meanwhile, and nothing suspended is on it.
#[inline]
pub unsafe fn on_stack(
    arg: *mut u8,
    stack: impl Stack,
    f: unsafe extern "C-unwind" fn(ptr: *mut u8),
) {
    let top = stack.base().get() - PARENT_STACK_OFFSET;
    debug_assert!(top.is_multiple_of(STACK_ALIGNMENT));
    const { assert!(offset_of!(ParentFrame, rbp) == PARENT_STACK_OFFSET) };
    let mut call = sanitizer::Call::new(arg, f);
    // SAFETY: the trampoline takes these three registers and behaves as a
    // function of the System V convention; `top` is aligned and everything below
    // it is free (`Stack`, and this function's contract).
    unsafe {
        let (arg, f) = call.start(stack.limit(), stack.base());
        asm!(
            "call {trampoline}",
            // The return address above must not be the end of this block.
            "nop",
            trampoline = sym stack_call_trampoline,
            in("rdi") arg,
            in("rsi") top,
            in("rdx") f,
            clobber_abi("sysv64"),
            #[cfg(feature = "asm-unwind")]
            options(may_unwind),
        );
    }
    drop(call);
    // The stack is owned by this call; it ends here, not before.
    drop(stack);
}
